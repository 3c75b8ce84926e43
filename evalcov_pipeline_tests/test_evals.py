"""The eval suite: an append-only ledger, the suite of any day, and which run is scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.storage.evals import (
    add_results,
    derive_suite,
    first_tries,
    scored_run,
    suite,
    summarise_runs,
)
from evalcov_pipeline.storage.ledger import broken_link, record_cases
from evalcov_pipeline.storage.warehouse import Warehouse, frame

MARCH, APRIL, MAY = datetime(2026, 3, 1), datetime(2026, 4, 1), datetime(2026, 5, 1)
OLDEST = datetime(2026, 2, 1)


def unchanged(texts: Sequence[str]) -> list[str]:
    return list(texts)


def case(name: str, text: str = "where is my parcel?", **fields: Any) -> dict[str, Any]:
    return {"case_id": name, "input": text, **fields}


@pytest.fixture
def con(tmp_path: Path):
    with Warehouse(tmp_path / "warehouse.duckdb").writer() as connection:
        yield connection


def derive(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    return derive_suite(con, oldest_traffic=OLDEST, redact_all=unchanged)


def active(con: duckdb.DuckDBPyConnection, at: datetime) -> list[str]:
    return suite(con, at)["case_id"].to_list()


def test_importing_a_suite_twice_changes_nothing(con: duckdb.DuckDBPyConnection) -> None:
    first = record_cases(con, [case("a"), case("b")], at=MARCH, actor="import")
    second = record_cases(con, [case("b"), case("a")], at=APRIL, actor="import")
    assert (first.imported, second.imported, second.unchanged) == (2, 0, 2)
    assert con.execute("SELECT count(*) FROM eval_case_events").fetchall() == [(2,)]


def test_a_case_counts_from_its_creation_else_from_the_oldest_traffic_else_from_its_import(
    con: duckdb.DuckDBPyConnection,
) -> None:
    record_cases(
        con, [case("dated", created_at="2026-03-15T00:00:00Z"), case("undated")], at=MAY, actor="x"
    )
    record_cases(con, [case("later")], at=MAY + timedelta(days=9), actor="x")
    derive(con)
    assert active(con, OLDEST) == ["undated"]
    assert active(con, APRIL) == ["dated", "undated"]
    assert active(con, MAY + timedelta(days=8)) == ["dated", "undated"]
    assert active(con, MAY + timedelta(days=9)) == ["dated", "later", "undated"]


def test_the_suite_of_a_past_day_has_the_wording_of_that_day(
    con: duckdb.DuckDBPyConnection,
) -> None:
    record_cases(con, [case("a", "old wording")], at=MARCH, actor="x")
    record_cases(con, [case("a", "new wording")], at=APRIL, actor="x")
    derive(con)
    texts = dict(con.execute("SELECT text_hash, text FROM texts").fetchall())
    assert [texts[h] for h in suite(con, MARCH)["text_hash"]] == ["old wording"]
    assert [texts[h] for h in suite(con, APRIL)["text_hash"]] == ["new wording"]
    assert con.execute("SELECT input, version FROM eval_cases").fetchall() == [("new wording", 2)]


def test_a_retired_case_counts_until_it_was_retired(con: duckdb.DuckDBPyConnection) -> None:
    record_cases(con, [case("a")], at=MARCH, actor="x")
    record_cases(con, [case("a", status="retired")], at=APRIL, actor="x")
    derive(con)
    assert active(con, APRIL - timedelta(seconds=1)) == ["a"]
    assert active(con, APRIL) == []


def test_a_multi_turn_case_is_covered_by_its_last_user_message(
    con: duckdb.DuckDBPyConnection,
) -> None:
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "cancel my order"},
        {"role": "assistant", "content": "done"},
    ]
    record_cases(con, [case("m", messages)], at=MARCH, actor="x")  # type: ignore[arg-type]
    derive(con)
    joined = "SELECT text, n_turns FROM eval_cases JOIN texts USING (text_hash)"
    assert con.execute(joined).fetchall() == [("cancel my order", 2)]


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE eval_case_events SET payload = replace(payload, 'b', 'c') WHERE event_id = 2",
        "DELETE FROM eval_case_events WHERE event_id = 2",
        "UPDATE eval_case_events SET actor = 'someone else' WHERE event_id = 2",
        "DELETE FROM eval_case_events WHERE event_id = 1",
    ],
)
def test_a_changed_or_missing_event_breaks_the_chain(
    con: duckdb.DuckDBPyConnection, tampering: str
) -> None:
    record_cases(con, [case("a"), case("b"), case("c")], at=MARCH, actor="x")
    assert broken_link(con) is None
    con.execute(tampering)
    assert broken_link(con) == (1 if "event_id = 1" in tampering else 2)


def results(run: str, at: datetime, verdicts: dict[str, bool], **fields: Any) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"run_id": run, "case_id": name, "repeat": 0, "passed": passed, "at": at, **fields}
            for name, passed in verdicts.items()
        ]
    )


def test_only_a_complete_run_of_the_product_is_scored(con: duckdb.DuckDBPyConnection) -> None:
    names = [f"case-{i}" for i in range(10)]
    record_cases(con, [case(name) for name in names], at=MARCH, actor="x")
    derive(con)
    full = dict.fromkeys(names, True)
    add_results(con, results("complete", APRIL, full), APRIL)
    add_results(
        con, results("half", APRIL + timedelta(days=1), dict.fromkeys(names[:5], True)), APRIL
    )
    add_results(con, results("broken", APRIL + timedelta(days=2), full, variant="known_bad"), APRIL)
    summarise_runs(con, complete_share=0.9)
    run = scored_run(con, MAY)
    assert run is not None
    assert run["run_id"] == "complete"
    assert scored_run(con, APRIL - timedelta(days=1)) is None


def test_reruns_of_failures_do_not_enter_the_pass_rate(con: duckdb.DuckDBPyConnection) -> None:
    record_cases(con, [case("a"), case("b")], at=MARCH, actor="x")
    derive(con)
    add_results(con, results("r", APRIL, {"a": True, "b": False}), APRIL)
    again = results("r", APRIL, {"b": True}).with_columns(repeat=pl.lit(1))
    assert add_results(con, again, APRIL) == (1, 0)
    assert add_results(con, again, APRIL) == (0, 0)
    summarise_runs(con, complete_share=0.9)
    assert con.execute("SELECT pass_rate FROM eval_runs").fetchall() == [(0.5,)]
    assert first_tries(con, "r").rows() == [("a", True), ("b", False)]


def test_personal_data_in_a_case_does_not_reach_the_text_registry(
    con: duckdb.DuckDBPyConnection,
) -> None:
    record_cases(con, [case("a", "mail me at eve@example.com")], at=MARCH, actor="x")
    derive_suite(
        con,
        oldest_traffic=None,
        redact_all=lambda texts: [t.replace("eve@example.com", "<EMAIL>") for t in texts],
    )
    assert frame(con, "SELECT text FROM texts").item() == "mail me at <EMAIL>"
