"""Personal data and secrets out of a text, before it leaves the lake.

What a rule can decide, a rule decides: cards by Luhn and issuer, IBANs by country length and
checksum, telephone numbers by `phonenumbers` (the numbering plans of all countries), addresses of
machines by `ipaddress`. Names are the soft part: cues ("my name is", "Dear", "Regards,") and a list
of frequent names find most Latin-script ones, and nothing here finds the rest.

Nothing is kept: no mapping from placeholder to value exists, in memory or on disk.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evalcov_pipeline.core.text.redaction.credentials import secrets
from evalcov_pipeline.core.text.redaction.names import names_of_people
from evalcov_pipeline.core.text.redaction.numbers import (
    cards,
    ibans,
    ip_addresses,
    known_region,
    phones,
    social_security_numbers,
)

Span = tuple[int, int]

KINDS = ("SECRET", "EMAIL", "IBAN", "CARD", "IP", "SSN", "PHONE", "NAME")
"""What is looked for, in order of precedence where two findings overlap."""

_EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]+@(?:[\w-]+\.)+[^\W\d_]{2,}"
)
_SPELT_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]+(?: dot [\w-]+)*"
    r"(?:\s?[\[({]\s?at\s?[\])}]\s?[\w-]+(?:\s?(?:\.|[\[({]\s?dot\s?[\])}]| dot )\s?[\w-]+)+"
    r"| at [\w-]++(?: dot [\w-]++)++(?! at\b))",
    re.IGNORECASE,
)


@dataclass(frozen=True, order=True)
class Finding:
    """A piece of a text that must not leave.

    Attributes:
        start: first character.
        end: one past the last character.
        kind: one of `KINDS`, or the name of an extra pattern.
    """

    start: int
    end: int
    kind: str


class Redactor:
    """Replaces personal data and secrets by placeholders such as ``<EMAIL>``.

    Deterministic and, without an own callable, idempotent.

    Args:
        patterns: extra regular expressions by the name of their placeholder; they take precedence.
        function: an own callable `text -> text`, as "package.module:name", applied last.
        names: whether names of people are looked for.
        default_region: of telephone numbers without a country code (ISO 3166 alpha-2).

    Raises:
        ValueError: a pattern that is no regular expression or has no usable name, an own callable
            that cannot be imported, or an unknown region.
    """

    def __init__(
        self,
        patterns: Mapping[str, str] | None = None,
        function: str | None = None,
        *,
        names: bool = True,
        default_region: str = "US",
    ) -> None:
        """Compile the patterns and import the own callable."""
        region = known_region(default_region)
        patterns = patterns or {}
        self._detectors: list[tuple[str, Callable[[str], Iterable[Span]]]] = [
            (name, _pattern(name, expression)) for name, expression in patterns.items()
        ]
        self._detectors += [
            ("SECRET", secrets),
            ("EMAIL", _emails),
            ("IBAN", ibans),
            ("CARD", cards),
            ("IP", ip_addresses),
            ("SSN", social_security_numbers),
            ("PHONE", lambda text: phones(text, region)),
        ]
        if names:
            self._detectors.append(("NAME", names_of_people))
        placeholders = "|".join(dict.fromkeys([*patterns, *KINDS]))
        self._placeholder = re.compile(f"<(?:{placeholders})>")
        self._own = _imported(function) if function else None

    def find(self, text: str) -> list[Finding]:
        """Find what would be replaced.

        Args:
            text: any text.

        Returns:
            Findings that do not overlap, in the order of the text.
        """
        taken = [match.span() for match in self._placeholder.finditer(text)]
        findings = []
        for kind, detector in self._detectors:
            for start, end in detector(text):
                place = bisect(taken, (start, end))
                after_last = place == 0 or taken[place - 1][1] <= start
                before_next = place == len(taken) or end <= taken[place][0]
                if after_last and before_next:
                    taken.insert(place, (start, end))
                    findings.append(Finding(start, end, kind))
        return sorted(findings)

    def redact(self, text: str) -> str:
        """Replace what `find` finds, until it finds nothing.

        Args:
            text: any text.

        Returns:
            The text with placeholders.

        Raises:
            ValueError: the own callable failed, or did not return a text.
        """
        while findings := self.find(text):
            pieces, position = [], 0
            for finding in findings:
                pieces += [text[position : finding.start], f"<{finding.kind}>"]
                position = finding.end
            text = "".join([*pieces, text[position:]])
        if self._own is None:
            return text
        try:
            result = self._own(text)
        except Exception as error:
            raise ValueError(f"the redaction function failed: {error!r}") from error
        if not isinstance(result, str):
            raise ValueError(f"the redaction function returned {type(result).__name__}, not a text")
        return result

    def redact_all(self, texts: Sequence[str]) -> list[str]:
        """`redact` over many texts.

        Args:
            texts: n texts.

        Returns:
            n texts, in the same order.
        """
        return [self.redact(text) for text in texts]


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text))
    if " at " in (lowered := text.lower()) or "at]" in lowered or "at)" in lowered:
        yield from (match.span() for match in _SPELT_EMAIL.finditer(text))


def _pattern(name: str, expression: str) -> Callable[[str], Iterable[Span]]:
    if not re.fullmatch("[A-Z][A-Z0-9_]*", name):
        raise ValueError(f"redaction pattern {name!r}: name it in capitals, such as ORDER_ID")
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise ValueError(f"redaction pattern {name}: {error}") from error
    return lambda text: (match.span() for match in compiled.finditer(text) if match.group())


def _imported(path: str) -> Callable[[str], object]:
    module, _, name = path.partition(":")
    try:
        own = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"redaction function {path!r} cannot be imported: {error}") from error
    if not callable(own):
        raise ValueError(f"redaction function {path!r} is not callable")
    return own  # type: ignore[no-any-return]
