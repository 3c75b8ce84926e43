"""OTLP JSON Lines: one TracesData or LogsData per line, as OpenTelemetry's file exporter writes.

Ids are hexadecimal, times are nanoseconds as JSON strings, and no order is guaranteed.
Source: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import polars as pl

from evalcov_pipeline.formats.attributes import (
    evaluation,
    span_columns,
    span_kind,
)
from evalcov_pipeline.formats.fields import EARLIEST, raw
from evalcov_pipeline.formats.lines import Reject, Unreadable, json_lines
from evalcov_pipeline.formats.messages import answered, asked
from evalcov_pipeline.formats.traces import Cells, TraceOptions, batches, cells

NAME = "otlp"
_OLDEST_NS = int(EARLIEST.replace(tzinfo=UTC).timestamp()) * 10**9
_TRACE_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_SPAN_ID = re.compile(r"[0-9a-f]{16}").fullmatch
_MALFORMED = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
_EVALUATION = "gen_ai.evaluation.result"
_USER_MESSAGE, _CHOICE = "gen_ai.user.message", "gen_ai.choice"
_CONTENT_EVENTS = frozenset(
    {
        "gen_ai.client.inference.operation.details",
        "gen_ai.content.prompt",
        "gen_ai.content.completion",
        _USER_MESSAGE,
        _CHOICE,
    }
)


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` is OTLP JSON."""
    return b'"resourceSpans"' in head or b'"resourceLogs"' in head


def read(path: Path, options: TraceOptions) -> Iterator[pl.DataFrame | Reject]:
    """Stream a file as batches of spans; what cannot be read comes as a `Reject`."""
    return batches(_rows(path, options))


def _rows(path: Path, options: TraceOptions) -> Iterator[Cells | Reject]:
    source = options.source or NAME
    for line in json_lines(path):
        if isinstance(line, Reject):
            yield line
            continue
        number, data = line
        try:
            for resource, record, is_log in _records(data):
                try:
                    read_record = _log_rows if is_log else _span_rows
                    yield from map(cells, read_record(record, resource, source, options))
                except _MALFORMED as error:
                    yield Reject(str(path), number, _reason(error), raw(record))
        except _MALFORMED as error:
            yield Reject(str(path), number, _reason(error), raw(data))


def _records(data: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Any, bool]]:
    """Resource attributes, span or log record, and whether it is a log record."""
    if "resourceSpans" not in data and "resourceLogs" not in data:
        raise Unreadable("not OTLP JSON: neither resourceSpans nor resourceLogs")
    for outer, scopes, items, is_log in (
        ("resourceSpans", "scopeSpans", "spans", False),
        ("resourceLogs", "scopeLogs", "logRecords", True),
    ):
        for group in data.get(outer) or ():
            resource = _attributes((group.get("resource") or {}).get("attributes"))
            for scope in group.get(scopes) or ():
                for record in scope.get(items) or ():
                    yield resource, record, is_log


def _span_rows(
    span: Mapping[str, Any], resource: dict[str, Any], source: str, options: TraceOptions
) -> Iterator[dict[str, Any]]:
    """The row of a span, and one per trace that an evaluator span is linked to."""
    own = _attributes(span.get("attributes"))
    evaluations = []
    error = own.get("error.type")
    for event in span.get("events") or ():
        name = event.get("name")
        if name == _EVALUATION:
            evaluations.append(evaluation(_attributes(event.get("attributes"))))
        elif name in _CONTENT_EVENTS:
            own = _attributes(event.get("attributes")) | own
        elif name == "exception" and error is None:
            error = _attributes(event.get("attributes")).get("exception.type")
    if (span.get("status") or {}).get("code") in (2, "STATUS_CODE_ERROR"):
        error = error or "error"
    kind = span_kind(own)
    row = span_columns(kind, str(span.get("name") or ""), own, resource)
    row["feedback"] += evaluations
    started = _nanoseconds(span, "startTimeUnixNano", options)
    if started is None:
        raise Unreadable("startTimeUnixNano is missing")
    ended = _nanoseconds(span, "endTimeUnixNano", options)
    row |= {
        "source": source,
        "trace_id": _trace_id(span.get("traceId")),
        "span_id": _span_id(span.get("spanId")),
        "parent_id": _span_id(span["parentSpanId"]) if span.get("parentSpanId") else None,
        "kind": kind,
        "started_at": started // 1000,
        "ended_at": None if ended is None or ended < started else ended // 1000,
        "error_type": None if error is None else str(error),
    }
    if kind != "evaluator":
        row["set_aside"] = options.set_aside(row.get("service"), row.get("environment"), own) or (
            "excluded" if options.excludes(resource) else None
        )
        yield row
        return
    targets = [link for link in span.get("links") or () if link.get("traceId")]
    judged = row | {"span_id": f"{row['trace_id']}:{row['span_id']}"}
    for link in targets:
        yield _feedback_row(judged, _trace_id(link["traceId"]), link.get("spanId"))
    yield row | ({"feedback": []} if targets else {})


