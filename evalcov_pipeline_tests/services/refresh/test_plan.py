"""A refresh of a scored home: what is drawn, what people see of it, who is asked, and when not."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.labels.queue import record_labels
from evalcov_pipeline.services.refresh.plan import Refresh, refresh
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import (
    LAST_WEEK,
    SCORES,
    TOPICS,
    cases,
    copied,
    filled_once,
    import_rows,
    score_week,
    turns,
)

NOW = datetime(2026, 11, 20, 9)


TESTED = 4
"""Topics of twelve that the suite of these tests knows."""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Six weeks of traffic about twelve topics and a suite about four, the last week scored."""

    def fill(settings: Settings) -> None:
        import_rows(settings, "traces", turns(), "traffic")
        known = [1.0] * TESTED + [0.0] * (len(TOPICS) - TESTED)
        import_rows(settings, "evals", cases(60, known), "suite")
        score_week(settings, LAST_WEEK)

    return filled_once(tmp_path_factory, "narrow", fill)


@pytest.fixture
def gappy(narrow: Settings, tmp_path: Path) -> Settings:
    """That home, to be changed."""
    return copied(narrow, tmp_path)


def plan(settings: Settings, **wanted: Any) -> Refresh:
    return refresh(
        warehouse_of(settings),
        settings,
        vector_cache(settings),
        **{"trigger": "manual", "created_at": NOW, "budget": 20, **wanted},
    )


def with_rules(settings: Settings, **rules: Any) -> Settings:
    return settings.model_copy(update={"refresh": settings.refresh.model_copy(update=rules)})


def tasks(settings: Settings) -> pl.DataFrame:
    with warehouse_of(settings).reader() as con:
        return frame(
            con,
            "SELECT q.*, c.pool, c.rank, c.session_id, c.inclusion_probability"
            " FROM annotation_queue q JOIN refresh_candidates c USING (task_id, plan_id)"
            " ORDER BY rank",
        )


def test_a_plan_queues_as_many_queries_as_asked_for(gappy: Settings) -> None:
    found = plan(gappy)
    queued = tasks(gappy)
    assert (found.is_new, found.waiting, len(found.candidates)) == (True, 20, 20)
    assert queued["status"].to_list() == ["open"] * 20
    assert queued["rank"].to_list() == list(range(1, 21))
    assert found.plan["jsd_projected"] < found.plan["jsd_before"]
    random = queued.filter(pl.col("pool") == "random")
    assert len(random) == 4
    assert random["inclusion_probability"].is_between(0, 1, closed="right").all()
    assert not random["designed"].any()
    purposive = queued.filter(pl.col("pool") != "random")
    assert purposive["inclusion_probability"].is_null().all()
    assert purposive["designed"].all()


def test_the_same_plan_is_drawn_again_from_the_same_home(gappy: Settings) -> None:
    first = plan(gappy).candidates["text_hash"].to_list()
    with warehouse_of(gappy).writer() as con:
        for table in ("refresh_plans", "refresh_candidates", "annotation_queue"):
            con.execute(f"DELETE FROM {table}")
    assert plan(gappy).candidates["text_hash"].to_list() == first


def test_a_later_turn_comes_with_what_was_said_before_it(gappy: Settings) -> None:
    plan(gappy, budget=60)
    queued = tasks(gappy)
    later = queued.filter(pl.col("turn_index") > 0)
    assert len(later) > 5
    for task in later.iter_rows(named=True):
        context = orjson.loads(task["context"])
        assert [message["role"] for message in context] == ["user", "assistant"] * task[
            "turn_index"
        ]
        assert task["answer"] == "Here is how."
    assert queued.filter(pl.col("turn_index") == 0)["context"].is_null().all()


def test_nothing_new_is_planned_while_people_are_still_at_it(gappy: Settings) -> None:
    first = plan(gappy)
    again = plan(gappy, created_at=NOW + timedelta(days=1))
    assert (again.is_new, again.plan["plan_id"]) == (False, first.plan["plan_id"])
    newer = plan(gappy, created_at=NOW + timedelta(days=1), replace=True)
    assert newer.is_new
    statuses = dict(tasks(gappy).group_by("plan_id").agg(pl.col("status").unique()).iter_rows())
    assert statuses == {first.plan["plan_id"]: ["superseded"], newer.plan["plan_id"]: ["open"]}


