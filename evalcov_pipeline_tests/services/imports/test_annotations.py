"""Labels out and back: what people get to fill in, and what is believed of what they send back."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import duckdb
import orjson
import polars as pl
import pytest

from evalcov_pipeline.cli import BAD_INPUT, CHECK_FAILED, jobs, main
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import find
from evalcov_pipeline.formats.annotations import dialogue, write_csv
from evalcov_pipeline.formats.label_studio import INTERFACE
from evalcov_pipeline.formats.label_studio import write as write_label_studio
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.annotations import AnnotationsReport, ingest_annotations
from evalcov_pipeline.services.labels.queue import enqueue, record_labels
from evalcov_pipeline.services.refresh.plan import refresh
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import (
    CONTEXT,
    FIRST_DAY,
    cases,
    copied,
    filled_once,
    import_rows,
    quick_settings,
    score_week,
    tasks,
    turns,
    write_jsonl,
)

NOW = datetime(2026, 11, 21, 12)
MORNING = "2026-11-21T09:00:00Z"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def four_tasks(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with a queue of four tasks; task-3 wants two raters."""
    queries = [{"text": f"how do i do {i}", "text_hash": f"h{i}"} for i in range(4)]

    def fill(settings: Settings) -> None:
        with warehouse_of(settings).writer() as con:
            enqueue(con, tasks([*queries[:3], queries[3] | {"raters_wanted": 2}]))

    return filled_once(tmp_path_factory, "four-tasks", fill)


@pytest.fixture
def home(four_tasks: Settings, tmp_path: Path) -> Settings:
    """That home, to be changed."""
    return copied(four_tasks, tmp_path)


def label(task: str = "task-0", rater: str = "ann", **said: Any) -> dict[str, Any]:
    """A label of the contract; without a verdict, it keeps the task."""
    verdict = {} if said.keys() & {"keep", "passed", "expected"} else {"keep": True}
    return {"task_id": task, "rater": rater, **verdict, **said}


def jsonl(settings: Settings, *rows: Mapping[str, Any], name: str = "labels.jsonl") -> Path:
    return write_jsonl(settings.home.parent / name, rows)


def bring(settings: Settings, path: Path, **options: Any) -> AnnotationsReport:
    return ingest_annotations([path], settings, now=NOW, **options)


def counts(report: AnnotationsReport) -> dict[str, int]:
    """What an import did, without what it did not."""
    names = ("new", "changed", "unchanged", "outdated", "empty", "rejected")
    return {name: found for name in names if (found := getattr(report, name))}


def held(settings: Settings, columns: str = "task_id, rater, keep") -> list[tuple[Any, ...]]:
    with warehouse_of(settings).reader() as con:
        query = f"SELECT {columns} FROM annotations ORDER BY task_id, rater"
        return con.execute(query).fetchall()


def status(settings: Settings, task: str) -> str:
    with warehouse_of(settings).reader() as con:
        row = con.execute("SELECT status FROM annotation_queue WHERE task_id = ?", [task])
        return str(row.fetchall()[0][0])


