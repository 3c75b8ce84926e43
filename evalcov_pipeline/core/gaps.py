"""Local gaps: production texts that no eval case resembles, found within and across clusters.

A gap smaller than a cluster hides in it. So coverage is also measured text by text: the density of
production around a text against the density of eval cases there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

TEMPERATURE = 0.08
"""Cosine scale of the density kernel."""
SMOOTHED_OVER = 20
"""Nearest production texts whose scores are averaged, the text itself not counted."""
FALSE_GAP_SHARE = 0.03
"""Calibrated share of production marked on proportional suites; the contract allows .05."""
_BLOCK = 1024


@dataclass(frozen=True)
class Gaps:
    """Local coverage of n production texts.

    Attributes:
        gap_score: (n,) log density ratio of production to cases, less what a proportional suite of
            this size shows at that place; 0 = as well covered as that, higher = less; finite.
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

    With vectors centred on the production mean, the local ratio of a text is
    log(mean exp(cos to production / t)) - log(mean exp(cos to cases / t)), the text itself left out
    of production, then averaged over the text and its nearest production texts. Pseudo-suites of
    the same size, drawn from production by weight and held against production resampled by text,
    say how large that ratio is by chance: their mean at each text is subtracted, and the rest of
    their spread gives the threshold. None of their cases counts for the very text it was drawn
    from, since an eval case is another text.

    Args:
        production: (n, d) L2-normalised vectors of distinct production texts.
        weights: (n,) non-negative weights with a positive sum.
        cases: (m, d) L2-normalised vectors of the active cases, one row per case; m may be 0.
        rng: source of the pseudo-suites.
        pseudo_suites: how many are drawn, >= 2.

    Returns:
        Scores and the calibrated cut.

    Raises:
        ValueError: no production text, shapes that do not agree, weights without a positive sum, or
            fewer than 2 pseudo-suites.
    """
    texts = np.asarray(production, dtype=np.float32)
    suite = np.asarray(cases, dtype=np.float32)
    mass = np.asarray(weights, dtype=np.float64)
    if texts.ndim != 2 or len(texts) == 0 or mass.shape != (len(texts),):
        raise ValueError("need (n, d) production vectors with n >= 1 and n weights")
    if suite.ndim != 2 or (len(suite) and suite.shape[1] != texts.shape[1]):
        raise ValueError(f"cases must be (m, {texts.shape[1]}), got {suite.shape}")
    if pseudo_suites < 2:
        raise ValueError(f"need at least 2 pseudo-suites, got {pseudo_suites}")
    if not np.all(mass >= 0) or not mass.sum() > 0:
        raise ValueError("weights must be non-negative with a positive sum")
    n, m = len(texts), len(suite)
    mass = mass / mass.sum()
    centre = mass @ texts
    texts, suite = _centred(texts, centre), _centred(suite.reshape(m, texts.shape[1]), centre)

    drawn = rng.multinomial(m, mass, size=pseudo_suites).T
    resampled = mass[:, None] * rng.multinomial(n, np.full(n, 1 / n), size=pseudo_suites).T
    counts = np.column_stack([mass, drawn, resampled]).astype(np.float32)
    totals = counts.sum(axis=0)
    k = min(SMOOTHED_OVER, n - 1)
    near = np.empty((n, k + 1), np.int32)
    density = np.empty((n, 1 + 2 * pseudo_suites))
    tested = np.empty(n)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        cosine = texts[rows] @ texts.T
        cosine[np.arange(len(rows)), rows] = np.inf
        near[rows] = np.argpartition(-cosine, k, axis=1)[:, : k + 1]
        cosine[np.arange(len(rows)), rows] = -np.inf
        density[rows] = _mean(_kernel(cosine) @ counts, totals - counts[rows])
        tested[rows] = _mean(_kernel(texts[rows] @ suite.T).sum(axis=1), np.full(len(rows), m))
    density = np.log(density)
    score = _smoothed(density[:, :1] - np.log(tested)[:, None], near)[:, 0]
    if m == 0:
        return Gaps(score, np.ones(n, np.bool_), None)
    suites, productions = density[:, 1 : 1 + pseudo_suites], density[:, 1 + pseudo_suites :]
    null = _smoothed(productions - suites, near)
    expected = null.mean(axis=1)
    # A pseudo-suite's excess over the mean of the others, as the real suite's is over all of them.
    excess = (null - expected[:, None]) * pseudo_suites / (pseudo_suites - 1)
    threshold = _upper_quantile(excess, np.repeat(mass[:, None], pseudo_suites, axis=1))
    score -= expected
    return Gaps(score, score > threshold + 1e-6, threshold)


def _centred(vectors: Floats, centre: Floats) -> NDArray[np.float32]:
    moved = vectors - centre
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(length, 1e-9), dtype=np.float32)


def _kernel(cosine: Floats) -> NDArray[np.float32]:
    return np.asarray(np.exp((cosine - 1.0) / TEMPERATURE), dtype=np.float32)


def _mean(total: Floats, count: NDArray[Any]) -> NDArray[np.float64]:
    """Kernel mean, never below the kernel of opposite vectors, so that its logarithm is finite."""
    mean = np.divide(total, count, out=np.zeros(np.shape(total), np.float64), where=count > 1e-9)
    floored: NDArray[np.float64] = np.maximum(mean, np.exp(-2.0 / TEMPERATURE))
    return floored


def _smoothed(scores: NDArray[np.float64], near: NDArray[np.int32]) -> NDArray[np.float64]:
    """Mean over each text's neighbours, itself included; scores (n, s), near (n, k)."""
    return np.column_stack([column[near].mean(axis=1) for column in scores.T])


def _upper_quantile(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Least score that at most `FALSE_GAP_SHARE` of the weight exceeds."""
    order = np.argsort(scores, axis=None)
    above = 1.0 - np.cumsum(weights.ravel()[order]) / weights.sum()
    return float(scores.ravel()[order][np.argmax(above <= FALSE_GAP_SHARE)])
