"""Goodhart watch: does the suite's score still say what fresh cases say?

A suite that people tune against gets better by itself. Cases drawn afresh from production, which
nobody has tuned against, do not; the gap between the two scores is what was learnt by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import erfc, sqrt
from typing import Literal

import numpy as np

from evalcov_pipeline.core.statistics.shares import FloatArray, wilson

_LEVEL = 0.05
_MIN_POINTS = 4
_MIN_FRESH = 30


@dataclass(frozen=True)
class ScorePair:
    """First tries of one period: of the suite, and of cases that were drawn for this period alone.

    Attributes:
        at: the period.
        suite_passed: cases of the suite that passed.
        suite_cases: cases of the suite.
        fresh_passed: fresh cases that passed.
        fresh_cases: fresh cases.
    """

    at: datetime
    suite_passed: int
    suite_cases: int
    fresh_passed: int
    fresh_cases: int


@dataclass(frozen=True)
class ScoreGap:
    """Suite score less fresh score in one period, with its 95 % interval (Newcombe, 1998)."""

    at: datetime
    gap: float
    low: float
    high: float


@dataclass(frozen=True)
class GoodhartWatch:
    """Whether the suite's score has come loose.

    Attributes:
        gaps: one per period with cases on both sides, oldest first.
        mean_gap: of all periods, weighted by precision; None where nothing can be said.
        gap_p_value: one-sided, of a suite score no higher than the fresh one.
        slope: change of the gap per 30 days; None below 4 periods.
        slope_p_value: one-sided, of a gap that does not widen.
        verdict: widening (the gap grows), gap (the suite scores higher, and no growth is shown),
            none (neither is shown), insufficient (below 30 fresh cases in all).
    """

    gaps: tuple[ScoreGap, ...]
    mean_gap: float | None
    gap_p_value: float | None
    slope: float | None
    slope_p_value: float | None
    verdict: Literal["widening", "gap", "none", "insufficient"]


def goodhart_watch(pairs: Sequence[ScorePair]) -> GoodhartWatch:
    """Test whether the suite scores higher than fresh cases, and whether ever more so.

    Fresh cases are new in every period, so periods are independent; the suite's cases stay, so that
    taking its score for a binomial one errs toward saying nothing.

    Args:
        pairs: periods, in any order.

    Raises:
        ValueError: more passes than cases.
    """
    for pair in pairs:
        if pair.suite_passed > pair.suite_cases or pair.fresh_passed > pair.fresh_cases:
            raise ValueError(f"more passes than cases at {pair.at}")
    known = sorted(
        (pair for pair in pairs if pair.suite_cases and pair.fresh_cases), key=lambda pair: pair.at
    )
    gaps = tuple(_gap(pair) for pair in known)
    if sum(pair.fresh_cases for pair in known) < _MIN_FRESH:
        return GoodhartWatch(gaps, None, None, None, None, "insufficient")
    gap = np.array([one.gap for one in gaps])
    precision = 1 / _variances(known)
    mean = float(precision @ gap / precision.sum())
    gap_p = _upper_tail(mean * sqrt(precision.sum()))
    slope = slope_p = None
    months = np.array([(pair.at - known[0].at).total_seconds() / (30 * 86_400) for pair in known])
    centred = months - precision @ months / precision.sum()
    information = float(precision @ centred**2)
    if len(known) >= _MIN_POINTS and information > 0:
        slope = float(precision @ (centred * gap)) / information
        slope_p = _upper_tail(slope * sqrt(information))
    widens = slope_p is not None and slope_p < _LEVEL
    return GoodhartWatch(
        gaps=gaps,
        mean_gap=mean,
        gap_p_value=gap_p,
        slope=slope,
        slope_p_value=slope_p,
        verdict="widening" if widens else "gap" if gap_p < _LEVEL else "none",
    )


def _gap(pair: ScorePair) -> ScoreGap:
    rates = np.array(
        [_rate(pair.suite_passed, pair.suite_cases), _rate(pair.fresh_passed, pair.fresh_cases)]
    )
    low, high = wilson(rates, [pair.suite_cases, pair.fresh_cases])
    gap = float(rates[0] - rates[1])
    return ScoreGap(
        at=pair.at,
        gap=gap,
        low=gap - float(np.hypot(rates[0] - low[0], high[1] - rates[1])),
        high=gap + float(np.hypot(high[0] - rates[0], rates[1] - low[1])),
    )


def _variances(pairs: Sequence[ScorePair]) -> FloatArray:
    """Variance of each gap, at the pass rates of all periods together.

    A period's own rate would weigh the periods in which fresh cases happened to pass most. One
    pass and one failure are added, so that no rate is without variance.
    """
    passed = np.array([(pair.suite_passed, pair.fresh_passed) for pair in pairs])
    cases = np.array([(pair.suite_cases, pair.fresh_cases) for pair in pairs])
    rates = (passed.sum(axis=0) + 1) / (cases.sum(axis=0) + 2)
    variances: FloatArray = (rates * (1 - rates) / cases).sum(axis=1)
    return variances


def _rate(passed: int, n: int) -> float:
    return passed / n


def _upper_tail(z: float) -> float:
    return 0.5 * erfc(z / sqrt(2))
