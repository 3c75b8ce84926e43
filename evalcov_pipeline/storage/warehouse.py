"""The DuckDB warehouse: one writer, free readers, a schema that documents itself, a published copy.

A DuckDB file that one process holds for writing refuses every other process, readers included. So
every connection of the pipeline goes through `Warehouse`, behind an advisory lock beside the file
(shared to read, exclusive to write), and outsiders read `published.duckdb`, a copy that is swapped
in atomically: whoever has the old copy open keeps it until they reopen.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.errors import BadInput

_TABLE = re.compile(
    r"((?:^--[^\n]*\n)*)^CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)^\);", re.MULTILINE | re.DOTALL
)
_COLUMN = re.compile(r'^  "?([a-z]\w*)"? ([A-Z][\w\[\]]*).*?(?:--\s*(.+))?$', re.MULTILINE)


Columns = dict[str, pl.DataType | type[pl.DataType]]
"""Types of a frame's columns by name."""


class Warehouse:
    """Connections to one DuckDB file.

    Args:
        path: the DuckDB file; created with its schema by the first writer.
        lock_timeout_s: seconds to wait for another process before giving up.
    """

    def __init__(self, path: Path, lock_timeout_s: float = 120.0) -> None:
        self.path = Path(path)
        self.lock_timeout_s = lock_timeout_s

    @contextmanager
    def writer(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside one transaction, rolled back on an exception."""
        with self._lock(fcntl.LOCK_EX):
            con = duckdb.connect(self.path)
            try:
                con.execute("SET TimeZone = 'UTC'")
                con.begin()
                ensure_schema(con)
                yield con
                con.commit()
            except BaseException:
                with suppress(duckdb.Error):
                    con.rollback()
                raise
            finally:
                con.close()

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection."""
        if not self.path.exists():
            with self.writer():
                pass
        with self._lock(fcntl.LOCK_SH):
            con = duckdb.connect(self.path, read_only=True)
            try:
                con.execute("SET TimeZone = 'UTC'")
                yield con
            finally:
                con.close()

    def publish(self, target: Path) -> int:
        """Copy the warehouse to `target`, atomically, and return the size of the copy in bytes."""
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)
        try:
            with self.reader():
                pass  # makes sure that the file exists
            with self._lock(fcntl.LOCK_SH):
                con = duckdb.connect(":memory:")
                try:
                    con.execute(f"ATTACH '{_quoted(self.path)}' AS warehouse (READ_ONLY)")
                    con.execute(f"ATTACH '{_quoted(partial)}' AS target")
                    con.execute("COPY FROM DATABASE warehouse TO target")
                    con.execute("DETACH target")
                finally:
                    con.close()
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target.stat().st_size

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = self.path.with_suffix(".lock")
        deadline = time.monotonic() + self.lock_timeout_s
        with lock_file.open("a") as handle:
            while True:
                try:
                    fcntl.flock(handle, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise BadInput(
                            what=f"the warehouse is held by {_holders(lock_file)}",
                            where=str(self.path),
                            what_to_do="wait for that process to finish, or end it, then try again",
                        ) from None
                    time.sleep(0.05)
            yield


@dataclass(frozen=True)
class Column:
    """A column as `schema/*.sql` defines and describes it."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table as `schema/*.sql` defines and describes it."""

    name: str
    description: str
    columns: tuple[Column, ...]
    body: str


@cache
def tables() -> Mapping[str, Table]:
    """All tables by name.

    The files in `schema/` are the one description of a table: the comment above it becomes the
    table's COMMENT and its description in Dagster, the one behind each column the column's.

    Raises:
        ValueError: a table or a column without a comment.
    """
    folder = resources.files("evalcov_pipeline.storage").joinpath("schema")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda f: f.name
    )
    found = {}
    for comment, name, body in _TABLE.findall("\n".join(f.read_text("utf-8") for f in files)):
        columns = tuple(Column(*match) for match in _COLUMN.findall(body))
        if not comment or not all(column.description for column in columns):
            raise ValueError(f"table {name}: it or one of its columns has no comment")
        text = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
        found[name] = Table(name, text, columns, body)
    return found


def ensure_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Create the tables and add the columns that are missing, and comment all of them."""
    fingerprint = hashlib.sha256(repr(tables()).encode()).hexdigest()
    con.execute("CREATE TABLE IF NOT EXISTS warehouse_schema (fingerprint VARCHAR)")
    if con.execute("SELECT fingerprint FROM warehouse_schema").fetchall() == [(fingerprint,)]:
        return
    con.execute("COMMENT ON TABLE warehouse_schema IS 'Version of the table definitions'")
    con.execute("COMMENT ON COLUMN warehouse_schema.fingerprint IS 'SHA-256 of the definitions'")
    for table in tables().values():
        con.execute(f"CREATE TABLE IF NOT EXISTS {table.name} (\n{table.body}\n)")
        con.execute(f"COMMENT ON TABLE {table.name} IS '{_quoted(table.description)}'")
        for column in table.columns:
            name = f'"{column.name}"'
            con.execute(f"ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS {name} {column.type}")
            comment = _quoted(column.description)
            con.execute(f"COMMENT ON COLUMN {table.name}.{name} IS '{comment}'")
    con.execute("DELETE FROM warehouse_schema")
    con.execute("INSERT INTO warehouse_schema VALUES (?)", [fingerprint])


def replace_slice(
    con: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame, **where: Any
) -> int:
    """Replace the rows of `table` for which every column in `where` has the given value.

    Columns are matched by name. The caller's transaction makes it atomic.

    Returns:
        Number of rows written.
    """
    if where:
        condition = " AND ".join(f"{column} = ?" for column in where)
        con.execute(f"DELETE FROM {table} WHERE {condition}", list(where.values()))
    else:
        con.execute(f"DELETE FROM {table}")
    return insert(con, table, frame)


def insert(
    con: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame, *, new_only: bool = False
) -> int:
    """Insert rows by column name; with `new_only`, skip those whose primary key is known."""
    if frame.is_empty():
        return 0
    con.register("incoming", frame.to_arrow())
    try:
        prefix = "INSERT OR IGNORE" if new_only else "INSERT"
        con.execute(f"{prefix} INTO {table} BY NAME SELECT * FROM incoming")
    finally:
        con.unregister("incoming")
    return frame.height


def one_row(
    con: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> Mapping[str, Any] | None:
    """The first row of a query as a mapping, or None."""
    cursor = con.execute(query, parameters or [])
    row = cursor.fetchone()
    return dict(zip([c[0] for c in cursor.description], row, strict=True)) if row else None


def size(con: duckdb.DuckDBPyConnection, table: str) -> int:
    """Number of rows of a table."""
    return int(con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def frame(
    con: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> pl.DataFrame:
    """The result of a query as a polars frame."""
    return con.execute(query, parameters or []).pl()


def _quoted(value: object) -> str:
    return str(value).replace("'", "''")


def _holders(lock_file: Path) -> str:
    """Who holds the lock, as far as the system tells."""
    inode = f":{lock_file.stat().st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return "another process"
    pids = {
        fields[4]
        for fields in (line.split() for line in lines)
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(inode)
    } - {str(os.getpid())}
    return f"process {', '.join(sorted(pids))}" if pids else "another process"
