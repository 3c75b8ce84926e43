"""The annotation queue: tasks, what people say about them, and what that comes to.

Labels are kept as they came (`annotation_events`); `annotations` is what each rater says now, and a
task's status follows from it by `resolve`. So labels can come twice, late or in any
order, by any way, and give the same state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.core.labels.decision import Label, Outcome, Purpose, resolve
from evalcov_pipeline.services.labels.tasks import Task
from evalcov_pipeline.storage.warehouse import Columns, frame, insert, one_row

WAITING = ("open", "labelled", "adjudicate")
"""Statuses of tasks that people still have to decide."""
SUGGESTED = "suggestion"
"""`via` of labels that no person gave; their raters begin with it."""
JUDGED_BY_PEOPLE = f"""
  SELECT task_id, rater, e.passed, e.category, e."at", first_at
  FROM (SELECT task_id, rater, arg_max(x, ("at", event_id)) AS e, min("at") AS first_at
        FROM annotation_events x WHERE "at" < $1 AND via != '{SUGGESTED}'
          AND NOT starts_with(rater, '{SUGGESTED}:') GROUP BY task_id, rater)
  WHERE NOT e.withdrawn AND e.passed IS NOT NULL
"""
"""Query for what people had said of answers before $1: their newest word on each task."""
_CONTENT = ("keep", "passed", "expected", "category", "note")
_EVENTS: Columns = {
    "event_id": pl.Int64,
    "task_id": pl.String,
    "rater": pl.String,
    "withdrawn": pl.Boolean,
    "keep": pl.Boolean,
    "passed": pl.Boolean,
    "expected": pl.String,
    "category": pl.String,
    "note": pl.String,
    "at": pl.Datetime("us"),
    "recorded_at": pl.Datetime("us"),
    "via": pl.String,
}

_DECISIONS: Columns = {
    "task_id": pl.String,
    "status": pl.String,
    "resolved_at": pl.Datetime("us"),
}


@dataclass(frozen=True)
class LabelReport:
    """What recording labels did, by number of rows.

    Attributes:
        new: first labels of a rater on a task.
        changed: labels that replaced an earlier one of the same rater.
        unchanged: labels that were known already.
        outdated: labels older than what the same rater said since; kept in the history only.
        unknown: (row, task_id) of labels on tasks that do not exist; not recorded.
        refused: (row, task_id) of suggested labels where only people may say what is right; not
            recorded.
        decided: tasks whose decision is new, changed or taken back.
    """

    new: int
    changed: int
    unchanged: int
    outdated: int
    unknown: tuple[tuple[int, str], ...]
    decided: int
    refused: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Waiting:
    """Tasks that people still have to decide.

    Attributes:
        queries: of refresh plans.
        answers: of failure batches, incidents and judges.
    """

    queries: int
    answers: int


def count_waiting(con: duckdb.DuckDBPyConnection) -> Waiting:
    """How many tasks wait for people."""
    total, queries = con.execute(
        "SELECT count(*), count(plan_id) FROM annotation_queue WHERE list_contains($1, status)",
        [list(WAITING)],
    ).fetchall()[0]
    return Waiting(queries, total - queries)


def waiting_by_route(con: duckdb.DuckDBPyConnection, plan_id: str) -> dict[str, int]:
    """How many tasks of a refresh plan wait for people in each queue that has any."""
    return dict(
        con.execute(
            "SELECT route, count(*) FROM annotation_queue"
            " WHERE plan_id = $1 AND list_contains($2, status) GROUP BY route ORDER BY route",
            [plan_id, list(WAITING)],
        ).fetchall()
    )


def enqueue(con: duckdb.DuckDBPyConnection, tasks: pl.DataFrame) -> int:
    """Queue tasks (rows of `annotation_queue`); those that are there already stay as they are.

    Returns:
        How many are new.
    """
    known = set(frame(con, "SELECT task_id FROM annotation_queue")["task_id"])
    return insert(con, "annotation_queue", tasks.filter(~pl.col("task_id").is_in(known)))


def supersede(con: duckdb.DuckDBPyConnection, asking: Collection[str], at: datetime) -> int:
    """Close the tasks that wait of plans and batches that a newer one takes the place of.

    Args:
        con: a writing connection.
        asking: ids of the plans and batches whose tasks they are.
        at: instant, naive UTC.

    Returns:
        How many tasks that closes.
    """
    condition = (
        "(list_contains($1, plan_id) OR list_contains($1, batch_id)) AND list_contains($2, status)"
    )
    parameters = [list(asking), list(WAITING)]
    count = con.execute(
        f"SELECT count(*) FROM annotation_queue WHERE {condition}", parameters
    ).fetchall()[0][0]
    con.execute(
        f"UPDATE annotation_queue SET status = 'superseded', resolved_at = $3 WHERE {condition}",
        [*parameters, at],
    )
    _copy_status_to_candidates(con)
    return int(count)


def record_labels(
    con: duckdb.DuckDBPyConnection,
    labels: Sequence[Mapping[str, Any]],
    *,
    via: str,
    recorded_at: datetime,
    redact_all: Callable[[Sequence[str]], list[str]],
) -> LabelReport:
    """Record labels and bring the tasks that they are about up to date.

    Args:
        con: a writing connection.
        labels: task_id, rater, keep, passed, expected, category, note and `at` (naive UTC; None
            for the time of recording). Each is a rater's newest word on a task, unless an
            older `at` says otherwise. A label with `withdrawn` true takes the rater's word back.
        via: how they came.
        recorded_at: instant of the recording, naive UTC.
        redact_all: takes personal data out of `expected` and `note`.
    """
    named = sorted({label["task_id"] for label in labels})
    about = "WHERE list_contains($1, task_id)"
    known = dict(
        frame(con, f"SELECT task_id, purpose FROM annotation_queue {about}", [named]).iter_rows()
    )
    current = {
        (row["task_id"], row["rater"]): row
        for row in frame(con, f"SELECT * FROM annotations {about}", [named]).iter_rows(named=True)
    }
    event_id = int(
        con.execute("SELECT coalesce(max(event_id), 0) FROM annotation_events").fetchall()[0][0]
    )
    counts = {"new": 0, "changed": 0, "unchanged": 0, "outdated": 0}
    unknown: list[tuple[int, str]] = []
    refused: list[tuple[int, str]] = []
    events: list[dict[str, Any]] = []
    seen = _known_events(con, named)
    for number, label in enumerate(labels):
        if label["task_id"] not in known:
            unknown.append((number, label["task_id"]))
            continue
        suggested = via == SUGGESTED or label["rater"].split(":")[0] == SUGGESTED
        if suggested and known[label["task_id"]] != Purpose.NEW_CASE:
            refused.append((number, label["task_id"]))
            continue
        event = {name: label.get(name) for name in _EVENTS}
        event["at"] = label.get("at") or recorded_at
        event["withdrawn"] = bool(label.get("withdrawn"))
        for name in ("expected", "note"):
            if (text := label.get(name)) is not None:
                event[name] = redact_all([text])[0]
        key = (event["task_id"], event["rater"])
        before = current.get(key)
        same = before is not None and all(before[name] == event[name] for name in _CONTENT)
        content = (*key, event["withdrawn"], *(event[name] for name in _CONTENT))
        if (same and not event["withdrawn"]) or (*content, event["at"]) in seen:
            counts["unchanged"] += 1
            continue
        outdated = before is not None and event["at"] < before["at"]
        counts["outdated" if outdated else "changed" if before else "new"] += 1
        event_id += 1
        event |= {"event_id": event_id, "recorded_at": recorded_at, "via": via}
        events.append(event)
        seen.add((*content, event["at"]))
        if not outdated:
            current[key] = event
    insert(con, "annotation_events", pl.DataFrame(events, schema=_EVENTS))
    decided = derive_queue(con, {event["task_id"] for event in events})
    return LabelReport(**counts, unknown=tuple(unknown), decided=decided, refused=tuple(refused))


def derive_queue(con: duckdb.DuckDBPyConnection, task_ids: Iterable[str]) -> int:
    """Derive `annotations` and the status of tasks from the events; superseded ones stay closed.

    Returns:
        Tasks whose decision is new, changed or taken back.
    """
    touched = sorted(task_ids)
    con.execute("DELETE FROM annotations WHERE list_contains($1, task_id)", [touched])
    con.execute(
        """
        INSERT INTO annotations BY NAME
        SELECT task_id, rater, e.keep, e.passed, e.expected, e.category, e.note, first_at, e."at",
               e.via
        FROM (SELECT task_id, rater, arg_max(x, ("at", event_id)) AS e, min("at") AS first_at
              FROM annotation_events x WHERE list_contains($1, task_id) GROUP BY task_id, rater)
        WHERE NOT e.withdrawn
        """,
        [touched],
    )
    tasks = dict(
        con.execute(
            "SELECT task_id, resolved_at FROM annotation_queue"
            " WHERE list_contains($1, task_id) AND status != 'superseded'",
            [touched],
        ).fetchall()
    )
    outcomes = outcomes_of(con, tasks)
    decisions = pl.DataFrame(
        [(task_id, held.status, held.decided_at) for task_id, held in outcomes.items()],
        schema=_DECISIONS,
        orient="row",
    )
    con.register("decisions", decisions.to_arrow())
    con.execute(
        "UPDATE annotation_queue AS q SET status = d.status, resolved_at = d.resolved_at"
        " FROM decisions d WHERE d.task_id = q.task_id"
    )
    con.unregister("decisions")
    _copy_status_to_candidates(con)
    return sum(outcomes[name].decided_at != resolved_at for name, resolved_at in tasks.items())


def outcomes_of(con: duckdb.DuckDBPyConnection, task_ids: Iterable[str]) -> dict[str, Outcome]:
    """What the labels on tasks come to, by task; a suggested one counts until a person gives one.

    What nobody has labelled is open, whatever the queue says of it.
    """
    wanted = list(task_ids)
    tasks = con.execute(
        "SELECT task_id, raters_wanted, CASE WHEN purpose != $2 THEN answer END"
        " FROM annotation_queue WHERE list_contains($1, task_id)",
        [wanted, Purpose.NEW_CASE.value],
    ).fetchall()
    rows = frame(
        con,
        """
        SELECT task_id, rater, keep, passed, expected, category, note, first_at, "at"
        FROM annotations WHERE list_contains($1, task_id)
        QUALIFY via != $2 OR NOT bool_or(via != $2) OVER (PARTITION BY task_id)
        """,
        [wanted, SUGGESTED],
    )
    labels: dict[str, list[Label]] = defaultdict(list)
    for row in rows.iter_rows(named=True):
        labels[row.pop("task_id")].append(Label(**row))
    return {
        task_id: resolve(labels[task_id], raters_wanted, failed_answer)
        for task_id, raters_wanted, failed_answer in tasks
    }


def progress(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Tasks by route and status, and the age of the oldest that waits.

    Returns:
        route, status, tasks, oldest (created_at): one row each.
    """
    return frame(
        con,
        "SELECT route, status, count(*) AS tasks, min(created_at) AS oldest FROM annotation_queue"
        " GROUP BY route, status ORDER BY route, status",
    )


