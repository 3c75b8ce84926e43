"""Weekly batches on a small lake: drawn once, kept once labelled, never more than people can do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.defs.assets.failure_batches import failure_batches
from evalcov_pipeline.defs.support.resources import warehouse_resource
from evalcov_pipeline.services.failures.batches import (
    FailureWeek,
    NewestBatch,
    examine_week,
    newest_batch,
    record_week,
)
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.arrival import labels_arrived
from evalcov_pipeline.services.labels.queue import enqueue, record_labels
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import FailureSettings, Settings
from evalcov_pipeline.storage.lake import compact_day, days_pending, lake_connection
from evalcov_pipeline.storage.warehouse import frame, insert
from evalcov_pipeline_tests.conftest import (
    FIRST_DAY,
    TOPICS,
    import_rows,
    quick_settings,
    tasks,
    turns,
)

AS_OF = FIRST_DAY + timedelta(weeks=2)
BEFORE = AS_OF - timedelta(weeks=1)
NOW = datetime(2026, 11, 20, 9)
TABLES = ("failure_batches", "failure_picks", "annotation_queue", "signal_precision")


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two weeks of traffic; about a quarter of the turns bears a signal or two."""
    settings = quick_settings(tmp_path_factory.mktemp("failures") / "home")
    import_rows(settings, "traces", turns(weeks=2), "traffic")
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    with lake_connection(settings.lake) as lake:
        said = frame(
            lake,
            "SELECT source, trace_id, turn_index, session_id, started_at FROM traces"
            " ORDER BY trace_id",
        )
    rng = np.random.default_rng(2)
    rows = []
    for name, share in (("thumbs_down", 0.1), ("rephrase", 0.15)):
        some = said.filter(pl.Series(rng.random(len(said)) < share))
        rows.append(
            some.with_columns(
                as_of=pl.col("started_at").dt.truncate("1w") + timedelta(weeks=1),
                signal=pl.lit(name),
                strength=pl.Series(rng.uniform(0.3, 1, len(some))),
                evidence=pl.lit(f"{name} was seen"),
            )
        )
    with warehouse_of(settings).writer() as con:
        insert(con, "failure_signals", pl.concat(rows))
    return settings


@pytest.fixture
def settings(traffic: Settings, tmp_path: Path) -> Settings:
    """That home, to be changed."""
    shutil.copytree(traffic.home, tmp_path / "home")
    return traffic.model_copy(update={"home": tmp_path / "home"})


def with_rules(settings: Settings, **rules: Any) -> Settings:
    return settings.model_copy(update={"failures": FailureSettings(**rules)})


def draw(
    settings: Settings, as_of: datetime = AS_OF, at: datetime = NOW, ask: bool = True
) -> FailureWeek:
    warehouse = warehouse_of(settings)
    week = examine_week(warehouse, settings, as_of, at, ask=ask)
    with warehouse.writer() as con:
        record_week(con, as_of, week)
    return week


def read(settings: Settings, query: str) -> pl.DataFrame:
    with warehouse_of(settings).reader() as con:
        return frame(con, query)


def everything(settings: Settings) -> list[list[tuple[Any, ...]]]:
    return [read(settings, f"SELECT * FROM {table} ORDER BY ALL").rows() for table in TABLES]


def say(settings: Settings, task_ids: Sequence[str], at: datetime = NOW, **label: Any) -> None:
    rows = [
        {"task_id": name, "rater": "ann", "keep": False, "passed": False, "at": at} | label
        for name in task_ids
    ]
    with warehouse_of(settings).writer() as con:
        record_labels(con, rows, via="jsonl", recorded_at=at, redact_all=list)


def picks(settings: Settings) -> pl.DataFrame:
    return read(settings, "SELECT * FROM failure_picks ORDER BY task_id")


def test_a_batch_is_queued_with_its_evidence_and_the_chance_of_each_turn(
    settings: Settings,
) -> None:
    draw(settings)
    (batch,) = read(settings, "SELECT * FROM failure_batches").to_dicts()
    queued = read(settings, "SELECT * FROM annotation_queue ORDER BY task_id")
    drawn = picks(settings)
    assert (batch["batch_id"], batch["size"], batch["note"]) == ("failures-20261012", 15, None)
    assert batch["n_turns"] > batch["n_signalled"] > 40
    assert drawn["inclusion_probability"].is_between(0, 1, closed="right").all()
    assert queued["inclusion_probability"].to_list() == drawn["inclusion_probability"].to_list()
    assert queued["task_id"].to_list() == drawn["task_id"].to_list()
    once = ("purpose", "batch_id", "route", "selection", "designed", "status", "answer")
    assert queued.select(once).unique().rows() == [
        ("failure", batch["batch_id"], "failures", "verdict_blind", True, "open", "Here is how.")
    ]
    for task, signals in zip(queued.to_dicts(), drawn["signals"].to_list(), strict=True):
        said = task["reason"]
        assert all(f"{name} was seen" in said for name in signals)
        assert signals or said.startswith("drawn evenly")
        assert (task["context"] is None) == (task["turn_index"] == 0)
    assert 8 <= drawn.filter(pl.col("signals").list.len() > 0).height < 15


