"""The frozen taxonomy: one deterministic rule, and no text meets itself."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalcov_pipeline.core.taxonomy.taxonomy import NOVEL, Taxonomy, assign, freeze, locate

MODEL = "model-a"
CENTRES = np.random.default_rng(0).normal(size=(24, 16))


def draw(n: int, rng: np.random.Generator, *, spread: float = 0.8) -> tuple[np.ndarray, ...]:
    """Unit vectors of a mixture with unequal parts, and the part of each."""
    part = rng.choice(24, n, p=np.arange(24, 0, -1) / 300)
    vectors = CENTRES[part] + spread * rng.normal(size=(n, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), part


def names(n: int, prefix: str = "t") -> np.ndarray:
    return np.array([f"{prefix}{i:06d}" for i in range(n)])


def frozen(n: int = 1200, seed: int = 1) -> tuple[Taxonomy, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors, part = draw(n, rng)
    labels = np.where(rng.random(n) < 0.1, -1, part)
    labels = np.unique(labels, return_inverse=True)[1] - 1
    plane = rng.normal(size=(n, 2))
    taxonomy = freeze(labels, vectors, names(n), plane, embedding_fingerprint=MODEL, seed=seed)
    return taxonomy, vectors, labels


def ask(taxonomy: Taxonomy, vectors: np.ndarray, hashes: np.ndarray):
    return assign(taxonomy, vectors, hashes, embedding_fingerprint=MODEL)


TAXONOMY, VECTORS, LABELS = frozen()
UNSEEN, PART = draw(400, np.random.default_rng(2))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(60)), st.integers(1, 60))
def test_assignment_does_not_depend_on_batch_or_order(order, batch):
    vectors, hashes = UNSEEN[:60], names(60, "new")
    whole = ask(TAXONOMY, vectors, hashes)
    for start in range(0, 60, batch):
        rows = np.array(order[start : start + batch])
        part = ask(TAXONOMY, vectors[rows], hashes[rows])
        assert (part.cluster_id == whole.cluster_id[rows]).all()
        assert (part.similarity == whole.similarity[rows]).all()


def test_unseen_texts_go_to_the_cluster_they_came_from():
    found = ask(TAXONOMY, UNSEEN, names(400, "new")).cluster_id
    inside = found != NOVEL
    assert inside.mean() > 0.95
    assert (found[inside] == PART[inside]).mean() > 0.8


def test_a_fitted_text_is_assigned_as_if_it_were_no_exemplar():
    assigned = ask(TAXONOMY, VECTORS, names(1200))
    for row in range(0, len(TAXONOMY.exemplar_hashes), 37):
        left = np.arange(len(TAXONOMY.exemplar_hashes)) != row
        without = replace(
            TAXONOMY,
            exemplar_vectors=TAXONOMY.exemplar_vectors[left],
            exemplar_clusters=TAXONOMY.exemplar_clusters[left],
            exemplar_hashes=TAXONOMY.exemplar_hashes[left],
        )
        again = ask(without, TAXONOMY.exemplar_vectors[[row]], names(1, "alias"))
        own = int(TAXONOMY.exemplar_hashes[row][1:])
        assert assigned.similarity[own] == again.similarity[0]
        if NOVEL not in (assigned.cluster_id[own], again.cluster_id[0]):
            assert assigned.cluster_id[own] == again.cluster_id[0]


def test_only_the_hash_tells_a_fitted_text_from_its_twin():
    own = ask(TAXONOMY, TAXONOMY.exemplar_vectors, TAXONOMY.exemplar_hashes)
    twin = ask(TAXONOMY, TAXONOMY.exemplar_vectors, names(len(own.similarity), "alias"))
    assert (twin.similarity == 1.0).mean() > 0.8
    assert (own.similarity < 1.0).all()


def test_fitted_and_unseen_texts_are_novel_equally_often():
    fitted, unseen = [], []
    for seed in range(3, 9):
        taxonomy, vectors, _ = frozen(seed=seed)
        others, _ = draw(3000, np.random.default_rng(100 + seed))
        fitted.append((ask(taxonomy, vectors, names(1200)).cluster_id == NOVEL).mean())
        unseen.append((ask(taxonomy, others, names(3000, "new")).cluster_id == NOVEL).mean())
    assert np.mean(fitted) == pytest.approx(0.02, abs=0.005)
    assert np.mean(unseen) == pytest.approx(np.mean(fitted), abs=0.006)


def plug_in_jsd(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    mean = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / mean), 0) + np.where(
            q > 0, q * np.log2(q / mean), 0
        )
    return terms.sum(axis=-1) / 2


def false_alarms(size: int, *, fitted_names: str) -> float:
    """P(p_value < .05) of proportional suites of unseen texts, over four productions."""
    alarms = []
    for seed in range(4):
        taxonomy, vectors, _ = frozen(n=1500, seed=20 + seed)
        rng = np.random.default_rng(40 + seed)
        others, _ = draw(6000, rng)
        k = taxonomy.n_clusters + 1
        production = ask(taxonomy, vectors, names(1500, fitted_names)).cluster_id % k
        cases = ask(taxonomy, others, names(6000, "new")).cluster_id % k
        p = np.bincount(production, minlength=k) / 1500
        null = plug_in_jsd(
            rng.multinomial(1500, p, 999) / 1500, rng.multinomial(size, p, 999) / size
        )
        suites = (rng.choice(cases, size, replace=False) for _ in range(200))
        observed = [plug_in_jsd(p, np.bincount(suite, minlength=k) / size) for suite in suites]
        p_values = (1 + (null[None, :] >= np.array(observed)[:, None]).sum(axis=1)) / 1000
        alarms.append((p_values < 0.05).mean())
    return float(np.mean(alarms))


@pytest.mark.parametrize("size", [30, 100, 300])
def test_proportional_suites_of_unseen_texts_look_proportional(size):
    assert false_alarms(size, fitted_names="t") <= 0.08


def test_they_would_not_if_production_met_itself():
    assert false_alarms(1000, fitted_names="alias") > 0.15


def test_unclustered_texts_go_through_the_same_rule():
    assigned = ask(TAXONOMY, VECTORS, names(1200)).cluster_id
    assert (assigned[LABELS < 0] != NOVEL).mean() > 0.9


def test_a_text_unlike_all_others_is_novel():
    directions = np.random.default_rng(4).normal(size=(2000, 16))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    loneliest = (directions @ TAXONOMY.exemplar_vectors.T).max(axis=1).argmin()
    found = ask(TAXONOMY, directions[[loneliest]], names(1, "new"))
    assert found.cluster_id[0] == NOVEL
    assert found.similarity[0] < TAXONOMY.radius.min()


def test_few_texts_say_nothing_of_novelty():
    vectors, part = draw(30, np.random.default_rng(3), spread=0.1)
    labels = np.unique(part, return_inverse=True)[1]
    tiny = freeze(labels, vectors, names(30), np.zeros((30, 2)), embedding_fingerprint=MODEL)
    assert (tiny.radius == -1).all()
    assert (ask(tiny, -vectors, names(30, "new")).cluster_id != NOVEL).all()


def test_ties_go_to_the_lowest_cluster():
    vectors = np.tile(UNSEEN[:1], (6, 1))
    labels = np.array([0, 0, 1, 1, 2, 2])
    tied = freeze(labels, vectors, names(6), np.zeros((6, 2)), embedding_fingerprint=MODEL)
    assert ask(tied, vectors[:1], names(1, "new")).cluster_id[0] == 0


def test_sizes_count_the_fitted_texts_of_each_cluster():
    assigned = ask(TAXONOMY, VECTORS, names(1200)).cluster_id
    expected = np.bincount(assigned[assigned >= 0], minlength=TAXONOMY.n_clusters)
    assert (TAXONOMY.sizes == expected).all()


def test_a_frozen_taxonomy_survives_storage_without_pickle():
    arrays, meta = TAXONOMY.to_arrays()
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = Taxonomy.from_arrays(dict(stored), json.loads(json.dumps(meta)))
    before = ask(TAXONOMY, UNSEEN, names(400, "new"))
    after = ask(again, UNSEEN, names(400, "new"))
    assert (before.cluster_id == after.cluster_id).all()
    assert (before.similarity == after.similarity).all()
    with pytest.raises(ValueError, match="not a taxonomy"):
        Taxonomy.from_arrays({"radius": arrays["radius"]}, meta)


def test_vectors_of_another_model_are_refused():
    with pytest.raises(ValueError, match="model-b"):
        assign(TAXONOMY, UNSEEN, names(400), embedding_fingerprint="model-b")


def test_no_texts_have_no_assignments():
    empty = ask(TAXONOMY, np.empty((0, 16), np.float32), names(0))
    assert empty.cluster_id.shape == empty.similarity.shape == (0,)


def test_texts_lie_on_the_map_where_they_were_or_among_their_likes():
    plane = np.column_stack([LABELS, -LABELS]).astype(np.float32)
    mapped = freeze(LABELS, VECTORS, names(1200), plane, embedding_fingerprint=MODEL)
    np.testing.assert_array_equal(locate(mapped, VECTORS, names(1200)), plane)
    near = locate(mapped, mapped.exemplar_vectors, names(len(mapped.exemplar_hashes), "new"))
    off = np.abs(near[:, 0] - mapped.exemplar_clusters)
    assert np.median(off) < 1
    assert (near[:, 0] == -near[:, 1]).all()


@pytest.mark.parametrize(
    ("labels", "hashes", "message"),
    [
        ([0, 0, 1], ["a", "b", "b"], "distinct"),
        ([0, 0, 2], ["a", "b", "c"], "at least one text"),
        ([-1, -1, -1], ["a", "b", "c"], "at least one text"),
        ([0, 0], ["a", "b"], "same texts"),
    ],
)
def test_labels_that_describe_no_partition_are_refused(labels, hashes, message):
    with pytest.raises(ValueError, match=message):
        freeze(
            np.array(labels),
            np.eye(3, dtype=np.float32),
            hashes,
            np.zeros((3, 2)),
            embedding_fingerprint=MODEL,
        )
