"""Judges over the tables: verdicts and labels as they come, certificates, what they keep out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import orjson
import polars as pl
import pytest

from evalcov_pipeline.cli import BAD_INPUT, CHECK_FAILED, main
from evalcov_pipeline.defs.assets.judges import judge_calibration
from evalcov_pipeline.defs.support.resources import warehouse_resource
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.coverage.week import week_report
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports import inbox
from evalcov_pipeline.services.imports.annotations import AnnotationsReport, ingest_annotations
from evalcov_pipeline.services.imports.verdicts import VerdictsReport, ingest_verdicts
from evalcov_pipeline.services.judges.admission import admitted_results, refused_judges
from evalcov_pipeline.services.judges.calibration import calibrate_judges, write_certificates
from evalcov_pipeline.services.judges.top_up import planned, queue_refused, queue_top_up
from evalcov_pipeline.services.sessions.scores import session_report
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import JudgeSettings, Settings, get_settings
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import (
    LAST_WEEK,
    cases,
    copied,
    filled_once,
    import_rows,
    results,
    write_jsonl,
)

_UNASKED = "SELECT * FROM annotation_queue WHERE reason = 'labelled unasked'"
NOW = datetime(2026, 11, 21, 12)
AS_OF = LAST_WEEK + timedelta(weeks=1)
DAY = AS_OF - timedelta(days=3)


@pytest.fixture
def home(new_home: Settings) -> Settings:
    return new_home


def at(day: datetime) -> str:
    return f"{day.isoformat()}Z"


def verdict(item: str, passed: bool, judge: str = "judge", **more: Any) -> dict[str, Any]:
    said = {"item_id": item, "judge_id": judge, "passed": passed, "category": "returns"}
    return said | {"at": at(DAY), "output": f"Here is what I know of {item}."} | more


def label(item: str, passed: bool, rater: str = "ann", **more: Any) -> dict[str, Any]:
    said = {"item_id": item, "rater": rater, "passed": passed, "keep": False, "at": at(DAY)}
    return said | {"selection": "random"} | more


def judged(n: int, agree: float, seed: int = 5) -> tuple[list[bool], list[bool]]:
    """What people and a judge say, who agree about a share of n answers."""
    draw = np.random.default_rng(seed)
    people = draw.random(n) < 0.6
    judge = np.where(draw.random(n) < agree, people, ~people)
    return people.tolist(), judge.tolist()


def verdicts_of(says: Sequence[bool], **more: Any) -> list[dict[str, Any]]:
    return [verdict(f"a{i}", passed, **more) for i, passed in enumerate(says)]


def labels_of(people: Sequence[bool], **more: Any) -> list[dict[str, Any]]:
    return [label(f"a{i}", passed, **more) for i, passed in enumerate(people)]


def say(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> VerdictsReport:
    path = write_jsonl(settings.home.parent / "verdicts.jsonl", rows)
    return ingest_verdicts([path], settings, now=NOW)


def told(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> AnnotationsReport:
    path = write_jsonl(settings.home.parent / "labels.jsonl", rows)
    return ingest_annotations([path], settings, now=NOW)


def table(settings: Settings, query: str) -> list[dict[str, Any]]:
    with warehouse_of(settings).reader() as con:
        return frame(con, query).to_dicts()


def counts(report: VerdictsReport) -> dict[str, int]:
    return {name: n for name, n in vars(report).items() if n and name != "files"}


def certify(settings: Settings, as_of: datetime = AS_OF) -> dict[tuple[str, str], dict[str, Any]]:
    """Write a week's certificates; by judge (with its prompt) and category."""
    with warehouse_of(settings).writer() as con:
        write_certificates(con, calibrate_judges(con, settings, as_of))
        rows = frame(con, "SELECT * FROM judge_calibration WHERE calibrated_at = ?", [as_of])
    return {
        (f"{row['judge_id']} {row['prompt_version'] or ''}".strip(), row["category"]): row
        for row in rows.to_dicts()
    }


def quarantined(settings: Settings) -> list[str]:
    files = sorted(settings.quarantine.glob("*.jsonl"))
    return [orjson.loads(line)["reason"] for f in files for line in f.read_bytes().splitlines()]


