"""Near-duplicates: vectors of texts that say the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


Mask = NDArray[np.bool_]


ALIKE = 0.95
"""Cosine from which two texts are near-duplicates."""


def is_like(vectors: Vectors, others: Vectors, near: float = ALIKE) -> Mask:
    """Which texts are near-duplicates of others.

    Args:
        vectors: (n, d) L2-normalised.
        others: (m, d) likewise, m may be 0.
        near: cosine from which two texts are.
    """
    if not len(others):
        return np.zeros(len(vectors), bool)
    like: Mask = (vectors @ others.T).max(axis=1) >= near
    return like
