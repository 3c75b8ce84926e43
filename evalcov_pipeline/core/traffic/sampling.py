"""The steady-state sample: whole sessions of the window, drawn in strata of day and daypart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray, kish

_MAD_TO_DEVIATION = 1.4826
_SPIKE_DEVIATIONS = 3.0
_MIN_DAYS_FOR_A_MEDIAN = 3


@dataclass(frozen=True)
class SampleDraw:
    """Drawn sessions with their weights, and the days that they stand for.

    Attributes:
        sessions: one row per drawn session: session_key, stratum, n_turns, inclusion_probability,
            traffic_weight, steady_weight. Both weights are per turn row: each sums to 1 over all
            turns of all drawn sessions.
        days: one row per day with traffic: day, weekday (1 = Monday), volume, cap (None where the
            window holds too few like days), steady_volume (sessions), spike.
        n_available: sessions in the window.
        n_eff: Kish effective number of sessions under `steady_weight` x turns.
        notes: what a reader of the sample has to know, one sentence each.
    """

    sessions: pl.DataFrame
    days: pl.DataFrame
    n_available: int
    n_eff: float
    notes: tuple[str, ...]


def draw_sample(
    sessions: pl.DataFrame,
    *,
    target: int,
    seed: int,
    window_start: datetime,
    window_end: datetime,
    dayparts: Sequence[int] = (0, 6, 12, 18),
    timezone: str = "UTC",
    segments: Sequence[str] = (),
) -> SampleDraw:
    """Draw whole sessions from a window, allocated to strata by their steady volume.

    A stratum is the local day x daypart x segments of a session's first turn. Strata get sessions
    in proportion to steady volume, at least 2 (as many as they hold, if fewer), never more than
    they hold. Where these floors alone exceed the target, the floors are drawn. Within a stratum
    the sessions whose keys are nearest to the seed's (smallest exclusive or) are drawn: keys are
    uniform, so every session has the same chance, and another seed draws others.

    Args:
        sessions: one row per session: session_key (UInt64, see `core.turns.session_key`),
            started_at (UTC without zone), n_turns, and one text column per segment.
        target: sessions to draw.
        seed: seed of the draw.
        window_start: first instant of the window, UTC without zone.
        window_end: its exclusive end.
        dayparts: local hours at which dayparts begin, ascending from 0.
        timezone: IANA zone of days and dayparts.
        segments: columns of `sessions` that enter the strata.

    Returns:
        The draw; independent of the order of rows.

    Raises:
        ValueError: no session in the window, a repeated session, or a target below 1.
    """
    if target < 1:
        raise ValueError(f"target must be at least 1 session, got {target}")
    frame = sessions.filter(pl.col("started_at").is_between(window_start, window_end, "left"))
    if frame.is_empty():
        raise ValueError(f"no session between {window_start} and {window_end}")
    if frame["session_key"].n_unique() < len(frame):
        raise ValueError("a session occurs twice; pass one row per session_key")

    stratum = ["day", "daypart", *segments]
    frame = _with_strata(frame, dayparts, timezone, segments)
    days = steady_days(frame.group_by("day").agg(pl.len().alias("volume")))
    strata = (
        frame.group_by(stratum)
        .agg(pl.len().alias("available"))
        .join(days.select("day", steady=pl.col("steady_volume") / pl.col("volume")), on="day")
        .with_columns(stratum=_stratum_name(dayparts, segments))
        .sort("stratum")
        .pipe(_allocated, target)
    )
    distance = pl.col("session_key") ^ _seed_key(seed)
    taken = (
        frame.with_columns(rank=distance.rank("ordinal").over(stratum))
        .filter(pl.col("rank") <= strata["n_drawn"].max())
        .join(strata, on=stratum)
        .filter(pl.col("rank") <= pl.col("n_drawn"))
        .sort("stratum", "rank")
        .with_columns(
            traffic_weight=_per_turn(1 / pl.col("inclusion_probability")),
            steady_weight=_per_turn(pl.col("steady_factor")),
        )
        .select(
            "session_key",
            "stratum",
            "n_turns",
            "inclusion_probability",
            "traffic_weight",
            "steady_weight",
        )
    )
    return SampleDraw(
        sessions=taken,
        days=days,
        n_available=len(frame),
        n_eff=kish((taken["steady_weight"] * taken["n_turns"]).to_numpy()),
        notes=_notes(days, len(frame), len(taken), target, window_start, window_end, timezone),
    )


def _allocated(strata: pl.DataFrame, target: int) -> pl.DataFrame:
    """Strata with n_drawn, and what a drawn session of each stands for."""
    available = strata["available"].to_numpy()
    steady = available * strata["steady"].to_numpy()
    drawn = allocate(steady / steady.sum(), available, target)
    return strata.drop("available", "steady").with_columns(
        n_drawn=pl.Series(drawn),
        inclusion_probability=pl.Series(drawn / available),
        steady_factor=pl.Series(steady / drawn),
    )


def steady_days(days: pl.DataFrame) -> pl.DataFrame:
    """What each day would hold without its spike.

    A day's usual volume is the median of the same weekday; with fewer than 3 of them, of all
    weekdays or all weekend days; with fewer than 3 of these the day has no cap. Four or five
    Mondays cannot tell their own spread, so the robust deviation is relative and pooled: 1.4826 x
    the median over all days of |volume - usual| / usual, and never below the Poisson deviation of
    a count, 1 / sqrt(usual). The cap is usual x (1 + 3 deviations).

    Args:
        days: day (Date) and volume (sessions), one row per day with traffic.

    Returns:
        day, weekday, volume, cap, steady_volume = min(volume, cap), spike, by day.
    """
    weekday, weekend = pl.col("weekday"), pl.col("weekday") >= 6

    def median_of(like: pl.Expr) -> pl.Expr:
        enough = pl.len().over(like) >= _MIN_DAYS_FOR_A_MEDIAN
        return pl.when(enough).then(pl.col("volume").median().over(like))

    usual = pl.col("usual")
    spread = _MAD_TO_DEVIATION * ((pl.col("volume") - usual).abs() / usual).median()
    deviation = pl.max_horizontal(spread, 1 / usual.sqrt())
    return (
        days.with_columns(weekday=pl.col("day").dt.weekday())
        .with_columns(usual=pl.coalesce(median_of(weekday), median_of(weekend)))
        .with_columns(cap=usual * (1 + _SPIKE_DEVIATIONS * deviation))
        .with_columns(steady_volume=pl.min_horizontal("volume", "cap").cast(pl.Float64))
        .with_columns(spike=pl.col("volume") > pl.col("steady_volume"))
        .select("day", "weekday", "volume", "cap", "steady_volume", "spike")
        .sort("day")
    )


def allocate(shares: FloatArray, available: IntArray, target: int) -> IntArray:
    """Sessions to draw per stratum: proportional between a floor of 2 and what there is.

    Args:
        shares: (h,) target shares, positive, summing to 1.
        available: (h,) sessions in each stratum, >= 1.
        target: sessions to draw in all.

    Returns:
        (h,) counts; their sum is the target, or all there is if that is less, or the floors if
        they are more. Rounded by largest remainder, ties to the earlier stratum.
    """
    floor = np.minimum(available, 2)
    total = int(np.clip(target, floor.sum(), available.sum()))
    low, high = 0.0, float((available / shares).max())
    for _ in range(100):
        scale = (low + high) / 2
        if np.clip(scale * shares, floor, available).sum() < total:
            low = scale
        else:
            high = scale
    exact = np.clip(high * shares, floor, available)
    counts = np.floor(exact + 1e-6).astype(np.int64)
    missing = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts


def _seed_key(seed: int) -> pl.Expr:
    key = md5(str(seed).encode(), usedforsecurity=False).digest()[8:]
    return pl.lit(int.from_bytes(key, "little"), pl.UInt64)


def _with_strata(
    frame: pl.DataFrame, dayparts: Sequence[int], timezone: str, segments: Sequence[str]
) -> pl.DataFrame:
    """Adds `day` (local date) and `daypart` (the hour at which it begins); no segment is NULL."""
    local = pl.col("started_at").dt.replace_time_zone("UTC").dt.convert_time_zone(timezone)
    starts = {hour: start for start, end in pairwise((*dayparts, 24)) for hour in range(start, end)}
    return frame.with_columns(
        pl.col(segments).fill_null("unknown"),
        day=local.dt.date(),
        daypart=local.dt.hour().replace_strict(starts, return_dtype=pl.Int8),
    )


def _stratum_name(dayparts: Sequence[int], segments: Sequence[str]) -> pl.Expr:
    """Name of a stratum, e.g. "2026-10-05/06-12h/tier=pro"."""
    spans = {start: f"{start:02d}-{end:02d}h" for start, end in pairwise((*dayparts, 24))}
    parts = [
        pl.col("day").cast(pl.String),
        pl.col("daypart").replace_strict(spans, return_dtype=pl.String),
        *(pl.lit(f"{name}=") + pl.col(name) for name in segments),
    ]
    return pl.concat_str(parts, separator="/")


def _per_turn(session_weight: pl.Expr) -> pl.Expr:
    return session_weight / (session_weight * pl.col("n_turns")).sum()


def _notes(
    days: pl.DataFrame,
    n_available: int,
    n_drawn: int,
    target: int,
    window_start: datetime,
    window_end: datetime,
    timezone: str,
) -> tuple[str, ...]:
    notes = []
    missing = _missing_days(days["day"].to_list(), window_start, window_end, timezone)
    if len(days) == 1:
        notes.append(f"All sessions fall on one day, {days['day'][0]}: no usual volume is known.")
    elif missing:
        dates = ", ".join(str(day) for day in missing[:5]) + (", ..." if len(missing) > 5 else "")
        notes.append(f"{len(missing)} day(s) of the window have no session: {dates}.")
    if len(days) > 1 and (uncapped := days["cap"].null_count()):
        notes.append(f"{uncapped} day(s) have too few like days in the window to spot a spike.")
    if n_drawn == n_available:
        notes.append(f"All {n_available} sessions are drawn; the target is {target}.")
    elif n_drawn > target:
        notes.append(
            f"Two sessions per stratum need {n_drawn} sessions, above the target {target}."
        )
    spikes = days.filter("spike")
    if len(spikes):
        excess = float((spikes["volume"] - spikes["steady_volume"]).sum()) / n_available
        notes.append(
            f"{len(spikes)} spike day(s) hold {excess:.0%} of all sessions above their caps."
        )
    return tuple(notes)


def _missing_days(
    seen: list[date], window_start: datetime, window_end: datetime, timezone: str
) -> list[date]:
    """Local days wholly inside the window that hold no session."""
    zone = ZoneInfo(timezone)
    first, last = (at.replace(tzinfo=UTC).astimezone(zone) for at in (window_start, window_end))
    begin = first.date() + timedelta(days=int(first.time() != first.min.time()))
    span = (last.date() - begin).days
    return sorted({begin + timedelta(days=i) for i in range(span)} - set(seen))