def test_verdicts_sent_twice_change_nothing_and_newer_ones_replace(home: Settings) -> None:
    first = [verdict("a", True), verdict("b", False)]
    assert counts(say(home, first)) == {"new": 2}
    assert counts(say(home, first)) == {"duplicate": 2}
    later = verdict("a", False, at=at(DAY + timedelta(hours=1)))
    assert counts(say(home, [later])) == {"replaced": 1}
    assert counts(say(home, first)) == {"outdated": 1, "duplicate": 1}
    rows = table(home, "SELECT item_id, passed FROM judge_verdicts ORDER BY item_id")
    assert [row["passed"] for row in rows] == [False, False]


def test_an_answer_judged_twice_in_one_file_counts_by_its_newest_verdict(home: Settings) -> None:
    rows = [verdict("a", False, at=at(DAY + timedelta(hours=1))), verdict("a", True)]
    assert counts(say(home, rows)) == {"new": 1, "outdated": 1}
    assert counts(say(home, rows)) == {"duplicate": 1, "outdated": 1}
    assert table(home, "SELECT passed FROM judge_verdicts") == [{"passed": False}]


def test_versions_stand_beside_each_other_and_answers_are_redacted(home: Settings) -> None:
    rows = [verdict("a", True, name) for name in ("one", "two", "three")]
    by_score = {"passed": None, "score": 0.4, "output": "Write to eve@example.com."}
    rows.append(verdict("a", True, "one", prompt_version="v2") | by_score)
    assert counts(say(home, rows)) == {"new": 4}
    (row,) = table(home, "SELECT passed, output FROM judge_verdicts WHERE prompt_version = 'v2'")
    assert row == {"passed": False, "output": "Write to <EMAIL>."}


def test_a_verdict_that_cannot_be_read_is_kept_aside_with_its_reason(home: Settings) -> None:
    bad = {
        "item_id is missing": {"item_id": None},
        "judge_id is missing": {"judge_id": ""},
        "neither passed nor score": {"passed": None},
        "passed = 'perhaps'": {"passed": "perhaps"},
        "lies in the future": {"at": "2027-01-01T00:00:00Z"},
    }
    rows = [verdict("a", True) | wrong for wrong in bad.values()]
    assert counts(say(home, [verdict("b", True), *rows])) == {"new": 1, "rejected": 5}
    for reason, why in zip(quarantined(home), bad, strict=True):
        assert why in reason


