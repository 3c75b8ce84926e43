"""What people's labels on one task come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Status = Literal["open", "labelled", "adjudicate", "kept", "rejected"]


@dataclass(frozen=True)
class Label:
    """What one rater says about one task.

    Attributes:
        rater: who.
        keep: worth an eval case.
        passed: the answer of production was good; None where it was not judged.
        expected: expected answer.
        category: the team's own grouping.
        note: remark.
        first_at: the rater's first label on the task.
        at: this label.
    """

    rater: str
    keep: bool
    passed: bool | None
    expected: str | None
    category: str | None
    note: str | None
    first_at: datetime
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """The state of a task, and the label that holds once it is decided.

    Attributes:
        status: open, labelled (more labels are wanted), adjudicate, kept or rejected.
        label: what was decided; None before.
        raters: whose labels decided, in order of their first label.
        decided_at: when; None before.
    """

    status: Status
    label: Label | None = None
    raters: tuple[str, ...] = ()
    decided_at: datetime | None = None


def resolve(labels: Sequence[Label], raters_wanted: int) -> Outcome:
    """Decide a task from the labels on it.

    The first `raters_wanted` raters label independently. They agree when they say the same about
    `keep`, and of a kept case about `passed` and `category`. If not, every later rater adjudicates,
    and the newest adjudication holds. Expected answer and note are those of the newest deciding
    label that has one.

    Args:
        labels: at most one per rater, in any order.
        raters_wanted: independent labels that decide, >= 1.

    Raises:
        ValueError: a rater twice, or nobody wanted.
    """
    if raters_wanted < 1 or len({label.rater for label in labels}) < len(labels):
        raise ValueError("need at least one rater, and one label of each")
    ordered = sorted(labels, key=lambda label: (label.first_at, label.rater))
    independent, later = ordered[:raters_wanted], ordered[raters_wanted:]
    if len(independent) < raters_wanted:
        return Outcome("labelled" if ordered else "open")
    if len({_verdict(label) for label in independent}) > 1:
        if not later:
            return Outcome("adjudicate")
        independent = [max(later, key=lambda label: (label.at, label.rater))]
    newest = sorted(independent, key=lambda label: (label.at, label.rater), reverse=True)
    held = newest[0]
    decided = Label(
        rater=held.rater,
        keep=held.keep,
        passed=held.passed,
        expected=next((label.expected for label in newest if label.expected), None),
        category=held.category,
        note=next((label.note for label in newest if label.note), None),
        first_at=held.first_at,
        at=held.at,
    )
    return Outcome(
        status="kept" if held.keep else "rejected",
        label=decided,
        raters=tuple(label.rater for label in independent),
        decided_at=held.at,
    )


def _verdict(label: Label) -> tuple[bool, bool | None, str | None]:
    return (True, label.passed, label.category) if label.keep else (False, None, None)