def quarantined(settings: Settings) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(settings.quarantine.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


# ---- what a label says


def test_labels_decide_tasks_and_become_cases(home: Settings) -> None:
    path = jsonl(
        home,
        label("task-0", passed=False, expected="Press the blue button.", at=MORNING),
        label("task-1", keep=False),
        label("task-3", rater="ann"),
        label("task-3", rater="ben"),
    )
    report = bring(home, path)
    assert counts(report) == {"new": 4}
    assert [status(home, f"task-{i}") for i in range(4)] == ["kept", "rejected", "open", "kept"]
    assert (report.merged.added, report.merged.waiting) == (2, 1)
    with duckdb.connect(home.published, read_only=True) as con:
        assert con.sql("SELECT expected, raters, plan_id FROM eval_cases").fetchall() == [
            ("Press the blue button.", ["ann"], "plan-1"),
            (None, ["ann", "ben"], "plan-1"),
        ]


@pytest.mark.parametrize("said", [{"passed": True}, {"expected": "Yes."}])
def test_who_judges_or_corrects_an_answer_keeps_the_question(
    home: Settings, said: dict[str, Any]
) -> None:
    bring(home, jsonl(home, label(**said)))
    assert held(home) == [("task-0", "ann", True)]


def test_item_id_is_another_name_of_task_id_and_any_column_can_be_mapped(home: Settings) -> None:
    rows = [{"item_id": "task-0", "who": "ann", "review": {"ok": "no"}, "confidence": 3}]
    report = bring(home, jsonl(home, *rows), mapping={"rater": "who", "passed": "review.ok"})
    assert counts(report) == {"new": 1}
    assert held(home, "task_id, passed") == [("task-0", False)]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"rater": "ann", "keep": True}, "task_id is missing"),
        (label() | {"item_id": "task-1"}, "different tasks"),
        ({"task_id": "task-0", "keep": True}, "--rater"),
        ({"task_id": "task-0", "rater": "ann"}, "none of keep, passed, expected is there"),
        (label(keep=None, note="hm"), "has a remark, but none of keep, passed, expected"),
        (label(keep="perhaps"), "keep = 'perhaps' is neither yes (keep) nor no (reject)"),
        (label(passed="keep"), "is neither yes (pass) nor no (fail)"),
        (label(keep=True, at="21/11/2026 10:30"), "can mean several days"),
        (label(keep=True, at="46347.4375"), "can mean several days"),
        (label(keep=True, at=46347), "can mean several days"),
        (label(keep=True, at="2026-12-24T09:00:00Z"), "lies in the future"),
        (label("task-9"), "no task 'task-9' is in the queue"),
    ],
)
def test_what_is_missing_or_ambiguous_is_rejected_with_its_reason(
    home: Settings, row: dict[str, Any], why: str
) -> None:
    report = bring(home, jsonl(home, label("task-2"), row))
    assert counts(report) == {"new": 1, "rejected": 1}
    (reject,) = quarantined(home)
    assert why in reject["reason"]
    assert reject["line"] == 2
    assert json.loads(reject["raw"]) == row


def test_a_queue_that_nobody_has_filled_in_is_no_mistake(home: Settings) -> None:
    blank = {"keep": None, "passed": None, "expected": "", "category": " ", "note": None}
    report = bring(home, jsonl(home, *(label(f"task-{i}", **blank) for i in range(4))))
    assert counts(report) == {"empty": 4}
    assert held(home) == []


@pytest.mark.parametrize("rows", [[label("task-8"), label("task-9")], [{"question": "hi"}]])
def test_an_import_without_one_label_that_can_be_taken_changes_nothing(
    home: Settings, rows: list[dict[str, Any]]
) -> None:
    before = home.warehouse.read_bytes()
    with pytest.raises(BadInput, match="the first: "):
        bring(home, jsonl(home, *rows))
    assert home.warehouse.read_bytes() == before
    assert len(quarantined(home)) == len(rows)


# ---- twice, changed, contradicting


def test_a_file_can_come_twice_and_edited(home: Settings) -> None:
    path = jsonl(home, label("task-0"), label("task-1"))
    os.utime(path, (0, (NOW - timedelta(hours=3)).replace(tzinfo=UTC).timestamp()))
    assert counts(bring(home, path)) == {"new": 2}
    assert counts(bring(home, path)) == {"unchanged": 2}
    edited = jsonl(home, label("task-0"), label("task-1", keep=False))
    os.utime(edited, (0, (NOW - timedelta(hours=2)).replace(tzinfo=UTC).timestamp()))
    assert counts(bring(home, edited)) == {"changed": 1, "unchanged": 1}
    assert held(home) == [("task-0", "ann", True), ("task-1", "ann", False)]


def test_an_old_file_does_not_undo_what_was_said_since(home: Settings) -> None:
    path = jsonl(home, label("task-0", keep=True))
    os.utime(path, (0, (NOW - timedelta(days=2)).replace(tzinfo=UTC).timestamp()))
    bring(home, path)
    with warehouse_of(home).writer() as con:
        later = [label("task-0", keep=False)]
        record_labels(con, later, via="review", recorded_at=NOW, redact_all=list)
    assert counts(bring(home, path)) == {"unchanged": 1}
    assert held(home) == [("task-0", "ann", False)]


