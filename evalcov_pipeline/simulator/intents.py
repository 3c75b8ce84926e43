"""What an intent is, and how its block of templates reads.

A template is one line. `[a|b|]` is a choice (an empty one included) and may nest; `{slot}` is
filled from `vocabulary.SLOTS`, by a generator, or with what the session has named before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Peak = Literal["morning", "evening", "night", "weekday", "weekend"]
Trend = Literal["steady", "growing", "arriving", "fading", "promotion"]


@dataclass(frozen=True)
class Intent:
    """One reason to write to the assistant: the hidden truth that the pipeline never sees."""

    name: str
    family: str
    weight: float
    """Relative share in an ordinary week; for an arriving intent, its part of the new feature."""
    asks: tuple[str, ...]
    answers: tuple[str, ...]
    follows: tuple[str, ...] = ()
    """What people write next about the same matter; means little alone."""
    tools: tuple[str, ...] = ()
    """Tool calls that a proper answer takes, in order."""
    topic: str | None = None
    """Shelf of the help centre that the answer is retrieved from."""
    then: tuple[str, ...] = ()
    """Intents that a session moves on to."""
    peak: Peak | None = None
    trend: Trend = "steady"
    difficulty: float = 0.12
    """Chance of a bad answer under the first system version."""


def intent(
    name: str,
    family: str,
    weight: float,
    asks: str,
    answers: str,
    follows: str = "",
    tools: str = "",
    topic: str | None = None,
    then: str = "",
    peak: Peak | None = None,
    trend: Trend = "steady",
    difficulty: float = 0.12,
) -> Intent:
    """Make an `Intent` of text blocks (a template per line) and space-separated names."""
    return Intent(
        name=name,
        family=family,
        weight=weight,
        asks=_lines(asks),
        answers=_lines(answers),
        follows=_lines(follows),
        tools=tuple(tools.split()),
        topic=topic,
        then=tuple(then.split()),
        peak=peak,
        trend=trend,
        difficulty=difficulty,
    )


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in block.strip().splitlines() if line.strip())
