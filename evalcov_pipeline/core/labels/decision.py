"""What people's labels on one task come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from evalcov_pipeline.core.text.normalise import normalise

Status = Literal["open", "labelled", "adjudicate", "kept", "rejected"]

UNCATEGORISED = "uncategorised"
"""Stands for a category, or a kind of failure, that nobody has named."""


class Purpose(StrEnum):
    """What a task is for.

    A new case is what a refresh asks about. Of a failure or an incident a regression case becomes.
    By calibration judges are held against people. Only a new case gets suggested labels.
    """

    NEW_CASE = "new_case"
    FAILURE = "failure"
    INCIDENT = "incident"
    CALIBRATION = "calibration"


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


def resolve(
    labels: Sequence[Label], raters_wanted: int, failed_answer: str | None = None
) -> Outcome:
    """Decide a task from the labels on it.

    The first `raters_wanted` raters label independently. They agree when they say the same about
    `keep`, and of a kept case about `passed` and `category`. If not, every later rater adjudicates,
    and the newest adjudication holds. Expected answer and note are those of the newest deciding
    label that has one. Where none of them has one that can be ground truth (see `lacks_truth`), a
    kept case takes that of the newest later label that keeps it too and says the same about
    `passed`: its rater completes the decision.

    Args:
        labels: at most one per rater, in any order.
        raters_wanted: independent labels that decide, >= 1.
        failed_answer: answer of production that is asked about as a failure; None for others.

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

    def is_true(label: Label) -> bool:
        wrong = None if label.passed else failed_answer
        return lacks_truth(label.expected, wrong) is None

    completing = [
        label
        for label in later
        if label not in independent
        and (label.keep, label.passed) == (True, held.passed)
        and is_true(label)
    ]
    if held.keep and completing and not any(map(is_true, independent)):
        newest.insert(0, max(completing, key=lambda label: (label.at, label.rater)))
        independent.append(newest[0])
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
        decided_at=max(held.at, newest[0].at),
    )


def makes_regression(purpose: Purpose, passed: bool | None) -> bool:
    """Whether a kept task of a purpose is to guard against a known failure.

    One of an incident always is, one of a failure batch or for calibration if people say that
    production's answer failed.
    """
    return purpose is Purpose.INCIDENT or (purpose is not Purpose.NEW_CASE and passed is False)


def lacks_truth(expected: str | None, failed_answer: str | None) -> str | None:
    """Why an expected answer cannot be the ground truth of a regression case; None where it can.

    Args:
        expected: what people expect.
        failed_answer: what production answered, where people do not call that good.
    """
    if expected is None or not (spelled := normalise(expected)):
        return "nobody has said what would have been right"
    if failed_answer and spelled.casefold() == normalise(failed_answer).casefold():
        return "what is expected is the answer that failed"
    return None


def _verdict(label: Label) -> tuple[bool, bool | None, str | None]:
    return (True, label.passed, label.category) if label.keep else (False, None, None)
