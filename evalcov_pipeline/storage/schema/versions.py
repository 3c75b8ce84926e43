"""Which version a home is of, and the steps that bring it to the newest.

A home made before versions had numbers counts as version 1. Every later version is stamped in
`warehouse_schema`, in the transaction that makes it so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from evalcov_pipeline import __version__
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.schema.definitions import VERSIONS, create_tables, describe
from evalcov_pipeline.storage.schema.layout import Difference, differences, layouts
from evalcov_pipeline.storage.schema.repair import repair

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


def version(con: duckdb.DuckDBPyConnection) -> int:
    """Version of the connected warehouse or published copy; 0 for an empty database."""
    try:
        rows = con.execute(f"SELECT max(version) FROM {VERSIONS}").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return _FIRST if layouts(con) else 0
    return int(rows[0][0] or _FIRST)


def refuse_newer(con: duckdb.DuckDBPyConnection, home_version: int, where: Path) -> None:
    """Refuse a home that a newer release wrote, since what it means by its tables is unknown.

    Raises:
        BadInput: the version found is newer than this code.
    """
    if home_version <= newest():
        return
    (writer,) = con.execute(f"SELECT arg_max(written_by, version) FROM {VERSIONS}").fetchall()[0]
    raise BadInput(
        what=f"this home is of version {home_version},"
        f" and this code knows versions up to {newest()}",
        where=str(where),
        what_to_do=f"install evalcov-pipeline {writer} or newer, which wrote it, or go back to a"
        " backup: docs/homes.md",
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
            con.execute(step.sql)
            if step.version == newest():
                _check(con, where)
                describe(con)
            _stamp(con, step.version)
        done.append(f"{step.version}: {step.title}")
    return done


def deviations(con: duckdb.DuckDBPyConnection) -> list[Difference]:
    """Where the tables are not what this version defines."""
    with duckdb.connect(":memory:") as fresh:
        create_tables(fresh)
        return list(differences(layouts(fresh), layouts(con)))


def _check(con: duckdb.DuckDBPyConnection, where: Path) -> None:
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
