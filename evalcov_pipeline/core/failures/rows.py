"""Rows of failure signals: what signs are read from, and the signs themselves."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from evalcov_pipeline.core.traffic.turns import SESSION, TURNS

_RECORDED = (
    "started_at", "ended_at", "query_text", "error_type", "finish_reason", "retrieval_count",
    "retrieval_top_score", "retrieval_kind", "feedback", "outcome",
)  # fmt: skip
SIGNAL_INPUT = pl.Schema(
    {
        "source": pl.String(),
        "session_id": pl.String(),
        "turn_index": pl.Int64(),
        "answered": pl.Boolean(),
        **{name: TURNS[name] for name in _RECORDED},
    }
)
"""What signs are read from: one row per turn, ordered by source, session_id and turn_index.

`answered` is NULL where the source records no answers.
"""

SIGNS = pl.Schema(
    {
        "row": pl.UInt32(),
        "signal": pl.String(),
        "strength": pl.Float64(),
        "evidence": pl.String(),
        "threshold": pl.Float64(),
    }
)
"""Signs: `row` is the place of the failed turn among the turns, `evidence` is not redacted yet."""

STRENGTHS = {
    "ticket": 1.0,
    "flagged": 1.0,
    "confident_but_wrong": 1.0,
    "thumbs_down": 0.9,
    "negative_feedback": 0.8,
    "friction": 0.8,
    "abrupt_end": 0.8,
    "regeneration": 0.7,
    "rephrase": 0.6,
    "null_retrieval": 0.5,
    "low_retrieval": 0.4,
}
"""Every signal, with the strength of its clearest instance."""
TICKET, REVIEWER, REGENERATED = (
    "ticket|escalat|complaint", "flag|review|audit|annotat", "regenerat|retry|retried",
)  # fmt: skip
"""Names by which feedback tells of tickets, of reviewers and of regenerated answers."""
RAISED = f"{TICKET}|flag|{REGENERATED}"


def strongest(signs: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """One row per turn and signal: the strongest sign, of equal ones the first in evidence."""
    every = pl.concat(signs, how="vertical")
    order = ["row", "signal", "strength", "evidence"]
    return every.sort(order, descending=[False, False, True, False]).unique(
        ["row", "signal"], keep="first", maintain_order=True
    )


def placed(turns: pl.DataFrame) -> pl.DataFrame:
    """Turns with `row`, their place."""
    return turns.with_row_index("row")


def feedback(turns: pl.DataFrame) -> pl.DataFrame:
    """`row` and the fields of each piece of feedback."""
    given = placed(turns).select("row", "feedback").filter(pl.col("feedback").list.len() > 0)
    return given.explode("feedback").unnest("feedback")


def same_session(back: int) -> pl.Expr:
    """Whether a turn and the one so many rows before it (after, if negative) share a session."""
    same = [pl.col(name) == pl.col(name).shift(back) for name in SESSION]
    return pl.all_horizontal(same).fill_null(False)


def sign_rows(
    rows: pl.DataFrame,
    *,
    evidence: pl.Expr,
    signal: str | None = None,
    strength: pl.Expr | float | None = None,
    threshold: pl.Expr | None = None,
) -> pl.DataFrame:
    """Rows in schema `SIGNS`; without `signal` they bring their own."""
    columns = {
        "row": pl.col("row"),
        "signal": pl.lit(signal) if signal else pl.col("signal"),
        "strength": pl.lit(STRENGTHS[signal]) if strength is None and signal else strength,
        "evidence": evidence,
        "threshold": pl.lit(None) if threshold is None else threshold,
    }
    return rows.select(**columns).cast(SIGNS)