def write_taxonomy(
    settings: Settings, name: str, fitted_at: datetime, created_at: datetime, label: str
) -> None:
    """A taxonomy of one cluster, with every text of the warehouse in it."""
    hashes = read(settings, "SELECT text_hash FROM texts")
    taxonomy = {
        "taxonomy_id": name, "fitted_at": fitted_at, "created_at": created_at, "method": "kmeans",
        "parameters": "{}", "n_texts": len(hashes), "n_clusters": 1, "unclustered_share": 0.0,
        "novel_share": 0.0, "embedding_fingerprint": "model",
    }  # fmt: skip
    cluster = {
        "taxonomy_id": name, "cluster_id": 0, "cluster_key": name, "label": label, "keywords": [""],
        "exemplars": [""], "size": len(hashes), "radius": 0.0,
    }  # fmt: skip
    with warehouse_of(settings).writer() as con:
        insert(con, "taxonomies", pl.DataFrame([taxonomy]))
        insert(con, "clusters", pl.DataFrame([cluster]))
        insert(
            con,
            "cluster_assignments",
            hashes.with_columns(taxonomy_id=pl.lit(name), cluster_id=0, similarity=1.0),
        )


def test_tasks_name_the_cluster_of_the_taxonomy_that_their_week_is_scored_under(
    settings: Settings,
) -> None:
    draw(settings)
    write_taxonomy(settings, "20261012-f", AS_OF, NOW, "before the refit of the same day")
    write_taxonomy(settings, "20261012-0", AS_OF, NOW + timedelta(hours=1), "of the week")
    later = AS_OF + timedelta(weeks=1)
    write_taxonomy(settings, "20261019-a", later, NOW + timedelta(hours=2), "of a later week")
    draw(settings)
    queued = read(settings, "SELECT DISTINCT cluster_key, cluster_label FROM annotation_queue")
    assert queued.rows() == [("20261012-0", "of the week")]


def test_the_newest_batch_is_told_with_what_waits(settings: Settings) -> None:
    draw(settings, BEFORE)
    draw(settings)
    say(settings, picks(settings).filter(batch_id="failures-20261012")["task_id"][:4].to_list())
    with warehouse_of(settings).reader() as con:
        assert newest_batch(con) == NewestBatch(
            batch_id="failures-20261012", as_of=AS_OF, size=15, waiting=11, waiting_of_all=26
        )


def test_drawing_again_changes_nothing(settings: Settings) -> None:
    draw(settings)
    before = everything(settings)
    draw(settings, at=NOW + timedelta(days=1))
    assert everything(settings) == before


def test_nothing_like_a_case_or_a_task_is_asked(settings: Settings) -> None:
    """Invented questions about one topic differ in a number or so: half of the topics are known."""
    settings = with_rules(settings, near=0.8)
    known = [{"input": f"how do i {topic} {n}"} for topic in TOPICS[:6] for n in range(60)]
    import_rows(settings, "evals", known, "suite")
    waiting = {"text": f"how do i {TOPICS[6]}", "text_hash": "t6"}
    with warehouse_of(settings).writer() as con:
        labels_arrived(con, settings, NOW)
        enqueue(con, tasks([waiting]))
    week = draw(settings)
    assert week.batch is not None
    assert week.batch.n_near_duplicates > 0
    cache = vector_cache(settings)
    vectors = cache.get(picks(settings)["text_hash"].to_list())
    asked = read(settings, "SELECT text_hash FROM eval_cases")["text_hash"].to_list()
    assert (vectors @ cache.get([*asked, "t6"]).T).max() < 0.8
    assert (vectors @ vectors.T - np.eye(len(vectors))).max() < 0.8


def test_a_batch_that_somebody_labels_stays_whatever_is_found_later(settings: Settings) -> None:
    draw(settings)
    say(settings, picks(settings)["task_id"][:1].to_list())
    before = everything(settings)[:3]
    with warehouse_of(settings).writer() as con:
        con.execute("DELETE FROM failure_signals WHERE signal = 'rephrase'")
    week = draw(settings)
    assert week.batch is None
    assert "begun to label" in str(week.note)
    assert everything(settings)[:3] == before


