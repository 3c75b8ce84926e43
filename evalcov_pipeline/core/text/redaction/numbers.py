"""Numbers that name a person, an account or a machine, told from other numbers by their rules."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import phonenumbers

Span = tuple[int, int]

IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d{2})",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29"
        "ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20"
        "LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29"
        "PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20"
        "YE30",
    )
}
"""Length by country; the SWIFT registry of IBAN formats."""

LONGEST_CARD = 19
"""Digits of the longest payment card number (ISO/IEC 7812)."""

_ISSUERS = re.compile(
    r"4(?:\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners
    r"|(?:6011|64[4-9]\d|65\d{2}|62\d{2})\d{12,15}"  # Discover, UnionPay
    r"|35\d{14}|(?:2131|1800)\d{11}"  # JCB
    r"|(?:50[0-9]{2}|5[6-8]\d{2}|6[37]\d{2})\d{12,15}"  # Maestro
)
_DIGIT_RUN = re.compile(r"(?<![\w.])\d+(?:[ \-–]\d+)*(?!\w)")
_GROUP = re.compile(r"\d+")
_IBAN_START = re.compile(r"(?<![^\W_])[A-Z]{2}\d{2}", re.IGNORECASE)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:\.\d+){0,3}(?![\w:])", re.I)
_VERSION_CUE = re.compile(r"\b(?:v|ver|version|release|build|firmware|driver|update)[ .:]*$", re.I)
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_REFERENCE_CUE = re.compile(
    r"\b(?:order|invoice|ticket|case|tracking|reference|ref|booking|item|sku|product|serial|model"
    r"|part|isbn|ean|upc|imei|version|build|amount|total|id)(?:[ -]?(?:number|no|nr|num|id|code))?"
    r"\.?(?:\s+(?:is|was))?\s*[:#=-]*\s*#?$",
    re.IGNORECASE,
)
_PHONE_SHAPE = re.compile(
    r"(?<![\w+(./-])(?:\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,6}"
    r"|(?:\+?1[ .-]?)?\(\d{2,5}\)[ .-]?\d{3,4}[ .-]?\d{3,5}"
    r"|\d{3}([.-])\d{3}\1\d{4})(?: ?(?:x|ext\.?) ?\d{1,6})?(?![\w-]|[.,]\d)"
)
_PHONE_CUE = re.compile(
    r"\b(?:phone|telephone|tel|cell|mobile|whatsapp|landline|call|ring|text|reach|dial|sms|fax"
    r"|my (?:new |old )?number)\b[^\d\n@]{0,24}?(?<![\w-])"
    r"(?!\d{4}-\d\d-\d\d\b|\d\d?\.\d\d?\.(?:19|20)\d\d\b)"  # dates
    r"(\+?\(?\d[\d ().\-–/]{5,18}\d)(?![\w-])",
    re.IGNORECASE,
)


def known_region(region: str) -> str:
    """Check a region for `phones`.

    Args:
        region: ISO 3166 alpha-2.

    Returns:
        The same in capitals.

    Raises:
        ValueError: no telephone numbering plan under that name.
    """
    if region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"unknown region {region!r} for telephone numbers, expected such as 'US'")
    return region.upper()


def cards(text: str) -> Iterator[Span]:
    """Payment card numbers: an issuer's prefix and length, and a valid Luhn digit.

    Args:
        text: any text.

    Yields:
        Start and end of each.
    """
    for run in _DIGIT_RUN.finditer(text):
        if _REFERENCE_CUE.search(text, max(0, run.start() - 32), run.start()):
            continue
        groups = [match.span() for match in _GROUP.finditer(text, *run.span())]
        after = -1
        for index, (start, _) in enumerate(groups):
            if start < after:
                continue
            digits, card_end = "", -1
            for first, end in groups[index : index + LONGEST_CARD]:
                digits += text[first:end]
                if len(digits) > LONGEST_CARD:
                    break
                if _ISSUERS.fullmatch(digits) and luhn_valid(digits):
                    card_end = end
            if card_end > 0:
                yield start, card_end
                after = card_end


def luhn_valid(digits: str) -> bool:
    """Say whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1).

    Args:
        digits: decimal digits.

    Returns:
        True where the checksum is a multiple of ten.
    """
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def ibans(text: str) -> Iterator[Span]:
    """Bank account numbers: the country's length and a valid checksum (ISO 13616).

    Args:
        text: any text.

    Yields:
        Start and end of each.
    """
    for match in _IBAN_START.finditer(text):
        length = IBAN_LENGTHS.get(match.group()[:2].upper())
        if length is None:
            continue
        account = re.match(rf"[A-Z]{{2}}\d{{2}}(?:[ -]?[A-Z0-9]){{{length - 4}}}(?![^\W_])",
                           text[match.start() :], re.IGNORECASE)  # fmt: skip
        if account is None:
            continue
        compact = re.sub("[ -]", "", account.group()).upper()
        if int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1:
            yield match.start(), match.start() + account.end()


def ip_addresses(text: str) -> Iterator[Span]:
    """Internet addresses of both versions, but no version numbers and no times of day.

    Args:
        text: any text.

    Yields:
        Start and end of each.
    """
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            if not _VERSION_CUE.search(text, max(0, match.start() - 16), match.start()):
                yield match.span()
    if text.count(":") >= 2:
        for match in _IPV6.finditer(text):
            if re.search(r"\d", match.group()) and _is_ip(match.group()):
                yield match.span()


def social_security_numbers(text: str) -> Iterator[Span]:
    """Social security numbers of the United States, written with hyphens.

    Args:
        text: any text.

    Yields:
        Start and end of each.
    """
    return (match.span() for match in _SSN.finditer(text))


def phones(text: str, region: str) -> Iterator[Span]:
    """Telephone numbers: valid in a numbering plan, of a telephone number's shape, or announced.

    Shape and announcement find what the plan of one region does not hold: numbers of another
    region without its code, mistyped ones, ranges reserved for fiction.

    Args:
        text: any text.
        region: where a number without a country code belongs.

    Yields:
        Start and end of each.
    """
    if sum(map(text.count, "0123456789")) < 7:
        return
    for match in phonenumbers.PhoneNumberMatcher(text, region):
        if not _REFERENCE_CUE.search(text, max(0, match.start - 32), match.start):
            yield match.start, match.end
    for shaped in _PHONE_SHAPE.finditer(text):
        if 8 <= sum(map(str.isdigit, shaped.group())) <= 21:
            yield shaped.span()
    for announced in _PHONE_CUE.finditer(text):
        cue = text[announced.start() : announced.start(1)]
        if 7 <= sum(map(str.isdigit, announced.group(1))) <= 15 and not _REFERENCE_CUE.search(cue):
            yield announced.span(1)


def _is_ip(candidate: str) -> bool:
    try:
        ipaddress.ip_address(candidate)
    except ValueError:
        return False
    return True
