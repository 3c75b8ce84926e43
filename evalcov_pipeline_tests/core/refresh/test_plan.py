"""Refresh: where new cases go, which texts become them, and with which probability."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalcov_pipeline.core.coverage.divergence import apportion_within, jsd
from evalcov_pipeline.core.refresh import candidates as candidates_module
from evalcov_pipeline.core.refresh.candidates import find_candidates
from evalcov_pipeline.core.refresh.plan import (
    RefreshInputs,
    RefreshRules,
    cases_to_reach,
    plan_refresh,
)
from evalcov_pipeline.core.refresh.queries import DrawRules, draw_cases
from evalcov_pipeline.core.statistics.pps import inclusion_probabilities, systematic_draw
from evalcov_pipeline.core.statistics.quotas import Floor
from evalcov_pipeline.core.statistics.shares import production_shares
from evalcov_pipeline.core.statistics.similarity import ALIKE

SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.06, 0.003, 0.002, 0.035])
"""Seven clusters, two of them below 0.5 %, and novel traffic."""
KEYS = [f"c{cluster}" for cluster in range(7)] + ["novel"]
IDS = [*range(7), -1]
CASES = np.array([40, 30, 0, 20, 0, 0, 0, 0])
STATUS = ["covered", "covered", "liability", "covered", "undecidable", "gap", "undecidable"]
PLAN_RULES, DRAW_RULES = RefreshRules(), DrawRules()
CENTRES = np.random.default_rng(0).normal(size=(8, 32))


def traffic(n: int, seed: int = 0, spread: float = 0.8):
    """Distinct texts by cluster, with their vectors."""
    rng = np.random.default_rng(seed)
    place = rng.choice(8, n, p=SHARES)
    vectors = CENTRES[place] + spread * rng.normal(size=(n, 32))
    frame = pl.DataFrame(
        {
            "text_hash": [f"{text:06x}" for text in rng.permutation(n)],
            "cluster_id": np.array(IDS)[place],
            "steady_weight": rng.integers(1, 6, n) / 1000,
            "gap_score": rng.random(n),
            "signal": np.where(rng.random(n) < 0.1, rng.random(n), 0.0),
            "session_id": [f"s{text // 3}" for text in range(n)],
            "user_id": [f"u{text // 40}" if text % 2 else None for text in range(n)],
            "tier": np.where(rng.random(n) < 0.05, "enterprise", "free"),
        }
    )
    return frame, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def suite(seed: int = 99) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = np.repeat(CENTRES, CASES, axis=0) + 0.8 * rng.normal(size=(CASES.sum(), 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def found(n: int = 600, seed: int = 0, spread: float = 0.8, cases: np.ndarray | None = None):
    frame, vectors = traffic(n, seed, spread)
    there = suite() if cases is None else cases
    return find_candidates(frame, vectors, there, np.random.default_rng(1))


def inputs_for(offered: pl.DataFrame, cases: np.ndarray = CASES) -> RefreshInputs:
    rng = np.random.default_rng(5)
    sessions = rng.multinomial(2, SHARES, size=1500)
    clusters = pl.DataFrame(
        {
            "cluster_id": IDS,
            "cluster_key": KEYS,
            "label": [f"topic {key}" for key in KEYS],
            "status": [*STATUS, "novel"],
            "stale": [key == "c3" for key in KEYS],
            "eval_cases": cases,
            "designed": np.zeros(8, int),
        }
    ).join(offered, on="cluster_id", how="left", maintain_order="left")
    return RefreshInputs(
        clusters.with_columns(pl.col("texts", "weight").fill_null(0)),
        production_shares(sessions, rng.integers(0, 30, 1500), rng, 199),
    )


def planned(candidates, budget=40, rules=PLAN_RULES, seed=3, cases=CASES):
    inputs = inputs_for(candidates.offered(), cases)
    return plan_refresh(inputs, budget, rules, np.random.default_rng(seed))


def drawn(plan, candidates, rules=DRAW_RULES, seed=4):
    return draw_cases(plan, candidates, rules, np.random.default_rng(seed))


def chosen(draw) -> pl.DataFrame:
    return draw.picks.filter(~pl.col("spare"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bounded_apportionment_is_as_good_as_brute_force(data):
    k = data.draw(st.integers(2, 4))
    weights = np.array(data.draw(st.lists(st.integers(1, 20), min_size=k, max_size=k)), float)
    p = weights / weights.sum()
    start = np.array(data.draw(st.lists(st.floats(0, 6), min_size=k, max_size=k)))
    most = np.array(data.draw(st.lists(st.integers(0, 5), min_size=k, max_size=k)))
    least = np.array([data.draw(st.integers(0, int(cap))) for cap in most])
    n = data.draw(st.integers(int(least.sum()), int(most.sum())))
    if n == 0:
        return
    allowed = [
        np.array(added)
        for added in product(*(range(low, high + 1) for low, high in zip(least, most, strict=True)))
        if sum(added) == n
    ]

    def divergence(added):
        return jsd(p, (start + added) / (start + added).sum())

    placed = apportion_within(p, n, start, least, most)
    assert placed.sum() == n
    assert (placed >= least).all()
    assert (placed <= most).all()
    assert divergence(placed) == pytest.approx(min(map(divergence, allowed)), abs=1e-12)


def test_floors_beyond_the_budget_leave_it_whole():
    p = np.full(4, 0.25)
    placed = apportion_within(p, 3, np.zeros(4), np.full(4, 2), np.full(4, 9))
    assert placed.sum() == 3


def test_under_covered_units_meet_their_floor_and_small_clusters_are_one_unit():
    plan = planned(found(), rules=RefreshRules(floor=3))
    units = {row["unit"]: row for row in plan.units.iter_rows(named=True)}
    assert units["edge"]["cluster_ids"] == [5, 6]
    assert units["c2"]["pool"] == "cluster"
    assert units["c4"]["pool"] == "cluster"
    assert units["novel"]["pool"] == "novel"
    assert all(
        units[unit]["cases"] >= min(3, units[unit]["texts"]) for unit in ("c2", "c4", "edge")
    )
    assert units["c2"]["cases"] > units["c4"]["cases"]
    assert units["c3"]["cases"] >= 1, "a stale cluster is watched first"
    assert plan.n_cases == 40
    assert plan.n_random == 8
    assert plan.reasons == ()


def test_a_floor_of_its_own_keeps_a_small_cluster_out_of_the_pool():
    plan = planned(found(2000), rules=RefreshRules(cluster_floors={"c5": 2, "c0": 4}))
    cases = dict(plan.units.select("unit", "cases").iter_rows())
    assert cases["c5"] >= 2
    assert cases["c0"] >= 4
    assert plan.units.filter(unit="edge")["cluster_ids"].to_list() == [[6]]


def test_more_cases_are_projected_to_come_nearer_and_a_target_is_met_by_the_least_budget():
    candidates = found()
    plan = planned(candidates)
    curve = plan.curve["jsd_projected"].to_list()
    assert plan.jsd_before == curve[0]
    assert plan.jsd_projected < plan.jsd_before - 0.05
    assert curve[-1] < curve[1]

    inputs = inputs_for(candidates.offered())
    reach = cases_to_reach(inputs, 0.05, RefreshRules(), np.random.default_rng(3))
    assert reach.jsd_projected <= 0.05
    assert planned(candidates, reach.cases).jsd_projected <= 0.05
    assert planned(candidates, max(1, reach.cases // 2)).jsd_projected > 0.05


def test_rejected_cases_are_made_up_for_by_asking_for_more():
    inputs = inputs_for(found().offered())
    needed = [
        cases_to_reach(inputs, 0.05, RefreshRules(keep_rate=rate), np.random.default_rng(3)).cases
        for rate in (1.0, 0.5)
    ]
    assert 1.5 * needed[0] < needed[1] < 2.7 * needed[0]


def test_a_target_beyond_what_traffic_offers_is_refused_with_a_reason():
    few = find_candidates(
        traffic(600)[0].head(20), traffic(600)[1][:20], suite(), np.random.default_rng(1)
    )
    reach = cases_to_reach(
        inputs_for(few.offered()), 0.001, RefreshRules(), np.random.default_rng(0)
    )
    assert reach.cases is None
    assert "out of reach" in reach.reason


def test_a_suite_that_is_there_needs_no_case():
    reach = cases_to_reach(
        inputs_for(found().offered()), 0.9, RefreshRules(), np.random.default_rng(0)
    )
    assert reach.cases == 0


def test_a_budget_beyond_the_traffic_shrinks_and_every_text_is_drawn_once():
    candidates = found(60)
    plan = planned(candidates, budget=500)
    offered = int(candidates.rows["is_new"].sum())
    assert plan.n_cases == offered < 500
    assert "traffic offers no more" in plan.reasons[0]
    picks = chosen(drawn(plan, candidates))
    assert picks.height == picks["text_hash"].n_unique() == offered


def test_where_every_text_is_a_case_already_nothing_is_asked_for():
    frame, vectors = traffic(100)
    candidates = find_candidates(frame, vectors, vectors, np.random.default_rng(1))
    plan = planned(candidates)
    assert plan.n_cases == 0
    assert "Nothing to add" in plan.reasons[0]
    assert plan.jsd_projected == plan.jsd_before
    assert drawn(plan, candidates).picks.is_empty()


def test_a_window_without_texts_asks_for_nothing():
    nothing = find_candidates(
        traffic(10)[0].clear(), np.empty((0, 32), np.float32), suite(), np.random.default_rng(1)
    )
    plan = planned(nothing)
    assert plan.n_cases == 0
    assert drawn(plan, nothing).picks.is_empty()


def test_a_suite_without_cases_is_planned_from_nothing():
    candidates = found(cases=np.empty((0, 32)))
    plan = planned(candidates, cases=np.zeros(8, int))
    assert plan.jsd_before is None
    assert plan.jsd_projected < 0.1
    assert chosen(drawn(plan, candidates)).height == 40


def test_the_draw_follows_the_plan_and_no_two_cases_are_alike():
    frame, vectors = traffic(2000, spread=0.25)
    cases = suite()
    candidates = find_candidates(frame, vectors, cases, np.random.default_rng(1))
    assert candidates.rows["is_new"].sum() < 1500, "the test needs near-duplicates"
    plan = planned(candidates)
    draw = drawn(plan, candidates)
    place = {text: index for index, text in enumerate(frame["text_hash"])}
    picked = vectors[[place[text] for text in draw.picks["text_hash"]]]
    everything = np.vstack([picked, cases])
    cosine = everything @ everything.T
    assert (cosine - np.eye(len(cosine)))[: len(picked)].max() < ALIKE

    purposive = chosen(draw).filter(pl.col("inclusion_probability").is_null())
    counts = dict(purposive["unit"].value_counts().iter_rows())
    asked = {unit: n for unit, n in plan.units.select("unit", "cases").iter_rows() if n}
    assert counts == asked
    assert chosen(draw).filter(pool="random").height == plan.n_random
    assert draw.reasons == ()


def test_texts_stand_for_their_near_duplicates():
    rng = np.random.default_rng(0)
    heads = np.linalg.qr(rng.normal(size=(32, 32)))[0][:5]
    vectors = np.repeat(heads, 3, axis=0) + 0.002 * rng.normal(size=(15, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frame = traffic(15)[0].with_columns(steady_weight=pl.Series([1.0, 2.0, 3.0] * 5))
    candidates = find_candidates(frame, vectors, heads[:1], np.random.default_rng(0))
    new = candidates.rows.filter("is_new")
    assert new["steady_weight"].to_list() == [3.0] * 4, "the heaviest stands for its likes"
    assert new["weight"].to_list() == [6.0] * 4
    assert candidates.offered()["weight"].sum() == 24.0


def test_the_order_of_rows_does_not_matter():
    frame, vectors = traffic(500)
    order = np.random.default_rng(8).permutation(500)
    results = []
    for rows in (np.arange(500), order):
        candidates = find_candidates(frame[rows], vectors[rows], suite(), np.random.default_rng(1))
        plan = planned(candidates)
        results.append((plan.units, drawn(plan, candidates).picks))
    assert results[0][0].equals(results[1][0])
    assert results[0][1].equals(results[1][1])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), st.integers(0, 35))
def test_probabilities_sum_to_the_draws_and_are_proportional_below_one(sizes, n):
    probability = inclusion_probabilities(sizes, n)
    assert probability.sum() == pytest.approx(min(n, len(sizes)))
    assert (probability <= 1).all()
    below = probability < 1
    ratio = probability[below] / np.array(sizes)[below]
    assert ratio == pytest.approx(np.full(below.sum(), ratio.mean() if below.any() else 0))


def test_systematic_draws_occur_as_often_as_their_probability_says():
    rng = np.random.default_rng(0)
    probability = inclusion_probabilities(rng.pareto(1.5, 40) + 0.1, 8)
    times = np.zeros(40)
    for _ in range(4000):
        picked = systematic_draw(probability, rng.permutation(40), rng)
        assert len(set(picked.tolist())) == 8
        times[picked] += 1
    error = (times / 4000 - probability) / np.sqrt(probability * (1 - probability) / 4000 + 1e-9)
    assert np.abs(error).max() < 4


def test_random_picks_occur_as_often_as_their_probability_says(monkeypatch):
    monkeypatch.setattr("evalcov_pipeline.core.coverage.cells.PARTITIONS", 1)
    candidates = found(60)
    plan = planned(candidates, budget=30, rules=RefreshRules(random_share=0.4))
    seeds, stated = 500, {}
    times = dict.fromkeys(candidates.rows["text_hash"], 0)
    for seed in range(seeds):
        picks = drawn(plan, candidates, DrawRules(spare_share=0), seed).picks
        random = picks.filter(pl.col("pool") == "random")
        assert random.height == plan.n_random == 12
        for text, probability in random.select("text_hash", "inclusion_probability").iter_rows():
            times[text] += 1
            assert stated.setdefault(text, probability) == probability
    assert sum(stated.values()) == pytest.approx(12, abs=0.3), "all but never drawn texts"
    for text, probability in stated.items():
        spread = np.sqrt(probability * (1 - probability) / seeds)
        assert abs(times[text] / seeds - probability) <= 4.5 * spread


def test_the_random_share_of_a_thinned_window_is_proportional_to_weight(monkeypatch):
    monkeypatch.setattr(candidates_module, "MOST_TEXTS", 200)
    candidates = found(800)
    assert candidates.rows.height == 200
    total = traffic(800)[0]["steady_weight"].sum()
    assert candidates.rows["steady_weight"].sum() == pytest.approx(total)
    plan = planned(candidates)
    picks = (
        chosen(drawn(plan, candidates)).filter(pool="random").join(traffic(800)[0], on="text_hash")
    )
    rate = picks["inclusion_probability"] / picks["steady_weight"]
    assert rate.to_numpy() == pytest.approx(plan.n_random / total, rel=0.1)


def test_limits_per_session_and_user_hold_for_purposive_picks():
    candidates = found(300)
    plan = planned(candidates, budget=60, rules=RefreshRules(random_share=0))
    draw = drawn(plan, candidates, DrawRules(per_session=1, per_user=2, spare_share=0))
    picks = draw.picks.join(candidates.rows, on="text_hash")
    assert picks["session_id"].n_unique() == picks.height
    assert picks["user_id"].drop_nulls().value_counts()["count"].max() <= 2
    assert picks.filter(pl.col("user_id").is_null()).height > 2


def test_floors_on_segments_are_met_or_explained():
    candidates = found(600)
    plan = planned(candidates)
    floors = (Floor("tier", "enterprise", 10),)
    picks = chosen(drawn(plan, candidates, DrawRules(floors))).join(candidates.rows, on="text_hash")
    assert picks.height == 40
    assert picks.filter(tier="enterprise").height >= 10

    draw = drawn(plan, candidates, DrawRules((Floor("tier", "platinum", 2),)))
    assert chosen(draw).height == 40
    assert "2 of 2 cases with tier platinum" in draw.reasons[0]
    with pytest.raises(ValueError, match="no column 'region'"):
        drawn(plan, candidates, DrawRules((Floor("region", "eu", 2),)))


def test_failure_signals_are_preferred():
    candidates = found(900)
    plan = planned(candidates, rules=RefreshRules(random_share=0))
    picks = chosen(drawn(plan, candidates)).join(candidates.rows, on="text_hash")
    assert picks["signal"].mean() > 2 * candidates.rows["signal"].mean()


def test_spares_come_after_the_plan_and_from_the_same_units():
    candidates = found(900)
    plan = planned(candidates)
    picks = drawn(plan, candidates).picks
    assert picks["spare"].is_sorted()
    spare_units = set(picks.filter("spare")["unit"])
    assert spare_units == set(plan.units.filter(pl.col("cases") > 0)["unit"])


def test_every_pick_says_why():
    candidates = found(900)
    picks = drawn(planned(candidates), candidates).picks
    assert set(picks["pool"]) == {"cluster", "drift_watch", "edge", "novel", "random"}
    said = dict(picks.unique("pool").select("pool", "reason").iter_rows())
    assert "under-covered" in said["cluster"]
    assert "at random" in said["random"]
    assert (picks["inclusion_probability"].is_not_null() == (picks["pool"] == "random")).all()
