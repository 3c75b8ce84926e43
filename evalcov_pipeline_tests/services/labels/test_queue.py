"""Labels on tasks: what one, two and three people come to, in whatever order labels arrive."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evalcov_pipeline.core.labels.decision import Label, resolve
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels import queue as annotation
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Warehouse, frame
from evalcov_pipeline_tests.conftest import copied

NOON = datetime(2026, 11, 2, 12)


def label(rater: str, minute: int, keep: bool = True, **said: Any) -> Label:
    at = NOON + timedelta(minutes=minute)
    known: dict[str, Any] = {
        "passed": True, "expected": None, "category": None, "note": None,
        "first_at": at, "at": at,
    }  # fmt: skip
    return Label(rater=rater, keep=keep, **known | said)


def test_one_label_decides_where_one_is_wanted() -> None:
    assert resolve([], 1).status == "open"
    assert resolve([label("ann", 0)], 1).status == "kept"
    rejected = resolve([label("ann", 0, keep=False)], 1)
    assert (rejected.status, rejected.raters) == ("rejected", ("ann",))


def test_two_raters_who_agree_decide_and_the_newest_expected_answer_holds() -> None:
    first, second = label("ann", 0, expected="old"), label("bob", 5, expected="new")
    assert resolve([first], 2).status == "labelled"
    decided = resolve([second, first], 2)
    assert decided.label is not None
    assert (decided.status, decided.raters) == ("kept", ("ann", "bob"))
    assert (decided.label.expected, decided.decided_at) == ("new", second.at)


@pytest.mark.parametrize(
    "other", [{"keep": False}, {"passed": False}, {"category": "billing"}], ids=str
)
def test_two_raters_who_differ_are_adjudicated_by_the_newest_third(other: dict[str, Any]) -> None:
    labels = [label("ann", 0), label("bob", 1, **other)]
    assert resolve(labels, 2).status == "adjudicate"
    third, fourth = label("cyd", 2), label("dan", 3, keep=False)
    assert resolve([*labels, third], 2).raters == ("cyd",)
    assert resolve([*labels, third, fourth], 2).status == "rejected"


def test_raters_who_both_reject_agree_whatever_else_they_say() -> None:
    labels = [label("ann", 0, keep=False, passed=True), label("bob", 1, keep=False, passed=False)]
    assert resolve(labels, 2).status == "rejected"


def test_a_rater_who_changes_their_mind_does_not_become_the_adjudicator() -> None:
    ann = label("ann", 9, keep=False, first_at=NOON)
    assert resolve([ann, label("bob", 1), label("cyd", 2)], 2).raters == ("cyd",)
    assert resolve([label("ann", 9, first_at=NOON), label("bob", 1)], 2).status == "kept"


def test_the_same_rater_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="one label of each"):
        resolve([label("ann", 0), label("ann", 1)], 1)


def three_tasks(home: Settings) -> Warehouse:
    warehouse = warehouse_of(home)
    tasks = [
        {
            "task_id": f"t{i}", "plan_id": "p", "purpose": "new_case", "text": f"query {i}",
            "text_hash": f"h{i}", "reason": "gap", "designed": True, "status": "open",
            "route": "billing" if i == 2 else "default", "priority": float(i),
            "raters_wanted": 2, "created_at": NOON,
        }
        for i in range(3)
    ]  # fmt: skip
    with warehouse.writer() as con:
        assert annotation.enqueue(con, pl.DataFrame(tasks)) == 3
        assert annotation.enqueue(con, pl.DataFrame(tasks)) == 0
    return warehouse


@pytest.fixture
def warehouse(new_home: Settings) -> Warehouse:
    return three_tasks(new_home)


def said(task: str, rater: str, minute: int | None = None, **fields: Any) -> dict[str, Any]:
    at = None if minute is None else NOON + timedelta(minutes=minute)
    return {"task_id": task, "rater": rater, "keep": True, "passed": True, "at": at, **fields}


def record(warehouse: Warehouse, *labels: dict[str, Any]) -> annotation.LabelReport:
    with warehouse.writer() as con:
        return annotation.record_labels(
            con,
            labels,
            via="jsonl",
            recorded_at=NOON + timedelta(days=1),
            redact_all=lambda texts: [text.replace("Eve", "[NAME]") for text in texts],
        )


def statuses(warehouse: Warehouse) -> dict[str, str]:
    with warehouse.reader() as con:
        return dict(con.execute("SELECT task_id, status FROM annotation_queue").fetchall())


def test_labels_give_the_same_state_in_any_order_and_twice(empty: Settings, tmp_path: Path) -> None:
    labels = [said("t0", "ann", 0), said("t0", "bob", 1, passed=False), said("t0", "cyd", 2)]
    found = []
    for number, order in enumerate(permutations(labels)):
        home = three_tasks(copied(empty, tmp_path / str(number)))
        for one in (*order, *order):
            record(home, one)
        with home.reader() as con:
            now = frame(con, "SELECT * FROM annotations ORDER BY rater")
        found.append((statuses(home), now.to_dicts()))
    assert found[0][0]["t0"] == "kept"
    assert all(state == found[0] for state in found)


def test_every_label_is_counted_once_and_an_unknown_task_is_named(warehouse: Warehouse) -> None:
    report = record(warehouse, said("t0", "ann", 5), said("zz", "ann"), said("t0", "ann", 5))
    assert (report.new, report.unchanged, report.unknown) == (1, 1, ((1, "zz"),))
    assert report.decided == 0
    changed = record(warehouse, said("t0", "ann", 6, keep=False), said("t0", "ann", 1, note="?"))
    assert (changed.changed, changed.outdated) == (1, 1)
    again = record(warehouse, said("t0", "ann", 6, keep=False), said("t0", "ann", 1, note="?"))
    assert again.unchanged == 2
    with warehouse.reader() as con:
        (now,) = frame(con, "SELECT keep, note FROM annotations").to_dicts()
        history = frame(con, "SELECT event_id, note FROM annotation_events ORDER BY event_id")
    assert now == {"keep": False, "note": None}
    assert history.rows() == [(1, None), (2, None), (3, "?")]


def test_a_withdrawn_label_leaves_the_task_as_if_it_had_not_been_said(
    warehouse: Warehouse,
) -> None:
    record(warehouse, said("t1", "ann", 0), said("t1", "bob", 1))
    assert statuses(warehouse)["t1"] == "kept"
    assert record(warehouse, said("t1", "bob", 2, withdrawn=True)).decided == 1
    assert statuses(warehouse)["t1"] == "labelled"


def test_what_raters_type_is_redacted(warehouse: Warehouse) -> None:
    record(warehouse, said("t0", "ann", expected="Ask Eve", note="Eve again"))
    with warehouse.reader() as con:
        rows = con.execute("SELECT expected, note FROM annotation_events").fetchall()
    assert rows == [("Ask [NAME]", "[NAME] again")]


def test_the_most_urgent_task_comes_first_and_nobody_is_asked_twice(warehouse: Warehouse) -> None:
    record(warehouse, said("t0", "ann", 0), said("t0", "bob", 1, keep=False))
    with warehouse.reader() as con:
        asked = [
            [task.task_id for task in annotation.tasks_for(con, *who)]
            for who in ((), ("ann",), ("cyd", "billing"))
        ]
    assert asked == [["t0", "t2", "t1"], ["t2", "t1"], ["t2"]]


def test_a_superseded_task_keeps_its_labels_and_stays_closed(warehouse: Warehouse) -> None:
    with warehouse.writer() as con:
        assert annotation.supersede(con, ["p"], NOON) == 3
    record(warehouse, said("t0", "ann", 0), said("t0", "bob", 1))
    assert statuses(warehouse)["t0"] == "superseded"
    with warehouse.reader() as con:
        assert con.execute("SELECT count(*) FROM annotations").fetchall() == [(2,)]
