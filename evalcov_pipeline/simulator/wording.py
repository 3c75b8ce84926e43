"""From a template to what a person types: slots, register, rambling, shorthand, typos."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random

from evalcov_pipeline.simulator.intents import Intent
from evalcov_pipeline.simulator.vocabulary import (
    CITIES,
    CLOSINGS,
    CONTEXTS,
    COUNTRIES,
    FAMILY_CONTEXTS,
    FRICTION,
    GADGETS,
    GREETINGS,
    NEIGHBOURS,
    PRODUCTS,
    REPHRASE_LEADS,
    SHORTHAND,
    SLOTS,
)

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_DETAIL = re.compile(r"\{(order|amount2?|model2?|n|version|code)\}")
_SLOT = re.compile(r"\{(\w+)\}")
_QUESTION = re.compile(
    r"^(where|when|what|which|who|why|how|is|are|do|does|did|can|could|has|have|will|would|should|and|am)\b",
    re.IGNORECASE,
)
RARE = 0.2
"""Weight of an alternative that holds a number: most people leave it out."""
UNNAMED = 0.7
"""Share of sessions that talk of "the item" or "the device" without naming it."""
REMEMBERED = frozenset(
    {"order", "product", "gadget", "amount", "city", "color", "relation", "model"}
)
"""Slots that keep their value within a session: people go on talking about the same thing."""


@dataclass(frozen=True)
class Register:
    """How somebody writes; every number is the chance of the habit in one message."""

    capitals: float
    stops: float
    greeting: float
    context: float
    closing: float
    typos: float
    shorthand: float


REGISTERS: tuple[tuple[float, Register], ...] = (
    (0.38, Register(0.6, 0.7, 0.2, 0.12, 0.15, 0.1, 0.03)),  # plain
    (0.25, Register(0.1, 0.1, 0.03, 0.03, 0.04, 0.15, 0.1)),  # terse
    (0.13, Register(1.0, 1.0, 0.5, 0.2, 0.4, 0.02, 0.0)),  # formal
    (0.14, Register(0.3, 0.5, 0.3, 0.7, 0.3, 0.15, 0.06)),  # rambling
    (0.1, Register(0.05, 0.1, 0.15, 0.1, 0.1, 0.5, 0.4)),  # hasty
)
CLEAN = Register(1.0, 1.0, 0.05, 0.1, 0.05, 0.0, 0.0)
"""How the authors of an eval suite write."""


@dataclass
class Memory:
    """What a session has named so far."""

    values: dict[str, str] = field(default_factory=dict)


def draw_register(rng: Random) -> Register:
    """One person's way of writing."""
    weights, registers = zip(*REGISTERS, strict=True)
    return rng.choices(registers, weights)[0]


def expand(template: str, memory: Memory, rng: Random) -> str:
    """Resolve the choices and slots of a template."""
    text = template
    while match := _CHOICE.search(text):
        options = match[1].split("|")
        option = rng.choices(options, [RARE if _DETAIL.search(o) else 1.0 for o in options])[0]
        text = text[: match.start()] + option + text[match.end() :]
    while match := _SLOT.search(text):
        text = text[: match.start()] + _fill(match[1], memory, rng) + text[match.end() :]
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"\s+([,.?!])", r"\1", text)


def ask(intent: Intent, memory: Memory, register: Register, rng: Random) -> str:
    """A first message about an intent."""
    request = expand(rng.choice(intent.asks), memory, rng)
    parts = [_stop(request, rng.random() < register.stops)]
    if rng.random() < register.context:
        contexts = (*CONTEXTS, *FAMILY_CONTEXTS[intent.family] * 5)
        context = _stop(expand(rng.choice(contexts), memory, rng), True)
        parts.insert(rng.randrange(2), context)
        parts[0] = _stop(parts[0], True)
    if rng.random() < register.greeting:
        parts[0] = f"{rng.choice(GREETINGS)}{rng.choice([',', ',', '!', ' -', ''])} {parts[0]}"
    if rng.random() < register.closing:
        parts[-1] = _stop(parts[-1], True)
        parts.append(expand(rng.choice(CLOSINGS), memory, rng))
    return dress(" ".join(parts), register, rng)


def follow_up(intent: Intent, register: Register, rng: Random) -> str:
    """A message that only makes sense after the one before it."""
    text = expand(rng.choice(intent.follows), Memory(), rng)
    return dress(_stop(text, rng.random() < register.stops), register, rng)


