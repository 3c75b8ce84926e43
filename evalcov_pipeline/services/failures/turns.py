"""Turns of a week that people may be asked about, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from evalcov_pipeline.core.traffic.turns import SESSION
from evalcov_pipeline.core.traffic.weeks import WEEK
from evalcov_pipeline.services.traffic.texts import redacted
from evalcov_pipeline.services.traffic.turns import (
    TURN,
    embedded_text,
    turns_between,
    turns_of_sessions,
)
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import naming_damage


def sampling_frame(lake: Path, as_of: datetime) -> pl.DataFrame:
    """Turns that a week's batch is drawn from: those whose query holds anything.

    Args:
        lake: folder of the lake.
        as_of: exclusive end of the week.

    Returns:
        source, trace_id, started_at and session_id, one row per turn, in this order.

    Raises:
        BadInput: a file of the lake is damaged.
    """
    with naming_damage(lake):
        return (
            turns_between(lake, as_of - WEEK, as_of)
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
    key = [*TURN, "session_id"]
    read = (
        turns_of_sessions(settings.lake, turns.select(SESSION), ["query_text"])
        .with_columns(raw=embedded_text(settings.embedding))
        .unique(key, keep="first", maintain_order=True)
        .select(*key, "turn_index", "raw")
    )
    spelled = turns.join(read, on=key, how="left", maintain_order="left")
    texts = redacted(spelled["raw"], redact_all)
    return (
        spelled.join(texts, on="raw", how="left", maintain_order="left")
        .drop("raw")
        .drop_nulls("text_hash")
    )
