"""Labels that arrived: what joins the suite, what is said of it, and a ledger that is broken."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from evalcov_pipeline.core.text.normalise import text_hash
from evalcov_pipeline.errors import CheckFailed
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.labels.arrival import (
    Reviewed,
    labels_arrived,
    newest_label,
    reviewed_since,
)
from evalcov_pipeline.services.labels.queue import enqueue, record_labels
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.published import reading
from evalcov_pipeline_tests.conftest import quick_settings, tasks

NOW = datetime(2026, 11, 20, 9)


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A home without traffic that asks about three queries, one of which two people are to see."""
    settings = quick_settings(tmp_path / "home")
    queries = [f"how do i {name}" for name in ("pay", "return", "complain")]
    rows = [{"text": query, "text_hash": text_hash(query)} for query in queries]
    rows[2] |= {"raters_wanted": 2}
    with warehouse_of(settings).writer() as con:
        enqueue(con, tasks(rows))
    publish(settings)
    return settings


def say(home: Settings, task: str, *, minute: int = 0, **label: object) -> None:
    at = NOW + timedelta(minutes=minute)
    row = {"task_id": task, "rater": "ann", "keep": True, "at": at} | label
    with warehouse_of(home).writer() as con:
        record_labels(con, [row], via="review", recorded_at=at, redact_all=list)


def published_cases(home: Settings) -> list[str]:
    with reading(home.published) as con:
        rows = con.execute("SELECT case_id FROM eval_cases ORDER BY case_id").fetchall()
    return [case_id for (case_id,) in rows]


def test_a_review_without_a_label_changes_nothing(home: Settings) -> None:
    say(home, "task-0")
    before = home.published.stat().st_mtime_ns
    assert reviewed_since(home, newest_label(home), NOW) == Reviewed(0, 0, 0, None)
    assert home.published.stat().st_mtime_ns == before


def test_a_review_tells_what_was_said_since_and_publishes_what_came_of_it(home: Settings) -> None:
    say(home, "task-1", rater="bob")
    before = newest_label(home)
    say(home, "task-0")
    say(home, "task-2")
    reviewed = reviewed_since(home, before, NOW + timedelta(hours=1))
    assert (reviewed.given, reviewed.taken_back, reviewed.decided) == (2, 0, 1)
    assert reviewed.merged is not None
    assert (reviewed.merged.added, reviewed.merged.waiting) == (2, 1)
    assert published_cases(home) == ["prod-task-0", "prod-task-1"]
    before = newest_label(home)
    say(home, "task-0", minute=90, withdrawn=True)
    reviewed = reviewed_since(home, before, NOW + timedelta(hours=2))
    assert (reviewed.given, reviewed.taken_back, reviewed.decided) == (0, 1, 1)
    assert reviewed.merged is not None
    assert (reviewed.merged.retired, reviewed.merged.waiting) == (1, 2)


def test_labels_outlive_a_broken_ledger_but_nothing_joins_the_suite(home: Settings) -> None:
    say(home, "task-0")
    with warehouse_of(home).writer() as con:
        labels_arrived(con, home, NOW)
        con.execute("UPDATE eval_case_events SET actor = 'eve' WHERE event_id = 1")
    before = newest_label(home)
    say(home, "task-1")
    with pytest.raises(
        CheckFailed,
        match="given: 1, taken back: 0; they are kept, but the ledger is broken at event 1",
    ):
        reviewed_since(home, before, NOW + timedelta(hours=1))
    assert newest_label(home) == before + 1
    with warehouse_of(home).reader() as con:
        assert con.execute("SELECT count(*) FROM eval_cases").fetchall() == [(1,)]
