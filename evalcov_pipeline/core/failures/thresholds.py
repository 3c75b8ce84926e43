"""Cuts of failure signals, each estimated from a source's own traffic, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.statistics.shares import FloatArray

FALSE_ALARMS = 0.05
"""Share of unrelated pairs that may lie above the cut of rephrase."""
FEWEST_PAIRS = 100
LOW_SHARES = (0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Lowest shares of a retriever's scores among which low_retrieval looks for its own."""
FEWEST_SCORES = 20
"""Scores of a retriever below which its quantiles are not known."""
_FEWEST_BAD = 15
_FEWEST_LOW_AND_BAD = 5
"""Bad endings below a cut under which the difference of two shares is not near normal."""
_CLEARLY = 3.0
"""Standard errors by which turns below the cut go wrong more often than others of the source."""
DAY = 86_400.0
_SHORTEST = 60.0
_GOES_ON = 0.99
_FEWEST_GAPS = 50
_CHUNK = 500


@dataclass(frozen=True)
class Threshold:
    """A cut of one source.

    Attributes:
        value: in the signal's own unit; None where it cannot be estimated.
        n: observations it was estimated from.
        reason: how it was estimated, or why it was not.
    """

    value: float | None
    n: int
    reason: str


@dataclass(frozen=True)
class RephraseCut(Threshold):
    """Similarities between which, and above which, a turn says the one before again.

    Attributes:
        anew: similarity that is enough where the turn opens by saying that it puts things anew.
    """

    anew: float | None = None


def unrelated_similarities(
    vectors: NDArray[np.float32],
    sessions: NDArray[np.int64],
    earlier: NDArray[np.int64],
    later: NDArray[np.int64],
) -> FloatArray:
    """Similarity of next messages to the nearest question of another session.

    Args:
        vectors: (n, d) L2-normalised vectors of the turns' texts.
        sessions: (n,) session of each turn.
        earlier: (m,) places of answered turns.
        later: (m,) places of the next turn of each.

    Returns:
        (k,) similarity of each next turn to the question of another session that is nearest to the
        answered one; those without another session are left out.
    """
    similarities = []
    for start in range(0, len(earlier), _CHUNK):
        mine, told = earlier[start : start + _CHUNK], later[start : start + _CHUNK]
        near = vectors[mine] @ vectors.T
        near[sessions[mine][:, None] == sessions[None, :]] = -np.inf
        other = near.argmax(axis=1)
        known = np.isfinite(near[np.arange(len(mine)), other])
        similarities.append(np.einsum("ij,ij->i", vectors[told[known]], vectors[other[known]]))
    return np.concatenate([np.empty(0), *similarities])


def rephrase_cut(unrelated: FloatArray) -> RephraseCut:
    """Cut of rephrase from pairs that nobody meant as one question.

    A pair is what one person said next, and the question of another person who had asked nearly
    the same: as close in topic as a turn and its predecessor, but no repetition. Some of these
    next messages are rephrases themselves, which moves the cut up: fewer than `FALSE_ALARMS` of
    ordinary next messages lie above it.

    Args:
        unrelated: (n,) similarities of such pairs.
    """
    n = len(unrelated)
    if n < FEWEST_PAIRS:
        return RephraseCut(None, n, f"silent: {n} next messages, {FEWEST_PAIRS} are needed")
    middle, cut = (float(x) for x in np.quantile(unrelated, [0.5, 1 - FALSE_ALARMS]))
    return RephraseCut(
        cut,
        n,
        f"similarity that {FALSE_ALARMS:.0%} of next messages have to the nearest question of"
        f" another session; {middle:.2f}, the middle one, for a message that says it puts things"
        " anew",
        anew=middle,
    )


def low_share(scores: pl.DataFrame) -> Threshold:
    """Share of a retriever's lowest scores below which turns go wrong clearly more often.

    Each score becomes its rank among its retriever's own. Of the shares looked at, the one whose
    turns differ most from the rest in how often they ended badly, in standard errors that allow for
    turns of one session being alike.

    Args:
        scores: retrieval_kind, session, score and bad (whether the turn ended badly by other signs)
            of one source's turns.
    """
    ranked = scores.with_columns(
        rank=pl.col("score").rank("average").over("retrieval_kind"),
        n=pl.len().over("retrieval_kind"),
    ).filter(pl.col("n") >= FEWEST_SCORES)
    n, n_bad = len(ranked), int(ranked["bad"].sum())
    if n == 0:
        return Threshold(None, len(scores), f"silent: no retriever has {FEWEST_SCORES} scores")
    if n_bad < _FEWEST_BAD:
        return Threshold(
            None, n, f"silent: {n_bad} of its turns ended badly, {_FEWEST_BAD} are needed"
        )
    rank = (ranked["rank"] / ranked["n"]).to_numpy()
    bad = ranked["bad"].to_numpy().astype(np.float64)
    session = ranked["session"].rank("dense").to_numpy()
    excess = {share: _z(rank <= share, bad, session) for share in LOW_SHARES}
    best = max(excess, key=excess.__getitem__)
    if excess[best] < _CLEARLY:
        return Threshold(
            None, n, "silent: turns with low scores do not end badly clearly more often"
        )
    low = rank <= best
    return Threshold(
        best,
        n,
        f"share of each retriever's lowest scores: {bad[low].mean():.0%} of these turns ended"
        f" badly, {bad[~low].mean():.0%} of the others (z = {excess[best]:.1f})",
    )


def retrieval_cuts(scores: pl.DataFrame, share: float) -> pl.DataFrame:
    """The score that cuts off a share of each retriever's own scores.

    Args:
        scores: retrieval_kind and score of one source's turns.
        share: 0..1, see `low_share`.

    Returns:
        retrieval_kind and cut of the retrievers with at least `FEWEST_SCORES` scores; a score
        below the cut is low.
    """
    return (
        scores.group_by("retrieval_kind")
        .agg(cut=pl.col("score").quantile(share, "higher"), n=pl.len())
        .filter(pl.col("n") >= FEWEST_SCORES)
        .select("retrieval_kind", "cut")
        .sort("retrieval_kind")
    )


def quiet_guard(gaps: FloatArray) -> Threshold:
    """Seconds without a turn after which a session hardly ever goes on, a day at most.

    Args:
        gaps: (n,) seconds from the end of a turn to the next one of its session.
    """
    n = len(gaps)
    if n < _FEWEST_GAPS:
        return Threshold(DAY, n, f"a day: {n} next turns, {_FEWEST_GAPS} are needed to know less")
    seconds = float(np.clip(np.quantile(gaps, _GOES_ON), _SHORTEST, DAY))
    return Threshold(seconds, n, f"seconds within which {_GOES_ON:.0%} of next turns came")


def _z(low: NDArray[np.bool_], bad: FloatArray, session: NDArray[np.generic]) -> float:
    """Difference of two shares in standard errors; 0 where too few low turns ended badly to tell.

    The errors are those of independent turns, times the square root of the design effect of the
    sessions: what sums over sessions vary more than sums over single turns do.
    Source: Rao and Scott (1992).
    """
    if low.all() or bad[low].sum() < _FEWEST_LOW_AND_BAD:
        return 0.0
    share = bad.mean()
    error = np.sqrt(share * (1 - share) * (1 / low.sum() + 1 / (~low).sum()))
    alone = (low - low.mean()) * (bad - share)
    together = np.bincount(session, weights=alone)
    effect = max(1.0, float(together @ together) / max(float(alone @ alone), 1e-12))
    difference = float(bad[low].mean() - bad[~low].mean())
    return float(difference / (error * np.sqrt(effect))) if error > 0 else 0.0
