"""Verdicts, bounds and diagnoses."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.coverage.divergence import DivergenceScore, score_divergence
from evalcov_pipeline.core.coverage.verdict import (
    ScorePoint,
    diagnose,
    judge_suite,
    reweighted_score,
)
from evalcov_pipeline.core.statistics.shares import ProductionShares

SCORE = DivergenceScore(
    jsd=0.45, jsd_adjusted=0.35, ci_low=0.28, ci_high=0.42, null_mean=0.1, null_p95=0.13,
    p_value=0.001, attainable_jsd=0.01, bias=0.1, n_eval=100, n_categories=40,
)  # fmt: skip
START = datetime(2026, 9, 7)


def at(jsd, high=None, p_value=0.001) -> DivergenceScore:
    return replace(SCORE, jsd_adjusted=jsd, ci_high=high or jsd + 0.07, p_value=p_value)


def production(shares, turns=5000, seed=0) -> ProductionShares:
    shares = np.asarray(shares, float)
    replicates = np.random.default_rng(seed).multinomial(turns, shares, size=200) / turns
    return ProductionShares(shares, replicates, turns, float(turns))


def history(jsd, rate, n_results=300, half_width=0.03, **options) -> list[ScorePoint]:
    return [
        ScorePoint(
            as_of=START + timedelta(weeks=week),
            jsd_adjusted=j,
            jsd_ci_low=j - half_width,
            jsd_ci_high=j + half_width,
            eval_run=f"run-{week}",
            eval_score=r,
            n_results=n_results,
            judge="judge-1",
            **options,
        )
        for week, (j, r) in enumerate(zip(jsd, rate, strict=True))
    ]


@pytest.mark.parametrize(
    ("jsd", "band", "degraded"),
    [
        (0.2499, "good", False),
        (0.25, "watch", True),
        (0.3, "divergent", True),
        (0.5, "divergent", True),
        (0.51, "severe", True),
    ],
)
def test_bands_and_degradation_follow_the_adjusted_divergence(jsd, band, degraded):
    verdict = judge_suite(at(jsd), {})
    assert (verdict.band, verdict.degraded) == (band, degraded)


def test_an_insignificant_divergence_is_not_degraded_but_undecidable():
    verdict = judge_suite(at(0.27, 0.40, p_value=0.2), {})
    assert (verdict.band, verdict.degraded) == ("undecidable", False)
    assert f"about {verdict.cases_to_settle} would settle it" in verdict.sentence


def test_a_surely_small_divergence_is_good_without_significance():
    verdict = judge_suite(at(0.02, 0.10, p_value=0.4), {})
    assert (verdict.band, verdict.cases_to_settle) == ("good", None)


def test_a_liability_degrades_any_score_and_is_named_first():
    verdict = judge_suite(at(0.08, p_value=0.3), {"refunds": 0.18, "login": 0.22})
    assert verdict.degraded
    assert verdict.sentence.startswith("'login' is 22% of traffic and no case tests it. 'refunds'")
    assert "Good: divergence 0.08" in verdict.sentence


def test_a_suite_without_cases_has_no_band():
    empty = DivergenceScore(*(None,) * 9, n_eval=0, n_categories=3, reason="the suite has no case")
    verdict = judge_suite(empty, {"refunds": 0.4})
    assert (verdict.band, verdict.degraded) == (None, True)
    assert verdict.sentence.endswith("No divergence: the suite has no case.")
    assert not judge_suite(empty, {}).degraded


def test_the_number_of_cases_that_would_settle_a_score_mostly_does():
    rng = np.random.default_rng(12)
    truth = 1 / np.arange(1, 51)
    truth /= truth.sum()
    cases = np.where(np.arange(50) % 5 == 1, 0, truth)
    cases /= cases.sum()
    sample = production(truth)

    def verdict(n):
        return judge_suite(score_divergence(sample, rng.multinomial(n, cases), None, rng), {})

    small = [verdict(15) for _ in range(60)]
    asked = [v.cases_to_settle for v in small if v.band == "undecidable"]
    assert len(asked) > 5
    settled = [verdict(n).band != "undecidable" for n in asked]
    assert np.mean(settled) >= 0.7


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


def test_divergence_up_and_pass_rate_flat_is_a_widening_gap():
    found = diagnose(history([0.10, 0.14, 0.19, 0.24, 0.30, 0.36], [0.87] * 6))
    assert found.diagnosis == "coverage_gap_widening"


def test_divergence_flat_and_pass_rate_down_is_changed_quality():
    found = diagnose(history([0.12] * 6, [0.90, 0.86, 0.82, 0.78, 0.75, 0.70]))
    assert found.diagnosis == "quality_changed"


def test_both_trends_are_both_and_none_is_stable():
    up, down = [0.1, 0.15, 0.2, 0.25, 0.3, 0.36], [0.9, 0.86, 0.82, 0.78, 0.75, 0.7]
    assert diagnose(history(up, down)).diagnosis == "both"
    assert (
        diagnose(history([0.12, 0.11, 0.13, 0.12], [0.87, 0.88, 0.86, 0.87])).diagnosis == "stable"
    )
    assert diagnose(history(up[::-1], down[::-1])).diagnosis == "stable"


def test_the_order_of_the_history_does_not_matter():
    points = history([0.1, 0.2, 0.3, 0.4], [0.9] * 4)
    assert diagnose(points[::-1]) == diagnose(points)


def test_no_trend_is_drawn_across_a_change_of_judge():
    points = history([0.1, 0.15, 0.2, 0.25, 0.3, 0.35], [0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    changed = [*points[:4], *(replace(p, judge="judge-2") for p in points[4:])]
    assert diagnose(changed).diagnosis == "judge_changed"
    later = history([0.35] * 6, [0.6] * 6)
    later = [replace(p, as_of=p.as_of + timedelta(weeks=6), judge="judge-2") for p in later]
    assert diagnose([*changed, *later]).diagnosis == "stable"


def test_the_step_that_a_refit_makes_is_no_trend():
    points = history([0.10, 0.10, 0.10, 0.30, 0.30, 0.30], [0.87] * 6)
    assert diagnose(points).diagnosis == "coverage_gap_widening"
    points[3] = replace(points[3], refit_shift=0.20)
    assert diagnose(points).diagnosis == "stable"


def test_too_short_a_history_or_too_few_runs_say_so():
    assert diagnose([]).diagnosis is None
    assert "3 of 4 scores" in diagnose(history([0.1] * 3, [0.9] * 3)).reason
    same_run = [replace(p, eval_run="run-0") for p in history([0.1] * 5, [0.9] * 5)]
    assert "2 eval runs" in diagnose(same_run).reason
    unscored = [replace(p, eval_run=None, eval_score=None) for p in same_run]
    assert diagnose(unscored).diagnosis is None


def test_a_first_eval_run_is_no_change_of_judge():
    points = history([0.1] * 6, [0.9] * 6)
    points[0] = replace(points[0], eval_run=None, eval_score=None, n_results=0, judge=None)
    assert diagnose(points).diagnosis == "stable"


@pytest.mark.parametrize("weeks", [4, 8, 16])
def test_overlapping_windows_of_steady_traffic_raise_few_false_alarms(weeks):
    """Errors of daily traffic, averaged over 30 days: consecutive points share 23 of them."""
    rng = np.random.default_rng(weeks)
    alarms = []
    for _ in range(600):
        daily = rng.normal(0, 0.02 * np.sqrt(30), 7 * weeks + 30)
        jsd = [0.2 + daily[7 * w : 7 * w + 30].mean() for w in range(weeks)]
        rate = rng.binomial(200, 0.87, weeks) / 200
        found = diagnose(history(jsd, rate, n_results=200, half_width=1.96 * 0.02))
        alarms.append(found.diagnosis)
    widening = np.mean([a in ("coverage_gap_widening", "both") for a in alarms])
    worse = np.mean([a in ("quality_changed", "both") for a in alarms])
    assert widening <= 0.045
    assert worse <= 0.045
    assert widening > 0.005
