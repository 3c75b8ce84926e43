"""Tasks for people: the one place where a row of `annotation_queue` is made, and named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from typing import Any, Literal

import orjson
import polars as pl

from evalcov_pipeline.core.labels.decision import Purpose, Status
from evalcov_pipeline.errors import BadInput

_LETTERS = {
    Purpose.NEW_CASE: "q",
    Purpose.CALIBRATION: "q",
    Purpose.FAILURE: "f",
    Purpose.INCIDENT: "i",
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question to people: a row of `annotation_queue`, where each column is described."""

    task_id: str
    purpose: Purpose
    text: str
    text_hash: str
    reason: str
    designed: bool
    route: str
    priority: float
    raters_wanted: int
    created_at: datetime
    status: Status | Literal["superseded"] = "open"
    plan_id: str | None = None
    batch_id: str | None = None
    item_id: str | None = None
    incident_id: str | None = None
    selection: str | None = None
    inclusion_probability: float | None = None
    context: str | None = None
    answer: str | None = None
    tools: list[str] | None = None
    outcome: str | None = None
    cluster_id: int | None = None
    cluster_key: str | None = None
    cluster_label: str | None = None
    category: str | None = None
    source: str | None = None
    trace_id: str | None = None
    turn_index: int | None = None
    suggestion: str | None = None
    case_id: str | None = None
    merged_at: datetime | None = None
    resolved_at: datetime | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Task:
        """The task in a row of the table.

        Raises:
            BadInput: a purpose that nobody knows.
        """
        if row["purpose"] not in set(Purpose):
            raise BadInput(
                what=f"task {row['task_id']} has the purpose {row['purpose']!r}",
                where="annotation_queue.purpose",
                what_to_do=f"make it one of {', '.join(Purpose)}",
            )
        return cls(**{**row, "purpose": Purpose(row["purpose"])})


_SET_HERE = {"purpose", "raters_wanted", "created_at", "status"}
_SET_LATER = {"suggestion", "case_id", "merged_at", "resolved_at"}
_COLUMNS = {field.name for field in fields(Task)} - _SET_HERE - _SET_LATER
_REQUIRED = _COLUMNS & {field.name for field in fields(Task) if field.default is MISSING}


def task_id(purpose: Purpose, *key: object) -> str:
    """Name of the task with which somebody (the beginning of the key) asks about something.

    Its letter keeps spreadsheets from taking it for a number, as they would 1234567e8901.

    Args:
        purpose: what the task is for.
        key: who asks (a plan, a batch, an incident or a purpose), then about what.
    """
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).hexdigest()
    return f"{_LETTERS[purpose]}{digest[:12]}"


def build_tasks(
    rows: pl.DataFrame, purpose: Purpose, *, raters_wanted: int, created_at: datetime
) -> pl.DataFrame:
    """Open tasks: rows of `annotation_queue`.

    Args:
        rows: one row per task, redacted: what `Task` requires, and any of its fields that say where
            it came from and what was said.
        purpose: what the tasks are for.
        raters_wanted: independent labels that decide.
        created_at: instant of the queueing, naive UTC.

    Raises:
        ValueError: columns that are missing, or that a task does not have.
    """
    columns = set(rows.columns)
    if wrong := (_REQUIRED - columns) | (columns - _COLUMNS):
        raise ValueError(f"tasks lack these columns, or do not have them: {sorted(wrong)}")
    return rows.with_columns(
        purpose=pl.lit(purpose.value),
        status=pl.lit("open"),
        raters_wanted=pl.lit(raters_wanted, pl.Int64),
        created_at=pl.lit(created_at, pl.Datetime("us")),
    )


def conversation(context: str | None, query: str) -> list[dict[str, Any]]:
    """Messages of a task: what was said before, and the query."""
    before = orjson.loads(context) if context else []
    return [*before, {"role": "user", "content": query}]
