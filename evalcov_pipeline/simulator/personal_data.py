"""Invented personal data planted in texts, and look-alikes that are none.

Telephone numbers, IP addresses and mail domains come from ranges reserved for fiction and
documentation; card numbers and IBANs only have valid check digits.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from random import Random

KINDS: dict[str, float] = {
    "email": 0.26, "name": 0.28, "phone": 0.19, "card": 0.08, "iban": 0.06, "ip": 0.06,
    "secret": 0.07,
}  # fmt: skip
"""Kinds of personal data and their shares."""

_CARRIERS: dict[str, tuple[str, ...]] = {
    "email": (
        "my email is {}", "you can reach me at {}", "the account is {}", "please write to {}", "{}",
        "i'm registered with {}", "send it to {} please", "login: {}", "(mail: {})",
    ),
    "phone": (
        "my number is {}", "call me on {}", "you can call {} after six", "tel. {}", "phone: {}",
        "ring me at {} please", "text me: {}",
    ),
    "card": ("my card is {}", "i paid with {}", "card number {}",
    "the card ending... well it's {}"),
    "iban": ("my iban is {}", "please refund to {}", "account {}", "iban: {}"),
    "ip": ("my ip is {}", "it happens from {}", "the log shows {}", "router address {}"),
    "secret": ("my password is {}", "the api key is {}", "token: {}", "i use the key {}",
    "password: {}"),
    "name": (
        "my name is {}", "this is {}", "i'm {}", "{} here", "the order is under {}", "regards, {}",
        "ask for {}", "it's for {}", "the account holder is {}",
    ),
}  # fmt: skip
_LOOK_ALIKES = (
    "tracking number {digits16}", "the parcel number is {digits16}", "serial {code}",
    "article {code}",
    "ticket {digits6}/{digits3}", "firmware {v}.{v}.{v}", "the app is version {v}.{v}.{v}.{v}",
    "voucher {letters}-{letters}-{digits3}", "ref {digits6}-{digits6}",
    "the total was {digits3}.{digits2}",
    "case id {digits6}{digits3}", "on 2026-09-{v2} at {v2}:{v2}",
    "ean 40{digits6}{digits3}{digits2}",
)  # fmt: skip
_FIRST = (
    "Maria", "James", "Priya", "Wei", "Fatima", "Lukas", "Sofia", "Omar", "Chloe", "Mateo", "Aisha",
    "Hannah", "Kenji", "Olga", "Pierre", "Ingrid", "Carlos", "Zoë", "Björn", "Thandi", "Liam",
    "Noor",
    "Giulia", "Tomasz", "Emily", "Ahmed", "Grace", "Dmitri", "Lucía", "Samuel", "Mei", "Jonas",
    "Rachel", "Ibrahim", "Elena", "Daniel", "Yuki", "Nadia", "Patrick", "Amara", "Robert", "Linda",
)  # fmt: skip
_LAST = (
    "Gonzalez", "Smith", "Patel", "Zhang", "Al-Hassan", "Weber", "Rossi", "Haddad", "Dubois",
    "Silva",
    "Khan", "Müller", "Tanaka", "Petrova", "Laurent", "Larsen", "Mendoza", "de Vries", "Lindqvist",
    "Nkosi", "O'Connor", "Rahman", "Conti", "Kowalski", "Clarke", "Mansour", "Okafor", "Ivanov",
    "García", "Brown", "Chen", "Becker", "Cohen", "Diallo", "Popescu", "Taylor", "Sato", "Novak",
    "Murphy", "Eze", "Johnson", "van den Berg", "Wright", "Castro", "Hughes", "Fischer",
)  # fmt: skip
_DOMAINS = ("example.com", "example.org", "mail.example", "post.example.net", "work.example.co.uk")
_IBANS = {"DE": "dddddddddddddddddd", "GB": "LLLLdddddddddddddd", "FR": "ddddddddddddddddddddddd",
          "ES": "dddddddddddddddddddd", "NL": "LLLLdddddddddd"}  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A value in a text: `text[start:end] == value`, in characters."""

    kind: str
    start: int
    end: int
    value: str


