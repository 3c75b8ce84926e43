"""Kinds of failure: which turns show them, how often they occur, and what the suite has on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from evalcov_pipeline.core.labels.decision import UNCATEGORISED
from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray
from evalcov_pipeline.core.statistics.similarity import Vectors

Status = Literal["unrepresented", "thin", "never_failed", "represented", "unknown"]
ORDER: tuple[Status, ...] = ("unrepresented", "thin", "never_failed", "represented", "unknown")
THIN = 3
"""Cases below which a kind of failure is thinly represented."""
RIGHT = 0.8
"""Least share of labelled turns whose own kind their neighbours must tell."""
LEAST_LABELLED = 10
"""Labelled turns that a choice has to be tried on, or no other turn is assigned a kind."""
_NEIGHBOURS = (1, 3, 5, 7)


@dataclass(frozen=True)
class Assignment:
    """Kinds of unlabelled turns, by their nearest labelled neighbours.

    Attributes:
        categories: (n,) kind of each turn; None below the least similarity.
        k: neighbours that vote.
        least: least cosine to the nearest of them; None where no turn is assigned.
        right: share of labelled turns that their own neighbours above `least` tell right; None
            likewise.
        reason: how that was chosen, or why no turn is assigned.
    """

    categories: tuple[str | None, ...]
    k: int
    least: float | None
    right: float | None
    reason: str


@dataclass(frozen=True)
class Represented:
    """What the suite has on a kind of failure, and how urgent that is.

    Attributes:
        status: unrepresented (no case), thin (fewer than `THIN`), never_failed (none of them ever
            failed a first try of the product, so they may not ask what fails), represented, or
            unknown for turns whose kind nobody has named.
        reason: the same in words.
    """

    status: Status
    reason: str


def assign_categories(
    labelled: Vectors, categories: Sequence[str], unlabelled: Vectors
) -> Assignment:
    """Give unlabelled turns the kind of failure of their nearest labelled neighbours.

    The neighbours vote, weighted by cosine. Their number and the least cosine to the nearest are
    those that assign most labelled turns, each held out in turn, while at least `LEAST_LABELLED`
    are assigned and the share of them that get their own kind, less one standard error, is at least
    `RIGHT`. That share is of the best of several choices, so too good for turns to come: the more
    so the fewer labels there are and the less the kinds differ.

    Args:
        labelled: (m, d) L2-normalised vectors of labelled turns.
        categories: m, their kinds.
        unlabelled: (n, d) likewise.

    Raises:
        ValueError: as many vectors as kinds are needed.
    """
    if len(labelled) != len(categories):
        raise ValueError(f"{len(labelled)} vectors need as many kinds, got {len(categories)}")
    nobody: tuple[str | None, ...] = (None,) * len(unlabelled)
    if len(labelled) < LEAST_LABELLED or len(set(categories)) < 2:
        return Assignment(
            nobody, 0, None, None,
            f"{len(labelled)} labelled turns of {len(set(categories))} kinds are too few to go by",
        )  # fmt: skip
    kinds, own = np.unique(np.asarray(categories), return_inverse=True)
    cosine = (labelled @ labelled.T).astype(np.float64)
    np.fill_diagonal(cosine, -np.inf)
    nearest = cosine.max(axis=1)
    order = np.argsort(-nearest, kind="stable")
    ends = np.append(np.diff(nearest[order]) != 0, True)  # a cut takes all turns of equal cosine
    best: tuple[int, float, int, float] | None = None
    for k in _NEIGHBOURS:
        told = _vote(cosine, own, len(kinds), k) == own
        n = np.arange(1, len(order) + 1)
        share = np.cumsum(told[order]) / n
        sure = share - np.sqrt(share * (1 - share) / n) >= RIGHT
        good = np.flatnonzero(sure & ends & (n >= LEAST_LABELLED))
        if len(good) and (best is None or (good[-1], share[good[-1]]) > best[:2]):
            best = int(good[-1]), float(share[good[-1]]), k, float(nearest[order][good[-1]])
    if best is None:
        reason = f"neighbours do not surely tell {RIGHT:.0%} of the labelled turns right, held out"
        return Assignment(nobody, 0, None, None, reason)
    last, right, k, least = best
    cosine = (unlabelled @ labelled.T).astype(np.float64)
    vote = kinds[_vote(cosine, own, len(kinds), k)] if len(cosine) else np.empty(0, kinds.dtype)
    near = cosine.max(axis=1, initial=-np.inf) >= least
    return Assignment(
        tuple(str(kind) if close else None for kind, close in zip(vote, near, strict=True)),
        k,
        least,
        right,
        f"{k} nearest labelled turns from a cosine of {least:.2f}: of {last + 1} labelled turns"
        f" that reach it, held out, {right:.0%} get their own kind",
    )


def represented(
    category: str, eval_cases: int, last_failed_at: datetime | None, *, ever_run: bool
) -> Represented:
    """How well a suite represents a kind of failure.

    Args:
        category: the kind.
        eval_cases: its active cases.
        last_failed_at: when one of them last failed a first try of the product.
        ever_run: whether one of them ever had a first try.
    """
    if category == UNCATEGORISED:
        return Represented("unknown", "nobody has said what kind of failure these turns show")
    if not eval_cases:
        return Represented("unrepresented", "no active case asks for it")
    cases = f"{eval_cases} case{'s' if eval_cases > 1 else ''}"
    if eval_cases < THIN:
        return Represented("thin", f"{cases}, fewer than {THIN}")
    if last_failed_at is not None:
        return Represented("represented", f"{cases}, last failed on {last_failed_at:%Y-%m-%d}")
    if ever_run:
        return Represented("never_failed", f"{cases}, none of which has ever failed")
    return Represented("represented", f"{cases}, none of which was ever run")


def _vote(cosine: FloatArray, kinds: IntArray, n_kinds: int, k: int) -> IntArray:
    """The kind that most weight of the k nearest is behind, of each row."""
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    weight = np.clip(np.take_along_axis(cosine, nearest, axis=1), 1e-9, None)
    behind = np.zeros((len(cosine), n_kinds))
    rows = np.repeat(np.arange(len(cosine)), nearest.shape[1])
    np.add.at(behind, (rows, kinds[nearest].ravel()), weight.ravel())
    most: IntArray = behind.argmax(axis=1).astype(np.int64)
    return most
