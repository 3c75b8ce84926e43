"""Sessions of a week: the sampled ones and the eval cases, as steps and as features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.sessions.features import (
    STEPS,
    rephrases,
    session_features,
    session_hashes,
    topic_level,
)
from evalcov_pipeline.core.sessions.space import Vectors, borrowed_tools, pool_queries
from evalcov_pipeline.core.traffic.feedback import rejected
from evalcov_pipeline.core.traffic.turns import SESSION, session_key, with_session_keys
from evalcov_pipeline.formats.conversations import is_conversation
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.services.evals.suite import active_at
from evalcov_pipeline.services.traffic.turns import TURN, turns_of_sessions
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import frame, replace_slice

_OF_CASES = "\x00case"
"""Source under which cases have session keys: no traffic has it."""


@dataclass(frozen=True)
class WeekSessions:
    """A week's sampled sessions and its active cases, by the same code.

    Attributes:
        sessions: rows of `session_features` less `as_of`, ordered by source and session_id.
        cases: rows of `case_features` less `as_of`, ordered by case_id.
        texts: distinct text hashes of both, ascending.
        vectors: (t, d) of the texts.
    """

    sessions: pl.DataFrame
    cases: pl.DataFrame
    texts: Sequence[str]
    vectors: Vectors

    def queries(self, rows: pl.DataFrame) -> Vectors:
        """(n, 3 d) first, mean and last query of rows of `sessions` or `cases`."""
        return pool_queries(rows["text_hashes"], self.texts, self.vectors)


def week_sessions(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    as_of: datetime,
    taxonomy_id: str,
    cases: pl.DataFrame | None = None,
) -> WeekSessions | None:
    """Features of a week's sampled sessions and of the cases that were active then.

    Args:
        con: a reading connection.
        settings: the lake, and the seed.
        cache: vectors of the texts.
        as_of: exclusive end of the week.
        taxonomy_id: taxonomy of the queries, which tells how alike texts of one topic are.
        cases: others in the place of the active ones, from `with_case_keys`.

    Returns:
        The rows; None for a week without sampled turns.
    """
    turns = _sampled_turns(con, settings.lake, as_of)
    if turns.is_empty():
        return None
    cases = _active_cases(con, as_of) if cases is None else cases
    written = _case_steps(cases)
    steps = turns.select(STEPS.names())
    texts = pl.concat([steps["text_hash"], written["text_hash"]]).drop_nulls().unique().sort()
    vectors = cache.get(texts.to_list())
    place = _Places(texts)
    level = _level(con, settings, taxonomy_id, steps, place, vectors)
    guessed = _with_tools(written, steps, place, vectors)

    units = ["source", "session_id", "stratum", "traffic_weight", "steady_weight"]
    sampled = (
        turns.group_by("session_key")
        .agg(pl.first(*units))
        .with_columns(
            pl.col("traffic_weight", "steady_weight")
            / pl.col("traffic_weight", "steady_weight").sum()
        )
    )
    unsure = written.group_by("session_key").agg(known=pl.col("tool_calls").is_not_null().all())
    return WeekSessions(
        sessions=_features(steps, place, vectors, level)
        .join(sampled, on="session_key")
        .sort(SESSION)
        .drop("session_key"),
        cases=_features(guessed, place, vectors, level)
        .join(cases.select("session_key", "case_id"), on="session_key")
        .join(unsure, on="session_key")
        .with_columns(tools_known="known")
        .sort("case_id")
        .drop("session_key", "known", "started_at", "duration_s", "latency_ms", "cost_usd"),
        texts=texts.to_list(),
        vectors=vectors,
    )


def write_sessions(
    con: duckdb.DuckDBPyConnection, as_of: datetime, week: WeekSessions | None
) -> dict[str, int]:
    """Replace a week's rows of `session_features` and `case_features`; how many each has."""
    stamp = pl.lit(as_of, pl.Datetime("us")).alias("as_of")
    none = pl.DataFrame()
    rows = {
        "session_features": week.sessions.with_columns(stamp) if week else none,
        "case_features": week.cases.with_columns(stamp) if week else none,
    }
    return {
        table: replace_slice(con, table, table_rows, as_of=as_of)
        for table, table_rows in rows.items()
    }


