"""The frozen taxonomy and the one rule that assigns every text to a cluster.

Production and eval texts go through the same rule in the original embedding space. A text that the
taxonomy was fitted on never meets itself: its assignment is the leave-one-out one, computed once at
the freeze and looked up by hash afterwards. Without that, production would sit deeper in the
clusters than eval cases from the same distribution, and a perfect suite would look divergent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

NOVEL = -1
"""Cluster id of a text outside every cluster's radius."""
EXEMPLARS = 25
"""Exemplar texts per cluster."""
TEMPERATURE = 0.08
"""Cosine scale of the kernel by which exemplars vote."""
NOVEL_SHARE = 0.02
"""Share of held-out production texts that a radius leaves outside."""
_CANDIDATES = 2000
_NEIGHBOURS = 5
"""Nearest exemplars whose mean a new text lies at on the map."""
_BLOCK = 2048
_GRID = 2.0**24


@dataclass(frozen=True)
class Taxonomy:
    """Frozen clusters: m exemplars of k clusters, and the n texts they were fitted on.

    Attributes:
        exemplar_vectors: (m, d) float32, L2-normalised.
        exemplar_clusters: (m,) cluster of each exemplar, ascending.
        exemplar_coordinates: (m, 2) place on the map.
        exemplar_hashes: (m,) text hashes.
        radius: (k,) least similarity at which a text still belongs to the cluster; -1 = any.
        sizes: (k,) fitted texts that the rule assigns to the cluster.
        fitted_hashes: (n,) text hashes, ascending.
        fitted_clusters: (n,) their leave-one-out cluster, -1 = novel.
        fitted_similarity: (n,) their leave-one-out similarity.
        fitted_coordinates: (n, 2) place on the map.
        embedding_fingerprint: the model whose vectors these are.
        seed: seed of the fit.
    """

    exemplar_vectors: NDArray[np.float32]
    exemplar_clusters: NDArray[np.int32]
    exemplar_coordinates: NDArray[np.float32]
    exemplar_hashes: NDArray[np.str_]
    radius: NDArray[np.float64]
    sizes: NDArray[np.int64]
    fitted_hashes: NDArray[np.str_]
    fitted_clusters: NDArray[np.int32]
    fitted_similarity: NDArray[np.float64]
    fitted_coordinates: NDArray[np.float32]
    embedding_fingerprint: str
    seed: int

    @property
    def n_clusters(self) -> int:
        """Number of clusters, novel not counted."""
        return len(self.radius)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, str | int]]:
        """Arrays for an `.npz` (no object dtype, hashes fixed-width) and a JSON-able rest."""
        meta: dict[str, str | int] = {
            "embedding_fingerprint": self.embedding_fingerprint,
            "seed": self.seed,
        }
        return {k: v for k, v in vars(self).items() if k not in meta}, meta

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], meta: dict[str, Any]) -> Taxonomy:
        """Inverse of `to_arrays`.

        Raises:
            ValueError: an array or a field is missing or unknown.
        """
        try:
            fields: dict[str, Any] = {**arrays, **meta}
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a taxonomy: {error}") from None


@dataclass(frozen=True)
class Assignments:
    """Clusters of n texts.

    Attributes:
        cluster_id: (n,) 0..k-1, or -1 = novel.
        similarity: (n,) cosine to the nearest exemplar of the nearest cluster (also where the text
            is novel), rounded to 1e-6; -1.0 where there was no exemplar to compare with.
    """

    cluster_id: NDArray[np.int32]
    similarity: NDArray[np.float64]


