"""Numbered versions: one schema however a home came to it, nothing stamped that is not so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage import schema
from evalcov_pipeline.storage.published import reading
from evalcov_pipeline.storage.schema import versions
from evalcov_pipeline.storage.schema.versions import Migration
from evalcov_pipeline.storage.warehouse import Warehouse, size

NEWEST = schema.newest()


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "home" / "warehouse.duckdb", lock_timeout_s=5)


@pytest.fixture
def old(warehouse: Warehouse) -> Warehouse:
    """A warehouse as release 0.1.0 made it, with one case and one text."""
    warehouse.path.parent.mkdir()
    with duckdb.connect(warehouse.path) as con:
        con.execute(schema.migrations()[0].sql)
        con.execute("INSERT INTO warehouse_schema VALUES ('a fingerprint')")
        con.execute("INSERT INTO texts VALUES ('h', 'a text', '2026-10-05')")
        con.execute("INSERT INTO ledger_head VALUES (7, 'hash')")
    return warehouse


def change(warehouse: Warehouse, sql: str) -> None:
    """What another program or an earlier version did to a warehouse."""
    with duckdb.connect(warehouse.path) as con:
        con.execute(sql)


def comments(con: duckdb.DuckDBPyConnection) -> set[tuple[str, str, str]]:
    return set(
        con.execute(
            "SELECT table_name, '', comment FROM duckdb_tables() UNION ALL"
            " SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    )


def a_later_version(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """Let the code have one migration more."""
    all_migrations = (*schema.migrations(), Migration(NEWEST + 1, "a later version", sql))
    monkeypatch.setattr(versions, "migrations", lambda: all_migrations)


def backups(warehouse: Warehouse) -> list[str]:
    return sorted(path.name for path in warehouse.path.parent.glob("backups/*"))


def test_all_migrations_lead_to_exactly_the_tables_of_a_new_home() -> None:
    """A table that is changed in schema/*.sql needs a migration: see its README."""
    with duckdb.connect(":memory:") as fresh, duckdb.connect(":memory:") as migrated:
        schema.create(fresh)
        migrated.execute(schema.migrations()[0].sql)
        schema.migrate(migrated, 1, Path("warehouse.duckdb"))
        assert schema.layouts(migrated) == schema.layouts(fresh)
        assert comments(migrated) == comments(fresh)


def test_a_new_home_is_of_the_newest_version(warehouse: Warehouse) -> None:
    assert warehouse.version() == 0
    warehouse.bring_up_to_date()
    assert warehouse.version() == NEWEST
    assert backups(warehouse) == []
    with warehouse.reader() as con:
        assert schema.deviations(con) == []


def test_an_old_home_is_migrated_behind_a_backup_that_is_named(
    old: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    before = old.path.read_bytes()
    with caplog.at_level(logging.WARNING), old.reader() as con:
        assert con.execute("SELECT * FROM texts").fetchall() == [
            ("h", "a text", datetime(2026, 10, 5))
        ]
    (backup,) = backups(old)
    assert backup.startswith("warehouse-v1-20")
    assert (old.path.parent / "backups" / backup).read_bytes() == before
    (line,) = caplog.messages
    assert f"from version 1 to {NEWEST}" in line
    assert backup in line
    assert old.version() == NEWEST


def test_the_stamp_is_a_row_per_version(old: Warehouse) -> None:
    with old.reader() as con:
        rows = con.execute("SELECT version, written_by FROM warehouse_schema ORDER BY 1").fetchall()
    assert [version for version, _ in rows] == list(range(2, NEWEST + 1))
    assert all(written_by for _, written_by in rows)


def test_one_state_is_backed_up_once_and_no_backup_is_overwritten(old: Warehouse) -> None:
    before = old.path.read_bytes()
    for _ in range(2):
        old.path.write_bytes(before)
        old.bring_up_to_date()
    assert len(backups(old)) == 1
    old.path.write_bytes(before)
    change(old, "INSERT INTO ledger_head VALUES (8, 'another')")
    old.bring_up_to_date()
    second, first = backups(old)
    assert second == first.replace(".duckdb", "-2.duckdb")
    assert (old.path.parent / "backups" / first).read_bytes() == before


def test_tables_that_lack_keys_and_columns_are_rebuilt_with_their_rows(old: Warehouse) -> None:
    change(
        old,
        "CREATE OR REPLACE TABLE texts AS SELECT text_hash, text FROM texts;"
        "ALTER TABLE ledger_head ALTER events TYPE VARCHAR;"
        "DROP TABLE coverage_scores",
    )
    with old.reader() as con:
        assert schema.deviations(con) == []
        assert con.execute("SELECT * FROM texts").fetchall() == [("h", "a text", None)]
        assert con.execute("SELECT events FROM ledger_head").fetchall() == [(7,)]
        assert size(con, "coverage_scores") == 0
    with old.writer() as con:
        con.execute("INSERT OR IGNORE INTO texts VALUES ('h', 'again', NULL)")
        assert size(con, "texts") == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            "ALTER TABLE ledger_head ALTER events TYPE VARCHAR;"
            "UPDATE ledger_head SET events = 'seven'",
            "table ledger_head, column events: expected BIGINT NOT NULL, found VARCHAR.*seven",
        ),
        (
            "CREATE OR REPLACE TABLE texts AS FROM texts UNION ALL FROM texts",
            "table texts, column text_hash: expected VARCHAR NOT NULL, found VARCHAR.*uplicate",
        ),
        (
            "CREATE OR REPLACE TABLE texts AS SELECT text_hash, first_seen_at FROM texts",
            "table texts.*NOT NULL constraint failed: texts.text",
        ),
    ],
)
def test_rows_that_fit_no_definition_are_named_and_nothing_is_changed(
    old: Warehouse, damage: str, message: str
) -> None:
    change(old, damage)
    before = old.path.read_bytes()
    with pytest.raises(BadInput, match=message), old.reader():
        pass
    assert old.path.read_bytes() == before


def test_what_no_definition_names_is_left_alone(old: Warehouse) -> None:
    change(old, "CREATE TABLE ours AS SELECT 1 AS x; ALTER TABLE texts ADD COLUMN note VARCHAR")
    change(old, "CREATE VIEW our_view AS SELECT text FROM texts")
    with old.reader() as con:
        assert con.execute("FROM ours").fetchall() == [(1,)]
        assert con.execute("FROM our_view").fetchall() == [("a text",)]
        assert con.execute("SELECT note FROM texts").fetchall() == [(None,)]


def test_a_home_whose_tables_are_not_of_its_version_is_not_stamped(
    old: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.bring_up_to_date()
    change(old, "ALTER TABLE texts ALTER first_seen_at TYPE VARCHAR")
    before = old.path.read_bytes()
    a_later_version(monkeypatch, "SELECT 1")
    message = f"not those of version {NEWEST + 1}: table texts, column first_seen_at: expected"
    with pytest.raises(BadInput, match=f"{message} TIMESTAMP, found VARCHAR"):
        old.bring_up_to_date()
    assert old.path.read_bytes() == before


def test_a_migration_that_fails_changes_nothing(
    old: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.bring_up_to_date()
    before = old.path.read_bytes()
    a_later_version(monkeypatch, "DROP TABLE texts; SELECT 'x'::INTEGER")
    with pytest.raises(BadInput, match=r"step to version \d+ \(a later version\) fails: .*'x'"):
        old.bring_up_to_date()
    assert old.path.read_bytes() == before


@pytest.fixture
def newer(warehouse: Warehouse) -> Warehouse:
    """A warehouse that a release of the future wrote."""
    warehouse.bring_up_to_date()
    warehouse.publish(warehouse.path.with_name("published.duckdb"))
    for path in (warehouse.path, warehouse.path.with_name("published.duckdb")):
        change(Warehouse(path), f"INSERT INTO warehouse_schema VALUES ({NEWEST + 1}, now(), '9.1')")
    return warehouse


@pytest.mark.parametrize("way", ["reader", "writer", "publish", "reading"])
def test_a_home_of_a_newer_version_is_refused(newer: Warehouse, way: str) -> None:
    published = newer.path.with_name("published.duckdb")
    files = {path: path.read_bytes() for path in (newer.path, published)}
    ways: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "reader": newer.reader,
        "writer": newer.writer,
        "publish": lambda: nullcontext(newer.publish(published)),
        "reading": lambda: reading(published),
    }
    message = (
        f"of version {NEWEST + 1}, .* up to {NEWEST} .*: install evalcov-pipeline 9.1 or newer"
    )
    with pytest.raises(BadInput, match=message), ways[way]():
        pass
    assert {path: path.read_bytes() for path in files} == files
    assert backups(newer) == []


def test_the_published_copy_carries_the_version(warehouse: Warehouse) -> None:
    published = warehouse.path.with_name("published.duckdb")
    warehouse.publish(published)
    with reading(published) as con:
        assert schema.version(con, published) == NEWEST


def test_a_write_that_fails_leaves_the_migration_done(old: Warehouse) -> None:
    with pytest.raises(duckdb.ConversionException), old.writer() as con:
        con.execute("DELETE FROM texts; SELECT 'x'::INTEGER")
    assert old.version() == NEWEST
    with old.reader() as con:
        assert size(con, "texts") == 1


def test_a_rehearsal_says_what_a_migration_would_do_and_does_it_elsewhere(old: Warehouse) -> None:
    change(old, "DROP TABLE coverage_scores")
    before = old.path.read_bytes()
    with old.rehearsal() as (con, steps):
        assert schema.deviations(con) == []
    assert steps[0] == "table coverage_scores is made"
    assert steps[1] == "2: The version of a home becomes a number"
    assert old.path.read_bytes() == before
    assert backups(old) == []


def test_an_old_home_that_cannot_be_written_says_so(old: Warehouse) -> None:
    before = old.path.read_bytes()
    (old.path.parent / "backups").write_text("a file where a folder is to be")
    message = f"of version 1 and is to be brought to version {NEWEST}, but it cannot be written"
    with pytest.raises(BadInput, match=message), old.reader():
        pass
    assert old.path.read_bytes() == before