def read_sessions(
    con: duckdb.DuckDBPyConnection, cache: VectorCache, as_of: datetime
) -> WeekSessions | None:
    """A week's sessions and cases as they were written; None where there are none."""
    sessions = frame(
        con, "SELECT * FROM session_features WHERE as_of = ? ORDER BY source, session_id", [as_of]
    )
    if sessions.is_empty():
        return None
    cases = frame(con, "SELECT * FROM case_features WHERE as_of = ? ORDER BY case_id", [as_of])
    texts = pl.concat([rows["text_hashes"] for rows in (sessions, cases)]).explode(
        empty_as_null=False
    )
    names = texts.drop_nulls().unique().sort().to_list()
    return WeekSessions(sessions.drop("as_of"), cases.drop("as_of"), names, cache.get(names))


class _Places:
    """Where the vector of a text lies."""

    def __init__(self, texts: pl.Series) -> None:
        self._rows = pl.DataFrame({"text_hash": texts}).with_row_index("place")

    def of(self, hashes: pl.Series) -> NDArray[np.int64]:
        """(n,) rows of texts, -1 where there is none."""
        wanted = pl.DataFrame({"text_hash": hashes})
        places = wanted.join(self._rows, on="text_hash", how="left", maintain_order="left")
        return places["place"].cast(pl.Int64).fill_null(-1).to_numpy()


def _sampled_turns(con: duckdb.DuckDBPyConnection, lake: Path, as_of: datetime) -> pl.DataFrame:
    """Steps of the sampled sessions, with the columns of the sample beside them."""
    sample = frame(
        con,
        "SELECT source, session_id, trace_id, turn_index AS step, started_at, text_hash, stratum,"
        " traffic_weight, steady_weight, latency_ms, cost_usd FROM trace_sample WHERE as_of = ?",
        [as_of],
    )
    if sample.is_empty():
        return sample
    sample = with_session_keys(sample)
    plain = ["ended_at", "tool_calls", "tool_failures", "context_tokens", "error_type", "outcome"]
    measured = [
        pl.col("query_text").str.len_chars().cast(pl.Int64).alias("query_chars"),
        pl.col("answer_text").str.len_chars().cast(pl.Int64).alias("answer_chars"),
        rejected(pl.col("feedback")).alias("rejected"),
    ]
    told = (
        turns_of_sessions(lake, sample, [*plain, *measured])
        .drop("session_id", "span_id", "turn_index")
        .unique(TURN, keep="first", maintain_order=True)
    )
    answered = pl.col("answer_chars").is_not_null()
    return (
        sample.join(told, on=TURN, how="left")
        .with_columns(
            answered=pl.when(answered.any().over("source")).then(answered),
            rephrased=pl.lit(None, pl.Boolean),
        )
        .cast({name: kind for name, kind in STEPS.items() if name != "rephrased"})
        .sort("session_key", "step")
    )


