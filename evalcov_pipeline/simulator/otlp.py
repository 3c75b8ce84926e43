"""Turns as OTLP JSON lines, in OpenInference or OpenTelemetry GenAI attributes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any, Literal

from evalcov_pipeline.simulator.traffic import Feedback, Turn

Dialect = Literal["openinference", "genai"]
SERVICE = "northlight-assist"
BATCH = 48
"""Spans in one exported line, at most."""
_INTERNAL, _CLIENT, _OK, _ERROR = 1, 3, 1, 2
_USD_PER_TOKEN = (0.15e-6, 0.6e-6)
_SYSTEM_PROMPT = "You are Northlight's assistant. Be brief, correct and kind."


@dataclass
class _Span:
    """A span before it is written; `offset` and `length` are seconds from the turn's start."""

    turn: Turn
    number: int
    name: str
    offset: float
    length: float
    attributes: dict[str, Any]
    kind: int = _INTERNAL
    parent: int | None = 0
    failed: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    link: str | None = None
    trace_id: str | None = None

    @property
    def started_at(self) -> datetime:
        return self.turn.started_at + timedelta(seconds=self.offset)

    @property
    def ended_at(self) -> datetime:
        return self.started_at + timedelta(seconds=self.length)

    def to_json(self) -> dict[str, Any]:
        """The span as OTLP JSON."""
        trace_id = self.trace_id or self.turn.trace_id
        span: dict[str, Any] = {"traceId": trace_id, "spanId": span_id(trace_id, self.number)}
        if self.parent is not None:
            span["parentSpanId"] = span_id(trace_id, self.parent)
        span |= {
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": nanos(self.started_at),
            "endTimeUnixNano": nanos(self.ended_at),
            "attributes": key_values(self.attributes),
        }
        if self.events:
            span["events"] = self.events
        if self.link:
            span["links"] = [{"traceId": self.turn.trace_id, "spanId": self.link}]
        if self.failed:
            span["status"] = {"code": _ERROR, "message": self.turn.error}
        else:
            span["status"] = {"code": _OK}
        return span


def span_id(trace_id: str, number: int) -> str:
    """Id of a trace's n-th span; 0 is the root."""
    return hashlib.sha256(f"{trace_id}/{number}".encode()).hexdigest()[:16]


def nanos(at: datetime) -> str:
    """Nanoseconds since 1970 as the string that OTLP JSON wants."""
    return str(int(at.timestamp() * 1_000_000) * 1000)


