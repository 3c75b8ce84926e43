"""From recorded results to the CI suite and its gate: what is judged, chosen, kept and exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.cli import main
from evalcov_pipeline.core.labels.decision import UNCATEGORISED
from evalcov_pipeline.core.suites.goodhart import GoodhartWatch
from evalcov_pipeline.core.suites.latency import case_latency
from evalcov_pipeline.core.suites.selection import suite_id
from evalcov_pipeline.defs.assets.case_discrimination import case_discrimination
from evalcov_pipeline.defs.assets.ci_suites import ci_suites
from evalcov_pipeline.defs.support.resources import warehouse_resource
from evalcov_pipeline.formats.suites import read_suite, suite_of, write_suite
from evalcov_pipeline.services.evals.ledger import record_cases
from evalcov_pipeline.services.evals.suite import add_results, derive_suite, summarise_runs
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.suites.ci_suites import choose_suite, newest_suite
from evalcov_pipeline.services.suites.discrimination import (
    case_results,
    cases_to_review,
    judge_cases,
    watch_goodhart,
)
from evalcov_pipeline.settings import Settings, SuiteSettings, get_settings
from evalcov_pipeline.storage.warehouse import frame, insert
from evalcov_pipeline_tests.conftest import (
    FIRST_DAY,
    filled_once,
    import_rows,
    quick_settings,
    write_jsonl,
)

WEEK = timedelta(days=7)
NOW = FIRST_DAY + 20 * WEEK
NONE: dict[str, frozenset[str]] = {}


@pytest.fixture
def con(new_home: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a warehouse with its tables and no row."""
    with warehouse_of(new_home).writer() as con:
        yield con


def record(con: duckdb.DuckDBPyConnection, *cases: Mapping[str, Any], at: datetime = FIRST_DAY):
    """Put cases into the suite."""
    usual = {"category": "returns", "origin": "hand_authored", "expected": "x"}
    rows = [usual | {"input": f"question {case['case_id']}"} | dict(case) for case in cases]
    report = record_cases(con, rows, at=at, actor="test")
    assert not report.refused
    derive_suite(con, oldest_traffic=FIRST_DAY, redact_all=list)


def ran(
    con: duckdb.DuckDBPyConnection,
    run: str,
    verdicts: Mapping[str, Sequence[bool] | bool],
    *,
    week: int = 0,
    **fields: Any,
) -> None:
    """Record a run: verdicts of every case's tries."""
    rows = [
        {
            "run_id": run, "case_id": case, "repeat": repeat, "passed": passed,
            "latency_ms": 2000.0, "judge_id": "j-1", "at": FIRST_DAY + week * WEEK,
            "system_version": f"v{week}", "variant": None,
        }
        | fields
        for case, said in verdicts.items()
        for repeat, passed in enumerate([said] if isinstance(said, bool) else said)
    ]  # fmt: skip
    types = {"latency_ms": pl.Float64, "judge_id": pl.String, "variant": pl.String}
    add_results(con, pl.DataFrame(rows, schema_overrides=types), NOW)


def bad(con: duckdb.DuckDBPyConnection, variant: str, verdicts: Mapping[str, bool]) -> None:
    ran(con, variant, verdicts, week=3, variant="known_bad", system_version=variant)


def names(n: int) -> list[str]:
    return [f"c{i:02d}" for i in range(n)]


def judged(con: duckdb.DuckDBPyConnection, case: str) -> dict[str, Any]:
    return judge_cases(con, NONE).cases.row(by_predicate=pl.col("case_id") == case, named=True)


def choose(con: duckdb.DuckDBPyConnection, at: datetime = NOW, refused=NONE, **settings: Any):
    judge_cases(con, refused)
    return choose_suite(con, SuiteSettings(**settings), refused, at)


def stable(con: duckdb.DuckDBPyConnection, n: int = 6, **fields: Any) -> list[str]:
    """Cases that passed in eight weekly runs; a broken variant fails half of them."""
    cases = names(n)
    record(con, *({"case_id": case} | fields for case in cases))
    for week in range(8):
        ran(con, f"run-{week}", dict.fromkeys(cases, True), week=week)
    bad(con, "no-tools", {case: i % 2 == 0 for i, case in enumerate(cases)})
    return cases


# What is judged.


