"""Incidents and the regression set: never shrinking, never asked for twice, provably whole."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from evalcov_pipeline.cli import BAD_INPUT, CHECK_FAILED, main
from evalcov_pipeline.cli.demo import SAMPLE
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.evals.incidents import lost_incident
from evalcov_pipeline.services.evals.ledger import LEDGER, regression_cases
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.imports.incidents import IncidentsReport, ingest_incidents
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.services.labels.arrival import labels_arrived
from evalcov_pipeline.services.labels.queue import record_labels
from evalcov_pipeline.settings import DEMO_MARK, FailureSettings, Settings, get_settings
from evalcov_pipeline.storage.lake import compact_day, days_pending
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import write_jsonl

NOW = datetime(2026, 11, 21, 9)
LATER = NOW + timedelta(hours=1)
HAPPENED = "2026-10-01T12:00:00Z"


@pytest.fixture
def home(new_home: Settings) -> Settings:
    return Settings(home=new_home.home)


def incident(name: str = "INC-1", **fields: Any) -> dict[str, Any]:
    """A row of an export of incidents."""
    return {"incident_id": name, "title": f"{name} happened", "at": HAPPENED, **fields}


def case(text: str, expected: str | None = "Refund it.", **fields: Any) -> dict[str, Any]:
    """A case as an incident gives it."""
    return {"input": text, "expected": expected, **fields}


def send(home: Settings, *rows: dict[str, Any], now: datetime = NOW) -> IncidentsReport:
    """Import incidents."""
    path = write_jsonl(home.home.parent / "in" / "incidents.jsonl", rows)
    return ingest_incidents([path], home, now=now)


def table(home: Settings, name: str) -> list[dict[str, Any]]:
    with warehouse_of(home).reader() as con:
        return frame(con, f"FROM {name} ORDER BY ALL").to_dicts()


def coverage(home: Settings) -> dict[str, str]:
    return {row["incident_id"]: row["coverage"] for row in table(home, "incidents")}


def rejects(home: Settings) -> list[tuple[int, str]]:
    """Line and reason of everything in the quarantine."""
    files = sorted(home.quarantine.glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [(row["line"], row["reason"]) for row in rows]


def test_the_sample_s_incidents_become_regression_cases_and_come_twice_for_nothing(
    home: Settings,
) -> None:
    first = ingest_incidents([SAMPLE / "incidents.jsonl"], home, now=NOW)
    assert (first.new, first.cases_added, first.rejected) == (4, 4, 0)
    assert set(coverage(home).values()) == {"1/2"}
    for row in table(home, "eval_cases"):
        assert (row["origin"], row["regression"], row["status"]) == ("incident", True, "active")
        assert row["incident_id"] == f"INC-{row['source_ref'][:6]}"
    names = ("incidents", "incident_events", "incident_head", "eval_case_events", "eval_cases")
    before = [table(home, name) for name in names]
    again = ingest_incidents([SAMPLE / "incidents.jsonl"], home, now=LATER)
    assert (again.new, again.edited, again.unchanged, again.cases_added) == (0, 0, 4, 0)
    assert [table(home, name) for name in names] == before


def test_an_incident_wants_two_cases_and_is_open_until_the_first(home: Settings) -> None:
    rows = [
        incident(f"INC-{n}", cases=[case(f"question {i}", case_id=f"{n}-{i}") for i in range(n)])
        for n in range(4)
    ]
    report = send(home, *rows)
    assert report.states == {
        "open": {"INC-0": "0/2"},
        "partial": {"INC-1": "1/2"},
        "guarded": {"INC-2": "2/2", "INC-3": "3/2"},
    }
    shown = {row["incident_id"]: row["case_ids"] for row in table(home, "incidents")}
    assert shown["INC-2"] == ["2-0", "2-1"]


def test_one_edited_incident_is_one_version_and_keeps_the_case_it_no_longer_lists(
    home: Settings,
) -> None:
    send(home, incident(cases=[case("charged twice")]), incident("INC-2"))
    report = send(home, incident(severity="high"), incident("INC-2"), now=LATER)
    assert (report.edited, report.unchanged) == (1, 1)
    edited, other = table(home, "incidents")
    assert (edited["version"], other["version"]) == (2, 1)
    assert (edited["coverage"], edited["severity"]) == ("1/2", "high")
    assert (edited["first_recorded_at"], edited["recorded_at"]) == (NOW, LATER)


def test_an_edited_answer_is_refused_and_a_stricter_case_takes_its_place_in_the_incident(
    home: Settings,
) -> None:
    send(home, incident(cases=[case("charged twice")]))
    (guard,) = table(home, "eval_cases")
    report = send(home, incident(severity="low", cases=[case("charged twice", "Say sorry.")]))
    ((line, reason),) = rejects(home)
    assert (report.edited, report.rejected, line) == (1, 1, 1)
    assert f"add a stricter case with supersedes = '{guard['case_id']}'" in reason
    assert table(home, "eval_cases")[0]["expected"] == "Refund it."

    stricter = case("charged twice, say why", supersedes=guard["case_id"])
    send(home, incident(cases=[stricter]), now=LATER)
    (row,) = table(home, "incidents")
    assert (row["coverage"], len(table(home, "eval_cases"))) == ("1/2", 2)
    assert guard["case_id"] not in row["case_ids"]
    assert send(home, incident(cases=[case("charged twice")]), now=LATER).rejected == 0


def test_a_successor_that_says_nothing_of_the_incident_guards_it_and_none_is_moved(
    home: Settings, tmp_path: Path
) -> None:
    send(home, incident(cases=[case("charged twice", case_id="a")]), incident("INC-2"))
    moved = {"case_id": "b", "input": "x", "regression": True, "supersedes": "a"}
    rows = [moved | {"incident_id": "INC-2"}, case("charged twice", case_id="a")]
    rows[1]["incident_id"] = "INC-2"
    report = ingest_evals("evals", [write_jsonl(tmp_path / "suite.jsonl", rows)], home)
    assert (report.accepted, report.rejected) == (0, 2)
    ingest_evals("evals", [write_jsonl(tmp_path / "next.jsonl", [moved])], home)
    assert coverage(home) == {"INC-1": "1/2", "INC-2": "0/2"}
    assert table(home, "incidents")[0]["case_ids"] == ["b"]


def test_a_case_that_cannot_be_taken_is_set_aside_and_its_incident_is_not(home: Settings) -> None:
    report = send(
        home,
        incident(cases=["nobody-knows", case("no answer", None), case("blank", " "), case("")]),
        {"incident_id": "INC-2"},
    )
    assert (report.new, report.rejected, coverage(home)) == (1, 5, {"INC-1": "0/2"})
    found = dict(reversed(pair) for pair in rejects(home))
    assert found.pop("title is missing") == 2
    assert set(found.values()) == {1}
    assert any(reason.startswith("case 2 of INC-1: expected is missing") for reason in found)
    assert any("nobody-knows is no case of the suite: import it" in reason for reason in found)
    assert any("input is missing" in reason for reason in found)


def test_a_known_case_becomes_a_regression_case_of_one_incident(
    home: Settings, tmp_path: Path
) -> None:
    known = {"case_id": "known", "input": "cancel it", "tags": ["hard"], "category": "orders"}
    suite = [known, {"case_id": "old", "input": "x", "status": "retired"}]
    ingest_evals("evals", [write_jsonl(tmp_path / "suite.jsonl", suite)], home, now=NOW)
    send(home, incident(cases=["known", "old"]), incident("INC-2", cases=["known"]), now=LATER)
    assert coverage(home) == {"INC-1": "1/2", "INC-2": "0/2"}
    row = next(row for row in table(home, "eval_cases") if row["case_id"] == "known")
    assert (row["regression"], row["incident_id"], row["version"]) == (True, "INC-1", 2)
    assert (row["tags"], row["category"], row["origin"]) == (["hard"], "orders", "hand_authored")
    reasons = [reason for _, reason in rejects(home)]
    assert any("old is retired" in reason for reason in reasons)
    assert any("known guards incident 'INC-1' in this import already" in r for r in reasons)


def test_rows_of_one_incident_add_up_and_the_last_word_counts(
    home: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "incidents.csv"
    path.write_text(
        "number;title;severity;trace_id;input;expected\n"
        "INC-1;first;high;t1;charged twice;Refund it.\n"
        "INC-1;second;;t2;charged thrice;Refund all.\n"
    )
    mapping = {"incident_id": "number"}
    assert ingest_incidents([path], home, mapping=mapping, now=NOW).cases_added == 2
    (row,) = table(home, "incidents")
    assert (row["title"], row["severity"], row["version"]) == ("second", "high", 1)
    assert (row["trace_ids"], row["coverage"]) == (["t1", "t2"], "2/2")
    assert {c["source_ref"] for c in table(home, "eval_cases")} == {"t1", "t2"}
    assert ingest_incidents([path], home, mapping=mapping, now=LATER).unchanged == 1


def traffic(home: Settings, days: int = 1, *, compacted: bool = True) -> None:
    """Sessions of two turns each, one on each day from Thursday, 2026-10-01."""
    rows = [
        {
            "trace_id": f"t{day}-{turn}", "session_id": f"s{day}", "source": "shop",
            "started_at": (datetime(2026, 10, 1, 9, turn) + timedelta(days=day)).isoformat() + "Z",
            "query_text": f"{word} of day {day}, mail me at ann{day}@example.com",
            "answer_text": "Here is how.",
        }
        for day in range(days)
        for turn, word in enumerate(("order", "refund"))
    ]  # fmt: skip
    ingest_traces([write_jsonl(home.home.parent / "in" / "traces.jsonl", rows)], home, now=NOW)
    if compacted:
        for day in days_pending(home.lake):
            compact_day(home.lake, day)


@pytest.mark.parametrize(
    ("days", "happened", "compacted", "counts_from"),
    [
        (1, HAPPENED, True, datetime(2026, 10, 5)),
        (1, HAPPENED, False, datetime(2026, 10, 5)),
        (1, None, True, datetime(2026, 10, 5)),
        (1, "2026-10-09T10:00:00Z", True, datetime(2026, 10, 9, 10)),
        (0, HAPPENED, True, NOW),
    ],
)
def test_a_case_counts_from_the_end_of_the_traffic_but_not_before_its_incident(
    home: Settings, days: int, happened: str | None, compacted: bool, counts_from: datetime
) -> None:
    if days:
        traffic(home, days, compacted=compacted)
    send(home, incident(at=happened, cases=[case("charged twice")]))
    assert table(home, "eval_cases")[0]["effective_at"] == counts_from


def test_people_are_asked_about_as_many_traces_as_an_incident_lacks_cases(home: Settings) -> None:
    traffic(home, 4)
    names = ["gone", "t0-1", "t1-1", "t2-1", "t3-1"]
    cases = [case("other words", source_ref="t0-1")]
    row = incident(trace_ids=names, category="orders", cases=cases)
    home = home.model_copy(update={"failures": FailureSettings(incident_cases=3)})
    assert send(home, row).tasks == 2
    tasks = table(home, "annotation_queue")
    assert {task["trace_id"] for task in tasks} == {"t1-1", "t2-1"}
    (task,) = [task for task in tasks if task["trace_id"] == "t1-1"]
    assert (task["purpose"], task["incident_id"], task["category"]) == (
        "incident", "INC-1", "orders",
    )  # fmt: skip
    assert (task["route"], task["reason"]) == ("failures", "Incident INC-1: INC-1 happened")
    assert "order of day 1" in task["context"]
    assert task["text"].startswith("refund of day 1")
    assert "example.com" not in task["text"] + task["context"]
    assert send(home, row, now=LATER).tasks == 0

    no = {"task_id": task["task_id"], "rater": "ann", "keep": False}
    with warehouse_of(home).writer() as con:
        record_labels(con, [no], via="jsonl", recorded_at=LATER, redact_all=list)
    assert send(home, row, now=LATER).tasks == 1
    asked = {task["trace_id"] for task in table(home, "annotation_queue")}
    assert asked == {"t1-1", "t2-1", "t3-1"}


def test_a_trace_that_people_keep_guards_its_incident(home: Settings) -> None:
    traffic(home)
    send(home, incident(trace_ids=["t0-1"]))
    (task,) = table(home, "annotation_queue")
    kept = {"task_id": task["task_id"], "rater": "ann", "keep": True, "passed": False}
    with warehouse_of(home).writer() as con:
        labels = [kept | {"expected": "Refund within 14 days."}]
        record_labels(con, labels, via="jsonl", recorded_at=LATER, redact_all=list)
        labels_arrived(con, home, LATER)
    assert coverage(home) == {"INC-1": "1/2"}
    (guard,) = table(home, "eval_cases")
    assert (guard["regression"], guard["origin"]) == (True, "incident")
    assert send(home, incident(trace_ids=["t0-1"]), now=LATER).tasks == 0


def test_traces_that_come_after_their_incident_are_asked_about_then(home: Settings) -> None:
    assert send(home, incident(trace_ids=["t0-0"])).tasks == 0
    traffic(home)
    assert send(home, incident(trace_ids=["t0-0"]), now=LATER).tasks == 1
    assert len(table(home, "incident_events")) == 1


def test_nothing_personal_is_recorded_or_published(home: Settings) -> None:
    text = "write to eve@example.com"
    send(home, incident(title=text, postmortem=text, cases=[case(text, text)]))
    with duckdb.connect(home.published, read_only=True) as con:
        for name in ("incidents", "incident_events", "eval_case_events", "eval_cases"):
            assert "eve@" not in str(con.sql(f"FROM {name}").fetchall())


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"title": "x" * (1 << 20)}, "is longer than 1,000 characters"),
    ({"title": "\x00"}, "title is missing"),
    ({"title": ["nested"]}, "is not a text"),
    ({"at": "2027-01-01"}, "lies in the future"),
    ({"trace_ids": {"a": [1]}}, "is not a list"),
    ({"trace_ids": [["t"]]}, "is not a text"),
    ({"cases": 7}, "is not a list"),
    ({"cases": [[["x"]]]}, "case 1 of INC-1: is not a text"),
    ({"cases": [{"input": {"a": [[]]}}]}, "case 1 of INC-1: input"),
    ({"incident_id": "a\x1b[31mb"}, "characters that cannot be seen"),
    ({"incident_id": " "}, "is blank"),
]


def test_what_cannot_be_read_is_set_aside_with_its_line_and_reason(home: Settings) -> None:
    send(home, *(incident() | row for row, _ in HOSTILE), incident("fine"))
    assert "fine" in coverage(home)
    found = rejects(home)
    assert [line for line, _ in found] == list(range(1, len(HOSTILE) + 1))
    for (_, said), (_, reason) in zip(HOSTILE, found, strict=True):
        assert said in reason


def test_odd_but_readable_incidents_are_taken_as_they_are(home: Settings) -> None:
    send(
        home,
        incident(title="<script>alert(1)</script>\x00", trace_ids="t1, t2", trace_id="t2"),
        incident("INC-2", cases=case("one object"), trace_ids=["", None, 7]),
        incident("INC-3", cases='[{"input": "as JSON", "expected": "yes"}]', title="émoji 🙂"),
    )
    first, second, third = table(home, "incidents")
    assert (first["title"], first["trace_ids"]) == ("<script>alert(1)</script>", ["t1", "t2"])
    assert (second["coverage"], second["trace_ids"]) == ("1/2", ["7"])
    assert (third["coverage"], third["title"]) == ("1/2", "émoji 🙂")
    assert rejects(home) == []


TAMPERING = {
    "DELETE FROM incident_events WHERE event_id = 1": "event 1",
    "DELETE FROM incident_events WHERE event_id = 3": "event 3",
    "DELETE FROM incident_events": "event 1",
    "UPDATE incident_events SET payload = '{}' WHERE event_id = 2": "event 2",
    "UPDATE incident_events SET incident_id = 'INC-9' WHERE event_id = 2": "event 2",
    "UPDATE incident_events SET recorded_at = '2026-01-01' WHERE event_id = 3": "event 3",
    "UPDATE incident_events SET event_id = 7 WHERE event_id = 2": "event 2",
    "DELETE FROM incidents WHERE incident_id = 'INC-2'": "INC-2",
}


def test_an_incident_that_was_taken_away_or_changed_is_missed(home: Settings) -> None:
    send(home, incident(cases=[case("a")]), incident("INC-2"), incident("INC-3"))
    with duckdb.connect(home.warehouse) as con:
        for tampering, found in TAMPERING.items():
            assert lost_incident(con) is None
            con.begin()
            con.execute(tampering)
            assert found in (lost_incident(con) or ""), tampering
            con.rollback()


def test_a_regression_case_that_left_the_suite_is_missed_though_the_chain_holds(
    home: Settings,
) -> None:
    send(home, incident(cases=[case("a", case_id="a"), case("c", case_id="c")]))
    send(home, incident(cases=[case("b", case_id="b", supersedes="a")]))
    with warehouse_of(home).writer() as con:
        found = regression_cases(con)
        assert (found.active, found.superseded, found.lost) == ({"b", "c"}, {"a"}, None)
        con.execute("DELETE FROM eval_cases WHERE case_id = 'b'")
        assert "(b)" in (regression_cases(con).lost or "")
        gone = {"case_id": "c", "input": "c", "regression": True, "status": "retired"}
        forged = {"case_id": "c", "event": "retired", "at": LATER, "actor": "eve"}
        LEDGER.append(con, [forged | {"payload": json.dumps(gone)}])
        assert LEDGER.broken_link(con) is None
        assert "event 5: c is a regression case" in (regression_cases(con).lost or "")


def test_a_broken_history_takes_no_incident_that_could_hide_it(home: Settings) -> None:
    send(home, incident())
    with warehouse_of(home).writer() as con:
        con.execute("UPDATE incident_events SET payload = '{'")
    shown = table(home, "incidents")
    with pytest.raises(BadInput, match="incidents is broken at event 1"):
        send(home, incident("INC-2"))
    ingest_evals("evals", [write_jsonl(home.home / "s.jsonl", [case("derive anew")])], home)
    assert table(home, "incidents") == shown


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """A command's exit code and all that it printed."""
    get_settings.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out + printed.err


