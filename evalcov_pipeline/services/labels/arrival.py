"""Labels arrived: what they decide joins the suite, in one way, however they came.

The command line, the inbox and the assets announce what is returned here, and do nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb
import polars as pl

from evalcov_pipeline.errors import CheckFailed
from evalcov_pipeline.services.evals.derived import derive_evals
from evalcov_pipeline.services.evals.ledger import broken_link
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.labels.merging import MergeReport, merge_decided
from evalcov_pipeline.services.labels.proposals import prepare
from evalcov_pipeline.services.labels.suggestions import record, summary
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import traffic_span


@dataclass(frozen=True)
class Arrival:
    """What follows from the labels that are there.

    Attributes:
        merged: what became of decided tasks.
        cases: rows of `eval_cases` as they are now.
        n_runs: eval runs.
    """

    merged: MergeReport
    cases: pl.DataFrame
    n_runs: int


@dataclass(frozen=True)
class Reviewed:
    """What people said since some label.

    Attributes:
        given: labels.
        taken_back: labels that were withdrawn.
        decided: tasks that they decided, or whose decision they took back.
        merged: what became of decided tasks; None where nothing was said.
    """

    given: int
    taken_back: int
    decided: int
    merged: MergeReport | None


@dataclass(frozen=True)
class Suggested:
    """What suggesting labels did.

    Attributes:
        counts: of tasks, by what their suggestion is used for, in words.
        labels: suggestions that were accepted as labels, or accepted no more.
        merged: what became of tasks that they decided; None without such labels.
        agreement: rows of `suggestion_agreement`.
    """

    counts: dict[str, int | str]
    labels: int
    merged: MergeReport | None
    agreement: pl.DataFrame


def labels_arrived(con: duckdb.DuckDBPyConnection, settings: Settings, at: datetime) -> Arrival:
    """Take what is decided into the ledger, and derive suite, runs and incidents anew.

    Args:
        con: a writing connection.
        settings: where the lake is, redaction, and what makes a run complete.
        at: instant of the merge, naive UTC.

    Raises:
        BadInput: the ledger is broken, and something was decided.
    """
    oldest, newest = traffic_span(settings.lake) or (None, None)
    merged = merge_decided(con, newest, at)
    return Arrival(merged, *derive_evals(con, settings, oldest))


def newest_label(settings: Settings) -> int:
    """Number of the newest of `annotation_events`; 0 without any."""
    with warehouse_of(settings).reader() as con:
        newest = con.execute("SELECT coalesce(max(event_id), 0) FROM annotation_events").fetchall()
    return int(newest[0][0])


def reviewed_since(settings: Settings, label: int, at: datetime) -> Reviewed:
    """Bring what people said after a label into the suite, and publish.

    Args:
        settings: of the pipeline.
        label: from `newest_label`.
        at: instant of the merge, naive UTC.

    Raises:
        CheckFailed: the ledger is broken; the labels are kept, and nothing is merged.
    """
    warehouse = warehouse_of(settings)
    with warehouse.reader() as con:
        given, taken_back = con.execute(
            "SELECT count(*) FILTER (NOT withdrawn), count(*) FILTER (withdrawn)"
            " FROM annotation_events WHERE event_id > ?",
            [label],
        ).fetchall()[0]
    if not given and not taken_back:
        return Reviewed(0, 0, 0, None)
    with warehouse.writer() as con:
        if (event := broken_link(con)) is not None:
            raise CheckFailed(
                f"labels given: {given}, taken back: {taken_back}; they are kept, but the ledger is"
                f" broken at event {event}: nothing joined the suite; see `evalcov doctor`"
            )
        decided = con.execute(
            "SELECT count(*) FROM annotation_queue"
            " WHERE (status IN ('kept', 'rejected') OR merged_at IS NOT NULL)"
            " AND task_id IN (SELECT task_id FROM annotation_events WHERE event_id > ?)",
            [label],
        ).fetchall()[0][0]
        merged = labels_arrived(con, settings, at).merged
    publish(settings)
    return Reviewed(given, taken_back, decided, merged)


def suggest_labels(settings: Settings, at: datetime) -> Suggested:
    """Suggest labels for tasks that wait, take accepted ones into the suite, and publish.

    Args:
        settings: of the pipeline.
        at: now, naive UTC.

    Raises:
        CheckFailed: the ledger, which accepted labels go into, is broken; nothing is suggested.
    """
    warehouse, merged = warehouse_of(settings), None
    prepared = prepare(warehouse, settings)
    with warehouse.writer() as con:
        report = record(con, prepared, settings, at)
        labels = report.accepted + report.withdrawn
        if labels:
            if (event := broken_link(con)) is not None:
                raise CheckFailed(
                    "nothing was suggested: the ledger, which accepted labels go into, is broken"
                    f" at event {event}; see `evalcov doctor`"
                )
            merged = labels_arrived(con, settings, at).merged
    publish(settings)
    return Suggested(summary(prepared, report), labels, merged, report.agreement)
