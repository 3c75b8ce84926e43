"""Least numbers that a draw or a selection has to hold of a kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Floor:
    """At least this many cases whose `column` (segment, category ...) has the value."""

    column: str
    value: str
    cases: int