def test_a_rater_s_later_word_counts_and_both_are_kept(home: Settings) -> None:
    early, late = "2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z"
    report = bring(home, jsonl(home, label(keep=False, at=late), label(keep=True, at=early)))
    assert counts(report) == {"new": 1, "outdated": 1}
    assert held(home) == [("task-0", "ann", False)]
    with warehouse_of(home).reader() as con:
        assert frame(con, "SELECT keep FROM annotation_events").height == 2


def test_two_words_of_one_rater_at_one_time_are_both_refused(home: Settings) -> None:
    rows = [label(), label(keep=False), label("task-1"), label("task-1")]
    assert counts(bring(home, jsonl(home, *rows))) == {"new": 1, "unchanged": 1, "rejected": 2}
    assert held(home) == [("task-1", "ann", True)]
    first, second = quarantined(home)
    assert first["reason"] == second["reason"]
    assert "labels.jsonl, line 1; labels.jsonl, line 2" in first["reason"]


def test_two_raters_who_differ_wait_for_a_third(home: Settings) -> None:
    ann, ben = label("task-3", "ann", at=MORNING), label("task-3", "ben", keep=False, at=MORNING)
    bring(home, jsonl(home, ann, ben))
    assert status(home, "task-3") == "adjudicate"
    cem = label("task-3", "cem", at="2026-11-21T10:00:00Z")
    bring(home, jsonl(home, cem, name="more.jsonl"))
    assert status(home, "task-3") == "kept"


# ---- through a spreadsheet


def spreadsheet(
    rows: list[dict[str, Any]], delimiter: str = ",", end: str = "\r\n", bom: bool = True
) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_queue_comes_back_from_a_spreadsheet(
    home: Settings, tmp_path: Path, delimiter: str
) -> None:
    with warehouse_of(home).reader() as con:
        exported = exported_cells(frame(con, "SELECT * FROM annotation_queue ORDER BY task_id"))
    words = [("TRUE", "FALSE"), ("yes", "0"), ("1.0", "fail"), ("Keep", "0.0")]
    filled = [
        row | {"rater": " ann ", "keep": keep, "passed": passed}
        for row, (keep, passed) in zip(exported, words, strict=True)
    ]
    reordered = [dict(reversed(row.items())) | {"": "", "comment": "mine"} for row in filled]
    empty = dict.fromkeys(reordered[0], "")
    path = tmp_path / "queue.csv"
    path.write_bytes(spreadsheet([reordered[0], empty, *reordered[1:], empty], delimiter))
    assert counts(bring(home, path)) == {"new": 4, "empty": 2}
    assert held(home, "rater, keep, passed") == [("ann", True, False)] * 4


def exported_cells(queue: pl.DataFrame) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(write_csv(queue.to_dicts()).decode())))


def test_a_file_with_half_the_columns_is_enough(home: Settings, tmp_path: Path) -> None:
    path = tmp_path / "half.csv"
    path.write_text("task_id,passed\ntask-0,1\ntask-1,\n")
    report = bring(home, path, rater="ann")
    assert counts(report) == {"new": 1, "empty": 1}


def test_numbers_of_raters_are_the_same_people_in_every_format(
    home: Settings, tmp_path: Path
) -> None:
    table = pl.DataFrame({"task_id": ["task-0"], "rater": [7.0], "passed": [0.0], "keep": [None]})
    table.write_parquet(tmp_path / "labels.parquet")
    bring(home, tmp_path / "labels.parquet")
    (tmp_path / "labels.txt").write_text("task_id,rater,keep\ntask-1,7,1\n")
    bring(home, tmp_path / "labels.txt", format="csv")
    assert held(home, "rater, via") == [("7", "parquet"), ("7", "csv")]


def test_no_cell_of_an_exported_queue_is_a_formula(home: Settings) -> None:
    row = tasks([{"text": "=1+1", "text_hash": "h", "answer": "@sum", "context": CONTEXT}])
    (cells,) = exported_cells(row)
    assert (cells["query"], cells["answer"]) == ("'=1+1", "'@sum")
    assert cells["context"] == "user: Hello, I have a question.\nassistant: How can I help?"


