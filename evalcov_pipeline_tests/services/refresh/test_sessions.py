"""Whole sessions in a refresh: drawn, shown with their tools, kept as cases, and scored again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from evalcov_pipeline.core.traffic.turns import MOST_TURNS_BEFORE
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.proposals import waiting_tasks
from evalcov_pipeline.services.labels.queue import record_labels
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import (
    FIRST_DAY,
    LAST_WEEK,
    SCORES,
    TOPICS,
    cases,
    copied,
    filled_once,
    import_rows,
    question,
    score_week,
)
from evalcov_pipeline_tests.services.refresh.test_plan import NOW, plan, with_rules

KINDS: Mapping[str, tuple[float, list[list[str]], str | None]] = {
    "asks": (0.6, [["search"]], "success"),
    "books": (0.25, [["search"], ["book"], ["pay"]], "success"),
    "gives up": (0.14, [["search"], ["book"], ["search", "book"], ["cancel"]], "abandoned"),
    "talks on": (0.01, [["search"]] * 24, None),
}
"""Share of the sessions, tools of each turn, and outcome."""


def traffic() -> list[dict[str, Any]]:
    """Six weeks of sessions of four kinds; a third of the repeated bookings fails."""
    rng = np.random.default_rng(0)
    shares = [share for share, _, _ in KINDS.values()]
    rows = []
    for day in range(42):
        for number in range(12):
            kind = str(rng.choice(list(KINDS), p=shares))
            _, tools, outcome = KINDS[kind]
            topic = int(rng.integers(len(TOPICS)))
            at = FIRST_DAY + timedelta(days=day, seconds=int(rng.integers(80_000)))
            for turn, called in enumerate(tools):
                last = turn == len(tools) - 1
                failed = called == ["search", "book"] and rng.random() < 1 / 3
                rows.append(
                    {
                        "trace_id": f"t-{day}-{number}-{turn}",
                        "session_id": f"{kind}-{day}-{number}",
                        "user_id": f"u-{number}",
                        "started_at": (at + timedelta(seconds=40 * turn)).isoformat() + "Z",
                        "query_text": question(topic, rng),
                        "answer_text": f"Step {turn} is done.",
                        "tool_calls": called,
                        "tool_failures": int(failed),
                        "outcome": outcome if last else None,
                    }
                )
    return rows


@pytest.fixture(scope="module")
def of_single_turns(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """That traffic and a suite of single turns about half of its topics, the last week scored."""

    def fill(settings: Settings) -> None:
        import_rows(settings, "traces", traffic(), "traffic")
        known = [1.0] * 6 + [0.0] * (len(TOPICS) - 6)
        import_rows(settings, "evals", cases(60, known), "suite")
        score_week(settings, LAST_WEEK)

    return filled_once(tmp_path_factory, "single-turns", fill)


@pytest.fixture
def home(of_single_turns: Settings, tmp_path: Path) -> Settings:
    """That home, to be changed."""
    return copied(of_single_turns, tmp_path)


def rows(settings: Settings, query: str, *parameters: Any) -> pl.DataFrame:
    with warehouse_of(settings).reader() as con:
        return frame(con, query, list(parameters))


def asked(settings: Settings) -> pl.DataFrame:
    return rows(
        settings,
        "SELECT q.*, unit, session_cluster_key, pool, rank, session_id FROM annotation_queue q"
        " JOIN refresh_candidates c USING (task_id, plan_id) ORDER BY rank",
    )


def label(settings: Settings) -> None:
    """Everything is kept; production passed where a whole session is asked about."""
    labels = [
        {"task_id": task, "rater": "ann", "keep": True, "passed": unit == "session", "at": NOW}
        for task, unit in asked(settings).select("task_id", "unit").iter_rows()
    ]
    with warehouse_of(settings).writer() as con:
        record_labels(con, labels, via="jsonl", recorded_at=NOW, redact_all=list)


def test_nothing_is_suggested_for_a_whole_session_by_its_last_query(home: Settings) -> None:
    plan(home)
    with warehouse_of(home).reader() as con:
        waiting = {task.task_id for task in waiting_tasks(con)}
    assert waiting == set(asked(home).filter(unit="query")["task_id"]) != set()


def test_a_quarter_of_the_plan_is_whole_sessions_while_a_suite_of_single_turns_misses_them(
    home: Settings,
) -> None:
    found = plan(home)
    assert (found.plan["n_candidates"], found.plan["n_sessions"]) == (20, 5)
    assert found.plan["note"].startswith("5 of 20 cases are whole sessions")
    assert found.plan["session_jsd_projected"] < found.plan["session_jsd_before"] - 0.05
    targets = pl.DataFrame(orjson.loads(found.plan["targets"]), infer_schema_length=None)
    assert dict(targets.group_by("unit").agg(pl.sum("cases")).iter_rows()) == {
        "query": 15,
        "session": 5,
    }
    whole = asked(home).filter(unit="session")
    assert whole["session_cluster_key"].null_count() == 0
    assert whole["text_hash"].is_unique().all()
    purposive = whole.filter(pl.col("pool") != "random")
    assert purposive["designed"].all()
    single = asked(home).filter(unit="query")
    assert single["session_cluster_key"].null_count() == len(single) == 15
    assert not set(single["session_id"]) & set(whole["session_id"])


def test_people_see_the_whole_conversation_with_the_tools_that_it_called(home: Settings) -> None:
    plan(with_rules(home, context="query"))
    for task in asked(home).iter_rows(named=True):
        kind = task["session_id"].split("-")[0]
        tools = KINDS[kind][1]
        if task["unit"] == "query":
            assert task["context"] is None
            continue
        messages = orjson.loads(task["context"] or "[]")
        called = [message["tool_calls"] for message in messages if "tool_calls" in message]
        assert called == tools[:-1][-MOST_TURNS_BEFORE:]
        assert task["tools"] == tools[-1]
        assert task["outcome"] == KINDS[kind][2]
        assert [m["role"] for m in messages if m["role"] != "tool"].count("user") == len(called)


def test_nothing_untested_leaves_the_whole_plan_to_queries(home: Settings) -> None:
    with warehouse_of(home).writer() as con:
        con.execute("UPDATE session_coverage SET status = 'covered'")
        con.execute("UPDATE sequence_coverage SET status = 'covered'")
    found = plan(home)
    assert found.plan["n_sessions"] == 0
    assert set(found.candidates["unit"]) == {"query"}
    assert found.plan["session_jsd_projected"] is not None


def test_without_a_share_for_sessions_or_a_score_of_them_queries_are_drawn_alone(
    home: Settings,
) -> None:
    assert plan(with_rules(home, session_share=0.0)).plan["n_sessions"] == 0
    with warehouse_of(home).writer() as con:
        con.execute("DELETE FROM session_scores")
    found = plan(home, replace=True)
    assert (found.plan["n_sessions"], found.plan["n_candidates"]) == (0, 20)
    assert found.plan["session_jsd_before"] is None


def test_a_target_is_met_with_the_sessions_counted(home: Settings) -> None:
    found = plan(with_rules(home, per_user=99), budget=None, target=0.02)
    assert found.plan["n_sessions"] > 0
    assert found.plan["jsd_projected"] <= 0.02
    assert found.plan["budget"] == found.plan["n_candidates"]


def test_a_long_session_is_cut_at_the_front_and_says_so(home: Settings) -> None:
    with warehouse_of(home).writer() as con:
        con.execute(
            "UPDATE session_features SET steady_weight = CASE WHEN n_turns > 21"
            " THEN steady_weight * 1000 ELSE steady_weight / 1000 END"
        )
    plan(home, budget=40)
    cut = asked(home).filter(pl.col("session_id").str.starts_with("talks on"), unit="session")
    assert len(cut) > 0
    for task in cut.iter_rows(named=True):
        assert task["reason"].endswith("of its 24 turns the last 21 are shown")
        messages = orjson.loads(task["context"])
        assert len([m for m in messages if m["role"] == "user"]) == MOST_TURNS_BEFORE


def test_kept_sessions_become_cases_of_their_own_kind_and_the_score_of_sessions_comes_down(
    home: Settings,
) -> None:
    drawn = plan(home).plan
    whole = asked(home).filter(unit="session")
    label(home)
    score_week(home, LAST_WEEK, groups=SCORES)
    suite = rows(home, "SELECT * FROM eval_cases WHERE plan_id = ?", drawn["plan_id"])
    merged = whole.with_columns(case_id="prod-" + pl.col("task_id")).join(
        suite, on="case_id", how="inner", suffix="_of_case"
    )
    assert len(merged) == len(whole)
    assert (merged["expected_tools"] == merged["tools"]).all(), "production passed"
    failed = suite.filter(~pl.col("case_id").is_in(merged["case_id"].to_list()))
    assert failed["expected_tools"].null_count() == len(failed) > 0
    assert merged["outcome"].eq_missing(merged["outcome_of_case"]).all()
    assert (merged["n_turns"] == 1 + merged["turn_index"].clip(upper_bound=20)).all()

    week = LAST_WEEK + timedelta(days=7)
    where = "USING (session_hash, as_of) WHERE as_of = ?"
    cluster = "SELECT {} AS name, cluster_id FROM {} JOIN session_assignments " + where
    now = rows(home, cluster.format("case_id", "case_features"), week)
    before = rows(home, cluster.format("session_id", "session_features"), week)
    same = (
        merged.filter(pl.col("turn_index") <= MOST_TURNS_BEFORE)
        .join(now, left_on="case_id", right_on="name", suffix="_now")
        .join(before, left_on="session_id", right_on="name", suffix="_before")
    )
    assert len(same) > 0
    assert (same["cluster_id_now"] == same["cluster_id_before"]).all()

    score = rows(home, "SELECT * FROM session_scores WHERE headline").to_dicts()[0]
    done = rows(home, "SELECT * FROM refresh_plans").to_dicts()[0]
    assert done["session_jsd_after"] == score["jsd_adjusted"] < drawn["session_jsd_before"] - 0.05
    assert done["session_jsd_after"] == pytest.approx(drawn["session_jsd_projected"], abs=0.05)
    assert done["after_as_of"] == week
    assert done["jsd_after"] is not None
