"""The append-only, hash-chained ledger of eval cases (`eval_case_events`).

Every event carries the whole case as it is from then on, and a hash over itself and the hash before
it, so that a row that was changed, dropped or slipped in later breaks the chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.storage.warehouse import Columns, frame, insert

GENESIS = "0" * 64
"""`previous_hash` of the first event."""

_PROVENANCE = (
    "origin", "source_ref", "created_at", "effective_at", "regression", "designed", "plan_id",
    "task_id", "raters",
)  # fmt: skip
"""What a later version of a case takes over where it does not say otherwise."""

_SCHEMA: Columns = {
    "event_id": pl.Int64,
    "case_id": pl.String,
    "event": pl.String,
    "at": pl.Datetime("us"),
    "actor": pl.String,
    "payload": pl.String,
    "previous_hash": pl.String,
    "hash": pl.String,
}


@dataclass(frozen=True)
class LedgerReport:
    """What an import of eval cases did."""

    imported: int
    edited: int
    retired: int
    unchanged: int


def record_cases(
    con: duckdb.DuckDBPyConnection, cases: Iterable[Mapping[str, Any]], *, at: datetime, actor: str
) -> LedgerReport:
    """Append an event for every case that is new or differs from its newest version.

    Where a case came from stays with it: what a later version does not state of that is as before.

    Args:
        con: a writing connection.
        cases: JSON-able eval cases with `case_id`; the last of several with one id wins.
        at: instant of the import, UTC; that of the newest event where the clock was set back, since
            versions of a case follow each other in time.
        actor: who imports.
    """
    newest: dict[str, str] = dict(
        con.execute(
            "SELECT case_id, arg_max(payload, event_id) FROM eval_case_events GROUP BY case_id"
        ).fetchall()
    )
    event_id, previous, at = con.execute(
        "SELECT coalesce(max(event_id), 0), coalesce(arg_max(hash, event_id), $1),"
        ' greatest($2, max("at")) FROM eval_case_events',
        [GENESIS, at],
    ).fetchall()[0]
    counts = {"imported": 0, "edited": 0, "retired": 0, "unchanged": 0}
    events: list[dict[str, Any]] = []
    for case_id, stated in {case["case_id"]: case for case in cases}.items():
        before = orjson.loads(newest[case_id]) if case_id in newest else {}
        known = {name: before[name] for name in _PROVENANCE if before.get(name) is not None}
        case = {**stated, **{n: known[n] for n in known if stated.get(n) is None}}
        case["origin"] = case.get("origin") or "hand_authored"
        payload = orjson.dumps(case, option=orjson.OPT_SORT_KEYS).decode()
        if newest.get(case_id) == payload:
            counts["unchanged"] += 1
            continue
        if case.get("status") == "retired":
            kind = "retired"
        else:
            kind = "edited" if case_id in newest else "imported"
        counts[kind] += 1
        event_id += 1
        event = {
            "event_id": event_id,
            "case_id": case_id,
            "event": kind,
            "at": at,
            "actor": actor,
            "payload": payload,
            "previous_hash": previous,
        }
        event["hash"] = previous = event_hash(event)
        events.append(event)
    insert(con, "eval_case_events", pl.DataFrame(events, schema=_SCHEMA))
    return LedgerReport(**counts)


def event_hash(event: Mapping[str, Any]) -> str:
    """SHA-256 over an event's fields, the previous hash among them."""
    fields = [
        event["event_id"], event["case_id"], event["event"],
        event["at"].isoformat(timespec="microseconds"), event["actor"], event["payload"],
        event["previous_hash"],
    ]  # fmt: skip
    return hashlib.sha256(orjson.dumps(fields)).hexdigest()


def broken_link(con: duckdb.DuckDBPyConnection) -> int | None:
    """The first event_id at which the chain does not hold, or None for an intact ledger."""
    previous = GENESIS
    for expected, event in enumerate(read_events(con).iter_rows(named=True), start=1):
        if (
            event["event_id"] != expected
            or event["previous_hash"] != previous
            or event["hash"] != event_hash(event)
        ):
            return expected
        previous = event["hash"]
    return None


def read_events(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """All events, oldest first."""
    return frame(con, "SELECT * FROM eval_case_events ORDER BY event_id")
