"""Decided tasks become eval cases: what people kept enters the ledger with where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.core.labels.decision import Outcome, Purpose, lacks_truth, makes_regression
from evalcov_pipeline.core.traffic.weeks import end_of_week
from evalcov_pipeline.services.evals.ledger import record_cases
from evalcov_pipeline.services.labels.queue import count_waiting, outcomes_of, tasks_with
from evalcov_pipeline.services.labels.tasks import Task, conversation
from evalcov_pipeline.storage.warehouse import Columns, frame

ACTOR = "evalcov merge"
_MERGED: Columns = {"task_id": pl.String, "case_id": pl.String, "made": pl.Boolean}
_TAGS = {Purpose.NEW_CASE: ["refresh"], Purpose.INCIDENT: ["incident"]}


@dataclass(frozen=True)
class MergeReport:
    """What merging did.

    Attributes:
        added: cases that are new in the suite.
        changed: cases whose label changed since they were merged.
        retired: cases whose task is no longer kept.
        waiting: tasks that still wait for people.
        waiting_of_plans: of them, those that a refresh asks about: it is open while there are any.
        refused: decisions that the rules for regression cases keep out of the suite.
        unanswered: kept failures that are no cases yet, since nobody has said what would have been
            right.
    """

    added: int
    changed: int
    retired: int
    waiting: int
    waiting_of_plans: int
    refused: int = 0
    unanswered: int = 0

    @property
    def remarks(self) -> str:
        """What to say of decisions that changed nothing; empty where there are none."""
        remarks = ""
        if self.refused:
            remarks += f"; {self.refused} decisions would have changed regression cases, which stay"
        if self.unanswered:
            remarks += (
                f"; {self.unanswered} kept failures are no cases yet: they want an expected answer"
                " from people that is not the one that failed (`evalcov review` shows them again)"
            )
        return remarks


def merge_decided(
    con: duckdb.DuckDBPyConnection, newest_traffic: datetime | None, at: datetime
) -> MergeReport:
    """Bring the ledger up to date with what people decided.

    A kept task becomes a case; it counts from its label, or from the end of the last week with
    traffic if that is earlier, so that a historical export can be scored with it. What people call
    a failure becomes a regression case, once they say what would have been right. A label that
    changed makes a new version; a case whose task makes none any more is retired. A decision is
    merged once, so later edits of a case by its owners stay. Regression cases stay as they are,
    whatever is said later: the ledger refuses.

    Args:
        con: a writing connection; the derived tables are the caller's, see `derive_evals`.
        newest_traffic: last turn of the lake, None without traffic.
        at: instant of the merge, naive UTC.
    """
    decided = _decided_since_merging(con)
    latest = newest_traffic and end_of_week(newest_traffic)
    outcomes = outcomes_of(con, [task.task_id for task in decided])
    made = {task.task_id for task in decided if _makes_case(task, outcomes[task.task_id])}
    unanswered = sum(_lacks_answer(task, outcomes[task.task_id]) for task in decided)
    decided = [task for task in decided if task.task_id in made or task.merged_at]
    cases = [
        _case(task, outcomes[task.task_id], latest) if task.task_id in made else _retired(con, task)
        for task in decided
    ]
    recorded = record_cases(con, cases, at=at, actor=ACTOR) if cases else None
    refused = {case_id for case_id, _ in recorded.refused} if recorded else set()
    counts = {"added": 0, "changed": 0, "retired": 0, "refused": len(refused)}
    for task in decided:
        if task.case_id not in refused:
            kept, first = task.task_id in made, task.case_id is None
            counts["retired" if not kept else "added" if first else "changed"] += 1
    merged = [
        (task.task_id, case["case_id"], task.task_id in made)
        for task, case in zip(decided, cases, strict=True)
    ]
    names = pl.DataFrame(merged, schema=_MERGED, orient="row")
    con.register("merged", names.to_arrow())
    con.execute(
        "UPDATE annotation_queue AS q SET case_id = m.case_id,"
        " merged_at = CASE WHEN m.made THEN resolved_at END"
        " FROM merged m WHERE m.task_id = q.task_id"
    )
    con.unregister("merged")
    con.execute(
        """
        UPDATE refresh_plans SET n_kept = q.kept
        FROM (SELECT plan_id, count(*) FILTER (status = 'kept') AS kept,
                     count(*) FILTER (status NOT IN ('kept', 'rejected')) AS undecided
              FROM annotation_queue GROUP BY plan_id) q
        WHERE q.plan_id = refresh_plans.plan_id AND q.undecided = 0
        """
    )
    waiting = count_waiting(con)
    return MergeReport(
        **counts,
        waiting=waiting.queries + waiting.answers,
        waiting_of_plans=waiting.queries,
        unanswered=unanswered,
    )


def unanswered_tasks(con: duckdb.DuckDBPyConnection, route: str | None = None) -> list[Task]:
    """Kept failures, of all queues or of one, that nobody has said the right answer to.

    Returns:
        Tasks, ordered as in `tasks_for`.
    """
    return _unanswered(con, tasks_with(con, ["kept"], route))


def is_unanswered(con: duckdb.DuckDBPyConnection, task: Task) -> bool:
    """Whether a task is one of `unanswered_tasks`."""
    return bool(_unanswered(con, [task]))


def record_after(
    con: duckdb.DuckDBPyConnection,
    as_of: datetime,
    jsd_adjusted: float | None,
    *,
    of_sessions: bool = False,
) -> None:
    """Write the score after every plan that is done and whose cases all count in this score.

    The first such week is kept; scoring it again replaces it.

    Args:
        con: a writing connection.
        as_of: the score's instant.
        jsd_adjusted: its headline.
        of_sessions: whether it is the score of sessions, not of queries.
    """
    column = "session_jsd_after" if of_sessions else "jsd_after"
    con.execute(
        f"""
        UPDATE refresh_plans AS p SET {column} = $2, after_as_of = $1
        WHERE p.n_kept IS NOT NULL AND p.as_of <= $1 AND coalesce(p.after_as_of, $1) = $1
          AND NOT EXISTS (
            SELECT 1 FROM annotation_queue q LEFT JOIN eval_cases c USING (case_id)
            WHERE q.plan_id = p.plan_id AND q.status = 'kept'
              AND (c.case_id IS NULL OR c.effective_at > $1))
        """,
        [as_of, jsd_adjusted],
    )


def _decided_since_merging(con: duckdb.DuckDBPyConnection) -> list[Task]:
    """Tasks whose decision is not merged yet, or was merged and is none any more."""
    rows = frame(
        con,
        """
        SELECT * FROM annotation_queue
        WHERE CASE WHEN status = 'kept' THEN resolved_at IS DISTINCT FROM merged_at
                   ELSE merged_at IS NOT NULL END
        ORDER BY task_id
        """,
    )
    return [Task.of(row) for row in rows.iter_rows(named=True)]


def _unanswered(con: duckdb.DuckDBPyConnection, tasks: Sequence[Task]) -> list[Task]:
    kept = [task for task in tasks if task.status == "kept" and task.merged_at is None]
    outcomes = outcomes_of(con, [task.task_id for task in kept])
    return [task for task in kept if _lacks_answer(task, outcomes[task.task_id])]


def _makes_case(task: Task, outcome: Outcome) -> bool:
    """Whether a decision puts a case into the suite.

    A task for calibration is not asked for the suite's sake: it does so only as a failure, and only
    where it is known what was asked; else its text is the id of its item.
    """
    if outcome.status != "kept" or outcome.label is None or task.text == task.item_id:
        return False
    if makes_regression(task.purpose, outcome.label.passed):
        failed = None if outcome.label.passed else task.answer
        return lacks_truth(outcome.label.expected, failed) is None
    return task.purpose is not Purpose.CALIBRATION


def _lacks_answer(task: Task, outcome: Outcome) -> bool:
    """Whether a kept failure is no case only because nobody has said what would be right."""
    return (
        outcome.status == "kept"
        and task.purpose is not Purpose.CALIBRATION
        and not _makes_case(task, outcome)
    )


def _case(task: Task, outcome: Outcome, latest: datetime | None) -> dict[str, Any]:
    """The eval case that a kept task becomes."""
    label, decided_at = outcome.label, outcome.decided_at
    assert label is not None
    assert decided_at is not None
    guards = makes_regression(task.purpose, label.passed)
    counts_from = min(decided_at, latest) if latest else decided_at
    return {
        "case_id": task.case_id or f"prod-{task.task_id}",
        "input": conversation(task.context, task.text) if task.context else task.text,
        "expected": label.expected,
        "expected_tools": task.tools if label.passed else None,
        "outcome": task.outcome,
        "category": label.category or task.category,
        "tags": _TAGS.get(task.purpose, ["failure"] if guards else []),
        "origin": "incident" if task.purpose is Purpose.INCIDENT else "production",
        "source_ref": f"{task.source}:{task.trace_id}" if task.trace_id else None,
        "created_at": f"{decided_at.isoformat()}Z",
        "effective_at": f"{counts_from.isoformat()}Z",
        "designed": task.designed,
        **({"regression": True} if guards else {}),
        "plan_id": task.plan_id,
        "batch_id": task.batch_id,
        "incident_id": task.incident_id,
        "task_id": task.task_id,
        "raters": list(outcome.raters),
        "note": label.note,
        "production_passed": label.passed,
    }


def _retired(con: duckdb.DuckDBPyConnection, task: Task) -> dict[str, Any]:
    """The newest version of the case of a task, retired."""
    (payload,) = con.execute(
        "SELECT arg_max(payload, event_id) FROM eval_case_events WHERE case_id = ?", [task.case_id]
    ).fetchall()[0]
    return {**orjson.loads(payload), "status": "retired"}
