"""The DuckDB warehouse: one writer, free readers, a schema that documents itself, a published copy.

A DuckDB file that one process holds for writing refuses every other process, readers included, and
a process that is killed while DuckDB overwrites a block of it in place leaves it unreadable. So a
transaction happens in a copy, which takes the file's place when it is whole: readers keep what they
opened, nobody waits for them, and after a crash the file is as it was. Writers follow each other
behind an advisory lock beside the file. Outsiders read `published.duckdb`, swapped in likewise.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.files import locked, move, unfinished

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
        """A connection inside one transaction; an exception leaves the file as it was.

        Raises:
            BadInput: another process writes for too long, the file is damaged or the disk is full.
        """
        with self._locked(), unfinished(self.path.parent) as folder, _naming_trouble(self.path):
            new = folder / self.path.name
            if self.path.exists():
                if self.path.with_name(f"{self.path.name}.wal").exists():
                    duckdb.connect(self.path).close()  # takes in what another program left there
                shutil.copyfile(self.path, new)
            with duckdb.connect(":memory:") as con:
                con.execute(f"ATTACH '{_quoted(new)}' AS warehouse (RECOVERY_MODE NO_WAL_WRITES)")
                con.execute("USE warehouse")
                con.execute("SET TimeZone = 'UTC'")
                con.begin()
                ensure_schema(con)
                yield con
                con.commit()
                con.execute("CHECKPOINT")
            move(new, self.path)

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection to the warehouse as it is now, with all tables of this version.

        Raises:
            BadInput: the file is damaged.
        """
        self._ensure_schema()
        with _naming_trouble(self.path), duckdb.connect(self.path, read_only=True) as con:
            con.execute("SET TimeZone = 'UTC'")
            yield con

    def publish(self, target: Path) -> int:
        """Copy the warehouse to `target`, atomically, and return the size of the copy in bytes.

        The lock is held until the copy is in place, so that an older copy never replaces a newer.
        """
        self._ensure_schema()
        with self._locked(), unfinished(target.parent) as folder:
            copy = folder / target.name
            with _naming_trouble(self.path), duckdb.connect(":memory:") as con:
                con.execute(f"ATTACH '{_quoted(self.path)}' AS warehouse (READ_ONLY)")
                con.execute(f"ATTACH '{_quoted(copy)}' AS target")
                con.execute("COPY FROM DATABASE warehouse TO target")
                con.execute("CHECKPOINT target")
                con.execute("DETACH target")
            size = copy.stat().st_size
            move(copy, target)
        return size

    def _ensure_schema(self) -> None:
        if self.path.exists():
            with _naming_trouble(self.path), duckdb.connect(self.path, read_only=True) as con:
                if _has_schema(con):
                    return
        with self.writer():
            pass

    def _locked(self) -> AbstractContextManager[None]:
        return locked(
            self.path.with_suffix(".lock"), "the warehouse", timeout_s=self.lock_timeout_s
        )


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
    if _has_schema(con):
        return
    con.execute("CREATE TABLE IF NOT EXISTS warehouse_schema (fingerprint VARCHAR)")
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
    con.execute("INSERT INTO warehouse_schema VALUES (?)", [_fingerprint()])


@cache
def _fingerprint() -> str:
    return hashlib.sha256(repr(tables()).encode()).hexdigest()


def _has_schema(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the database has the tables as this version defines them."""
    known = con.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'warehouse_schema'"
    ).fetchall()
    return known != [(0,)] and con.execute(
        "SELECT fingerprint FROM warehouse_schema"
    ).fetchall() == [(_fingerprint(),)]


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


@contextmanager
def _naming_trouble(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with the file or the disk.

    Raises:
        BadInput: the file is damaged, or cannot be read or written.
    """
    try:
        yield
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        if "No space left" in said or "quota" in said:
            what_to_do = "free space on the disk, then start again"
        elif isinstance(
            error, duckdb.IOException | duckdb.FatalException | duckdb.InternalException
        ):
            what_to_do = (
                "check the disk; if the file is damaged, restore it from a backup or copy"
                " published.duckdb in its place, then start again"
            )
        else:
            raise
        raise BadInput(
            what=f"the warehouse cannot be read or written: {said}",
            where=str(path),
            what_to_do=what_to_do,
        ) from error
