"""Local gaps: production that no case resembles is found, and chance alone is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from evalcov_pipeline.core.coverage.gaps import gap_scores

PARTS = np.arange(30)
CENTRES = np.random.default_rng(0).normal(size=(30, 24))


def draw(n: int, rng: np.random.Generator, parts: np.ndarray = PARTS):
    """Unit vectors around centres drawn from `parts`, and the part of each."""
    part = rng.choice(parts, n)
    vectors = CENTRES[part] + 0.7 * rng.normal(size=(n, 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), part


def scored(production, cases, weights=None, seed=0):
    weights = np.ones(len(production)) if weights is None else weights
    return gap_scores(production, weights, cases, rng=np.random.default_rng(seed))


def test_a_planted_gap_is_found():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        production, part = draw(1200, rng)
        cases, _ = draw(300, rng, PARTS[5:])
        found = scored(production, cases)
        untested = part < 5
        assert roc_auc_score(untested, found.gap_score) > 0.9
        assert untested[found.in_gap].mean() > 0.7
        assert found.in_gap[untested].mean() > 0.5


@pytest.mark.parametrize("size", [30, 100, 300])
def test_proportional_suites_mark_at_most_five_percent(size):
    marked = []
    for seed in range(24):
        rng = np.random.default_rng(100 + seed)
        production, _ = draw(600, rng)
        cases, _ = draw(size, rng)
        marked.append(scored(production, cases).in_gap.mean())
    assert np.mean(marked) <= 0.05


def test_the_marked_share_is_a_share_of_traffic_not_of_texts():
    marked = []
    for seed in range(24):
        rng = np.random.default_rng(200 + seed)
        production, part = draw(600, rng)
        weights = np.where(part < 10, 5.0, 1.0)
        p = weights / weights.sum()
        cases, _ = draw(100, rng, np.repeat(PARTS, np.where(PARTS < 10, 5, 1)))
        marked.append(p[scored(production, cases, weights).in_gap].sum())
    assert np.mean(marked) <= 0.05


def test_without_cases_all_production_is_in_the_gap():
    production, _ = draw(200, np.random.default_rng(1))
    found = scored(production, np.empty((0, 24)))
    assert found.in_gap.all()
    assert found.threshold is None
    assert (found.gap_score == 1).all()


def test_three_cases_decide_little_and_say_so():
    rng = np.random.default_rng(2)
    found = scored(draw(400, rng)[0], draw(3, rng)[0])
    assert np.isfinite(found.gap_score).all()
    assert found.in_gap.mean() < 0.25


def test_one_production_text_can_be_scored():
    production, _ = draw(1, np.random.default_rng(3))
    assert np.isfinite(scored(production, production).gap_score).all()


def test_identical_texts_are_equally_covered():
    production = np.tile(draw(1, np.random.default_rng(4))[0], (50, 1))
    found = scored(production, production[:5])
    assert np.ptp(found.gap_score) < 1e-6
    assert not found.in_gap.any()


def test_a_gap_is_believed_in_as_far_as_the_suite_could_have_reached_it():
    rng = np.random.default_rng(7)
    production, part = draw(1200, rng)
    beliefs = []
    for size in (30, 150, 600):
        cases, _ = draw(size, rng, PARTS[5:])
        found = scored(production, cases)
        beliefs.append(found.gap_score[part < 5].mean())
        assert found.gap_score[part >= 5].mean() < beliefs[-1]
    assert beliefs == sorted(beliefs)
    assert beliefs[-1] > 0.8


def test_a_case_beside_a_text_lowers_its_score():
    rng = np.random.default_rng(5)
    production, part = draw(600, rng)
    cases, _ = draw(100, rng, PARTS[1:])
    added, _ = draw(20, rng, PARTS[:1])
    before, after = scored(production, cases), scored(production, np.concatenate([cases, added]))
    assert (after.gap_score < before.gap_score)[part == 0].all()


def test_the_same_generator_gives_the_same_gaps():
    rng = np.random.default_rng(6)
    production, cases = draw(300, rng)[0], draw(60, rng)[0]
    first, second = scored(production, cases, seed=3), scored(production, cases, seed=3)
    assert (first.gap_score == second.gap_score).all()
    assert first.threshold == second.threshold


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(0, 12), st.integers(0, 10_000))
def test_scores_are_probabilities_whatever_the_sizes(texts, cases, seed):
    rng = np.random.default_rng(seed)
    production = draw(texts, rng)[0]
    weights = rng.integers(0, 3, texts) + np.eye(1, texts)[0]
    found = scored(production, draw(cases, rng)[0], weights)
    assert ((found.gap_score >= 0) & (found.gap_score <= 1)).all()
    assert found.in_gap.dtype == bool


@pytest.mark.parametrize(
    ("production", "weights", "cases", "message"),
    [
        (np.empty((0, 3)), np.empty(0), np.eye(3), "production"),
        (np.eye(3), np.ones(2), np.eye(3), "weights"),
        (np.eye(3), np.zeros(3), np.eye(3), "positive sum"),
        (np.eye(3), np.ones(3), np.eye(4), "cases"),
    ],
)
def test_unusable_input_is_refused(production, weights, cases, message):
    with pytest.raises(ValueError, match=message):
        scored(production, cases, weights)


def test_a_cut_takes_at_least_one_pseudo_suite():
    with pytest.raises(ValueError, match="pseudo-suite"):
        gap_scores(np.eye(3), np.ones(3), np.eye(3), rng=np.random.default_rng(), pseudo_suites=0)
