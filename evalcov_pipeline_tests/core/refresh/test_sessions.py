"""Whole sessions of a refresh: which are drawn, what they walk, and with which probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.refresh.plan import Placement, RefreshInputs, RefreshRules, place_cases
from evalcov_pipeline.core.refresh.sessions import (
    SessionCandidates,
    SessionDraw,
    draw_sessions,
    find_sessions,
    walks,
)
from evalcov_pipeline.core.statistics.shares import production_shares

STEPS = ["search", "book", "pay", "cancel"]
PATHS = pl.DataFrame(
    {
        "ngram": ["book > cancel", "pay > search > $", "^ > cancel"],
        "label": ["book → cancel", "pay → search → end", "start → cancel"],
        "production_share": [0.10, 0.06, 0.02],
    }
)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sessions(
    walked: list[list[str]], *, clusters: list[int] | None = None, **columns: Any
) -> pl.DataFrame:
    n = len(walked)
    return pl.DataFrame(
        {
            "session_hash": [f"h{i:04d}" for i in range(n)],
            "cluster_id": clusters or [0] * n,
            "text_hash": [f"t{i:04d}" for i in range(n)],
            "user_id": pl.Series([None] * n, dtype=pl.String),
            "n_turns": [len(steps) for steps in walked],
            "steady_weight": [1 / n] * n,
            **columns,
        }
    )


def candidates(
    walked: list[list[str]],
    rows: pl.DataFrame | None = None,
    vectors: np.ndarray | None = None,
    cases: tuple[str, ...] = (),
    paths: pl.DataFrame = PATHS,
) -> SessionCandidates:
    rng = np.random.default_rng(0)
    points = unit(rng.normal(size=(len(walked), 16))) if vectors is None else vectors
    return find_sessions(
        sessions(walked) if rows is None else rows,
        points,
        cases,
        np.empty((0, points.shape[1])),
        paths,
        walks(walked, paths["ngram"].to_list()),
    )


def plan(found: SessionCandidates, cases: int, *, random_share: float = 0.0) -> Placement:
    ids = sorted(set(found.rows["cluster_id"]))
    counts = [found.rows.filter(cluster_id=i)["steady_weight"].sum() for i in ids]
    rng = np.random.default_rng(1)
    clusters = pl.DataFrame(
        {
            "cluster_id": ids,
            "cluster_key": [f"s{i}" for i in ids],
            "label": [f"kind {i}" for i in ids],
            "status": ["gap"] * len(ids),
            "stale": [False] * len(ids),
            "eval_cases": [0] * len(ids),
            "designed": [0] * len(ids),
        }
    ).join(found.offered(), on="cluster_id", how="left", maintain_order="left")
    sampled = rng.multinomial(1, np.array(counts) / sum(counts), 400)
    return place_cases(
        RefreshInputs(
            clusters.with_columns(pl.col("texts", "weight").fill_null(0)),
            production_shares(sampled, np.zeros(400), rng, 99),
        ),
        cases,
        RefreshRules(random_share=random_share),
    )


def drawn(
    found: SessionCandidates,
    cases: int,
    *,
    keep_rate: float = 0.8,
    per_user: int | None = None,
    random_share: float = 0.0,
    seed: int = 0,
) -> SessionDraw:
    return draw_sessions(
        plan(found, cases, random_share=random_share),
        found,
        keep_rate=keep_rate,
        per_user=per_user,
        rng=np.random.default_rng(seed),
    )


def traffic(n: int, seed: int = 0) -> list[list[str]]:
    """Sessions that search, book and pay; one in twenty takes an odd turn."""
    rng = np.random.default_rng(seed)
    odd = [["search", "book", "cancel"], ["search", "pay", "search"], ["cancel", "pay"]]
    usual = [["search", "book", "pay"], ["search", "book"], ["search", "search"]]
    return [
        odd[rng.integers(3)] if rng.random() < 0.05 else usual[rng.integers(3)] for _ in range(n)
    ]


def test_a_session_walks_the_paths_that_its_steps_with_start_and_end_contain():
    found = walks([["book", "cancel"], ["cancel", "book"], ["pay", "search"], []], PATHS["ngram"])
    assert found.tolist() == [
        [True, False, False],
        [False, False, True],
        [False, True, False],
        [False, False, False],
    ]


def test_purposive_picks_walk_the_untested_paths_that_random_sessions_miss():
    walked = traffic(400)
    found = candidates(walked)
    draw = drawn(found, 3)
    assert draw.n_walked == 3
    first = draw.picks["reason"][0]
    assert first == "10.0% of sessions go book → cancel, which no case walks"
    by_chance = [
        found.walks[np.random.default_rng(seed).choice(400, 3, replace=False)].any(axis=0).sum()
        for seed in range(50)
    ]
    assert np.mean(by_chance) < 1


def test_every_path_is_walked_once_before_the_most_travelled_is_walked_again():
    walked = [["book", "cancel"]] * 4 + [["pay", "search"]] * 4
    found = candidates(walked)
    assert drawn(found, 2).n_walked == 2
    four = drawn(found, 4).picks["session_hash"].to_list()
    most_travelled = [name < "h0004" for name in four]
    assert most_travelled == [True, False, True, False], ".06 * .2 is more than .1 * .2 * .2"


def test_one_session_that_walks_two_paths_goes_before_those_that_walk_one():
    walked = [["book", "cancel"], ["pay", "search"], ["book", "cancel", "pay", "search"]]
    draw = drawn(candidates(walked), 1)
    assert draw.picks["session_hash"].to_list() == ["h0002"]
    assert draw.n_walked == 2


def test_the_draw_follows_the_plan_and_repeats_neither_a_case_nor_a_session_nor_a_query():
    rng = np.random.default_rng(3)
    walked = traffic(300)
    rows = sessions(
        walked,
        clusters=rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05]).tolist(),
        text_hash=[f"t{i}" for i in rng.integers(0, 80, 300)],
    )
    cases = tuple(rows["session_hash"][:100])
    found = candidates(walked, rows, cases=cases, paths=PATHS.clear())
    placed = plan(found, 20, random_share=0.2)
    picks = drawn(found, 20, random_share=0.2).picks
    assert picks.height == placed.n_cases == 20
    assert not set(picks["session_hash"]) & set(cases)
    assert picks["session_hash"].is_unique().all()
    assert picks["text_hash"].is_unique().all()
    assert picks.filter(pool="random").height == placed.n_random == 4
    purposive = picks.filter(pl.col("inclusion_probability").is_null())
    counts = dict(purposive["cluster_id"].value_counts().iter_rows())
    asked = {ids[0]: n for ids, n in placed.units.select("cluster_ids", "cases").iter_rows() if n}
    assert counts == asked


def test_without_untested_paths_picks_are_typical_of_what_has_no_case_yet():
    rng = np.random.default_rng(5)
    centres = np.linalg.qr(rng.normal(size=(16, 16)))[0][:2]
    kind = np.array([0] * 60 + [1] * 40)
    vectors = unit(centres[kind] + 0.3 * rng.normal(size=(100, 16)))
    vectors[7], vectors[77] = centres[0], centres[1]
    found = candidates([["search"] * 2] * 100, vectors=vectors, paths=PATHS.clear())
    picks = drawn(found, 2).picks
    assert set(picks["session_hash"]) == {"h0007", "h0077"}
    assert "under-covered (gap): no cases for 100.0% of sessions" in picks["reason"][0]


def test_random_sessions_are_drawn_as_often_as_their_probability_says():
    rng = np.random.default_rng(8)
    walked = traffic(30)
    weight = rng.pareto(1.5, 30) + 0.1
    rows = sessions(
        walked,
        clusters=rng.integers(0, 3, 30).tolist(),
        text_hash=[f"t{i}" for i in rng.integers(0, 15, 30)],
        steady_weight=weight / weight.sum(),
    )
    found = candidates(walked, rows, cases=("h0003",))
    placed = plan(found, 5, random_share=1.0)
    times, stated, seeds = dict.fromkeys(rows["session_hash"], 0), {}, 1500
    for seed in range(seeds):
        draw = draw_sessions(
            placed, found, keep_rate=0.8, per_user=None, rng=np.random.default_rng(seed)
        )
        assert draw.picks.height == 5
        for name, p in draw.picks.select("session_hash", "inclusion_probability").iter_rows():
            times[name] += 1
            assert stated.setdefault(name, pytest.approx(p)) == p
    assert times["h0003"] == 0
    for name, p in stated.items():
        spread = np.sqrt(p.expected * (1 - p.expected) / seeds)
        assert abs(times[name] / seeds - p.expected) <= 4.5 * spread + 1e-9


def test_no_user_is_asked_about_more_often_than_allowed():
    walked = traffic(200)
    users = [f"u{i % 4}" if i % 2 else None for i in range(200)]
    found = candidates(walked, sessions(walked, user_id=users))
    picks = drawn(found, 12, per_user=2).picks.join(found.rows, on="session_hash")
    assert picks.height == 12
    assert picks["user_id"].drop_nulls().value_counts()["count"].max() <= 2


def test_untested_paths_are_walked_even_where_the_plan_places_cases_elsewhere():
    walked = [["search", "book"]] * 90 + [["book", "cancel"]] * 10
    found = candidates(walked, sessions(walked, clusters=[0] * 90 + [1] * 10))
    placed = plan(found, 1)
    asked = dict(placed.units.select("unit", "cases").iter_rows())
    assert asked == {"s0": 1, "s1": 0}
    draw = drawn(found, 1)
    assert draw.n_walked == 1
    assert draw.picks["cluster_id"].to_list() == [1]


def test_a_single_turn_is_left_to_the_plan_for_queries():
    found = candidates([["cancel"]] * 5 + [["search", "book"]])
    assert found.offered()["texts"].to_list() == [1]
    assert drawn(found, 3).picks["session_hash"].to_list() == ["h0005"]


def test_what_cannot_be_drawn_is_said():
    walked = traffic(40)
    rows = sessions(walked, user_id=["u"] * 40)
    draw = drawn(candidates(walked, rows), 5, per_user=2)
    assert draw.picks.height == 2
    assert draw.reasons[0].startswith("3 planned sessions could not be drawn")


def test_a_session_that_is_too_long_to_show_says_that_it_is_cut():
    walked = [["search"] * 34]
    picks = drawn(candidates(walked), 1).picks
    assert picks["reason"][0].endswith("of its 34 turns the last 21 are shown")


def test_the_order_of_rows_does_not_matter():
    walked = traffic(150)
    rows, points = sessions(walked), unit(np.random.default_rng(0).normal(size=(150, 16)))
    order = np.random.default_rng(2).permutation(150)
    results = [
        drawn(
            candidates([walked[i] for i in places], rows[places], points[places]),
            10,
            random_share=0.3,
        ).picks
        for places in (np.arange(150), order)
    ]
    assert results[0].equals(results[1])