def test_results_of_unknown_and_retired_cases_are_judged_and_marked(con) -> None:
    record(con, {"case_id": "a"}, {"case_id": "b"})
    record(con, {"case_id": "b", "status": "retired"}, at=NOW)
    for week in range(5):
        ran(con, f"r{week}", {"a": True, "b": True, "elsewhere": True}, week=week)
    status = dict(judge_cases(con, NONE).cases.select("case_id", "case_status").rows())
    assert status == {"a": "active", "b": "retired", "elsewhere": None}
    assert set(choose(con).cases["case_id"]) == {"a"}


def test_the_history_of_a_case_begins_anew_with_another_expected_answer(con) -> None:
    record(con, {"case_id": "a"}, {"case_id": "b"})
    for week in range(6):
        ran(con, f"run-{week}", {"a": False, "b": True}, week=week)
    assert judged(con, "a")["broken"]
    assert cases_to_review(con)["case_id"].to_list() == ["a"]
    record(con, {"case_id": "a", "expected": "what is right"}, at=FIRST_DAY + 6 * WEEK)
    ran(con, "run-7", {"a": True, "b": True}, week=7)
    record(con, {"case_id": "a", "expected": "what is right", "category": "other"}, at=NOW)
    assert (judged(con, "a")["n_runs"], judged(con, "a")["n_failed"]) == (1, 0)
    assert cases_to_review(con).is_empty()
    assert judged(con, "b")["n_runs"] == 7


def test_verdicts_of_a_refused_judge_count_nowhere(con) -> None:
    record(con, {"case_id": "a"}, {"case_id": "b", "category": "orders"})
    ran(con, "r0", {"a": False, "b": False}, judge_id="lenient")
    ran(con, "r1", {"a": True, "b": True}, week=1)
    refused = {"returns": frozenset({"lenient"})}
    assert set(case_results(con, refused)["case_id"].value_counts().rows()) == {("a", 1), ("b", 2)}
    ran(con, "r2", {"a": True}, week=2, judge_id=None)
    assert case_results(con, refused).height == 4, "a result without a judge has none refused"


def test_judging_twice_changes_nothing(con) -> None:
    stable(con)
    tables = ("case_discrimination", "case_detection", "goodhart_watch")

    def written() -> list[list[tuple[Any, ...]]]:
        judge_cases(con, NONE)
        watch(con)
        return [con.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in tables]

    assert written() == written()


# Goodhart watch.


def watch(con: duckdb.DuckDBPyConnection) -> GoodhartWatch:
    summarise_runs(con, 0.9)
    return watch_goodhart(con, NONE)


def drawn(case: str, **fields: Any) -> dict[str, Any]:
    return {"case_id": case, "origin": "production", "plan_id": "plan-1"} | fields


def test_fresh_are_random_draws_in_their_first_run_and_the_suite_is_what_ran_before(con) -> None:
    old, fresh = names(4), [f"new-{i}" for i in range(3)]
    record(con, *({"case_id": case} for case in old), *map(drawn, fresh))
    record(con, drawn("picked", designed=True), drawn("failed", regression=True))
    record(con, {"case_id": "by hand", "origin": "production"})
    ran(con, "r0", dict.fromkeys(old, True))
    other = {"picked": True, "failed": False, "by hand": True}
    ran(con, "r1", dict.fromkeys(old, True) | dict.fromkeys(fresh, False) | other, week=8)
    ran(con, "r2", dict.fromkeys(old, False) | dict.fromkeys(fresh, True), week=9)
    bad(con, "broken", dict.fromkeys([*old, *fresh], False))
    found = watch(con)
    rows = frame(con, "FROM goodhart_watch").rows(named=True)
    held = [(row["suite_passed"], row["suite_cases"]) for row in rows if row["fresh_cases"]]
    assert held == [(4, 4)], "the suite in the run of the fresh cases"
    assert [row["fresh_cases"] for row in rows if row["fresh_cases"]] == [3]
    assert [row["gap"] for row in rows if row["fresh_cases"]] == [1.0]
    assert found.verdict == "insufficient"
    assert {row["verdict"] for row in rows} == {"insufficient"}


