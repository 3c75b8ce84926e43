"""Compounding: s^L, what was seen beside it, and whether failures come together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.sessions.compounding import COMPOUNDING, compounding, predicted_success

DRAWS = 100


def sessions(turns, failed, clusters="a", outcome="unknown", weights=1.0, strata="s"):
    n = len(turns)
    clusters, outcome, weights, strata = (
        np.broadcast_to(values, n) for values in (clusters, outcome, weights, strata)
    )
    return pl.DataFrame(
        {
            "cluster_key": clusters,
            "label": [f"cluster {key}" for key in clusters],
            "n_turns": turns,
            "failed_turns": failed,
            "outcome": outcome,
            "steady_weight": weights / weights.sum(),
            "stratum": strata,
        }
    )


def planted(kind, n, rng):
    """Sessions of eight clusters with step success .85 to .98, oversampled in some strata."""
    turns = np.minimum(rng.geometric(0.25, n), 40)
    cluster = rng.integers(0, 8, n)
    failure = np.linspace(0.15, 0.02, 8)[cluster]
    if kind == "independent":
        failed = rng.binomial(turns, failure)
    elif kind == "clustered":  # a difficulty that all turns of a session share
        failed = rng.binomial(turns, rng.beta(failure, 1 - failure))
    else:  # at most one failure per session
        failed = (rng.random(n) < np.minimum(1, turns * failure)).astype(int)
    strata = rng.integers(0, 30, n)
    return sessions(
        turns,
        failed,
        cluster.astype(str),
        weights=[0.5, 1, 2] @ np.eye(3)[strata % 3].T,
        strata=strata,
    )


def row(table, grouping="all", name="all"):
    return table.row(
        by_predicate=(pl.col("grouping") == grouping) & (pl.col("name") == name), named=True
    )


def told(frame, seed=0, resamples=199):
    return compounding(frame, np.random.default_rng(seed), resamples)


def test_95_percent_of_20_steps_is_36_percent_of_sessions():
    assert predicted_success(0.95, 20) == pytest.approx(0.358, abs=5e-4)
    assert predicted_success(0.95, [0, 1, 2]) == pytest.approx([1, 0.95, 0.9025])


def test_the_textbook_case_from_sessions():
    turns = np.full(1000, 20)
    failed = np.random.default_rng(3).permutation(np.repeat([1] * 20 + [0] * 380, 50))
    table = told(sessions(turns, failed.reshape(1000, 20).sum(axis=1)))
    everything = row(table)
    assert everything["step_success"] == pytest.approx(0.95)
    assert everything["predicted"] == pytest.approx(0.358, abs=5e-4)
    assert everything["flawless_low"] < 0.358 < everything["flawless_high"]
    assert everything["verdict"] == "independent"


@pytest.mark.parametrize(("success", "turns"), [(1.1, 2), (-0.1, 2), (0.5, -1), (np.nan, 2)])
def test_a_chance_that_is_none_is_refused(success, turns):
    with pytest.raises(ValueError, match="step success"):
        predicted_success(success, turns)


def test_the_prediction_is_the_mean_of_powers_not_the_power_of_the_mean():
    everything = row(told(sessions([1, 19] * 200, [0, 2] * 200)))
    assert everything["step_success"] == pytest.approx(0.9)
    assert everything["predicted"] == pytest.approx((0.9 + 0.9**19) / 2)
    assert everything["mean_turns"] == pytest.approx(10)


def test_weights_are_of_sessions():
    everything = row(told(sessions([1, 3], [1, 0], outcome=["error", "success"], weights=[3, 1])))
    assert everything["step_success"] == pytest.approx(3 / 6)
    assert everything["flawless"] == pytest.approx(1 / 4)
    assert everything["observed"] == pytest.approx(1 / 4)
    assert everything["mean_turns"] == pytest.approx(1.5)


def test_independent_failures_are_found_independent_even_where_clusters_differ():
    rng = np.random.default_rng(11)
    found = Counter(
        row(compounding(planted("independent", 400, rng), rng, 199))["verdict"]
        for _ in range(DRAWS)
    )
    assert found["independent"] >= 0.95 * DRAWS


@pytest.mark.parametrize("kind", ["clustered", "spread"])
def test_failures_that_know_of_each_other_are_found(kind):
    rng = np.random.default_rng(12)
    found = Counter(
        row(compounding(planted(kind, 400, rng), rng, 199))["verdict"] for _ in range(20)
    )
    assert found[kind] >= 19


def test_clusters_that_differ_would_look_clustered_without_being_told_apart():
    rng = np.random.default_rng(13)
    cluster = np.repeat(["good", "poor"], 300)
    turns = np.full(600, 6)
    failed = rng.binomial(turns, np.where(cluster == "good", 0.01, 0.4))
    assert row(told(sessions(turns, failed, cluster)))["verdict"] == "independent"
    assert row(told(sessions(turns, failed)))["verdict"] == "clustered"


def test_a_group_that_is_flawless_throughout_is_not_certain():
    table = told(sessions([20, 20, 20], [0, 0, 0], outcome="success"))
    everything = row(table)
    for rate in ("step_success", "predicted", "flawless", "observed"):
        assert everything[rate] == 1
        assert everything[f"{rate}_low"] < 0.5
    assert everything["verdict"] == "undecidable"


@pytest.mark.parametrize(
    ("turns", "failed"),
    [
        ([1] * 500, [0, 1] * 250),  # nothing compounds in one turn
        ([5] * 29, [1] * 29),  # too few sessions
        ([5] * 500, [1] * 9 + [0] * 491),  # too few failures
    ],
)
def test_there_is_no_verdict_without_enough_to_tell(turns, failed):
    assert row(told(sessions(turns, failed)))["verdict"] == "undecidable"


def test_ranges_of_lengths_hold_every_session_once():
    turns = [1, 2, 3, 4, 5, 7, 8, 12, 13, 10_000]
    table = told(sessions(turns, [0] * 10)).filter(pl.col("grouping") == "length")
    assert dict(table.select("name", "n_sessions").iter_rows()) == {
        "1": 1, "2": 1, "3-4": 2, "5-7": 2, "8-12": 2, "13+": 2,
    }  # fmt: skip
    assert table["label"].to_list()[:2] == ["1 turn", "2 turns"]


def test_a_row_of_a_cluster_knows_only_its_own_sessions():
    frame = sessions([2, 2, 4], [0, 2, 1], ["a", "a", "b"], ["success", "abandoned", "unknown"])
    table = told(frame)
    a, b = row(table, "cluster", "a"), row(table, "cluster", "b")
    assert (a["n_sessions"], a["n_turns"], a["n_known"]) == (2, 4, 2)
    assert (a["step_success"], a["flawless"], a["observed"]) == (0.5, 0.5, 0.5)
    assert (b["step_success"], b["label"]) == (0.75, "cluster b")
    assert b["observed"] is None
    assert b["observed_low"] is None


def test_the_same_seed_gives_the_same_table_and_no_sessions_no_rows():
    frame = planted("clustered", 60, np.random.default_rng(1))
    assert told(frame).equals(told(frame))
    assert told(frame).schema == COMPOUNDING
    assert told(frame.clear()).schema == COMPOUNDING


def test_more_failures_than_turns_are_refused():
    with pytest.raises(ValueError, match="no more failures"):
        told(sessions([2], [3]))
