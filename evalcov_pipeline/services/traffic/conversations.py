"""Turns of traffic with what was said around them, as people read them: redacted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from evalcov_pipeline.core.traffic.turns import MOST_TURNS_BEFORE
from evalcov_pipeline.services.traffic.turns import TURN, turns_of_sessions


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
    turns = turns_of_sessions(lake, drawn, columns).join(
        asked.select(*TURN, "text_hash").unique(TURN), on=TURN, how="left", maintain_order="left"
    )
    texts = pl.concat([turns["query_text"], turns["answer_text"]]).drop_nulls().unique().sort()
    clean = dict(zip(texts, redact_all(texts.to_list()), strict=True))
    calling = set(turns.filter(pl.col("tool_calls").list.len() > 0)["source"])
    sessions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for turn in turns.iter_rows(named=True):
        sessions.setdefault((turn["source"], turn["session_id"]), []).append(turn)
    rows = []
    for turn in drawn.select(*TURN, "session_id").iter_rows(named=True):
        key = {name: turn[name] for name in TURN}
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
    messages: list[dict[str, Any]] = [{"role": "user", "content": clean[turn["query_text"]]}]
    if failed:
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages += [{"role": "tool", "content": "", "failed": True}] * failed
        calls = []
    if answer or calls:
        reply = {"role": "assistant", "content": answer}
        messages.append(reply | ({"tool_calls": calls} if calls else {}))
    return messages
