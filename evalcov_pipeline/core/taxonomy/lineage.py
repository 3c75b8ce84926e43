"""Which cluster became which: taxonomies matched across refits on the texts that both assign."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evalcov_pipeline.core.taxonomy.taxonomy import Taxonomy

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Relation = Literal["same", "split", "merge", "birth", "death"]

KEPT_OVERLAP = 1 / 3
"""Least overlap at which a cluster keeps its key: two clusters of equal weight that share half."""
PARENT_SHARE = 0.5
"""Share of a cluster's weight that must lie in another for a split or a merge."""


@dataclass(frozen=True)
class LineageRow:
    """What became of one cluster.

    `from_cluster` is None for a birth, `to_cluster` is None for a death. `overlap` is the weighted
    Jaccard overlap of the two clusters, 0..1; 0 for births and deaths.
    """

    from_cluster: int | None
    to_cluster: int | None
    relation: Relation
    overlap: float


@dataclass(frozen=True)
class Lineage:
    """Rows of the match, and the key of each new cluster by its id."""

    rows: tuple[LineageRow, ...]
    cluster_keys: tuple[str, ...]


def mint_keys(taxonomy: Taxonomy) -> tuple[str, ...]:
    """A fresh key per cluster: a hash of what it was fitted on, so the same fit has the same keys.

    Args:
        taxonomy: the frozen clusters.

    Returns:
        One key per cluster id, such as "c3f9a01b2c4".
    """
    fit = hashlib.sha256(f"{taxonomy.seed}\n".encode())
    fit.update("\n".join(taxonomy.fitted_hashes.tolist()).encode())
    keys = []
    for cluster in range(taxonomy.n_clusters):
        members = taxonomy.exemplar_hashes[taxonomy.exemplar_clusters == cluster]
        digest = fit.copy()
        digest.update("\n".join(["", *sorted(members.tolist())]).encode())
        keys.append("c" + digest.hexdigest()[:10])
    return tuple(keys)


def match(
    previous_ids: Ints,
    new_ids: Ints,
    weights: Floats,
    previous_keys: Sequence[str],
    minted_keys: Sequence[str],
) -> Lineage:
    """Match new clusters with previous ones on texts assigned under both taxonomies.

    The one-to-one match with the greatest total overlap is found (Hungarian method); pairs with an
    overlap of at least `KEPT_OVERLAP` are the *same* cluster and keep the key. A new cluster
    without a partner is a *split* of the previous cluster that holds at least half of its weight; a
    previous one without a partner was *merged* into the new cluster that holds at least half of its
    weight. What remains without any relation is a *birth* or a *death*. Novel texts (-1) belong
    nowhere.

    Args:
        previous_ids: (n,) cluster of each shared text under the previous taxonomy, -1 = novel.
        new_ids: (n,) its cluster under the new one, -1 = novel.
        weights: (n,) non-negative weights.
        previous_keys: key of each previous cluster, by id.
        minted_keys: key that each new cluster gets if it is nobody's successor, by id.

    Returns:
        Rows ordered by previous, then new cluster (births last), and the new clusters' keys.

    Raises:
        ValueError: shapes that do not agree, or an id without a key.
    """
    from scipy.optimize import linear_sum_assignment

    before, after = np.asarray(previous_ids), np.asarray(new_ids)
    mass = np.asarray(weights, dtype=np.float64)
    if not before.shape == after.shape == mass.shape or before.ndim != 1:
        raise ValueError("previous_ids, new_ids and weights must be (n,) arrays of the same texts")
    if before.max(initial=-1) >= len(previous_keys) or after.max(initial=-1) >= len(minted_keys):
        raise ValueError("every cluster id needs a key")
    # Row and column 0 stand for novel.
    table = np.zeros((len(previous_keys) + 1, len(minted_keys) + 1))
    np.add.at(table, (before + 1, after + 1), mass)
    of_previous, of_new = table[1:].sum(axis=1), table[:, 1:].sum(axis=0)
    shared = table[1:, 1:]
    union = of_previous[:, None] + of_new[None, :] - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

    same = {
        (int(i), int(j))
        for i, j in zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        if overlap[i, j] >= KEPT_OVERLAP
    }
    kept = {j: i for i, j in same}
    gone = set(range(len(previous_keys))) - set(kept.values())
    fresh = set(range(len(minted_keys))) - set(kept)
    splits = _absorbed(fresh, shared.T, of_new)
    merges = _absorbed(gone, shared, of_previous)

    def row(i: int, j: int, relation: Relation) -> LineageRow:
        return LineageRow(i, j, relation, float(overlap[i, j]))

    pairs = {(i, j): row(i, j, "split") for j, i in splits.items()}
    pairs |= {(i, j): row(i, j, "merge") for i, j in merges.items()}
    pairs |= {(i, j): row(i, j, "same") for i, j in same}
    deaths = gone - {i for i, _ in pairs}
    births = fresh - {j for _, j in pairs}
    rows = [*pairs.values(), *(LineageRow(i, None, "death", 0.0) for i in deaths)]
    rows.sort(key=lambda r: (r.from_cluster, -1 if r.to_cluster is None else r.to_cluster))
    rows += [LineageRow(None, j, "birth", 0.0) for j in sorted(births)]
    keys = [previous_keys[kept[j]] if j in kept else key for j, key in enumerate(minted_keys)]
    return Lineage(tuple(rows), tuple(keys))


def _absorbed(
    clusters: set[int], shared: NDArray[np.float64], totals: NDArray[np.float64]
) -> dict[int, int]:
    """Of `clusters` (rows of `shared`), those that lie by half or more in one column."""
    return {
        c: int(shared[c].argmax())
        for c in clusters
        if shared.shape[1] and totals[c] > 0 and shared[c].max() >= PARENT_SHARE * totals[c]
    }
