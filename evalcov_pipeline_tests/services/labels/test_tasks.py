"""Queue tasks: one builder, and names that labels out in the wild keep meeting."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

import polars as pl
import pytest

from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.labels.tasks import Task, build_tasks, task_id
from evalcov_pipeline.storage.schema import tables

ROW = {
    "task_id": "q1", "text": "where is it", "text_hash": "h", "reason": "largest gap",
    "route": "default", "priority": 1.0, "designed": True,
}  # fmt: skip
AT = datetime(2026, 11, 2)
TURN_AT = datetime(2026, 10, 28, 9, 30, 0, 125_000)


@pytest.mark.parametrize(
    ("purpose", "key", "name"),
    [
        (Purpose.NEW_CASE, ("plan-1", "abc"), "q1ea6ebab5174"),
        (Purpose.CALIBRATION, ("calibration", "t-1"), "qb0c144defbdb"),
        (Purpose.INCIDENT, ("INC-1", "t-1"), "i1a19609d72c3"),
        (Purpose.FAILURE, ("failures-2026-11-02", "otlp", "t-1", TURN_AT), "fd580fcd1e1f4"),
    ],
)
def test_a_task_has_the_name_that_exported_labels_know(
    purpose: Purpose, key: tuple[object, ...], name: str
) -> None:
    assert task_id(purpose, *key) == name


@pytest.mark.parametrize("purpose", Purpose)
def test_a_task_is_open_and_has_columns_of_the_queue_only(purpose: Purpose) -> None:
    task = build_tasks(pl.DataFrame([ROW]), purpose, raters_wanted=2, created_at=AT)
    assert {c.name for c in tables()["annotation_queue"].columns} >= set(task.columns)
    assert task.select("purpose", "status", "raters_wanted", "created_at").rows() == [
        (purpose.value, "open", 2, AT)
    ]


def test_a_task_knows_every_column_of_the_queue() -> None:
    columns = [column.name for column in tables()["annotation_queue"].columns]
    assert sorted(field.name for field in fields(Task)) == sorted(columns)


@pytest.mark.parametrize("rows", [{**ROW, "expected": "x"}, {"task_id": "q1"}])
def test_a_row_that_is_no_task_is_refused(rows: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="columns"):
        build_tasks(pl.DataFrame([rows]), Purpose.NEW_CASE, raters_wanted=1, created_at=AT)


def test_a_row_with_an_unknown_purpose_is_named() -> None:
    row = {**ROW, "purpose": "audit", "raters_wanted": 1, "created_at": AT}
    with pytest.raises(BadInput, match="task q1 has the purpose 'audit'"):
        Task.of(row)
