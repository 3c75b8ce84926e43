"""Production queries that a refresh may draw, and what people see of those that were drawn.

Texts leave the lake here a second time, beside the weekly sample: with what was said before them
and what was answered. All of it is redacted.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.core.traffic.feedback import rejected
from evalcov_pipeline.services.traffic.turns import TURN, turns_of_sessions
from evalcov_pipeline.storage.warehouse import frame


def asked_turns(
    con: duckdb.DuckDBPyConnection, lake: Path, as_of: datetime, taxonomy_id: str
) -> pl.DataFrame:
    """Turns of a week's sample that have a text.

    Args:
        con: a connection.
        lake: folder of the lake.
        as_of: the scored week.
        taxonomy_id: taxonomy of the clusters.

    Returns:
        text_hash, text, cluster_id, gap_score, steady_weight, source, session_id, trace_id,
        turn_index, started_at, user_id (None where unknown), segment (JSON object) and signal (1
        where the turn failed visibly, else 0); the newest first.
    """
    turns = frame(
        con,
        """
        SELECT text_hash, text, a.cluster_id, coalesce(c.gap_score, 0) AS gap_score, steady_weight,
               source, session_id, trace_id, turn_index, started_at
        FROM trace_sample s JOIN texts USING (text_hash)
        JOIN cluster_assignments a USING (text_hash)
        LEFT JOIN text_coverage c USING (as_of, text_hash)
        WHERE as_of = $1 AND a.taxonomy_id = $2
        """,
        [as_of, taxonomy_id],
    )
    newest = pl.struct("started_at", "source", "trace_id", "turn_index")
    return (
        turns.join(_circumstances(lake, turns), on=TURN, how="left")
        .with_columns(pl.col("signal").fill_null(0.0))
        .sort(newest, descending=True)
    )


def offered_texts(turns: pl.DataFrame) -> pl.DataFrame:
    """Distinct texts of turns, each with the newest turn that stands for it.

    Args:
        turns: from `asked_turns`.

    Returns:
        The same columns, ordered by text_hash; steady_weight and signal are over all turns.
    """
    return (
        turns.group_by("text_hash", maintain_order=True)
        .agg(
            pl.all().exclude("steady_weight", "signal").first(),
            pl.sum("steady_weight"),
            pl.max("signal"),
        )
        .sort("text_hash")
    )


def last_turns(turns: pl.DataFrame) -> pl.DataFrame:
    """The last of the turns of each session.

    Args:
        turns: from `asked_turns`.

    Returns:
        The same columns, one row per source and session_id; signal is over all turns.
    """
    return (
        turns.sort("turn_index", descending=True, maintain_order=True)
        .group_by("source", "session_id", maintain_order=True)
        .agg(pl.all().exclude("signal").first(), pl.max("signal"))
    )


def _circumstances(lake: Path, turns: pl.DataFrame) -> pl.DataFrame:
    """User, segment (JSON object) and visible failure of turns, as far as the lake still has them.

    A turn failed visibly when it ended in an error, its session was given up, or somebody was not
    content with it.
    """
    columns = ["user_id", "segment", "error_type", "outcome", "feedback"]
    failed = (
        pl.col("error_type").is_not_null()
        | pl.col("outcome").is_in(["error", "abandoned"]).fill_null(False)
        | rejected(pl.col("feedback"))
    )
    return (
        turns_of_sessions(lake, turns, columns)
        .with_columns(
            signal=failed.cast(pl.Float64),
            segment=pl.col("segment").map_elements(_object, pl.String, skip_nulls=True),
        )
        .unique(TURN, keep="first", maintain_order=True)
        .select(*TURN, "user_id", "segment", "signal")
    )


def _object(pairs: pl.Series) -> str:
    return orjson.dumps({pair["key"]: pair["value"] for pair in pairs}).decode()
