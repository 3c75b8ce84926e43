"""Names of clusters: what sets them apart, not what all of them say."""

from __future__ import annotations

import numpy as np
import pytest

from evalcov_pipeline.core.taxonomy.naming import name_clusters

REFUNDS = [
    "Please help me with a refund for my order",
    "Please help, the refund has not arrived",
    "Where is my refund? Please help",
]
PASSWORDS = [
    "Please help, I forgot my password",
    "Please help me reset the password",
    "The password reset link expired, please help",
]
TEXTS = REFUNDS + PASSWORDS
IDS = np.array([0, 0, 0, 1, 1, 1])
VECTORS = np.array(
    [[1, 0, 0], [0.9, 0.436, 0], [0.9, -0.436, 0], [0, 0, 1], [0, 0.436, 0.9], [0, 0.8, 0.6]]
)


def named(texts=TEXTS, ids=IDS, weights=None, n_clusters=2, **options):
    weights = np.ones(len(texts)) if weights is None else weights
    return name_clusters(texts, ids, weights, VECTORS[: len(texts)], n_clusters, **options)


def test_the_word_that_only_one_cluster_says_comes_first():
    refunds, passwords = named()
    assert refunds.keywords[0] == "refund"
    assert "password" in passwords.keywords[0]
    assert refunds.label.startswith("refund")


def test_words_of_every_sentence_are_no_keywords():
    for name in named():
        assert not {"the", "me", "my", "please"} & set(name.keywords)


def test_a_term_of_a_single_text_is_left_out():
    assert not any("expired" in keyword for name in named() for keyword in name.keywords)


def test_a_heavier_text_pulls_the_keywords():
    texts = ["alpha beta", "alpha beta", "alpha gamma", "alpha gamma"]
    light = named(texts, np.zeros(4, int), np.array([1, 1, 3, 3]), 1)[0].keywords
    heavy = named(texts, np.zeros(4, int), np.array([3, 3, 1, 1]), 1)[0].keywords
    assert light.index("gamma") < light.index("beta")
    assert heavy.index("beta") < heavy.index("gamma")


def test_exemplars_begin_with_the_medoid():
    refunds, _ = named(n_exemplars=2)
    assert refunds.exemplars[0] == REFUNDS[0]
    assert len(refunds.exemplars) == 2


def test_names_do_not_depend_on_the_order_of_texts():
    order = np.array([4, 2, 0, 5, 3, 1])
    shuffled = name_clusters([TEXTS[i] for i in order], IDS[order], np.ones(6), VECTORS[order], 2)
    assert [name.keywords for name in shuffled] == [name.keywords for name in named()]


def test_a_callable_supplies_better_labels():
    seen = []

    def labeller(keywords, exemplars):
        seen.append((keywords[0], exemplars[0]))
        return "Billing"

    first, second = named(labeller=labeller)
    assert seen[0] == ("refund", REFUNDS[0])
    assert first.label == "Billing"
    assert second.label != "Billing"
    assert second.label.startswith("Billing")


def test_labels_are_unique_even_when_texts_are_not():
    texts = ["cancel order", "cancel order", "cancel order"]
    labels = [name.label for name in named(texts, np.arange(3), None, 3)]
    assert len(set(labels)) == 3


def test_clusters_without_texts_and_without_words_have_a_name_too():
    names = named(["???", "!!!"], np.array([0, 0]), None, 2)
    assert [name.label for name in names] == ["cluster 0", "cluster 1"]
    assert set(names[0].exemplars) == {"???", "!!!"}
    assert names[1].exemplars == ()


def test_novel_texts_name_nothing():
    assert named(ids=np.array([0, 0, 0, -1, -1, -1]))[1].keywords == ()


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match="same texts"):
        name_clusters(TEXTS, IDS[:3], np.ones(6), VECTORS, 2)
