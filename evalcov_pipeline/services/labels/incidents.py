"""Asking people about the traces of incidents that lack cases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.services.labels.queue import WAITING, enqueue
from evalcov_pipeline.services.labels.tasks import build_tasks, task_id
from evalcov_pipeline.services.traffic.conversations import conversations
from evalcov_pipeline.services.traffic.texts import redacted, redactor
from evalcov_pipeline.services.traffic.turns import last_turns_of_traces
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import frame

_FIRST = 10.0
"""Priority of incidents: before anything that is drawn."""
_LONGEST_TITLE = 200


def queue_incidents(con: duckdb.DuckDBPyConnection, settings: Settings, at: datetime) -> int:
    """Queue traces of incidents for labelling, as many as each lacks cases beyond those asked for.

    A trace is asked about once, by the last query of it; one that a case of the incident came from
    is not. Traces that have not reached the lake yet are asked about once they have.

    Args:
        con: a writing connection with `incidents` up to date.
        settings: route, raters and redaction.
        at: instant of the queueing, naive UTC.

    Returns:
        How many tasks are new.
    """
    short = frame(
        con,
        """
        SELECT incident_id, title, category, trace_ids,
               cases_wanted - len(case_ids) - coalesce(q.waiting, 0) AS lacking,
               coalesce(q.asked, []) AS asked, coalesce(c.refs, []) AS refs,
               coalesce(c.texts, []) AS texts
        FROM incidents
        LEFT JOIN (SELECT incident_id, list(trace_id) AS asked,
                          count(*) FILTER (list_contains($1, status)) AS waiting
                   FROM annotation_queue GROUP BY incident_id) q USING (incident_id)
        LEFT JOIN (SELECT incident_id, list(source_ref) AS refs, list(text_hash) AS texts
                   FROM eval_cases GROUP BY incident_id) c USING (incident_id)
        WHERE lacking > 0 ORDER BY incident_id
        """,
        [list(WAITING)],
    ).to_dicts()
    wanted = {name for row in short for name in row["trace_ids"] if name not in row["asked"]}
    turns = last_turns_of_traces(settings.lake, wanted)
    if turns.is_empty():
        return 0
    redact_all = redactor(settings.redaction)
    names = dict(redacted(turns["query_text"], redact_all).select("raw", "text_hash").iter_rows())
    turns = turns.with_columns(
        text_hash=pl.Series([names[text] for text in turns["query_text"]], dtype=pl.String)
    ).drop_nulls("text_hash")
    chosen = [turn for row in short for turn in _turns_to_ask_about(row, turns)]
    if not chosen:
        return 0
    drawn = pl.DataFrame(chosen)
    shown = conversations(settings.lake, drawn, turns, redact_all).drop("text_hashes")
    rows = drawn.join(shown, on=["source", "trace_id", "started_at"], maintain_order="left").select(
        "task_id", "incident_id", "text_hash", "context", "answer", "tools", "category", "reason",
        "source", "trace_id", "turn_index",
        text="query",
        designed=pl.lit(True),
        route=pl.lit(settings.failures.route),
        priority=pl.lit(_FIRST),
    )  # fmt: skip
    tasks = build_tasks(
        rows.unique("task_id", maintain_order=True),
        Purpose.INCIDENT,
        raters_wanted=settings.failures.raters,
        created_at=at,
    )
    return enqueue(con, tasks)


def _turns_to_ask_about(incident: Mapping[str, Any], turns: pl.DataFrame) -> list[dict[str, Any]]:
    """Turns to ask about for an incident, each with the id and the reason of its task."""
    by_trace = {turn["trace_id"]: turn for turn in turns.iter_rows(named=True)}
    untried = [
        by_trace[name]
        for name in incident["trace_ids"]
        if name in by_trace and name not in incident["asked"]
    ]
    new = [
        turn
        for turn in untried
        if turn["text_hash"] not in incident["texts"]
        and not {turn["trace_id"], f"{turn['source']}:{turn['trace_id']}"} & set(incident["refs"])
    ]
    reason = f"Incident {incident['incident_id']}: {incident['title'][:_LONGEST_TITLE]}"
    return [
        {
            **turn,
            "task_id": task_id(Purpose.INCIDENT, incident["incident_id"], turn["trace_id"]),
            "incident_id": incident["incident_id"],
            "category": incident["category"],
            "reason": reason,
        }
        for turn in new[: incident["lacking"]]
    ]