def _active_cases(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    cases = frame(
        con,
        "SELECT case_id, input, text_hashes, expected_tools, outcome"
        f" FROM eval_case_versions WHERE {active_at('$1')} ORDER BY case_id",
        [as_of],
    )
    return with_case_keys(cases)


def with_case_keys(cases: pl.DataFrame) -> pl.DataFrame:
    """Cases (case_id, input, text_hashes, expected_tools, outcome) with their session_key."""
    keys = [session_key(_OF_CASES, case_id) for case_id in cases["case_id"]]
    return cases.with_columns(session_key=pl.Series(keys, dtype=pl.UInt64))


def _case_steps(cases: pl.DataFrame) -> pl.DataFrame:
    """A step per user message.

    What the answer to the last one calls is `expected_tools`; unknown where that was not stated,
    and all calls are unknown where a case names none at all.
    """
    rows = [step for case in cases.iter_rows(named=True) for step in _steps_of(case)]
    return pl.DataFrame(rows, schema=STEPS)


def _steps_of(case: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    messages = _messages(case["input"])
    user_places = [i for i, message in enumerate(messages) if message["role"] == "user"]
    named = case["expected_tools"] is not None or any(
        message.get("tool_calls") or message["role"] == "tool" for message in messages
    )
    for step, (start, end) in enumerate(
        zip(user_places, [*user_places[1:], len(messages)], strict=True)
    ):
        replies = messages[start + 1 : end]
        is_last = end == len(messages)
        calls = [name for reply in replies for name in reply.get("tool_calls") or []]
        failures = sum(bool(reply.get("failed")) for reply in replies)
        if is_last and not calls:
            calls = case["expected_tools"]
        yield dict.fromkeys(STEPS.names()) | {
            "session_key": case["session_key"],
            "step": step,
            "text_hash": case["text_hashes"][step],
            "query_chars": len(messages[start].get("content") or ""),
            "answer_chars": sum(
                len(reply.get("content") or "") for reply in replies if reply["role"] == "assistant"
            ),
            "tool_calls": calls if named else None,
            "tool_failures": failures if named and not (is_last and calls is None) else None,
            "outcome": case["outcome"] if is_last else None,
        }


def _messages(content: str) -> list[dict[str, Any]]:
    """Messages of a case; a text is a single one."""
    messages = parsed(content)
    return messages if is_conversation(messages) else [{"role": "user", "content": content}]


def _features(steps: pl.DataFrame, place: _Places, vectors: Vectors, level: float) -> pl.DataFrame:
    steps = steps.sort("session_key", "step")
    at = place.of(steps["text_hash"])
    before = np.roll(at, 1)
    known = (at >= 0) & (before >= 0) & (np.arange(len(at)) > 0)
    similarity = np.full(len(at), np.nan)
    similarity[known] = np.einsum("ij,ij->i", vectors[at[known]], vectors[before[known]])
    steps = steps.with_columns(rephrased=rephrases(steps, similarity, level))
    features = session_features(steps.lazy()).collect()
    return features.with_columns(session_hash=session_hashes(features))


def _level(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    taxonomy_id: str,
    steps: pl.DataFrame,
    place: _Places,
    vectors: Vectors,
) -> float:
    """Cosine above which two turns say the same, see `topic_level`."""
    assigned = frame(
        con,
        "SELECT text_hash, cluster_id FROM cluster_assignments WHERE taxonomy_id = ?",
        [taxonomy_id],
    )
    firsts = steps.group_by("session_key").agg(pl.first("text_hash"))["text_hash"]
    texts = pl.DataFrame({"text_hash": firsts.drop_nulls().unique().sort()}).join(
        assigned, on="text_hash", maintain_order="left"
    )
    rng = np.random.default_rng(settings.sessions.seed)
    topics = texts["cluster_id"].cast(pl.Int64).to_numpy()
    return topic_level(vectors[place.of(texts["text_hash"])], topics, rng)


def _with_tools(
    written: pl.DataFrame, steps: pl.DataFrame, place: _Places, vectors: Vectors
) -> pl.DataFrame:
    """Steps of cases, with production's tools where a case does not name its own."""
    typical = _typical_tools(steps)
    unknown = written["tool_calls"].is_null() & written["text_hash"].is_not_null()
    if typical.is_empty() or not unknown.any():
        return written
    query_vectors = vectors[place.of(written.filter(unknown)["text_hash"])]
    texts = vectors[place.of(typical["text_hash"])]
    guesses = iter(borrowed_tools(query_vectors, texts, typical["tools"].to_list()))
    filled = [
        next(guesses) if missing else tools
        for missing, tools in zip(unknown, written["tool_calls"].to_list(), strict=True)
    ]
    return written.with_columns(tool_calls=pl.Series(filled, dtype=pl.List(pl.String)))


def _typical_tools(steps: pl.DataFrame) -> pl.DataFrame:
    """text_hash and the tools that turns with this text most often call."""
    called: dict[str, Counter[tuple[str, ...]]] = {}
    known = steps.drop_nulls(["text_hash", "tool_calls"]).select("text_hash", "tool_calls")
    for text, tools in known.iter_rows():
        called.setdefault(text, Counter())[tuple(tools)] += 1
    rows = [
        (text, list(min(counts.items(), key=lambda item: (-item[1], item[0]))[0]))
        for text, counts in sorted(called.items())
    ]
    return pl.DataFrame(
        rows, schema={"text_hash": pl.String, "tools": pl.List(pl.String)}, orient="row"
    )
