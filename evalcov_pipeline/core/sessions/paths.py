"""Which paths of production's sessions some case walks, and how surely others are untested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, hstack

from evalcov_pipeline.core.coverage.clusters import statuses
from evalcov_pipeline.core.sessions.ngrams import FIRST_SYMBOL, bracketed, joined, ngrams
from evalcov_pipeline.core.statistics.shares import (
    FloatArray,
    IntArray,
    kish,
    replicated_means,
    share_interval,
    unit_weights,
)

_NEVER = 2.0
"""A share that no path reaches: paths overlap, so none is a liability by itself."""
_MOST = 500
"""Paths of each length that are looked at."""
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
    resamples: int,
    lengths: Sequence[int] = (1, 2, 3, 4),
    least_share: float = 0.002,
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
        resamples: number of replicates, >= 1.
        lengths: numbers of steps of a path, each >= 1; of each the `_MOST` most travelled paths are
            looked at.
        least_share: share of sessions from which a path is looked at.

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
    looked_at = [
        level.travelled(w, least_share, _MOST)
        for level in _levels(steps, owner, s, m, max(lengths))
        if level.paths.shape[1] in lengths
    ]
    names = [[symbols[i] for i in path] for level in looked_at for path in level.paths]
    counts = np.concatenate([level.n_cases for level in looked_at])
    parts_tested = np.concatenate([level.parts_tested for level in looked_at])
    walked = csr_array(hstack([level.walked for level in looked_at]))
    p = np.minimum(w @ walked, 1.0)
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
            "minimal": (counts == 0) & parts_tested,
        },
        schema=_COLUMNS,
    ).sort("production_share", "length", "ngram", descending=[True, False, False])
    return PathCoverage(frame, float(w[untested].sum()) if m else None)


@dataclass(frozen=True)
class _Level:
    """Paths of one length.

    Attributes:
        paths: (g, length) numbers of the steps.
        walked: (s, g) 1.0 where a session walks the path, however often.
        n_cases: (g,) cases that walk it.
        parts_tested: (g,) whether some case walks it without its first step, some without its last.
    """

    paths: IntArray
    walked: csr_array
    n_cases: IntArray
    parts_tested: NDArray[np.bool_]

    def travelled(self, weights: FloatArray, least_share: float, most: int) -> _Level:
        """The most travelled paths; start and end alone are none."""
        share = weights @ self.walked
        alone = (self.paths < FIRST_SYMBOL).all(axis=1) & (self.paths.shape[1] == 1)
        kept = np.flatnonzero((share >= least_share) & ~alone)
        kept = kept[np.argsort(-share[kept], kind="stable")[:most]]
        return _Level(
            self.paths[kept],
            csr_array(self.walked[:, kept]),
            self.n_cases[kept],
            self.parts_tested[kept],
        )


def _levels(
    steps: IntArray, owner: IntArray, n_sessions: int, n_cases: int, longest: int
) -> Iterator[_Level]:
    """Paths of one step, of two, and so on; sessions come before cases in `owner`."""
    tested: set[tuple[int, ...]] = {()} if n_cases else set()
    for length in range(1, longest + 1):
        paths, codes, walker = ngrams(steps, owner, length)
        shape = (n_sessions + n_cases, len(paths))
        walked = csr_array((np.ones(len(codes)), (walker, codes)), shape=shape)
        walked.data[:] = 1.0
        testing = np.asarray(walked[n_sessions:].sum(axis=0)).astype(np.int64)
        rows = [tuple(path) for path in paths.tolist()]
        parts_tested = np.array(
            [path[1:] in tested and path[:-1] in tested for path in rows], dtype=bool
        )
        yield _Level(paths, csr_array(walked[:n_sessions]), testing, parts_tested)
        tested = {path for path, count in zip(rows, testing, strict=True) if count}
