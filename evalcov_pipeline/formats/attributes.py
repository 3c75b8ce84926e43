"""The vocabulary of span attributes: OpenInference and OpenTelemetry GenAI, current and legacy.

One table says which attribute names mean which canonical column, newest name first. A span may mix
vocabularies: two instrumentations often describe the same call.

Sources: OpenInference semantic conventions 0.1.32; OpenTelemetry GenAI conventions (development),
with the names they replaced; OpenLLMetry's indexed messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from evalcov_pipeline.formats.messages import answered, asked, parsed

Attributes = Mapping[str, Any]

_SESSION = (
    "session.id", "gen_ai.conversation.id", "langfuse.session.id",
    "traceloop.association.properties.session_id", "session_id", "conversation_id", "thread_id",
)  # fmt: skip
_NAMES: dict[str, tuple[str, ...]] = {
    "session_id": _SESSION,
    "model": (
        "llm.response.model_name", "gen_ai.response.model", "llm.model_name",
        "llm.request.model_name", "gen_ai.request.model",
    ),
    "prompt_version": (
        "llm.prompt_template.version", "gen_ai.prompt.version",
        "langfuse.observation.prompt.version", "prompt.version", "prompt_version", "prompt.id",
    ),
    "release": ("service.version", "langfuse.release", "release"),
    "environment": (
        "deployment.environment.name", "deployment.environment", "langfuse.environment",
    ),
    "service": ("service.name",),
    "finish_reason": ("llm.finish_reason", "gen_ai.completion.0.finish_reason"),
    "outcome": ("outcome", "session.outcome", "metadata.outcome"),
}  # fmt: skip
_TOKENS: dict[str, tuple[str, ...]] = {
    "input_tokens": (
        "llm.token_count.prompt", "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens",
    ),
    "output_tokens": (
        "llm.token_count.completion", "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
    ),
}  # fmt: skip
_COST = (
    "llm.cost.total", "gen_ai.usage.cost", "gen_ai.usage.cost_usd", "gen_ai.usage.total_cost",
    "gen_ai.cost.total",
)  # fmt: skip
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
_INPUTS = (
    "gen_ai.input.messages", "gen_ai.prompt", "traceloop.entity.input",
    "langfuse.observation.input", "langfuse.trace.input",
)  # fmt: skip
_OUTPUTS = (
    "gen_ai.output.messages", "gen_ai.completion", "traceloop.entity.output",
    "langfuse.observation.output", "langfuse.trace.output",
)  # fmt: skip
_SEGMENT_PREFIXES = (
    "metadata.", "segment.", "langfuse.trace.metadata.", "traceloop.association.properties.",
)  # fmt: skip
_SEGMENT_VALUE_LENGTH = 64
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
        own: attributes of the span.
        resource: attributes of its resource; the span's own win.

    Returns:
        Columns of `core.turns.SPANS` by name; what is not told is absent or None.
    """
    both = {**resource, **own}
    columns: dict[str, Any] = {
        column: _string(_lookup(names, both)) for column, names in _NAMES.items()
    }
    columns["segment"] = _segment(own)
    columns["feedback"] = annotated(own)
    if columns["outcome"] not in _OUTCOMES:
        columns["outcome"] = _metadata_outcome(own)
    if kind in ("llm", "turn"):
        for column, names in _TOKENS.items():
            tokens = _number(_lookup(names, both))
            columns[column] = None if tokens is None or abs(tokens) > 2**53 else int(tokens)
        columns["cost_usd"] = _number(_lookup(_COST, both))
        columns["query_text"] = _query(own)
        columns["answer_text"] = _answer(own)
        reasons = parsed(own.get("gen_ai.response.finish_reasons"))
        if columns["finish_reason"] is None and isinstance(reasons, list) and reasons:
            columns["finish_reason"] = _string(reasons[-1])
    elif kind == "tool":
        tool = own.get("tool.name") or own.get("gen_ai.tool.name") or name
        columns["tool_calls"] = [str(tool).removeprefix("execute_tool ")]
    elif kind == "retrieval":
        columns.update(_retrieval(name, own))
    return columns


