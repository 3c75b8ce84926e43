"""Which version a home is of, and the steps that bring it to the newest.

A home made before versions had numbers counts as version 1. Every later version is stamped in
`warehouse_schema`, in the transaction that makes it so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from evalcov_pipeline import __version__
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.schema.definitions import (
    VERSIONS,
    create_tables,
    definitions,
    describe,
)
from evalcov_pipeline.storage.schema.layout import Difference, differences, layouts
from evalcov_pipeline.storage.schema.repair import UNFIT, repair

_FILE = re.compile(r"(\d{4})_\w+\.sql")
_FIRST = 1


@dataclass(frozen=True)
class Migration:
    """A step from one version to the next.

    Attributes:
        version: version that it leads to.
        title: what it does, for people: the first line of its file.
        sql: statements.
    """

    version: int
    title: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations in order; the first makes the tables of version 1 in an empty database.

    Raises:
        ValueError: a number is missing or there twice.
    """
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted(
        (int(match[1]), file.read_text("utf-8"))
        for file in folder.iterdir()
        if (match := _FILE.fullmatch(file.name))
    )
    if [number for number, _ in files] != list(range(_FIRST, _FIRST + len(files))):
        raise ValueError(f"migrations are not numbered 1, 2, 3 ...: {[n for n, _ in files]}")
    return tuple(
        Migration(number, sql.splitlines()[0].removeprefix("--").strip(), sql)
        for number, sql in files
    )


def newest() -> int:
    """The version that this code writes and reads."""
    return migrations()[-1].version


def version(con: duckdb.DuckDBPyConnection, where: Path) -> int:
    """Version of the connected warehouse or published copy; 0 for an empty database.

    Args:
        con: not inside a transaction that failed.
        where: the file, for messages.

    Raises:
        BadInput: the version is newer than this code, and what a newer release means by its tables
            is unknown; or it cannot be told.
    """
    there = layouts(con)
    stamp = there.get(VERSIONS)
    if stamp is None or "fingerprint" in stamp.columns:
        return _unnumbered(con, there.keys(), where)
    type_ = stamp.columns.get("version", "none").removesuffix(" NOT NULL")
    if type_ not in ("INTEGER", "BIGINT"):
        raise _unreadable(f"its column version is of type {type_}", where)
    writer = "written_by" if "written_by" in stamp.columns else "NULL"
    rows = con.execute(
        f"SELECT version, {writer} FROM {VERSIONS} ORDER BY version NULLS FIRST"
    ).fetchall()
    numbers = [number for number, _ in rows]
    if not rows or numbers[0] is None or numbers[0] < _FIRST or len({*numbers}) < len(numbers):
        raise _unreadable(f"its versions are {numbers}", where)
    number, writer = rows[-1]
    if number > newest():
        release = f"evalcov-pipeline {writer} or newer" if writer else "the release"
        raise BadInput(
            what=f"this home is of version {number}, and this code knows versions up to {newest()}",
            where=str(where),
            what_to_do=f"install {release}{',' if writer else ''} which wrote it, or go back to a"
            " backup: docs/homes.md",
        )
    return int(number)


def _unnumbered(con: duckdb.DuckDBPyConnection, there: Collection[str], where: Path) -> int:
    """Version of a database that carries none: the first, or 0 where there is nothing at all."""
    if any(name in there for name in definitions()):
        return _FIRST
    holds = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
        " UNION ALL SELECT view_name FROM duckdb_views()"
        " WHERE database_name = current_database() AND NOT internal"
    ).fetchone()
    if holds:
        raise BadInput(
            what=f"this is no warehouse of a home: it has {holds[0]} and none of our tables",
            where=str(where),
            what_to_do="move the file away, or set EVALCOV_HOME to another folder",
        )
    return 0


def _unreadable(reason: str, where: Path) -> BadInput:
    return BadInput(
        what=f"the version of this home cannot be told from its table {VERSIONS}: {reason}",
        where=str(where),
        what_to_do="restore the warehouse from a backup: docs/homes.md",
    )


def create(con: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of the newest version in an empty database, and stamp it."""
    with _transaction(con):
        create_tables(con)
        _stamp(con, newest())


def migrate(con: duckdb.DuckDBPyConnection, home_version: int, where: Path) -> list[str]:
    """Bring the tables from the version found to the newest, each step in its own transaction.

    Args:
        con: outside a transaction.
        home_version: the version that they have, 1 or later.
        where: the file, for messages.

    Returns:
        What was done, for people.

    Raises:
        BadInput: rows do not fit the tables that they belong into, or the tables are then not what
            this version defines.
    """
    done = []
    for step in migrations()[home_version:]:
        with _transaction(con):
            if step.version == _FIRST + 1:
                done += repair(con, migrations()[0].sql, where)
            _take(con, step, where)
            if step.version == newest():
                refuse_deviations(con, where)
                describe(con)
            _stamp(con, step.version)
        done.append(f"{step.version}: {step.title}")
    return done


def deviations(con: duckdb.DuckDBPyConnection) -> list[Difference]:
    """Where the tables are not what this version defines."""
    with duckdb.connect(":memory:") as fresh:
        create_tables(fresh)
        return list(differences(layouts(fresh), layouts(con)))


@contextmanager
def explained(con: duckdb.DuckDBPyConnection, where: Path) -> Iterator[None]:
    """Say which table is not what this version defines, if a statement fails for that.

    What is wrong with a statement of ours stays an error of DuckDB.

    Raises:
        BadInput: a statement failed, and the tables are not those of this version.
    """
    try:
        yield
    except UNFIT as error:
        with suppress(duckdb.Error):
            con.rollback()
        try:
            refuse_deviations(con, where)
        except BadInput as deviation:
            raise deviation from error
        raise


def _take(con: duckdb.DuckDBPyConnection, step: Migration, where: Path) -> None:
    try:
        con.execute(step.sql)
    except UNFIT as error:
        raise BadInput(
            what=f"the step to version {step.version} ({step.title}) fails:"
            f" {str(error).splitlines()[0]}",
            where=str(where),
            what_to_do="correct the table, or restore a backup; nothing was changed",
        ) from error


def refuse_deviations(con: duckdb.DuckDBPyConnection, where: Path) -> None:
    """Refuse tables that are not what this version defines.

    Raises:
        BadInput: names the first of them.
    """
    wrong = deviations(con)
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise BadInput(
            what=f"the tables are not those of version {newest()}: {wrong[0]}{more}",
            where=str(where),
            what_to_do="restore a backup, or correct the table; nothing was changed",
        )


def _stamp(con: duckdb.DuckDBPyConnection, number: int) -> None:
    con.execute(
        f'INSERT INTO {VERSIONS} (version, "at", written_by) VALUES (?, ?, ?)',
        [number, datetime.now(UTC).replace(tzinfo=None), __version__],
    )


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    con.begin()
    yield
    con.commit()
