"""Local gaps: production texts that no eval case resembles, found within and across clusters.

A gap smaller than a cluster hides in it, and a fixed neighbourhood blurs its edge. So the evidence
is taken in many fine random partitions of production and averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from evalcov_pipeline.core.coverage.cells import (
    PARTITIONS,
    Floats,
    centred,
    in_cells,
    random_partitions,
)

CELLS = (100, 400)
"""Cells of the coarsest and of the finest partition, where there are enough texts."""
GAP_RATE = 0.1
"""Cases per unit of traffic in a gap, relative to a proportional suite: strays over its edge."""
GAP_PRIOR = 0.2
"""Chance of a gap before any evidence."""
SMOOTHED_OVER = 10
"""Nearest production texts whose scores are averaged, the text itself not counted."""
FALSE_GAP_SHARE = 0.02
"""Calibrated share of production marked on proportional suites; the contract allows .05."""
_BLOCK = 1024


@dataclass(frozen=True)
class Gaps:
    """Local coverage of n production texts.

    Attributes:
        gap_score: (n,) belief that the text lies in a gap, 0..1; 1 everywhere without a case.
        in_gap: (n,) gap_score above the threshold; all texts where there is no case.
        threshold: score that proportional suites of this size exceed on `FALSE_GAP_SHARE` of
            production; None without a case.
    """

    gap_score: NDArray[np.float64]
    in_gap: NDArray[np.bool_]
    threshold: float | None


def gap_scores(
    production: Floats,
    weights: Floats,
    cases: Floats,
    *,
    rng: np.random.Generator,
    pseudo_suites: int = 40,
) -> Gaps:
    """Score how far each production text is from being tested.

    Random partitions of production into fine cells (spherical k-means, stopped early, on vectors
    centred on the production mean) each give a text the posterior probability that its cell is a
    gap: cases come as a Poisson count, at the rate of a proportional suite where the cell is tested
    and at `GAP_RATE` of it where it is not. The score is the mean over the partitions, then over
    the text and its nearest production texts.

    Pseudo-suites of the same size, drawn from production by weight, go through the same partitions
    and give the threshold. An eval case is another text than any of production, so neither a text's
    own weight nor the pseudo-cases drawn from it count as its surroundings.

    Args:
        production: (n, d) L2-normalised vectors of distinct production texts.
        weights: (n,) non-negative weights with a positive sum.
        cases: (m, d) L2-normalised vectors of the active cases, one row per case; m may be 0.
        rng: source of the partitions and of the pseudo-suites.
        pseudo_suites: how many are drawn, >= 1.

    Returns:
        Scores and the calibrated cut.

    Raises:
        ValueError: no production text, shapes that do not agree, weights without a positive sum, or
            no pseudo-suite.
    """
    texts = np.asarray(production, dtype=np.float32)
    suite = np.asarray(cases, dtype=np.float32)
    mass = np.asarray(weights, dtype=np.float64)
    if texts.ndim != 2 or len(texts) == 0 or mass.shape != (len(texts),):
        raise ValueError("need (n, d) production vectors with n >= 1 and n weights")
    if suite.ndim != 2 or (len(suite) and suite.shape[1] != texts.shape[1]):
        raise ValueError(f"cases must be (m, {texts.shape[1]}), got {suite.shape}")
    if pseudo_suites < 1:
        raise ValueError(f"need at least 1 pseudo-suite, got {pseudo_suites}")
    if not np.all(mass >= 0) or not mass.sum() > 0:
        raise ValueError("weights must be non-negative with a positive sum")
    n, m = len(texts), len(suite)
    if m == 0:
        return Gaps(np.ones(n), np.ones(n, np.bool_), None)
    mass = mass / mass.sum()
    texts, suite = centred(mass, texts, suite)

    drawn = rng.multinomial(m, mass, size=pseudo_suites).T
    belief = np.zeros((n, 1 + pseudo_suites))
    for centroids in random_partitions(texts, CELLS, rng):
        member, cell = in_cells(texts, centroids)
        _, hit = in_cells(suite, centroids)
        tested = np.bincount(hit, minlength=len(centroids))
        expected = m * ((member.T @ mass)[cell] - mass)
        counts = np.column_stack([tested[cell], (member.T @ drawn)[cell] - drawn])
        belief += _gap_probability(counts, expected[:, None])
    belief = _smoothed(belief / PARTITIONS, _nearest(texts))
    score, null = belief[:, 0], belief[:, 1:]
    threshold = _upper_quantile(null, np.repeat(mass[:, None], pseudo_suites, axis=1))
    return Gaps(score, score > threshold + 1e-6, threshold)


def _gap_probability(cases: Floats, expected: Floats) -> NDArray[np.float64]:
    """Posterior that a cell is a gap, by its cases and those of a proportional suite (Poisson)."""
    evidence = (1.0 - GAP_RATE) * expected + np.log(GAP_RATE) * cases
    return np.asarray(expit(logit(GAP_PRIOR) + evidence), dtype=np.float64)


def _nearest(texts: NDArray[np.float32]) -> NDArray[np.int32]:
    """Each text and its `SMOOTHED_OVER` nearest (n, k + 1)."""
    n = len(texts)
    k = min(SMOOTHED_OVER, n - 1)
    near = np.empty((n, k + 1), np.int32)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        cosine = texts[rows] @ texts.T
        cosine[np.arange(len(rows)), rows] = np.inf
        near[rows] = np.argpartition(-cosine, k, axis=1)[:, : k + 1]
    return near


def _smoothed(scores: NDArray[np.float64], near: NDArray[np.int32]) -> NDArray[np.float64]:
    """Mean over each text's neighbours, itself included; scores (n, s), near (n, k)."""
    return np.column_stack([column[near].mean(axis=1) for column in scores.T])


def _upper_quantile(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Least score that at most `FALSE_GAP_SHARE` of the weight exceeds."""
    order = np.argsort(scores, axis=None)
    above = 1.0 - np.cumsum(weights.ravel()[order]) / weights.sum()
    return float(scores.ravel()[order][np.argmax(above <= FALSE_GAP_SHARE)])
