"""From decided tasks to eval cases: provenance, dates, changed minds, and the score afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson
import polars as pl
import pytest

from evalcov_pipeline.services.evals.ledger import broken_link
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.labels.arrival import labels_arrived
from evalcov_pipeline.services.labels.merging import MergeReport
from evalcov_pipeline.services.labels.queue import enqueue, record_labels
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Warehouse, frame, one_row
from evalcov_pipeline_tests.conftest import LAST_WEEK, SCORE, score_week, write_jsonl

LABELLED = datetime(2026, 11, 20, 9)
TRAFFIC_ENDS = LAST_WEEK + timedelta(days=7)


def queue(settings: Settings, *task_ids: str, **fields: Any) -> None:
    rows = [
        {
            "task_id": name, "plan_id": "plan-1", "purpose": "new_case",
            "text": f"how do i {name}", "text_hash": name, "reason": "gap", "designed": True,
            "source": "generic", "trace_id": f"trace-{name}", "turn_index": 0, "status": "open",
            "route": "default", "priority": 1.0, "raters_wanted": 1, "created_at": LABELLED,
            **fields,
        }
        for name in task_ids
    ]  # fmt: skip
    with warehouse(settings).writer() as con:
        enqueue(con, pl.DataFrame(rows))


def warehouse(settings: Settings) -> Warehouse:
    return warehouse_of(settings)


def say(settings: Settings, task: str, at: datetime = LABELLED, **fields: Any) -> None:
    label = {"task_id": task, "rater": "ann", "keep": True, "passed": False, "at": at, **fields}
    with warehouse(settings).writer() as con:
        record_labels(con, [label], via="jsonl", recorded_at=at, redact_all=list)


def merge(settings: Settings, at: datetime = LABELLED) -> MergeReport:
    with warehouse(settings).writer() as con:
        report = labels_arrived(con, settings, at).merged
        assert broken_link(con) is None
    return report


def case(settings: Settings, task: str) -> dict[str, Any]:
    with warehouse(settings).reader() as con:
        row = one_row(con, "SELECT * FROM eval_cases WHERE case_id = ?", [f"prod-{task}"])
    assert row is not None
    return dict(row)


def test_a_kept_query_becomes_a_case_with_its_provenance(copy: Settings) -> None:
    context = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    queue(copy, "a", context=orjson.dumps(context).decode())
    queue(copy, "b", "c")
    say(copy, "a", expected="Like this.", category="billing")
    say(copy, "b", keep=False)
    assert merge(copy) == MergeReport(1, 0, 0, waiting=1, waiting_of_plans=1)
    found = case(copy, "a")
    assert orjson.loads(found["input"]) == [*context, {"role": "user", "content": "how do i a"}]
    expected = {
        "expected": "Like this.", "category": "billing", "origin": "production",
        "source_ref": "generic:trace-a", "plan_id": "plan-1", "raters": ["ann"], "designed": True,
        "status": "active", "created_at": LABELLED, "n_turns": 2,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_a_case_of_a_historical_export_counts_from_the_end_of_its_traffic(copy: Settings) -> None:
    queue(copy, "a", "b")
    say(copy, "a")
    say(copy, "b", at=LAST_WEEK)
    merge(copy)
    assert case(copy, "a")["effective_at"] == TRAFFIC_ENDS
    assert case(copy, "b")["effective_at"] == LAST_WEEK


def test_merging_again_adds_nothing_and_a_changed_mind_makes_a_version(copy: Settings) -> None:
    queue(copy, "a")
    say(copy, "a", expected="one")
    assert merge(copy).added == 1
    assert merge(copy) == MergeReport(0, 0, 0, 0, 0)
    say(copy, "a", at=LABELLED + timedelta(hours=1), expected="two")
    assert merge(copy).changed == 1
    assert (case(copy, "a")["expected"], case(copy, "a")["version"]) == ("two", 2)
    say(copy, "a", at=LABELLED + timedelta(hours=2), keep=False)
    assert merge(copy).retired == 1
    assert case(copy, "a")["status"] == "retired"
    say(copy, "a", at=LABELLED + timedelta(hours=3))
    assert merge(copy).changed == 1
    assert case(copy, "a")["status"] == "active"


def test_an_owners_edit_of_a_merged_case_stays(copy: Settings) -> None:
    queue(copy, "a")
    say(copy, "a", expected="one")
    merge(copy)
    edited = {"case_id": "prod-a", "input": "how do i a, really", "expected": "edited"}
    ingest_evals("evals", [write_jsonl(copy.home / "edited.jsonl", [edited])], copy)
    assert merge(copy) == MergeReport(0, 0, 0, 0, 0)
    found = case(copy, "a")
    assert found["expected"] == "edited"
    assert (found["plan_id"], found["raters"], found["designed"]) == ("plan-1", ["ann"], True)


def test_a_regression_case_outlives_its_label_and_the_refusal_is_counted(copy: Settings) -> None:
    queue(copy, "a")
    say(copy, "a", expected="one")
    merge(copy)
    guard = {"case_id": "prod-a", "input": "how do i a", "expected": "one", "regression": True}
    ingest_evals("evals", [write_jsonl(copy.home / "guard.jsonl", [guard])], copy)
    say(copy, "a", at=LABELLED + timedelta(hours=1), keep=False)
    report = merge(copy)
    assert (report.retired, report.refused) == (0, 1)
    assert case(copy, "a")["status"] == "active"
    assert merge(copy) == MergeReport(0, 0, 0, 0, 0)


@pytest.mark.parametrize("kept", [True, False])
def test_the_score_after_a_plan_is_written_once_every_task_is_decided(
    copy: Settings, kept: bool
) -> None:
    with warehouse(copy).writer() as con:
        con.execute(
            "INSERT INTO refresh_plans BY NAME SELECT 'plan-1' AS plan_id, $1 AS as_of,"
            " 't' AS taxonomy_id, 'manual' AS trigger, '' AS reason, 2 AS budget, '[]' AS targets,"
            " 0.4 AS jsd_before, $1 AS created_at",
            [TRAFFIC_ENDS],
        )
    queue(copy, "a", "b")
    say(copy, "a")
    score_week(copy, LAST_WEEK, groups=SCORE)
    assert plan(copy)["jsd_after"] is None
    say(copy, "b", keep=kept)
    score_week(copy, LAST_WEEK, groups=SCORE)
    with warehouse(copy).reader() as con:
        (score,) = frame(
            con, "SELECT jsd_adjusted FROM coverage_scores WHERE headline AND as_of = ?",
            [TRAFFIC_ENDS],
        )["jsd_adjusted"]  # fmt: skip
    assert plan(copy)["n_kept"] == 1 + kept
    assert (plan(copy)["jsd_after"], plan(copy)["after_as_of"]) == (score, TRAFFIC_ENDS)


def plan(settings: Settings) -> dict[str, Any]:
    with warehouse(settings).reader() as con:
        row = one_row(con, "SELECT * FROM refresh_plans")
    assert row is not None
    return dict(row)
