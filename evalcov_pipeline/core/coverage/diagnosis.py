"""Why the score moved: trends of divergence and pass rate over the scored weeks, each tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

import numpy as np

from evalcov_pipeline.core.statistics.shares import Z95, FloatArray

Diagnosis = Literal["coverage_gap_widening", "quality_changed", "both", "stable", "judge_changed"]
_DIAGNOSES: dict[tuple[bool, bool], Diagnosis] = {  # (divergence up, pass rate down)
    (True, True): "both",
    (True, False): "coverage_gap_widening",
    (False, True): "quality_changed",
    (False, False): "stable",
}
_WINDOW_DAYS = 30.0
_MIN_POINTS = 4


@dataclass(frozen=True)
class ScorePoint:
    """One week of the history that a diagnosis reads.

    Attributes:
        as_of: instant of the score.
        jsd_adjusted: its divergence, bits.
        jsd_ci_low: lower end of its 95 % interval.
        jsd_ci_high: upper end.
        eval_run: id of the eval run behind `eval_score`; None if there is none.
        eval_score: its pass rate, 0..1.
        n_results: results behind the pass rate.
        judge: what decided pass or fail, e.g. judge id and version, and which of its verdicts were
            left out; None if no judge did.
        refit_shift: at a refit, `jsd_adjusted` under the new taxonomy less under the previous one.
    """

    as_of: datetime
    jsd_adjusted: float
    jsd_ci_low: float
    jsd_ci_high: float
    eval_run: str | None = None
    eval_score: float | None = None
    n_results: int = 0
    judge: str | None = None
    refit_shift: float = 0.0


@dataclass(frozen=True)
class DiagnosisResult:
    """Why the score moved, or why that cannot be said.

    Attributes:
        diagnosis: None if the history cannot tell.
        reason: the evidence, or what is missing, in one sentence.
    """

    diagnosis: Diagnosis | None
    reason: str


def diagnose(history: Sequence[ScorePoint]) -> DiagnosisResult:
    """Why the score moved: two trends, divergence and pass rate, each tested.

    Each trend is a least-squares slope, tested one-sided (divergence up, pass rate down) at 2.5 %
    against its standard error. The points are dependent: 30-day windows of consecutive weeks share
    traffic, so errors of two scores correlate by the share of their windows that overlaps; scores
    that read one eval run share its error wholly. What a standing suite shares beyond that makes
    the test conservative. Steps that a refit makes are taken out first. Points before the newest
    change of judge are left out.

    Args:
        history: scores under the headline taxonomy, in any order.

    Returns:
        The diagnosis, or None with what is missing.
    """
    points = sorted(history, key=lambda point: point.as_of)
    with_rate = [point for point in points if point.eval_score is not None and point.n_results]
    changes = [new.as_of for old, new in pairwise(with_rate) if old.judge != new.judge]
    recent = [point for point in points if not changes or point.as_of >= changes[-1]]
    scored = [point for point in with_rate if not changes or point.as_of >= changes[-1]]
    if len(recent) < _MIN_POINTS:
        if changes:
            when = f"{changes[-1]:%Y-%m-%d}"
            return DiagnosisResult(
                "judge_changed", f"judged otherwise since {when}: no trend across it"
            )
        return DiagnosisResult(None, f"{len(recent)} of {_MIN_POINTS} scores that a trend needs")
    if len({point.eval_run for point in scored}) < 2:
        return DiagnosisResult(None, "a trend of the pass rate needs at least 2 eval runs")

    divergence = _trend(
        recent,
        [p.jsd_adjusted for p in recent] - np.cumsum([p.refit_shift for p in recent]),
        np.array(
            [  # the wider side, since the other may have been clipped at 0 or 1
                max(p.jsd_ci_high - p.jsd_adjusted, p.jsd_adjusted - p.jsd_ci_low) / Z95
                for p in recent
            ]
        ),
        lambda a, b: max(0.0, 1 - abs((a.as_of - b.as_of).days) / _WINDOW_DAYS),
    )
    rate = np.array([p.eval_score for p in scored], dtype=float)
    size = np.array([p.n_results for p in scored], dtype=float)
    middle = (rate * size + 2) / (size + 4)
    quality = _trend(
        scored,
        rate,
        np.sqrt(middle * (1 - middle) / size),
        lambda a, b: float(a.eval_run == b.eval_run),
    )
    return DiagnosisResult(
        _DIAGNOSES[divergence > Z95, quality < -Z95],
        f"slopes over their errors: divergence {divergence:+.1f}, pass rate {quality:+.1f}",
    )


def _trend(
    points: Sequence[ScorePoint],
    values: FloatArray,
    errors: FloatArray,
    correlation: Callable[[ScorePoint, ScorePoint], float],
) -> float:
    """Least-squares slope over time, in standard errors."""
    days = np.array([(point.as_of - points[0].as_of).total_seconds() / 86400 for point in points])
    slope = (days - days.mean()) / ((days - days.mean()) ** 2).sum()
    shared = np.array([[correlation(a, b) for b in points] for a in points])
    error = math.sqrt(float((slope * errors) @ shared @ (slope * errors)))
    return float(slope @ values) / error if error > 0 else 0.0