def freeze(
    labels: Ints,
    vectors: Floats,
    hashes: Sequence[str] | NDArray[np.str_],
    coordinates: Floats,
    *,
    embedding_fingerprint: str,
    seed: int = 7,
) -> Taxonomy:
    """Turn discovered labels into the frozen taxonomy.

    Per cluster up to `EXEMPLARS` texts are chosen that best represent all of it (greedy facility
    location). Every fitted text, unclustered ones included, then goes through the rule of `assign`
    with itself left out of the exemplars, and those similarities give the radii.

    Args:
        labels: (n,) cluster 0..k-1 or -1, from `discover`; every cluster has a text.
        vectors: (n, d) L2-normalised vectors.
        hashes: (n,) distinct text hashes.
        coordinates: (n, 2) map of the texts.
        embedding_fingerprint: the model that made the vectors.
        seed: seed of the draw by which clusters above 2,000 texts are searched for exemplars.

    Returns:
        The taxonomy.

    Raises:
        ValueError: shapes that do not agree, repeated hashes, no cluster, or an empty one.

    Source: the radius is a split-conformal bound (Vovk et al. 2005, ch. 2), leave-one-out.
    """
    clusters = np.asarray(labels, dtype=np.int32)
    points = np.ascontiguousarray(vectors, dtype=np.float32)
    names = np.asarray(hashes, dtype=np.str_)
    plane = np.asarray(coordinates, dtype=np.float32)
    n = len(clusters)
    if len(points) != n or names.shape != (n,) or plane.shape != (n, 2):
        raise ValueError("labels, vectors, hashes and coordinates must describe the same texts")
    if len(np.unique(names)) != n:
        raise ValueError("hashes must be distinct: fit on distinct texts")
    counts = np.bincount(clusters[clusters >= 0])
    if len(counts) == 0 or counts.min() == 0:
        raise ValueError("labels must be 0..k-1 with at least one text each")

    rng = np.random.default_rng(seed)
    chosen = [_exemplars(np.flatnonzero(clusters == k), points, rng) for k in range(len(counts))]
    exemplars = np.concatenate(chosen)
    voters = clusters[exemplars]
    left_out = np.full(n, -1)
    left_out[exemplars] = np.arange(len(exemplars))
    nearest, similarity = _nearest(points, points[exemplars], voters, left_out)
    radius, novel = _radii(nearest, similarity, len(counts))

    order = np.argsort(names)
    assigned = np.where(novel, NOVEL, nearest).astype(np.int32)
    return Taxonomy(
        exemplar_vectors=points[exemplars],
        exemplar_clusters=voters,
        exemplar_coordinates=plane[exemplars],
        exemplar_hashes=names[exemplars],
        radius=radius,
        sizes=np.bincount(assigned[assigned >= 0], minlength=len(counts)),
        fitted_hashes=names[order],
        fitted_clusters=assigned[order],
        fitted_similarity=similarity[order],
        fitted_coordinates=plane[order],
        embedding_fingerprint=embedding_fingerprint,
        seed=seed,
    )


def assign(
    taxonomy: Taxonomy,
    vectors: Floats,
    hashes: Sequence[str] | NDArray[np.str_],
    *,
    embedding_fingerprint: str,
) -> Assignments:
    """Assign texts to clusters; one deterministic rule for production and eval alike.

    The cluster is the one whose exemplars are nearest on average under the kernel
    exp(cosine / `TEMPERATURE`), ties to the lowest id; the text is novel when its nearest exemplar
    there is farther than the cluster's radius. A fitted text gets its leave-one-out assignment.
    The result for a text does not depend on its batch.

    Args:
        taxonomy: the frozen clusters.
        vectors: (n, d) L2-normalised vectors.
        hashes: (n,) text hashes.
        embedding_fingerprint: the model that made the vectors.

    Returns:
        Cluster and similarity per text.

    Raises:
        ValueError: vectors of another model, or shapes that do not agree.
    """
    if embedding_fingerprint != taxonomy.embedding_fingerprint:
        raise ValueError(
            f"the taxonomy was fitted on vectors of {taxonomy.embedding_fingerprint}, "
            f"these are of {embedding_fingerprint}: fit a new taxonomy"
        )
    points, names, known, place = _looked_up(taxonomy, vectors, hashes)
    nearest, similarity = _nearest(
        points, taxonomy.exemplar_vectors, taxonomy.exemplar_clusters, np.full(len(names), -1)
    )
    cluster = np.where(similarity < taxonomy.radius[nearest], NOVEL, nearest)
    return Assignments(
        cluster_id=np.where(known, taxonomy.fitted_clusters[place], cluster).astype(np.int32),
        similarity=np.where(known, taxonomy.fitted_similarity[place], similarity),
    )


def locate(
    taxonomy: Taxonomy,
    vectors: Floats,
    hashes: Sequence[str] | NDArray[np.str_],
) -> NDArray[np.float32]:
    """Place texts on the taxonomy's map: fitted texts where they were, others among their likes.

    Args:
        taxonomy: the frozen clusters.
        vectors: (n, d) L2-normalised vectors.
        hashes: (n,) text hashes.

    Returns:
        Coordinates (n, 2).

    Raises:
        ValueError: shapes that do not agree.
    """
    points, names, known, place = _looked_up(taxonomy, vectors, hashes)
    k = min(_NEIGHBOURS, len(taxonomy.exemplar_vectors))
    places = np.empty((len(names), 2), np.float32)
    for start in range(0, len(names), _BLOCK):
        rows = slice(start, start + _BLOCK)
        similarity = _cosines(points[rows], taxonomy.exemplar_vectors)
        near = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        places[rows] = taxonomy.exemplar_coordinates[near].mean(axis=1)
    return np.where(known[:, None], taxonomy.fitted_coordinates[place], places)


