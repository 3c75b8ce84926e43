"""Cluster discovery: planted clusters are found, at a granularity people can read."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from evalcov_pipeline.core.taxonomy.discovery import Candidate, choose, discover, nearest_neighbours


def planted(clusters: int, texts: int, *, spread: float, seed: int) -> tuple[np.ndarray, ...]:
    """Unit vectors around random centres, and the centre of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, 32))
    truth = np.arange(texts) % clusters
    vectors = centres[truth] + spread * rng.normal(size=(texts, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), truth


def candidate(n_clusters: int, validity: float) -> Candidate:
    return Candidate("eom", 10, n_clusters, 0.0, validity)


@pytest.fixture(scope="session")
def laid_out():
    """The one UMAP run of the suite: 24 clusters of 25 texts, and 200 texts of no cluster."""
    vectors, truth = planted(24, 600, spread=0.6, seed=1)
    stray, _ = planted(200, 200, spread=0.0, seed=2)
    vectors, truth = np.concatenate([vectors, stray]), np.append(truth, np.full(200, -1))
    weights = np.where(truth < 0, 3.0, 1.0)
    return discover(vectors, weights, min_clusters=10, max_clusters=40, seed=5), truth, weights


def test_umap_hdbscan_finds_the_planted_clusters(laid_out):
    found, truth, _ = laid_out
    inside = (truth >= 0) & (found.labels >= 0)
    assert found.method == "umap_hdbscan"
    assert inside.sum() > 0.95 * (truth >= 0).sum()
    assert adjusted_rand_score(truth[inside], found.labels[inside]) > 0.95
    assert found.stability > 0.9


def test_unclustered_share_counts_weights_not_texts(laid_out):
    found, _, weights = laid_out
    left = found.labels < 0
    assert left.any()
    assert found.unclustered_share == pytest.approx(weights[left].sum() / weights.sum())
    assert found.unclustered_share != pytest.approx(left.mean(), rel=0.05)


def test_labels_are_numbered_without_holes_and_every_text_is_on_the_map(laid_out):
    found, truth, _ = laid_out
    assert set(found.labels) - {-1} == set(range(found.n_clusters))
    assert found.coordinates.shape == (len(truth), 2)
    assert np.isfinite(found.coordinates).all()


def test_kmeans_finds_the_planted_clusters():
    vectors, truth = planted(30, 900, spread=0.4, seed=3)
    found = discover(vectors, np.ones(900), method="kmeans", seed=1)
    assert 20 <= found.n_clusters <= 80
    assert adjusted_rand_score(truth, found.labels) > 0.85
    assert found.coordinates.shape == (900, 2)


def test_same_seed_gives_the_same_clusters():
    vectors, _ = planted(25, 400, spread=0.9, seed=4)
    first, second = (discover(vectors, np.ones(400), method="kmeans", seed=9) for _ in range(2))
    assert (first.labels == second.labels).all()
    assert first.candidates == second.candidates


def test_fewer_natural_clusters_than_asked_are_respected_and_said():
    vectors, truth = planted(8, 400, spread=0.2, seed=5)
    found = discover(vectors, np.ones(400), method="kmeans", min_clusters=20, seed=1)
    assert found.n_clusters == 8
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert any("fewer than the 20" in note for note in found.notes)


def test_texts_without_structure_still_give_the_number_of_clusters_asked():
    vectors, _ = planted(1, 600, spread=30.0, seed=6)
    found = discover(vectors, np.ones(600), method="kmeans", min_clusters=20, max_clusters=80)
    assert 20 <= found.n_clusters <= 80
    assert found.stability < 0.5


def test_few_texts_are_clustered_without_a_layout():
    vectors, _ = planted(6, 60, spread=0.1, seed=7)
    found = discover(vectors, np.ones(60))
    assert found.method == "kmeans"
    assert found.n_clusters <= 60 // 5
    assert any("too few for a neighbour graph" in note for note in found.notes)


@pytest.mark.parametrize("texts", [1, 2, 7])
def test_a_handful_of_texts_is_one_cluster(texts):
    vectors, _ = planted(texts, texts, spread=0.0, seed=8)
    found = discover(vectors, np.ones(texts), method="kmeans")
    assert found.n_clusters == 1
    assert (found.labels == 0).all()
    assert found.coordinates.shape == (texts, 2)


def test_identical_vectors_cap_the_number_of_clusters():
    vectors, _ = planted(1, 300, spread=0.0, seed=9)
    assert discover(vectors, np.ones(300)).n_clusters == 1


def test_a_text_without_weight_does_not_shape_kmeans():
    vectors, _ = planted(10, 100, spread=0.1, seed=10)
    stray, _ = planted(30, 30, spread=0.0, seed=11)
    weights = np.append(np.ones(100), np.zeros(30))
    alone = discover(vectors, np.ones(100), method="kmeans", min_clusters=2, max_clusters=12)
    beside = discover(
        np.concatenate([vectors, stray]), weights, method="kmeans", min_clusters=2, max_clusters=12
    )
    assert adjusted_rand_score(alone.labels, beside.labels[:100]) > 0.9


def test_the_finest_nearly_best_partition_is_chosen():
    pool = [candidate(22, 0.50), candidate(40, 0.45), candidate(60, 0.41), candidate(78, 0.30)]
    assert choose(pool, 20, 80).n_clusters == 60


def test_no_partition_beyond_the_most_is_chosen():
    assert choose([candidate(25, 0.3), candidate(200, 0.9)], 20, 80).n_clusters == 25
    assert choose([candidate(200, 0.9)], 20, 80) is None


def test_a_coarser_partition_needs_to_be_clearly_more_valid():
    inside = candidate(25, 0.45)
    assert choose([inside, candidate(6, 0.6)], 20, 80) == inside
    assert choose([candidate(67, 0.35), candidate(7, 0.62)], 20, 80).n_clusters == 67
    assert choose([inside, candidate(6, 0.95)], 20, 80).n_clusters == 6
    assert choose([candidate(6, 0.1)], 20, 80).n_clusters == 6


def test_neighbours_are_exact_and_begin_with_the_text_itself():
    vectors, _ = planted(5, 300, spread=0.5, seed=12)
    vectors[7] = vectors[3]  # twins
    indices, distances = nearest_neighbours(vectors, 10)
    expected = np.sort(1 - vectors @ vectors.T, axis=1)[:, :10]
    assert (indices[:, 0] == np.arange(300)).all()
    np.testing.assert_allclose(distances, expected.clip(0), atol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "weights", "message"),
    [
        (np.empty((0, 4)), np.empty(0), "no texts"),
        (np.eye(3), np.ones(2), "weights of shape"),
        (np.eye(3), np.array([1.0, np.nan, 1.0]), "non-negative"),
        (np.eye(3), np.zeros(3), "positive sum"),
    ],
)
def test_unusable_input_is_refused(vectors, weights, message):
    with pytest.raises(ValueError, match=message):
        discover(vectors, weights)


def test_more_clusters_at_least_than_at_most_are_refused():
    with pytest.raises(ValueError, match="clusters"):
        discover(np.eye(3), np.ones(3), min_clusters=9, max_clusters=3)
