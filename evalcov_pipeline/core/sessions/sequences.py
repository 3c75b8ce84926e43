"""Which steps follow which: the order of turns or tool calls in production and in the suite.

A session is a sequence of symbols (clusters of its queries, or tools) between a start and an end.
Its n-grams share a weight of one, so that a session counts once however long it is: with plain
occurrences, one session of 10,000 turns would outweigh a thousand others, in production as in a
suite, and nothing could be said about suites of whole sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from evalcov_pipeline.core.coverage.divergence import contributions
from evalcov_pipeline.core.sessions.ngrams import bracketed, joined, ngrams, permuted
from evalcov_pipeline.core.statistics.shares import (
    FloatArray,
    IntArray,
    replicated_means,
    unit_weights,
)

_PERMUTATIONS = 10
_BORROWED = np.linspace(0.0, 1.0, 11)
"""Shares of a redrawn suite that come from production, the last one all of it."""
_TIE = 1e-12
_MOST = 100
"""N-grams told apart: those with most weight in production as it is and permuted, to equal parts;
the rest is pooled."""


@dataclass(frozen=True, kw_only=True)
class SequenceFigures:
    """How far the orders of a suite lie from those of production; divergences in bits, 0..1.

    Attributes:
        length: steps of an n-gram.
        n_sessions: sessions compared.
        n_eval: cases compared.
        n_ngrams: n-grams told apart; the others are pooled.
        jsd: plug-in divergence; inflated for small suites.
        jsd_adjusted: the same less its estimated bias.
        jsd_ci_low: lower end of the 95 % interval of `jsd_adjusted`.
        jsd_ci_high: upper end.
        null_mean: mean plug-in divergence of suites of whole sessions drawn from production.
        null_p95: its 95th percentile.
        p_value: chance that such a suite is at least as divergent as this one.
        order_jsd: `jsd` less its mean after permuting the steps within each session on both sides;
            below 0 where the orders differ less than chance makes permuted ones differ.
        order_adjusted: the same less its mean over the suites of the null, 0 or more.
        order_p_value: chance that such a suite differs at least as much in order.
        note: why the numbers are None; None when they are not.
    """

    length: int
    n_sessions: int
    n_eval: int
    n_ngrams: int
    jsd: float | None = None
    jsd_adjusted: float | None = None
    jsd_ci_low: float | None = None
    jsd_ci_high: float | None = None
    null_mean: float | None = None
    null_p95: float | None = None
    p_value: float | None = None
    order_jsd: float | None = None
    order_adjusted: float | None = None
    order_p_value: float | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class SequenceScore(SequenceFigures):
    """What was computed of the orders.

    Attributes:
        contributions: ngram, jsd_contribution (bits) of the n-grams told apart, largest first; with
            the part of the pooled ones, which is not in it, they sum to `jsd`.
    """

    contributions: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class SequenceRow(SequenceFigures):
    """The orders of one kind of step in a scored week: a row of `sequence_scores`.

    Attributes:
        as_of: exclusive end of the week, naive UTC.
        kind: queries (clusters of the turns) or tools (calls).
        taxonomy_id: taxonomy of the query clusters; None for tools.
        untested_share: share of sessions that walk a path which surely no case walks, 0..1.
    """

    as_of: datetime
    kind: str
    taxonomy_id: str | None
    untested_share: float | None


def sequence_score(
    production: Sequence[Sequence[str]],
    weights: ArrayLike,
    strata: ArrayLike,
    cases: Sequence[Sequence[str]],
    designed: ArrayLike,
    rng: np.random.Generator,
    *,
    length: int = 2,
    resamples: int = 999,
) -> SequenceScore:
    """Divergence of the n-grams of cases from those of sessions, and how much of it is order.

    Cases are draws of whole sessions, except designed ones (placed by a refresh plan), which stay
    fixed. Production is resampled by session within stratum.

    Null: suites of whole sessions drawn from production. Designed cases enter it as draws too: no
    plan can apportion whole sessions.

    `jsd_adjusted`: plug-in divergence of a suite exceeds that of the distribution behind it, the
    more the smaller the suite. By how much is seen on suites redrawn from mixtures of production's
    sessions and the suite's own cases: on the mixture whose suites look as divergent as this one,
    and on production alone. The first is too little for suites that are spread more widely than
    their cases show, the second too much for suites that leave steps out; their mean is used.
    Interval: centred bootstrap errors of production alone and of every mixture among whose suites
    this one is not rare. Source: indirect inference, Gourieroux, Monfort and Renault (1993).

    Args:
        production: symbols of s sessions, in order; a session may have none.
        weights: (s,) steady weights, non-negative, not all zero.
        strata: (s,) strata that the sessions were drawn from.
        cases: symbols of m cases.
        designed: (m,) whether a plan placed the case.
        rng: source of permutations and resamples.
        length: steps of an n-gram, start and end counted, >= 2. A sequence too short for one is
            filled up with ends.
        resamples: suites drawn, >= 1.

    Returns:
        The score; without sessions or cases every number is None and `note` says so.

    Raises:
        ValueError: lengths that disagree, bad weights, or an n-gram of less than two steps.
    """
    w, is_designed = (
        unit_weights(weights, strata, len(production)),
        np.asarray(designed, dtype=bool),
    )
    s, m = len(production), len(cases)
    if is_designed.shape != (m,) or length < 2:
        raise ValueError(f"{m} cases, {is_designed.shape} designed marks, n-grams of {length}")
    if not s or not m:
        empty = pl.DataFrame(schema={"ngram": pl.String, "jsd_contribution": pl.Float64})
        return SequenceScore(
            length=length,
            n_sessions=s,
            n_eval=m,
            n_ngrams=0,
            contributions=empty,
            note="the suite has no case" if s else "no session was sampled",
        )
    order = np.argsort(is_designed, kind="stable")  # designed cases last
    rows, names = _rows([*production, *(cases[i] for i in order)], w, length, _MOST, rng)
    k = len(names) + 1
    sessions, suite = rows[:s], rows[s:]

    p = np.asarray(w @ sessions).reshape(-1, k)
    q = np.asarray(suite.sum(axis=0)).reshape(-1, k) / m
    p_star = replicated_means(sessions, w, strata, rng, resamples).reshape(resamples, -1, k)
    parts = contributions(p, q)
    observed = _joint_and_order(parts)

    from_production = rng.choice(s, (resamples, m), p=w)
    null_suites = _totals(rows, from_production).reshape(p_star.shape) / m
    null = _joint_and_order(contributions(p_star, null_suites))
    chance = (1 + (null >= observed - _TIE).sum(axis=0)) / (1 + resamples)
    null_mean = null.mean(axis=0)

    estimate, low, high = _corrected(
        rows[:, :k], p[0], p_star[:, 0], from_production, int(is_designed.sum()), rng
    )
    return SequenceScore(
        length=length,
        n_sessions=s,
        n_eval=m,
        n_ngrams=len(names),
        jsd=_clip(observed[0]),
        jsd_adjusted=_clip(estimate),
        jsd_ci_low=_clip(low),
        jsd_ci_high=_clip(high),
        null_mean=float(null_mean[0]),
        null_p95=float(np.quantile(null[:, 0], 0.95)),
        p_value=float(chance[0]),
        order_jsd=float(observed[1]),
        order_adjusted=_clip(observed[1] - null_mean[1]),
        order_p_value=float(chance[1]),
        contributions=pl.DataFrame({"ngram": names, "jsd_contribution": parts[0, :-1]}).sort(
            "jsd_contribution", "ngram", descending=[True, False]
        ),
    )


def _corrected(
    rows: csr_array,
    p: FloatArray,
    p_star: FloatArray,
    from_production: IntArray,
    n_designed: int,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Divergence less its bias, and its 95 % interval, unclipped.

    Args:
        rows: (s + m, k) n-grams of sessions, then of cases, designed ones last.
        p: (k,) production.
        p_star: (r, k) its replicates.
        from_production: (r, m) sessions drawn from production.
        n_designed: cases that stay.
        rng: source of the suites.
    """
    resamples, m = from_production.shape
    n_free = m - n_designed
    first = rows.shape[0] - m
    fixed = np.asarray(rows[first + n_free :].sum(axis=0))
    free = np.asarray(rows[first : first + n_free].sum(axis=0))
    observed = float(contributions(p, (free + fixed) / m).sum())

    from_cases = first + rng.integers(0, max(n_free, 1), (resamples, n_free))
    chance = rng.random((resamples, n_free))
    drawn, truth = [], []
    for borrowed in _BORROWED if n_free else _BORROWED[:1]:
        picks = np.where(chance < borrowed, from_production[:, :n_free], from_cases)
        redrawn = (fixed + _totals(rows, picks)) / m
        drawn.append(contributions(p_star, redrawn).sum(axis=1))
        mixture = borrowed * n_free * p + (1 - borrowed) * free
        truth.append(contributions(p, (fixed + mixture) / m).sum())
    looks, true = np.array(drawn), np.array(truth)
    errors = looks - true[:, None]
    mean = looks.mean(axis=1)
    order = np.argsort(mean)
    matched = np.interp(observed, mean[order], errors.mean(axis=1)[order])
    estimate = observed - (matched + errors[-1].mean()) / 2
    above = (looks > observed).mean(axis=1)
    plausible = (above >= 0.025) & (above <= 0.975)
    plausible[[np.argmin(np.abs(mean - observed)), -1]] = True
    ends = np.quantile(errors[plausible], [0.975, 0.025], axis=1)
    return estimate, observed - ends[0].max(), observed - ends[1].min()


