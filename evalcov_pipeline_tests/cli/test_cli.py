"""The command line: exit codes, one clear line for a mistake, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from evalcov_pipeline.cli import BAD_INPUT, CHECK_FAILED, main
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline_tests.conftest import FIRST_DAY, cases, turns, write_jsonl

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the command line uses, with quick settings."""
    use(tmp_path / "home", monkeypatch)
    return tmp_path / "home"


def use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(home))
    monkeypatch.setenv("EVALCOV_EMBEDDING__MODEL", "hashing")
    monkeypatch.setenv("EVALCOV_TAXONOMY__METHOD", "kmeans")
    monkeypatch.setenv("EVALCOV_COVERAGE__RESAMPLES", "199")
    get_settings.cache_clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; its exit code and what it printed."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        code = ended.value.code
        assert isinstance(code, int)
        return code, printed.out, printed.err

    return run_command


@pytest.fixture(autouse=True)
def forget_settings() -> object:
    yield
    get_settings.cache_clear()


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in (
        "demo", "ingest", "run", "status", "refresh", "export", "report", "publish", "doctor",
    ):  # fmt: skip
        assert name in out


@pytest.mark.parametrize(
    "name", ["demo", "ingest", "run", "status", "refresh", "export", "evals", "report", "doctor"]
)
def test_every_command_explains_itself(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "Usage: evalcov" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("frobnicate",), "frobnicate"),
        (("ingest", "traces"), "PATHS"),
        (("ingest", "traces", "no-such-file.jsonl"), "no-such-file.jsonl"),
        (("ingest", "traces", "x", "--map", "query_text"), "CANONICAL=SOURCE"),
        (("run", "hourly"), "hourly"),
        (("run", "weekly"), "evalcov ingest traces"),
        (("status",), "evalcov run weekly"),
        (("refresh",), "evalcov run weekly"),
        (("export", "evals", "--out", "x"), "evalcov ingest evals"),
    ],
)
def test_a_mistake_is_one_clear_message_and_exit_code_3(
    home: Path, run: Run, arguments: tuple[str, ...], named: str
) -> None:
    code, _, err = run(*arguments)
    assert code == BAD_INPUT
    assert named in err


def test_a_home_that_a_newer_release_wrote_is_refused_by_every_command(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written_by_a_newer_release(home)
    before = {path: path.read_bytes() for path in home.glob("*.duckdb")}
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "traffic", turns(weeks=1))
    write_jsonl(tmp_path / "suite", cases(3))
    for command in (
        "ingest traces traffic", "ingest evals suite", "run", "run quarterly", "status", "refresh",
        "suggest", "gate --results x", "export evals --out x", "evals list", "report", "publish",
    ):  # fmt: skip
        code, _, err = run(*command.split())
        assert code == BAD_INPUT, command
        assert "this home is of version 99" in err, command
        assert "install evalcov-pipeline 9.9 or newer" in err, command
        assert len(err.splitlines()) == 1, command
    assert {path: path.read_bytes() for path in home.glob("*.duckdb")} == before


def test_doctor_says_that_a_newer_release_wrote_the_home(home: Path, run: Run) -> None:
    written_by_a_newer_release(home)
    code, out, _ = run("doctor")
    assert code == CHECK_FAILED
    (line,) = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert "this home is of version 99" in line


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DROP TABLE eval_cases", "table eval_cases: expected a table, found none"),
        ("DELETE FROM warehouse_schema", "version of this home cannot be told"),
        (
            "DROP TABLE trace_sample; CREATE VIEW trace_sample AS SELECT 1 AS x",
            "table trace_sample: expected a table, found none",
        ),
        ("ALTER TABLE warehouse_schema DROP written_by", "column written_by: expected VARCHAR"),
    ],
)
def test_doctor_says_of_damaged_tables_what_is_wrong_and_checks_no_data(
    home: Path, run: Run, damage: str, said: str
) -> None:
    publish(get_settings())
    with duckdb.connect(home / "warehouse.duckdb") as con:
        con.execute(damage)
    code, out, _ = run("doctor")
    assert code == CHECK_FAILED
    (line,) = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert said in line
    assert "chain" not in out


