"""Append-only tables whose rows are chained by hashes, so that tampering shows.

Every event carries a hash over itself and the hash before it: a row that was changed, dropped or
slipped in later breaks the chain. How many events there are, and the hash of the newest, is kept
apart, so that events cut off the end are missed.
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

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.warehouse import Columns, frame, insert, replace_slice

GENESIS = "0" * 64
"""`previous_hash` of the first event."""


@dataclass(frozen=True)
class Chain:
    """A table of events, chained by hashes.

    Attributes:
        what: what the events tell of, in words for a user.
        table: holds the events, numbered by event_id from 1 without gaps.
        head_table: holds the number of events and the hash of the newest.
        columns: of the table in the order in which they are hashed; event_id, previous_hash and
            hash are among them.
    """

    what: str
    table: str
    head_table: str
    columns: Columns

    def append(self, con: duckdb.DuckDBPyConnection, events: Iterable[Mapping[str, Any]]) -> None:
        """Number, chain and add events.

        Args:
            con: a writing connection.
            events: every other column, the oldest first.
        """
        event_id, previous = self._end(con)
        rows = []
        for content in events:
            event_id += 1
            event = {**content, "event_id": event_id, "previous_hash": previous}
            event["hash"] = previous = self.event_hash(event)
            rows.append(event)
        insert(con, self.table, pl.DataFrame(rows, schema=self.columns))
        noted = pl.DataFrame({"events": [event_id], "hash": [previous]})
        replace_slice(con, self.head_table, noted)

    def check(self, con: duckdb.DuckDBPyConnection) -> None:
        """Refuse to go on where the chain is broken: an event more could hide that.

        Raises:
            BadInput: naming the first event at which it does not hold.
        """
        if (broken := self.broken_link(con)) is not None:
            raise BadInput(
                what=f"the ledger of {self.what} is broken at event {broken}:"
                " nothing is added to it",
                where=self.table,
                what_to_do="restore the warehouse from a backup; `evalcov doctor` checks it",
            )

    def event_hash(self, event: Mapping[str, Any]) -> str:
        """SHA-256 over an event's fields, the previous hash among them."""
        values = [event[name] for name in self.columns if name != "hash"]
        plain = [
            value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
            for value in values
        ]
        return hashlib.sha256(orjson.dumps(plain)).hexdigest()

    def broken_link(self, con: duckdb.DuckDBPyConnection) -> int | None:
        """The first event_id at which the chain does not hold, or None for an intact one.

        One above the last event means that events are missing at the end.
        """
        previous = GENESIS
        events = self.read_events(con)
        for expected, event in enumerate(events.iter_rows(named=True), start=1):
            if (
                event["event_id"] != expected
                or event["previous_hash"] != previous
                or event["hash"] != self.event_hash(event)
            ):
                return expected
            previous = event["hash"]
        return events.height + 1 if self._is_cut(con) else None

    def head(self, con: duckdb.DuckDBPyConnection) -> tuple[int, str] | None:
        """Number of events and hash of the newest, as noted when it was recorded.

        None in a chain without events, and in one that was written before this was noted.
        """
        rows = con.execute(f"SELECT events, hash FROM {self.head_table}").fetchall()
        return rows[0] if rows else None

    def read_events(self, con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
        """All events, oldest first."""
        return frame(con, f"SELECT * FROM {self.table} ORDER BY event_id")

    def _end(self, con: duckdb.DuckDBPyConnection) -> tuple[int, str]:
        """Number of the newest event and its hash."""
        query = f"SELECT coalesce(max(event_id), 0), arg_max(hash, event_id) FROM {self.table}"
        event_id, newest = con.execute(query).fetchall()[0]
        return event_id, newest or GENESIS

    def _is_cut(self, con: duckdb.DuckDBPyConnection) -> bool:
        """Whether the chain ends otherwise than was noted."""
        return self.head(con) not in (None, self._end(con))
