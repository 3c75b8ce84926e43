"""Canonical trace rows, one per user turn, as JSON Lines, CSV or Parquet.

Columns are those of the canonical `traces` table; only `query_text` and `started_at` are required.
Other column names are given by a mapping canonical -> own; dots reach into nested objects, and
`segment.<key>` sets one segment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from evalcov_pipeline.core.text.normalise import normalise
from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.attributes import feedback
from evalcov_pipeline.formats.lines import Reject, Unreadable, plain_suffix
from evalcov_pipeline.formats.rows import read_rows
from evalcov_pipeline.formats.traces import Cells, TraceOptions, batches, cells

NAME = "generic"
_SEGMENT = "segment."


def _feedback(value: Any) -> list[dict[str, Any]]:
    entries = fields.json_list(value)
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise Unreadable("is not a list of {name, value, label, annotator_kind}")
    return [
        feedback(e.get("name"), e.get("value"), e.get("label"), e.get("annotator_kind"))
        for e in entries
    ]


_FIELDS: dict[str, fields.Parser] = {
    "source": fields.name,
    "trace_id": fields.name,
    "span_id": fields.name,
    "session_id": fields.name,
    "user_id": fields.name,
    "started_at": fields.instant,
    "ended_at": fields.instant,
    "query_text": fields.text,
    "answer_text": fields.content,
    "model": fields.name,
    "prompt_version": fields.name,
    "release": fields.name,
    "environment": fields.name,
    "service": fields.name,
    "segment": fields.pairs,
    "tool_calls": fields.tool_names,
    "tool_failures": fields.whole,
    "context_tokens": fields.whole,
    "input_tokens": fields.whole,
    "output_tokens": fields.whole,
    "cost_usd": fields.amount,
    "latency_ms": fields.number,
    "error_type": fields.name,
    "finish_reason": fields.name,
    "retrieval_count": fields.whole,
    "retrieval_top_score": fields.number,
    "retrieval_kind": fields.name,
    "feedback": _feedback,
    "outcome": fields.one_of("success", "abandoned", "error"),
}


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file looks like rows: by its ending, or JSON objects by its beginning."""
    known = plain_suffix(path) in {".csv", ".tsv", ".parquet"}
    return known or head.lstrip().startswith((b"{", b"["))


def read(path: Path, options: TraceOptions) -> Iterator[pl.DataFrame | Reject]:
    """Stream a file as batches of complete turns; rows that cannot be read come as a `Reject`.

    Raises:
        BadInput: a mapping of a column that does not exist in the canonical rows.
    """
    fields.check_mapping(options.mapping, _FIELDS, _SEGMENT)
    return batches(_turns(path, options))


def _turns(path: Path, options: TraceOptions) -> Iterator[Cells | Reject]:
    for item in read_rows(path):
        if isinstance(item, Reject):
            yield item
            continue
        number, row = item
        try:
            yield cells(_turn(row, options))
        except Unreadable as error:
            yield Reject(str(path), number, str(error), fields.raw(row))


_DAY_MS = 86_400_000


def _turn(row: Mapping[str, Any], options: TraceOptions) -> dict[str, Any]:
    turn = fields.read_row(row, _FIELDS, options.mapping, options.latest)
    if turn["started_at"] is None:
        raise Unreadable("started_at is missing")
    if not normalise(turn["query_text"] or ""):
        raise Unreadable("query_text is missing")
    latency = turn.pop("latency_ms")
    if turn["ended_at"] is None and latency is not None:
        if not 0 <= latency <= _DAY_MS:
            raise Unreadable("latency_ms is not between 0 and a day")
        turn["ended_at"] = turn["started_at"] + timedelta(milliseconds=latency)
    content = f"{turn['session_id']}\n{turn['started_at'].isoformat()}\n{turn['query_text']}"
    turn["trace_id"] = turn["trace_id"] or hashlib.sha256(content.encode()).hexdigest()[:32]
    return turn | {
        "kind": "turn",
        "source": options.source or turn["source"] or NAME,
        "span_id": turn["span_id"] or turn["started_at"].isoformat(),
        "segment": _segment(turn["segment"], row, options.mapping),
        "feedback": turn["feedback"] or [],
        "set_aside": options.set_aside(turn["service"], turn["environment"], row),
    }


def _segment(
    segment: list[dict[str, str]] | None, row: Mapping[str, Any], mapping: Mapping[str, str]
) -> list[dict[str, str]]:
    """The segment column and every `segment.<key>`, mapped or in the row, ordered by key."""
    known = {pair["key"]: pair["value"] for pair in segment or ()}
    names = {name: name for name in row if name.startswith(_SEGMENT)}
    names |= {name: own for name, own in mapping.items() if name.startswith(_SEGMENT)}
    for name, own in names.items():
        value = fields.get(row, own)
        if value is not None and value != "":
            known[name.removeprefix(_SEGMENT)] = fields.content(value)
    return [{"key": key, "value": value} for key, value in sorted(known.items())]