def plant(text: str, rng: Random) -> tuple[str, tuple[Planted, ...]]:
    """Add one piece of personal data, sometimes two, around a text."""
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=2 if rng.random() < 0.18 else 1)
    planted: tuple[Planted, ...] = ()
    for kind in dict.fromkeys(kinds):
        value = draw(kind, rng)
        carrier = rng.choice(_CARRIERS[kind])
        before, after = carrier.split("{}")
        if rng.random() < 0.35:
            lead = before.capitalize() if rng.random() < 0.5 else before
            prefix = f"{lead}{value}{after}{rng.choice(['. ', ', ', '. ', ' - '])}"
            shift = len(prefix)
            planted = tuple(
                Planted(p.kind, p.start + shift, p.end + shift, p.value) for p in planted
            )
            start, text = len(lead), prefix + text
        else:
            joint = rng.choice([" ", ", "] if text[-1] in ".?!" else [", ", ". ", " - "])
            start = len(text) + len(joint) + len(before)
            text = f"{text}{joint}{before}{value}{after}"
        planted += (Planted(kind, start, start + len(value), value),)
    return text, planted


def confirm(
    answer: str, planted: tuple[Planted, ...], rng: Random
) -> tuple[str, tuple[Planted, ...]]:
    """Let an answer repeat a name or an e-mail address that the user gave."""
    for item in planted:
        if item.kind == "email" and rng.random() < 0.5:
            text = f"{answer} A confirmation goes to {item.value}."
            start = len(text) - len(item.value) - 1
            return text, (Planted("email", start, start + len(item.value), item.value),)
        if item.kind == "name" and rng.random() < 0.5:
            lead = rng.choice(["Thank you, ", "Hello ", "Sure, "])
            text = f"{lead}{item.value}. {answer}"
            return text, (Planted("name", len(lead), len(lead) + len(item.value), item.value),)
    return answer, ()


def look_alike(rng: Random) -> str:
    """A phrase with digits or codes that identify nobody."""
    text = rng.choice(_LOOK_ALIKES)
    while "{" in text:
        start, end = text.index("{"), text.index("}")
        text = text[:start] + _harmless(text[start + 1 : end], rng) + text[end + 1 :]
    return text


def draw(kind: str, rng: Random) -> str:
    """A value of a kind of `KINDS`."""
    match kind:
        case "email":
            return _email(rng)
        case "phone":
            return _phone(rng)
        case "card":
            return _card(rng)
        case "iban":
            return _iban(rng)
        case "ip":
            return _ip(rng)
        case "secret":
            return _secret(rng)
        case "name":
            return _name(rng)
        case _:
            raise ValueError(f"unknown kind of personal data {kind!r}")


def luhn_valid(digits: str) -> bool:
    """Whether a string of digits passes the Luhn check (ISO/IEC 7812-1)."""
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def iban_valid(iban: str) -> bool:
    """Whether an IBAN, spaces allowed, passes the mod-97 check (ISO 13616)."""
    compact = iban.replace(" ", "")
    return _mod97(compact[4:] + compact[:4]) == 1


def _mod97(text: str) -> int:
    return int("".join(str(int(c, 36)) for c in text)) % 97


def _digits(n: int, rng: Random) -> str:
    return "".join(rng.choices(string.digits, k=n))


def _name(rng: Random) -> str:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    name = rng.choice(
        [f"{first} {last}"] * 6 + [first, first, f"Mr. {last}", f"{first[0]}. {last}"]
    )
    return name.lower() if rng.random() < 0.12 else name


def _email(rng: Random) -> str:
    plain = str.maketrans("öüëíáñ", "oueian", "' -")
    first, last = (rng.choice(part).lower().translate(plain) for part in (_FIRST, _LAST))
    local = rng.choice([f"{first}.{last}", f"{first[0]}{last}", f"{first}{rng.randrange(60, 100)}",
                        f"{last}_{first}", f"{first}+shop"])  # fmt: skip
    return f"{local}@{rng.choice(_DOMAINS)}"


