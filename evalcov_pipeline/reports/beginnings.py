"""How sessions begin, step by step, and which of these beginnings a case shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

START, END, JOINT = "^", "$", " > "
POOLED = "\0pooled"
"""Stands for all steps that are not told apart."""
MOST_STEPS = 11
"""Steps of a column that are told apart; the others are pooled."""
_LEAST_REST = 0.0005

State = Literal["walked", "unsure", "untested", "pooled"]
Steps = tuple[str, ...]


@dataclass(frozen=True)
class Beginning:
    """Sessions that begin with the same steps.

    Attributes:
        steps: from the first; the last may be `END` or `POOLED`.
        share: of sessions, 0..1.
        low: lower end of its 95 % interval; None for the pooled rest.
        high: upper end of its 95 % interval; None for the pooled rest.
        cases: eval cases that begin so; None for the pooled rest.
        state: whether a case begins so: walked, unsure (none does, which chance may explain in a
            suite of this size), untested (none does) or pooled.
    """

    steps: Steps
    share: float
    low: float | None
    high: float | None
    cases: int | None
    state: State


def beginnings(paths: pl.DataFrame, depth: int) -> list[Beginning]:
    """The first steps of sessions; what is rare is pooled, so that nothing is lost.

    Paths from the start of a session exclude each other: those that go on from one beginning sum to
    its share, and all of one step to 1.

    Args:
        paths: rows of `sequence_coverage` of one kind.
        depth: steps to follow.

    Returns:
        Beginnings by their number of steps; empty without a path from the start.
    """
    known = {}
    for row in paths.iter_rows(named=True):
        steps = steps_of(row["ngram"], row["length"])
        if steps and steps[0] == START and len(steps) > 1:
            known[steps[1:]] = row
    shared: list[Beginning] = []
    going_on: dict[Steps, float] = {(): 1.0}
    for length in range(1, depth + 1):
        here = {
            steps: row
            for steps, row in known.items()
            if len(steps) == length and steps[:-1] in going_on
        }
        if not here:
            break
        told_apart = _largest(here)
        rest, going_on = going_on, {}
        for steps, row in here.items():
            if steps[-1] in told_apart:
                shared.append(_beginning(steps, row))
                rest[steps[:-1]] -= row["production_share"]
                if steps[-1] != END:
                    going_on[steps] = row["production_share"]
        shared += [
            Beginning((*steps, POOLED), share, None, None, None, "pooled")
            for steps, share in rest.items()
            if share > _LEAST_REST
        ]
    return shared


def steps_of(ngram: str, length: int) -> Steps | None:
    """Steps of an n-gram; None where a name in it holds the joint itself."""
    steps = tuple(ngram.split(JOINT))
    return steps if len(steps) == length else None


def _largest(rows: Mapping[Steps, Mapping[str, Any]]) -> set[str]:
    """The end, and the steps that most sessions come to."""
    shares: defaultdict[str, float] = defaultdict(float)
    for steps, row in rows.items():
        shares[steps[-1]] += row["production_share"]
    shares.pop(END, None)
    return {END, *sorted(shares, key=lambda step: (-shares[step], step))[:MOST_STEPS]}


def _beginning(steps: Steps, row: Mapping[str, Any]) -> Beginning:
    without_case: State = "untested" if row["status"] == "gap" else "unsure"
    return Beginning(
        steps=steps,
        share=row["production_share"],
        low=row["production_share_low"],
        high=row["production_share_high"],
        cases=row["eval_cases"],
        state="walked" if row["eval_cases"] else without_case,
    )
