"""Types and keys of the tables of a database, read from its catalog, and how two sets differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import duckdb


@dataclass
class TableLayout:
    """What a table can hold.

    Attributes:
        columns: type of each column by name, with NOT NULL where that holds.
        key: columns of the primary key in order; empty where there is none.
    """

    columns: dict[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Where a table is not what it should be."""

    table: str
    part: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Table and part, what is expected and what is there."""
        where = f"table {self.table}, {self.part}" if self.part else f"table {self.table}"
        return f"{where}: expected {self.expected}, found {self.found}"


def layouts(con: duckdb.DuckDBPyConnection) -> dict[str, TableLayout]:
    """TableLayout of every table of the current database by name in lower case.

    DuckDB finds a table in whatever case its name is asked for. Other schemas than `main` are not
    the pipeline's.
    """
    tables: dict[str, TableLayout] = {}
    columns = con.execute(
        "SELECT lower(table_name), column_name, data_type || if(is_nullable, '', ' NOT NULL')"
        " FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (database_name, table_oid)"
        " WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal"
        " ORDER BY table_name, column_index"
    )
    for table, column, type_ in columns.fetchall():
        tables.setdefault(table, TableLayout()).columns[column] = type_
    keys = con.execute(
        "SELECT lower(table_name), constraint_column_names FROM duckdb_constraints()"
        " WHERE database_name = current_database() AND schema_name = 'main'"
        " AND constraint_type = 'PRIMARY KEY'"
    )
    for table, key in keys.fetchall():
        tables[table].key = tuple(key)
    return tables


def differences(
    expected: Mapping[str, TableLayout], found: Mapping[str, TableLayout]
) -> Iterator[Difference]:
    """Where tables differ from what is expected, in types, keys or NOT NULL.

    The order of columns is free. Tables and columns that nobody expects do no harm and are no
    difference, unless a write that does not know such a column would fail.
    """
    for name, table in expected.items():
        if name not in found:
            yield Difference(name, "", "a table", "none")
            continue
        there = found[name]
        for column in [*table.columns, *(there.columns.keys() - table.columns.keys())]:
            type_, actual = table.columns.get(column), there.columns.get(column)
            if type_ != actual and not (type_ is None and actual and "NOT NULL" not in actual):
                yield Difference(name, f"column {column}", type_ or "none", actual or "none")
        if table.key != there.key:
            yield Difference(name, "primary key", _named(table.key), _named(there.key))


def _named(key: tuple[str, ...]) -> str:
    return f"({', '.join(key)})" if key else "none"