def test_an_exported_queue_tells_which_tools_were_called() -> None:
    said = [
        {"role": "user", "content": "two seats"},
        {"role": "assistant", "content": "", "tool_calls": ["search", "?"]},
        {"role": "tool", "content": "none", "failed": True},
    ]
    assert dialogue(json.dumps(said)) == (
        "user: two seats\nassistant: (called: search, ?)\ntool: none (failed)"
    )


# ---- Label Studio


def annotation(who: Any = 1, cancelled: bool = False, **said: str) -> dict[str, Any]:
    return {
        "id": 11, "completed_by": who, "was_cancelled": cancelled, "updated_at": MORNING,
        "result": [
            {"from_name": name, "to_name": "query", "type": "choices", "value": {"choices": [word]}}
            if name in ("keep", "passed")
            else {"from_name": name, "to_name": "query", "type": "textarea",
                  "value": {"text": [word]}}
            for name, word in said.items()
        ],
    }  # fmt: skip


def studio(settings: Settings, *labelled: Any, name: str = "export.json") -> Path:
    """An export of Label Studio: (task_id, annotations) each."""
    path = settings.home.parent / name
    path.write_bytes(
        orjson.dumps(
            [
                {"id": i, "data": {"task_id": task, "query": "q"}, "annotations": said,
                 "predictions": [], "created_at": MORNING}
                for i, (task, said) in enumerate(labelled)
            ]
        )
    )  # fmt: skip
    return path


def test_every_annotation_of_a_label_studio_export_is_a_label(home: Settings) -> None:
    path = studio(
        home,
        ("task-0", [annotation(keep="keep", passed="fail", expected="So.", note="x")]),
        ("task-1", [annotation(cancelled=True, keep="keep")]),
        ("task-2", []),
        ("task-3", [annotation(1, keep="keep"), annotation({"id": 2}, keep="reject")]),
    )
    assert counts(bring(home, path)) == {"new": 3, "empty": 2}
    columns = "task_id, rater, keep, passed, expected, note, via"
    assert held(home, columns) == [
        ("task-0", "1", True, False, "So.", "x", "labelstudio"),
        ("task-3", "1", True, None, None, None, "labelstudio"),
        ("task-3", "2", False, None, None, None, "labelstudio"),
    ]


def test_json_min_is_read_as_the_same_labels(home: Settings, tmp_path: Path) -> None:
    full = studio(home, ("task-0", [annotation(7, keep="keep", expected="So.")]))
    bring(home, full)
    flat = [
        {"task_id": "task-0", "query": "q", "keep": "keep", "expected": {"text": ["So."]}, "id": 1,
         "annotator": 7, "annotation_id": 11, "updated_at": MORNING, "lead_time": 2.0}
    ]  # fmt: skip
    (tmp_path / "min.json").write_text(json.dumps(flat, indent=2))
    assert counts(bring(home, tmp_path / "min.json")) == {"unchanged": 1}


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"from_name": "keep", "type": "rating", "value": {"rating": 4}}, "type 'rating'"),
        ({"from_name": "stars", "type": "rating", "value": {"rating": 4}}, "none of its results"),
        ({"from_name": "keep", "type": "choices", "value": {"choices": []}}, "no value"),
        ("?", "a result is not an object"),
    ],
)
def test_results_of_another_interface_are_named(home: Settings, result: Any, why: str) -> None:
    strange = annotation() | {"result": [result]}
    known = annotation(keep="keep")
    known["result"].append({"from_name": "stars", "type": "rating", "value": {"rating": 4}})
    report = bring(home, studio(home, ("task-0", [known]), ("task-1", [strange])))
    assert counts(report) == {"new": 1, "rejected": 1}
    assert why in quarantined(home)[0]["reason"]


