"""The turns of the lake: which ones, which columns, always in the same order.

Everything here reads whole turns as `core.traffic.turns.TURNS` describes them. Whatever needs the
place of a turn in its session gets it from `turns_of_sessions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import polars as pl

from evalcov_pipeline.core.traffic.turns import IN_SESSION, SESSION, with_session_keys
from evalcov_pipeline.settings import EmbeddingSettings
from evalcov_pipeline.storage.lake import naming_damage, scan_turns

TURN = ["source", "trace_id", "started_at"]
"""What names a turn without its place in its session."""


def turns_between(lake: Path, start: datetime, end: datetime) -> pl.LazyFrame:
    """Turns that began from `start` on and before `end` (schema `TURNS`), in no order."""
    return scan_turns(lake).filter(pl.col("started_at").is_between(start, end, closed="left"))


def turns_of_sessions(
    lake: Path,
    sessions: pl.DataFrame,
    columns: Iterable[str | pl.Expr] = (),
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.DataFrame:
    """Turns of some sessions in order, each with its place in its whole session.

    Other sessions' texts are skipped, not read.

    Args:
        lake: folder of the lake.
        sessions: `session_key`, or source and session_id, of the sessions; more than once does no
            harm.
        columns: what to read beside that: names, or expressions over `TURNS` of one turn each.
        start: leave out turns that began before, but count them; None reads from the beginning.
        end: leave out turns that began at or after; None reads to the end.

    Returns:
        source, session_id, started_at, trace_id, span_id, turn_index (0 for the first turn of the
        session in the lake) and `columns`, ordered by the first five.

    Raises:
        BadInput: a file of the lake is damaged.
    """
    if "session_key" not in sessions.columns:
        sessions = with_session_keys(sessions.select(SESSION).unique())
    began = pl.col("started_at")
    whole = scan_turns(lake).filter(
        pl.col("session_key").is_in(sessions["session_key"].unique().implode())
    )
    read = whole.filter(began >= start) if start else whole
    read = read.filter(began < end) if end else read
    with naming_damage(lake):
        turns = read.select(*SESSION, *IN_SESSION, *columns).collect(engine="streaming")
        turns = turns.sort(*SESSION, *IN_SESSION)
        place = pl.int_range(pl.len()).over(SESSION)
        if start is None:
            return turns.with_columns(turn_index=place)
        counts = whole.filter(began < start).group_by(SESSION).agg(before=pl.len().cast(pl.Int64))
        before = counts.collect(engine="streaming")
    return (
        turns.join(before, on=SESSION, how="left", maintain_order="left")
        .with_columns(turn_index=place + pl.col("before").fill_null(0))
        .drop("before")
    )


def last_turns_of_traces(lake: Path, trace_ids: Iterable[str]) -> pl.DataFrame:
    """The last turn of each of these traces that the lake has, with its place in its session.

    Returns:
        source, session_id, started_at, trace_id, span_id, turn_index and query_text, by trace_id.

    Raises:
        BadInput: a file of the lake is damaged.
    """
    of_traces = pl.col("trace_id").is_in(sorted(set(trace_ids)))
    with naming_damage(lake):
        sessions = scan_turns(lake).filter(of_traces).select("session_key").unique().collect()
    return (
        turns_of_sessions(lake, sessions, ["query_text"])
        .filter(of_traces)
        .sort("started_at", "turn_index", "source", descending=[True, True, False])
        .unique("trace_id", keep="first", maintain_order=True)
        .sort("trace_id")
    )


def embedded_text(settings: EmbeddingSettings) -> pl.Expr:
    """The text that stands for a turn: its query, or that with the query before it.

    For turns of whole sessions, in order.
    """
    query = pl.col("query_text")
    if settings.text == "query":
        return query
    before = query.shift().over(SESSION)
    return pl.concat_str(before, query, separator="\n", ignore_nulls=True)
