"""The verdict on a suite: its band, what its pass rate says about production, and why it moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.coverage.divergence import DivergenceScore
from evalcov_pipeline.core.statistics.shares import Z95, FloatArray, ProductionShares, wilson

Band = Literal["good", "watch", "divergent", "severe", "undecidable"]
Diagnosis = Literal["coverage_gap_widening", "quality_changed", "both", "stable", "judge_changed"]
_DIAGNOSES: dict[tuple[bool, bool], Diagnosis] = {  # (divergence up, pass rate down)
    (True, True): "both",
    (True, False): "coverage_gap_widening",
    (False, True): "quality_changed",
    (False, False): "stable",
}
_WATCH_END, _DIVERGENT_END = 0.3, 0.5
_SIGNIFICANT = 0.05
_PRIOR_RESULTS = 2.0
_POWER_Z = 0.8416
_WINDOW_DAYS = 30.0
_MIN_POINTS = 4


@dataclass(frozen=True)
class Verdict:
    """What a score means.

    Attributes:
        band: by `jsd_adjusted`; None for a suite without cases.
        degraded: whether the suite needs a refresh.
        cases_to_settle: for an undecidable score, about how large the suite has to be for the band
            to be known; None otherwise.
        sentence: the verdict in plain words, any liability first.
    """

    band: Band | None
    degraded: bool
    cases_to_settle: int | None
    sentence: str


@dataclass(frozen=True)
class ReweightedScore:
    """The suite's pass rate, and what it says about production.

    Attributes:
        eval_score: unweighted pass rate of the results.
        reweighted_score: pass rate over the measured share of production, weighted like it.
        low: lower bound of the pass rate of all production: nothing unmeasured passes, less 95 %
            sampling error.
        high: upper bound: everything unmeasured passes, plus sampling error.
        unmeasured_share: share of production in clusters without results, and novel.
        pass_rates: (k,) pass rate per category, None without results.
        reason: why a score is None; None when it is not.
    """

    eval_score: float | None
    reweighted_score: float | None
    low: float
    high: float
    unmeasured_share: float
    pass_rates: tuple[float | None, ...]
    reason: str | None = None


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


def judge_suite(
    divergence: DivergenceScore, liabilities: Mapping[str, float], threshold: float = 0.25
) -> Verdict:
    """Band and verdict of a score.

    Degraded: `jsd_adjusted` at or above the threshold and p_value < 0.05, or any liability. Bands:
    good below the threshold, watch to 0.3, divergent to 0.5, severe above; undecidable where
    p_value >= 0.05 and the interval reaches above the threshold.

    Args:
        divergence: the score.
        liabilities: production share, 0..1, by label of each liability cluster.
        threshold: divergence in bits from which a score is degraded.

    Returns:
        The verdict.
    """
    named = [
        f"{label!r} is {share:.0%} of traffic and no case tests it."
        for label, share in sorted(liabilities.items(), key=lambda item: -item[1])
    ]
    jsd, p_value, high = divergence.jsd_adjusted, divergence.p_value, divergence.ci_high
    if jsd is None or p_value is None or high is None or divergence.ci_low is None:
        sentence = " ".join([*named, f"No divergence: {divergence.reason}."])
        return Verdict(None, bool(liabilities), None, sentence)

    undecidable = p_value >= _SIGNIFICANT and high > threshold
    band: Band = "undecidable" if undecidable else _band(jsd, threshold)
    cases = _cases_to_settle(divergence, threshold) if undecidable else None
    figures = f"divergence {jsd:.2f} ({divergence.ci_low:.2f} to {high:.2f})"
    said = f"{band.capitalize()}: {figures}"
    if undecidable:
        said += f" with {divergence.n_eval} cases; about {cases} would settle it"
    degraded = bool(liabilities) or (jsd >= threshold and p_value < _SIGNIFICANT)
    return Verdict(band, degraded, cases, " ".join([*named, f"{said}."]))


def reweighted_score(
    cluster_ids: Sequence[int],
    production: ProductionShares,
    passed: ArrayLike,
    results: ArrayLike,
) -> ReweightedScore:
    """Pass rate post-stratified to production, with bounds for what is not measured.

    The unmeasured share may pass wholly or not at all (Manski, 1990). The bounds are widened by
    95 % sampling error: of production shares by their replicates, of the measured rate by Wilson's
    interval at its effective number of results (`_bounds_of_rate`), the two joined by root sum of
    squares (Zou and Donner, 2008).

    Args:
        cluster_ids: (k,) ids, -1 for novel, whose results count for the suite's rate only.
        production: steady shares over the same categories.
        passed: (k,) passed results of first tries.
        results: (k,) results of first tries.

    Returns:
        The score; without results the rates are None and `reason` says so.

    Raises:
        ValueError: lengths that disagree, or more passes than results.
    """
    p, p_star = production.shares, production.replicates
    ids = np.asarray(cluster_ids)
    x, n = np.asarray(passed, dtype=float), np.asarray(results, dtype=float)
    if not ids.shape == p.shape == x.shape == n.shape or (x < 0).any() or (x > n).any():
        raise ValueError("ids, shares, passed and results must agree, with passed <= results")
    measured = (n > 0) & (p > 0) & (ids != NOVEL)
    rates = np.divide(x, n, out=np.zeros_like(p), where=n > 0)
    known = float(p[measured].sum())
    passing, failing = p[measured] @ rates[measured], p[measured] @ (1 - rates[measured])
    low, high = _bounds_of_rate(p[measured], x[measured], n[measured])

    def traffic_error(parts: FloatArray) -> float:
        return Z95 * float((p_star[:, measured] @ parts[measured]).std())

    no_results = n.sum() == 0
    return ReweightedScore(
        eval_score=None if no_results else float(x.sum() / n.sum()),
        reweighted_score=float(passing / known) if known > 0 else None,
        low=max(0.0, passing - math.hypot(passing - known * low, traffic_error(rates))),
        high=min(1.0, 1 - failing + math.hypot(known * high - passing, traffic_error(1 - rates))),
        unmeasured_share=max(0.0, 1 - known),
        pass_rates=tuple(float(r) if c else None for r, c in zip(rates, n, strict=True)),
        reason="no eval results" if no_results else None if known else "no result in any cluster",
    )


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


def _band(jsd: float, threshold: float) -> Band:
    if jsd < threshold:
        return "good"
    if jsd < _WATCH_END:
        return "watch"
    return "divergent" if jsd <= _DIVERGENT_END else "severe"


def _cases_to_settle(score: DivergenceScore, threshold: float) -> int | None:
    """Suite size that would settle the band in 4 of 5 suites of this `jsd_adjusted`.

    Settled is significant, or an interval below the threshold. With x = sqrt(n now / n then), the
    null's excess over its mean shrinks by x^2, the interval and the score's own error by x.
    """
    adjusted, low, high = score.jsd_adjusted, score.ci_low, score.ci_high
    mean, p95 = score.null_mean, score.null_p95
    if adjusted is None or low is None or high is None or mean is None or p95 is None:
        return None
    slack, excess = _POWER_Z * (high - low) / (2 * Z95), p95 - mean
    to_significance = 2 * adjusted / (slack + math.sqrt(slack**2 + 4 * excess * adjusted))
    to_below = (threshold - adjusted) / (high - adjusted + slack)
    return max(score.n_eval + 1, math.ceil(score.n_eval / max(to_significance, to_below) ** 2))


def _bounds_of_rate(
    weights: FloatArray, passed: FloatArray, results: FloatArray
) -> tuple[float, float]:
    """95 % interval of a pass rate post-stratified to `weights`, (k,) each, every result > 0.

    Wilson's, at the number of results that would give the same variance unstratified. For the
    variance, cluster rates are shrunk toward the pooled rate by 2 results: a cluster whose 3 cases
    passed is not certain.
    """
    if not len(weights):
        return 0.0, 1.0
    share = weights / weights.sum()
    pooled = (passed.sum() + 1) / (results.sum() + 2)
    rates = (passed + _PRIOR_RESULTS * pooled) / (results + _PRIOR_RESULTS)
    variance = share**2 @ (rates * (1 - rates) / results)
    rate = np.atleast_1d(share @ (passed / results))
    low, high = wilson(rate, (share @ rates) * (1 - share @ rates) / variance)
    return float(low[0]), float(high[0])


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
