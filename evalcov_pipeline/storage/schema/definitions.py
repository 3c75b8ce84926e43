"""The tables as the `.sql` files in this folder define and describe them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import duckdb

VERSIONS = "warehouse_schema"
"""Table of the versions of a home: no step of the pipeline fills it."""

_TABLE = re.compile(
    r"((?:^--[^\n]*\n)*)^CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)^\);", re.MULTILINE | re.DOTALL
)
_COLUMN = re.compile(r'^  "?([a-z]\w*)"? ([A-Z][\w\[\]]*).*?(?:--\s*(.+))?$', re.MULTILINE)


@dataclass(frozen=True)
class Column:
    """A column as its `.sql` file defines and describes it."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table as its `.sql` file defines and describes it."""

    name: str
    description: str
    columns: tuple[Column, ...]
    body: str


@cache
def definitions() -> Mapping[str, Table]:
    """All tables by name.

    The `.sql` files are the one description of a table: the comment above it becomes the table's
    COMMENT and its description in Dagster, the one behind each column the column's.

    Raises:
        ValueError: a table or a column without a comment.
    """
    folder = resources.files(__package__)
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda f: f.name
    )
    defined = {}
    for comment, name, body in _TABLE.findall("\n".join(f.read_text("utf-8") for f in files)):
        columns = tuple(Column(*match) for match in _COLUMN.findall(body))
        if not comment or not all(column.description for column in columns):
            raise ValueError(f"table {name}: it or one of its columns has no comment")
        text = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
        defined[name] = Table(name, text, columns, body)
    return defined


@cache
def tables() -> Mapping[str, Table]:
    """The tables that the pipeline fills, by name: all but that of the versions."""
    return {name: table for name, table in definitions().items() if name != VERSIONS}


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Create all tables in an empty database, described by comments."""
    for table in definitions().values():
        con.execute(f"CREATE TABLE {table.name} (\n{table.body}\n)")
    describe(con)


def describe(con: duckdb.DuckDBPyConnection) -> None:
    """Comment all tables and columns; all at once: one by one takes half again as long."""
    statements = []
    for table in definitions().values():
        statements.append(f"COMMENT ON TABLE {table.name} IS {_literal(table.description)}")
        for column in table.columns:
            name = f'{table.name}."{column.name}"'
            statements.append(f"COMMENT ON COLUMN {name} IS {_literal(column.description)}")
    con.execute(";".join(statements))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