def rephrase(intent: Intent, memory: Memory, register: Register, rng: Random) -> str:
    """The same request in other words."""
    lead = rng.choice(REPHRASE_LEADS)
    request = expand(rng.choice(intent.asks), memory, rng)
    text = f"{lead}{rng.choice([':', ',', ''])} {request}" if lead else request
    return dress(_stop(text, rng.random() < register.stops), register, rng)


def object_to(intent: Intent, memory: Memory, register: Register, rng: Random) -> str:
    """Verbal friction, mostly with the request repeated."""
    text = rng.choice(FRICTION)
    if rng.random() < 0.7:
        text = f"{text}. {expand(rng.choice(intent.asks), memory, rng)}"
    return dress(_stop(text, rng.random() < register.stops), register, rng)


def dress(text: str, register: Register, rng: Random) -> str:
    """Apply capitals, shorthand and typos."""
    if rng.random() < register.shorthand:
        words = (
            SHORTHAND.get(word, word) if rng.random() < 0.6 else word for word in text.split(" ")
        )
        text = " ".join(words)
    if rng.random() < register.typos:
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            text = _typo(text, rng)
    if rng.random() < register.capitals:
        return _capitalise(text)
    return text.lower() if rng.random() < 0.6 else text


def _fill(slot: str, memory: Memory, rng: Random) -> str:
    if slot == "a_product":
        product = _fill("product", memory, rng)
        return f"an {product}" if product[0] in "aeiou" else f"a {product}"
    if slot == "products":
        return _fill("product", memory, rng) + "s"
    if slot in memory.values:
        return memory.values[slot]
    value = _draw(slot, rng)
    if slot in REMEMBERED:
        memory.values[slot] = value
    return value


def _draw(slot: str, rng: Random) -> str:
    number = rng.randrange
    match slot:
        case "product":
            return "item" if rng.random() < UNNAMED else rng.choice(PRODUCTS)
        case "product2":
            return rng.choice(PRODUCTS)
        case "gadget":
            return "smart device" if rng.random() < UNNAMED else rng.choice(GADGETS)
        case "city":
            return rng.choice(CITIES)
        case "country":
            return rng.choice(COUNTRIES)
        case "n":
            return str(number(2, 10))
        case "order":
            form = rng.choice(["NL-{:08d}", "#{:06d}", "NL{:08d}", "{:06d}"])
            return form.format(number(100_000, 1_000_000))
        case "amount" | "amount2":
            value = round(rng.lognormvariate(4.2, 0.8), 2)
            form = rng.choice(
                ["${:.2f}", "£{:.2f}", "{:.2f} euros", "€{:.0f}", "{:.0f} dollars", "${:.0f}"]
            )
            return form.format(value)
        case "model" | "model2":
            letters = "".join(rng.choices("ABDHKLMRSTX", k=2))
            return f"{letters}-{number(100, 5000)}{rng.choice(['', '-B', 'S', ' Pro'])}"
        case "code":
            return rng.choice(["AUTUMN", "HELLO", "CLUB", "SAVE", "NEWS", "LIGHT"]) + str(
                number(5, 41, 5)
            )
        case "version":
            return f"{number(1, 6)}.{number(0, 12)}.{number(0, 30)}"
        case "date":
            return rng.choice(["{0}/{1}", "{1}.{0}.", "{1:02d}-{0:02d}"]).format(
                number(8, 12), number(1, 29)
            )
        case _:
            return expand(rng.choice(SLOTS[slot]), Memory(), rng)


def _stop(text: str, wanted: bool) -> str:
    if not wanted or text[-1] in ".?!":
        return text
    return text + ("?" if _QUESTION.match(text) else ".")


def _capitalise(text: str) -> str:
    text = re.sub(r"(^|[.?!] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    return re.sub(r"\bi\b(?!\.)", "I", text)


def _typo(text: str, rng: Random) -> str:
    """One slip in a word without digits; product codes, amounts and the like stay whole."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 1)
    match rng.choice(["swap", "drop", "double", "neighbour"]):
        case "swap":
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case "drop":
            word = word[:at] + word[at + 1 :]
        case "double":
            word = word[:at] + word[at] + word[at:]
        case _:
            word = word[:at] + NEIGHBOURS.get(word[at], word[at]) + word[at + 1 :]
    return " ".join([*words[:place], word, *words[place + 1 :]])
