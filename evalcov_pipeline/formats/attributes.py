"""What the attributes of a span tell, in any of the known vocabularies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any

from evalcov_pipeline.core.sessions.features import NAMELESS
from evalcov_pipeline.formats.messages import answered, asked, parsed
from evalcov_pipeline.formats.vocabulary import MessagePart, Said, is_personal, layout

Attributes = Mapping[str, Any]

_KINDS = {
    "LLM": "llm",
    "TOOL": "tool",
    "RETRIEVER": "retrieval",
    "AGENT": "turn",
    "CHAIN": "turn",
    "EVALUATOR": "evaluator",
}
_OPERATIONS = {
    "chat": "llm",
    "generate_content": "llm",
    "text_completion": "llm",
    "execute_tool": "tool",
    "retrieval": "retrieval",
    "invoke_agent": "turn",
    "invoke_workflow": "turn",
}
_TRACELOOP = {"workflow": "turn", "agent": "turn", "tool": "tool", "task": "other"}
_LLM_MARKS = ("gen_ai.request.model", "gen_ai.system", "gen_ai.prompt", "gen_ai.prompt.0.role")
_SEGMENT_VALUE_LENGTH = 64
_MOST_SEGMENTS = 100
_OUTCOMES = frozenset({"success", "abandoned", "error"})


def span_kind(attributes: Attributes) -> str:
    """Kind of a span in the words of `core.turns.SPANS`."""
    if (kind := attributes.get("openinference.span.kind")) is not None:
        return _KINDS.get(str(kind).upper(), "other")
    if (operation := attributes.get("gen_ai.operation.name")) is not None:
        return _OPERATIONS.get(operation, "other")
    if (kind := attributes.get("traceloop.span.kind")) is not None:
        return _TRACELOOP.get(kind, "other")
    if (kind := attributes.get("llm.request.type")) is not None:
        return "llm" if kind in ("chat", "completion") else "other"
    if any(mark in attributes for mark in _LLM_MARKS):
        return "llm"
    return "turn" if "input.value" in attributes else "other"


def span_columns(kind: str, name: str, own: Attributes, resource: Attributes) -> dict[str, Any]:
    """Canonical columns that the attributes of a span and of its resource tell.

    Args:
        kind: as `span_kind` says.
        name: name of the span; names a tool or retriever that does not name itself.
        own: attributes of the span, none of them None.
        resource: attributes of its resource, none of them None; the span's own win.

    Returns:
        Columns of `core.turns.SPANS` by name; what is not told is absent or None.
    """
    places = layout(tuple(own), tuple(resource))
    both = {**resource, **own}
    metadata = parsed(own.get("metadata"))
    if not isinstance(metadata, dict):
        metadata = {}
    columns: dict[str, Any] = {
        column: str(both[attribute]) or None for column, attribute in places.texts
    }
    columns["segment"] = _segment(metadata | {key: own[name] for key, name in places.segments})
    columns["feedback"] = [_annotation(own, fields) for fields in places.annotations]
    if columns.get("user_id") is None:
        columns["user_id"] = _string(metadata.get("user_id"))
    if columns.get("outcome") not in _OUTCOMES:
        outcome = metadata.get("outcome")
        columns["outcome"] = outcome if outcome in _OUTCOMES else None
    if kind in ("llm", "turn"):
        for column, attribute in places.numbers:
            columns[column] = _number(both[attribute])
        for column in ("input_tokens", "output_tokens"):
            columns[column] = _count(columns.get(column))
        columns["query_text"] = _said(own, places.asked, asked)
        columns["answer_text"] = _said(own, places.answered, answered)
        reasons = parsed(own.get("gen_ai.response.finish_reasons"))
        if columns.get("finish_reason") is None and isinstance(reasons, list) and reasons:
            columns["finish_reason"] = _string(reasons[-1])
    elif kind == "tool":
        tool = own.get("tool.name") or own.get("gen_ai.tool.name") or name
        columns["tool_calls"] = [str(tool).removeprefix("execute_tool ").strip() or NAMELESS]
    elif kind == "retrieval":
        columns.update(_retrieval(name, own))
    return columns


def evaluation(attributes: Attributes) -> dict[str, Any]:
    """Feedback in the attributes of a `gen_ai.evaluation.result` event."""
    kinds = (v for k, v in attributes.items() if k.endswith(("annotator_kind", "annotator.kind")))
    return feedback(
        attributes.get("gen_ai.evaluation.name"),
        attributes.get("gen_ai.evaluation.score.value"),
        attributes.get("gen_ai.evaluation.score.label"),
        next(kinds, None),
    )


def feedback(name: Any, value: Any, label: Any, annotator_kind: Any) -> dict[str, Any]:
    """One entry of the feedback list."""
    return {
        "name": _string(name),
        "value": _number(value),
        "label": _string(label),
        "annotator_kind": _string(annotator_kind),
    }


def _annotation(own: Attributes, fields: Mapping[str, str]) -> dict[str, Any]:
    name, score, label, annotator_kind = (
        own.get(fields.get(field, "")) for field in ("name", "score", "label", "annotator_kind")
    )
    return feedback(name, score, label, annotator_kind)


def _string(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _count(value: float | None) -> int | None:
    return None if value is None or abs(value) > 2**53 else int(value)


def _said(own: Attributes, places: Said, find: Callable[[Any], str | None]) -> str | None:
    """The last message of a span, from its messages, its value, or wherever else it is."""
    if places.parts and (text := find(_messages(own, places.parts))):
        return text
    value = own.get(places.value)
    if isinstance(value, str) and value.strip():
        return value if own.get(places.mime_type) == "text/plain" else find(value)
    return next((text for name in places.whole if (text := find(own[name]))), None)


def _messages(own: Attributes, parts: Iterable[MessagePart]) -> list[dict[str, Any]]:
    """Messages that were flattened into attributes such as ``<prefix>0.message.content``."""
    messages: dict[int, dict[str, Any]] = {}
    for attribute, number, field, is_json in parts:
        message = messages.setdefault(number, {})
        value = own[attribute]
        if field == "parts":
            message.setdefault("parts", []).append({"type": "text", "content": value})
        elif field:
            message[field] = parsed(value) if is_json else value
    return list(messages.values())


def _segment(metadata: Attributes) -> list[dict[str, str]]:
    """Short texts of the metadata that describe a user or channel; ids are left out."""
    return [
        {"key": key, "value": value}
        for key, value in sorted(metadata.items())[:_MOST_SEGMENTS]
        if isinstance(value, str)
        and 0 < len(value) <= _SEGMENT_VALUE_LENGTH
        and not is_personal(key)
    ]


def _retrieval(name: str, own: Attributes) -> dict[str, Any]:
    """Count, best score and retriever; the count is None where documents were not captured."""
    scores: list[float | None] | None = None
    documents = parsed(own.get("gen_ai.retrieval.documents", own.get("retrieval.documents")))
    if isinstance(documents, list):
        scores = [
            _number(d.get("score", d.get("document.score"))) if isinstance(d, Mapping) else None
            for d in documents
        ]
    else:
        flat: dict[str, float | None] = {}
        for key, value in own.items():
            if key.startswith("retrieval.documents."):
                index, _, field = key[len("retrieval.documents.") :].partition(".")
                flat.setdefault(index, None)
                if field == "document.score":
                    flat[index] = _number(value)
        scores = list(flat.values()) or None
    known = [score for score in scores or () if score is not None]
    return {
        "retrieval_count": None if scores is None else len(scores),
        "retrieval_top_score": max(known, default=None),
        "retrieval_kind": _string(own.get("gen_ai.data_source.id")) or name or None,
    }
