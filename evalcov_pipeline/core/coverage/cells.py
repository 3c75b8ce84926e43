"""Random fine partitions of production: many views of which texts lie together.

One partition draws its edges somewhere by chance; what many of them agree on is structure. Gaps are
found on them, and new cases are spread over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.floating]

PARTITIONS = 24
TEXTS_PER_CELL = 8
"""Least mean size of a cell; less production is divided into fewer cells."""
REFINEMENTS = 2
"""Rounds of k-means by which a partition follows the density of production."""


def centred(mass: Floats, texts: Floats, cases: Floats) -> tuple[NDArray[np.float32], ...]:
    """Directions from the mean of production, which all texts of one product share.

    Args:
        mass: (n,) weights of the texts, summing to 1.
        texts: (n, d) vectors of production.
        cases: (m, d) vectors of the suite.

    Returns:
        Both, moved and L2-normalised.
    """
    centre = mass @ texts
    return _unit(texts - centre), _unit(cases - centre)


def random_partitions(
    texts: NDArray[np.float32], cells: tuple[int, int], rng: np.random.Generator
) -> Iterator[Floats]:
    """Partitions by spherical k-means from random texts, stopped early.

    Args:
        texts: (n, d) L2-normalised vectors, n >= 1.
        cells: of the coarsest and of the finest partition, where there are enough texts.
        rng: source of the first centroids.

    Yields:
        Centroids (k, d) of each of `PARTITIONS` partitions, from coarse to fine.
    """
    most = max(1, len(texts) // TEXTS_PER_CELL)
    for size in np.geomspace(*cells, PARTITIONS):
        centroids = texts[rng.choice(len(texts), min(round(size), most), replace=False)]
        for _ in range(REFINEMENTS):
            member, _ = in_cells(texts, centroids)
            centroids = _unit(member.T @ texts)
        yield centroids


def in_cells(vectors: Floats, centroids: Floats) -> tuple[csr_array[Any], NDArray[np.intp]]:
    """Membership matrix (n, k) and the cell (n,) of each vector: that of its nearest centroid."""
    n = len(vectors)
    cell = (vectors @ centroids.T).argmax(axis=1)
    member = csr_array((np.ones(n, np.float32), cell, np.arange(n + 1)), (n, len(centroids)))
    return member, cell


def _unit(vectors: Floats) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), dtype=np.float32)
