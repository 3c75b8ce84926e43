"""Importing incidents: their history, the regression cases that guard them, and what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from evalcov_pipeline.core.traffic.weeks import end_of_week
from evalcov_pipeline.formats import AUTO
from evalcov_pipeline.formats.incidents import INCIDENT
from evalcov_pipeline.services.evals.derived import derive_evals
from evalcov_pipeline.services.evals.incidents import incident_states, record_incidents
from evalcov_pipeline.services.evals.ledger import newest_cases, record_cases
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.imports.evals import clean_cases
from evalcov_pipeline.services.imports.files import Place, latest, rows_of
from evalcov_pipeline.services.labels.incidents import queue_incidents
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import newest_query, traffic_span

Case = dict[str, Any]
_WRITTEN = ("title", "postmortem")
"""What people wrote about an incident."""


@dataclass(frozen=True)
class IncidentsReport:
    """What an import of incidents did.

    Attributes:
        files: files read.
        new: incidents that were unknown.
        edited: incidents with a new version.
        unchanged: incidents that were known as they are.
        rejected: rows, and cases of incidents, that could not be taken; they are in the quarantine.
        cases_added: regression cases that are new in the suite, or that were plain cases before.
        tasks: traces that people are asked about.
        states: incident_id and coverage of every incident by status: open, partial or guarded.
    """

    files: int
    new: int
    edited: int
    unchanged: int
    rejected: int
    cases_added: int
    tasks: int
    states: Mapping[str, dict[str, str]]


@dataclass
class _Incident:
    """What the rows of one incident say together.

    Attributes:
        fields: of the incident; of several rows the last one that says something counts.
        trace_ids: of all rows.
        cases: of all rows, each with its place.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    trace_ids: dict[str, None] = field(default_factory=dict)
    cases: list[tuple[Place, str | Case]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any], place: Place) -> None:
        self.fields |= {name: row[name] for name in INCIDENT if row[name] is not None}
        self.trace_ids |= dict.fromkeys(row["trace_ids"])
        self.cases += [(place, case) for case in row["cases"]]

    @property
    def row(self) -> dict[str, Any]:
        """The incident as it is recorded: of its cases, their ids."""
        ids = [case if isinstance(case, str) else case["case_id"] for _, case in self.cases]
        return self.fields | {"trace_ids": list(self.trace_ids), "cases": list(dict.fromkeys(ids))}


def ingest_incidents(
    paths: Iterable[str | Path],
    settings: Settings,
    *,
    format: str = AUTO,
    mapping: Mapping[str, str] | None = None,
    progress: Callable[[Path, int], None] | None = None,
    now: datetime | None = None,
) -> IncidentsReport:
    """Record incidents and the cases that guard them, and ask about their traces, all or nothing.

    The rows of one incident in an import are put together: its traces and cases add up, and of what
    else they say the last counts. An incident that differs from its newest version gets another
    one. A case that cannot be taken is rejected; its incident, and the rest, go in. Personal data
    is taken out of everything before it is recorded.

    Args:
        paths: files, folders or glob patterns.
        settings: where the warehouse and the quarantine are.
        format: name of the format, or "auto".
        mapping: canonical field -> the file's field.
        progress: called with the file and its rows so far.
        now: the instant of the import (naive UTC), default the clock's; a time more than a day
            later is rejected.

    Raises:
        BadInput: nothing to read, an unreadable file, one without a single readable row, an unknown
            format or a broken ledger; nothing but the quarantine is written.
    """
    at = now or datetime.now(UTC).replace(tzinfo=None)
    incidents: dict[str, _Incident] = {}
    warehouse = warehouse_of(settings)
    reading = rows_of(
        "incidents", paths, settings, format=format, mapping=mapping, latest=latest(now),
        progress=progress,
    )  # fmt: skip
    with reading as read:
        for row, place in read.rows:
            incidents.setdefault(row["incident_id"], _Incident()).add(row, place)
        oldest, compacted = traffic_span(settings.lake) or (None, None)
        with warehouse.writer() as con:
            recorded = record_incidents(con, _clean(incidents.values(), settings), at=at)
            newest = newest_query(settings.lake) or compacted
            added = _record_guards(con, incidents, settings, newest, at)
            derive_evals(con, settings, oldest)
            tasks = queue_incidents(con, settings, at)
            states = incident_states(con)
        rejected = read.rejected
    publish(settings)
    return IncidentsReport(
        files=len(read.quarantines),
        new=recorded.new,
        edited=recorded.edited,
        unchanged=recorded.unchanged,
        rejected=rejected,
        cases_added=added,
        tasks=tasks,
        states=states,
    )