def read_task(con: duckdb.DuckDBPyConnection, task_id: str) -> Task | None:
    """A task by its id, or None."""
    row = one_row(con, "SELECT * FROM annotation_queue WHERE task_id = ?", [task_id])
    return Task.of(row) if row else None


def tasks_for(
    con: duckdb.DuckDBPyConnection, rater: str | None = None, route: str | None = None
) -> list[Task]:
    """Tasks that wait for a label, the most urgent first.

    Args:
        con: a connection.
        rater: leave out what this rater has labelled already.
        route: only this queue.

    Returns:
        Disagreements first, then by priority, then the oldest.
    """
    mine = set(frame(con, "SELECT task_id FROM annotations WHERE rater = ?", [rater])["task_id"])
    return [task for task in tasks_with(con, WAITING, route) if task.task_id not in mine]


def tasks_with(
    con: duckdb.DuckDBPyConnection, statuses: Collection[str], route: str | None = None
) -> list[Task]:
    """Tasks of some statuses, all of them or those of one queue, ordered as in `tasks_for`."""
    rows = frame(
        con,
        """
        SELECT * FROM annotation_queue
        WHERE list_contains($1, status) AND ($2 IS NULL OR route = $2)
        ORDER BY status != 'adjudicate', priority DESC, created_at, task_id
        """,
        [list(statuses), route],
    )
    return [Task.of(row) for row in rows.iter_rows(named=True)]


def _known_events(con: duckdb.DuckDBPyConnection, task_ids: list[str]) -> set[tuple[Any, ...]]:
    """Content and time of every label that ever came on these tasks."""
    columns = ("task_id", "rater", "withdrawn", *_CONTENT, '"at"')
    query = f"SELECT {', '.join(columns)} FROM annotation_events WHERE list_contains($1, task_id)"
    return set(con.execute(query, [task_ids]).fetchall())


def _copy_status_to_candidates(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "UPDATE refresh_candidates SET status = q.status FROM annotation_queue q"
        " WHERE q.task_id = refresh_candidates.task_id AND refresh_candidates.status != q.status"
    )
