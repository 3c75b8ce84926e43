"""Drawing turns for people: chances that are what they say, no two alike, honest precision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.failures.batches import (
    Belief,
    beliefs,
    draw_turns,
    near_groups,
    precision,
    thin,
    turn_sizes,
)

ALONE = {"thumbs_down": Belief(0.8, 0.2), "rephrase": Belief(0.4, 1.0)}


def signalled(*rows: tuple[int, str, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["turn", "signal", "strength"], orient="row")


def sizes(
    signals: pl.DataFrame, n_turns: int = 100, exploration: float = 0.2, random: float = 0.2,
    known: Mapping[str, Belief] = ALONE,
) -> np.ndarray:  # fmt: skip
    return turn_sizes(signals, n_turns, known, exploration_share=exploration, random_share=random)


def test_every_turn_has_at_least_its_part_of_the_random_share() -> None:
    found = sizes(signalled((3, "thumbs_down", 1.0), (7, "rephrase", 0.5)))
    assert found.sum() == pytest.approx(1)
    assert found.min() == pytest.approx(0.2 / 100)


def test_a_turn_counts_by_the_chance_that_one_of_its_signals_is_right() -> None:
    both = signalled((0, "rephrase", 1.0), (0, "thumbs_down", 0.5), (1, "thumbs_down", 1.0))
    found = sizes(both, exploration=0.0, random=0.0, n_turns=2)
    assert found[0] / found[1] == pytest.approx((1 - 0.6 * 0.6) / 0.8)


def test_exploration_goes_to_signals_by_what_is_unknown_of_them_and_not_by_how_many_there_are() -> (
    None
):
    many = [(turn, "thumbs_down", 1.0) for turn in range(40)]
    found = sizes(signalled(*many, (50, "rephrase", 1.0)), exploration=1.0, random=0.0)
    assert found[50] == pytest.approx(1.0 / 1.2)
    assert found[:40].sum() == pytest.approx(0.2 / 1.2)


def test_without_a_signal_all_turns_are_alike() -> None:
    assert sizes(signalled().cast({"turn": pl.Int64})) == pytest.approx(np.full(100, 0.01))


def test_turns_are_drawn_as_often_as_is_said_of_them() -> None:
    rng = np.random.default_rng(5)
    size = rng.gamma(0.5, size=60) + 0.01
    groups = np.r_[np.zeros(8, int), np.repeat(np.arange(1, 14), 4)]
    sessions = rng.integers(25, size=60)
    n_draws, said, seen = 6000, np.zeros(60), np.zeros(60)
    for _ in range(n_draws):
        draw = draw_turns(size, groups, sessions, 6, rng)
        assert len(set(groups[draw.rows])) == 6
        said[draw.rows] = draw.probabilities
        seen[draw.rows] += 1
    frequency = seen / n_draws
    assert said.sum() == pytest.approx(6)
    assert (np.abs(frequency - said) < 4 * np.sqrt(said * (1 - said) / n_draws) + 1e-9).all()


def test_thinning_a_large_week_first_changes_no_chance() -> None:
    rng = np.random.default_rng(6)
    size = rng.gamma(2.0, size=3000) + 0.1
    first = thin(size, 400, rng)
    left = size[first.rows] / first.probabilities
    draw = draw_turns(left, np.arange(400) // 2, np.arange(400), 15, rng)
    chance = draw.probabilities * first.probabilities[draw.rows]
    assert chance == pytest.approx(15 * size[first.rows[draw.rows]] / size.sum())


def test_no_two_drawn_turns_ask_nearly_the_same() -> None:
    rng = np.random.default_rng(7)
    heads = rng.normal(size=(30, 16))
    points = np.repeat(heads, 10, axis=0) + rng.normal(scale=0.15, size=(300, 16))
    vectors = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    groups = near_groups(vectors, 0.95)
    assert 10 < len(set(groups)) < 290
    for _ in range(50):
        rows = draw_turns(rng.gamma(1, size=300) + 0.01, groups, np.arange(300), 15, rng).rows
        cosine = vectors[rows] @ vectors[rows].T - np.eye(15)
        assert cosine.max() < 0.95


def test_a_session_gives_one_turn_where_its_chances_allow() -> None:
    rng = np.random.default_rng(8)
    sessions = np.repeat(np.arange(40), 5)
    for _ in range(50):
        rows = draw_turns(np.ones(200), np.arange(200), sessions, 15, rng).rows
        assert len(set(sessions[rows])) == 15


def test_fewer_kinds_of_turn_than_wanted_are_all_asked_about() -> None:
    draw = draw_turns(
        np.array([1.0, 3.0, 1.0]), np.array([0, 0, 1]), np.arange(3), 15, np.random.default_rng(0)
    )
    assert len(draw.rows) == 2
    assert set(draw.probabilities) <= {0.25, 0.75, 1.0}


def test_precision_is_unknown_without_labels_and_weighted_with_them() -> None:
    assert precision([], []).rate is None
    found = precision([True, False], [0.5, 0.25])
    assert found.rate == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="inclusion probability"):
        precision([True], [0.0])


def test_little_known_signals_are_believed_like_all_others() -> None:
    together = precision([True] * 8 + [False] * 2, [0.1] * 10)
    found = beliefs(
        {"new": precision([], []), "old": precision([False] * 40, [0.1] * 40)}, together
    )
    assert found["new"] == Belief(pytest.approx((8 + 2.5) / 15), 1.0)
    assert found["old"].precision < 0.1
    assert found["old"].unknown < 0.1


def test_precision_estimates_are_unbiased_and_their_intervals_hold() -> None:
    """Planted precisions; each week's batch is drawn by what the weeks before have shown."""
    names, frequency = ["thumbs_down", "rephrase", "abrupt_end"], np.array([0.03, 0.07, 0.05])
    true, n_turns, inside, errors = np.array([0.8, 0.4, 0.15]), 400, [], []
    for seed in range(100):
        rng = np.random.default_rng([11, seed])
        borne, bad, chance = np.empty((0, 4), bool), np.empty(0, bool), np.empty(0)
        shown = np.zeros((2, 4))
        for _ in range(35):
            strength = rng.uniform(0.4, 1, (n_turns, 3)) * (rng.random((n_turns, 3)) < frequency)
            healthy = (1 - np.clip(true * strength / 0.7, 0, 1)).prod(axis=1)
            is_bad = rng.random(n_turns) < 1 - 0.97 * healthy
            has = np.c_[strength > 0, (strength == 0).all(axis=1)]
            shown += [(has & is_bad[:, None]).sum(axis=0), has.sum(axis=0)]
            found = [precision(bad[borne[:, i]], chance[borne[:, i]]) for i in range(4)]
            together = precision(bad[~borne[:, 3]], chance[~borne[:, 3]])
            known = beliefs(dict(zip(names, found[:3], strict=True)), together)
            turn, signal = np.nonzero(strength)
            rows = pl.DataFrame(
                {
                    "turn": turn, "signal": [names[i] for i in signal],
                    "strength": strength[turn, signal],
                }
            )  # fmt: skip
            size = turn_sizes(rows, n_turns, known, exploration_share=0.2, random_share=0.2)
            draw = draw_turns(size, np.arange(n_turns), np.arange(n_turns), 15, rng)
            borne, bad = np.r_[borne, has[draw.rows]], np.r_[bad, is_bad[draw.rows]]
            chance = np.r_[chance, draw.probabilities]
        for i in range(4):
            one = precision(bad[borne[:, i]], chance[borne[:, i]])
            assert one.n_labelled >= 50
            truth = shown[0, i] / shown[1, i]
            inside.append(one.low <= truth <= one.high)
            errors.append(one.rate - truth)
    assert np.mean(inside) >= 0.93
    by_signal = np.array(errors).reshape(-1, 4)
    assert (np.abs(by_signal.mean(axis=0)) < 4 * by_signal.std(axis=0) / 10).all()