def test_an_unlabelled_batch_follows_the_signals_and_loses_no_label_that_comes_late(
    settings: Settings,
) -> None:
    draw(settings)
    first = set(picks(settings)["task_id"])
    with warehouse_of(settings).writer() as con:
        con.execute("DELETE FROM failure_signals WHERE signal = 'rephrase'")
    draw(settings)
    dropped = sorted(first - set(picks(settings)["task_id"]))
    status = dict(read(settings, "SELECT task_id, status FROM annotation_queue").iter_rows())
    assert dropped
    assert {status[name] for name in dropped} == {"superseded"}
    assert sum(value == "open" for value in status.values()) == 15
    say(settings, dropped)
    assert read(settings, "SELECT task_id FROM annotations").height == len(dropped)


def test_who_has_two_batches_waiting_is_asked_no_more(settings: Settings) -> None:
    settings = with_rules(settings, batch_size=5)
    asked = [{"text": f"q {n}", "text_hash": f"h{n}"} for n in range(11)]
    with warehouse_of(settings).writer() as con:
        enqueue(con, tasks(asked, purpose="failure", batch_id="failures-20260101"))
    week = draw(settings)
    assert week.batch is None
    assert "11 turns of earlier batches wait" in str(week.note)
    say(settings, ["task-0"])
    assert draw(settings).batch is not None


def test_older_weeks_are_measured_and_not_asked_about(settings: Settings) -> None:
    draw(settings)
    week = draw(settings, BEFORE)
    assert week.batch is None
    assert "newer batch" in str(week.note)
    rows = read(settings, "SELECT DISTINCT as_of FROM signal_precision ORDER BY as_of")
    assert rows["as_of"].to_list() == [BEFORE, AS_OF]


def test_a_week_without_a_signal_asks_nobody(settings: Settings) -> None:
    with warehouse_of(settings).writer() as con:
        con.execute("DELETE FROM failure_signals")
    week = draw(settings)
    assert week.batch is None
    assert "nobody is asked" in str(week.note)
    assert draw(settings, AS_OF + timedelta(weeks=5)).batch is None


def test_precision_is_measured_from_labels_as_they_are_known(settings: Settings) -> None:
    draw(settings)
    drawn = picks(settings)
    has = pl.col("signals").list.contains("thumbs_down")
    bad = drawn.filter(has)["task_id"].to_list()
    say(settings, bad)
    say(settings, drawn.filter(~has)["task_id"].to_list(), passed=True)
    draw(settings)
    draw(settings, BEFORE)
    found = read(settings, "SELECT * FROM signal_precision ORDER BY as_of, signal").to_dicts()
    by = {(row["as_of"], row["signal"]): row for row in found}
    assert by[AS_OF, "thumbs_down"]["precision"] == pytest.approx(1)
    assert by[AS_OF, "thumbs_down"]["n_labelled"] == len(bad)
    assert by[AS_OF, "none"]["precision"] == 0.0
    weight = 1 / drawn.filter(pl.col("signals").list.len() > 0)["inclusion_probability"]
    of_bad = 1 / drawn.filter(has)["inclusion_probability"]
    assert by[AS_OF, "any"]["precision"] == pytest.approx(of_bad.sum() / weight.sum())
    assert by[BEFORE, "any"]["n_labelled"] == 0
    assert by[BEFORE, "any"]["precision"] is None


def test_what_people_learnt_moves_the_next_batch(settings: Settings) -> None:
    draw(settings, BEFORE)
    with_signal = pl.col("signals").list.contains("thumbs_down")
    say(settings, picks(settings).filter(with_signal)["task_id"].to_list(), BEFORE)
    say(settings, picks(settings).filter(~with_signal)["task_id"].to_list(), BEFORE, passed=True)
    week = draw(settings)
    assert week.batch is not None
    weights = {row["signal"]: row["weight"] for row in week.batch.weights}
    assert weights["thumbs_down"] > 2 * weights["rephrase"]


def test_a_batch_is_recorded_whole_or_not_at_all(settings: Settings) -> None:
    warehouse = warehouse_of(settings)
    week = examine_week(warehouse, settings, AS_OF, NOW, ask=True)

    def record_half() -> None:
        with warehouse.writer() as con:
            record_week(con, AS_OF, week)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_half()
    assert everything(settings) == [[], [], [], []]


def test_of_several_weeks_in_one_run_only_the_last_asks_people(settings: Settings) -> None:
    weeks = [f"{as_of - timedelta(weeks=1):%Y-%m-%d}" for as_of in (BEFORE, AS_OF)]
    result = dg.materialize(
        [failure_batches],
        resources={"warehouse": warehouse_resource(settings), "settings": settings},
        tags={
            "dagster/asset_partition_range_start": weeks[0],
            "dagster/asset_partition_range_end": weeks[1],
        },
    )
    assert result.success
    batches = read(settings, "SELECT as_of FROM failure_batches")
    assert batches["as_of"].to_list() == [AS_OF]
    assert read(settings, "SELECT DISTINCT as_of FROM signal_precision").height == 2
