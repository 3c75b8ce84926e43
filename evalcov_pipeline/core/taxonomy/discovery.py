"""Cluster discovery: which regions does production traffic have?

Runs once per taxonomy. Its labels are only the beginning: `taxonomy.freeze` turns them into the
rule that assigns every text, so nothing here is ever asked about a text that it has not seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["umap_hdbscan", "kmeans"]
Progress = Callable[[str], None]
Floats = NDArray[np.floating]
Labels = NDArray[np.int32]

NEIGHBOURS = 15
"""Neighbours per text in the UMAP graph."""
DIMENSIONS = 10
"""Dimensions of the layout that HDBSCAN reads."""
MIN_SAMPLES = 5
"""HDBSCAN's density smoothing; small, so that few texts stay unclustered."""
MIN_TEXTS_FOR_LAYOUT = 200
"""Below this many texts a neighbour graph says little, and k-means is used."""
MIN_TEXTS_PER_CLUSTER = 5
MAX_UNCLUSTERED = 0.5
MIN_VALIDITY = 0.2
"""HDBSCAN gives way to k-means when it leaves more out, or separates less well, than this."""
VALIDITY_KEPT = 0.8
"""The finest partition with at least this share of the best validity is chosen."""
NATURAL_VALIDITY = 0.75
NATURAL_RATIO = 1.5
"""Coarser than asked only where validity is at least this, and this many times the best within."""
_BLOCK = 1024


@dataclass(frozen=True)
class Candidate:
    """One partition of the granularity search.

    `validity` is HDBSCAN's relative validity (a density-based index, -1..1, texts left unclustered
    count against it) or, for k-means, the simplified silhouette (-1..1).
    """

    selection: Literal["eom", "leaf", "kmeans"]
    parameter: int
    n_clusters: int
    unclustered_share: float
    validity: float


@dataclass(frozen=True)
class Discovery:
    """Clusters found among n texts.

    Attributes:
        labels: (n,) cluster 0..k-1, or -1 where HDBSCAN left the text unclustered.
        method: the method that produced the labels; differs from the one asked after a fall-back.
        chosen: the candidate behind the labels.
        candidates: every partition that was looked at.
        unclustered_share: weighted share of texts labelled -1.
        stability: adjusted Rand index, -1..1, of the labels against a second run with another seed
            (`umap_hdbscan`: HDBSCAN on the independent 2-D layout, over texts clustered in both);
            None when there is nothing to compare.
        coordinates: (n, 2) float32 map, for people only.
        seed: seed of the run.
        notes: what a reader should know, such as a fall-back.
    """

    labels: Labels
    method: Method
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    unclustered_share: float
    stability: float | None
    coordinates: NDArray[np.float32]
    seed: int
    notes: tuple[str, ...]

    @property
    def n_clusters(self) -> int:
        """Number of clusters, the unclustered texts not counted."""
        return self.chosen.n_clusters


@dataclass(frozen=True)
class _Found:
    labels: Labels
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    stability: float | None
    coordinates: NDArray[np.float32]