def test_what_people_kept_is_not_drawn_again_and_counts_in_the_keep_rate(gappy: Settings) -> None:
    plan(gappy)
    first = tasks(gappy)
    labels = [
        {"task_id": task, "rater": "ann", "keep": number < 5, "passed": True, "at": LAST_WEEK}
        for number, task in enumerate(first["task_id"])
    ]
    with warehouse_of(gappy).writer() as con:
        record_labels(con, labels, via="jsonl", recorded_at=NOW, redact_all=list)
    score_week(gappy, LAST_WEEK, groups=SCORES)
    second = plan(gappy, created_at=NOW + timedelta(days=1))
    kept = set(first["text_hash"][:5])
    assert second.is_new
    assert not kept & set(second.candidates["text_hash"])
    assert second.plan["keep_rate"] == pytest.approx((5 + 20 * 0.8) / (20 + 20))


def test_routes_and_floors_go_by_cluster_segment_and_category(gappy: Settings) -> None:
    with warehouse_of(gappy).reader() as con:
        key = con.execute(
            "SELECT cluster_key FROM cluster_coverage WHERE cluster_id = 0 LIMIT 1"
        ).fetchall()[0][0]
    routes = {"segment:tier=pro": "key accounts", f"cluster:{key}": "specialists"}
    floors = {"segment:tier=pro": 6, f"cluster:{key}": 3}
    plan(with_rules(gappy, routes=routes, floors=floors))
    queued = tasks(gappy)
    special = queued.filter(pl.col("route") == "specialists")
    assert set(special["cluster_key"]) == {key}
    assert len(special) >= 3
    assert set(queued["route"]) == {"specialists", "key accounts", "default"}
    pro = queued["session_id"].str.split("-").list.last().cast(pl.Int64) % 5 == 0
    assert pro.sum() >= 6


def test_no_session_and_no_user_is_asked_about_more_often_than_allowed(gappy: Settings) -> None:
    plan(with_rules(gappy, per_session=1, per_user=2, random_share=0.0), budget=25)
    queued = tasks(gappy)
    user = queued["session_id"].str.split("-").list.last()
    assert queued["session_id"].is_unique().all()
    assert user.value_counts()["count"].max() <= 2


def test_a_target_asks_for_no_more_cases_than_it_takes(gappy: Settings) -> None:
    far = plan(gappy, budget=None, target=0.03)
    assert far.plan["jsd_projected"] <= 0.03
    near = plan(gappy, budget=None, target=0.05, replace=True)
    assert near.plan["budget"] < far.plan["budget"]
    with pytest.raises(BadInput, match="there already"):
        plan(gappy, budget=None, target=0.9, replace=True)


def test_more_cases_than_traffic_has_texts_is_a_smaller_plan_with_the_reason(
    gappy: Settings,
) -> None:
    found = plan(with_rules(gappy, per_session=9, per_user=999), budget=5000)
    assert 0 < len(found.candidates) < 5000
    assert "no more new texts" in found.plan["note"]


def test_a_home_without_a_score_is_told_what_to_do(tmp_path: Any) -> None:
    with pytest.raises(BadInput, match="evalcov run weekly"):
        plan(Settings(home=tmp_path / "home"))


def test_personal_data_does_not_reach_the_queue(gappy: Settings) -> None:
    secret = "eve.miller@example.com"
    for file in (gappy.lake / "traces").rglob("*.parquet"):
        rows = pl.read_parquet(file)
        rows = rows.with_columns(
            pl.col("query_text") + f" {secret}", pl.col("answer_text") + f" {secret}"
        )
        rows.write_parquet(file)
    plan(gappy)
    queued = tasks(gappy)
    assert queued["text"].str.contains("<EMAIL>", literal=True).all()
    publish(gappy)
    with duckdb.connect(gappy.published, read_only=True) as con:
        for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            for row in con.execute(f"SELECT * FROM {table}").fetchall():
                assert secret not in str(row)


def test_where_every_query_is_a_case_already_only_whole_sessions_are_asked_for(
    gappy: Settings,
) -> None:
    with warehouse_of(gappy).reader() as con:
        texts = frame(con, "SELECT DISTINCT text FROM trace_sample JOIN texts USING (text_hash)")
    suite = [{"input": text, "created_at": "2026-10-01"} for text in texts["text"]]
    import_rows(gappy, "evals", suite, "everything")
    score_week(gappy, LAST_WEEK, groups=SCORES)
    found = plan(gappy)
    assert "Nothing to add" in found.plan["note"]
    assert set(found.candidates["unit"]) == {"session"}
    none = plan(with_rules(gappy, session_share=0.0), replace=True)
    assert (none.is_new, none.waiting, len(none.candidates)) == (True, 0, 0)
    assert plan(gappy, created_at=NOW + timedelta(days=1)).is_new
