"""Turns as spans, in OpenInference or in OpenTelemetry GenAI attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from evalcov_pipeline.simulator.otlp import (
    CLIENT,
    SERVICE,
    Span,
    dump,
    key_values,
    nanos,
    span_id,
)
from evalcov_pipeline.simulator.traffic import Feedback, Turn

Dialect = Literal["openinference", "genai"]
_USD_PER_TOKEN = (0.15e-6, 0.6e-6)
_SYSTEM_PROMPT = "You are Northlight's assistant. Be brief, correct and kind."


def spans_of(turn: Turn, dialect: Dialect) -> Iterator[Span]:
    """All spans of a turn, its late feedback included."""
    yield from _openinference(turn) if dialect == "openinference" else _genai(turn)
    for i, feedback in enumerate(f for f in turn.feedback if f.late):
        yield _late(turn, i, feedback)


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


def _openinference(turn: Turn) -> Iterator[Span]:
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
        "error.type": turn.error,
        **turn.attributes,
    }
    direct = [f for f in turn.feedback if not f.late]
    for i, feedback in enumerate(direct):
        root |= _annotation(i, feedback)
    yield Span(
        turn, 0, "assist.turn", 0.0, turn.latency_s, root, parent=None, failed=bool(turn.error)
    )
    for number, (what, name, offset, length) in enumerate(_steps(turn), 1):
        match what:
            case "retrieval":
                yield Span(
                    turn, number, f"search {name}", offset, length, _openinference_documents(turn)
                )
            case "tool":
                attributes = {
                    "openinference.span.kind": "TOOL",
                    "tool.name": name,
                    "input.value": dump({"user": turn.user_id}),
                    "input.mime_type": "application/json",
                }
                yield Span(turn, number, name, offset, length, attributes)
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
                    "error.type": turn.error,
                }
                if _variant(turn, 4) == 0:
                    llm |= _openinference_messages(turn)
                yield Span(turn, number, name, offset, length, llm, CLIENT, failed=bool(turn.error))


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


def _late(turn: Turn, i: int, feedback: Feedback) -> Span:
    """Feedback that came later, in a trace of its own, linked to the turn."""
    return Span(
        turn,
        number=0,
        name="feedback",
        offset=turn.latency_s + 40 + _variant(turn, 9000),
        length=0.05,
        attributes={"openinference.span.kind": "EVALUATOR", **_annotation(0, feedback)},
        parent=None,
        link=span_id(turn.trace_id, 0),
        trace_id=hashlib.sha256(f"{turn.trace_id}/late/{i}".encode()).hexdigest()[:32],
    )


def _genai(turn: Turn) -> Iterator[Span]:
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
        "error.type": turn.error,
        **turn.attributes,
        **({} if on_chat else content),
    }
    events = [_evaluation_event(turn, f) for f in turn.feedback if not f.late]
    yield Span(
        turn, 0, f"invoke_agent {SERVICE}", 0.0, turn.latency_s, root,
        parent=None, failed=bool(turn.error), events=events,
    )  # fmt: skip
    for number, (what, name, offset, length) in enumerate(_steps(turn), 1):
        match what:
            case "retrieval":
                attributes = _genai_documents(turn, structured)
                yield Span(turn, number, f"retrieval {name}", offset, length, attributes, CLIENT)
            case "tool":
                attributes = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": name,
                    "gen_ai.tool.type": "function",
                }
                yield Span(turn, number, f"execute_tool {name}", offset, length, attributes)
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
                yield Span(
                    turn,
                    number,
                    f"chat {requested}",
                    offset,
                    length,
                    chat,
                    CLIENT,
                    failed=bool(turn.error),
                )


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
