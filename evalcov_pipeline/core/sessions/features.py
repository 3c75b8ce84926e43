"""Whole sessions as rows of features: one step per user turn in, one row per session out.

A production session and an eval case that was written down as a conversation are the same thing
here, a sequence of steps, and go through the same code. What a case cannot know (latency, cost, an
answer that is yet to be given) is null in its steps.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.statistics.shares import FloatArray

STEPS = pl.Schema(
    {
        "session_key": pl.UInt64(),
        "step": pl.Int64(),
        "started_at": pl.Datetime("us"),
        "ended_at": pl.Datetime("us"),
        "text_hash": pl.String(),
        "query_chars": pl.Int64(),
        "answer_chars": pl.Int64(),
        "answered": pl.Boolean(),
        "tool_calls": pl.List(pl.String),
        "tool_failures": pl.Int64(),
        "context_tokens": pl.Int64(),
        "latency_ms": pl.Float64(),
        "cost_usd": pl.Float64(),
        "error_type": pl.String(),
        "outcome": pl.String(),
        "rejected": pl.Boolean(),
        "rephrased": pl.Boolean(),
    }
)
"""One row per user turn of a session, in the order of `step`.

`answered` is NULL where answers are not recorded, `tool_calls` where tools are not, `tool_failures`
where failures are not. `rejected`: somebody was not content with the answer. `rephrased`: the turn
says the one before in other words, see `rephrases`.
"""

CHARACTERS_PER_TOKEN = 4.0
"""Rule of thumb by which context is estimated where it was not recorded."""
NAMELESS = "?"
"""Stands for a tool call without a name."""
TOPIC_QUANTILE = 0.75
"""A turn closer to the one before than this share of same-topic pairs says the same thing again."""
_FEWEST_PAIRS = 50
_PLAIN_LEVEL = 0.8


def session_features(steps: pl.LazyFrame) -> pl.LazyFrame:
    """Features of sessions, one row each.

    Evidence of outcome, the first that applies: the last turn ended in an error; an outcome was
    declared (of several the last); the last query has no answer though answers are recorded. What
    has no evidence is unknown: silence alone is no abandonment.

    A turn failed when it ended in an error, one of its tools failed, it has no answer though
    answers are recorded, its outcome was declared bad, somebody was not content, or the next turn
    sends its text again or says it in other words.

    Args:
        steps: schema `STEPS`, whole sessions, in any order.

    Returns:
        session_key, started_at, duration_s, n_turns, text_hashes, tools, tools_known, n_tool_calls,
        n_tools, tool_repeats, tool_failures, errors, retries, rephrases, failed_turns,
        conversation_chars, context_first, context_last, context_max (tokens), context_slope (tokens
        per turn), context_estimated, latency_ms, cost_usd, outcome, outcome_evidence; ordered by
        session_key.
    """
    tools = pl.col("tool_calls").list.explode(keep_nulls=False, empty_as_null=False)
    recorded = pl.col("context_tokens").is_not_null().any()
    context = pl.when(recorded).then("context_tokens").otherwise("_estimate").cast(pl.Float64)
    turn = pl.int_range(pl.len()).filter(context.is_not_null())
    known = context.drop_nulls()
    spread = turn - turn.mean()
    declared = pl.col("outcome").filter(pl.col("outcome").is_in(["success", "abandoned"]))
    error, outcome = pl.col("error_type").last(), pl.col("outcome").last()
    failed = (
        pl.col("error_type").is_not_null()
        | (pl.col("tool_failures") > 0).fill_null(False)
        | ~pl.col("answered").fill_null(True)
        | pl.col("outcome").is_in(["error", "abandoned"]).fill_null(False)
        | pl.col("rejected").fill_null(False)
        | pl.col("_again").shift(-1).fill_null(False)
    )
    return (
        _with_repetition(steps)
        .group_by("session_key", maintain_order=True)
        .agg(
            pl.first("started_at"),
            duration_s=(pl.max("ended_at") - pl.first("started_at")).dt.total_microseconds() / 1e6,
            n_turns=pl.len().cast(pl.Int64),
            text_hashes=pl.col("text_hash"),
            tools=tools,
            tools_known=pl.col("tool_calls").is_not_null().all(),
            n_tool_calls=tools.len().cast(pl.Int64),
            n_tools=tools.n_unique().cast(pl.Int64),
            tool_repeats=(tools == tools.shift()).sum().cast(pl.Int64),
            tool_failures=pl.when(pl.col("tool_failures").count() > 0).then(
                pl.sum("tool_failures")
            ),
            errors=pl.col("error_type").count().cast(pl.Int64),
            retries=pl.sum("_resent").cast(pl.Int64),
            rephrases=pl.when(pl.col("rephrased").count() > 0).then(
                pl.sum("rephrased").cast(pl.Int64)
            ),
            failed_turns=failed.sum().cast(pl.Int64),
            conversation_chars=pl.last("_said"),
            context_first=known.first(),
            context_last=known.last(),
            context_max=known.max(),
            context_slope=pl.when(known.len() > 1).then(
                (spread * known).sum() / spread.pow(2).sum()
            ),
            context_estimated=~recorded,
            latency_ms=pl.when(pl.col("latency_ms").count() > 0).then(pl.sum("latency_ms")),
            cost_usd=pl.when(pl.col("cost_usd").count() > 0).then(pl.sum("cost_usd")),
            _error=error,
            _ended_badly=outcome == "error",
            _declared=declared.last(),
            _unanswered=~pl.col("answered").last().fill_null(True),
        )
        .with_columns(
            outcome=pl.when(
                pl.col("_error").is_not_null() | pl.col("_ended_badly").fill_null(False)
            )
            .then(pl.lit("error"))
            .when(pl.col("_declared").is_not_null())
            .then("_declared")
            .when("_unanswered")
            .then(pl.lit("abandoned"))
            .otherwise(pl.lit("unknown")),
            outcome_evidence=pl.when(pl.col("_error").is_not_null())
            .then(pl.format("the last turn failed: {}", "_error"))
            .when(pl.col("_ended_badly").fill_null(False) | pl.col("_declared").is_not_null())
            .then(pl.lit("declared"))
            .when("_unanswered")
            .then(pl.lit("the last query has no answer")),
        )
        .drop("_error", "_ended_badly", "_declared", "_unanswered")
    )


def _with_repetition(steps: pl.LazyFrame) -> pl.LazyFrame:
    """Steps in order, with `_resent`, `_again`, `_said` (characters so far) and `_estimate`."""

    def same_as(back: int) -> pl.Expr:
        mine = pl.col("session_key") == pl.col("session_key").shift(back)
        return (mine & (pl.col("text_hash") == pl.col("text_hash").shift(back))).fill_null(False)

    query, answer = (pl.col(name).fill_null(0) for name in ("query_chars", "answer_chars"))
    texts_so_far = (query + answer).cum_sum().over("session_key") - answer
    return (
        steps.sort("session_key", "step")
        .with_columns(_resent=same_as(1) | same_as(2), _said=texts_so_far)
        .with_columns(
            _again=pl.col("_resent") | pl.col("rephrased").fill_null(False),
            _estimate=pl.col("_said") / CHARACTERS_PER_TOKEN,
        )
    )


def session_hashes(features: pl.DataFrame) -> pl.Series:
    """Name of each session's content: queries and tool calls in order, failed tools, outcome.

    Args:
        features: text_hashes, tools, tool_failures (what is not known counts as none) and outcome.

    Returns:
        (n,) 32 hexadecimal digits; a case that repeats a session has its name.
    """
    failures = pl.col("tool_failures").fill_null(0)
    rows = features.select("text_hashes", "tools", failures, "outcome").iter_rows()
    names = [hashlib.sha256(repr(row).encode()).hexdigest()[:32] for row in rows]
    return pl.Series("session_hash", names, dtype=pl.String)


def topic_level(
    vectors: NDArray[np.float32], topics: NDArray[np.int64], rng: np.random.Generator
) -> float:
    """Cosine up to which two texts are about the same thing, but do not say the same.

    Args:
        vectors: (n, d) L2-normalised vectors of distinct texts of different people.
        topics: (n,) cluster of each, -1 for none.
        rng: source of the pairs.

    Returns:
        The `TOPIC_QUANTILE` of the cosines of pairs within a cluster; a plain level where there
        are too few pairs to estimate it.
    """
    order = np.argsort(topics, kind="stable")[np.searchsorted(np.sort(topics), 0) :]
    order = order[np.lexsort((rng.random(len(order)), topics[order]))]
    left, right = order[:-1], order[1:]
    same = topics[left] == topics[right]
    if same.sum() < _FEWEST_PAIRS:
        return _PLAIN_LEVEL
    cosines = np.einsum("ij,ij->i", vectors[left[same]], vectors[right[same]])
    return float(np.quantile(cosines, TOPIC_QUANTILE))


def rephrases(steps: pl.DataFrame, similarity: FloatArray, level: float) -> pl.Series:
    """Which turns say the turn before in other words.

    Closer to it than texts of one topic are to each other, but not the same text, and not after an
    answer that succeeded: then it is a refinement.

    Args:
        steps: schema `STEPS`, ordered by session_key and step.
        similarity: (n,) cosine of each turn's text to that of the turn before; NaN where there is
            none.
        level: see `topic_level`.

    Returns:
        (n,) booleans; null where a text is missing on either side.
    """
    before = pl.col("session_key") == pl.col("session_key").shift()
    frame = steps.select(
        first=~before.fill_null(False),
        same=(pl.col("text_hash") == pl.col("text_hash").shift()),
        succeeded=(pl.col("outcome").shift() == "success").fill_null(False),
        similarity=pl.Series(similarity, dtype=pl.Float64).fill_nan(None),
    )
    again = (pl.col("similarity") >= level) & ~pl.col("same") & ~pl.col("succeeded")
    return frame.select(rephrased=pl.when("first").then(False).otherwise(again)).to_series()
