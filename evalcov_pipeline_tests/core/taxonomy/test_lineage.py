"""Clusters matched across refits: keys stay, and splits, merges, births and deaths are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalcov_pipeline.core.taxonomy.lineage import LineageRow, match, mint_keys
from evalcov_pipeline.core.taxonomy.taxonomy import freeze


def lineage(previous, new, weights=None, *, before=None, after=None):
    previous, new = np.array(previous, dtype=int), np.array(new, dtype=int)
    k, m = before or previous.max(initial=-1) + 1, after or new.max(initial=-1) + 1
    weights = np.ones(len(previous)) if weights is None else np.array(weights)
    keys = [f"old{i}" for i in range(k)], [f"new{j}" for j in range(m)]
    return match(previous, new, weights, *keys)


def relations(found) -> set[tuple]:
    return {(row.from_cluster, row.to_cluster, row.relation) for row in found.rows}


def test_renumbered_clusters_keep_their_keys():
    previous = np.repeat([0, 1, 2, 3], 10)
    found = lineage(previous, np.array([2, 0, 3, 1])[previous])
    assert found.cluster_keys == ("old1", "old3", "old0", "old2")
    assert all(row.relation == "same" and row.overlap == 1.0 for row in found.rows)


def test_a_small_part_that_leaves_is_a_split():
    found = lineage([0] * 10, [0] * 7 + [1] * 3)
    assert found.cluster_keys == ("old0", "new1")
    assert found.rows == (LineageRow(0, 0, "same", 0.7), LineageRow(0, 1, "split", 0.3))


def test_a_cluster_in_many_pieces_ends_in_splits_only():
    found = lineage([0] * 12, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3)
    assert relations(found) == {(0, j, "split") for j in range(4)}
    assert found.cluster_keys == ("new0", "new1", "new2", "new3")


def test_a_small_cluster_absorbed_by_a_large_one_was_merged():
    found = lineage([0] * 8 + [1] * 2, [0] * 10)
    assert relations(found) == {(0, 0, "same"), (1, 0, "merge")}
    assert found.cluster_keys == ("old0",)


def test_many_small_clusters_merged_make_no_birth():
    found = lineage([0, 0, 1, 1, 2, 2, 3, 3], [0] * 8)
    assert relations(found) == {(i, 0, "merge") for i in range(4)}


def test_novel_traffic_that_forms_a_cluster_is_a_birth():
    found = lineage([0] * 5 + [-1] * 5, [0] * 5 + [1] * 5)
    assert relations(found) == {(0, 0, "same"), (None, 1, "birth")}
    assert found.cluster_keys == ("old0", "new1")


def test_a_cluster_whose_texts_are_novel_now_is_dead():
    found = lineage([0] * 5 + [1] * 5, [0] * 5 + [-1] * 5)
    assert relations(found) == {(0, 0, "same"), (1, None, "death")}


def test_clusters_without_shared_texts_are_deaths_and_births():
    found = lineage([], [], before=2, after=1)
    assert relations(found) == {(0, None, "death"), (1, None, "death"), (None, 0, "birth")}


def test_weights_decide_which_part_keeps_the_key():
    previous, new = [0, 0, 0, 0], [0, 1, 1, 1]
    assert lineage(previous, new).cluster_keys == ("new0", "old0")
    assert lineage(previous, new, [9, 1, 1, 1]).cluster_keys == ("old0", "new1")


def test_the_match_is_best_over_all_pairs_not_one_by_one():
    # 0 overlaps most with 0 (.5), but only 0 -> 1 and 1 -> 0 keeps both keys.
    table = np.array([[40, 30], [40, 0]])
    previous, new = np.repeat([0, 0, 1], [40, 30, 40]), np.repeat([0, 1, 0], [40, 30, 40])
    assert table.sum() == len(previous)
    assert lineage(previous, new).cluster_keys == ("old1", "old0")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 5)), max_size=60))
def test_every_cluster_has_one_fate_and_no_key_twice(pairs):
    previous, new = [a for a, _ in pairs], [b for _, b in pairs]
    found = lineage(previous, new, before=6, after=6)
    assert len(set(found.cluster_keys)) == 6
    assert {row.from_cluster for row in found.rows} - {None} == set(range(6))
    assert {row.to_cluster for row in found.rows} - {None} == set(range(6))
    assert len(relations(found)) == len(found.rows)
    for row in found.rows:
        assert 0 <= row.overlap <= 1
        if row.relation == "same":
            assert found.cluster_keys[row.to_cluster] == f"old{row.from_cluster}"


def test_an_id_without_a_key_is_refused():
    with pytest.raises(ValueError, match="key"):
        match(np.array([3]), np.array([0]), np.ones(1), ["a"], ["b"])
    with pytest.raises(ValueError, match="same texts"):
        match(np.array([0]), np.array([0, 0]), np.ones(1), ["a"], ["b"])


def test_minted_keys_are_distinct_and_belong_to_the_fit():
    def keys(hashes):
        vectors = np.eye(8, dtype=np.float32)
        labels = np.repeat([0, 1, 2, 3], 2)
        return mint_keys(
            freeze(labels, vectors, hashes, np.zeros((8, 2)), embedding_fingerprint="m")
        )

    first = keys(list("abcdefgh"))
    assert first == keys(list("abcdefgh"))
    assert len(set(first)) == 4
    assert not set(first) & set(keys(list("abcdefgz")))
