"""Which paths of production's sessions some case walks, and how surely others are untested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, hstack

from evalcov_pipeline.core.coverage import statuses
from evalcov_pipeline.core.ngrams import FIRST_SYMBOL, bracketed, joined, ngrams
from evalcov_pipeline.core.shares import (
    IntArray,
    kish,
    replicated_means,
    share_interval,
    unit_weights,
)

_NEVER = 2.0
"""A share that no path reaches: paths overlap, so none is a liability by itself."""
_COLUMNS = pl.Schema(
    {
        "ngram": pl.String(),
        "symbols": pl.List(pl.String),
        "length": pl.Int64(),
        "production_share": pl.Float64(),
        "production_share_low": pl.Float64(),
        "production_share_high": pl.Float64(),
        "eval_cases": pl.Int64(),
        "eval_share": pl.Float64(),
        "status": pl.String(),
        "minimal": pl.Boolean(),
    }
)


@dataclass(frozen=True)
class PathCoverage:
    """Coverage per path, and what is untested in all.

    Attributes:
        paths: one row per path, the most travelled first: ngram, symbols, length, production_share,
            production_share_low, production_share_high, eval_cases, eval_share, status, minimal.
            Shares are of sessions and cases that walk the path at least once, 0..1; `eval_share` is
            None for an empty suite. `minimal`: no case walks it, though some case walks each part.
        untested_share: share of sessions that walk at least one path of status gap; None without
            sessions or cases.
    """

    paths: pl.DataFrame
    untested_share: float | None


def path_coverage(
    production: Sequence[Sequence[str]],
    weights: ArrayLike,
    strata: ArrayLike,
    cases: Sequence[Sequence[str]],
    rng: np.random.Generator,
    *,
    lengths: Sequence[int] = (1, 2, 3, 4),
    least_share: float = 0.002,
    most: int = 500,
    resamples: int = 999,
) -> PathCoverage:
    """Compare production and suite path by path.

    A path is a run of steps, start and end included; start and end alone are none. Statuses as of
    clusters (`coverage.statuses`), but for liability: a path is a gap when no case walks it and
    chance does not explain that, taking all paths together.

    Args:
        production: symbols of s sessions, in order; a session may have none.
        weights: (s,) steady weights, non-negative, not all zero.
        strata: (s,) strata that the sessions were drawn from.
        cases: symbols of the cases.
        rng: source of the resamples behind the intervals.
        lengths: numbers of steps of a path, each >= 1.
        least_share: share of sessions from which a path is looked at.
        most: paths of each length, the most travelled.
        resamples: number of replicates, >= 1.

    Returns:
        Rows and total.

    Raises:
        ValueError: lengths that disagree, or bad weights.
    """
    s, m = len(production), len(cases)
    w = unit_weights(weights, strata, s)
    if not s:
        return PathCoverage(pl.DataFrame(schema=_COLUMNS), None)
    steps, owner, symbols = bracketed([*production, *cases])
    tested = {()} if m else set()
    names: list[list[str]] = []
    share, n_cases, parts_tested, walks = [], [], [], []
    for length in range(1, max(lengths) + 1):
        grams, codes, walker = ngrams(steps, owner, length)
        by_session, by_case = _walked(walker, codes, (s + m, len(grams)), s)
        walked_share, walking_cases = w @ by_session, by_case.sum(axis=0).astype(np.int64)
        shorter, tested = tested, {tuple(gram) for gram in grams[walking_cases > 0].tolist()}
        if length not in lengths:
            continue
        is_path = (grams[:, 0] >= FIRST_SYMBOL) | (length > 1)
        kept = np.flatnonzero(is_path & (walked_share >= least_share))
        kept = kept[np.argsort(-walked_share[kept], kind="stable")[:most]]
        found = [tuple(gram) for gram in grams[kept].tolist()]
        names += [[symbols[i] for i in path] for path in found]
        parts_tested += [path[1:] in shorter and path[:-1] in shorter for path in found]
        share.append(np.minimum(walked_share[kept], 1.0))
        n_cases.append(walking_cases[kept])
        walks.append(by_session[:, kept])

    p, counts, walked = np.concatenate(share), np.concatenate(n_cases), csr_array(hstack(walks))
    low, high = share_interval(p, replicated_means(walked, w, strata, rng, resamples), kish(w))
    status = statuses(p, low, high, counts, m, _NEVER) if names else np.zeros(0, dtype=object)
    untested = walked[:, np.flatnonzero(status == "gap")].sum(axis=1) > 0
    frame = pl.DataFrame(
        {
            "ngram": [joined(name) for name in names],
            "symbols": names,
            "length": [len(name) for name in names],
            "production_share": p,
            "production_share_low": low,
            "production_share_high": high,
            "eval_cases": counts,
            "eval_share": counts / m if m else None,
            "status": status.tolist(),
            "minimal": (counts == 0) & np.array(parts_tested, dtype=bool),
        },
        schema=_COLUMNS,
    ).sort("production_share", "length", "ngram", descending=[True, False, False])
    return PathCoverage(frame, float(w[untested].sum()) if m else None)


def _walked(
    walker: IntArray, path: IntArray, shape: tuple[int, int], n_sessions: int
) -> tuple[csr_array, csr_array]:
    """Who walks which path, 1.0 however often: sessions and cases."""
    walked = csr_array((np.ones(len(path)), (walker, path)), shape=shape)
    walked.data[:] = 1.0
    return csr_array(walked[:n_sessions]), csr_array(walked[n_sessions:])
