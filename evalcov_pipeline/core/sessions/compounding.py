"""Do the steps of a session fail independently, so that long sessions fail as s^L says?

A step success of 95 % leaves 36 % of the sessions of 20 steps without a failure, if failures know
nothing of each other. Where they come together, in the same sessions, more sessions are flawless
than that; where a failure keeps others away, fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray, bootstrap_factors, wilson

BANDS = ((1, 1), (2, 2), (3, 4), (5, 7), (8, 12), (13, None))
"""Ranges of user turns in which sessions are looked at, both ends included."""
LEAST_SESSIONS, LEAST_FAILURES = 30, 10
"""Sessions of two or more turns, and failed turns in them, below which there is no verdict."""
_LEAST_CELL = 10
_CHANCE = (0.005, 0.995)
_KNOWN = ("success", "abandoned", "error")
_BLOCK_CELLS = 500_000
RATES = ("step_success", "predicted", "flawless", "observed")
COMPOUNDING = pl.Schema(
    {
        **dict.fromkeys(("grouping", "name", "label"), pl.String()),
        **dict.fromkeys(("n_sessions", "n_turns"), pl.Int64()),
        "mean_turns": pl.Float64(),
        **{rate + end: pl.Float64() for rate in RATES for end in ("", "_low", "_high")},
        "n_known": pl.Int64(),
        "verdict": pl.String(),
    }
)
"""Columns of `session_compounding` without as_of."""


def predicted_success(step_success: ArrayLike, turns: ArrayLike) -> FloatArray:
    """Chance that a session of `turns` steps has no failure, if steps fail independently: s^L.

    Args:
        step_success: success of one step, 0..1.
        turns: steps, >= 0; broadcast against `step_success`.

    Returns:
        Chances, 0..1, in the broadcast shape.

    Raises:
        ValueError: a step success outside 0..1, or fewer than 0 turns.
    """
    success, length = np.asarray(step_success, dtype=float), np.asarray(turns)
    if not ((success >= 0) & (success <= 1)).all() or (length < 0).any():
        raise ValueError("step success must be within 0..1 and turns at least 0")
    return np.asarray(success**length, dtype=float)


def compounding(
    sessions: pl.DataFrame, rng: np.random.Generator, resamples: int = 999
) -> pl.DataFrame:
    """Step success, what it predicts for whole sessions, and what was seen.

    Per group: `step_success` s is the weighted share of turns that did not fail; `predicted` the
    weighted mean of s^L over the group's sessions, for s^L bends: at s = .9 half sessions of 1 turn
    and half of 19 leave 52 %, not the 35 % of the mean length; `flawless` the share of sessions
    without a failed turn; `observed` the share of successes among sessions of known outcome.

    Groups of unlike sessions would look as if failures came together merely because they come
    together in the poorer cluster. So 'all' is predicted from each cluster's own s and a range of
    lengths from each cluster's own s within the range; clusters of fewer than ten sessions there
    share one. Their `predicted` is then not `step_success` to the power of anything.

    Verdict, from `flawless` - `predicted` against what it would be by chance: the same sessions
    with turns that fail independently, each at its cluster's s, drawn `resamples` times. That
    carries weights, small groups and the bias of s^L, where a bootstrap has no spread to show when
    no session, or every session, is flawless.
        undecidable: fewer than 30 sessions of two or more turns, or fewer than 10 failed turns in
            them (were failures half-way to coming together, ten would almost surely share a
            session).
        clustered, spread: beyond the 99 % range of chance, above or below.
        independent: within it, and far enough from the half of complete clustering, in which a
            session fails at every turn or at none and `flawless` is s itself.
        undecidable: neither can be told.

    A turn that failed because the next one says it again is never the last, so short sessions fail
    less by that evidence. Groups of mixed lengths then tend to 'clustered', by a point or two; the
    rows by length hardly do.

    Intervals of rates: Wilson's at the effective size of a bootstrap of sessions within strata, so
    a group that is flawless throughout is not certain.

    Args:
        sessions: one row per sampled session: cluster_key, label (of the cluster), n_turns >= 1,
            failed_turns (0..n_turns), outcome ('success', 'abandoned', 'error', 'unknown'),
            steady_weight, stratum. Sessions without weight are left out.
        rng: source of resamples and of chance.
        resamples: of both, >= 200 for a verdict.

    Returns:
        Schema `COMPOUNDING`: 'all', clusters by falling weight, ranges of lengths that occur. No
        rows without sessions.

    Raises:
        ValueError: turns, failures or weights out of range.
    """
    sessions = sessions.filter(pl.col("steady_weight") != 0)
    if not len(sessions):
        return pl.DataFrame(schema=COMPOUNDING)
    seen = _Sessions.of(sessions)
    return pl.concat([_table(grouping, seen, rng, resamples) for grouping in _groupings(sessions)])


@dataclass(frozen=True)
class _Sessions:
    """What was seen of n sessions; every array but strata is (n, 1)."""

    turns: IntArray
    failed: IntArray
    known: FloatArray
    success: FloatArray
    weights: FloatArray
    strata: NDArray[np.generic]

    @classmethod
    def of(cls, sessions: pl.DataFrame) -> _Sessions:
        counts = sessions.select(pl.col("n_turns", "failed_turns").cast(pl.Int64)).to_numpy()
        turns, failed = counts[:, :1], counts[:, 1:]
        weights = sessions["steady_weight"].to_numpy().astype(float)[:, None]
        if (turns < 1).any() or (failed < 0).any() or (failed > turns).any():
            raise ValueError("a session has at least one turn, and no more failures than turns")
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("session weights must be finite and not negative")
        outcome = sessions.select(
            known=pl.col("outcome").is_in(_KNOWN).fill_null(False).cast(pl.Float64),
            success=(pl.col("outcome") == "success").fill_null(False).cast(pl.Float64),
        ).to_numpy()
        strata = sessions["stratum"].to_numpy()
        return cls(turns, failed, outcome[:, :1], outcome[:, 1:], weights, strata)


@dataclass(frozen=True)
class _Grouping:
    """n sessions in g groups, and within these in c cells whose turns are taken to be alike.

    Attributes:
        kind: all, cluster or length.
        names: of the groups.
        labels: of the groups, in words.
        members: (g, n) of 0 and 1.
        cells: (c, n) of 0 and 1.
        cell: (n,) cell of each session.
    """

    kind: str
    names: Sequence[str]
    labels: Sequence[str]
    members: csr_array
    cells: csr_array
    cell: IntArray


def _groupings(sessions: pl.DataFrame) -> Iterator[_Grouping]:
    clusters = (
        sessions.group_by("cluster_key")
        .agg(pl.first("label"), pl.sum("steady_weight"))
        .sort(-pl.col("steady_weight").round(12), "cluster_key")
    )
    keys = clusters["cluster_key"].to_list()
    places = {key: place for place, key in enumerate(keys)}
    cluster = np.array([places[key] for key in sessions["cluster_key"]], dtype=np.int64)
    bands = np.searchsorted([first for first, _ in BANDS], sessions["n_turns"], side="right") - 1
    present, band = np.unique(bands, return_inverse=True)
    ranges = [_range(*BANDS[place]) for place in present]
    lengths = [f"{name} turn" if name == "1" else f"{name} turns" for name in ranges]
    everything = np.zeros_like(cluster)
    for kind, names, labels, group, cell in (
        ("all", ["all"], ["all sessions"], everything, _cells(everything, cluster)),
        ("cluster", keys, clusters["label"].to_list(), cluster, cluster),
        ("length", ranges, lengths, band, _cells(band, cluster)),
    ):
        yield _Grouping(kind, names, labels, _indicator(group), _indicator(cell), cell)


def _range(first: int, last: int | None) -> str:
    if last is None:
        return f"{first}+"
    return str(first) if first == last else f"{first}-{last}"


def _cells(group: IntArray, cluster: IntArray) -> IntArray:
    """Number of each session's cluster within its group; small clusters of a group are one."""
    pairs = np.column_stack([group, cluster])
    _, pair, sizes = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    pairs[sizes[pair] < _LEAST_CELL, 1] = -1
    return np.unique(pairs, axis=0, return_inverse=True)[1].astype(np.int64)