def annotated(attributes: Attributes) -> list[dict[str, Any]]:
    """Feedback in annotation attributes, whose two spellings mean the same, of span or trace."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in attributes.items():
        if "annotation" in key or "evaluation" in key:
            parts = key.removeprefix("trace.").split(".", 3)
            if len(parts) == 4 and parts[0] in ("annotations", "evaluations"):
                found.setdefault((parts[0], parts[1]), {})[parts[3]] = value
    return [
        feedback(item.get("name"), item.get("score"), item.get("label"), item.get("annotator_kind"))
        for item in found.values()
    ]


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


def _lookup(names: Iterable[str], attributes: Attributes) -> Any:
    for name in names:
        if (value := attributes.get(name)) is not None:
            return value
    return None


def _string(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def _query(own: Attributes) -> str | None:
    """Last user message of a span, from its messages or from its input."""
    messages = _indexed(own, "llm.input_messages.") or _indexed(own, "gen_ai.prompt.")
    if messages and (text := asked(messages)):
        return text
    if (text := _value(own, "input")) is not None:
        return text if own.get("input.mime_type") == "text/plain" else asked(text)
    return next((text for name in _INPUTS if name in own and (text := asked(own[name]))), None)


def _answer(own: Attributes) -> str | None:
    """Last assistant message of a span, from its messages or from its output."""
    messages = _indexed(own, "llm.output_messages.") or _indexed(own, "gen_ai.completion.")
    if messages and (text := answered(messages)):
        return text
    if (text := _value(own, "output")) is not None:
        return text if own.get("output.mime_type") == "text/plain" else answered(text)
    return next((text for name in _OUTPUTS if name in own and (text := answered(own[name]))), None)


def _value(own: Attributes, side: str) -> str | None:
    value = own.get(f"{side}.value")
    return value if isinstance(value, str) and value.strip() else None


def _indexed(own: Attributes, prefix: str) -> list[dict[str, Any]]:
    """Messages that were flattened into attributes such as ``<prefix>0.message.content``."""
    messages: dict[int, dict[str, Any]] = {}
    for key, value in own.items():
        if key.startswith(prefix):
            index, _, field = key[len(prefix) :].partition(".")
            if index.isdigit():
                message = messages.setdefault(int(index), {})
                field = field.removeprefix("message.")
                if field in ("role", "content"):
                    message[field] = parsed(value) if prefix == "gen_ai.prompt." else value
                elif field.startswith("contents.") and field.endswith("message_content.text"):
                    message.setdefault("parts", []).append({"type": "text", "content": value})
    return [messages[index] for index in sorted(messages)]


def _segment(own: Attributes) -> list[dict[str, str]]:
    """Short texts of the metadata that describe a user or channel; ids are left out."""
    segment: dict[str, Any] = {}
    metadata = parsed(own.get("metadata"))
    if isinstance(metadata, dict):
        segment.update(metadata)
    for key, value in own.items():
        if key.startswith(_SEGMENT_PREFIXES):
            prefix = next(p for p in _SEGMENT_PREFIXES if key.startswith(p))
            segment[key[len(prefix) :]] = value
    return [
        {"key": key, "value": value}
        for key, value in sorted(segment.items())
        if isinstance(value, str) and 0 < len(value) <= _SEGMENT_VALUE_LENGTH and not _is_id(key)
    ]


def _is_id(key: str) -> bool:
    """Whether a metadata key names an individual or a request, not a segment."""
    key = key.lower()
    return key.endswith(("id", "email", "name", "phone", "outcome")) or key in ("user", "ip")


def _metadata_outcome(own: Attributes) -> str | None:
    metadata = parsed(own.get("metadata"))
    outcome = metadata.get("outcome") if isinstance(metadata, dict) else None
    return outcome if outcome in _OUTCOMES else None


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
