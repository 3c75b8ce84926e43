"""What people said about turns that may have failed, and how often each signal was right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import duckdb
import polars as pl

from evalcov_pipeline.core.failures.batches import Precision, precision
from evalcov_pipeline.services.labels.queue import SUGGESTED, outcomes_of
from evalcov_pipeline.storage.warehouse import Columns, frame

ANY, NONE = "any", "none"
"""Turns with at least one signal, and turns without."""
_JUDGED: Columns = {
    "task_id": pl.String,
    "source": pl.String,
    "trace_id": pl.String,
    "turn_index": pl.Int64,
    "text_hash": pl.String,
    "bad": pl.Boolean,
    "category": pl.String,
}
_PRECISION: Columns = {
    "as_of": pl.Datetime("us"),
    "signal": pl.String,
    "n_signals": pl.Int64,
    "n_labelled": pl.Int64,
    "n_bad": pl.Int64,
    "precision": pl.Float64,
    "precision_low": pl.Float64,
    "precision_high": pl.Float64,
}


def judged_tasks(
    con: duckdb.DuckDBPyConnection, as_of: datetime, end_of_traffic: datetime | None
) -> pl.DataFrame:
    """Settled tasks whose answer people called good or bad, as far as known by a week.

    As a case, a label counts from its decision, or from the end of the last week with traffic if
    that is earlier: so a historical export can be worked on.

    Args:
        con: a connection.
        as_of: end of the week.
        end_of_traffic: end of the newest week with traffic; None without traffic.

    Returns:
        task_id, source, trace_id, turn_index, text_hash, bad and category (None where nobody
        named one).
    """
    tasks = frame(
        con,
        "SELECT task_id, source, trace_id, turn_index, text_hash, category"
        " FROM annotation_queue"
        " WHERE status IN ('kept', 'rejected') AND least(resolved_at, $2) <= $1"
        " AND task_id IN (SELECT task_id FROM annotations WHERE via != $3) ORDER BY task_id",
        [as_of, end_of_traffic, SUGGESTED],
    )
    outcomes = outcomes_of(con, tasks["task_id"])
    rows = [
        {**task, "bad": not label.passed, "category": label.category or task["category"]}
        for task in tasks.iter_rows(named=True)
        if (label := outcomes[task["task_id"]].label) and label.passed is not None
    ]
    return pl.DataFrame(rows, schema=_JUDGED)


def judged_picks(
    con: duckdb.DuckDBPyConnection, as_of: datetime, end_of_traffic: datetime | None
) -> pl.DataFrame:
    """Turns of failure batches of a week or earlier that people called good or bad by then.

    Returns:
        Columns of `judged_tasks`, and batch_as_of, signals and inclusion_probability.
    """
    picks = frame(
        con,
        "SELECT task_id, b.as_of AS batch_as_of, p.signals, inclusion_probability"
        " FROM failure_picks p JOIN failure_batches b USING (batch_id) WHERE b.as_of <= $1",
        [as_of],
    )
    return judged_tasks(con, as_of, end_of_traffic).join(picks, on="task_id").sort("task_id")


def precisions(picks: pl.DataFrame, signals: Iterable[str]) -> dict[str, Precision]:
    """How often labelled turns were bad, by signal.

    Args:
        picks: from `judged_picks`.
        signals: names besides those that picks bear, `ANY` and `NONE`.
    """
    borne = set(picks["signals"].explode().drop_nulls())
    has = pl.col("signals").list
    of = {name: has.contains(name) for name in sorted(borne | set(signals))}
    of |= {ANY: has.len() > 0, NONE: has.len() == 0}
    picks_of = {name: picks.filter(condition) for name, condition in of.items()}
    return {
        name: precision(rows["bad"].to_numpy(), rows["inclusion_probability"].to_numpy())
        for name, rows in picks_of.items()
    }


def precision_rows(
    as_of: datetime, precisions: Mapping[str, Precision], n_signals: Mapping[str, int]
) -> pl.DataFrame:
    """Rows of `signal_precision` of a week."""
    rows = [
        {
            "as_of": as_of,
            "signal": name,
            "n_signals": n_signals.get(name, 0),
            "n_labelled": one.n_labelled,
            "n_bad": one.n_bad,
            "precision": one.rate,
            "precision_low": one.low,
            "precision_high": one.high,
        }
        for name, one in precisions.items()
    ]
    return pl.DataFrame(rows, schema=_PRECISION).sort("signal")
