"""Mends the tables of a home from before versions had numbers.

Such tables were extended by adding missing columns, which left out NOT NULL and primary keys, and
columns of another type stayed as they were.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import duckdb

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.schema.layout import Difference, TableLayout, differences, layouts


def repair(con: duckdb.DuckDBPyConnection, definitions: str, where: Path) -> list[str]:
    """Bring tables to the types and keys of definitions that they should have had.

    Args:
        con: inside a transaction.
        definitions: CREATE TABLE statements.
        where: the file, for messages.

    Returns:
        What was done, for people.

    Raises:
        BadInput: rows do not fit; the message names table, column, expected and found.
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
        if table not in actual:
            con.execute(statements[table])
            done.append(f"table {table} is made")
            continue
        try:
            _rebuild(con, table, statements[table], expected[table], actual[table])
        except (
            duckdb.ConstraintException, duckdb.ConversionException, duckdb.BinderException,
            duckdb.DependencyException, duckdb.InvalidInputException,
        ) as error:  # fmt: skip
            raise BadInput(
                what=f"{wrong[0]}, and the rows do not fit: {str(error).splitlines()[0]}",
                where=str(where),
                what_to_do="correct these rows, or restore a backup; nothing was changed",
            ) from error
        done.append(f"table {table} is rebuilt ({'; '.join(_brief(part) for part in wrong)})")
    return done


def _rebuild(
    con: duckdb.DuckDBPyConnection,
    table: str,
    create: str,
    expected: TableLayout,
    actual: TableLayout,
) -> None:
    """Make a table anew by its definition, with the rows of the old one."""
    shared = ", ".join(f'"{column}"' for column in expected.columns if column in actual.columns)
    con.execute(f"ALTER TABLE {table} RENAME TO {table}__old")
    con.execute(create)
    con.execute(f"INSERT INTO {table} ({shared}) SELECT {shared} FROM {table}__old")
    con.execute(f"DROP TABLE {table}__old")


def _brief(wrong: Difference) -> str:
    return f"{wrong.part} {wrong.expected}, was {wrong.found}"
