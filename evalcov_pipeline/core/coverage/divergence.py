"""Jensen-Shannon divergence between production and an eval suite, calibrated for finite suites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, rel_entr, xlogy

from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray, ProductionShares

_TOLERANCE = 1e-6
_CONCENTRATIONS = np.exp(np.linspace(-2.0, 12.0, 57))
_SHAPES = np.exp(np.linspace(-1.5, 8.0, 26))
_LEFT_OUT = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
_NONE_LEFT_OUT = 0.8
"""Prior chance that a suite leaves no cluster out on purpose, for the estimate."""
_ANY_LEFT_OUT = 1 / len(_LEFT_OUT)
"""The same for the interval, which must not lean on it: every share left out is as likely."""


@dataclass(frozen=True)
class DivergenceScore:
    """How far a suite lies from production; divergences in bits, 0..1.

    Attributes:
        jsd: plug-in divergence, as in the literature; inflated for small suites.
        jsd_adjusted: the same less its estimated bias: the headline.
        ci_low: lower end of the 95 % interval of `jsd_adjusted`.
        ci_high: upper end.
        null_mean: mean plug-in divergence of proportional suites of the same size.
        null_p95: its 95th percentile.
        p_value: chance that a proportional suite is at least as divergent as this one.
        attainable_jsd: least divergence that any suite of this size can have.
        bias: what sampling alone adds to `jsd`; `jsd_adjusted` is `jsd` less it, clipped.
        n_eval: cases in the suite.
        n_categories: categories compared.
        reason: why the numbers are None; None when they are not.
    """

    jsd: float | None
    jsd_adjusted: float | None
    ci_low: float | None
    ci_high: float | None
    null_mean: float | None
    null_p95: float | None
    p_value: float | None
    attainable_jsd: float | None
    bias: float | None
    n_eval: int
    n_categories: int
    reason: str | None = None


def jsd(p: ArrayLike, q: ArrayLike) -> float:
    """Jensen-Shannon divergence in bits, with 0 log 0 = 0.

    Args:
        p: (k,) shares, non-negative, summing to 1.
        q: (k,) shares likewise.

    Returns:
        Divergence, 0 (equal) to 1 (disjoint). The square of scipy's distance at base 2.

    Raises:
        ValueError: shares that are negative or do not sum to 1, or shapes that differ.
    """
    return float(jsd_contributions(p, q).sum())


def jsd_contributions(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Each category's part of the divergence; the parts are non-negative and sum to the whole.

    Args:
        p: (k,) shares, non-negative, summing to 1.
        q: (k,) shares likewise.

    Returns:
        (k,) bits.

    Raises:
        ValueError: as `jsd`.
    """
    p, q = _shares(p), _shares(q)
    if p.shape != q.shape:
        raise ValueError(f"shares of different lengths: {p.shape} and {q.shape}")
    return contributions(p, q)


def contributions(p: FloatArray, q: FloatArray) -> FloatArray:
    """Each category's part of the divergence in bits; arrays that broadcast, unchecked."""
    middle = (p + q) / 2
    parts: FloatArray = (rel_entr(p, middle) + rel_entr(q, middle)) / (2 * np.log(2))
    return parts


def apportion(p: ArrayLike, n_cases: int, start: ArrayLike | None = None) -> IntArray:
    """The counts of least divergence that `n_cases` more cases can reach.

    Args:
        p: (k,) production shares, non-negative, summing to 1.
        n_cases: cases to place, >= 0.
        start: (k,) counts of cases that stay where they are; none if omitted.

    Returns:
        (k,) counts, `start` included.

    Raises:
        ValueError: bad shares or counts, or no case at all.
    """
    p = _shares(p)
    there = _counts(np.zeros(len(p)) if start is None else start, len(p))
    if n_cases < 0 or int(there.sum()) + n_cases < 1:
        raise ValueError(f"cannot apportion {n_cases} cases")
    least, most = np.zeros_like(there), np.full_like(there, n_cases)
    return there + apportion_within(p, n_cases, there, least, most)