def _indicator(number: IntArray) -> csr_array:
    n = len(number)
    return csr_array((np.ones(n), (number, np.arange(n))), shape=(int(number.max()) + 1, n))


@dataclass(frozen=True)
class _Rates:
    """Rates of g groups in b replicates, each (g, b); NaN where nothing was drawn.

    `cell_step` is the mean of the step success of each session's cell.
    """

    step_success: FloatArray
    predicted: FloatArray
    flawless: FloatArray
    observed: FloatArray
    cell_step: FloatArray

    @property
    def excess(self) -> FloatArray:
        """Flawless sessions beyond those that independent steps would leave."""
        return self.flawless - self.predicted


def _table(
    grouping: _Grouping, seen: _Sessions, rng: np.random.Generator, resamples: int
) -> pl.DataFrame:
    """Rows of one grouping."""
    members, w, turns = grouping.members, seen.weights, seen.turns
    step_success = _step_success(grouping, seen, seen.failed, w)[:, 0]
    rates = _rates(grouping, seen, seen.failed, w)
    again = [
        _rates(grouping, seen, seen.failed, w * factors)
        for factors in bootstrap_factors(seen.strata, rng, resamples)
    ]
    chance = [
        _rates(grouping, seen, failed, w).excess
        for failed in _independent_failures(turns[:, 0], step_success, rng, resamples)
    ]
    n, n_turns, n_known = (members @ x[:, 0] for x in (np.ones_like(w), turns, seen.known))
    columns = {
        "grouping": [grouping.kind] * len(grouping.names),
        "name": grouping.names,
        "label": grouping.labels,
        "n_sessions": n,
        "n_turns": n_turns,
        "mean_turns": _ratio(members @ (w * turns), members @ w)[:, 0],
        "n_known": n_known,
        "verdict": _verdicts(grouping, seen, rates, np.concatenate(chance, axis=1)),
    }
    for name in RATES:
        rate = getattr(rates, name)[:, 0]
        replicates = np.concatenate([getattr(one, name) for one in again], axis=1)
        counted = seen.known if name == "observed" else np.ones_like(w)
        most = n_turns if name == "step_success" else members @ counted[:, 0]
        low, high = _interval(rate, replicates, _kish(members, w * counted), most)
        columns |= {name: rate, f"{name}_low": low, f"{name}_high": high}
    return pl.DataFrame(columns).fill_nan(None).select(COMPOUNDING.names()).cast(COMPOUNDING)