def discover(
    vectors: Floats,
    weights: Floats,
    *,
    method: Method = "umap_hdbscan",
    min_clusters: int = 20,
    max_clusters: int = 80,
    seed: int = 7,
    progress: Progress | None = None,
) -> Discovery:
    """Find the clusters of distinct texts, at a granularity people can read.

    `umap_hdbscan` lays the texts out once (UMAP, cosine, exact neighbours), then runs HDBSCAN over
    a grid of `min_cluster_size`; `kmeans` fits spherical k-means over a grid of k. Of the
    partitions with `min_clusters..max_clusters` clusters the finest one is chosen whose validity is
    at least `VALIDITY_KEPT` of the best: coarse clusters lose divergence, invalid ones mean
    nothing. Fewer clusters than asked come out when the texts have fewer (see `notes`).

    Args:
        vectors: (n, d) L2-normalised vectors of distinct texts.
        weights: (n,) non-negative weights with a positive sum; k-means and the shares use them,
            a density does not.
        method: how to cluster.
        min_clusters: least number of clusters wanted.
        max_clusters: most clusters allowed; also at most one per 5 distinct vectors.
        seed: seed of every random choice.
        progress: called with a line of text before each long step.

    Returns:
        The labels, how they were chosen, and a 2-D map.

    Raises:
        ValueError: no texts, shapes that do not agree, weights without a positive sum, or
            `min_clusters` above `max_clusters`.

    Source: McInnes et al. 2018 (UMAP); Campello et al. 2013 (HDBSCAN); Moulavi et al. 2014 (DBCV).
    """
    points, masses = _checked(vectors, weights)
    if not 1 <= min_clusters <= max_clusters:
        raise ValueError(
            f"need 1 <= min_clusters <= max_clusters, got {min_clusters}, {max_clusters}"
        )
    say = progress or (lambda line: None)
    notes: list[str] = []
    distinct = len(np.unique(points, axis=0))
    most = max(1, min(max_clusters, distinct // MIN_TEXTS_PER_CLUSTER))
    least = min(min_clusters, most)
    if most < max_clusters:
        notes.append(f"{distinct} distinct texts: at most {most} clusters")

    found: _Found | None = None
    if method == "umap_hdbscan" and distinct < MIN_TEXTS_FOR_LAYOUT:
        notes.append(f"k-means, since {distinct} texts are too few for a neighbour graph")
    elif method == "umap_hdbscan":
        found = _umap_hdbscan(points, masses, least, most, seed, say)
        if found is None:
            notes.append("k-means, since HDBSCAN found no clear clusters within the range")
    used: Method = "kmeans" if found is None else "umap_hdbscan"
    found = found or _kmeans(points, masses, least, most, seed, say)
    if found.chosen.n_clusters < min_clusters:
        notes.append(f"{found.chosen.n_clusters} clusters, fewer than the {min_clusters} asked for")
    return Discovery(
        labels=found.labels,
        method=used,
        chosen=found.chosen,
        candidates=found.candidates,
        unclustered_share=float(masses[found.labels < 0].sum() / masses.sum()),
        stability=found.stability,
        coordinates=found.coordinates,
        seed=seed,
        notes=tuple(notes),
    )


def nearest_neighbours(vectors: Floats, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Exact cosine neighbours, each text first among its own.

    Args:
        vectors: (n, d) L2-normalised vectors.
        k: neighbours per text, the text itself included; 1 <= k <= n.

    Returns:
        Indices (n, k) and cosine distances (n, k), nearest first.

    Raises:
        ValueError: k outside 1..n.
    """
    n = len(vectors)
    if not 1 <= k <= n:
        raise ValueError(f"k must be within 1..{n}, got {k}")
    indices = np.empty((n, k), np.int32)
    distances = np.empty((n, k), np.float32)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        similarity = vectors[rows] @ vectors.T
        similarity[np.arange(len(rows)), rows] = 2.0
        near = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(similarity, near, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        indices[rows] = np.take_along_axis(near, order, axis=1)
        distances[rows] = np.clip(1.0 - np.take_along_axis(values, order, axis=1), 0.0, 2.0)
    return indices, distances


def choose(candidates: list[Candidate], least: int, most: int) -> Candidate | None:
    """The partition to use: the finest valid one within the range, or the natural one below it.

    Args:
        candidates: partitions to choose from.
        least: least number of clusters wanted.
        most: most clusters allowed.

    Returns:
        The choice, or None when no candidate has 1..most clusters.
    """
    inside = [c for c in candidates if least <= c.n_clusters <= most]
    below = [c for c in candidates if 1 <= c.n_clusters < least]
    best = max((c.validity for c in inside), default=-1.0)
    natural = max(below, key=lambda c: (c.validity, c.n_clusters), default=None)
    if natural and (not inside or natural.validity >= max(NATURAL_VALIDITY, NATURAL_RATIO * best)):
        return natural
    kept = [c for c in inside if c.validity >= best - (1.0 - VALIDITY_KEPT) * abs(best)]
    return max(kept, key=lambda c: (c.n_clusters, c.validity), default=None)


def _checked(vectors: Floats, weights: Floats) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    points = np.ascontiguousarray(vectors, dtype=np.float32)
    masses = np.asarray(weights, dtype=np.float64)
    if points.ndim != 2 or len(points) == 0:
        raise ValueError("no texts to cluster: vectors must be (n, d) with n >= 1")
    if masses.shape != (len(points),):
        raise ValueError(f"{len(points)} vectors but weights of shape {masses.shape}")
    if not np.all(masses >= 0) or not masses.sum() > 0:
        raise ValueError("weights must be non-negative with a positive sum")
    return points, masses


def _grid(low: int, high: int, points: int) -> list[int]:
    return sorted({round(x) for x in np.geomspace(low, max(low, high), points)})


def _umap_hdbscan(
    vectors: NDArray[np.float32],
    weights: NDArray[np.float64],
    least: int,
    most: int,
    seed: int,
    say: Progress,
) -> _Found | None:
    from hdbscan import HDBSCAN

    def partition(layout: NDArray[np.float32], size: int, selection: str) -> HDBSCAN:
        return HDBSCAN(
            min_cluster_size=size,
            min_samples=MIN_SAMPLES,
            cluster_selection_method=selection,
            gen_min_span_tree=True,
            core_dist_n_jobs=1,
        ).fit(layout)

    n = len(vectors)
    say(f"nearest neighbours of {n} texts")
    knn = nearest_neighbours(vectors, NEIGHBOURS)
    say("UMAP layout (the first one of a process compiles for about a minute)")
    layout = _layout(vectors, knn, dimensions=DIMENSIONS, min_dist=0.0, seed=seed)
    say("UMAP map")
    coordinates = _layout(vectors, knn, dimensions=2, min_dist=0.1, seed=seed + 1)

    say("HDBSCAN over min_cluster_size")
    candidates: list[Candidate] = []
    labels: dict[Candidate, Labels] = {}
    for selection in ("eom", "leaf"):
        if any(least <= c.n_clusters <= most for c in candidates):
            break  # leaves are smaller and leave more texts out: only where eom has nothing
        for size in _grid(MIN_TEXTS_PER_CLUSTER, n // 10, 20):
            model = partition(layout, size, selection)
            found = model.labels_.astype(np.int32)
            k = int(found.max()) + 1
            unclustered = float(weights[found < 0].sum() / weights.sum())
            if k == 0 or unclustered > MAX_UNCLUSTERED:
                continue
            validity = float(model.relative_validity_)
            candidate = Candidate(selection, size, k, unclustered, validity)
            candidates.append(candidate)
            labels[candidate] = found
    chosen = choose(candidates, least, most)
    if chosen is None or chosen.validity < MIN_VALIDITY:
        return None
    other = partition(coordinates, chosen.parameter, chosen.selection).labels_
    both = (labels[chosen] >= 0) & (other >= 0)
    stability = _agreement(labels[chosen][both], other[both])
    return _Found(labels[chosen], chosen, tuple(candidates), stability, coordinates)


def _layout(
    vectors: NDArray[np.float32],
    knn: tuple[NDArray[np.int32], NDArray[np.float32]],
    *,
    dimensions: int,
    min_dist: float,
    seed: int,
) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        # UMAP warns of an absent TensorFlow, of given neighbours without a search index, which only
        # `transform` needs, and of a graph in several pieces, which is an answer here.
        warnings.simplefilter("ignore")
        from umap import UMAP

        model = UMAP(
            n_neighbors=NEIGHBOURS,
            n_components=dimensions,
            min_dist=min_dist,
            metric="cosine",
            precomputed_knn=knn,
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(vectors), dtype=np.float32)


def _kmeans(
    vectors: NDArray[np.float32],
    weights: NDArray[np.float64],
    least: int,
    most: int,
    seed: int,
    say: Progress,
) -> _Found:
    from sklearn.cluster import KMeans

    def partition(k: int, seed: int) -> KMeans:
        return KMeans(k, n_init=1, random_state=seed).fit(vectors, sample_weight=weights)

    candidates: list[Candidate] = []
    labels: dict[Candidate, Labels] = {}
    for k in sorted({*_grid(1, least, 24), *_grid(least, most, 8)}):
        say(f"k-means with {k} clusters")
        found = np.unique(partition(k, seed).labels_, return_inverse=True)[1].astype(np.int32)
        validity = _silhouette(vectors, weights, found)
        candidate = Candidate("kmeans", k, int(found.max()) + 1, 0.0, validity)
        candidates.append(candidate)
        labels[candidate] = found
    chosen = choose(candidates, least, most)
    assert chosen is not None  # k = 1 is always among the candidates
    stability = _agreement(labels[chosen], partition(chosen.parameter, seed + 1).labels_)
    return _Found(labels[chosen], chosen, tuple(candidates), stability, _pca(vectors))


def _silhouette(
    vectors: NDArray[np.float32], weights: NDArray[np.float64], labels: Labels
) -> float:
    """Simplified silhouette on cosine distance, each text left out of its own centroid."""
    k = int(labels.max()) + 1
    if k < 2:
        return 0.0
    sums = np.zeros((k, vectors.shape[1]))
    np.add.at(sums, labels, vectors * weights[:, None])
    own = sums[labels] - vectors * weights[:, None]
    own_norm = np.linalg.norm(own, axis=1)
    cohesion = np.where(
        own_norm > 1e-12, np.sum(vectors * own, axis=1) / np.maximum(own_norm, 1e-12), -1.0
    )
    similarity = vectors @ (sums / np.maximum(np.linalg.norm(sums, axis=1), 1e-12)[:, None]).T
    similarity[np.arange(len(labels)), labels] = -np.inf
    inner, outer = 1.0 - cohesion, 1.0 - similarity.max(axis=1)
    values = (outer - inner) / np.maximum(np.maximum(inner, outer), 1e-12)
    return float(np.average(values, weights=weights))


def _agreement(a: NDArray[np.int_] | Labels, b: NDArray[np.int_] | Labels) -> float | None:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(a, b)) if len(a) > 1 else None


def _pca(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    # An axis has no sign of its own: the largest loading is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    plane = np.zeros((len(vectors), 2), np.float32)
    plane[:, : axes.shape[1]] = centred @ axes
    return plane