def _log_rows(
    record: Mapping[str, Any], resource: dict[str, Any], source: str, options: TraceOptions
) -> Iterator[dict[str, Any]]:
    """An evaluation event as feedback on its trace, messages as content of their span.

    Other log records are not about traces.
    """
    own = _attributes(record.get("attributes"))
    name = record.get("eventName") or own.get("event.name")
    if name != _EVALUATION and name not in _CONTENT_EVENTS:
        return
    if not record.get("traceId"):
        raise Unreadable(f"{name} without a traceId to attach it to")
    at = _nanoseconds(record, "timeUnixNano", options) or _nanoseconds(
        record, "observedTimeUnixNano", options
    )
    if at is None:
        raise Unreadable("timeUnixNano is missing")
    item = {"source": source, "started_at": at // 1000}
    trace_id, span_id = _trace_id(record["traceId"]), record.get("spanId")
    if name == _EVALUATION:
        item["span_id"] = f"{at}:{own.get('gen_ai.evaluation.name')}"
        yield _feedback_row(item | {"feedback": [evaluation(own)]}, trace_id, span_id)
    else:
        item |= {"trace_id": trace_id, "parent_id": _span_id(span_id), "kind": "content"}
        item["span_id"] = f"{item['parent_id']}:{at}:{name}"
        yield item | _content(name, own, _any_value(record.get("body")))


def _content(name: str, own: dict[str, Any], body: Any) -> dict[str, Any]:
    """What an event tells of its span's query, answer and session."""
    if name == _USER_MESSAGE:
        return {"query_text": asked(body)}
    if name == _CHOICE:
        return {"answer_text": answered(body)}
    told = span_columns("llm", "", own, {})
    return {column: told.get(column) for column in ("query_text", "answer_text", "session_id")}


def _feedback_row(row: Mapping[str, Any], trace_id: str, span_id: str | None) -> dict[str, Any]:
    """Feedback on a trace, and on one of its spans if that is named."""
    return {
        "source": row["source"],
        "trace_id": trace_id,
        "span_id": row["span_id"],
        "parent_id": _span_id(span_id) if span_id else None,
        "kind": "feedback",
        "started_at": row["started_at"],
        "feedback": row["feedback"],
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    """Values by name; an attribute without a value tells nothing and is left out."""
    values = {}
    for pair in pairs or ():
        try:
            name, value = pair["key"], _any_value(pair.get("value"))
        except _MALFORMED as error:
            raise Unreadable(f"attribute {raw(pair)[:80]} is not a key and a value") from error
        if value is not None:
            values[name] = value
    return values


def _any_value(value: Any) -> Any:
    """Python value of an AnyValue."""
    if not value:
        return None
    ((kind, inner),) = value.items()
    if kind == "intValue":
        return int(inner)
    if kind == "arrayValue":
        return [_any_value(item) for item in inner.get("values") or ()]
    if kind == "kvlistValue":
        return _attributes(inner.get("values"))
    return inner


def _nanoseconds(record: Mapping[str, Any], name: str, options: TraceOptions) -> int | None:
    """Instant since 1970 in a field; None where it is not given."""
    value = record.get(name)
    if value is None or value == "":
        return None
    try:
        nanoseconds = int(value)
    except (ValueError, TypeError, OverflowError):
        raise Unreadable(f"{name} is not a number of nanoseconds") from None
    if nanoseconds == 0:
        return None
    if nanoseconds < _OLDEST_NS:
        raise Unreadable(f"{name} lies before {EARLIEST.year}, or is not in nanoseconds")
    if nanoseconds > options.latest_ns:
        raise Unreadable(f"{name} lies in the future, or is not in nanoseconds")
    return nanoseconds


def _trace_id(value: Any) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if not _TRACE_ID(text):
        raise Unreadable("traceId is not 32 hexadecimal digits")
    return text


def _span_id(value: Any) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if not _SPAN_ID(text):
        raise Unreadable("spanId is not 16 hexadecimal digits")
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    return "not laid out as OTLP JSON: a field is missing or of another type"