def test_a_suite_learnt_by_heart_is_seen_in_the_tables(con) -> None:
    rng = np.random.default_rng(5)
    old = names(60)
    record(con, *({"case_id": case} for case in old))
    for period in range(8):
        new = [f"new-{period}-{i}" for i in range(30)]
        record(con, *map(drawn, new))
        learnt = 0.6 + 0.05 * period
        said = dict.fromkeys(old, False) | {case: bool(rng.random() < learnt) for case in old}
        said |= {case: bool(rng.random() < 0.6) for case in new}
        ran(con, f"run-{period}", said, week=5 * period)
    assert watch(con).verdict == "widening"


# How long a case takes.


def test_the_latency_of_a_case_holds_nine_results_in_ten() -> None:
    rng = np.random.default_rng(1)
    at = rng.normal(1, 0.5, 100)
    seen = np.exp(at[:, None] + rng.normal(0, 0.35, (100, 10)))
    given = pl.DataFrame({"case_id": np.repeat(names(100), 10), "seconds": seen.ravel()})
    later = np.exp(at[:, None] + rng.normal(0, 0.35, (100, 500)))
    held = (later <= case_latency(given)["seconds"].to_numpy()[:, None]).mean()
    assert held == pytest.approx(0.9, abs=0.03)


def test_one_slow_result_is_no_slow_case_and_no_result_no_latency() -> None:
    given = pl.DataFrame({"case_id": ["a"] * 9 + ["b"], "seconds": [1.0] * 9 + [10.0]})
    found = dict(case_latency(given).rows())
    assert 1 < found["b"] < 10
    assert case_latency(given.clear()).is_empty()


def test_the_same_latencies_in_any_order_give_the_same_to_the_last_digit() -> None:
    rng = np.random.default_rng(2)
    given = pl.DataFrame({"case_id": names(70) * 9, "seconds": rng.lognormal(1, 1, 630)})
    known = case_latency(given)
    for seed in range(5):
        shuffled = given.sample(fraction=1, shuffle=True, seed=seed)
        assert case_latency(shuffled).rows() == known.rows()


# The suite.


def test_a_suite_is_chosen_kept_under_its_id_and_comes_back_from_its_export(
    con, tmp_path: Path
) -> None:
    stable(con, input=[{"role": "user", "content": "hi"}, {"role": "user", "content": "well?"}])
    first = choose(con, at=NOW)
    again = choose(con, at=NOW + WEEK)
    assert first.suite
    assert again.suite
    assert replace(again.suite, chosen_at=NOW) == first.suite
    assert frame(con, "FROM ci_suites").height == 1
    (tmp_path / "suite.jsonl").write_bytes(write_suite(newest_suite(con)))
    exported = read_suite(tmp_path / "suite.jsonl")
    assert exported.suite_id == first.suite.suite_id
    assert exported == suite_of(newest_suite(con))
    rows = [json.loads(line) for line in (tmp_path / "suite.jsonl").read_text().splitlines()]
    assert all({"input", "expected", "tags", "reason", "expected_s"} <= row.keys() for row in rows)
    assert rows[0]["input"][1] == {"role": "user", "content": "well?"}


def test_a_case_as_good_as_one_of_the_suite_does_not_take_its_place(con) -> None:
    for case in ("b", "a"):
        record(con, {"case_id": case})
        for week in range(8):
            ran(con, f"run-{week}", {case: True}, week=week)
        bad(con, "no-tools", {case: False})
        assert choose(con, max_cases=1).cases["case_id"].to_list() == ["b"]
    con.execute("DELETE FROM ci_suites")
    assert choose(con, max_cases=1).cases["case_id"].to_list() == ["a"], "a new choice differs"


def test_an_edited_case_makes_another_suite_and_the_one_before_stays_as_it_was(con) -> None:
    cases = stable(con)
    before = choose(con).suite
    written = write_suite(newest_suite(con))
    record(con, *({"case_id": case, "category": "orders"} for case in cases), at=NOW)
    assert write_suite(newest_suite(con)) == written, "a suite is what it was when it was chosen"
    after = choose(con, at=NOW + WEEK).suite
    assert before
    assert after
    assert after.suite_id != before.suite_id
    assert suite_id(newest_suite(con)) == after.suite_id


