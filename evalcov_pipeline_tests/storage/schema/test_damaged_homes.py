"""What people and other programs do to a warehouse is kept, or refused in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage import schema
from evalcov_pipeline.storage.published import reading
from evalcov_pipeline.storage.warehouse import Warehouse

NEWEST = schema.newest()
Change = Callable[[str], Warehouse]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of version 1 and one of the newest, each with one text."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("old", "new"):
        with duckdb.connect(folder / name) as con:
            if name == "old":
                con.execute(schema.migrations()[0].sql)
            else:
                schema.create(con)
            con.execute("INSERT INTO texts VALUES ('h', 'a text', '2026-10-05')")
    return folder


def changed(made: Path, home: Path, sql: str) -> Warehouse:
    home.mkdir(exist_ok=True)
    warehouse = Warehouse(home / "warehouse.duckdb", lock_timeout_s=5)
    shutil.copyfile(made, warehouse.path)
    with duckdb.connect(warehouse.path) as con:
        con.execute(sql)
    return warehouse


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Change:
    """A home of version 1 to which some SQL was done."""
    return lambda sql: changed(made / "old", tmp_path / "home", sql)


@pytest.fixture
def new(made: Path, tmp_path: Path) -> Change:
    """A home of the newest version to which some SQL was done."""
    return lambda sql: changed(made / "new", tmp_path / "home", sql)


def files(home: Path) -> dict[str, bytes]:
    """Content of all files of a home but its locks."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.name != "lock" and path.suffix != ".lock"
    }


def test_a_table_that_is_rebuilt_keeps_columns_that_no_definition_names(old: Change) -> None:
    warehouse = old(
        "CREATE TABLE t2 AS SELECT *, 'keepme' AS \"my own\" FROM texts;"
        'ALTER TABLE t2 ALTER "my own" SET NOT NULL;'
        "DROP TABLE texts; ALTER TABLE t2 RENAME TO texts"
    )
    with warehouse.writer() as con:
        con.execute("INSERT INTO texts (text_hash, text) VALUES ('i', 'another')")
        rows = con.execute('SELECT text, "my own" FROM texts ORDER BY text_hash').fetchall()
    assert rows == [("a text", "keepme"), ("another", None)]


def test_a_table_that_is_rebuilt_keeps_columns_written_in_another_case(old: Change) -> None:
    warehouse = old(
        "CREATE OR REPLACE TABLE Texts AS"
        ' SELECT text_hash AS "TEXT_hash", text AS "Text", first_seen_at AS "First_Seen_At"'
        " FROM texts"
    )
    with warehouse.reader() as con:
        cursor = con.execute("FROM texts")
        assert [c[0] for c in cursor.description] == ["text_hash", "text", "first_seen_at"]
        assert str(cursor.fetchone()) == "('h', 'a text', datetime.datetime(2026, 10, 5, 0, 0))"


HEAD = "table ledger_head, column events: expected BIGINT NOT NULL"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("SELECT 132.6::DOUBLE AS events, 'h' AS hash", f"{HEAD}, found DOUBLE.*'132.6'"),
        ("SELECT '132.6' AS events, 'h' AS hash", f"{HEAD}, found VARCHAR.*'132.6'"),
        ("SELECT 'nan'::DOUBLE AS events, 'h' AS hash", f"{HEAD}, found DOUBLE.*'nan'"),
        ("SELECT 'seven' AS hash, 'seven' AS events", f"{HEAD}, found VARCHAR.*'seven'"),
        ("SELECT {'n': 7} AS events, 'h' AS hash", f"{HEAD}, found STRUCT"),
        ("SELECT NULL::BIGINT AS events, 'h' AS hash", f"{HEAD}, found BIGINT.*NOT NULL"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_named(
    old: Change, damage: str, message: str
) -> None:
    warehouse = old(f"CREATE OR REPLACE TABLE ledger_head AS {damage}")
    refused(warehouse, message)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("7.0::DOUBLE", 7),
        ("' 7'", 7),
        ("7::DECIMAL(9, 2)", 7),
        ("9007199254740993::HUGEINT", 2**53 + 1),
    ],
)
def test_a_value_that_its_column_can_hold_is_kept(old: Change, value: str, kept: int) -> None:
    warehouse = old(f"CREATE OR REPLACE TABLE ledger_head AS SELECT {value} AS events, 'h' AS hash")
    with warehouse.reader() as con:
        assert con.execute("SELECT events FROM ledger_head").fetchall() == [(kept,)]


