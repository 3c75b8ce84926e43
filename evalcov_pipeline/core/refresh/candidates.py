"""Which production texts would be new in the suite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from evalcov_pipeline.core.statistics.pps import inclusion_probabilities, systematic_draw
from evalcov_pipeline.core.statistics.shares import FloatArray
from evalcov_pipeline.core.statistics.similarity import ALIKE, Vectors, is_like

MOST_TEXTS = 10_000
"""Texts that are compared with each other; more are thinned by a draw with known probabilities."""
_BLOCK = 512


@dataclass(frozen=True)
class Candidates:
    """Production texts of which some may become cases.

    Attributes:
        rows: one row per text, ordered by text_hash: the columns that came in, `thinning` (the
            probability with which a large window kept the text), `is_new` (no case and no heavier
            candidate is a near-duplicate) and `weight` (steady weight of the text and of the
            near-duplicates that it stands for; 0 where not new).
        vectors: (n, d) L2-normalised.
        cases: (m, d) vectors of the active cases.
    """

    rows: pl.DataFrame
    vectors: Vectors
    cases: Vectors

    def offered(self) -> pl.DataFrame:
        """cluster_id, texts (new ones) and weight (theirs), for `RefreshInputs`."""
        totals = self.rows.group_by("cluster_id").agg(
            texts=pl.sum("is_new"), weight=pl.sum("weight")
        )
        return totals.sort("cluster_id")


def find_candidates(
    texts: pl.DataFrame, vectors: Vectors, cases: Vectors, rng: np.random.Generator
) -> Candidates:
    """Tell the production texts that would be new in the suite from near-duplicates.

    Of near-duplicates the one with the most traffic stands for all. A window of more than
    `MOST_TEXTS` is first thinned by a draw with probability proportional to steady weight.

    Args:
        texts: one row per distinct text: text_hash, cluster_id, steady_weight, gap_score, signal
            (strength of failure signals, 0..1), session_id, user_id (may be None), and the columns
            that floors name; texts without weight are left out.
        vectors: (n, d) L2-normalised vectors in the order of `texts`.
        cases: (m, d) vectors of the active cases, m may be 0.
        rng: source of the thinning.

    Returns:
        The candidates, whatever the order of the rows.

    Raises:
        ValueError: vectors that do not match the texts, or negative weights.
    """
    points, suite = np.asarray(vectors, np.float32), np.asarray(cases, np.float32)
    if points.ndim != 2 or len(points) != len(texts) or suite.shape[1:] != points.shape[1:]:
        raise ValueError(f"{len(texts)} texts need as many vectors, got {points.shape}")
    if len(texts) and not texts["steady_weight"].min() >= 0:  # type: ignore[operator]
        raise ValueError("steady weights must be non-negative")
    order = texts["text_hash"].arg_sort().to_numpy()
    order = order[texts["steady_weight"].to_numpy()[order] > 0]
    weight = texts["steady_weight"].to_numpy()[order].astype(np.float64)
    thinning = inclusion_probabilities(weight, MOST_TEXTS)
    kept = np.sort(systematic_draw(thinning, rng.permutation(len(order)), rng))
    order, weight, thinning = order[kept], weight[kept] / thinning[kept], thinning[kept]
    points = points[order]
    stands_for = _stands_for(points, weight, suite)
    return Candidates(
        rows=texts[order].with_columns(
            steady_weight=weight, thinning=thinning, weight=stands_for, is_new=stands_for > 0
        ),
        vectors=points,
        cases=suite,
    )


def _stands_for(vectors: Vectors, weight: FloatArray, cases: Vectors) -> FloatArray:
    """Weight that each text stands for: 0 beside a case or a heavier text that is new.

    In the order of weight, a text that is like none before it is new and stands for all later texts
    that are most like it.
    """
    total = np.zeros(len(vectors))
    heads = np.empty(0, np.int64)
    for block in np.array_split(np.argsort(-weight, kind="stable"), len(vectors) // _BLOCK + 1):
        block = block[~is_like(vectors[block], cases)]
        known = is_like(vectors[block], vectors[heads])
        old = block[known]
        if len(old):
            nearest = heads[(vectors[old] @ vectors[heads].T).argmax(axis=1)]
            np.add.at(total, nearest, weight[old])
        block = block[~known]
        alike = np.tril(vectors[block] @ vectors[block].T >= ALIKE, -1)
        is_head = np.ones(len(block), bool)
        for place in range(len(block)):
            earlier = np.flatnonzero(alike[place] & is_head)
            is_head[place] = len(earlier) == 0
            total[block[earlier[0] if len(earlier) else place]] += weight[block[place]]
        heads = np.concatenate([heads, block[is_head]])
    return total