def key_values(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP key-value pairs; None values are left out."""
    return [{"key": k, "value": any_value(v)} for k, v in attributes.items() if v is not None]


def any_value(value: Any) -> dict[str, Any]:
    """A Python value as an OTLP AnyValue; integers are strings."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [any_value(v) for v in value]}}
        case dict():
            return {"kvlistValue": {"values": key_values(value)}}
        case _:
            raise TypeError(f"no OTLP value for {type(value).__name__}")


def export(turns: Iterable[tuple[Turn, Dialect]], rng: Random) -> Iterator[str]:
    """TracesData lines: batches of spans, roughly in the order in which spans end.

    Args:
        turns: turns with the dialect in which each is written.
        rng: delays of the exporters.
    """
    sent: list[tuple[datetime, tuple[str, str, str], _Span]] = []
    for turn, dialect in turns:
        spans = _openinference(turn) if dialect == "openinference" else _genai(turn)
        resource = (turn.environment, turn.release, dialect)
        for span in spans:
            delay = rng.uniform(0, 20) if rng.random() > 0.01 else rng.uniform(60, 1800)
            sent.append((span.ended_at + timedelta(seconds=delay), resource, span))
    sent.sort(key=lambda item: (item[0], item[2].turn.trace_id, item[2].number))
    hours = groupby(sent, key=lambda item: item[0].replace(minute=0, second=0, microsecond=0))
    for _, group in hours:
        hour = list(group)
        for resource in sorted({item[1] for item in hour}):
            spans = [item[2] for item in hour if item[1] == resource]
            for i in range(0, len(spans), BATCH):
                yield dump(_traces_data(resource, spans[i : i + BATCH]))


def dump(value: Any) -> str:
    """Compact JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _traces_data(resource: tuple[str, str, str], spans: list[_Span]) -> dict[str, Any]:
    environment, release, dialect = resource
    attributes = {
        "service.name": SERVICE,
        "service.version": release,
        "deployment.environment.name": environment,
    }
    scope = {"name": f"northlight.{dialect}", "version": "0.3.1"}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": key_values(attributes)},
                "scopeSpans": [{"scope": scope, "spans": [span.to_json() for span in spans]}],
            }
        ]
    }


def _variant(turn: Turn, modulus: int) -> int:
    """A stable pick per turn: services differ in how they fill the same attribute."""
    return int(turn.trace_id[:6], 16) % modulus


def _usage(turn: Turn) -> tuple[int, int, float]:
    """Input tokens, output tokens, and cost in USD."""
    documents = 60 * len(turn.documents or ())
    history = sum(map(len, turn.previous or ())) // 4
    given = 210 + len(turn.query) // 4 + documents + history + 45 * len(turn.tools)
    written = len(turn.answer or "") // 4 + 12 * len(turn.tools)
    return given, written, round(given * _USD_PER_TOKEN[0] + written * _USD_PER_TOKEN[1], 8)


def _model(turn: Turn) -> tuple[str, str]:
    return (
        ("atlas-mini-2", "atlas-mini-2-0711")
        if turn.release < "1.6"
        else ("atlas-mini-3", "atlas-mini-3-1004")
    )


def _prompt_version(turn: Turn) -> str:
    return {"1.4": "p12", "1.5": "p13"}.get(turn.release, "p14")


def _metadata(turn: Turn) -> str:
    outcome = {"outcome": turn.outcome} if turn.outcome else {}
    return dump({**turn.segment, **outcome})


def _steps(turn: Turn) -> Iterator[tuple[str, str, float, float]]:
    """What runs inside a turn: (what, name, offset, length) in seconds."""
    at, share = 0.02, (turn.latency_s - 0.1) / (1 + len(turn.tools) + bool(turn.retrieves))
    if turn.retrieves:
        yield "retrieval", turn.retrieves, at, share * 0.4
        at += share * 0.45
    for tool in turn.tools:
        yield "tool", tool, at, share * 0.5
        at += share * 0.55
    yield "llm", "chat", at, turn.latency_s - at - 0.03


def _openinference(turn: Turn) -> Iterator[_Span]:
    requested, served = _model(turn)
    given, written, cost = _usage(turn)
    root: dict[str, Any] = {
        "openinference.span.kind": "AGENT" if _variant(turn, 3) else "CHAIN",
        "input.value": turn.query,
        "input.mime_type": "text/plain",
        "output.value": turn.answer,
        "session.id": turn.session_id,
        "user.id": turn.user_id,
        "metadata": _metadata(turn),
        **turn.attributes,
    }
    direct = [f for f in turn.feedback if not f.late]
    for i, feedback in enumerate(direct):
        root |= _annotation(i, feedback)
    yield _Span(
        turn, 0, "assist.turn", 0.0, turn.latency_s, root, parent=None, failed=bool(turn.error)
    )
    for number, (what, name, offset, length) in enumerate(_steps(turn), 1):
        match what:
            case "retrieval":
                yield _Span(
                    turn, number, f"search {name}", offset, length, _openinference_documents(turn)
                )
            case "tool":
                attributes = {
                    "openinference.span.kind": "TOOL",
                    "tool.name": name,
                    "input.value": dump({"user": turn.user_id}),
                    "input.mime_type": "application/json",
                }
                yield _Span(turn, number, name, offset, length, attributes)
            case _:
                llm: dict[str, Any] = {
                    "openinference.span.kind": "LLM",
                    "llm.request.model_name": requested,
                    "llm.model_name": served,
                    "llm.token_count.prompt": given,
                    "llm.token_count.completion": written,
                    "llm.token_count.total": given + written,
                    "llm.cost.total": cost,
                    "llm.finish_reason": turn.finish_reason,
                    "llm.prompt_template.version": _prompt_version(turn),
                }
                if _variant(turn, 4) == 0:
                    llm |= _openinference_messages(turn)
                if turn.error:
                    llm["error.type"] = turn.error
                yield _Span(
                    turn, number, name, offset, length, llm, _CLIENT, failed=bool(turn.error)
                )
    for i, feedback in enumerate(f for f in turn.feedback if f.late):
        attributes = {"openinference.span.kind": "EVALUATOR", **_annotation(0, feedback)}
        yield _late(turn, i, attributes)


def _openinference_messages(turn: Turn) -> dict[str, Any]:
    messages = [("system", _SYSTEM_PROMPT)]
    if turn.previous and turn.previous[1]:
        messages += [("user", turn.previous[0]), ("assistant", turn.previous[1])]
    messages.append(("user", turn.query))
    attributes: dict[str, Any] = {}
    for i, (role, content) in enumerate(messages):
        attributes[f"llm.input_messages.{i}.message.role"] = role
        attributes[f"llm.input_messages.{i}.message.content"] = content
    if turn.answer is not None:
        attributes["llm.output_messages.0.message.role"] = "assistant"
        attributes["llm.output_messages.0.message.content"] = turn.answer
    return attributes


def _openinference_documents(turn: Turn) -> dict[str, Any]:
    attributes: dict[str, Any] = {"openinference.span.kind": "RETRIEVER"}
    if turn.documents == ():
        attributes["retrieval.documents"] = []
    for i, document in enumerate(turn.documents or ()):
        attributes[f"retrieval.documents.{i}.document.id"] = document.id
        attributes[f"retrieval.documents.{i}.document.score"] = document.score
        attributes[f"retrieval.documents.{i}.document.content"] = document.content
    return attributes


def _annotation(i: int, feedback: Feedback) -> dict[str, Any]:
    prefix = f"annotations.{i}.annotation"
    return {
        f"{prefix}.name": feedback.name,
        f"{prefix}.score": feedback.score,
        f"{prefix}.label": feedback.label,
        f"{prefix}.annotator_kind": feedback.annotator,
    }


def _late(turn: Turn, i: int, attributes: dict[str, Any]) -> _Span:
    """Feedback that came later, in a trace of its own, linked to the turn."""
    trace_id = hashlib.sha256(f"{turn.trace_id}/late/{i}".encode()).hexdigest()[:32]
    link = span_id(turn.trace_id, 0)
    later = turn.latency_s + 40 + _variant(turn, 9000)
    return _Span(
        turn, 0, "feedback", later, 0.05, attributes, parent=None, link=link, trace_id=trace_id
    )


def _genai(turn: Turn) -> Iterator[_Span]:
    requested, served = _model(turn)
    given, written, cost = _usage(turn)
    structured = _variant(turn, 3) == 0
    on_chat = _variant(turn, 5) == 0
    content = _genai_messages(turn, structured)
    root: dict[str, Any] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": SERVICE,
        "gen_ai.conversation.id": turn.session_id,
        "user.id": turn.user_id,
        "metadata": _metadata(turn),
        **turn.attributes,
        **({} if on_chat else content),
    }
    if turn.error:
        root["error.type"] = turn.error
    events = [_evaluation_event(turn, f) for f in turn.feedback if not f.late]
    yield _Span(
        turn, 0, f"invoke_agent {SERVICE}", 0.0, turn.latency_s, root,
        parent=None, failed=bool(turn.error), events=events,
    )  # fmt: skip
    for number, (what, name, offset, length) in enumerate(_steps(turn), 1):
        match what:
            case "retrieval":
                attributes = _genai_documents(turn, structured)
                yield _Span(turn, number, f"retrieval {name}", offset, length, attributes, _CLIENT)
            case "tool":
                attributes = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": name,
                    "gen_ai.tool.type": "function",
                }
                yield _Span(turn, number, f"execute_tool {name}", offset, length, attributes)
            case _:
                chat: dict[str, Any] = {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "atlas",
                    "gen_ai.request.model": requested,
                    "gen_ai.response.model": served,
                    "gen_ai.response.finish_reasons": [turn.finish_reason]
                    if turn.finish_reason
                    else None,
                    "gen_ai.usage.input_tokens": given,
                    "gen_ai.usage.output_tokens": written,
                    "gen_ai.usage.cost": cost,
                    "gen_ai.prompt.name": "support",
                    "gen_ai.prompt.version": _prompt_version(turn),
                    "error.type": turn.error,
                    **(content if on_chat else {}),
                }
                yield _Span(
                    turn,
                    number,
                    f"chat {requested}",
                    offset,
                    length,
                    chat,
                    _CLIENT,
                    failed=bool(turn.error),
                )
    for i, feedback in enumerate(f for f in turn.feedback if f.late):
        attributes = {"openinference.span.kind": "EVALUATOR", **_annotation(0, feedback)}
        yield _late(turn, i, attributes)


def _genai_messages(turn: Turn, structured: bool) -> dict[str, Any]:
    def message(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "parts": [{"type": "text", "content": text}]}

    given = [message("user", turn.query)]
    if turn.previous and turn.previous[1]:
        given = [message("user", turn.previous[0]), message("assistant", turn.previous[1]), *given]
    written = [message("assistant", turn.answer)] if turn.answer is not None else None
    return {
        "gen_ai.input.messages": given if structured else dump(given),
        "gen_ai.output.messages": written if structured or written is None else dump(written),
    }


def _genai_documents(turn: Turn, structured: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": turn.retrieves,
        "gen_ai.retrieval.top_k": 3,
    }
    if turn.documents is not None:
        documents = [{"id": d.id, "score": d.score, "content": d.content} for d in turn.documents]
        attributes["gen_ai.retrieval.documents"] = documents if structured else dump(documents)
    return attributes


def _evaluation_event(turn: Turn, feedback: Feedback) -> dict[str, Any]:
    at = turn.started_at + timedelta(seconds=turn.latency_s)
    attributes = {
        "gen_ai.evaluation.name": feedback.name,
        "gen_ai.evaluation.score.value": feedback.score,
        "gen_ai.evaluation.score.label": feedback.label,
        "annotator_kind": feedback.annotator,
    }
    return {
        "timeUnixNano": nanos(at),
        "name": "gen_ai.evaluation.result",
        "attributes": key_values(attributes),
    }
