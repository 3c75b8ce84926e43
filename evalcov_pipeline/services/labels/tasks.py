"""Tasks for people: the one place where a row of `annotation_queue` is made, and named."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from evalcov_pipeline.core.labels.decision import Purpose

_LETTERS = {
    Purpose.NEW_CASE: "q",
    Purpose.CALIBRATION: "q",
    Purpose.FAILURE: "f",
    Purpose.INCIDENT: "i",
}
_REQUIRED = {"task_id", "text", "text_hash", "reason", "route", "priority", "designed"}
_OPTIONAL = {
    "plan_id", "batch_id", "item_id", "incident_id", "selection", "inclusion_probability",
    "context", "answer", "tools", "outcome", "cluster_id", "cluster_key", "cluster_label",
    "category", "source", "trace_id", "turn_index",
}  # fmt: skip


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
        rows: one row per task, redacted: task_id, text, text_hash, reason, route, priority and
            designed, and any of the table's columns that say where it came from and what was said.
        purpose: what the tasks are for.
        raters_wanted: independent labels that decide.
        created_at: instant of the queueing, naive UTC.

    Raises:
        ValueError: columns that are missing, or that a task does not have.
    """
    columns = set(rows.columns)
    if wrong := (_REQUIRED - columns) | (columns - _REQUIRED - _OPTIONAL):
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
