"""Keys, tokens and passwords in a text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

Span = tuple[int, int]

_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<![\w-])(?:"
    r"(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-)?[\w-]{16,}"  # model and payment providers
    r"|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"  # code hosts
    r"|xox[abeoprs]-[\w-]{10,}"  # chat
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|ya29\.[\w.-]{20,}"  # clouds
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|(?:npm|hf|shpat|dop_v1|lin_api|dckr_pat)_\w{16,}"
    r"|pypi-[\w-]{16,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web token
    r")",
    re.DOTALL,
)
_URL_LOGIN = re.compile(r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)")
_BEARER = re.compile(r"\b(?:bearer|basic)\s+([A-Za-z0-9+/_.~-]{16,}=*)", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:pass(?:word|wd|phrase|code)|pwd|secret|api[ _-]?key|token|access[ _-]?key|auth[ _-]?key"
    r"|credentials?)s?[\"']?"
    r"(?:\s*(?::=|=>|[:=])\s*|\s+(?:is|was|to)\s*:?\s+|\s+(?=[\"'`]))"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\n]{4,})(?P=quote)|(?P<bare>[^\s\"'`<>,;]{5,}))",
    re.IGNORECASE,
)
_FOLLOWING = re.compile(
    r"\b(?:password|passwd|pwd|key|token|secret)\s+(?=\S*\d)(?=\S*[^\W\d_])([^\s\"'`<>,;]{8,})",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\b(?:pin|cvv2?|cvc|otp|passcode|(?:security|verification|one[- ]time|login|access) code)"
    r"(?:\s+number)?\s*(?:is|was|:|=)\s*(\d{3,8})(?![\w.,]*\d)",
    re.IGNORECASE,
)
_BLOB = re.compile(r"(?<![\w/+.=@-])[A-Za-z0-9_+/-]{32,}={0,2}(?![\w/.-])")


def secrets(text: str) -> Iterator[Span]:
    """Credentials: keys of a known make, what is announced as one, and long random strings.

    A password counts when it is quoted or holds a digit or sign, so that "my password is wrong"
    stays; identifiers in hexadecimal (UUIDs, commit hashes) stay too.

    Args:
        text: any text.

    Yields:
        Start and end of each, without the words that announce it.
    """
    yield from (match.span() for match in _KEY.finditer(text))
    if "://" in text:
        yield from (match.span() for match in _URL_LOGIN.finditer(text))
    yield from (match.span(1) for match in _BEARER.finditer(text))
    for match in _NAMED.finditer(text):
        if match["quoted"]:
            yield match.span("quoted")
        elif _looks_chosen(bare := match["bare"].rstrip(".?!)")):
            yield match.start("bare"), match.start("bare") + len(bare)
    for match in _FOLLOWING.finditer(text):
        yield match.start(1), match.start(1) + len(match[1].rstrip(".?!)"))
    yield from (match.span(1) for match in _CODE.finditer(text))
    yield from (match.span() for match in _BLOB.finditer(text) if _looks_random(match.group()))


def _looks_chosen(word: str) -> bool:
    inner = word.strip("-'’()")
    return len(inner) >= 5 and any(not sign.isalpha() and sign not in "-'’/" for sign in inner)


def _looks_random(blob: str) -> bool:
    classes = (str.isupper, str.islower, str.isdigit)
    if not all(any(map(belongs, blob)) for belongs in classes):
        return False
    counts = Counter(blob).values()
    return -sum(n / len(blob) * math.log2(n / len(blob)) for n in counts) >= 4.0