def _joint_and_order(parts: FloatArray) -> FloatArray:
    """(..., 2) divergence of sequences as they are, and how much permuting takes off.

    Args:
        parts: (..., 1 + permutations, k) contributions, those of the sequences as they are first.
    """
    divergence = parts.sum(axis=-1)
    joint = divergence[..., 0]
    return np.stack([joint, joint - divergence[..., 1:].mean(axis=-1)], axis=-1)


def _rows(
    sequences: Sequence[Sequence[str]],
    weights: FloatArray,
    length: int,
    most: int,
    rng: np.random.Generator,
) -> tuple[csr_array, list[str]]:
    """n-grams of each sequence as it is and permuted, each time adding up to one.

    Returns:
        (n, (1 + permutations) k) shares, the k cells of one version after those of the other; the
        names of all cells but the last, which is the rest.
    """
    steps, owner, symbols = bracketed(sequences, at_least=length)
    n, versions = len(sequences), 1 + _PERMUTATIONS
    shuffled = [permuted(steps, owner, rng) for _ in range(_PERMUTATIONS)]
    grams, codes, row = ngrams(
        np.concatenate([steps, *shuffled]),
        (np.arange(versions)[:, None] * n + owner).ravel(),
        length,
    )
    size = np.bincount(row, minlength=versions * n)
    share = 1 / size[row]
    version, sequence = np.divmod(row, n)

    weight = np.append(weights, np.zeros(n - len(weights)))[sequence] * share
    weight = np.where(version == 0, weight, weight / _PERMUTATIONS)
    total = np.bincount(codes, weight, minlength=len(grams))
    kept = np.argsort(-total, kind="stable")[: min(most, np.count_nonzero(total))]
    cell = np.full(len(grams), len(kept))
    cell[kept] = np.arange(len(kept))

    k = len(kept) + 1
    shape = (n, versions * k)
    shares = csr_array((share, (sequence, version * k + cell[codes])), shape=shape)
    return shares, [joined([symbols[i] for i in gram]) for gram in grams[kept]]


def _totals(rows: csr_array, picks: IntArray) -> FloatArray:
    """(r, k) sums of the rows that each of r suites picked; a row may be picked twice."""
    r, n = picks.shape
    chosen = csr_array(
        (np.ones(r * n), picks.ravel(), np.arange(r + 1) * n), shape=(r, rows.shape[0])
    )
    return np.asarray((chosen @ rows).toarray())


def _clip(value: float) -> float:
    return float(np.clip(value, 0.0, 1.0))
