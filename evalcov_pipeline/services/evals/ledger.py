"""The append-only, hash-chained ledger of eval cases (`eval_case_events`).

Every event carries the whole case as it is from then on. How the chain shows tampering is in
`chain`.

A regression case guards a known failure for good: what it asks, expects and when it counts stay as
they are, and it leaves the suite only when an active regression case names it in `supersedes`. The
incident that it guards stays the same, and is that of the case that takes its place.
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

Case = dict[str, Any]

_PROVENANCE = (
    "origin", "source_ref", "created_at", "effective_at", "regression", "designed", "plan_id",
    "batch_id", "incident_id", "task_id", "raters", "note", "production_passed", "supersedes",
)  # fmt: skip
"""What a later version of a case takes over where it does not say otherwise."""

_FIXED = ("input", "expected", "expected_tools", "created_at", "effective_at")
"""What never changes in a regression case."""

LEDGER = Chain(
    what="eval cases",
    table="eval_case_events",
    head_table="ledger_head",
    columns={
        "event_id": pl.Int64,
        "case_id": pl.String,
        "event": pl.String,
        "at": pl.Datetime("us"),
        "actor": pl.String,
        "payload": pl.String,
        "previous_hash": pl.String,
        "hash": pl.String,
    },
)
event_hash, broken_link = LEDGER.event_hash, LEDGER.broken_link
head, read_events = LEDGER.head, LEDGER.read_events


@dataclass(frozen=True)
class LedgerReport:
    """What recording eval cases did.

    Attributes:
        imported: new cases.
        edited: cases with a new version.
        retired: cases that left the suite.
        superseded: cases that a stricter one took the place of.
        unchanged: cases that were known as they are.
        refused: (case_id, reason) of cases that the rules for regression cases keep out.
    """

    imported: int
    edited: int
    retired: int
    superseded: int
    unchanged: int
    refused: tuple[tuple[str, str], ...]


def record_cases(
    con: duckdb.DuckDBPyConnection, cases: Iterable[Mapping[str, Any]], *, at: datetime, actor: str
) -> LedgerReport:
    """Append an event for every case that is new or differs from its newest version.

    Where a case came from stays with it: what a later version does not state of that is as before.
    A case that breaks a rule for regression cases is refused, the others are recorded.

    Args:
        con: a writing connection.
        cases: JSON-able eval cases with `case_id`; the last of several with one id wins.
        at: instant of the import, UTC; that of the newest event where the clock was set back, since
            versions of a case follow each other in time.
        actor: who imports.

    Raises:
        BadInput: the chain is broken; an event more could hide that.
    """
    LEDGER.check(con)
    at = con.execute('SELECT greatest($1, max("at")) FROM eval_case_events', [at]).fetchall()[0][0]
    newest = newest_cases(con)
    counts = dict.fromkeys(("imported", "edited", "retired", "superseded", "unchanged"), 0)
    refused: list[tuple[str, str]] = []
    events: list[dict[str, Any]] = []

    def append(kind: str, case_id: str, case: Case) -> None:
        counts[kind] += 1
        newest[case_id] = case
        payload = orjson.dumps(case, option=orjson.OPT_SORT_KEYS).decode()
        events.append(
            {"case_id": case_id, "event": kind, "at": at, "actor": actor, "payload": payload}
        )

    stated = {case["case_id"]: case for case in cases}
    for case_id in sorted(stated, key=lambda name: bool(stated[name].get("supersedes"))):
        before = newest.get(case_id, {})
        case = _following(before, stated[case_id], newest)
        if case == before:
            counts["unchanged"] += 1
        elif reason := _objection(before, case, newest):
            refused.append((case_id, reason))
        else:
            kind = "edited" if before else "imported"
            append("retired" if case.get("status") == "retired" else kind, case_id, case)
            other = newest.get(case.get("supersedes", ""), {})
            if other and other.get("status") != "superseded":
                gone = other | {"status": "superseded", "superseded_by": case_id}
                append("superseded", other["case_id"], gone)
    LEDGER.append(con, events)
    return LedgerReport(**counts, refused=tuple(refused))


def lost_regression(con: duckdb.DuckDBPyConnection) -> tuple[int, str] | None:
    """The first event that breaks a rule for regression cases, and how; None where none does."""
    newest: dict[str, Case] = {}
    for event in read_events(con).iter_rows(named=True):
        try:
            case = _stated(orjson.loads(event["payload"]))
        except (orjson.JSONDecodeError, AttributeError):
            return event["event_id"], f"{event['case_id']} cannot be read"
        if reason := _objection(newest.get(event["case_id"], {}), case, newest):
            return event["event_id"], f"{event['case_id']} {reason}"
        newest[event["case_id"]] = case
    return None


@dataclass(frozen=True)
class RegressionCases:
    """The regression cases by the ledger, whatever derived tables say.

    Attributes:
        active: those in the suite.
        superseded: those that an active one took the place of.
        lost: how the set shrank, or is shown to have; None where it never did.
    """

    active: frozenset[str]
    superseded: frozenset[str]
    lost: str | None


def regression_cases(con: duckdb.DuckDBPyConnection) -> RegressionCases:
    """Prove that no regression case ever left the suite but for one that took its place.

    First the rules are replayed over every event, then the set itself is, then the suite is held
    against what that comes to.
    """
    active: set[str] = set()
    superseded: set[str] = set()
    lost = None
    if (found := lost_regression(con)) is not None:
        return RegressionCases(frozenset(), frozenset(), f"event {found[0]}: {found[1]}")
    events = read_events(con).select("event_id", "case_id", "payload")
    for event_id, case_id, payload in events.iter_rows():
        case = _stated(orjson.loads(payload))
        if _guards(case):
            active.add(case_id)
        elif case_id in active:
            active.remove(case_id)
            superseded.add(case_id)
            if case.get("status") != "superseded":
                lost = lost or f"event {event_id}: {case_id} leaves the suite"
    query = "SELECT case_id FROM eval_cases WHERE regression AND status = 'active'"
    if differing := active ^ {case_id for (case_id,) in con.execute(query).fetchall()}:
        names = ", ".join(sorted(differing)[:5])
        lost = lost or f"eval_cases and the ledger differ ({names}): `evalcov run weekly` mends it"
    return RegressionCases(frozenset(active), frozenset(superseded), lost)


def newest_cases(con: duckdb.DuckDBPyConnection) -> dict[str, Case]:
    """Every case as it is now, by case_id, without what it says nothing about."""
    rows = con.execute(
        "SELECT case_id, arg_max(payload, event_id) FROM eval_case_events GROUP BY case_id"
    ).fetchall()
    return {case_id: _stated(orjson.loads(payload)) for case_id, payload in rows}


def _stated(case: Mapping[str, Any]) -> Case:
    """A case without what it says nothing about."""
    usual: tuple[Any, ...] = (("tags", []), ("raters", []), ("status", "active"))
    return {n: v for n, v in case.items() if v is not None and (n, v) not in usual}


def _following(before: Case, stated: Mapping[str, Any], newest: Mapping[str, Case]) -> Case:
    """The version that a case has next: as stated, with where it came from as before.

    A case that takes the place of another guards the incident that this one guarded.
    """
    known = {name: before[name] for name in _PROVENANCE if name in before}
    case = {"origin": "hand_authored"} | known | _stated(stated)
    if incident := newest.get(case.get("supersedes", ""), {}).get("incident_id"):
        case = {"incident_id": incident} | case
    if before.get("status") == "superseded" and "status" not in case:
        case |= {"status": "superseded", "superseded_by": before["superseded_by"]}
    return case


def _objection(before: Case, after: Case, newest: Mapping[str, Case]) -> str | None:
    """Why one version of a case may not follow another.

    Args:
        before: the version before; empty for a new case.
        after: the version after.
        newest: every case as it is before.
    """
    if before.get("status") == "superseded":
        return f"was superseded by {before.get('superseded_by')}, and stays as it is"
    if after.get("status") == "superseded":
        by = newest.get(after.get("superseded_by", ""), {})
        if not _guards(by) or by.get("supersedes") != after["case_id"]:
            return "is superseded by no active regression case that names it"
    if before.get("regression"):
        if not after.get("regression"):
            return "is a regression case and stays one"
        if after.get("status") == "retired":
            return "is a regression case: only an active regression case can supersede it"
        if changed := [name for name in _FIXED if before.get(name) != after.get(name)]:
            return (
                f"is a regression case, so its {' and '.join(changed)} cannot change: add a"
                f" stricter case with supersedes = {before['case_id']!r} instead"
            )
        if before.get("incident_id") not in (None, after.get("incident_id")):
            return f"guards incident {before['incident_id']!r}, and no other"
    if before.get("supersedes") in (None, after.get("supersedes")):
        return None if before.get("supersedes") else _no_successor(after, newest)
    return f"supersedes {before['supersedes']!r}, which cannot change"


def _no_successor(case: Case, newest: Mapping[str, Case]) -> str | None:
    """Why a case may not supersede the one that it names."""
    if "supersedes" not in case:
        return None
    name = case["supersedes"]
    other = newest.get(name)
    if not _guards(case):
        return f"supersedes {name!r}, but is no active regression case"
    if other is None or name == case["case_id"]:
        return f"supersedes {name!r}, which is no other case of the suite"
    if other.get("status"):
        return f"supersedes {name!r}, which is {other['status']} already"
    if other.get("incident_id") not in (None, case.get("incident_id")):
        return f"supersedes {name!r}, which guards incident {other['incident_id']!r}: so has it to"
    return None


def _guards(case: Case) -> bool:
    """Whether a case is an active regression case."""
    return bool(case.get("regression")) and "status" not in case