def test_label_studio_gets_every_variable_of_its_interface_and_nothing_filled_in() -> None:
    suggestion = {"keep": True, "passed": False, "category": "parcels", "by": "near", "score": 1}
    suggested = {"suggestion": orjson.dumps(suggestion).decode(), "category": "parcels"}
    rows = tasks(
        [
            {"text": "q", "text_hash": "a", "context": CONTEXT, "answer": None, **suggested},
            {"text": "q", "text_hash": "b", "purpose": "calibration", **suggested},
            {"text": "q", "text_hash": "c"},
        ]
    )
    first, calibration, plain = json.loads(write_label_studio(rows.to_dicts()))
    interface = ElementTree.fromstring(INTERFACE)
    shown = {e.get("value", "")[1:] for e in interface.iter("Text")}
    assert all(isinstance(task["data"][name], str) for task in (first, plain) for name in shown)
    assert first["data"]["context"].startswith("user: Hello")
    (prediction,) = first["predictions"]
    assert {r["from_name"]: r["value"] for r in prediction["result"]} == {
        "keep": {"choices": ["keep"]},
        "passed": {"choices": ["fail"]},
        "category": {"text": ["parcels"]},
    }
    assert "annotations" not in first
    assert set(calibration) == set(plain) == {"data"}
    assert "parcels" not in calibration["data"]["hint"]
    controls = {e.get("name") for e in interface.iter() if e.get("toName")}
    assert controls == {"keep", "passed", "expected", "category", "note"}


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("a.jsonl", '{"task_id": "t", "keep": true, "note": "\\"annotations\\": ["}', "jsonl"),
        ("a.csv.gz", "task_id,keep\n", "csv"),
        ("a.json", '[\n {"id": 1, "annotations": [], "data": {}}]', "labelstudio"),
        ("a.json", '[{"task_id": "t", "annotation_id": 3}]', "labelstudio"),
    ],
)
def test_a_file_tells_its_format(tmp_path: Path, name: str, content: str, format_: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    assert find("annotations", path).name == format_


# ---- personal data

PERSONAL = {
    "name": "Sarah Miller",
    "mail": "sarah.miller@example.com",
    "telephone": "+1 415-555-2671",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
}
SAID = (
    "my name is Sarah Miller, mail sarah.miller@example.com, call +1 415-555-2671, card"
    " 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00"
)


def leaked(text: str) -> list[str]:
    return [kind for kind, value in PERSONAL.items() if value in text]


def test_personal_data_leaves_by_no_way(tmp_path: Path, run: Run) -> None:
    settings = quick_settings(tmp_path / "home")
    traffic = turns(weeks=1, sessions_per_day=6)
    said = [
        row | {"query_text": f"{row['query_text']}, {SAID}", "answer_text": f"Thanks. {SAID}"}
        for row in traffic
    ]
    assert leaked(said[0]["query_text"]) == list(PERSONAL)
    import_rows(settings, "traces", said, "traffic")
    import_rows(settings, "evals", cases(12), "suite")
    score_week(settings, FIRST_DAY)
    drawn = refresh(
        warehouse_of(settings), settings, vector_cache(settings),
        trigger="manual", created_at=NOW, budget=10,
    )  # fmt: skip
    assert drawn.plan["budget"] == 10
    written = []
    for format_ in ("jsonl", "csv", "labelstudio"):
        out = tmp_path / f"queue.{format_}"
        assert run(settings, "export", "queue", "--format", format_, "--out", out)[0] == 0
        written.append(out)
    rows = [json.loads(line) for line in written[0].read_text().splitlines()]
    assert any(row["context"] for row in rows)
    assert any(row["answer"] for row in rows)
    labels = [label(row["task_id"], expected=f"Say: {SAID}", note=SAID) for row in rows]
    assert ingest_annotations([jsonl(settings, *labels)], settings).new == len(rows)
    assert run(settings, "export", "evals", "--out", tmp_path / "suite.jsonl")[0] == 0
    written.append(tmp_path / "suite.jsonl")
    for path in written:
        assert "Thanks" in path.read_text() or path.name == "suite.jsonl"
        assert leaked(path.read_text()) == []
    for database in (settings.warehouse, settings.published):
        with duckdb.connect(database, read_only=True) as con:
            names = [
                name for (name,) in con.sql("SELECT table_name FROM duckdb_tables()").fetchall()
            ]
            told = {name: str(con.execute(f"FROM {name}").fetchall()) for name in names}
        assert {name: kinds for name, text in told.items() if (kinds := leaked(text))} == {}
        assert all("Say: my name is" in told[name] for name in ("annotations", "eval_case_events"))


# ---- the command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a home; its exit code and what it printed."""

    def run_command(settings: Settings, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setenv("EVALCOV_HOME", str(settings.home))
        monkeypatch.setenv("EVALCOV_EMBEDDING__MODEL", "hashing")
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        get_settings.cache_clear()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run_command


@pytest.mark.parametrize("format_", ["jsonl", "csv", "labelstudio"])
def test_an_exported_queue_imports_as_nothing_said(
    home: Settings, run: Run, tmp_path: Path, format_: str
) -> None:
    out = tmp_path / "queue"
    code, printed, _ = run(home, "export", "queue", "--format", format_, "--out", out)
    assert code == 0
    assert "4 tasks" in printed
    extension = {"labelstudio": "json"}.get(format_, format_)
    assert (tmp_path / "queue.config.xml").exists() == (format_ == "labelstudio")
    code, printed, _ = run(home, "ingest", "annotations", f"{out}.{extension}")
    assert code == 0
    assert "0 new, 0 changed, 0 unchanged, 0 outdated, 0 rejected, 4 rows without" in printed


def test_labels_come_in_and_are_announced(home: Settings, run: Run) -> None:
    path = jsonl(home, {"task_id": "task-0", "keep": True}, {"task_id": "task-9", "keep": True})
    code, printed, err = run(home, "ingest", "annotations", path, "--rater", "ann")
    assert code == 0
    assert "1 new, 0 changed, 0 unchanged, 0 outdated, 1 rejected" in printed
    assert "suite: 1 cases added, 0 changed, 0 retired; 3 tasks wait for labels" in printed
    assert "quarantine" in err
    code, printed, _ = run(home, "ingest", "annotations", path, "--rater", "ann", "--strict")
    assert code == CHECK_FAILED
    assert "0 new, 0 changed, 1 unchanged" in printed
    with jobs.instance(home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("annotations"))
    assert event is not None
    assert event.asset_materialization is not None
    told = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert told == {"tasks_decided": 1, "tasks_waiting": 3}


def test_the_demo_s_queue_can_be_labelled(home: Settings, run: Run) -> None:
    (home.home / ".demo").touch()
    assert run(home, "ingest", "annotations", jsonl(home, label()))[0] == 0
    assert status(home, "task-0") == "kept"


def test_a_queue_is_exported_by_route_and_status(
    queued_home: Settings, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "q.jsonl"
    assert run(queued_home, "export", "queue", "--out", out, "--route", "payments")[0] == 0
    assert [json.loads(line)["task_id"] for line in out.read_text().splitlines()] == ["task-3"]
    assert run(queued_home, "export", "queue", "--out", out)[0] == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0]["task_id"] == "task-3"
    assert len(rows) == 6
    assert "suggestion" not in rows[0]
    code, _, err = run(queued_home, "export", "queue", "--out", out, "--status", "kept")
    assert code == BAD_INPUT
    assert "evalcov refresh" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("export", "queue", "--out", "q"), "evalcov refresh"),
        (("export", "evals", "--out", "q", "--route", "x"), "--route"),
        (("export", "evals", "--out", "q", "--format", "labelstudio"), "jsonl or csv"),
        (("ingest", "annotations", "nowhere.csv"), "nowhere.csv"),
        (("ingest", "annotations", "x", "--replace-demo"), "--replace-demo"),
        (("ingest", "evals", "x", "--rater", "ann"), "--rater"),
    ],
)
def test_a_mistake_is_one_clear_message(
    tmp_path: Path, run: Run, arguments: tuple[str, ...], named: str
) -> None:
    code, _, err = run(quick_settings(tmp_path / "empty"), *arguments)
    assert code == BAD_INPUT
    assert named in err
