"""Divergence between production and a suite: closed forms, invariants, calibration."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from evalcov_pipeline.core.coverage.assessment import assess_suite
from evalcov_pipeline.core.coverage.divergence import (
    apportion,
    attainable_jsd,
    jsd,
    jsd_contributions,
    score_divergence,
)
from evalcov_pipeline.core.statistics.shares import (
    ProductionShares,
    bootstrap_factors,
    production_shares,
)

SUITES = 200


def zipf(k: int) -> np.ndarray:
    weights = 1 / np.arange(1, k + 1)
    return weights / weights.sum()


def sampled_production(truth, rng, sessions=1500, resamples=149) -> ProductionShares:
    """Sessions of two turns in 30 strata, drawn from the true shares."""
    turns = rng.multinomial(2, truth, size=sessions)
    return production_shares(turns, rng.integers(0, 30, sessions), rng, resamples)


def shifted(truth, target, rng) -> np.ndarray:
    """A case distribution at `target` bits from production, some clusters dropped."""
    other = truth
    while jsd(truth, other) < target:
        other = rng.permutation(truth) * (rng.random(len(truth)) > 0.3)
        other /= other.sum()
    mixed, low, high = truth, 0.0, 1.0
    for _ in range(25 if target else 0):
        part = (low + high) / 2
        mixed = (1 - part) * truth + part * other
        low, high = (part, high) if jsd(truth, mixed) < target else (low, part)
    assert jsd(truth, mixed) == pytest.approx(target, abs=1e-3)
    return mixed


@st.composite
def two_distributions(draw):
    k = draw(st.integers(1, 12))
    rows = st.lists(st.integers(0, 50), min_size=k, max_size=k).filter(any)
    p, q = np.array(draw(rows), float), np.array(draw(rows), float)
    return p / p.sum(), q / q.sum()


@settings(deadline=None)
@given(two_distributions())
def test_divergence_is_symmetric_bounded_and_the_square_of_scipys_distance(pair):
    p, q = pair
    assert jsd(p, q) == pytest.approx(jsd(q, p), abs=1e-12)
    assert -1e-12 <= jsd(p, q) <= 1 + 1e-12
    with np.errstate(invalid="ignore"):
        distance = np.nan_to_num(jensenshannon(p, q, base=2))
    assert jsd(p, q) == pytest.approx(distance**2, abs=1e-9)


@settings(deadline=None)
@given(two_distributions())
def test_contributions_are_non_negative_and_sum_to_the_divergence(pair):
    parts = jsd_contributions(*pair)
    assert (parts >= -1e-12).all()
    assert parts.sum() == pytest.approx(jsd(*pair), abs=1e-12)


@settings(deadline=None)
@given(two_distributions(), st.integers(0, 11))
def test_merging_two_categories_never_raises_the_divergence(pair, at):
    p, q = pair
    if at + 1 >= len(p):
        return

    def merged(x):
        return np.concatenate([x[:at], [x[at] + x[at + 1]], x[at + 2 :]])

    assert jsd(merged(p), merged(q)) <= jsd(p, q) + 1e-12


def test_equal_shares_diverge_by_0_and_disjoint_ones_by_1():
    assert jsd([0.2, 0.8], [0.2, 0.8]) == 0
    assert jsd([1, 0, 0], [0, 0.5, 0.5]) == pytest.approx(1)


def test_missing_half_of_flat_traffic_is_a_known_divergence():
    assert jsd([0.5, 0.5], [1, 0]) == pytest.approx(1.5 - 0.75 * np.log2(3))


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [[1.0]]])
def test_shares_that_are_no_distribution_are_refused(bad):
    with pytest.raises(ValueError, match="shares"):
        jsd(bad, bad)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=4).filter(any),
    st.integers(1, 5),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_greedy_apportionment_attains_the_least_divergence(weights, n, start):
    p = np.array(weights) / sum(weights)
    start = np.array(start[: len(p)])
    suites = [
        start + np.bincount(choice, minlength=len(p))
        for choice in combinations_with_replacement(range(len(p)), n)
    ]
    least = min(jsd(p, suite / suite.sum()) for suite in suites)
    assert attainable_jsd(p, n, start) == pytest.approx(least, abs=1e-12)
    assert (apportion(p, n, start) >= start).all()


def test_large_suites_can_attain_almost_no_divergence():
    assert attainable_jsd(zipf(40), 40) > attainable_jsd(zipf(40), 400) > 0
    assert attainable_jsd([0.25, 0.75], 4) == 0


def test_resampled_sessions_reproduce_the_variance_of_a_stratified_mean():
    rng = np.random.default_rng(11)
    strata = np.repeat([0, 1, 2], [2, 5, 40])
    values = rng.normal(size=47)
    factors = np.concatenate(list(bootstrap_factors(strata, rng, 40_000)), axis=1)
    expected = sum((strata == h).sum() * np.var(values[strata == h], ddof=1) for h in range(3))
    assert np.var(values @ factors) == pytest.approx(expected, rel=0.04)
    assert factors.mean(axis=1) == pytest.approx(np.ones(47), abs=0.05)


def test_strata_of_one_session_still_vary():
    rng = np.random.default_rng(3)
    production = production_shares(np.eye(20)[:, :20], np.arange(20), rng, 200)
    assert production.replicates.std(axis=0).min() > 0


def test_turns_of_one_session_are_not_counted_as_independent():
    rng = np.random.default_rng(5)
    one_topic = np.eye(2)[rng.integers(0, 2, 300)] * 10
    spread = rng.multinomial(10, [0.5, 0.5], size=300)
    clustered, independent = (
        production_shares(turns, np.zeros(300), rng, 400).replicates.std(axis=0)[0]
        for turns in (one_topic, spread)
    )
    assert clustered / independent == pytest.approx(np.sqrt(10), rel=0.2)


def test_share_intervals_hold_the_truth_in_about_95_percent_of_samples():
    rng = np.random.default_rng(17)
    truth = zipf(30)
    inside = []
    for _ in range(150):
        low, high = sampled_production(truth, rng, sessions=600, resamples=150).interval()
        inside.append((low <= truth) & (truth <= high))
    assert 0.93 <= np.mean(inside) <= 0.98


def test_a_suite_without_cases_has_no_divergence_and_says_why():
    production = sampled_production(zipf(5), np.random.default_rng(0), 50)
    score = score_divergence(production, np.zeros(5, int), None, np.random.default_rng(0))
    assert score.jsd_adjusted is None
    assert score.p_value is None
    assert score.reason == "the suite has no case"


def test_a_suite_wholly_outside_production_diverges_fully():
    rng = np.random.default_rng(1)
    production = sampled_production(np.array([0.2] * 5 + [0.0]), rng, 400)
    score = score_divergence(production, np.array([0] * 5 + [50]), None, rng)
    assert score.jsd == pytest.approx(1)
    assert score.jsd_adjusted > 0.95
    assert score.ci_high == 1


def test_the_same_seed_gives_the_same_score():
    production = sampled_production(zipf(8), np.random.default_rng(0), 100)
    first, second = (
        score_divergence(production, np.arange(8), None, np.random.default_rng(4)) for _ in range(2)
    )
    assert first == second


def test_a_designed_suite_that_misses_half_of_traffic_is_not_flattered():
    """Correcting designed cases as if they were draws would read .19 for a true .30."""
    rng = np.random.default_rng(8)
    truth = zipf(60)
    kept = truth * (rng.permutation(60) % 2)
    counts = apportion(kept / kept.sum(), 50)
    production = sampled_production(truth, rng, sessions=4000)
    score = score_divergence(production, counts, counts, rng)
    assert score.jsd_adjusted == pytest.approx(jsd(truth, counts / 50), abs=0.01)
    assert score.p_value < 0.05
    as_draws = score_divergence(production, counts, None, rng)
    assert as_draws.jsd_adjusted < score.jsd_adjusted - 0.05


def test_a_suite_designed_after_production_is_no_surprise():
    rng = np.random.default_rng(9)
    production = sampled_production(zipf(40), rng, sessions=4000)
    counts = apportion(production.shares, 60)
    score = score_divergence(production, counts, counts, rng)
    assert score.p_value > 0.5
    assert score.jsd == pytest.approx(score.attainable_jsd)


@pytest.fixture(scope="module")
def productions():
    rng = np.random.default_rng(2026)
    truth = zipf(60)
    return truth, [sampled_production(truth, rng) for _ in range(SUITES)]


@pytest.fixture(scope="module")
def scored(productions):
    """Scores by (true divergence, size): two proportional or one shifted suite per production."""
    truth, samples = productions
    rng = np.random.default_rng(7)

    def scores(target, n):
        for sample in samples if target else samples * 2:
            cases = shifted(truth, target, rng)
            yield score_divergence(sample, rng.multinomial(n, cases), None, rng)

    cells = [(0.0, 30), (0.0, 100), (0.0, 300), (0.2, 100), (0.4, 100), (0.4, 300)]
    return {cell: list(scores(*cell)) for cell in cells}


@pytest.mark.parametrize("n", [30, 100, 300])
def test_proportional_suites_are_rarely_significant_and_rarely_degraded(scored, n):
    scores = scored[0.0, n]
    assert np.mean([s.p_value < 0.05 for s in scores]) <= 0.08
    assert np.mean([s.p_value < 0.5 for s in scores]) == pytest.approx(0.5, abs=0.12)
    assert np.mean([assess_suite(s, {}).degraded for s in scores]) <= 0.05


@pytest.mark.parametrize("n", [100, 300])
def test_divergent_suites_are_degraded(scored, n):
    assert np.mean([assess_suite(s, {}).degraded for s in scored[0.4, n]]) >= 0.8


@pytest.mark.parametrize(("target", "n"), [(0.0, 100), (0.2, 100), (0.4, 100), (0.4, 300)])
def test_the_interval_holds_the_true_divergence(scored, target, n):
    inside = [s.ci_low <= target <= s.ci_high for s in scored[target, n]]
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize(("target", "n"), [(0.0, 100), (0.2, 100), (0.4, 300)])
def test_adjusting_brings_the_divergence_nearer_to_the_truth(scored, target, n):
    plug_in = [s.jsd - target for s in scored[target, n]]
    adjusted = [s.jsd_adjusted - target for s in scored[target, n]]
    assert np.mean(np.square(adjusted)) < np.mean(np.square(plug_in)) / 2


def errors_of(score, true):
    """Of `jsd_adjusted`, unclipped, and of plug-in divergence less what chance adds to it."""
    return score.jsd - score.bias - true, score.jsd - score.null_mean - true


@pytest.mark.parametrize("n", [30, 100])
def test_near_0_adjusting_is_more_accurate_than_subtracting_what_chance_adds(scored, n):
    adjusted, subtracted = np.square([errors_of(s, 0.0) for s in scored[0.0, n]]).mean(axis=0)
    assert adjusted < subtracted


def test_half_of_the_clusters_left_out_is_not_read_as_less(productions):
    truth, samples = productions
    rng = np.random.default_rng(12)
    errors = []
    for sample in samples[:60]:
        kept = truth * (rng.permutation(60) % 2)
        cases = kept / kept.sum()
        score = score_divergence(sample, rng.multinomial(100, cases), None, rng)
        errors.append(errors_of(score, jsd(truth, cases)))
    adjusted, subtracted = np.square(errors).mean(axis=0)
    assert adjusted < subtracted / 2