def _looked_up(
    taxonomy: Taxonomy, vectors: Floats, hashes: Sequence[str] | NDArray[np.str_]
) -> tuple[NDArray[np.float32], NDArray[np.str_], NDArray[np.bool_], NDArray[np.intp]]:
    names = np.asarray(hashes, dtype=np.str_)
    width = taxonomy.exemplar_vectors.shape[1]
    points = np.asarray(vectors, dtype=np.float32)
    if names.ndim != 1 or points.shape != (len(names), width):
        raise ValueError(f"need ({len(names)}, {width}) vectors, got {points.shape}")
    place = np.searchsorted(taxonomy.fitted_hashes, names)
    place = np.minimum(place, len(taxonomy.fitted_hashes) - 1)
    return points, names, taxonomy.fitted_hashes[place] == names, place


def _cosines(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Cosines of unit vectors, exact for their values on a grid of 2^-24.

    Every product and every partial sum is an integer below 2^53, so no order of summation, and with
    it no batch size or number of threads, changes a digit.
    """
    left, right = (np.rint(x.astype(np.float64) * _GRID) for x in (a, b))
    cosines: NDArray[np.float64] = (left @ right.T) / _GRID**2
    return cosines


def _nearest(
    vectors: Floats, exemplars: Floats, clusters: Ints, left_out: Ints
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Nearest cluster and similarity of each text, without exemplar `left_out` (-1: none)."""
    starts = np.flatnonzero(np.diff(clusters, prepend=-1))
    counts = np.diff(starts, append=len(clusters))
    nearest = np.empty(len(vectors), np.int32)
    similarity = np.empty(len(vectors), np.float64)
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        cosines = _cosines(vectors[rows], exemplars)
        voters = np.tile(counts, (len(rows), 1))
        own = np.flatnonzero(left_out[rows] >= 0)
        cosines[own, left_out[rows[own]]] = -np.inf
        voters[own, clusters[left_out[rows[own]]]] -= 1
        votes = np.add.reduceat(np.exp((cosines - 1.0) / TEMPERATURE), starts, axis=1)
        with np.errstate(divide="ignore"):
            score = TEMPERATURE * np.log(votes / np.maximum(voters, 1))
        best = np.round(score, 9).argmax(axis=1)
        nearest[rows] = best
        similarity[rows] = np.maximum.reduceat(cosines, starts, axis=1)[np.arange(len(rows)), best]
    return nearest, np.maximum(similarity, -1.0).round(6)


def _exemplars(
    members: NDArray[np.intp], vectors: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.intp]:
    """The members that best represent all: greedy facility location on cosine."""
    if len(members) <= EXEMPLARS:
        return members
    if len(members) > _CANDIDATES:
        members = np.sort(rng.choice(members, _CANDIDATES, replace=False))
    similarity = _cosines(vectors[members], vectors[members])
    covered = np.full(len(members), -1.0)
    chosen: list[int] = []
    for _ in range(EXEMPLARS):
        gain = np.maximum(similarity - covered[:, None], 0.0).sum(axis=0)
        gain[chosen] = -1.0
        best = int(np.round(gain, 9).argmax())
        chosen.append(best)
        covered = np.maximum(covered, similarity[:, best])
    kept: NDArray[np.intp] = members[np.sort(chosen)]
    return kept


def _radii(
    clusters: NDArray[np.int32], similarity: NDArray[np.float64], n_clusters: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Radius per cluster, and which fitted texts lie outside the radius made without them.

    Of m held-out similarities the r-th smallest, r = floor(share x (m + 1)), leaves a new text
    outside with probability r / (m + 1). Clusters too small for r >= 1 take the radius of all texts
    together; where those are too few as well nothing is novel, and the radius is -1.
    """
    pooled = np.sort(similarity)
    radius = np.full(n_clusters, -1.0)
    novel = np.zeros(len(clusters), np.bool_)
    for k in range(n_clusters):
        own = similarity[clusters == k]
        values = np.sort(own) if NOVEL_SHARE * (len(own) + 1) >= 1.0 else pooled
        r, r_without = int(NOVEL_SHARE * (len(values) + 1)), int(NOVEL_SHARE * len(values))
        if r:
            radius[k] = values[r - 1]
        if r_without:
            novel[clusters == k] = own < values[r_without]
    return radius, novel