def test_incidents_are_pinned_and_a_regression_case_comes_first_in_its_mode(con) -> None:
    record(con, {"case_id": "r1", "regression": True}, {"case_id": "i1", "incident_id": "INC-1",
           "origin": "incident", "regression": True, "category": "orders"})  # fmt: skip
    cases = [*stable(con), "r1", "i1"]
    for week in range(8):
        ran(con, f"run-{week}b", {"r1": True, "i1": week < 7}, week=week)
    bad(con, "other", {case: case not in ("c00", "c01") for case in cases})
    found = choose(con, per_failure_mode=1)
    rows = {row["case_id"]: row for row in found.cases.rows(named=True)}
    assert rows["i1"]["reason"].startswith("guards incident INC-1; does not decide: fails now")
    assert not rows["i1"]["decides"]
    assert rows["r1"]["reason"] == "regression of returns, 1 of at least 1"
    assert not found.cases["reason"].str.starts_with("failure mode returns").any()
    assert found.suite
    assert found.suite.n_deciding == found.suite.n_cases - 1


def test_adversarial_cases_have_a_floor_by_their_tag(con) -> None:
    stable(con, n=3)
    record(con, {"case_id": "evil", "tags": ["jailbreak"]})
    for week in range(8):
        ran(con, f"run-{week}b", {"evil": True}, week=week)
    found = choose(con, adversarial_tag="jailbreak", adversarial=2)
    reasons = dict(found.cases.select("case_id", "reason").rows())
    assert reasons["evil"] == "tag jailbreak, 1 of at least 2"
    assert found.note == "tag jailbreak has 1 of 2 cases: no other is fit to decide"


def test_a_case_whose_judge_is_refused_is_left_to_people(con) -> None:
    stable(con)
    record(con, {"case_id": "o1", "category": "orders"})
    for week in range(8):
        ran(con, f"run-{week}b", {"o1": True}, week=week, judge_id="j-2")
    refused = {"orders": frozenset({"j-2", "j-9"})}
    found = choose(con, refused=refused)
    left = dict(found.left_out.rows())
    assert left == {"o1": "its judge is refused for orders: people decide"}
    record(con, {"case_id": "o1", "category": "orders", "incident_id": "INC-2"}, at=NOW)
    (row,) = [row for row in choose(con, refused=refused).cases.rows(named=True)
              if row["case_id"] == "o1"]  # fmt: skip
    assert row["refused_judges"] == ["j-2", "j-9"]
    assert not row["decides"]


def test_without_results_nothing_is_chosen_and_the_note_says_what_to_do(con) -> None:
    assert "evalcov ingest evals" in str(choose(con).note)
    record(con, {"case_id": "a"}, {"case_id": "b", "category": None})
    found = choose(con)
    assert (found.suite, newest_suite(con)) == (None, [])
    assert dict(found.left_out.rows()) == {"a": "never run", "b": "never run"}
    assert "evalcov ingest results" in str(found.note)


def test_without_broken_variants_and_categories_there_is_a_suite_all_the_same(con) -> None:
    record(con, {"case_id": "a", "category": None}, {"case_id": "b", "category": None})
    for week in range(5):
        ran(con, f"run-{week}", {"a": True, "b": True}, week=week, latency_ms=None)
    found = choose(con, default_latency_s=7)
    assert found.suite
    assert found.suite.n_deciding == 2
    assert set(found.cases["failure_mode"]) == {UNCATEGORISED}
    assert found.cases["expected_s"].to_list() == [7, 7]


def test_an_outage_leaves_the_suite_of_before_in_force(con) -> None:
    cases = stable(con)
    before = choose(con).suite
    ran(con, "outage", dict.fromkeys(cases, False), week=11)
    assert before
    assert choose(con, at=NOW + WEEK).suite is None
    assert suite_id(newest_suite(con)) == before.suite_id


def test_pins_that_were_never_run_do_not_push_every_deciding_case_out(con) -> None:
    stable(con)
    before = choose(con).suite
    assert before
    pins = [{"case_id": f"p{i}", "incident_id": f"INC-{i}", "regression": True} for i in range(3)]
    record(con, *(pin | {"origin": "incident"} for pin in pins))
    found = choose(con, at=NOW + WEEK, max_cases=2)
    assert found.suite is None
    assert "pinned cases" in str(found.note)
    assert "suites.max_cases" in str(found.note)
    assert suite_id(newest_suite(con)) == before.suite_id


