"""Mends the tables of a home from before versions had numbers.

Such tables were extended by adding missing columns, which left out NOT NULL and primary keys, and
columns of another type stayed as they were.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import duckdb

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.schema.layout import Difference, TableLayout, differences, layouts

UNFIT = (
    duckdb.DataError, duckdb.IntegrityError, duckdb.ProgrammingError, duckdb.NotSupportedError,
    duckdb.DependencyException,
)  # fmt: skip
"""Errors of DuckDB that speak of tables and rows, not of the file or the disk."""

_EXACT = {
    "INTEGER": "DECIMAL(38, 10)",
    "BIGINT": "DECIMAL(38, 10)",
    "DATE": "TIMESTAMP_NS",
    "TIMESTAMP": "TIMESTAMP_NS",
}
"""Types that hold what a text says more exactly than the type that it is to become."""


def repair(con: duckdb.DuckDBPyConnection, definitions: str, where: Path) -> list[str]:
    """Bring tables to the types and keys of definitions that they should have had.

    Args:
        con: inside a transaction.
        definitions: CREATE TABLE statements.
        where: the file, for messages.

    Returns:
        What was done, for people.

    Raises:
        BadInput: rows do not fit, or something stands in the way; the message names table, column,
            expected and found.
    """
    with duckdb.connect(":memory:") as reference:
        reference.execute(definitions)
        expected = layouts(reference)
        statements = dict(
            reference.execute("SELECT table_name, sql FROM duckdb_tables()").fetchall()
        )
    actual, done = layouts(con), []
    for table, group in groupby(differences(expected, actual), key=lambda wrong: wrong.table):
        wrong = list(group)
        try:
            if table not in actual:
                con.execute(statements[table])
                done.append(f"table {table} is made")
                continue
            _refuse_indexes(con, table, where)
            _refuse_loss(con, wrong, expected[table], actual[table], where)
            _rebuild(con, table, statements[table], expected[table], actual[table])
        except duckdb.IntegrityError as error:
            raise _unfit(wrong, _reason(error), where) from error
        except UNFIT as error:
            raise BadInput(
                what=f"table {table} cannot be made by its definition: {_reason(error)}",
                where=str(where),
                what_to_do="remove what stands in its way, or restore a backup; nothing was"
                " changed",
            ) from error
        done.append(f"table {table} is rebuilt ({'; '.join(_brief(part) for part in wrong)})")
    return done


def _refuse_indexes(con: duckdb.DuckDBPyConnection, table: str, where: Path) -> None:
    """Refuse to make a table anew that others have indexed, since the index would be lost."""
    indexes = con.execute(
        "SELECT index_name FROM duckdb_indexes() WHERE database_name = current_database()"
        " AND schema_name = 'main' AND lower(table_name) = ?",
        [table],
    ).fetchall()
    if indexes:
        name = indexes[0][0]
        raise BadInput(
            what=f"table {table} is to be made anew, but the index {name} is on it",
            where=str(where),
            what_to_do=f"drop it (DROP INDEX {_quoted(name)}) and make it again later; nothing"
            " was changed",
        )


def _refuse_loss(
    con: duckdb.DuckDBPyConnection,
    wrong: Sequence[Difference],
    expected: TableLayout,
    actual: TableLayout,
    where: Path,
) -> None:
    """Refuse values that the type of their column cannot hold as they are."""
    for part in wrong:
        for source, column in _shared(expected, actual).items():
            old, new = _type(actual.columns[source]), _type(expected.columns[column])
            if part.part != f"column {column}" or old == new:
                continue
            lost = con.execute(
                f"SELECT {_quoted(source)}::VARCHAR FROM {part.table}"
                f" WHERE {_lost(_quoted(source), old, new)} LIMIT 1"
            ).fetchone()
            if lost:
                raise _unfit([part], f"{lost[0]!r} is not the same as {new}", where)


def _lost(column: str, old: str, new: str) -> str:
    """Condition that a value is not NULL and is another one after a cast to a type."""
    cast = f"TRY_CAST({column} AS {new})"
    if old != "VARCHAR":
        same = f"TRY_CAST({cast} AS {old}) IS NOT DISTINCT FROM {column}"
    elif new in _EXACT:
        same = f"{cast}::{_EXACT[new]} = TRY_CAST({column} AS {_EXACT[new]})"
    else:
        same = f"{cast} IS NOT NULL"
    return f"{column} IS NOT NULL AND ({same}) IS NOT TRUE"


def _rebuild(
    con: duckdb.DuckDBPyConnection,
    table: str,
    create: str,
    expected: TableLayout,
    actual: TableLayout,
) -> None:
    """Make a table anew by its definition, with the rows of the old one and its own columns."""
    old = _free_name(con, f"{table}__old")
    con.execute(f"ALTER TABLE {table} RENAME TO {old}")
    con.execute(create)
    shared = _shared(expected, actual)
    for column, type_ in actual.columns.items():
        if column not in shared:
            con.execute(f"ALTER TABLE {table} ADD COLUMN {_quoted(column)} {_type(type_)}")
    sources = ", ".join(_quoted(column) for column in actual.columns)
    columns = ", ".join(_quoted(shared.get(column, column)) for column in actual.columns)
    con.execute(f"INSERT INTO {table} ({columns}) SELECT {sources} FROM {old}")
    con.execute(f"DROP TABLE {old}")


def _shared(expected: TableLayout, actual: TableLayout) -> dict[str, str]:
    """Columns of a table that its definition has too, in whatever case: its name for each."""
    names = {column.lower(): column for column in expected.columns}
    return {column: names[column.lower()] for column in actual.columns if column.lower() in names}


def _free_name(con: duckdb.DuckDBPyConnection, name: str) -> str:
    taken = {
        row[0]
        for row in con.execute(
            "SELECT lower(table_name) FROM duckdb_tables()"
            " UNION ALL SELECT lower(view_name) FROM duckdb_views()"
        ).fetchall()
    }
    while name in taken:
        name += "_"
    return name


def _unfit(wrong: Sequence[Difference], reason: str, where: Path) -> BadInput:
    """What to say of rows that do not fit: of what differs, the part that the reason names."""
    words = re.findall(r"\w+", reason)
    blamed = next((w for w in wrong if w.part.removeprefix("column ") in words), wrong[0])
    return BadInput(
        what=f"{blamed}, and the rows do not fit: {reason}",
        where=str(where),
        what_to_do="correct these rows, or restore a backup; nothing was changed",
    )


def _type(column: str) -> str:
    return column.removesuffix(" NOT NULL")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _reason(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _brief(wrong: Difference) -> str:
    return f"{wrong.part} {wrong.expected}, was {wrong.found}"