def _clean(incidents: Iterable[_Incident], settings: Settings) -> list[dict[str, Any]]:
    """Incidents as they are recorded, without personal data in what people wrote."""
    rows = [incident.row for incident in incidents]
    written = sorted({row[name] for row in rows for name in _WRITTEN if name in row})
    clean = dict(zip(written, redactor(settings.redaction)(written), strict=True))
    return [row | {name: clean[row[name]] for name in _WRITTEN if name in row} for row in rows]


def _record_guards(
    con: duckdb.DuckDBPyConnection,
    incidents: Mapping[str, _Incident],
    settings: Settings,
    newest: datetime | None,
    at: datetime,
) -> int:
    """Record the cases of incidents as regression cases; how many became one."""
    known = newest_cases(con)
    taken: dict[str, Case] = {}
    places: dict[str, Place] = {}

    def take(case: Case, place: Place) -> str | None:
        """Why the case cannot be taken, beside what the ledger says."""
        other = taken.setdefault(case["case_id"], case)
        places.setdefault(case["case_id"], place)
        if other["incident_id"] != case["incident_id"]:
            return f"guards incident {other['incident_id']!r} in this import already"
        return None if other == case else "is in this import twice, and differs"

    for incident in incidents.values():
        given = [(case, place) for place, case in incident.cases if isinstance(case, dict)]
        clean = clean_cases([case for case, _ in given], redactor(settings.redaction))
        for case, (_, place) in zip(clean, given, strict=True):
            if case["case_id"] not in known and case["created_at"] is None:
                case["effective_at"] = _counts_from(newest, incident.fields.get("at"), at)
            if reason := take(case, place):
                place.reject(f"case {case['case_id']} {reason}", case)
    for name, incident in incidents.items():
        for place, named in incident.cases:
            if isinstance(named, str) and taken.get(named, {}).get("incident_id") != name:
                guard = known.get(named, {}) | {"regression": True, "incident_id": name}
                if reason := _cannot_guard(known.get(named), name) or take(guard, place):
                    place.reject(f"case {named} {reason}", named)
    recorded = record_cases(con, taken.values(), at=at, actor="evalcov ingest incidents")
    for case_id, reason in recorded.refused:
        places[case_id].reject(f"case {case_id} {reason}", taken[case_id])
    refused = {case_id for case_id, _ in recorded.refused}
    guarding = {case_id for case_id, case in known.items() if case.get("regression")}
    return len(taken.keys() - refused - guarding)


def _cannot_guard(known: Case | None, incident_id: str) -> str | None:
    """Why a case that is named cannot guard an incident."""
    if known is None:
        return "is no case of the suite: import it, then this file again"
    if known.get("status") == "retired":
        return "is retired: give the incident another case"
    if known.get("status") == "superseded" and known.get("incident_id") != incident_id:
        return f"was superseded: name {known['superseded_by']} instead"
    return None


def _counts_from(newest: datetime | None, happened: datetime | None, at: datetime) -> str:
    """From when a new case counts: its import.

    Where traffic is a historical export, the end of its last week, but not before its incident.
    """
    if newest is None:
        return f"{at.isoformat()}Z"
    known_by = max(end_of_week(newest), happened or datetime.min)
    return f"{min(at, known_by).isoformat()}Z"