def test_failures_seen_in_production_weigh_the_failure_modes(con) -> None:
    record(con, *({"case_id": f"{mode}-{i}", "category": mode} for mode in "ab" for i in range(3)))
    for week in range(5):
        ran(con, f"run-{week}", {f"{mode}-{i}": True for mode in "ab" for i in range(3)}, week=week)
    audit = {
        "quarter": "2026-Q4", "category": "b", "rank": 1, "observed": 99, "labelled": 9,
        "assigned": 90, "incidents": 0, "eval_cases": 3, "regression_cases": 0,
        "status": "represented", "reason": "", "as_of": NOW,
    }  # fmt: skip
    insert(con, "failure_audit", pl.DataFrame([audit]))
    found = choose(con, max_cases=3, per_failure_mode=0)
    assert [case[0] for case in found.cases["case_id"]] == ["b", "b", "b"]
    assert found.suite
    assert found.suite.weighed_by == "failures seen in production in 2026-Q4"


# Through the command line and Dagster.

CASES = [
    {"case_id": case, "input": f"question {case}", "expected": "x", "category": f"mode {i % 3}"}
    for i, case in enumerate(names(12))
]
Run = Callable[..., tuple[int, str, str]]


def outcomes(run: str, week: int, *, failing: Sequence[str] = (), tries: int = 1, **fields: Any):
    """Results of all cases as a file holds them; failures are tried again."""
    at = (FIRST_DAY + week * WEEK).isoformat() + "Z"
    return [
        {"run_id": run, "case_id": case["case_id"], "passed": case["case_id"] not in failing,
         "repeat": repeat, "at": at, "latency_ms": 900, "system_version": run} | fields
        for case in CASES
        for repeat in range(tries if case["case_id"] in failing else 1)
    ]  # fmt: skip


BAD = outcomes("bad", 3, failing=names(12)[:5], variant="known_bad")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A published home with eight runs of the product, a broken variant and a suite."""

    def fill(settings: Settings) -> None:
        import_rows(settings, "evals", CASES, "cases")
        history = [row for week in range(8) for row in outcomes(f"run-{week}", week)]
        import_rows(settings, "results", [*history, *BAD], "results")
        resources = {"warehouse": warehouse_resource(settings), "settings": settings}
        assert materialized(resources).success
        publish(settings)

    return filled_once(tmp_path_factory, "chosen", fill)


def materialized(resources: Mapping[str, Any]) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [case_discrimination, ci_suites], instance=instance, resources=dict(resources)
        )


@pytest.fixture
def cli(
    chosen: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command on the home; exit code and what it printed."""
    monkeypatch.setenv("EVALCOV_HOME", str(chosen.home))
    get_settings.cache_clear()

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    yield run_command
    get_settings.cache_clear()


