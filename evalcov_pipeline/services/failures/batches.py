"""The weekly batch of turns that people look at because something seems to have gone wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb
import polars as pl

from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.core.traffic.weeks import end_of_week
from evalcov_pipeline.services.failures.draw import Batch, batch_id, draw_batch
from evalcov_pipeline.services.failures.precision import (
    ANY,
    NONE,
    judged_picks,
    precision_rows,
    precisions,
)
from evalcov_pipeline.services.failures.turns import sampling_frame
from evalcov_pipeline.services.labels.queue import WAITING, enqueue, supersede
from evalcov_pipeline.services.traffic.texts import add_texts
from evalcov_pipeline.services.traffic.turns import TURN
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import traffic_span
from evalcov_pipeline.storage.warehouse import Warehouse, frame, one_row, replace_slice

TREND_WEEKS = 26
"""Weeks of signals that a trend shows."""
MOST_WAITING = 2
"""Batches' worth of tasks that may wait; with more, nobody is asked about more."""


@dataclass(frozen=True)
class FailureWeek:
    """What is known of a week's failures.

    Attributes:
        precision: rows of `signal_precision`.
        batch: what is to be recorded; None where the week has its batch, or gets none.
        note: why there is none; None where there is nothing to say.
    """

    precision: pl.DataFrame
    batch: Batch | None
    note: str | None


def signal_weeks(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """as_of, signal and n_signals of `TREND_WEEKS` weeks up to one, oldest first."""
    return frame(
        con,
        "SELECT as_of, signal, n_signals FROM signal_precision"
        " WHERE as_of <= $1 AND as_of > $1 - to_weeks($2) ORDER BY as_of, signal",
        [as_of, TREND_WEEKS],
    )


def examine_week(
    warehouse: Warehouse, settings: Settings, as_of: datetime, created_at: datetime, *, ask: bool
) -> FailureWeek:
    """Measure how often signals were right up to a week, and draw its batch; writes nothing.

    Args:
        warehouse: signals, labels and suite.
        settings: size and shares of the batch.
        as_of: end of the week.
        created_at: wall clock, naive UTC.
        ask: whether the week may get a batch.
    """
    turns = sampling_frame(settings.lake, as_of)
    span = traffic_span(settings.lake)
    with warehouse.reader() as con:
        signals = _signals(con, as_of, turns)
        picks = judged_picks(con, as_of, span and end_of_week(span[1]))
        measured = precisions(picks, signals["signal"].unique())
        n_signalled = signals["turn"].n_unique()
        counts = dict(signals.group_by("signal").len().iter_rows())
        counts |= {ANY: n_signalled, NONE: len(turns) - n_signalled}
        rows = (
            precision_rows(as_of, measured, counts) if len(turns) else precision_rows(as_of, {}, {})
        )
        refusal = (
            _refusal(con, settings, as_of)
            if len(signals)
            else "no turn bears a signal: nobody is asked"
        )
        batch = None
        if ask and not refusal:
            batch = draw_batch(con, settings, as_of, created_at, turns, signals, measured)
    return FailureWeek(rows, batch, refusal if ask else None)


def record_week(con: duckdb.DuckDBPyConnection, as_of: datetime, week: FailureWeek) -> None:
    """Write what `examine_week` found.

    A batch takes the place of the week's earlier one as long as nobody has labelled any of it:
    tasks that both ask stay as old as they are, others are superseded.
    """
    replace_slice(con, "signal_precision", week.precision, as_of=as_of)
    if week.batch is None or _is_labelled(con, week.batch.batch_id):
        return
    name, tasks = week.batch.batch_id, week.batch.tasks
    before = frame(
        con, "SELECT task_id, created_at FROM annotation_queue WHERE batch_id = ?", [name]
    )
    old = dict(before.iter_rows())
    tasks = tasks.with_columns(
        created_at=pl.struct("task_id", "created_at").map_elements(
            lambda task: old.get(task["task_id"], task["created_at"]), pl.Datetime("us")
        )
    )
    task_ids = tasks["task_id"].to_list()
    row = week.batch.row() | {"created_at": tasks["created_at"].min()}
    con.execute(
        "DELETE FROM annotation_queue WHERE batch_id = ? AND list_contains(?, task_id)",
        [name, task_ids],
    )
    supersede(con, [name], week.batch.created_at)
    enqueue(con, tasks)
    add_texts(con, week.batch.texts)
    replace_slice(
        con, "failure_batches", pl.DataFrame([row], infer_schema_length=None), batch_id=name
    )
    replace_slice(con, "failure_picks", week.batch.picks, batch_id=name)


@dataclass(frozen=True)
class NewestBatch:
    """The newest batch, and what waits for people.

    Attributes:
        batch_id: its name.
        as_of: end of its week.
        size: its turns.
        waiting: of its tasks.
        waiting_of_all: tasks of all batches.
    """

    batch_id: str
    as_of: datetime
    size: int
    waiting: int
    waiting_of_all: int


def newest_batch(con: duckdb.DuckDBPyConnection) -> NewestBatch | None:
    """The newest batch; None before the first."""
    row = one_row(
        con,
        """
        SELECT b.batch_id, b.as_of, b.size,
               count(task_id) FILTER (q.batch_id = b.batch_id) AS waiting,
               count(task_id) AS waiting_of_all
        FROM (SELECT * FROM failure_batches ORDER BY batch_id DESC LIMIT 1) b
        LEFT JOIN annotation_queue q ON purpose = $1 AND list_contains($2, status)
        GROUP BY ALL
        """,
        [Purpose.FAILURE.value, list(WAITING)],
    )
    return NewestBatch(**row) if row else None


def _refusal(con: duckdb.DuckDBPyConnection, settings: Settings, as_of: datetime) -> str | None:
    """Why a week gets no new batch."""
    name, size = batch_id(as_of), settings.failures.batch_size
    if _is_labelled(con, name):
        return "people have begun to label the week's batch, so it stays as it is"
    known = one_row(con, "SELECT max(batch_id) AS newest FROM failure_batches")
    newest = known["newest"] if known else None
    if newest and newest > name:
        return f"a newer batch was drawn already ({newest}): nobody is asked about older traffic"
    (waiting,) = con.execute(
        "SELECT count(*) FROM annotation_queue WHERE purpose = $1 AND batch_id != $2"
        " AND list_contains($3, status)",
        [Purpose.FAILURE.value, name, list(WAITING)],
    ).fetchall()[0]
    if waiting > MOST_WAITING * size:
        return f"{waiting} turns of earlier batches wait for labels: nobody is asked about more"
    return None


def _is_labelled(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether anybody has said anything about a task of a batch."""
    return bool(
        con.execute(
            "SELECT count(*) FROM annotation_events JOIN annotation_queue USING (task_id)"
            " WHERE batch_id = ?",
            [name],
        ).fetchall()[0][0]
    )


def _signals(con: duckdb.DuckDBPyConnection, as_of: datetime, turns: pl.DataFrame) -> pl.DataFrame:
    """Signals of the week's turns: turn (place among `turns`), signal, strength and evidence."""
    rows = frame(
        con,
        "SELECT source, trace_id, started_at, signal, max(strength) AS strength,"
        " arg_max(evidence, strength) AS evidence FROM failure_signals WHERE as_of = ?"
        " GROUP BY source, trace_id, started_at, signal",
        [as_of],
    )
    return (
        turns.with_row_index("turn")
        .select("turn", *TURN)
        .join(rows, on=TURN)
        .select("turn", "signal", "strength", "evidence")
        .sort("turn", "signal")
    )