def test_doctor_is_content_with_an_empty_warehouse(home: Path, run: Run) -> None:
    home.mkdir()
    duckdb.connect(home / "warehouse.duckdb").close()
    before = (home / "warehouse.duckdb").read_bytes()
    _, out, _ = run("doctor")
    assert "the warehouse is empty yet" in out
    assert (home / "warehouse.duckdb").read_bytes() == before


def test_a_table_that_is_gone_is_named_by_the_command_that_needs_it(home: Path, run: Run) -> None:
    publish(get_settings())
    with duckdb.connect(home / "warehouse.duckdb") as con:
        con.execute("DROP TABLE annotation_queue")
    code, _, err = run("export", "queue", "--out", str(home / "queue"))
    assert code == BAD_INPUT
    assert "table annotation_queue: expected a table, found none" in err


def test_a_home_with_a_line_break_in_its_name_takes_one_line(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(tmp_path / "a\nhome", monkeypatch)
    assert all(line.startswith(("ok ", "FAIL ")) for line in run("doctor")[1].splitlines())


def written_by_a_newer_release(home: Path) -> None:
    """Let the warehouse and the published copy say that they are of version 99."""
    publish(get_settings())
    for path in home.glob("*.duckdb"):
        with duckdb.connect(path) as con:
            con.execute("INSERT INTO warehouse_schema VALUES (99, now(), '9.9')")


def test_a_mistake_in_the_settings_is_named(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALCOV_COVERAGE__THRESHOLD", "2")
    code, _, err = run("status")
    assert code == BAD_INPUT
    assert "coverage.threshold" in err


def test_a_model_that_is_nowhere_is_one_clear_message(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("ingest", "traces", str(write_jsonl(tmp_path / "t.jsonl", turns(weeks=1))))
    monkeypatch.setenv("EVALCOV_EMBEDDING__MODEL", str(tmp_path / "no-model"))
    get_settings.cache_clear()
    code, _, err = run("run")
    assert code == BAD_INPUT
    assert "embedding.model" in err


def test_rejected_rows_are_quarantined_and_strict_says_no(
    home: Path, run: Run, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "suite.jsonl", [*cases(3), {"case_id": "no-input"}])
    code, out, _ = run("ingest", "evals", str(path))
    assert code == 0
    assert "3 accepted, 0 duplicate, 1 rejected" in out
    (quarantined,) = (home / "quarantine").glob("*.jsonl")
    reject = json.loads(quarantined.read_text())
    assert (reject["line"], reject["reason"]) == (4, "input is missing")
    code, out, _ = run("ingest", "evals", str(path), "--strict")
    assert code == CHECK_FAILED
    assert "0 accepted, 3 duplicate, 1 rejected" in out


def test_the_week_after_this_one_cannot_be_scored(home: Path, run: Run, tmp_path: Path) -> None:
    run("ingest", "traces", str(write_jsonl(tmp_path / "t.jsonl", turns(weeks=1))))
    code, _, err = run("run", "--as-of", "2101-01-01")
    assert code == BAD_INPUT
    assert "--as-of" in err


def test_the_demo_refuses_a_home_with_other_traffic(home: Path, run: Run, tmp_path: Path) -> None:
    run("ingest", "traces", str(write_jsonl(tmp_path / "t.jsonl", turns(weeks=1))))
    code, _, err = run("demo")
    assert code == BAD_INPUT
    assert "not the demo's" in err


def test_imports_refuse_a_demo_home_unless_told_to_replace_it(
    home: Path, run: Run, tmp_path: Path
) -> None:
    home.mkdir()
    (home / ".demo").touch()
    path = str(write_jsonl(tmp_path / "t.jsonl", turns(weeks=1)))
    code, _, err = run("ingest", "traces", path)
    assert code == BAD_INPUT
    assert "--replace-demo" in err
    (home / "backups").mkdir()
    (home / "backups" / "warehouse-v1.duckdb").write_text("kept for good")
    assert run("ingest", "traces", path, "--replace-demo")[0] == 0
    assert not (home / ".demo").exists()
    assert (home / "backups" / "warehouse-v1.duckdb").read_text() == "kept for good"


@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_an_exported_suite_imports_as_the_same_suite(
    copy: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extension: str
) -> None:
    use(copy.home, monkeypatch)
    code, out, _ = run("export", "evals", "--format", extension, "--out", str(tmp_path / "suite"))
    assert code == 0
    assert "60 cases" in out
    use(tmp_path / "other", monkeypatch)
    _, out, _ = run("ingest", "evals", str(tmp_path / f"suite.{extension}"))
    assert "60 accepted, 0 duplicate, 0 rejected" in out
    texts = []
    for home in (copy.home, tmp_path / "other"):
        with duckdb.connect(home / "warehouse.duckdb", read_only=True) as con:
            texts.append(
                con.execute(
                    "SELECT case_id, payload->>'input', payload->>'category'"
                    " FROM eval_case_events ORDER BY case_id"
                ).fetchall()
            )
    assert texts[0] == texts[1]


def test_status_prints_words_for_people_and_json_for_scripts(
    scored: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(scored.home, monkeypatch)
    code, out, _ = run("status")
    assert code == 0
    assert "divergence" in out
    assert "Next:" in out
    status = json.loads(run("status", "--json")[1])
    of_sessions = {"session_score", "session_sequences", "session_paths"}
    of_failures = {"review", "incidents", "failures", "waiting_answers", "then"}
    assert set(status) == {"score", "gaps", "waiting", "next"} | of_sessions | of_failures
    assert status["score"]["as_of"] == (FIRST_DAY + timedelta(weeks=6)).isoformat()


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE eval_case_events SET actor = 'eve' WHERE event_id = 7", "event 7"),
        ("DELETE FROM eval_case_events WHERE event_id = 60", "event 60"),
    ],
)
def test_doctor_finds_a_tampered_ledger(
    copy: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tampering: str, found: str
) -> None:
    use(copy.home, monkeypatch)
    code, out, _ = run("doctor")
    assert code == 0
    assert "60 events, chain intact, newest" in out
    with duckdb.connect(copy.warehouse) as con:
        con.execute(tampering)
    code, out, _ = run("doctor")
    assert code == CHECK_FAILED
    assert found in out


def test_an_import_keeps_regression_cases_and_says_which_rows_it_refused(
    home: Path, run: Run, tmp_path: Path
) -> None:
    guard = {"case_id": "r", "input": "I was charged twice", "regression": True}
    run("ingest", "evals", str(write_jsonl(tmp_path / "suite.jsonl", [guard])))
    later = [{"case_id": "new", "input": "hi"}, {**guard, "status": "retired"}]
    code, out, _ = run("ingest", "evals", str(write_jsonl(tmp_path / "later.jsonl", later)))
    assert code == 0
    assert "1 accepted, 0 duplicate, 1 rejected" in out
    (quarantined,) = (home / "quarantine").glob("*.jsonl")
    reject = json.loads(quarantined.read_text())
    assert (reject["line"], reject["reason"]) == (
        2,
        "r is a regression case: only an active regression case can supersede it",
    )
    assert "1 active, none was lost" in run("doctor")[1]


def test_refresh_prints_its_plan(copy: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    use(copy.home, monkeypatch)
    code, out, _ = run("refresh", "--budget", "9")
    assert code == 0
    assert "7 queries and 2 whole sessions" in out
    assert "9 in default" in out


def test_the_quarterly_run_plans_a_refresh_of_a_good_suite_too(
    copy: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(copy.home, monkeypatch)
    assert run("run", "quarterly", "--as-of", "2026-09-30")[0] == BAD_INPUT
    code, out, _ = run("run", "quarterly")
    assert code == 0
    assert "evalcov export queue" in out
    with warehouse_of(copy).reader() as con:
        plans = con.execute('SELECT "trigger" FROM refresh_plans').fetchall()
    assert plans == [("schedule",)]
    assert run("run", "quarterly", "--since", "2026-10-01")[0] == BAD_INPUT


def test_a_wrong_path_does_not_cost_the_demo_s_data(home: Path, run: Run) -> None:
    (home / "lake").mkdir(parents=True)
    (home / ".demo").touch()
    prose = home / "prose.txt"
    prose.write_text("Dear all,")
    for path in ("nowhere", str(prose)):
        assert run("ingest", "traces", path, "--replace-demo")[0] == BAD_INPUT
    assert (home / "lake").exists()


def test_the_demo_refuses_a_home_that_holds_only_a_suite(
    home: Path, run: Run, tmp_path: Path
) -> None:
    run("ingest", "evals", str(write_jsonl(tmp_path / "suite.jsonl", cases(3))))
    assert run("demo")[0] == BAD_INPUT


def test_one_unreadable_file_does_not_keep_the_others_out(
    home: Path, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    write_jsonl(folder / "a.jsonl", turns(weeks=1))
    (folder / "b.jsonl.gz").write_bytes(b"not gzip")
    write_jsonl(folder / "c.jsonl", turns(weeks=1, seed=4, start=FIRST_DAY + timedelta(days=7)))
    code, out, err = run("ingest", "traces", str(folder))
    assert code == BAD_INPUT
    assert "b.jsonl.gz" in err
    assert "from 2 file(s)" in out


def test_imports_are_published_at_once(home: Path, run: Run, tmp_path: Path) -> None:
    run("ingest", "evals", str(write_jsonl(tmp_path / "suite.jsonl", cases(3))))
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        assert con.sql("SELECT count(*) FROM eval_cases").fetchone() == (3,)


@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_awkward_texts_survive_an_export(
    home: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    awkward = ["=1+1", "- a list?", "[{oops not json", "@here", 'say "hi", please', "two\nlines"]
    suite = [{"case_id": f"c{i}", "input": text} for i, text in enumerate(awkward)]
    run("ingest", "evals", str(write_jsonl(tmp_path / "suite.jsonl", suite)))
    out = tmp_path / f"out.{extension}"
    assert run("export", "evals", "--format", extension, "--out", str(out))[0] == 0
    if extension == "csv":
        assert "'=1+1" in out.read_text()
    _, printed, _ = run("ingest", "evals", str(out))
    assert "0 accepted, 6 duplicate" in printed


def test_a_retired_case_leaves_the_suite(home: Path, run: Run, tmp_path: Path) -> None:
    run("ingest", "evals", str(write_jsonl(tmp_path / "suite.jsonl", cases(3))))
    gone = [{**cases(3)[0], "status": "retired"}]
    run("ingest", "evals", str(write_jsonl(tmp_path / "gone.jsonl", gone)))
    _, out, _ = run("export", "evals", "--out", str(tmp_path / "left"))
    assert "2 cases" in out


@pytest.mark.parametrize(
    "name_and_value",
    ["EVALCOV_SAMPLING__DAYPARTS=0,6", "EVALCOV_SAMPLING={bad", "EVALCOV_TAXONOMY=kmeans"],
)
def test_settings_that_cannot_be_parsed_are_one_clear_message(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name_and_value: str
) -> None:
    monkeypatch.setenv(*name_and_value.split("=", 1))
    get_settings.cache_clear()
    code, _, err = run("status")
    assert code == BAD_INPUT
    assert "environment" in err


def test_a_home_that_cannot_be_written_is_one_clear_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    use(tmp_path / "file", monkeypatch)
    path = str(write_jsonl(tmp_path / "suite.jsonl", cases(3)))
    code, _, err = run("ingest", "evals", path)
    assert code == BAD_INPUT
    assert "file" in err


def test_a_handful_of_texts_is_not_called_good(home: Path, run: Run, tmp_path: Path) -> None:
    same = [{**row, "query_text": "hello there"} for row in turns(weeks=1)]
    run("ingest", "traces", str(write_jsonl(tmp_path / "t.jsonl", same)))
    run("ingest", "evals", str(write_jsonl(tmp_path / "suite.jsonl", cases(20))))
    assert run("run")[0] == 0
    score = json.loads(run("status", "--json")[1])["score"]
    assert score["band"] == "undecidable"
    assert "1 distinct texts" in score["verdict"]