def test_the_command_line_tells_what_is_open_and_doctor_what_was_lost(
    home: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(home.home))
    monkeypatch.setenv("EVALCOV_EMBEDDING__MODEL", "hashing")
    rows = [incident(), incident("INC-2", cases=[case("a")]), incident("INC-3", cases=["unknown"])]
    path = write_jsonl(tmp_path / "incidents.jsonl", rows)
    code, said = run(capsys, "ingest", "incidents", path, "--strict")
    assert code == CHECK_FAILED
    assert "incidents: 3 accepted (0 of them edited), 0 duplicate, 1 rejected" in said
    assert "2 of 3 incidents open: INC-1 0/2, INC-3 0/2, INC-2 1/2" in said
    code, said = run(capsys, "doctor")
    assert code == 0
    assert "3 in 3 versions, chain intact, newest" in said
    with duckdb.connect(home.warehouse) as con:
        con.execute("DELETE FROM incident_events WHERE event_id = 3")
    code, said = run(capsys, "doctor")
    assert code == CHECK_FAILED
    assert "the chain breaks at event 3" in said

    (tmp_path / "empty.jsonl").touch()
    code, said = run(capsys, "ingest", "incidents", tmp_path / "empty.jsonl")
    assert (code, "the file is empty" in said) == (BAD_INPUT, True)
    code, said = run(capsys, "ingest", "results", path)
    assert (code, "try `evalcov ingest incidents`" in said) == (BAD_INPUT, True)
    (home.home / DEMO_MARK).touch()
    code, said = run(capsys, "ingest", "incidents", path)
    assert (code, "--replace-demo" in said) == (BAD_INPUT, True)
