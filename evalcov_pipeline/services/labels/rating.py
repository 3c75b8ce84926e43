"""A rater's word on a task: recorded only if it still counts, taken back while nobody followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import duckdb

from evalcov_pipeline.core.labels.decision import Purpose, lacks_truth, makes_regression
from evalcov_pipeline.services.labels.merging import is_unanswered
from evalcov_pipeline.services.labels.queue import SUGGESTED, read_task, record_labels
from evalcov_pipeline.services.labels.tasks import Task
from evalcov_pipeline.storage.warehouse import frame

VIA = "review"
_LONGEST = {"expected": 20_000, "category": 200, "note": 5_000}


class Conflict(Exception):
    """A label that does not count any more, because of what others did in the meantime."""


@dataclass(frozen=True)
class Rating:
    """What a rater says about a task; `keep` is None as long as it is undecided."""

    keep: bool | None = None
    passed: bool | None = None
    expected: str | None = None
    category: str | None = None
    note: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Rating:
        """The rating in a label or a suggestion; values of the wrong type are left out."""
        keep, passed = row.get("keep"), row.get("passed")
        expected, category, note = row.get("expected"), row.get("category"), row.get("note")
        return cls(
            keep=keep if isinstance(keep, bool) else None,
            passed=passed if isinstance(passed, bool) else None,
            expected=expected if isinstance(expected, str) else None,
            category=category if isinstance(category, str) else None,
            note=note if isinstance(note, str) else None,
        )

    @property
    def is_blank(self) -> bool:
        """Whether nothing was said."""
        return self == Rating()

    @property
    def problem(self) -> str | None:
        """Why the rating cannot be recorded, or None."""
        for name, longest in _LONGEST.items():
            if len(getattr(self, name) or "") > longest:
                return f"The field “{name}” holds more than {longest:,} characters."
        return "Choose keep or reject." if self.keep is None else None

    def gap(self, task: Task) -> str | None:
        """What is missing to keep a failure, which becomes a regression case; None for nothing."""
        if not self.keep or task.purpose not in (Purpose.FAILURE, Purpose.INCIDENT):
            return None
        if task.purpose is Purpose.FAILURE and task.answer and self.passed is None:
            return "Say whether production’s answer was good: that is what this case is about."
        if not makes_regression(task.purpose, self.passed):
            return None
        failed = None if self.passed else task.answer
        if (reason := lacks_truth(self.expected, failed)) is None:
            return None
        return (
            "Write the expected answer: a failure that is kept guards the product for good, and"
            f" {reason}."
        )


def labels_on(con: duckdb.DuckDBPyConnection, task_id: str) -> list[dict[str, Any]]:
    """What people say now about a task: rows of `annotations`, in order of the first label."""
    rows = frame(
        con,
        "SELECT * FROM annotations WHERE task_id = ? AND via != ? ORDER BY first_at, rater",
        [task_id, SUGGESTED],
    )
    return rows.to_dicts()


def record(
    con: duckdb.DuckDBPyConnection,
    task_id: str,
    rater: str,
    rating: Rating,
    *,
    adjudicates: bool,
    at: datetime,
    redact_all: Callable[[Sequence[str]], list[str]],
) -> None:
    """Record a label, if one is still wanted; one that was sent twice counts once.

    A kept failure without an expected answer wants one from anybody, also from who labelled it.

    Args:
        con: a writing connection.
        task_id: what it is about.
        rater: who says so.
        rating: with a decision.
        adjudicates: the rater saw the labels that disagree.
        at: now, naive UTC.
        redact_all: takes personal data out of texts.

    Raises:
        Conflict: no label of this rater is wanted on the task any more, or not in this way.
    """
    task = read_task(con, task_id)
    if task is None:
        raise Conflict("This case is no longer in the queue.")
    rating = _redacted(rating, redact_all)
    labels = labels_on(con, task_id)
    mine = next((row for row in labels if row["rater"] == rater), None)
    if mine is not None:
        if Rating.of(mine) == rating:
            return
        if not is_unanswered(con, task):
            raise Conflict("You labelled this case in the meantime.")
    elif labels and task.status in ("kept", "rejected") and not is_unanswered(con, task):
        raise Conflict("This case was decided in the meantime.")
    if task.status == "adjudicate" and not adjudicates:
        raise Conflict("Two people labelled this case in the meantime, and they disagree.")
    _record(con, task_id, rater, rating, at=at, redact_all=redact_all)


def take_back(
    con: duckdb.DuckDBPyConnection,
    task_id: str,
    rater: str,
    *,
    at: datetime,
    redact_all: Callable[[Sequence[str]], list[str]],
) -> Rating:
    """Take a rater's label back.

    Returns:
        What it said; nothing for calibration, where every label starts from a blank form.

    Raises:
        Conflict: it is not there any more, or somebody labelled the task after it.
    """
    labels = labels_on(con, task_id)
    mine = next((row for row in labels if row["rater"] == rater), None)
    if mine is None:
        raise Conflict("Your label on this case was taken back already.")
    if labels[-1] is not mine:
        raise Conflict("Somebody labelled this case after you, so your label stays.")
    _record(con, task_id, rater, Rating(), at=at, redact_all=redact_all, withdrawn=True)
    task = read_task(con, task_id)
    return Rating() if task and task.purpose is Purpose.CALIBRATION else Rating.of(mine)


def _record(
    con: duckdb.DuckDBPyConnection,
    task_id: str,
    rater: str,
    rating: Rating,
    *,
    at: datetime,
    redact_all: Callable[[Sequence[str]], list[str]],
    withdrawn: bool = False,
) -> None:
    told = {"task_id": task_id, "rater": rater, "withdrawn": withdrawn, "at": at}
    label = told | asdict(rating)
    record_labels(con, [label], via=VIA, recorded_at=at, redact_all=redact_all)


def _redacted(rating: Rating, redact_all: Callable[[Sequence[str]], list[str]]) -> Rating:
    """The rating as it will be recorded."""

    def clean(text: str | None) -> str | None:
        return redact_all([text])[0] if text else text

    return replace(rating, expected=clean(rating.expected), note=clean(rating.note))
