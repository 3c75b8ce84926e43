"""Turns of a week that people may be asked about, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import polars as pl

from evalcov_pipeline.core.traffic.turns import TURNS, with_session_keys
from evalcov_pipeline.services.traffic.sampling import embedded_text
from evalcov_pipeline.services.traffic.texts import redacted
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import holds_turns, scan_turns

TURN = ["source", "trace_id", "started_at"]
"""What names a turn without its place in its session."""
_SESSION = ["source", "session_id"]


def week_turns(settings: Settings, as_of: datetime) -> pl.DataFrame:
    """Production turns of the week that ends at `as_of` whose query holds anything.

    Returns:
        source, trace_id, started_at and session_id, one row per turn, in this order.
    """
    if not holds_turns(settings.lake):
        return TURNS.to_frame().select(*TURN, "session_id")
    start = as_of - timedelta(days=7)
    return (
        scan_turns(settings.lake)
        .filter(pl.col("started_at").is_between(start, as_of, closed="left"))
        .filter(pl.col("query_text").str.strip_chars() != "")
        .select(*TURN, "session_id")
        .collect(engine="streaming")
        .sort(*TURN, "session_id")
        .unique(TURN, keep="first", maintain_order=True)
    )


def with_texts(
    settings: Settings, turns: pl.DataFrame, redact_all: Callable[[Sequence[str]], list[str]]
) -> pl.DataFrame:
    """Turns with the text that stands for them, redacted, and their place in their session.

    Args:
        settings: which text that is.
        turns: source, trace_id, started_at, session_id and more, each turn once.
        redact_all: takes personal data out of texts.

    Returns:
        The turns, in their order, with turn_index, text and text_hash; without those of which no
        text is left.
    """
    sessions = with_session_keys(turns.select(_SESSION).unique())
    said = (
        scan_turns(settings.lake)
        .filter(pl.col("session_key").is_in(sessions["session_key"].implode()))
        .select(*TURN, "session_id", "span_id", "query_text")
        .collect(engine="streaming")
        .sort(*_SESSION, "started_at", "trace_id", "span_id")
        .with_columns(
            turn_index=pl.int_range(pl.len()).over(_SESSION),
            previous_query=pl.col("query_text").shift().over(_SESSION),
        )
        .unique([*TURN, "session_id"], keep="first", maintain_order=True)
        .with_columns(raw=embedded_text(settings.embedding))
        .select(*TURN, "session_id", "turn_index", "raw")
    )
    spelled = turns.join(said, on=[*TURN, "session_id"], how="left", maintain_order="left")
    texts = redacted(spelled["raw"], redact_all)
    return (
        spelled.join(texts, on="raw", how="left", maintain_order="left")
        .drop("raw")
        .drop_nulls("text_hash")
    )
