"""Bands, degradation and the sentence of a score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalcov_pipeline.core.coverage.assessment import assess_suite
from evalcov_pipeline.core.coverage.divergence import DivergenceScore, score_divergence
from evalcov_pipeline.core.statistics.shares import ProductionShares

SCORE = DivergenceScore(
    jsd=0.45, jsd_adjusted=0.35, ci_low=0.28, ci_high=0.42, null_mean=0.1, null_p95=0.13,
    p_value=0.001, attainable_jsd=0.01, bias=0.1, n_eval=100, n_categories=40,
)  # fmt: skip


def at(jsd, high=None, p_value=0.001) -> DivergenceScore:
    return replace(SCORE, jsd_adjusted=jsd, ci_high=high or jsd + 0.07, p_value=p_value)


def production(shares, turns=5000, seed=0) -> ProductionShares:
    shares = np.asarray(shares, float)
    replicates = np.random.default_rng(seed).multinomial(turns, shares, size=200) / turns
    return ProductionShares(shares, replicates, turns, float(turns))


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
    assessment = assess_suite(at(jsd), {})
    assert (assessment.band, assessment.degraded) == (band, degraded)


def test_an_insignificant_divergence_is_not_degraded_but_undecidable():
    assessment = assess_suite(at(0.27, 0.40, p_value=0.2), {})
    assert (assessment.band, assessment.degraded) == ("undecidable", False)
    assert f"about {assessment.cases_to_settle} would settle it" in assessment.sentence


def test_a_surely_small_divergence_is_good_without_significance():
    assessment = assess_suite(at(0.02, 0.10, p_value=0.4), {})
    assert (assessment.band, assessment.cases_to_settle) == ("good", None)


def test_a_liability_degrades_any_score_and_is_named_first():
    assessment = assess_suite(at(0.08, p_value=0.3), {"refunds": 0.18, "login": 0.22})
    assert assessment.degraded
    assert assessment.sentence.startswith(
        "'login' is 22% of traffic and no case tests it. 'refunds'"
    )
    assert "Good: divergence 0.08" in assessment.sentence


def test_a_suite_without_cases_has_no_band():
    empty = DivergenceScore(*(None,) * 9, n_eval=0, n_categories=3, reason="the suite has no case")
    assessment = assess_suite(empty, {"refunds": 0.4})
    assert (assessment.band, assessment.degraded) == (None, True)
    assert assessment.sentence.endswith("No divergence: the suite has no case.")
    assert not assess_suite(empty, {}).degraded


def test_the_number_of_cases_that_would_settle_a_score_mostly_does():
    rng = np.random.default_rng(12)
    truth = 1 / np.arange(1, 51)
    truth /= truth.sum()
    cases = np.where(np.arange(50) % 5 == 1, 0, truth)
    cases /= cases.sum()
    sample = production(truth)

    def assessment(n):
        return assess_suite(score_divergence(sample, rng.multinomial(n, cases), None, rng), {})

    small = [assessment(15) for _ in range(60)]
    asked = [v.cases_to_settle for v in small if v.band == "undecidable"]
    assert len(asked) > 5
    settled = [assessment(n).band != "undecidable" for n in asked]
    assert np.mean(settled) >= 0.7
