"""Production shares over categories, with the noise of having sampled sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Z95 = 1.959963984540054
_BLOCK_CELLS = 500_000


@dataclass(frozen=True)
class ProductionShares:
    """Shares of production over k categories, and how they would vary in other samples.

    Attributes:
        shares: (k,) summing to 1.
        replicates: (r, k) bootstrap replicates of `shares`, each summing to 1.
        n_sessions: sessions behind the shares.
        n_eff: Kish effective number of sessions.
    """

    shares: FloatArray
    replicates: FloatArray
    n_sessions: int
    n_eff: float

    def interval(self) -> tuple[FloatArray, FloatArray]:
        """95 % interval of each share: low (k,), high (k,), within 0..1; see `share_interval`."""
        return share_interval(self.shares, self.replicates, self.n_eff)


def share_interval(
    shares: FloatArray, replicates: FloatArray, n_eff: float
) -> tuple[FloatArray, FloatArray]:
    """95 % interval of each share: Wilson's, at the share's own effective sample size.

    The effective size is p (1 - p) over the bootstrap variance, so it carries strata, weights and
    the likeness of turns within a session; a share without variance has the Kish size. Unlike
    percentiles it has an upper end above 0 for a category that was not sampled.
    Source: Korn and Graubard (1998); Wilson (1927).

    Args:
        shares: (k,) shares, which need not sum to 1.
        replicates: (r, k) their bootstrap replicates.
        n_eff: Kish effective number of sessions.

    Returns:
        low (k,), high (k,), within 0..1.
    """
    variance = replicates.var(axis=0)
    n = np.full_like(shares, n_eff)
    np.divide(shares * (1 - shares), variance, out=n, where=variance > 1e-15)
    return wilson(shares, n)


def wilson(rate: FloatArray, n: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Wilson's 95 % score interval of a binomial rate.

    Args:
        rate: (k,) observed rates, 0..1.
        n: trials, a scalar or (k,), > 0; need not be whole.

    Returns:
        low (k,), high (k,), within 0..1.
    """
    n = np.asarray(n, dtype=float)
    middle = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def production_shares(
    session_weights: ArrayLike, strata: ArrayLike, rng: np.random.Generator, resamples: int = 999
) -> ProductionShares:
    """Shares of production from weighted sessions, resampled by session within stratum.

    Args:
        session_weights: (s, k) weight of session s in category k: its turns' weights, summed by
            the turn's category; non-negative.
        strata: (s,) labels of the strata that the sessions were drawn from.
        rng: source of the resamples.
        resamples: number of replicates, >= 1.

    Returns:
        Shares and replicates.

    Raises:
        ValueError: shapes that disagree, negative or non-finite weights, or no weight at all.
    """
    weights = np.asarray(session_weights, dtype=float)
    labels = np.asarray(strata)
    if weights.ndim != 2 or labels.shape != weights.shape[:1]:
        raise ValueError(f"weights {weights.shape} need one stratum per row, got {labels.shape}")
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise ValueError("session weights must be finite, non-negative and not all zero")
    by_category = csr_array(weights.T)  # a session touches few categories
    replicates = np.concatenate(
        [(by_category @ factors).T for factors in bootstrap_factors(labels, rng, resamples)]
    )
    return ProductionShares(
        shares=np.minimum(weights.sum(axis=0) / weights.sum(), 1.0),
        replicates=replicates / replicates.sum(axis=1, keepdims=True),
        n_sessions=len(weights),
        n_eff=kish(weights.sum(axis=1)),
    )


def kish(weights: ArrayLike) -> float:
    """Kish's effective sample size: the number of equally weighted units of the same precision.

    Args:
        weights: (s,) weights, not all zero.
    """
    w = np.asarray(weights, dtype=float)
    return float(w.sum() ** 2 / (w @ w))


def unit_weights(weights: ArrayLike, strata: ArrayLike, n_sessions: int) -> FloatArray:
    """Session weights that sum to 1.

    Args:
        weights: (s,) finite, non-negative, not all zero.
        strata: (s,) strata of the sessions.
        n_sessions: s; 0 gives no weight at all.

    Raises:
        ValueError: lengths that disagree, or bad weights.
    """
    w = np.asarray(weights, dtype=float)
    if w.shape != (n_sessions,) or np.shape(strata) != w.shape:
        raise ValueError(f"{n_sessions} sessions, {w.shape} weights, {np.shape(strata)} strata")
    if n_sessions and (not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0):
        raise ValueError("session weights must be finite, non-negative and not all zero")
    return w / w.sum() if n_sessions else w


def replicated_means(
    values: csr_array,
    weights: FloatArray,
    strata: ArrayLike,
    rng: np.random.Generator,
    resamples: int,
) -> FloatArray:
    """Weighted means over sessions, resampled by session within stratum.

    Args:
        values: (s, k) values of each session.
        weights: (s,) non-negative, not all zero.
        strata: (s,) labels of the strata that the sessions were drawn from.
        rng: source of the resamples.
        resamples: number of replicates, >= 1.

    Returns:
        (resamples, k) means.
    """
    weighted = csr_array(values.multiply(weights[:, None]).T)
    return np.concatenate(
        [
            np.asarray(weighted @ factors / (weights @ factors)).T
            for factors in bootstrap_factors(strata, rng, resamples)
        ]
    )


def bootstrap_factors(
    strata: ArrayLike, rng: np.random.Generator, resamples: int
) -> Iterator[FloatArray]:
    """Weight factors of a stratified bootstrap over sessions (Rao and Wu, 1988).

    Of the n_h sessions of a stratum, n_h - 1 are drawn with replacement and scaled by
    n_h / (n_h - 1), which makes the variance unbiased even at n_h = 2. Strata of one session have
    no variance of their own and are collapsed into one (Cochran, 1977, 5A.12).

    Args:
        strata: (s,) labels.
        rng: source of the resamples.
        resamples: number of replicates.

    Yields:
        (s, b) blocks of factors, rows in the order of `strata`, `resamples` columns in all.
    """
    group = _collapsed(np.asarray(strata))
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    draws = np.maximum(sizes - 1, 1)
    slot_start = np.repeat(starts, draws)[:, None]
    slot_size = np.repeat(sizes, draws)[:, None]
    scale = np.repeat(sizes / draws, sizes)[:, None]
    s = len(order)
    block = max(1, _BLOCK_CELLS // s)
    for done in range(0, resamples, block):
        columns = min(block, resamples - done)
        picks = slot_start + (rng.random((len(slot_start), columns)) * slot_size).astype(np.int64)
        cells = (picks * columns + np.arange(columns)).ravel()
        drawn = np.bincount(cells, minlength=s * columns).reshape(s, columns)
        factors = np.empty((s, columns))
        factors[order] = drawn * scale
        yield factors


def _collapsed(strata: NDArray[np.generic]) -> IntArray:
    """Stratum numbers from 0, all strata of one session under one number."""
    _, group, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    alone = sizes[group] == 1
    if alone.sum() == 1 and len(group) > 1:
        alone |= group == np.argmax(sizes)
    _, group = np.unique(np.where(alone, -1, group), return_inverse=True)
    return group.astype(np.int64)
