"""Draws a week's sample from the lake and writes it: the one place where raw text is redacted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import polars as pl

from evalcov_pipeline.core.sampling import SampleDraw, draw_sample
from evalcov_pipeline.settings import EmbeddingSettings, Settings
from evalcov_pipeline.storage.lake import lake_connection
from evalcov_pipeline.storage.texts import add_texts, redacted
from evalcov_pipeline.storage.warehouse import frame, replace_slice


@dataclass(frozen=True)
class WeekSample:
    """A drawn week.

    Attributes:
        turns: rows of `trace_sample`, less `as_of`, and `text` (redacted).
        draw: the draw behind them.
    """

    turns: pl.DataFrame
    draw: SampleDraw


def sample_week(
    settings: Settings, as_of: datetime, redact_all: Callable[[Sequence[str]], list[str]]
) -> WeekSample | None:
    """Draw sessions from the window that ends at `as_of`, and read and redact their turns.

    Returns:
        The sample, or None where the window holds no traffic.
    """
    start = as_of - timedelta(days=settings.sampling.window_days)
    with lake_connection(settings.lake) as lake:
        sessions = _sessions(lake, start, as_of, settings)
        if sessions.is_empty():
            return None
        draw = draw_sample(
            sessions,
            target=settings.sampling.sessions,
            window_start=start,
            window_end=as_of,
            dayparts=settings.sampling.dayparts,
            timezone=settings.timezone,
            segments=settings.sampling.segments,
        )
        turns = _turns(lake, draw.sessions, start, as_of)
    turns = turns.with_columns(raw=_embedded_text(settings.embedding))
    texts = redacted(turns["raw"], redact_all)
    turns = turns.join(texts, on="raw", how="left", maintain_order="left")
    return WeekSample(turns.drop("raw", "query_text"), draw)


def write_sample(con: duckdb.DuckDBPyConnection, as_of: datetime, sample: WeekSample | None) -> int:
    """Replace a week's rows of `trace_sample` and `sample_days`, and register its texts."""
    if sample is None:
        con.execute("DELETE FROM trace_sample WHERE as_of = ?", [as_of])
        con.execute("DELETE FROM sample_days WHERE as_of = ?", [as_of])
        return 0
    texts = sample.turns.select("text_hash", "text", first_seen_at="started_at")
    add_texts(con, texts)
    stamp = pl.lit(as_of, pl.Datetime("us")).alias("as_of")
    days = sample.draw.days.select(
        stamp, "day", sessions="volume", cap="cap", steady_sessions="steady_volume", spike="spike"
    )
    replace_slice(con, "sample_days", days, as_of=as_of)
    return replace_slice(
        con, "trace_sample", sample.turns.drop("text").with_columns(stamp), as_of=as_of
    )


def has_traffic(con: duckdb.DuckDBPyConnection, as_of: datetime) -> bool:
    """Whether the week's sample holds any turn."""
    return bool(
        con.execute("SELECT count(*) FROM trace_sample WHERE as_of = ?", [as_of]).fetchall()[0][0]
    )
