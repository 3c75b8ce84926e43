"""The quarterly audit: which kinds of failure the suite would not notice, by planted truth."""

from __future__ import annotations

import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.failures.audit import RIGHT, assign_categories, represented
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.evals.ledger import record_cases
from evalcov_pipeline.services.failures.audit import Audit, audit, quarter_of
from evalcov_pipeline.services.failures.precision import judged_tasks
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.arrival import labels_arrived
from evalcov_pipeline.services.labels.queue import enqueue, record_labels
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import compact_day, days_pending, lake_connection
from evalcov_pipeline.storage.vectors import embed_texts
from evalcov_pipeline.storage.warehouse import Warehouse, frame, insert
from evalcov_pipeline_tests.conftest import LAST_WEEK, import_rows, quick_settings, tasks

START = datetime(2026, 9, 21)
"""A Monday of the third quarter; traffic goes on into the fourth."""
DAY = date(2026, 9, 30)
KINDS = {"refunds": "refund for a damaged item", "logins": "reset of a forgotten password"}


def vectors(points: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_turns_take_the_kind_of_what_they_resemble_and_strangers_none() -> None:
    rng = np.random.default_rng(3)
    heads = np.eye(8)[:3]
    labelled = vectors(np.repeat(heads, 12, axis=0) + rng.normal(scale=0.25, size=(36, 8)))
    kinds = np.repeat(["billing", "logins", "refunds"], 12)
    kinds[[3, 17]] = "refunds"
    new = vectors(np.repeat(heads, 5, axis=0) + rng.normal(scale=0.25, size=(15, 8)))
    strangers = vectors(np.repeat(np.eye(8)[5:6], 4, axis=0))
    found = assign_categories(labelled, kinds.tolist(), np.r_[new, strangers])
    assert found.right is not None
    assert found.right >= RIGHT
    truth = np.repeat(["billing", "logins", "refunds"], 5)
    told = [(kind, own) for kind, own in zip(found.categories, truth, strict=False) if kind]
    assert len(told) >= 12
    assert np.mean([kind == own for kind, own in told]) >= 0.9
    assert found.categories[15:] == (None,) * 4
    assert "held out" in found.reason


def test_a_few_neighbours_that_happen_to_be_right_assign_nothing() -> None:
    rng = np.random.default_rng(5)
    reached = [
        assign_categories(
            vectors(rng.normal(size=(20, 8))),
            rng.choice(["a", "b", "c"], 20).tolist(),
            vectors(np.eye(8)[:1]),
        ).least
        for _ in range(30)
    ]
    assert sum(least is not None for least in reached) <= 1


def test_kinds_that_texts_do_not_tell_apart_are_not_assigned() -> None:
    rng = np.random.default_rng(4)
    labelled = vectors(rng.normal(size=(60, 8)))
    kinds = rng.choice(["a", "b", "c", "d"], 60).tolist()
    found = assign_categories(labelled, kinds, labelled[:9] + 0)
    assigned = sum(kind is not None for kind in found.categories)
    assert assigned <= 2
    few = assign_categories(labelled[:5], kinds[:5], labelled)
    assert set(few.categories) == {None}
    assert "too few" in few.reason


@pytest.mark.parametrize(
    ("cases", "failed", "run", "status"),
    [
        (0, None, False, "unrepresented"),
        (2, START, True, "thin"),
        (3, None, True, "never_failed"),
        (3, None, False, "represented"),
        (3, START, True, "represented"),
    ],
)
def test_how_well_a_kind_of_failure_is_represented(
    cases: int, failed: datetime | None, run: bool, status: str
) -> None:
    assert represented("refunds", cases, failed, ever_run=run).status == status


def test_turns_of_no_known_kind_are_no_missing_case() -> None:
    assert represented("uncategorised", 0, None, ever_run=False).status == "unknown"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two weeks of turns about two kinds of failure; of each day one turn of each was asked about.

    Refunds fail, every other one; logins never do, but for one incident.
    """
    settings = quick_settings(tmp_path_factory.mktemp("audit") / "home")
    turns = [
        {
            "trace_id": f"{kind}-{day:02d}-{n}", "session_id": f"{kind}-{day}-{n}",
            "started_at": f"{START + timedelta(days=day, hours=n):%Y-%m-%dT%H:%M:%SZ}",
            "query_text": f"{words} number {day} {n}", "answer_text": "Here is how.",
        }
        for kind, words in KINDS.items() for day in range(14) for n in range(4)
    ]  # fmt: skip
    import_rows(settings, "traces", turns, "traffic")
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    with lake_connection(settings.lake) as lake:
        said = frame(
            lake,
            "SELECT source, trace_id, turn_index, session_id, started_at,"
            " query_text AS text, md5(query_text) AS text_hash FROM traces ORDER BY trace_id",
        )
    texts = said.select("text_hash", "text")
    embed_texts(vector_cache(settings), lambda: embedder(settings.embedding), texts)
    first = said.filter(pl.col("trace_id").str.ends_with("-0"))
    batch = first.with_columns(
        batch_id="batch-" + pl.col("started_at").dt.truncate("1w").dt.to_string("%Y%m%d"),
        task_id="q-" + pl.col("trace_id"),
    )
    signalled = said.filter(pl.col("trace_id").str.ends_with("-1")).with_columns(
        as_of=pl.col("started_at").dt.truncate("1w") + timedelta(weeks=1),
        signal=pl.lit("thumbs_down"), strength=pl.lit(1.0), evidence=pl.lit("thumbs down"),
    )  # fmt: skip
    with warehouse_of(settings).writer() as con:
        insert(con, "failure_signals", signalled.drop("text"))
        for row in batch.select("batch_id", "started_at").unique("batch_id").to_dicts():
            monday = row["started_at"] - timedelta(days=row["started_at"].weekday())
            end = datetime(monday.year, monday.month, monday.day) + timedelta(days=7)
            con.execute(
                "INSERT INTO failure_batches VALUES (?, ?, 14, 56, 14, 0, .2, .2, '[]', NULL, ?)",
                [row["batch_id"], end, end],
            )
        picks = batch.select(
            "batch_id", "task_id", "source", "trace_id", "turn_index", "text_hash",
            signals=pl.lit([], pl.List(pl.String)), inclusion_probability=pl.lit(0.25),
        )  # fmt: skip
        insert(con, "failure_picks", picks)
        enqueue(
            con,
            tasks(
                batch.select(
                    "task_id", "batch_id", "text", "text_hash", "source", "trace_id", "turn_index"
                ).to_dicts(),
                purpose="failure", plan_id=None, created_at=START,
            ),
        )  # fmt: skip
        labels = [
            {
                "task_id": row["task_id"], "rater": "ann", "keep": False,
                "passed": row["started_at"].day % 2 == 0 or row["trace_id"].startswith("logins"),
                "category": row["trace_id"].split("-")[0], "at": row["started_at"],
            }
            for row in batch.to_dicts()
        ]  # fmt: skip
        record_labels(con, labels, via="jsonl", recorded_at=START, redact_all=list)
        con.execute(
            "INSERT INTO incidents BY NAME SELECT 'INC-1' AS incident_id, 'Nobody can log in' AS"
            " title, $1 AS \"at\", 'logins' AS category, ['logins-03-2', 'gone'] AS trace_ids,"
            " [] AS case_ids, 2 AS cases_wanted, '0/2' AS coverage, 'open' AS status, 1 AS version,"
            " $1 AS first_recorded_at, $1 AS recorded_at",
            [START + timedelta(days=3)],
        )
    return settings


@pytest.fixture
def home(asked: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(asked.home, tmp_path / "home")
    return asked.model_copy(update={"home": tmp_path / "home"})


def look(home: Settings, day: date | None = DAY) -> Audit:
    return audit(warehouse_of(home), home, day)


def kinds(found: Audit) -> dict[str, dict[str, Any]]:
    return {row["category"]: row for row in found.rows.to_dicts()}


def test_a_quarter_is_seen_until_its_end_or_the_end_of_the_day_s_week(home: Settings) -> None:
    third = quarter_of(home, DAY)
    assert (third.name, third.start) == ("2026-Q3", datetime(2026, 7, 1))
    assert (third.as_of, third.known) == (datetime(2026, 10, 1), datetime(2026, 10, 5))
    newest = quarter_of(home, None)
    assert (newest.name, newest.as_of) == ("2026-Q4", datetime(2026, 10, 5))
    last = quarter_of(home, date(2026, 12, 31))
    assert (last.name, last.start, last.as_of) == (
        "2026-Q4", datetime(2026, 10, 1), datetime(2027, 1, 1),
    )  # fmt: skip


def test_kinds_without_a_case_come_first_with_how_often_they_were_seen(home: Settings) -> None:
    found = look(home)
    assert found.rows["rank"].to_list() == list(range(1, found.rows.height + 1))
    refunds = kinds(found)["refunds"]
    assert (refunds["status"], refunds["eval_cases"]) == ("unrepresented", 0)
    assert refunds["labelled"] == 5, "refunds of odd days from 21 to 30 September"
    assert refunds["rate"] == pytest.approx(5 / 20)
    assert refunds["rate_low"] < 0.25 < refunds["rate_high"]
    logins = kinds(found)["logins"]
    assert (logins["labelled"], logins["incidents"], logins["rate"]) == (0, 1, 0.0)
    assert logins["observed"] == logins["assigned"] + 1, "the incident's turn in the lake"
    everything = sum(row["assigned"] for row in found.rows.to_dicts())
    assert everything == 20, "turns of the quarter with a signal"


def test_the_cases_of_a_kind_are_counted_as_they_were_then(home: Settings) -> None:
    case = {"input": "refund", "category": "refunds", "created_at": "2026-09-22T00:00:00Z"}
    cases = [case | {"case_id": f"c-{n}"} for n in range(3)]
    cases[0] |= {"regression": True, "expected": "x"}
    late = case | {"case_id": "late", "created_at": "2026-10-20T00:00:00Z"}
    at = START + timedelta(days=5)
    result = {"case_id": "c-1", "at": at, "variant": None}
    tries = [
        result | {"run_id": "r-1", "repeat": 0, "passed": True},
        result | {"run_id": "r-1", "repeat": 1, "passed": False},
        result | {"run_id": "r-2", "repeat": 0, "passed": False, "variant": "known_bad"},
    ]
    with warehouse_of(home).writer() as con:
        record_cases(con, [*cases, late], at=at, actor="test")
        insert(con, "eval_results", pl.DataFrame(tries))
        labels_arrived(con, home, at)
    refunds = kinds(look(home))["refunds"]
    assert (refunds["eval_cases"], refunds["regression_cases"]) == (3, 1)
    assert (refunds["status"], refunds["last_failed_at"]) == ("never_failed", None)
    assert refunds["newest_case_at"] == datetime(2026, 9, 22)
    with warehouse_of(home).writer() as con:
        failed = result | {"run_id": "r-3", "repeat": 0, "passed": False}
        insert(con, "eval_results", pl.DataFrame([failed]).cast({"variant": pl.String}))
    refunds = kinds(look(home))["refunds"]
    assert (refunds["status"], refunds["last_failed_at"]) == ("represented", at)


def test_without_labels_of_batches_there_is_no_rate_and_the_reason_says_so(home: Settings) -> None:
    with warehouse_of(home).writer() as con:
        con.execute("DELETE FROM failure_picks")
    refunds = kinds(look(home))["refunds"]
    assert refunds["rate"] is None
    assert "no rate" in refunds["reason"]
    assert refunds["labelled"] == 5


def test_looking_again_gives_the_same_rows(home: Settings) -> None:
    assert look(home).rows.equals(look(home).rows)


def test_without_traffic_the_audit_says_what_to_do(tmp_path: Path) -> None:
    empty = quick_settings(tmp_path / "home")
    with pytest.raises(BadInput, match="ingest traces"):
        look(empty)


@pytest.mark.parametrize(("via", "known"), [("review", 1), ("suggestion", 0)])
def test_a_suggested_label_tells_of_no_failure(tmp_path: Path, via: str, known: int) -> None:
    said = {
        "task_id": "task-0", "rater": "r", "keep": True, "passed": False, "expected": None,
        "category": "parcels", "note": None, "first_at": LAST_WEEK, "at": LAST_WEEK, "via": via,
    }  # fmt: skip
    asked = {"text": "where is it", "text_hash": "h", "trace_id": "t-1"}
    with Warehouse(tmp_path / "warehouse.duckdb").writer() as con:
        insert(con, "annotation_queue", tasks([asked], status="kept", resolved_at=LAST_WEEK))
        insert(con, "annotations", pl.DataFrame([said], schema_overrides={"note": pl.String}))
        assert judged_tasks(con, LAST_WEEK + timedelta(days=7), None).height == known
