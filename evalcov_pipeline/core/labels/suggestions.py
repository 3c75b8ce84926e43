"""Suggested labels: what people said about the nearest labelled queries of the same cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from evalcov_pipeline.core.statistics.shares import FloatArray, wilson

_T = TypeVar("_T", bound=Hashable)
State = Literal["measuring", "holds", "fallen_back"]
SHARPNESS = 0.1
"""Loss of cosine at which a neighbour's vote counts 1/e as much."""
LEAST_AUDITS = 3
"""Audits from which agreement is looked at at all: one miss of one or two says nothing."""


@dataclass(frozen=True)
class Verdict:
    """What a label says.

    Attributes:
        keep: worth an eval case.
        passed: the answer of production was good; None where it was not judged.
        category: the team's own grouping.
        expected: expected answer.
    """

    keep: bool
    passed: bool | None = None
    category: str | None = None
    expected: str | None = None


@dataclass(frozen=True)
class Vote:
    """What the neighbours of a query say.

    Attributes:
        verdict: by field, what most of their weight is behind.
        share: least share of weight behind a field of it, 0..1.
        similarity: cosine of the nearest.
        neighbours: positions of those who voted, the nearest first.
        similarities: their cosines.
    """

    verdict: Verdict
    share: float
    similarity: float
    neighbours: tuple[int, ...]
    similarities: tuple[float, ...]


@dataclass(frozen=True)
class Group:
    """The queries of one cluster.

    Attributes:
        labelled: (n, d) unit vectors of queries that people decided.
        verdicts: n, what they said.
        waiting: (m, d) unit vectors of queries that wait.
    """

    labelled: NDArray[np.float32]
    verdicts: Sequence[Verdict]
    waiting: NDArray[np.float32]


@dataclass(frozen=True)
class Suggestion:
    """A vote, and how often such a vote is right.

    Attributes:
        vote: what the neighbours say.
        confidence: chance that people would say the same, 0..1; see `suggest`.
    """

    vote: Vote
    confidence: float


@dataclass(frozen=True)
class Agreement:
    """How often people, who did not see a suggestion, said the same.

    Attributes:
        audited: suggestions that people decided unseen.
        agreed: of them, those they agreed with.
        rate: agreed / audited; None without audits.
        low: lower end of Wilson's 95 % interval; None without audits.
        high: its upper end.
        state: measuring (too few audits for the interval), holds, or fallen_back.
        reason: why, in words.
    """

    audited: int
    agreed: int
    rate: float | None
    low: float | None
    high: float | None
    state: State
    reason: str


def agree(suggested: Verdict, decided: Verdict) -> bool:
    """Whether people said what was suggested.

    The same about `keep` and, of a kept case, about each of `passed` and `category` that both give.
    """
    if suggested.keep != decided.keep:
        return False
    both = [(suggested.passed, decided.passed), (suggested.category, decided.category)]
    return not suggested.keep or all(a is None or b is None or a == b for a, b in both)


def vote(similarity: FloatArray, verdicts: Sequence[Verdict], *, k: int, near: float) -> Vote:
    """Weighted vote of the nearest labelled queries, field by field.

    Those who keep decide about `passed` and `category`; who gives neither does not vote on it.

    Args:
        similarity: (n,) cosines to the labelled queries, n >= 1.
        verdicts: n, what people said about them.
        k: most neighbours that vote.
        near: least cosine of a neighbour whose expected answer is taken over.
    """
    nearest = np.argsort(-similarity, kind="stable")[:k]
    weights = np.exp((similarity[nearest] - similarity[nearest[0]]) / SHARPNESS)
    voters = list(zip([verdicts[i] for i in nearest], weights, strict=True))
    keep, share = _majority([(voter.keep, weight) for voter, weight in voters])
    passed = category = expected = None
    if keep:
        keepers = [(voter, weight) for voter, weight in voters if voter.keep]
        passed, behind = _majority([(voter.passed, weight) for voter, weight in keepers])
        category, named = _majority([(voter.category, weight) for voter, weight in keepers])
        share = min(share, behind, named)
        wanted = Verdict(True, passed, category)
        close = [verdicts[i] for i in nearest if similarity[i] >= near]
        expected = next((v.expected for v in close if v.expected and agree(wanted, v)), None)
    return Vote(
        verdict=Verdict(bool(keep), passed, category, expected),
        share=share,
        similarity=float(similarity[nearest[0]]),
        neighbours=tuple(int(i) for i in nearest),
        similarities=tuple(float(s) for s in similarity[nearest]),
    )