def test_a_gate_on_the_exported_suite_and_on_the_home_s_newest_agree(
    cli: Run, tmp_path: Path
) -> None:
    assert cli("export", "suite", "--format", "jsonl", "--out", tmp_path / "suite")[0] == 0
    suite = read_suite(tmp_path / "suite.jsonl")
    held = {case.case_id for case in suite.cases}

    def of_suite(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [row for row in rows if row["case_id"] in held]

    def gate(rows: Sequence[Mapping[str, Any]], *more: str | Path) -> tuple[int, str]:
        path = write_jsonl(tmp_path / "r.jsonl", rows)
        by_file = cli("gate", "--results", path, "--suite", tmp_path / "suite.jsonl", *more)
        by_home = cli("gate", "--results", path, *more)
        assert by_file == by_home
        return by_file[0], by_file[1]

    good = of_suite(outcomes("next", 9))
    broken = of_suite(outcomes("worse", 9, failing=names(12)[:5], tries=9))
    assert gate(good)[0] == 0
    assert gate(broken)[0] == 1
    assert gate(of_suite(outcomes("worst", 9, failing=names(12), tries=9)))[0] == 1
    code, out = gate(good[:-1])
    assert code == 2
    assert str(good[-1]["case_id"]) in out
    baseline = write_jsonl(tmp_path / "base.jsonl", outcomes("base", 8))
    assert gate(good, "--baseline", baseline)[0] == 0
    forms = ["--markdown", tmp_path / "gate.md", "--junit", tmp_path / "gate.xml"]
    assert gate(broken, *forms)[0] == 1
    (report,) = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert {case.get("name") for case in report} >= held
    table = [line for line in (tmp_path / "gate.md").read_text().splitlines() if line[:1] == "|"]
    assert len({line.count("|") for line in table}) == 1


def test_results_of_cases_beyond_the_suite_are_inconclusive(cli: Run, tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "r.jsonl", [*outcomes("r", 9), outcomes("r", 9)[0] | {"case_id": "z"}]
    )
    code, out, _ = cli("gate", "--results", path)
    assert code == 2
    assert "the suite does not hold" in out


def test_exports_that_hold_nothing_say_what_to_do(cli: Run, tmp_path: Path) -> None:
    code, _, err = cli("export", "regressions", "--out", tmp_path / "r")
    assert code == 3
    assert "known failure" in err
    code, _, err = cli("export", "suite", "--format", "csv", "--out", tmp_path / "s")
    assert code == 3
    assert "jsonl" in err
    assert cli("export", "suite", "--route", "x", "--out", tmp_path / "s")[0] == 3
    assert not list(tmp_path.iterdir())


def test_without_a_suite_in_the_home_export_and_gate_say_how_to_get_one(
    tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(tmp_path / "none"))
    get_settings.cache_clear()
    code, _, err = cli("export", "suite", "--out", tmp_path / "s")
    assert code == 3
    assert "evalcov ingest results" in err
    code, _, err = cli("gate", "--results", write_jsonl(tmp_path / "r.jsonl", outcomes("r", 9)))
    assert code == 3
    assert "--suite" in err


def test_a_suite_of_the_home_in_which_nothing_decides_is_one_line(
    tmp_path: Path, chosen: Settings, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(chosen.home, tmp_path / "home")
    with duckdb.connect(home / "published.duckdb") as published:
        published.execute("UPDATE ci_suite_cases SET decides = false")
    monkeypatch.setenv("EVALCOV_HOME", str(home))
    get_settings.cache_clear()
    results = write_jsonl(tmp_path / "r.jsonl", outcomes("r", 9))
    code, _, err = cli("gate", "--results", results)
    assert code == 3
    assert "no case of the suite in force decides" in err


def test_regression_cases_are_exported_with_their_incidents(
    chosen: Settings, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = quick_settings(tmp_path / "home")
    guards = [
        CASES[0] | {"regression": True},
        CASES[1] | {"regression": True, "origin": "incident", "incident_id": "INC-7"},
    ]
    import_rows(settings, "evals", [*guards, *CASES[2:]], "cases")
    monkeypatch.setenv("EVALCOV_HOME", str(settings.home))
    get_settings.cache_clear()
    assert cli("export", "regressions", "--out", tmp_path / "guards")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "guards.jsonl").read_text().splitlines()]
    assert [row["case_id"] for row in rows] == ["c00", "c01"]
    assert [row.get("incident_id") for row in rows] == [None, "INC-7"]
    assert cli("export", "regressions", "--format", "csv", "--out", tmp_path / "guards")[0] == 0
    assert (tmp_path / "guards.csv").read_text().count("\n") == 3


def test_assets_name_the_cases_to_review_and_tell_when_nothing_can_decide(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "home")
    import_rows(settings, "evals", CASES, "cases")
    resources = {"warehouse": warehouse_resource(settings), "settings": settings}

    def told() -> tuple[bool, dict[str, Any], dict[str, Any]]:
        run = materialized(resources)
        (check,) = run.get_asset_check_evaluations()
        judged, *_ = run.asset_materializations_for_node("case_discrimination")
        suites, _ = run.asset_materializations_for_node("ci_suites")
        return check.passed, dict(judged.metadata), dict(suites.metadata)

    passed, judged, suites = told()
    assert passed
    assert "never run" in str(suites["note"].value)
    history = [row for w in range(6) for row in outcomes(f"run-{w}", w, failing=["c03"])]
    import_rows(settings, "results", [*history, *BAD], "results")
    passed, judged, suites = told()
    assert not passed
    assert judged["broken"].value == 1
    assert [record.data["case_id"] for record in judged["review"].value.records] == ["c03"]
    assert suites["left_out"].value == 1
    assert suites["n_deciding"].value > 0