def test_a_date_in_text_becomes_a_timestamp(old: Change) -> None:
    warehouse = old("ALTER TABLE texts ALTER first_seen_at TYPE VARCHAR USING '2026-10-05'")
    with warehouse.reader() as con:
        assert con.execute("SELECT first_seen_at::VARCHAR FROM texts").fetchall() == [
            ("2026-10-05 00:00:00",)
        ]


LOOSE = "CREATE OR REPLACE TABLE texts AS FROM texts"
IN_THE_WAY = [
    (
        f"{LOOSE}; CREATE INDEX mine ON texts (text)",
        "table texts is to be made anew, but the index mine is on it",
    ),
    ("DROP TABLE trace_sample; CREATE VIEW trace_sample AS SELECT 1 AS x", "trace_sample"),
    ("DROP TABLE warehouse_schema; CREATE VIEW warehouse_schema AS SELECT 1 AS x", "warehouse_sch"),
    ("DROP TABLE texts; CREATE TABLE texts AS SELECT 1 AS foo", "table texts.*NOT NULL"),
]


@pytest.mark.parametrize(("damage", "message"), IN_THE_WAY)
def test_what_stands_in_the_way_of_a_migration_is_named(
    old: Change, damage: str, message: str
) -> None:
    refused(old(damage), message)


def test_of_several_columns_the_one_that_does_not_fit_is_named(old: Change) -> None:
    warehouse = old(
        "CREATE OR REPLACE TABLE taxonomies AS SELECT 't' AS taxonomy_id,"
        " TIMESTAMP '2026-10-05' AS fitted_at, 'oo' AS stability"
    )
    refused(warehouse, "column stability: expected DOUBLE, found VARCHAR.*'oo'")


HARMLESS = [
    "ALTER TABLE texts RENAME TO t; ALTER TABLE t RENAME TO Texts",
    "CREATE SCHEMA other; CREATE TABLE other.texts (a INTEGER PRIMARY KEY)",
]
MENDED = [
    f"{LOOSE}; CREATE TABLE texts__old AS SELECT 1 AS x",
    "DROP TABLE texts; CREATE TABLE texts (foo INT)",
]


@pytest.mark.parametrize(
    ("of", "change"),
    [*(("new", sql) for sql in HARMLESS), *(("old", sql) for sql in HARMLESS + MENDED)],
)
def test_what_does_no_harm_is_left_alone(
    request: pytest.FixtureRequest, of: str, change: str
) -> None:
    warehouse: Warehouse = request.getfixturevalue(of)(change)
    published = warehouse.path.with_name("published.duckdb")
    warehouse.publish(published)
    with reading(published) as con:
        assert schema.deviations(con) == []
        for name in ("texts__old", "other.texts"):
            if name in change:
                con.execute(f"FROM {name}")


STAMP = "CREATE OR REPLACE TABLE warehouse_schema AS SELECT now() AS \"at\", 'x' AS written_by, "


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM warehouse_schema",
        "INSERT INTO warehouse_schema VALUES (0, now(), 'x')",
        "INSERT INTO warehouse_schema VALUES (-5, now(), 'x')",
        f"{STAMP} unnest([2, 2])::INTEGER AS version",
        *(
            f"{STAMP} {value} AS version"
            for value in (
                "NULL::INTEGER", "TRUE", "'abc'", "'2'", "'nan'::DOUBLE", "'inf'::DOUBLE",
                "DATE '2026-10-05'", "[2]", "{'a': 2}", "-1::BIGINT",
            )
        ),
        "CREATE OR REPLACE TABLE warehouse_schema AS SELECT 2 AS v",
    ],
)  # fmt: skip
def test_a_version_that_cannot_be_told_is_one_line(new: Change, damage: str) -> None:
    refused(new(damage), "version of this home cannot be told from its table warehouse_schema")


def test_a_newer_home_that_does_not_say_who_wrote_it_is_refused(new: Change) -> None:
    message = f"of version {NEWEST + 1}.* install the release which wrote it, or go back"
    for writer in (", NULL::VARCHAR AS written_by", ""):
        stamp = f"SELECT {NEWEST + 1}::INTEGER AS version{writer}"
        refused(new(f"CREATE OR REPLACE TABLE warehouse_schema AS {stamp}"), message)