def apportion_within(
    p: FloatArray, n_cases: int, start: ArrayLike, least: IntArray, most: IntArray
) -> IntArray:
    """The new cases of least divergence between bounds.

    The divergence is a sum over categories, each part convex in its count. So the cases' steps down
    get smaller within a category, and the largest steps of all are the best, between bounds too:
    greedy apportionment, all cases at once. Source: Federgruen and Groenevelt (1986).

    Args:
        p: (k,) production shares, non-negative, summing to 1.
        n_cases: new cases, >= 0.
        start: (k,) cases that are there or expected from elsewhere; need not be whole.
        least: (k,) floors on the new cases, at most `most`. Where they exceed `n_cases`, those are
            met that lower the divergence most.
        most: (k,) caps on the new cases.

    Returns:
        (k,) new cases, `n_cases` in all, or the sum of the caps where that is lower.
    """
    there = np.asarray(start, dtype=float)
    n_cases = min(n_cases, int(most.sum()))
    if n_cases == 0:
        return np.zeros(len(p), np.int64)
    number = np.arange(n_cases)
    levels = (there[:, None] + np.arange(n_cases + 1)) / (there.sum() + n_cases)
    steps = np.diff(contributions(p[:, None], levels), axis=1)
    barred, free = number >= most[:, None], number >= least[:, None]
    best = np.lexsort((steps.ravel(), free.ravel(), barred.ravel()))[:n_cases]
    return np.bincount(best // n_cases, minlength=len(p)).astype(np.int64)


def attainable_jsd(p: ArrayLike, n_cases: int, start: ArrayLike | None = None) -> float:
    """Least divergence from `p` that any suite of `n_cases` can have.

    Args:
        p: (k,) production shares, non-negative, summing to 1.
        n_cases: cases that may be placed freely, >= 0.
        start: (k,) counts of cases that are there already; none if omitted.

    Returns:
        Divergence in bits, 0..1.

    Raises:
        ValueError: bad shares or counts, or no case at all.
    """
    counts = apportion(p, n_cases, start)
    return jsd(p, counts / counts.sum())


def score_divergence(
    production: ProductionShares,
    eval_counts: ArrayLike,
    designed_counts: ArrayLike | None,
    rng: np.random.Generator,
) -> DivergenceScore:
    """Divergence of a suite from production, with its bias, interval and p-value.

    Cases are draws, except designed ones (placed by a refresh plan), which stay fixed.

    `jsd_adjusted` is the mean of two estimates whose errors are unlike: plug-in divergence less its
    mean error over suites redrawn from cases shrunk toward production (`_concentrations`), and the
    mean divergence of the cases' posterior (`_posterior_cases`). The first is the better one for
    suites of 30 cases near production, the second for divergent suites; their mean beats either.
    Interval: the hull of what both say, the first at the least and the most plausible shrinkage,
    the second also without a prior opinion on clusters left out: a suite of 30 cases that misses
    clusters looks much like one that does not.
    Null: suites drawn from production. Designed cases enter it as their best apportionment to
    production: a fixed part that no longer follows traffic is evidence, not null.

    Args:
        production: shares and replicates over k categories, novel included.
        eval_counts: (k,) cases per category.
        designed_counts: (k,) how many of them a plan placed; None for none.
        rng: source of the redrawn suites, one per replicate of production.

    Returns:
        The score; without any case every number is None and `reason` says so.

    Raises:
        ValueError: counts that are negative, of another length, or designed beyond the counts.
    """
    p, p_star = production.shares, production.replicates
    counts = _counts(eval_counts, len(p))
    designed = _counts(np.zeros(len(p)) if designed_counts is None else designed_counts, len(p))
    if (designed > counts).any():
        raise ValueError("more designed cases than cases in a category")
    n, n_designed = int(counts.sum()), int(designed.sum())
    if n == 0:
        return DivergenceScore(*(None,) * 9, n, len(p), "the suite has no case")

    free = counts - designed
    n_free = n - n_designed
    observed = float(contributions(p, counts / n).sum())

    null_suites = rng.multinomial(n_free, p, size=len(p_star))
    null_suites += apportion(p, n_designed) if n_designed else 0
    null = contributions(p_star, null_suites / n).sum(axis=1)

    least, most = (
        observed - _redrawn_error(production, designed, free, concentration, rng)
        for concentration in _concentrations(p, free)
    )
    posterior, wary = (
        _posterior_divergence(production, designed, free, none_left_out, rng)
        for none_left_out in (_NONE_LEFT_OUT, _ANY_LEFT_OUT)
    )
    adjusted = float(least.mean() + posterior.mean()) / 2
    ends = np.quantile([least, most, posterior, wary], [0.025, 0.975], axis=1)
    return DivergenceScore(
        jsd=_clip(observed),
        jsd_adjusted=_clip(adjusted),
        ci_low=_clip(ends[0].min()),
        ci_high=_clip(ends[1].max()),
        null_mean=float(null.mean()),
        null_p95=float(np.quantile(null, 0.95)),
        p_value=float((1 + (null >= observed).sum()) / (1 + len(null))),
        attainable_jsd=attainable_jsd(p, n),
        bias=observed - adjusted,
        n_eval=n,
        n_categories=len(p),
    )


def _redrawn_error(
    production: ProductionShares,
    designed: IntArray,
    free: IntArray,
    concentration: float,
    rng: np.random.Generator,
) -> FloatArray:
    """(r,) plug-in divergence less the true one, over suites redrawn from the case distribution.

    The distribution is the posterior mean under a Dirichlet prior of `concentration` x production.
    """
    p, p_star = production.shares, production.replicates
    n_free = int(free.sum())
    n = n_free + int(designed.sum())
    cases = (concentration * p + free) / (concentration + n_free)
    redrawn = designed + rng.multinomial(n_free, cases / cases.sum(), size=len(p_star))
    truth = contributions(p, (designed + n_free * cases) / n).sum()
    error: FloatArray = contributions(p_star, redrawn / n).sum(axis=1) - truth
    return error


def _posterior_divergence(
    production: ProductionShares,
    designed: IntArray,
    free: IntArray,
    none_left_out: float,
    rng: np.random.Generator,
) -> FloatArray:
    """(r,) divergence of case distributions that the counts allow, see `_posterior_cases`.

    Production's own noise adds to a divergence: what its replicates add is taken off.
    """
    p, p_star = production.shares, production.replicates
    n_free = int(free.sum())
    drawn = _posterior_cases(p, free, none_left_out, len(p_star), rng)
    cases = (designed + n_free * drawn) / (n_free + int(designed.sum()))
    noise = contributions(p_star, cases).sum(axis=1) - contributions(p, cases).sum(axis=1)
    divergence: FloatArray = contributions(p, cases).sum(axis=1) - noise
    return divergence


def _posterior_cases(
    p: FloatArray, counts: IntArray, none_left_out: float, draws: int, rng: np.random.Generator
) -> FloatArray:
    """(draws, k) case distributions that the counts allow, by their plausibility.

    A cluster's ratio of case share to production share is 0 with some chance (left out), else
    Gamma-distributed; chance and shape are common to all clusters, with flat priors on `_LEFT_OUT`
    (but `none_left_out` on 0) and on log `_SHAPES`, and the mean ratio is 1. Given them each
    ratio's posterior is known: Gamma-Poisson with extra zeros. Categories that production lacks
    keep their observed share.
    """
    inside = p > 0
    n, c = counts.sum(), counts[inside]
    expected = n * p[inside]
    shape, left_out = (grid.ravel() for grid in np.meshgrid(_SHAPES, _LEFT_OUT))
    rate = shape * (1 - left_out)  # of the ratio, so that its mean is 1

    a, b, z = shape[:, None], rate[:, None], left_out[:, None]
    kept = np.log1p(-z) + gammaln(a + c) - gammaln(a)
    kept += xlogy(a, b / (b + expected)) + xlogy(c, expected / (b + expected))
    with np.errstate(divide="ignore"):
        omitted = np.where(c == 0, np.log(z), -np.inf)
    likelihood = np.logaddexp(kept, omitted)
    prior = np.where(left_out == 0, none_left_out, (1 - none_left_out) / (len(_LEFT_OUT) - 1))
    log_weight = likelihood.sum(axis=1) + np.log(prior)
    weight = np.exp(log_weight - log_weight.max())

    pick = rng.choice(len(weight), draws, p=weight / weight.sum())
    is_left_out = rng.random((draws, len(c))) < np.exp(omitted - likelihood)[pick]
    ratio = rng.gamma(a[pick] + c) / (b[pick] + expected)
    cases = np.tile(counts / max(n, 1), (draws, 1))
    cases[:, inside] = np.where(is_left_out, 0.0, p[inside] * ratio)
    total = cases.sum(axis=1, keepdims=True)
    return np.where(total > 0, cases / np.where(total > 0, total, 1.0), p)


def _concentrations(p: FloatArray, counts: IntArray) -> tuple[float, float]:
    """How many cases production weighs as the prior of the suite's case distribution.

    The Dirichlet-multinomial likelihood with base `p`: it favours large values for a suite that
    looks drawn from production, small ones for one that does not. Categories that production lacks
    tell nothing about it.

    Returns:
        Least and most value within half a unit of the highest log-likelihood (one standard error).
        The bias is taken at the least: it costs little near 0 and spares divergent suites, which
        the likeliest value reads too low.
    """
    inside = p > 0
    c = counts[inside]
    prior = _CONCENTRATIONS[:, None] * p[inside]
    whole = gammaln(_CONCENTRATIONS) - gammaln(_CONCENTRATIONS + c.sum())
    likelihood = whole + (gammaln(prior + c) - gammaln(prior)).sum(axis=1)
    plausible = _CONCENTRATIONS[likelihood >= likelihood.max() - 0.5]
    return float(plausible[0]), float(plausible[-1])


def _shares(values: ArrayLike) -> FloatArray:
    shares = np.asarray(values, dtype=float)
    if shares.ndim != 1 or not (shares >= 0).all() or abs(shares.sum() - 1) > _TOLERANCE:
        raise ValueError("shares must be one row of non-negative numbers that sum to 1")
    return shares


def _counts(values: ArrayLike, k: int) -> IntArray:
    counts = np.asarray(values)
    if counts.shape != (k,) or (counts < 0).any() or (counts != np.floor(counts)).any():
        raise ValueError(f"counts must be {k} whole numbers >= 0")
    return counts.astype(np.int64)


def _clip(value: float) -> float:
    return float(np.clip(value, 0.0, 1.0))