def suggest(
    groups: Mapping[str, Group], *, k: int = 7, least_labelled: int = 5, near: float = 0.95
) -> dict[str, list[Suggestion]]:
    """Suggest a label for every waiting query of the clusters with enough labels.

    Confidence is cross-validated: every labelled query is voted on by the others of its cluster,
    and a ridge logistic regression predicts from the share behind the vote, the cosine of the
    nearest neighbour and the cluster whether the vote was right. Clusters learn from each other
    what a share means, and one whose votes are often wrong carries an effect of its own, shrunk
    towards 0 while it has few labels.

    Args:
        groups: by cluster.
        k: most neighbours that vote.
        least_labelled: labels from which a cluster gets suggestions, >= 2.
        near: least cosine of a neighbour whose expected answer is taken over.

    Returns:
        By cluster with enough labels, a suggestion for each row of `waiting`.
    """
    ready = {key: group for key, group in groups.items() if len(group.verdicts) >= least_labelled}
    if not any(len(group.waiting) for group in ready.values()):
        return {key: [] for key in ready}
    tried: list[Vote] = []
    right: list[bool] = []
    tried_in: list[int] = []
    for number, group in enumerate(ready.values()):
        similarity = _cosines(group.labelled, group.labelled)
        for i, verdict in enumerate(group.verdicts):
            others = [v for j, v in enumerate(group.verdicts) if j != i]
            voted = vote(np.delete(similarity[i], i), others, k=k, near=near)
            tried.append(voted)
            right.append(agree(voted.verdict, verdict))
            tried_in.append(number)
    votes_of = {
        key: [
            vote(row, group.verdicts, k=k, near=near)
            for row in _cosines(group.waiting, group.labelled)
        ]
        for key, group in ready.items()
    }
    all_votes = [voted for votes in votes_of.values() for voted in votes]
    group_of = [number for number, votes in enumerate(votes_of.values()) for _ in votes]
    confidence = iter(
        _chance_of_right(
            _features(tried, tried_in, len(ready)),
            np.array(right),
            _features(all_votes, group_of, len(ready)),
        )
    )
    return {
        key: [Suggestion(voted, float(next(confidence))) for voted in votes]
        for key, votes in votes_of.items()
    }


def agreement(matches: Sequence[bool], *, bound: float, enough: int) -> Agreement:
    """Agreement of audited suggestions, and whether it is good enough to go on suggesting.

    With `enough` audits the lower end of the interval has to reach the bound; before, from
    `LEAST_AUDITS` on, the rate itself.

    Args:
        matches: whether people agreed, one per audited suggestion.
        bound: least agreement, 0..1.
        enough: audits from which the interval decides, >= 1.
    """
    n, agreed = len(matches), sum(matches)
    if n == 0:
        return Agreement(0, 0, None, None, None, "measuring", "no suggestion was audited yet")
    rate = agreed / n
    low, high = (float(end[0]) for end in wilson(np.array([rate]), n))
    counted = f"people agreed with {agreed} of {n} audited suggestions"
    state: State
    if n >= enough:
        state = "holds" if low >= bound else "fallen_back"
        reason = f"{counted}: {'at least' if low >= bound else 'maybe only'} {low:.0%}"
    else:
        state = "fallen_back" if n >= LEAST_AUDITS and rate < bound else "measuring"
        reason = counted
    return Agreement(n, agreed, rate, low, high, state, f"{reason}, {bound:.0%} wanted")


def in_audit(task_id: str, share: float) -> bool:
    """Whether the suggestion for a task is hidden from people; the same at every call.

    Args:
        task_id: of any form.
        share: of all tasks, 0..1.
    """
    digest = hashlib.sha256(f"audit:{task_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _majority(votes: Sequence[tuple[_T | None, float]]) -> tuple[_T | None, float]:
    """The value with most weight among those that are given, and its share; (None, 1) if none."""
    weight: dict[_T, float] = {}
    for value, w in votes:
        if value is not None:
            weight[value] = weight.get(value, 0.0) + float(w)
    if not weight:
        return None, 1.0
    best = max(weight, key=lambda value: weight[value])
    return best, weight[best] / sum(weight.values())


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> FloatArray:
    cosines: FloatArray = a.astype(float) @ b.astype(float).T
    return cosines


def _features(votes: Sequence[Vote], clusters: Sequence[int], n_clusters: int) -> FloatArray:
    """(votes, 2 + clusters): on scales on which the ridge shrinks a cluster's effect most."""
    features = np.zeros((len(votes), 2 + n_clusters))
    features[:, 0] = [4 * voted.share for voted in votes]
    features[:, 1] = [4 * voted.similarity for voted in votes]
    features[np.arange(len(votes)), 2 + np.array(clusters, dtype=int)] = 1.0
    return features


def _chance_of_right(
    tried: FloatArray, right: NDArray[np.bool_], features: FloatArray
) -> FloatArray:
    """Chance that each asked vote is right, from what came of those that were tried.

    One right and one wrong vote are added at the mean of all, so that no chance is ever 0 or 1.
    """
    from sklearn.linear_model import LogisticRegression

    middle = tried.mean(axis=0)
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(np.vstack([tried, middle, middle]), np.append(right, [True, False]))
    return np.asarray(model.predict_proba(features)[:, 1], dtype=float)
