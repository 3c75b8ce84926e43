"""Which turns of a week people look at, and how often a signal of failure tells the truth.

A batch is small and is read by people, so it goes where failures are likely; and since every turn
has a known chance to be in it, it still says something about all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from evalcov_pipeline.core.statistics.pps import inclusion_probabilities, systematic_draw
from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray, kish, wilson
from evalcov_pipeline.core.statistics.similarity import Vectors

PRIOR_LABELS = 5
"""Labels that the precision of all signals together counts for beside those of one signal."""
PRIOR_PRECISION = 0.5
"""Precision of all signals together before anybody has looked; it counts for as many labels."""
_BLOCK = 1024


@dataclass(frozen=True)
class Precision:
    """How often labelled turns are bad, each weighted by 1 / its inclusion probability.

    Attributes:
        n_labelled: labelled turns.
        n_bad: of them, bad ones.
        rate: weighted share of bad ones (Hájek); None without labels.
        low: lower end of Wilson's 95 % interval at the effective number of labels.
        high: its upper end.
        n_eff: that number: Kish's, or what the variance of the weighted share is worth if that is
            less, as it is where likelier failures were likelier drawn.
    """

    n_labelled: int
    n_bad: int
    rate: float | None
    low: float | None
    high: float | None
    n_eff: float


@dataclass(frozen=True)
class Belief:
    """What a signal counts for in the next batch.

    Attributes:
        precision: chance that a turn with it at full strength is bad: its labelled precision, drawn
            toward that of all signals by `PRIOR_LABELS`.
        unknown: width of its interval, 1 without labels: how much there is to learn.
    """

    precision: float
    unknown: float


@dataclass(frozen=True)
class TurnDraw:
    """Drawn turns.

    Attributes:
        rows: (n,) their places.
        probabilities: (n,) chance with which each was drawn.
    """

    rows: IntArray
    probabilities: FloatArray


def precision(bad: ArrayLike, probabilities: ArrayLike) -> Precision:
    """Share of bad turns among all those that labelled ones were drawn from.

    Args:
        bad: (n,) whether people call each labelled turn bad, n may be 0.
        probabilities: (n,) chance with which each was drawn, in (0, 1].

    Raises:
        ValueError: a probability outside (0, 1], or lengths that disagree.

    Source: Hájek (1971); Kish (1965), 11.7; Särndal, Swensson and Wretman (1992), 5.7.
    """
    is_bad, chance = np.asarray(bad, dtype=bool), np.asarray(probabilities, dtype=float)
    if is_bad.shape != chance.shape or not ((chance > 0) & (chance <= 1)).all():
        raise ValueError("every label needs an inclusion probability within (0, 1]")
    if not len(is_bad):
        return Precision(0, 0, None, None, None, 0.0)
    weight = 1 / chance
    weight = weight / weight.sum()
    rate, n_eff = min(float(weight @ is_bad), 1.0), kish(weight)
    variance = float(((weight * (is_bad - rate)) ** 2).sum())
    if variance > 0:
        n_eff = min(n_eff, rate * (1 - rate) / variance)
    low, high = wilson(np.array([rate]), n_eff)
    return Precision(len(is_bad), int(is_bad.sum()), rate, float(low[0]), float(high[0]), n_eff)


def beliefs(signals: Mapping[str, Precision], together: Precision) -> dict[str, Belief]:
    """What each signal counts for, given what labels say of it and of all signals together."""
    prior = _shrunk(together, PRIOR_PRECISION)
    return {
        name: Belief(
            _shrunk(one, prior),
            1.0 if one.low is None or one.high is None else one.high - one.low,
        )
        for name, one in signals.items()
    }


def turn_sizes(
    signals: pl.DataFrame,
    n_turns: int,
    known: Mapping[str, Belief],
    *,
    exploration_share: float,
    random_share: float,
) -> FloatArray:
    """Share of a batch that each turn of a week is worth.

    A mixture of three: the *random* share goes to all turns alike. The *exploration* share goes to
    the signals by how little is known of them, and within a signal by strength. The rest goes to
    turns by the chance that one of their signals tells the truth, taken as independent:
    1 - prod(1 - precision x strength). Where no turn bears a signal, all of it is random.

    Args:
        signals: turn (its number, from 0), signal and strength (above 0, at most 1), each pair
            once.
        n_turns: turns of the week, >= 1.
        known: belief in each of the signals.
        exploration_share: 0..1.
        random_share: 0..1; both together are at most 1.

    Returns:
        (n_turns,) sizes that sum to 1.

    Raises:
        ValueError: shares that exceed 1, or no turn.
    """
    if n_turns < 1 or exploration_share + random_share > 1 + 1e-9:
        raise ValueError("need a turn, and shares that do not exceed 1")
    even = np.full(n_turns, 1 / n_turns)
    if signals.is_empty():
        return even
    turn = signals["turn"].to_numpy()
    strength = signals["strength"].to_numpy()
    names = signals["signal"].to_list()
    chance = strength * np.array([known[name].precision for name in names])
    missed = np.zeros(n_turns)
    np.add.at(missed, turn, np.log1p(-np.clip(chance, 0, 1 - 1e-12)))
    likely = -np.expm1(missed)

    sums = signals.group_by("signal", maintain_order=True).agg(pl.sum("strength"))
    of_signal = dict(sums.iter_rows())
    unknown = sum(known[name].unknown for name in of_signal)
    worth = np.array([known[name].unknown / unknown / of_signal[name] for name in names])
    explored = np.zeros(n_turns)
    np.add.at(explored, turn, worth * strength)

    sizes: FloatArray = (
        random_share * even
        + exploration_share * explored
        + max(0.0, 1 - exploration_share - random_share) * likely / likely.sum()
    )
    sizes /= sizes.sum()
    return sizes


def thin(sizes: FloatArray, most: int, rng: np.random.Generator) -> TurnDraw:
    """At most so many turns of a week, drawn with probability proportional to size.

    A draw of n from them, each with the size that it has divided by the probability of this draw,
    gives every turn n x size in all, but for those that one of the two draws is sure to take.

    Args:
        sizes: (k,) positive sizes.
        most: turns that are kept, >= 1.
        rng: source of the draw.
    """
    probability = inclusion_probabilities(sizes, most)
    kept = np.sort(systematic_draw(probability, rng.permutation(len(sizes)), rng))
    return TurnDraw(kept, probability[kept])


def near_groups(vectors: Vectors, near: float) -> IntArray:
    """Groups of turns that ask nearly the same: no two of different groups are as similar as that.

    Groups are the connected components of the graph of pairs with a cosine of at least `near`; a
    group may thus hold a chain whose ends differ.

    Args:
        vectors: (k, d) L2-normalised.
        near: cosine.

    Returns:
        (k,) number of each turn's group, from 0.
    """
    from scipy.sparse.csgraph import connected_components  # loads scipy.linalg

    k = len(vectors)
    pairs = [
        np.argwhere(vectors[start : start + _BLOCK] @ vectors.T >= near) + np.array([start, 0])
        for start in range(0, k, _BLOCK)
    ]
    links = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
    graph = csr_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(k, k))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def draw_turns(
    sizes: FloatArray,
    groups: IntArray,
    sessions: NDArray[np.generic],
    n: int,
    rng: np.random.Generator,
) -> TurnDraw:
    """Draw at most one turn of each group, with probability proportional to size.

    A group is drawn with the size of all its turns, then one of them by its own; so the chance of a
    turn is exactly n times its share of all sizes, unless its group is certain. Groups whose
    largest turns are of one session lie together in a systematic draw, hence two such turns are
    drawn only where these groups' chances exceed 1; a turn that stands for a group of another
    session can still join them. Ruling that out too would leave chances that nobody can state.

    Args:
        sizes: (k,) positive sizes.
        groups: (k,) number of each turn's group, from 0 without gaps.
        sessions: (k,) session of each turn.
        n: turns to draw; fewer where there are fewer groups.
        rng: source of the draw.

    Returns:
        The drawn turns, the largest first.

    Raises:
        ValueError: a size that is not positive.
    """
    largest = np.lexsort((np.arange(len(sizes)), -sizes))
    of_group = np.bincount(groups, weights=sizes)
    chance = inclusion_probabilities(of_group, n)
    _, session = np.unique(sessions, return_inverse=True)
    leader = np.empty(len(of_group), np.int64)
    leader[groups[largest[::-1]]] = largest[::-1]
    place = rng.permutation(session.max(initial=-1) + 1)[session[leader]]
    drawn = systematic_draw(chance, np.argsort(place, kind="stable"), rng)
    rows = [
        int(rng.choice(members, p=sizes[members] / sizes[members].sum()))
        for members in (np.flatnonzero(groups == group) for group in drawn)
    ]
    picked = np.array(sorted(rows, key=lambda row: (-sizes[row], row)), dtype=np.int64)
    inside = sizes[picked] / of_group[groups[picked]]
    return TurnDraw(picked, chance[groups[picked]] * inside)


def _shrunk(measured: Precision, prior: float) -> float:
    """A precision drawn toward a prior one, which counts for `PRIOR_LABELS` labels."""
    bad = (measured.rate or 0.0) * measured.n_eff
    return (bad + PRIOR_LABELS * prior) / (measured.n_eff + PRIOR_LABELS)
