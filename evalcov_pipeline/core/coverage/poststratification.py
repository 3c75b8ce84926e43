"""The pass rate that production would see: post-stratification by cluster, with bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.statistics.shares import Z95, FloatArray, ProductionShares, wilson

_PRIOR_RESULTS = 2.0


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
