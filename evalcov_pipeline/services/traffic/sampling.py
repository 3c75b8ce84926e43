"""Draws a week's sample from the lake and writes it: the one place where raw text is redacted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import polars as pl

from evalcov_pipeline.core.traffic.sampling import SampleDraw, draw_sample
from evalcov_pipeline.core.traffic.turns import IN_SESSION
from evalcov_pipeline.core.traffic.weeks import WEEK
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.traffic.texts import add_texts, redacted
from evalcov_pipeline.services.traffic.turns import embedded_text, turns_of_sessions
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import lake_connection
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

    Raises:
        BadInput: redaction leaves no text.
    """
    start = as_of - timedelta(days=settings.sampling.window_days)
    with lake_connection(settings.lake) as lake:
        sessions = _sessions(lake, start, as_of, settings)
        if sessions.is_empty():
            return None
        draw = draw_sample(
            sessions,
            target=settings.sampling.sessions,
            seed=settings.sampling.seed,
            window_start=start,
            window_end=as_of,
            dayparts=settings.sampling.dayparts,
            timezone=settings.timezone,
            segments=settings.sampling.segments,
        )
    turns = _turns(settings, draw.sessions, start, as_of)
    texts = redacted(turns["raw"], redact_all)
    turns = turns.join(texts, on="raw", how="left", maintain_order="left")
    if turns["text_hash"].count() == 0:
        raise BadInput(
            what="no text is left of the window's queries after redaction",
            where=f"traffic before {as_of:%Y-%m-%d}",
            what_to_do="correct redaction.patterns and redaction.function in evalcov.toml",
        )
    return WeekSample(turns.drop("raw"), draw)


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
    """Whether the week itself, not only the window before its end, has sampled turns."""
    return bool(
        con.execute(
            "SELECT count(*) FROM trace_sample WHERE as_of = ? AND started_at >= ?",
            [as_of, as_of - WEEK],
        ).fetchall()[0][0]
    )


def _sessions(
    lake: duckdb.DuckDBPyConnection, start: datetime, end: datetime, settings: Settings
) -> pl.DataFrame:
    """One row per session of the window, as `draw_sample` wants it."""
    segments = "".join(
        f", first(list_filter(segment, lambda s: s.key = {_literal(name)})[1].value"
        f' ORDER BY {", ".join(IN_SESSION)}) AS "{name}"'
        for name in settings.sampling.segments
    )
    return frame(
        lake,
        "SELECT session_key, min(started_at) AS started_at, count(*) AS n_turns"
        f"{segments} FROM turns WHERE date BETWEEN $1::DATE AND $2::DATE"
        " AND started_at >= $1 AND started_at < $2 GROUP BY session_key",
        [start, end],
    )


def _turns(settings: Settings, drawn: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Turns of the drawn sessions inside the window, with `raw`, the text that stands for each."""
    columns = ["session_key", "latency_ms", "cost_usd", "query_text"]
    return (
        turns_of_sessions(settings.lake, drawn, columns)
        .with_columns(raw=embedded_text(settings.embedding))
        .filter(pl.col("started_at").is_between(start, end, closed="left"))
        .join(drawn.drop("n_turns"), on="session_key", maintain_order="left")
        .drop("session_key", "span_id", "query_text")
    )


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
