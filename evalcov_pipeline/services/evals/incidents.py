"""Incidents: their append-only history, and how many regression cases guard each.

An incident is known by its id. Every version of it is an event of a chain (`incident_events`); the
cases live in the ledger of eval cases alone, which never lets go of them, so an incident that no
longer lists a case keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.storage.chain import Chain
from evalcov_pipeline.storage.warehouse import Columns, frame, replace_slice

INCIDENTS = Chain(
    what="incidents",
    table="incident_events",
    head_table="incident_head",
    columns={
        "event_id": pl.Int64,
        "incident_id": pl.String,
        "recorded_at": pl.Datetime("us"),
        "payload": pl.String,
        "previous_hash": pl.String,
        "hash": pl.String,
    },
)
_DERIVED: Columns = {
    "incident_id": pl.String,
    "title": pl.String,
    "at": pl.Datetime("us"),
    "category": pl.String,
    "severity": pl.String,
    "postmortem": pl.String,
    "trace_ids": pl.List(pl.String),
    "case_ids": pl.List(pl.String),
    "cases_wanted": pl.Int64,
    "coverage": pl.String,
    "status": pl.String,
    "version": pl.Int64,
    "first_recorded_at": pl.Datetime("us"),
    "recorded_at": pl.Datetime("us"),
}


@dataclass(frozen=True)
class Recorded:
    """What recording incidents did, by number of incidents."""

    new: int
    edited: int
    unchanged: int


def record_incidents(
    con: duckdb.DuckDBPyConnection, incidents: Iterable[Mapping[str, Any]], *, at: datetime
) -> Recorded:
    """Append an event for every incident that is new or differs from its newest version.

    Args:
        con: a writing connection; `incidents` is the caller's, see `derive_incidents`.
        incidents: without personal data, each once: incident_id, title, `at` (naive UTC), category,
            severity, postmortem, trace_ids, and the ids of its cases as `cases`.
        at: instant of the import, naive UTC; that of the newest event where the clock was set back.

    Raises:
        BadInput: the chain is broken.
    """
    INCIDENTS.check(con)
    latest = "SELECT greatest($1, max(recorded_at)) FROM incident_events"
    at = con.execute(latest, [at]).fetchall()[0][0]
    newest = {event["incident_id"]: event["payload"] for event in _events(con)}
    counts = {"new": 0, "edited": 0, "unchanged": 0}
    events = []
    for incident in incidents:
        name, payload = incident["incident_id"], _payload(incident)
        before = newest.get(name)
        counts["unchanged" if payload == before else "edited" if before else "new"] += 1
        if payload != before:
            events.append({"incident_id": name, "recorded_at": at, "payload": payload})
    INCIDENTS.append(con, events)
    return Recorded(**counts)


def derive_incidents(con: duckdb.DuckDBPyConnection, wanted: int) -> None:
    """Derive `incidents` from their events and the suite; a broken chain leaves it as it was.

    Args:
        con: a writing connection with `eval_cases` up to date.
        wanted: cases that guard an incident well.
    """
    if INCIDENTS.broken_link(con) is None:
        rows = _derived(con, wanted)
        replace_slice(con, "incidents", pl.DataFrame(rows, schema=_DERIVED))


def incident_states(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """incident_id and coverage of every incident by status, the oldest first."""
    rows = con.execute(
        'SELECT status, incident_id, coverage FROM incidents ORDER BY "at", incident_id'
    ).fetchall()
    states: dict[str, dict[str, str]] = {"open": {}, "partial": {}, "guarded": {}}
    for status, name, coverage in rows:
        states[status][name] = coverage
    return states


def lost_incident(con: duckdb.DuckDBPyConnection) -> str | None:
    """What is wrong with the incidents, in words; None where every version is still there."""
    if (broken := INCIDENTS.broken_link(con)) is not None:
        return f"the chain breaks at event {broken}: restore the warehouse from a backup"
    recorded = {event["incident_id"] for event in _events(con)}
    shown = set(frame(con, "SELECT incident_id FROM incidents")["incident_id"])
    if recorded != shown:
        names = ", ".join(sorted(recorded ^ shown)[:5])
        return f"incidents and their history differ ({names}): `evalcov run weekly` mends it"
    return None


def _derived(con: duckdb.DuckDBPyConnection, wanted: int) -> list[dict[str, Any]]:
    guards = dict(
        con.execute(
            "SELECT incident_id, list(case_id ORDER BY effective_at, case_id) FROM eval_cases"
            " WHERE regression AND status = 'active' AND incident_id IS NOT NULL GROUP BY ALL"
        ).fetchall()
    )
    rows: dict[str, dict[str, Any]] = {}
    for event in _events(con):
        name, before = event["incident_id"], rows.get(event["incident_id"], {})
        case_ids = guards.get(name, [])
        incident = orjson.loads(event["payload"])
        stated = {column: incident.get(column) for column in _DERIVED}
        rows[name] = stated | {
            "at": _instant(incident.get("at")),
            "trace_ids": incident.get("trace_ids", []),
            "case_ids": case_ids,
            "cases_wanted": wanted,
            "coverage": f"{len(case_ids)}/{wanted}",
            "status": _status(len(case_ids), wanted),
            "version": before.get("version", 0) + 1,
            "first_recorded_at": before.get("first_recorded_at", event["recorded_at"]),
            "recorded_at": event["recorded_at"],
        }
    return list(rows.values())


def _status(cases: int, wanted: int) -> str:
    if cases == 0:
        return "open"
    return "partial" if cases < wanted else "guarded"


def _events(con: duckdb.DuckDBPyConnection) -> Iterable[dict[str, Any]]:
    return INCIDENTS.read_events(con).iter_rows(named=True)


def _payload(incident: Mapping[str, Any]) -> str:
    """Canonical JSON of an incident, without what it says nothing about."""
    stated = {name: value for name, value in incident.items() if value not in (None, [])}
    if "at" in stated:
        stated["at"] = f"{stated['at'].isoformat()}Z"
    return orjson.dumps(stated, option=orjson.OPT_SORT_KEYS).decode()


def _instant(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).replace(tzinfo=None)