def _step_success(
    grouping: _Grouping, seen: _Sessions, failed: IntArray, weights: FloatArray
) -> FloatArray:
    """(n, b) step success of every session's cell; shapes as in `_rates`."""
    passed = grouping.cells @ (weights * (seen.turns - failed))
    return _ratio(passed, grouping.cells @ (weights * seen.turns))[grouping.cell]


def _rates(grouping: _Grouping, seen: _Sessions, failed: IntArray, weights: FloatArray) -> _Rates:
    """Rates of every group.

    Args:
        grouping: of n sessions.
        seen: the sessions.
        failed: (n, 1) or (n, b) failed turns, seen or by chance.
        weights: (n, 1) or (n, b).
    """
    step = np.nan_to_num(_step_success(grouping, seen, failed, weights))  # NaN has no weight

    def mean(values: FloatArray | NDArray[np.bool_], share: FloatArray) -> FloatArray:
        return _ratio(grouping.members @ (share * values), grouping.members @ share)

    return _Rates(
        step_success=mean(1 - failed / seen.turns, weights * seen.turns),
        predicted=mean(predicted_success(step, seen.turns), weights),
        flawless=mean(failed == 0, weights),
        observed=mean(seen.success, weights * seen.known),
        cell_step=mean(step, weights),
    )


def _independent_failures(
    turns: IntArray, step_success: FloatArray, rng: np.random.Generator, resamples: int
) -> Iterator[IntArray]:
    """(n, b) blocks of failed turns, `resamples` columns in all; arguments are (n,)."""
    block = max(1, _BLOCK_CELLS // len(turns))
    for done in range(0, resamples, block):
        columns = min(block, resamples - done)
        yield rng.binomial(turns, 1 - step_success, (columns, len(turns))).T


def _verdicts(grouping: _Grouping, seen: _Sessions, rates: _Rates, chance: FloatArray) -> list[str]:
    """One verdict per group, see `compounding`.

    Args:
        grouping: g groups.
        seen: the sessions.
        rates: of the groups.
        chance: (g, b) excess of independent steps.
    """
    repeated = seen.turns > 1
    sessions = (grouping.members @ repeated.astype(float))[:, 0]
    failures = (grouping.members @ (seen.failed * repeated))[:, 0]
    excess, half = rates.excess[:, 0], (rates.cell_step - rates.predicted)[:, 0] / 2
    low, high = np.round(np.quantile(chance, _CHANCE, axis=1), 12)
    excess = np.round(excess, 12)
    verdicts: list[str] = np.select(
        [
            (sessions < LEAST_SESSIONS) | (failures < LEAST_FAILURES),
            excess > high,
            excess < low,
            excess - low < half,
        ],
        ["undecidable", "clustered", "spread", "independent"],
        "undecidable",
    ).tolist()
    return verdicts


def _interval(
    rate: FloatArray, replicates: FloatArray, size: FloatArray, trials: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Wilson's 95 % interval at the effective size of the replicates; NaN where `rate` is.

    Args:
        rate: (g,) rates.
        replicates: (g, b) bootstrap replicates, NaN where a group was not drawn.
        size: (g,) effective size of a rate without variance.
        trials: (g,) most that the effective size can be.
    """
    drawn = np.maximum((~np.isnan(replicates)).sum(axis=1), 1)
    mean = np.nansum(replicates, axis=1) / drawn
    variance = np.nansum((replicates - mean[:, None]) ** 2, axis=1) / drawn
    n = np.array(size)
    np.divide(rate * (1 - rate), variance, out=n, where=variance > 1e-15)
    return wilson(rate, np.clip(n, 1e-9, np.maximum(trials, 1)))


def _kish(members: csr_array, weights: FloatArray) -> FloatArray:
    """(g,) Kish's effective number of sessions of each group; 0 without any."""
    total, squares = members @ weights, members @ weights**2
    return np.nan_to_num(_ratio(total**2, squares))[:, 0]


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """`part` / `whole`, NaN where `whole` is 0."""
    ratio = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
