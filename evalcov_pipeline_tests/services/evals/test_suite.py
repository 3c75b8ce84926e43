"""The eval suite: an append-only ledger, the suite of any day, and which run is scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.evals.ledger import (
    broken_link,
    event_hash,
    head,
    lost_regression,
    read_events,
    record_cases,
)
from evalcov_pipeline.services.evals.suite import (
    add_results,
    derive_suite,
    scored_run,
    suite,
    summarise_runs,
)
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.judges.admission import admitted_results
from evalcov_pipeline.services.traffic.texts import add_texts, forget_unused_texts, week_texts
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.chain import GENESIS
from evalcov_pipeline.storage.warehouse import frame

MARCH, APRIL, MAY = datetime(2026, 3, 1), datetime(2026, 4, 1), datetime(2026, 5, 1)
OLDEST = datetime(2026, 2, 1)


def unchanged(texts: Sequence[str]) -> list[str]:
    return list(texts)


def case(name: str, text: str = "where is my parcel?", **fields: Any) -> dict[str, Any]:
    """An eval case."""
    return {"case_id": name, "input": text, **fields}


@pytest.fixture
def con(new_home: Settings):
    with warehouse_of(new_home).writer() as connection:
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
    ("with_previous_turn", "expected"),
    [(False, ["hello", "cancel", "now"]), (True, ["hello", "hello cancel", "cancel now"])],
)
def test_every_user_message_has_the_text_that_its_turn_would_have_in_production(
    con: duckdb.DuckDBPyConnection, with_previous_turn: bool, expected: list[str]
) -> None:
    messages = [{"role": "user", "content": text} for text in ("hello", "cancel", "now")]
    messages.insert(1, {"role": "assistant", "content": "hi", "tool_calls": ["greet"]})
    record_cases(con, [case("m", messages)], at=MARCH, actor="x")  # type: ignore[arg-type]
    derive_suite(
        con, oldest_traffic=OLDEST, redact_all=unchanged, with_previous_turn=with_previous_turn
    )
    add_texts(con, pl.DataFrame({"text_hash": ["unused"], "text": ["of no case any more"]}))
    forget_unused_texts(con)
    known = dict(week_texts(con, MARCH).rows())
    ((hashes, last),) = con.execute("SELECT text_hashes, text_hash FROM eval_cases").fetchall()
    assert [known[name] for name in hashes] == expected
    assert last == hashes[-1]
    assert con.execute("SELECT count(*) FROM texts").fetchall() == [(3,)]


def rehash(con: duckdb.DuckDBPyConnection, first: int) -> None:
    """Compute the hashes from an event on anew, as somebody who knows how would."""
    previous = GENESIS
    for event in read_events(con).iter_rows(named=True):
        if event["event_id"] >= first:
            event["previous_hash"] = previous
            event["hash"] = event_hash(event)
            con.execute(
                "UPDATE eval_case_events SET previous_hash = ?, hash = ? WHERE event_id = ?",
                [previous, event["hash"], event["event_id"]],
            )
        previous = event["hash"]


@pytest.mark.parametrize(
    ("tampering", "breaks_at"),
    [
        ("UPDATE eval_case_events SET payload = replace(payload, 'b', 'c') WHERE event_id = 2", 2),
        ("UPDATE eval_case_events SET actor = 'someone else' WHERE event_id = 2", 2),
        ("DELETE FROM eval_case_events WHERE event_id = 1", 1),
        ("DELETE FROM eval_case_events WHERE event_id = 2", 2),
        ("DELETE FROM eval_case_events WHERE event_id = 3", 3),
        ("DELETE FROM eval_case_events", 1),
        (
            "UPDATE eval_case_events SET event_id = -event_id WHERE event_id > 1;"
            "UPDATE eval_case_events SET event_id = 5 + event_id WHERE event_id < 0",
            2,
        ),
    ],
)
def test_a_changed_missing_or_moved_event_breaks_the_chain(
    con: duckdb.DuckDBPyConnection, tampering: str, breaks_at: int
) -> None:
    record_cases(con, [case("a"), case("b"), case("c")], at=MARCH, actor="x")
    assert broken_link(con) is None
    con.execute(tampering)
    assert broken_link(con) == breaks_at


def test_a_rehashed_suffix_is_another_end_than_was_noted(con: duckdb.DuckDBPyConnection) -> None:
    record_cases(con, [case("a"), case("b"), case("c")], at=MARCH, actor="x")
    con.execute("UPDATE eval_case_events SET actor = 'eve' WHERE event_id = 2")
    rehash(con, 2)
    assert broken_link(con) == 4


def test_a_broken_ledger_takes_no_event_that_could_hide_it(
    con: duckdb.DuckDBPyConnection,
) -> None:
    record_cases(con, [case("a"), case("b")], at=MARCH, actor="x")
    con.execute("DELETE FROM eval_case_events WHERE event_id = 2")
    with pytest.raises(BadInput, match="broken at event 2"):
        record_cases(con, [case("c")], at=APRIL, actor="x")


def test_a_ledger_from_before_its_end_was_noted_is_taken_as_it_is(
    con: duckdb.DuckDBPyConnection,
) -> None:
    record_cases(con, [case("a")], at=MARCH, actor="x")
    con.execute("DELETE FROM ledger_head")
    assert head(con) is None
    assert broken_link(con) is None


def guard(name: str, text: str = "charged twice", **fields: Any) -> dict[str, Any]:
    """A regression case."""
    return case(name, text, regression=True, expected="Refund it.", **fields)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "retired"}, "only an active regression case can supersede it"),
        ({"regression": False}, "stays one"),
        ({"input": "something easier"}, "its input cannot change"),
        ({"expected": "Anything."}, "its expected cannot change"),
        ({"expected_tools": []}, "its expected_tools cannot change"),
        ({"created_at": "2027-01-01T00:00:00Z"}, "its created_at cannot change"),
    ],
)
def test_a_regression_case_cannot_be_weakened(
    con: duckdb.DuckDBPyConnection, change: dict[str, Any], why: str
) -> None:
    record_cases(con, [guard("r")], at=MARCH, actor="x")
    report = record_cases(con, [guard("r") | change, case("other")], at=APRIL, actor="x")
    ((name, reason),) = report.refused
    assert name == "r"
    assert why in reason
    assert report.imported == 1
    derive(con)
    assert active(con, MAY) == ["other", "r"]
    assert lost_regression(con) is None


def test_a_regression_case_can_get_another_category_and_a_case_can_become_one(
    con: duckdb.DuckDBPyConnection,
) -> None:
    record_cases(con, [guard("r"), case("plain")], at=MARCH, actor="x")
    changes = [guard("r", category="billing", tags=["money"]), case("plain", regression=True)]
    report = record_cases(con, changes, at=APRIL, actor="x")
    assert (report.edited, report.refused) == (2, ())
    unstated = [case("r", "charged twice", expected="Refund it.", category="billing")]
    assert record_cases(con, unstated, at=MAY, actor="x").refused == ()
    derive(con)
    assert con.execute("SELECT count(*) FROM eval_cases WHERE regression").fetchall() == [(2,)]


def test_a_stricter_regression_case_takes_the_place_of_another(
    con: duckdb.DuckDBPyConnection,
) -> None:
    record_cases(con, [guard("r")], at=MARCH, actor="x")
    suite_file = [guard("r"), guard("s", "charged twice, and asked why", supersedes="r")]
    report = record_cases(con, suite_file, at=APRIL, actor="x")
    assert (report.imported, report.superseded, report.unchanged) == (1, 1, 1)
    again = record_cases(con, suite_file, at=MAY, actor="x")
    assert (again.unchanged, again.refused) == (2, ())
    derive(con)
    assert (active(con, APRIL - timedelta(days=1)), active(con, MAY)) == (["r"], ["s"])
    statuses = "SELECT case_id, status, supersedes FROM eval_cases ORDER BY case_id"
    assert con.execute(statuses).fetchall() == [("r", "superseded", None), ("s", "active", "r")]
    assert lost_regression(con) is None
    assert broken_link(con) is None


@pytest.mark.parametrize(
    ("successor", "why"),
    [
        (case("s", supersedes="r"), "is no active regression case"),
        (guard("s", supersedes="r", status="retired"), "is no active regression case"),
        (guard("s", supersedes="nobody"), "is no other case"),
        (guard("s", supersedes="s"), "is no other case"),
        (guard("s", supersedes="gone"), "is retired already"),
        (guard("s", supersedes="old"), "is superseded already"),
        (guard("old"), None),
        (guard("old") | {"category": "new"}, "was superseded by r"),
        (guard("r", supersedes="plain"), "which cannot change"),
    ],
)
def test_who_may_supersede_whom(
    con: duckdb.DuckDBPyConnection, successor: dict[str, Any], why: str | None
) -> None:
    start = [guard("old"), guard("r", supersedes="old"), case("plain"), case("gone")]
    record_cases(con, start, at=MARCH, actor="x")
    record_cases(con, [case("gone", status="retired")], at=MARCH, actor="x")
    reasons = [reason for _, reason in record_cases(con, [successor], at=MAY, actor="x").refused]
    assert len(reasons) == (why is not None)
    assert all(why in reason for reason in reasons if why)


@pytest.mark.parametrize("payload", ["'[1'", "replace(payload, 'true', 'false')"])
def test_an_event_that_breaks_the_rules_is_found_whoever_wrote_it(
    con: duckdb.DuckDBPyConnection, payload: str
) -> None:
    record_cases(con, [guard("r"), guard("r", category="billing")], at=MARCH, actor="x")
    record_cases(con, [guard("r", category="money")], at=APRIL, actor="x")
    con.execute(f"UPDATE eval_case_events SET payload = {payload} WHERE event_id = 2")
    rehash(con, 2)
    found = lost_regression(con)
    assert found is not None
    assert found[0] == 2


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
    assert run.run_id == "complete"
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
    assert admitted_results(con, "r", MAY).results.rows() == [("a", True), ("b", False)]


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
