"""Draws without replacement with probability proportional to size (PPS)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray


def inclusion_probabilities(sizes: ArrayLike, n: int) -> FloatArray:
    """Probabilities proportional to size, capped at 1, that sum to the number of draws.

    Args:
        sizes: (k,) positive sizes.
        n: units to draw, >= 0; all of them where n >= k.

    Returns:
        (k,) probabilities; they sum to min(n, k).

    Raises:
        ValueError: a size that is not positive, or a negative n.

    Source: Särndal, Swensson and Wretman (1992), 3.6.2.
    """
    size = np.asarray(sizes, dtype=float)
    if not (size > 0).all() or n < 0:
        raise ValueError("need positive sizes and a number of draws >= 0")
    if n >= len(size):
        return np.ones(len(size))
    certain = np.zeros(len(size), dtype=bool)
    while True:
        left = n - certain.sum()
        probability = np.where(certain, 1.0, left * size / size[~certain].sum())
        beyond = (probability >= 1) & ~certain
        if not beyond.any():
            return probability
        certain |= beyond


def systematic_draw(
    probabilities: FloatArray, order: ArrayLike, rng: np.random.Generator
) -> IntArray:
    """One unit per whole step of the cumulated probabilities, from a random start.

    Each unit is drawn with exactly its probability. Units that are near each other in `order` are
    seldom drawn together, so an order by group spreads the draw over the groups.

    Args:
        probabilities: (k,) in (0, 1], summing to a whole number.
        order: (k,) permutation in which the units are cumulated.
        rng: source of the start.

    Returns:
        Indices of the drawn units, as many as the probabilities' sum, in `order`.

    Source: Madow (1949).
    """
    units = np.asarray(order, dtype=np.int64)
    n = round(float(probabilities.sum()))
    steps = rng.random() + np.arange(n)
    cumulated = np.cumsum(probabilities[units])
    place = np.searchsorted(cumulated, steps, side="right")
    return units[np.minimum(place, len(units) - 1)]
