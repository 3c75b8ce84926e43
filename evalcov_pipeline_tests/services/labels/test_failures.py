"""Kept failures become regression cases with people's own ground truth, or wait for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from evalcov_pipeline.core.labels.decision import Label, lacks_truth, resolve
from evalcov_pipeline.review.app import make_app
from evalcov_pipeline.services.evals.ledger import lost_regression
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.annotations import ingest_annotations
from evalcov_pipeline.services.labels.arrival import labels_arrived
from evalcov_pipeline.services.labels.merging import MergeReport
from evalcov_pipeline.services.labels.queue import enqueue, record_labels
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import tasks, write_jsonl
from evalcov_pipeline_tests.review.test_review import PORT, Browser

NOW = datetime(2026, 11, 20, 9)
RIGHT = "Open the form under Orders."


@pytest.fixture
def home(new_home: Settings) -> Settings:
    """A home without traffic that asks about one turn for each purpose."""
    about = [
        {"task_id": "bad", "purpose": "failure", "batch_id": "failures-20261116"},
        {"task_id": "outage", "purpose": "incident", "incident_id": "INC-1"},
        {"task_id": "judged", "purpose": "calibration", "batch_id": "judge-20261116"},
        {"task_id": "new", "purpose": "new_case", "plan_id": "plan-1"},
    ]
    asked = [{"plan_id": None, "text": f"how do i {t['task_id']}", "text_hash": "h"} for t in about]
    rows = tasks([a | b for a, b in zip(asked, about, strict=True)], created_at=NOW, trace_id="t-1")
    with warehouse_of(new_home).writer() as con:
        enqueue(con, rows)
    return new_home


def say(home: Settings, task: str, rater: str = "ann", minute: int = 0, **said: Any) -> None:
    at = NOW + timedelta(minutes=minute)
    label = {"task_id": task, "rater": rater, "keep": True, "passed": False, "at": at} | said
    with warehouse_of(home).writer() as con:
        record_labels(con, [label], via="jsonl", recorded_at=at, redact_all=list)


def merge(home: Settings) -> MergeReport:
    with warehouse_of(home).writer() as con:
        report = labels_arrived(con, home, NOW + timedelta(days=1)).merged
        assert lost_regression(con) is None
    return report


def read(home: Settings, query: str) -> list[dict[str, Any]]:
    with warehouse_of(home).reader() as con:
        return frame(con, query).to_dicts()


def case(home: Settings, task: str) -> dict[str, Any]:
    (found,) = read(home, f"SELECT * FROM eval_cases WHERE case_id = 'prod-{task}'")
    return found


@pytest.mark.parametrize(
    ("task", "origin", "tags", "incident"),
    [
        ("bad", "production", ["failure"], None),
        ("outage", "incident", ["incident"], "INC-1"),
        ("judged", "production", ["failure"], None),
    ],
)
def test_a_failure_with_the_answer_that_people_expect_guards_for_good(
    home: Settings, task: str, origin: str, tags: list[str], incident: str | None
) -> None:
    say(home, task, expected=RIGHT, category="refunds")
    assert merge(home).added == 1
    found = case(home, task)
    assert (found["regression"], found["origin"], found["tags"]) == (True, origin, tags)
    assert (found["expected"], found["category"], found["raters"]) == (RIGHT, "refunds", ["ann"])
    assert (found["incident_id"], found["designed"]) == (incident, True)
    for minute, later in enumerate(
        [{"keep": False}, {"expected": "Never mind."}, {"passed": True}, {"category": "x"}], 1
    ):
        say(home, task, minute=minute, **({"expected": RIGHT, "category": "refunds"} | later))
        report = merge(home)
        assert (report.added, report.changed, report.retired) == (0, 0, 0), later
        assert report.refused == 1, later
        assert "would have changed regression cases" in report.remarks
        assert case(home, task) == found


@pytest.mark.parametrize("expected", [None, "  ", " here IS  how."])
@pytest.mark.parametrize("task", ["bad", "outage"])
def test_without_what_would_have_been_right_a_failure_waits(
    home: Settings, task: str, expected: str | None
) -> None:
    say(home, task, expected=expected)
    for _ in range(2):
        report = merge(home)
        assert (report.added, report.unanswered) == (0, 1)
        assert "1 kept failures are no cases yet" in report.remarks
    assert read(home, "SELECT * FROM eval_cases") == []
    say(home, task, rater="bob", minute=5, expected=RIGHT)
    report = merge(home)
    assert (report.added, report.unanswered, report.remarks) == (1, 0, "")
    assert case(home, task)["expected"] == RIGHT
    assert case(home, task)["raters"] == ["ann", "bob"]


def test_a_good_answer_of_a_batch_becomes_an_ordinary_case(home: Settings) -> None:
    say(home, "bad", passed=True, expected="Here is how.")
    assert merge(home).added == 1
    found = case(home, "bad")
    assert (found["regression"], found["tags"], found["batch_id"]) == (
        False, [], "failures-20261116",
    )  # fmt: skip
    say(home, "bad", minute=1)
    assert (merge(home).retired, case(home, "bad")["status"]) == (1, "retired")
    assert merge(home) == MergeReport(0, 0, 0, 3, 1, unanswered=1)
    say(home, "bad", minute=2, expected=RIGHT)
    assert merge(home).changed + merge(home).added == 1
    assert (case(home, "bad")["regression"], case(home, "bad")["status"]) == (True, "active")


@pytest.mark.parametrize("said", [{"passed": True, "expected": RIGHT}, {"expected": None}])
def test_labels_that_a_judge_is_held_against_make_no_other_case(
    home: Settings, said: dict[str, Any]
) -> None:
    say(home, "judged", **said)
    report = merge(home)
    assert (report.added, report.unanswered) == (0, 0)
    assert read(home, "SELECT * FROM eval_cases") == []


def test_a_suggestion_is_no_ground_truth_of_a_failure(home: Settings) -> None:
    label = {"rater": "suggestion:neighbours", "keep": True, "passed": False, "expected": RIGHT}
    labels = [label | {"task_id": task, "at": NOW} for task in ("bad", "new")]
    with warehouse_of(home).writer() as con:
        report = record_labels(con, labels, via="suggestion", recorded_at=NOW, redact_all=list)
    assert (report.new, report.refused) == (1, ((0, "bad"),))
    assert [row["task_id"] for row in read(home, "SELECT * FROM annotations")] == ["new"]
    file = write_jsonl(home.home / "labels.jsonl", [
        {"item_id": "outage", "rater": "suggestion:m", "keep": True, "expected": RIGHT},
        {"item_id": "judged", "rater": "ann", "keep": False},
    ])  # fmt: skip
    found = ingest_annotations([file], home, now=NOW)
    assert (found.new, found.rejected) == (1, 1)
    rejects = b"".join(path.read_bytes() for path in home.quarantine.rglob("*.jsonl"))
    assert b"comes from people, not from suggestions" in rejects


def test_the_page_wants_the_right_answer_of_a_failure_that_is_kept(home: Settings) -> None:
    app = make_app(home, port=PORT, rater="system", clock=lambda: NOW)
    ann = Browser(app, "ann").until("bad")
    assert "say in your own words what would have been right" in ann.words
    assert ann.send("save", keep="keep", expected=RIGHT) == 422
    assert "Say whether production’s answer was good" in ann.words
    assert ann.send("save", keep="keep", passed="fail") == 422
    assert "nobody has said what would have been right" in ann.words
    assert ann.send("save", keep="keep", passed="fail", expected="Here is how.") == 422
    assert "what is expected is the answer that failed" in ann.words
    assert read(home, "SELECT * FROM annotations") == []
    assert ann.send("save", keep="keep", passed="fail", expected=RIGHT) == 200
    assert merge(home).added == 1


@pytest.mark.parametrize("rater", ["ann", "bob"])
def test_the_page_shows_a_failure_again_until_somebody_says_what_was_right(
    home: Settings, rater: str
) -> None:
    say(home, "bad", note="wrong form", category="refunds")
    merge(home)
    app = make_app(home, port=PORT, rater="system", clock=lambda: NOW + timedelta(hours=1))
    page = Browser(app, rater).until("bad")
    assert "what would have been right is still missing" in page.words
    assert 'value="refunds"' in page.page
    assert page.send("save", keep="keep", passed="fail", expected=RIGHT, category="refunds") == 200
    while page.task:
        assert page.task != "bad"
        page.send("skip")
    assert merge(home).added == 1
    assert rater in case(home, "bad")["raters"]


def test_a_later_rater_completes_only_what_was_decided() -> None:
    def label(rater: str, minute: int, **said: Any) -> Label:
        at = NOW + timedelta(minutes=minute)
        known: dict[str, Any] = {"keep": True, "passed": False, "expected": None}
        return Label(rater=rater, category=None, note=None, first_at=at, at=at, **(known | said))

    first = label("ann", 0)
    completed = resolve([first, label("bob", 5, expected="right")], 1)
    assert completed.label is not None
    assert (completed.label.expected, completed.raters) == ("right", ("ann", "bob"))
    assert completed.decided_at == NOW + timedelta(minutes=5)
    differing = resolve([first, label("bob", 5, expected="fine", passed=True)], 1)
    assert differing.label is not None
    assert (differing.label.expected, differing.raters) == (None, ("ann",))


def test_an_expected_answer_is_compared_in_its_canonical_spelling() -> None:
    assert lacks_truth("Click  “Send”.", "click “send”.") is not None
    assert lacks_truth("Click “Send” twice.", "Click “Send”.") is None
    assert lacks_truth("anything", None) is None