def test_a_newer_warehouse_is_refused_by_readers_of_an_older_snapshot(new: Change) -> None:
    warehouse = new("SELECT 1")
    published = warehouse.path.with_name("published.duckdb")
    warehouse.publish(published)
    with duckdb.connect(warehouse.path) as con:
        con.execute(f"INSERT INTO warehouse_schema VALUES ({NEWEST + 1}, now(), '9.1')")
    with pytest.raises(BadInput, match=f"of version {NEWEST + 1}.*9.1"), reading(published):
        pass


@pytest.mark.parametrize("sql", ["CREATE TABLE customers (id INT)", "CREATE VIEW v AS SELECT 1"])
def test_a_database_of_others_is_no_home(tmp_path: Path, sql: str) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with duckdb.connect(warehouse.path) as con:
        con.execute(f"CREATE SCHEMA other; CREATE TABLE other.texts (a INT); {sql}")
    refused(warehouse, "no warehouse of a home")


def test_a_statement_that_fails_for_a_table_that_is_gone_says_so(new: Change) -> None:
    warehouse = new("DROP TABLE annotation_queue")
    message = "table annotation_queue: expected a table, found none"
    for way in (warehouse.reader, warehouse.writer):
        with pytest.raises(BadInput, match=message), way() as con:
            con.execute("FROM annotation_queue")
    with pytest.raises(BadInput, match=message), warehouse.rehearsal() as (con, _):
        con.execute("FROM annotation_queue")
    with pytest.raises(duckdb.CatalogException), new("SELECT 1").reader() as con:
        con.execute("FROM no_table_of_ours")


def test_damaged_tables_do_not_take_the_place_of_a_sound_published_copy(new: Change) -> None:
    warehouse = new("SELECT 1")
    published = warehouse.path.with_name("published.duckdb")
    warehouse.publish(published)
    before = published.read_bytes()
    with pytest.raises(BadInput, match="table texts: expected a table, found none"):
        new("DROP TABLE texts").publish(published)
    assert published.read_bytes() == before


def left_with_log(warehouse: Warehouse) -> Warehouse:
    """The warehouse as a program leaves it that wrote and was killed: the write is in the log."""
    kept = warehouse.path.with_name("kept")
    with duckdb.connect(warehouse.path, config={"checkpoint_threshold": "1TB"}) as con:
        con.execute("INSERT INTO texts VALUES ('logged', 'in the log', NULL)")
        for path in (warehouse.path, warehouse.path.with_name("warehouse.duckdb.wal")):
            shutil.copyfile(path, kept.with_name(f"kept.{path.name}"))
    for path in list(warehouse.path.parent.glob("kept.*")):
        path.replace(path.with_name(path.name.removeprefix("kept.")))
    return warehouse


@pytest.mark.parametrize("of", ["old", "new"])
def test_a_rehearsal_changes_nothing_where_a_log_lies_beside_the_warehouse(
    request: pytest.FixtureRequest, of: str
) -> None:
    warehouse = left_with_log(request.getfixturevalue(of)("SELECT 1"))
    before = files(warehouse.path.parent)
    assert "warehouse.duckdb.wal" in before
    with warehouse.rehearsal() as (con, _):
        assert con.execute("SELECT count(*) FROM texts").fetchall() == [(2,)]
    assert files(warehouse.path.parent) == before


def test_a_backup_holds_what_the_log_beside_the_warehouse_held(old: Change) -> None:
    warehouse = left_with_log(old("SELECT 1"))
    warehouse.bring_up_to_date()
    (backup,) = (warehouse.path.parent / "backups").iterdir()
    for path in (backup, warehouse.path):
        with duckdb.connect(path, read_only=True) as con:
            assert con.execute("SELECT count(*) FROM texts").fetchall() == [(2,)]


def refused(warehouse: Warehouse, message: str) -> None:
    """All ways to open a home say what is wrong in one line, and change nothing."""
    before = files(warehouse.path.parent)
    for way in (warehouse.reader, warehouse.writer, warehouse.rehearsal):
        with pytest.raises(BadInput, match=message), way():  # type: ignore[attr-defined]
            pass
    after = files(warehouse.path.parent)
    assert {name: after[name] for name in after if not name.startswith("backups/")} == before