def test_a_file_of_something_else_is_named(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ingest(rows: Sequence[Mapping[str, Any]]) -> tuple[int | str | None, str]:
        path = write_jsonl(home.home.parent / "verdicts.jsonl", rows)
        with pytest.raises(SystemExit) as ended:
            main(["ingest", "verdicts", str(path), "--strict"])
        return ended.value.code, "".join(capsys.readouterr())

    monkeypatch.setenv("EVALCOV_HOME", str(home.home))
    get_settings.cache_clear()
    code, said = ingest([label("a", True)])
    assert (code, "try `evalcov ingest annotations`" in said) == (BAD_INPUT, True)
    code, said = ingest([verdict("a", True), {"judge_id": "j"}])
    assert code == CHECK_FAILED
    assert "1 new, 0 replaced, 0 outdated, 0 duplicate, 1 rejected" in said
    get_settings.cache_clear()


def test_verdicts_are_taken_from_the_inbox(home: Settings) -> None:
    write_jsonl(home.inbox / "verdicts" / "week.jsonl", [verdict("a", True)])
    assert list(inbox.waiting(home.inbox)) == ["verdicts/week.jsonl"]
    assert isinstance(inbox.take(home, "verdicts/week.jsonl"), VerdictsReport)
    assert inbox.waiting(home.inbox) == {}


def test_a_label_nobody_asked_for_gets_a_task_that_later_labels_find(home: Settings) -> None:
    say(home, [verdict("a", True)])
    first = label("a", False, selection="by_verdict", inclusion_probability=0.25)
    assert told(home, [first]).new == 1
    again = told(home, [first, label("a", True, "bo"), label("nowhere", True),
                        label("a", True, "cy", inclusion_probability=0)])  # fmt: skip
    assert (again.unchanged, again.new, again.rejected) == (1, 1, 2)
    (task,) = table(home, "SELECT * FROM annotation_queue")
    assert (task["purpose"], task["item_id"], task["route"]) == ("calibration", "a", "judges")
    assert (task["text"], task["answer"]) == ("a", "Here is what I know of a.")
    assert (task["selection"], task["inclusion_probability"]) == ("by_verdict", 0.25)
    assert task["reason"] == "labelled unasked"
    no_chance, unknown = quarantined(home)
    assert "no chance with which a row could have been drawn" in no_chance
    assert "no trace in the lake, verdict or result has this id" in unknown


def test_an_answer_to_nobody_knows_what_calibrates_and_becomes_no_case(home: Settings) -> None:
    say(home, [verdict("a", True)])
    report = told(home, [label("a", False, keep=True, expected="Within 14 days.")])
    assert (report.new, report.decided, report.merged.added) == (1, 1, 0)
    assert table(home, "SELECT case_id FROM eval_cases") == []
    with warehouse_of(home).reader() as con:
        assert calibrate_judges(con, home, AS_OF).labels["item_id"].to_list() == ["a"]


def test_labels_of_people_alone_are_held_against_a_judge(home: Settings) -> None:
    say(home, [verdict("a", True), verdict("b", True)])
    told(home, [label("a", True), label("b", True, "near")])
    with warehouse_of(home).writer() as con:
        con.execute("UPDATE annotation_events SET via = 'suggestion' WHERE rater = 'near'")
        held = calibrate_judges(con, home, AS_OF)
    assert held.labels["item_id"].to_list() == ["a"]


def test_a_judge_that_people_contradict_is_refused_from_the_week_that_shows_it(
    home: Settings,
) -> None:
    people, judge = judged(120, 0.55)
    say(home, verdicts_of(judge))
    told(home, labels_of(people))
    before = certify(home, AS_OF - timedelta(weeks=1))
    found = certify(home)
    assert before == {}
    assert found["judge", "returns"]["verdict"] == "REFUSED"
    with warehouse_of(home).reader() as con:
        assert refused_judges(con, AS_OF - timedelta(weeks=1)) == {}
        assert refused_judges(con, AS_OF) == {"returns": frozenset({"judge"})}
        assert refused_judges(con, AS_OF + timedelta(weeks=9)) == refused_judges(con, AS_OF)


def test_a_week_certified_again_keeps_its_rows_though_labels_changed_later(home: Settings) -> None:
    people, judge = judged(80, 0.9)
    say(home, verdicts_of(judge))
    told(home, labels_of(people))
    first = certify(home)
    told(home, labels_of([not said for said in people], at=at(AS_OF + timedelta(days=1))))
    assert certify(home) == first
    later = certify(home, AS_OF + timedelta(weeks=1))
    assert later["judge", "returns"]["agreement"] == pytest.approx(
        1 - first["judge", "returns"]["agreement"]
    )


def test_three_judges_a_category_seen_once_and_items_without_a_label(home: Settings) -> None:
    people, judge = judged(60, 0.9)
    rows = [row for name in ("x", "y", "z") for row in verdicts_of(judge, judge=name)]
    say(home, [*rows, verdict("rare", True, "x", category="rare")])
    told(home, labels_of(people[:30]))
    found = certify(home)
    assert set(found) == {("x", "rare"), *((name, "returns") for name in "xyz")}
    assert found["x", "rare"]["reason"] == "nothing is labelled"
    assert [found[name, "returns"]["n_labelled"] for name in "xyz"] == [30] * 3
    assert [found[name, "returns"]["n_judged"] for name in "xyz"] == [60] * 3


def test_labels_without_verdicts_certify_nobody(home: Settings) -> None:
    say(home, [verdict("a", True, at=at(AS_OF))])
    told(home, [label("a", True)])
    assert certify(home) == {}


@pytest.mark.parametrize("says", [True, False])
def test_where_everything_passes_or_fails_nobody_is_refused(home: Settings, says: bool) -> None:
    say(home, verdicts_of([says] * 60))
    told(home, labels_of([says] * 60))
    assert certify(home)["judge", "returns"]["verdict"] == "INSUFFICIENT"
    with warehouse_of(home).reader() as con:
        assert refused_judges(con, AS_OF) == {}


def test_a_new_prompt_is_no_pardon_and_a_new_judge_starts_afresh(home: Settings) -> None:
    people, judge = judged(120, 0.55)
    say(home, verdicts_of(judge, prompt_version="v1"))
    told(home, labels_of(people))
    say(home, [verdict("b", True, prompt_version="v2"), verdict("b", True, "other")])
    found = certify(home)
    assert found["judge v2", "returns"]["verdict"] == "INSUFFICIENT"
    with warehouse_of(home).reader() as con:
        assert refused_judges(con, AS_OF) == {"returns": frozenset({"judge"})}


def test_a_top_up_asks_once_and_waits(home: Settings) -> None:
    people, judge = judged(120, 0.9)
    say(home, verdicts_of(judge))
    told(home, labels_of(people[:30]))

    def ask(as_of: datetime) -> int:
        with warehouse_of(home).writer() as con:
            return queue_top_up(con, home, calibrate_judges(con, home, as_of), NOW)

    assert (ask(AS_OF), ask(AS_OF), ask(AS_OF + timedelta(weeks=1))) == (20, 0, 0)
    with warehouse_of(home).reader() as con:
        plan = planned(con, AS_OF)
    tasks = table(home, f"SELECT * FROM annotation_queue WHERE batch_id = 'judge-{AS_OF:%Y%m%d}'")
    assert {task["task_id"] for task in tasks} == set(plan["task_id"])
    assert {task["reason"] for task in tasks} == {"shows how far a judge can be believed"}
    assert len({task["priority"] for task in tasks}) == 1
    assert {(task["selection"], task["suggestion"]) for task in tasks} == {("by_verdict", None)}
    told(home, [label(task["item_id"], True) for task in tasks])
    more = ask(AS_OF + timedelta(weeks=1))
    assert more > 0
    drawn = table(home, "SELECT item_id FROM judge_top_up")
    assert len({row["item_id"] for row in drawn}) == 20 + more


def test_without_a_top_up_nobody_is_asked(home: Settings) -> None:
    say(home, verdicts_of([True] * 9))
    settings = home.model_copy(update={"judges": JudgeSettings(top_up=0)})
    with warehouse_of(home).writer() as con:
        assert queue_top_up(con, settings, calibrate_judges(con, settings, AS_OF), NOW) == 0


@pytest.fixture(scope="module")
def refused_once(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A complete run of ten cases about returns and twenty about orders, and its refused judge."""
    people, judge = judged(120, 0.55)
    rows = [
        {"case_id": f"c{i}", "input": f"question {i}", "created_at": at(DAY - timedelta(days=9))}
        | {"category": "returns" if i < 10 else "orders"}
        for i in range(30)
    ]
    said = [
        {"run_id": "run", "case_id": f"c{i}", "passed": i >= 6, "at": at(DAY), "judge_id": "judge"}
        | {"output": f"answer {i}"}
        for i in range(30)
    ]

    def fill(settings: Settings) -> None:
        say(settings, verdicts_of(judge))
        told(settings, labels_of(people))
        import_rows(settings, "evals", rows, "suite")
        import_rows(settings, "results", said, "results")
        assert certify(settings)["judge", "returns"]["verdict"] == "REFUSED"

    return filled_once(tmp_path_factory, "refused", fill)


@pytest.fixture
def refused(refused_once: Settings, tmp_path: Path) -> Settings:
    return copied(refused_once, tmp_path)


def test_refused_verdicts_are_left_out_and_counted(refused_once: Settings) -> None:
    with warehouse_of(refused_once).reader() as con:
        found = admitted_results(con, "run", AS_OF)
        before = admitted_results(con, "run", AS_OF - timedelta(days=1))
    assert (found.left_out, len(found.results)) == (10, 20)
    assert found.results["passed"].all()
    assert "judge on returns" in (found.note or "")
    assert (before.left_out, len(before.results), before.note) == (0, 30, None)


def test_refused_answers_go_to_people_whose_word_counts_instead(refused: Settings) -> None:
    settings = refused.model_copy(update={"judges": JudgeSettings(top_up=4)})
    with warehouse_of(refused).writer() as con:
        assert queue_refused(con, settings, AS_OF, NOW) == 4
        assert queue_refused(con, settings, AS_OF, NOW) == 0
    tasks = table(refused, "SELECT * FROM annotation_queue WHERE batch_id LIKE 'refused-%'")
    assert all(task["item_id"] == f"run/c{task['text'].split()[1]}" for task in tasks)
    assert all(task["answer"].replace("answer", "question") == task["text"] for task in tasks)
    told(refused, [label(task["item_id"], False) for task in tasks])
    with warehouse_of(refused).reader() as con:
        found = admitted_results(con, "run", AS_OF)
    assert (found.left_out, len(found.results)) == (6, 24)
    assert found.results.filter(~pl.col("passed")).height == 4


def test_tasks_about_an_earlier_week_s_answers_are_closed(refused: Settings) -> None:
    with warehouse_of(refused).writer() as con:
        queue_refused(con, refused, AS_OF, NOW)
        write_certificates(con, calibrate_judges(con, refused, AS_OF + timedelta(weeks=1)))
        queue_refused(con, refused, AS_OF + timedelta(weeks=1), NOW)
        tasks = frame(con, "SELECT batch_id, status, count(*) FROM annotation_queue"
                           " WHERE batch_id IS NOT NULL GROUP BY ALL ORDER BY ALL")  # fmt: skip
    assert tasks["status"].to_list() == ["superseded", "open"]


def test_a_week_is_scored_without_refused_verdicts(copy: Settings) -> None:
    topic = cases(60)[0]["category"]
    turns = table(copy, f"SELECT * FROM trace_sample JOIN texts USING (text_hash) WHERE as_of ="
                        f" '{AS_OF}' ORDER BY trace_id LIMIT 120")  # fmt: skip
    people, judge = judged(120, 0.5)
    items = [turn["trace_id"] for turn in turns]
    say(copy, [verdict(item, passed, "j-1", category=topic)
               for item, passed in zip(items, judge, strict=True)])  # fmt: skip
    told(copy, [label(item, passed) for item, passed in zip(items, people, strict=True)])
    made = dg.materialize(
        [judge_calibration],
        partition_key=LAST_WEEK.date().isoformat(),
        resources={"warehouse": warehouse_resource(copy), "settings": copy},
    )
    (check,) = made.get_asset_check_evaluations()
    assert (check.passed, check.metadata["refused"].value) == (False, [f"j-1 on {topic}"])
    (shown,) = made.asset_materializations_for_node("judge_calibration")[:1]
    assert f"| j-1 | {topic} | REFUSED | 120 |" in str(shown.metadata["certificates"].value)

    with warehouse_of(copy).reader() as con:
        sessions = session_report(con, copy, AS_OF)
    queries = week_report(warehouse_of(copy), copy, vector_cache(copy), AS_OF)
    said = zip(results("run-1", LAST_WEEK), cases(60), strict=True)
    believed = [result["passed"] for result, case in said if case["category"] != topic]
    assert queries is not None
    assert sessions is not None
    for score in (queries.headline, sessions.headline):
        assert score.refused_results == 60 - len(believed) > 0
        assert f"j-1 on {topic}" in score.judge_note
        assert score.eval_score == pytest.approx(np.mean(believed))
    (before,) = table(copy, f"SELECT * FROM coverage_scores WHERE headline AND as_of = '{AS_OF}'")
    assert queries.headline.unmeasured_share >= before["unmeasured_share"]

    tasks = {task["trace_id"]: task for task in table(copy, _UNASKED)}
    assert tasks.keys() == set(items)
    for turn in turns:
        task = tasks[turn["trace_id"]]
        assert task["text_hash"] == turn["text_hash"]
        assert task["text"].split() == turn["text"].split()
        assert (task["answer"], task["turn_index"]) == ("Here is how.", turn["turn_index"])
        assert len(orjson.loads(task["context"] or "[]")) == 2 * turn["turn_index"]


def test_an_empty_file_of_verdicts_is_bad_input(home: Settings) -> None:
    path = home.home.parent / "none.jsonl"
    path.write_text("")
    with pytest.raises(BadInput, match="empty"):
        ingest_verdicts([path], home)
