"""Production queries that a refresh may draw, and what people see of those that were drawn.

Texts leave the lake here a second time, beside the weekly sample: with what was said before them
and what was answered. All of it is redacted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.core.session_selection import MOST_TURNS_BEFORE
from evalcov_pipeline.core.sessions import rejected
from evalcov_pipeline.core.turns import with_session_keys
from evalcov_pipeline.storage.lake import lake_connection, scan_turns
from evalcov_pipeline.storage.warehouse import frame

_TURN = ["source", "trace_id", "started_at"]


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
        turns.join(_circumstances(lake, turns), on=_TURN, how="left")
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


def last_turns_of_traces(lake: Path, trace_ids: Iterable[str]) -> pl.DataFrame:
    """The last turn of each of these traces that the lake has, with its place in its session.

    Returns:
        source, session_id, trace_id, started_at, query_text and turn_index, by trace_id.
    """
    with lake_connection(lake) as con:
        asked = pl.DataFrame({"trace_id": sorted(set(trace_ids))}, schema={"trace_id": pl.String})
        con.register("asked", asked.to_arrow())
        return frame(
            con,
            """
            WITH sessions AS (
              SELECT DISTINCT source, session_id FROM turns SEMI JOIN asked USING (trace_id)
            ), placed AS (
              SELECT source, session_id, trace_id, started_at, query_text,
                     row_number() OVER (PARTITION BY source, session_id
                                        ORDER BY started_at, trace_id, span_id) - 1 AS turn_index
              FROM turns SEMI JOIN sessions USING (source, session_id)
            )
            SELECT * FROM placed SEMI JOIN asked USING (trace_id)
            QUALIFY row_number() OVER (PARTITION BY trace_id
                                       ORDER BY started_at DESC, turn_index DESC, source) = 1
            ORDER BY trace_id
            """,
        )


def conversations(
    lake: Path,
    drawn: pl.DataFrame,
    asked: pl.DataFrame,
    redact_all: Callable[[Sequence[str]], list[str]],
) -> pl.DataFrame:
    """What was said before drawn turns in their sessions, and what production answered.

    Args:
        lake: folder of the lake.
        drawn: source, session_id, trace_id and started_at of turns.
        asked: text_hash of turns, by source, trace_id and started_at.
        redact_all: takes personal data out of texts.

    Returns:
        source, trace_id, started_at, query, context (JSON list of canonical messages of at most
        `MOST_TURNS_BEFORE` turns, None for a first turn), answer (None where it was not captured),
        tools (called for the answer; None where its source never calls any) and text_hashes (of
        the turns in the context and of the query), redacted; without the turns that the lake has
        no more.
    """
    columns = ["query_text", "answer_text", "tool_calls", "tool_failures"]
    said = (
        _turns_of_sessions(lake, drawn, columns)
        .join(asked.select(*_TURN, "text_hash").unique(_TURN), on=_TURN, how="left")
        .sort("started_at", "source", "trace_id")
    )
    texts = pl.concat([said["query_text"], said["answer_text"]]).drop_nulls().unique().sort()
    clean = dict(zip(texts, redact_all(texts.to_list()), strict=True))
    calling = set(said.filter(pl.col("tool_calls").list.len() > 0)["source"])
    sessions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for turn in said.iter_rows(named=True):
        sessions.setdefault((turn["source"], turn["session_id"]), []).append(turn)
    rows = []
    for turn in drawn.select(*_TURN, "session_id").iter_rows(named=True):
        key = {name: turn[name] for name in _TURN}
        session = sessions.get((turn["source"], turn["session_id"]), [])
        place = next((i for i, other in enumerate(session) if other.items() >= key.items()), None)
        if place is None:
            continue
        here, before = session[place], session[max(0, place - MOST_TURNS_BEFORE) : place]
        context = [message for other in before for message in _exchange(other, clean)]
        rows.append(
            {
                **key,
                "query": clean[here["query_text"]],
                "context": orjson.dumps(context).decode() if context else None,
                "answer": clean.get(here["answer_text"]),
                "tools": here["tool_calls"] if turn["source"] in calling else None,
                "text_hashes": [other["text_hash"] for other in (*before, here)],
            }
        )
    return pl.DataFrame(
        rows,
        schema={
            "source": pl.String,
            "trace_id": pl.String,
            "started_at": pl.Datetime("us"),
            "query": pl.String,
            "context": pl.String,
            "answer": pl.String,
            "tools": pl.List(pl.String),
            "text_hashes": pl.List(pl.String),
        },
    )


def _exchange(turn: Mapping[str, Any], clean: Mapping[str, str]) -> list[dict[str, Any]]:
    """Messages of a turn; where tools failed, their calls come before what was said of it."""
    answer, calls = clean.get(turn["answer_text"]) or "", turn["tool_calls"]
    failed = min(turn["tool_failures"] or 0, len(calls))
    said: list[dict[str, Any]] = [{"role": "user", "content": clean[turn["query_text"]]}]
    if failed:
        said.append({"role": "assistant", "content": "", "tool_calls": calls})
        said += [{"role": "tool", "content": "", "failed": True}] * failed
        calls = []
    if answer or calls:
        reply = {"role": "assistant", "content": answer}
        said.append(reply | ({"tool_calls": calls} if calls else {}))
    return said


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
        _turns_of_sessions(lake, turns, columns)
        .with_columns(
            signal=failed.cast(pl.Float64),
            segment=pl.col("segment").map_elements(_object, pl.String, skip_nulls=True),
        )
        .unique(_TURN, keep="first", maintain_order=True)
        .select(*_TURN, "user_id", "segment", "signal")
    )


def _turns_of_sessions(lake: Path, turns: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """All turns in the lake of the sessions that some turns belong to."""
    sessions = with_session_keys(turns.select("source", "session_id").unique())
    return (
        scan_turns(lake)
        .filter(pl.col("session_key").is_in(sessions["session_key"].implode()))
        .select(*_TURN, "session_id", *columns)
        .collect(engine="streaming")
    )


def _object(pairs: pl.Series) -> str:
    return orjson.dumps({pair["key"]: pair["value"] for pair in pairs}).decode()
