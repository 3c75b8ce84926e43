"""Pass rates post-stratified to production, and their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.coverage.poststratification import reweighted_score
from evalcov_pipeline.core.statistics.shares import ProductionShares


def production(shares, turns=5000, seed=0) -> ProductionShares:
    shares = np.asarray(shares, float)
    replicates = np.random.default_rng(seed).multinomial(turns, shares, size=200) / turns
    return ProductionShares(shares, replicates, turns, float(turns))


def test_a_fully_measured_score_is_the_weighted_mean_within_its_bounds():
    score = reweighted_score([0, 1], production([0.8, 0.2]), [50, 10], [100, 100])
    assert score.eval_score == pytest.approx(0.30)
    assert score.reweighted_score == pytest.approx(0.8 * 0.5 + 0.2 * 0.1)
    assert score.low < score.reweighted_score < score.high
    assert score.unmeasured_share == 0
    assert score.pass_rates == (0.5, 0.1)


def test_unmeasured_traffic_may_pass_wholly_or_not_at_all():
    shares = [0.5, 0.2, 0.3]
    score = reweighted_score(
        [0, 1, NOVEL], production(shares, turns=10**9), [900_000, 0, 10], [1_000_000, 0, 10]
    )
    assert score.unmeasured_share == pytest.approx(0.5)
    assert score.reweighted_score == pytest.approx(0.9)
    assert (score.low, score.high) == pytest.approx((0.45, 0.95), abs=0.001)
    assert score.pass_rates == (0.9, None, 1.0)


def test_three_passes_of_three_are_not_certain():
    score = reweighted_score([0, 1], production([0.5, 0.5]), [3, 3], [3, 3])
    assert score.reweighted_score == 1
    assert score.low < 0.85
    assert score.high == 1


def test_no_results_leave_everything_open():
    score = reweighted_score([0, NOVEL], production([0.6, 0.4]), [0, 0], [0, 0])
    assert (score.eval_score, score.reweighted_score) == (None, None)
    assert (score.low, score.high, score.unmeasured_share) == (0, 1, 1)
    assert score.reason == "no eval results"


def test_results_in_novel_traffic_alone_say_nothing_of_production():
    score = reweighted_score([0, NOVEL], production([0.6, 0.4]), [0, 4], [0, 5])
    assert score.eval_score == pytest.approx(0.8)
    assert score.reweighted_score is None
    assert score.reason == "no result in any cluster"


def test_results_where_production_never_goes_weigh_nothing():
    score = reweighted_score([0, 1], production([1.0, 0.0]), [0, 5], [0, 5])
    assert (score.eval_score, score.reweighted_score, score.unmeasured_share) == (1.0, None, 1.0)
    assert (score.low, score.high) == (0, 1)


def test_more_passes_than_results_are_refused():
    with pytest.raises(ValueError, match="passed <= results"):
        reweighted_score([0], production([1.0]), [2], [1])


@pytest.mark.parametrize("n", [60, 200])
def test_bounds_of_a_measured_suite_hold_the_truth_in_95_percent_of_suites(n):
    rng = np.random.default_rng(n)
    shares = 1 / np.arange(1, 21)
    shares /= shares.sum()
    rates = np.clip(rng.normal(0.85, 0.1, 20), 0, 1)
    inside = []
    for _ in range(400):
        results = np.maximum(1, rng.multinomial(n, np.full(20, 1 / 20)))
        passed = rng.binomial(results, rates)
        drawn = rng.multinomial(2000, shares) / 2000
        score = reweighted_score(range(20), production(drawn, 2000), passed, results)
        inside.append(score.low <= shares @ rates <= score.high)
    assert 0.92 <= np.mean(inside) <= 0.985