def _phone(rng: Random) -> str:
    form = rng.choice([
        "({a}) 555-01{d2}", "+1 {a}-555-01{d2}", "{a}-555-01{d2}", "+1{a}55501{d2}",
        "07700 900{d3}", "+44 7700 900{d3}", "020 7946 0{d3}", "030 23125 {d3}", "+49 30 23125{d3}",
        "+49 171 39200{d2}", "06 39 98 {d2} {e2}", "+33 6 39 98 {d2} {e2}", "0491 570 {d3}",
        "+61 491 570 {d3}",
    ])  # fmt: skip
    area = rng.choice(["212", "415", "303", "512", "617", "206"])
    return form.format(a=area, d2=_digits(2, rng), e2=_digits(2, rng), d3=_digits(3, rng))


def _card(rng: Random) -> str:
    body = rng.choice(["4", "51", "53", "55", "2221", "37"])
    body += _digits((14 if body == "37" else 15) - len(body), rng)
    number = next(body + d for d in string.digits if luhn_valid(body + d))
    cuts = (4, 10, 15) if len(number) == 15 else (4, 8, 12, 16)
    groups = [number[a:b] for a, b in zip((0, *cuts), cuts, strict=False)]
    return rng.choice([" ", " ", "-", ""]).join(groups)


def _iban(rng: Random) -> str:
    country = rng.choice(list(_IBANS))
    body = "".join(
        rng.choice(string.ascii_uppercase if c == "L" else string.digits) for c in _IBANS[country]
    )
    number = f"{country}{98 - _mod97(f'{body}{country}00'):02d}{body}"
    if rng.random() < 0.6:
        return " ".join(number[i : i + 4] for i in range(0, len(number), 4))
    return number


def _ip(rng: Random) -> str:
    if rng.random() < 0.3:
        parts = (rng.randrange(1, 16**4), rng.randrange(1, 16**3), rng.randrange(1, 999))
        return "2001:db8:{:x}:{:x}::{:x}".format(*parts)
    return (
        f"{rng.choice(['203.0.113', '198.51.100', '192.0.2', '192.168.1'])}.{rng.randrange(1, 255)}"
    )


def _secret(rng: Random) -> str:
    letters = string.ascii_letters + string.digits
    match rng.randrange(6):
        case 0:
            return "sk-" + "".join(rng.choices(letters, k=40))
        case 1:
            return "AKIA" + "".join(rng.choices(string.ascii_uppercase + "234567", k=16))
        case 2:
            return "".join(rng.choices("0123456789abcdef", k=32))
        case 3:
            return "ghp_" + "".join(rng.choices(letters, k=36))
        case 4:
            parts = ("".join(rng.choices(letters + "_-", k=k)) for k in (30, 43))
            return ".".join(["eyJhbGciOiJIUzI1NiJ9", *parts])
        case _:
            word = rng.choice(["Sunflower", "Winter", "Liverpool", "Banana", "Tiger"])
            return f"{word}{rng.choice('!#$%')}{_digits(2, rng)}"


def _harmless(slot: str, rng: Random) -> str:
    match slot:
        case "digits16":
            number = _digits(16, rng)
            while luhn_valid(number):
                number = _digits(16, rng)
            return (
                " ".join(number[i : i + 4] for i in range(0, 16, 4))
                if rng.random() < 0.5
                else number
            )
        case "code":
            return f"{''.join(rng.choices('BCDHKLX', k=2))}-{_digits(4, rng)}-{rng.choice('ABC')}"
        case "letters":
            return "".join(rng.choices(string.ascii_uppercase, k=4))
        case "v":
            return str(rng.randrange(1, 20))
        case "v2":
            return str(rng.randrange(10, 24))
        case _:
            return _digits(int(slot.removeprefix("digits")), rng)
