"""What became of a case, and what the suite was made of on any day."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest

from evalcov_pipeline.cli import BAD_INPUT, main
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.evals.history import NOT_SCORED, case_history, composition, suite_on
from evalcov_pipeline.services.evals.ledger import record_cases
from evalcov_pipeline.services.evals.suite import derive_suite, suite
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.settings import Settings, get_settings

MARCH, APRIL, MAY = datetime(2026, 3, 10), datetime(2026, 4, 10), datetime(2026, 5, 10)


def case(name: str, text: str = "where is my parcel?", **fields: Any) -> dict[str, Any]:
    return {"case_id": name, "input": text, **fields}


@pytest.fixture
def con(new_home: Settings):
    """A suite that grew from two cases in March to three in May, one retired, one from a plan."""
    with warehouse_of(new_home).writer() as connection:
        record_cases(connection, [case("greet", "hello"), case("bye")], at=MARCH, actor="import")
        labelled = {"origin": "production", "plan_id": "plan-1", "raters": ["ann", "ben"]}
        record_cases(connection, [case("prod-1", **labelled)], at=APRIL, actor="merge")
        changes = [case("greet", "hello there"), case("bye", status="retired"), case("new")]
        record_cases(connection, changes, at=MAY, actor="import")
        derive_suite(connection, oldest_traffic=None, redact_all=list)
        yield connection


def test_the_history_of_a_case_says_when_who_and_what(con: duckdb.DuckDBPyConnection) -> None:
    first, second = case_history(con, "greet")
    assert (first["version"], first["event"], first["at"]) == (1, "imported", MARCH)
    assert (second["version"], second["event"], second["actor"]) == (2, "edited", "import")
    assert second["changed"] == {"input": {"before": "hello", "after": "hello there"}}
    assert case_history(con, "bye")[1]["changed"] == {
        "status": {"before": None, "after": "retired"}
    }
    (merged,) = case_history(con, "prod-1")
    assert (merged["plan_id"], merged["raters"]) == ("plan-1", ["ann", "ben"])


def test_an_unknown_case_is_answered_with_the_nearest(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(BadInput, match="did you mean greet"):
        case_history(con, "great")
    with pytest.raises(BadInput, match="evalcov evals list"):
        case_history(con, "zzzzzz")


@pytest.mark.parametrize(
    "at", [MARCH, APRIL, APRIL + timedelta(days=1), MAY, MAY.replace(year=2027)]
)
def test_the_suite_of_a_day_is_the_one_that_is_scored_on_it(
    con: duckdb.DuckDBPyConnection, at: datetime
) -> None:
    then = suite_on(con, at)
    assert then["case_id"].to_list() == suite(con, at)["case_id"].to_list()
    made_of = composition(con, at)
    for counts in (made_of.origins, made_of.ages, made_of.clusters):
        assert counts["cases"].sum() == then.height
    newest = made_of.months.filter(made_of.months["month"] == at.date().replace(day=1))
    assert newest["cases"].sum() == then.height


def test_the_composition_tells_origins_ages_and_months(con: duckdb.DuckDBPyConnection) -> None:
    made_of = composition(con, MAY + timedelta(days=20))
    assert made_of.origins.rows() == [("hand_authored", 2), ("production", 1)]
    assert made_of.ages.rows() == [("up to 30 days", 1), ("31 to 90 days", 2)]
    assert made_of.clusters.rows() == [(NOT_SCORED, 3)]
    assert [(f"{month:%b}", origin, cases) for month, origin, cases in made_of.months.rows()] == [
        ("Mar", "hand_authored", 2),
        ("Apr", "hand_authored", 2),
        ("Apr", "production", 1),
        ("May", "hand_authored", 2),
        ("May", "production", 1),
    ]


@pytest.fixture
def run(
    scored: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in the scored home; its exit code and what it printed."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("EVALCOV_HOME", str(scored.home))
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        get_settings.cache_clear()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run_command


def test_the_command_line_tells_the_same(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("evals", "history", "case-007")
    assert code == 0
    assert "version 1  imported by evalcov ingest evals" in out
    assert json.loads(run("evals", "history", "case-007", "--json")[1])[0]["version"] == 1
    assert "60 active cases" in run("evals", "list")[1]
    assert json.loads(run("evals", "list", "--as-of", "2020-01-01", "--json")[1]) == []
    code, out, _ = run("evals", "composition")
    assert code == 0
    assert "by cluster" in out
    assert NOT_SCORED not in out
    made_of = json.loads(run("evals", "composition", "--json")[1])
    assert made_of["origins"] == [{"origin": "hand_authored", "cases": 60}]
    code, _, err = run("evals", "history", "case-7")
    assert code == BAD_INPUT
    assert "did you mean case-0" in err
