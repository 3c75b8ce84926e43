"""Names for clusters: the words that set them apart and the texts that stand for them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Labeller = Callable[[Sequence[str], Sequence[str]], str]
"""Makes a label of a cluster's keywords and exemplars, best first."""

_WORD = re.compile(r"[^\W\d_](?:[\w'’-]*\w)?")
_KEYWORDS = 8
"""Most keywords of a cluster."""
_LONGEST_WORD = 40
"""Characters; what is longer is a key or a blob, and would make a label of its length."""
_STOP_WORDS = frozenset(
    re.findall(
        r"\S+",
        """a about after all also am an and any are as at be because been before being but by can
        can't could did do does doesn't don't for from get got had has have hasn't haven't he her
        him his how i i'd i'll i'm i've if in into is isn't it it's its just me my need no not of on
        one only or our out please she should so some still than that that's the their them then
        there these they this through to too up us want was wasn't we were what what's when where
        which while who why will with won't would yet you your""",
    )
)


@dataclass(frozen=True)
class ClusterName:
    """What people call a cluster.

    Attributes:
        cluster_id: 0..k-1.
        label: unique within the taxonomy.
        keywords: words and pairs of words by falling class-based TF-IDF.
        exemplars: texts nearest to the cluster's medoid, the medoid first.
    """

    cluster_id: int
    label: str
    keywords: tuple[str, ...]
    exemplars: tuple[str, ...]


def name_clusters(
    texts: Sequence[str],
    cluster_ids: NDArray[np.integer],
    weights: NDArray[np.floating],
    vectors: NDArray[np.floating],
    n_clusters: int,
    *,
    n_exemplars: int = 3,
    labeller: Labeller | None = None,
) -> tuple[ClusterName, ...]:
    """Name every cluster, deterministically.

    Keywords: a term's weighted frequency in the cluster times log(1 + mean weight of a cluster /
    the term's weight over all clusters); a term that only one text of the cluster uses is left out,
    unless nothing else is there. A label is the three best keywords, or what `labeller` says;
    a label that is taken gets further keywords, then a number.

    Args:
        texts: n texts, redacted already: keywords and exemplars are published.
        cluster_ids: (n,) cluster of each text; -1 is ignored.
        weights: (n,) non-negative weights.
        vectors: (n, d) L2-normalised vectors.
        n_clusters: k.
        n_exemplars: most exemplars per cluster.
        labeller: makes better labels, for instance with a language model.

    Returns:
        One name per cluster id; a cluster without texts is called "cluster <id>".

    Raises:
        ValueError: shapes that do not agree.

    Source: Grootendorst 2022 (class-based TF-IDF).
    """
    ids = np.asarray(cluster_ids)
    mass = np.asarray(weights, dtype=np.float64)
    if not len(texts) == len(ids) == len(mass) == len(vectors):
        raise ValueError("texts, cluster_ids, weights and vectors must describe the same texts")
    members = [np.flatnonzero(ids == k) for k in range(n_clusters)]
    ranked = _keywords(texts, members, mass)
    names: list[ClusterName] = []
    taken: set[str] = set()
    for cluster, rows in enumerate(members):
        keywords = ranked[cluster][:_KEYWORDS]
        exemplars = _exemplars(texts, rows, mass, vectors, n_exemplars)
        if labeller is not None and len(rows):
            label = labeller(keywords, exemplars)
        else:
            label = ", ".join(keywords[:3]) or f"cluster {cluster}"
        label = unique_label(label, keywords[3:], taken)
        taken.add(label)
        names.append(ClusterName(cluster, label, tuple(keywords), tuple(exemplars)))
    return tuple(names)


def _terms(text: str) -> set[str]:
    words = [word for word in _WORD.findall(text.casefold()) if len(word) <= _LONGEST_WORD]
    kept = [word for word in words if word not in _STOP_WORDS and len(word) > 1]
    return {*kept, *(f"{a} {b}" for a, b in pairwise(words) if not {a, b} & _STOP_WORDS)}


def _keywords(
    texts: Sequence[str], members: list[NDArray[np.intp]], weights: NDArray[np.float64]
) -> list[list[str]]:
    """Terms of each cluster, best first."""
    frequency: list[dict[str, float]] = []
    users: list[dict[str, int]] = []
    overall: dict[str, float] = defaultdict(float)
    for rows in members:
        mass: dict[str, float] = defaultdict(float)
        count: dict[str, int] = defaultdict(int)
        for row in rows:
            for term in _terms(texts[row]):
                mass[term] += weights[row]
                count[term] += 1
                overall[term] += weights[row]
        frequency.append(mass)
        users.append(count)
    typical = sum(overall.values()) / max(len(members), 1)
    ranked = []
    for mass, count in zip(frequency, users, strict=True):
        total = sum(mass.values())
        terms = [term for term in mass if count[term] > 1] or list(mass)
        score = {
            term: round(mass[term] / total * np.log1p(typical / overall[term]), 12)
            for term in terms
            if mass[term] > 0
        }
        ranked.append(_without_repeats(sorted(score, key=lambda term: (-score[term], term))))
    return ranked


def _without_repeats(terms: list[str]) -> list[str]:
    """Drop a word that a better pair contains, and a pair of which a word is already kept."""
    kept: list[str] = []
    seen: set[str] = set()
    for term in terms:
        words = set(term.split())
        if not words & seen:
            kept.append(term)
            seen |= words
    return kept


def _exemplars(
    texts: Sequence[str],
    rows: NDArray[np.intp],
    weights: NDArray[np.float64],
    vectors: NDArray[np.floating],
    most: int,
) -> list[str]:
    nearest = nearest_to_medoid(rows, weights, vectors)
    return list(dict.fromkeys(texts[row] for row in nearest))[:most]


def nearest_to_medoid(
    rows: NDArray[np.intp], weights: NDArray[np.floating], vectors: NDArray[np.floating]
) -> NDArray[np.intp]:
    """Members of a cluster, the medoid first, then by falling similarity to it.

    Args:
        rows: (m,) rows of the members.
        weights: (n,) non-negative weights.
        vectors: (n, d) L2-normalised vectors.

    Returns:
        (m,) the same rows in that order.
    """
    if len(rows) == 0:
        return rows
    members = vectors[rows].astype(np.float64)
    centre = (members * weights[rows][:, None]).sum(axis=0)
    medoid = members[np.round(members @ centre, 9).argmax()]
    return rows[np.argsort(-np.round(members @ medoid, 9), kind="stable")]


def unique_label(label: str, more: Sequence[str], taken: Collection[str]) -> str:
    """The label with as many further keywords, or a number, as make it one that is not taken.

    Args:
        label: wished for.
        more: keywords that it does not have yet, best first.
        taken: labels of other clusters.
    """
    for keyword in more:
        if label not in taken:
            break
        label = f"{label}, {keyword}"
    number, base = 2, label
    while label in taken:
        label, number = f"{base} ({number})", number + 1
    return label
