"""Builders of OTLP JSON for tests: spans as small dicts, one conversation in four vocabularies."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NOON = datetime(2026, 9, 1, 12)
PRODUCTION = {"service.name": "shop", "deployment.environment.name": "production"}

Json = dict[str, Any]


def value(v: Any) -> Json:
    """An AnyValue; integers are strings, as OTLP JSON writes them."""
    match v:
        case bool():
            return {"boolValue": v}
        case int():
            return {"intValue": str(v)}
        case float():
            return {"doubleValue": v}
        case list():
            return {"arrayValue": {"values": [value(x) for x in v]}}
        case dict():
            return {"kvlistValue": {"values": attributes(v)}}
        case _:
            return {"stringValue": v}


def attributes(pairs: Json) -> list[Json]:
    return [{"key": k, "value": value(v)} for k, v in pairs.items()]


def nanos(at: datetime) -> str:
    return str(int(at.replace(tzinfo=UTC).timestamp()) * 10**9 + at.microsecond * 1000)


def trace(n: int) -> str:
    return f"{n:032x}"


def span(
    number: int,
    own: Json,
    *,
    of: int = 1,
    under: int | None = None,
    at: float = 0.0,
    lasts: float = 1.0,
    day: datetime = NOON,
    name: str = "step",
    **more: Any,
) -> Json:
    """Span `number` of trace `of` under span `under`, `at` seconds after noon (or `day`)."""
    start = day + timedelta(seconds=at)
    parent = {} if under is None else {"parentSpanId": f"{under:016x}"}
    return {
        "traceId": trace(of),
        "spanId": f"{number:016x}",
        **parent,
        "name": name,
        "startTimeUnixNano": nanos(start),
        "endTimeUnixNano": nanos(start + timedelta(seconds=lasts)),
        "attributes": attributes(own),
        **more,
    }


def line(spans: Iterable[Json], resource: Json | None = None) -> str:
    """One TracesData."""
    return json.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": attributes(resource or PRODUCTION)},
                    "scopeSpans": [{"spans": list(spans)}],
                }
            ]
        }
    )


def write(path: Path, *lines: str) -> Path:
    """A file of lines, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{text}\n" for text in lines).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def turn(number: int, query: str = "where is my parcel", **where: Any) -> list[Json]:
    """A production turn of three spans in OpenInference: agent, model call, tool."""
    first = number * 10
    where = {"of": number, **where}
    session = where.pop("session", f"s{number}")
    at = where.pop("at", 0.0)
    agent = {
        "openinference.span.kind": "AGENT",
        "input.value": query,
        "output.value": "on its way",
        "session.id": session,
    }
    call = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 10}
    tool = {"openinference.span.kind": "TOOL", "tool.name": "track"}
    return [
        span(first, agent, at=at, lasts=5, **where),
        span(first + 1, call, under=first, at=at + 1, **where),
        span(first + 2, tool, under=first, at=at + 2, **where),
    ]


def _messages(role: str, text: str) -> list[Json]:
    return [{"role": role, "parts": [{"type": "text", "content": text}]}]


SYSTEM, QUERY, ANSWER = "Be brief.", "Where is my parcel?", "It arrives on Friday."
DOCUMENTS = [{"id": "a", "score": 0.5}, {"id": "b", "score": 0.75}]


def conversation(vocabulary: str) -> list[Json]:
    """The same turn as each vocabulary records it: model call, tool, retrieval, model call."""
    agent, call, retrieval, tool = _VOCABULARIES[vocabulary]()
    return [
        span(1, agent, lasts=9, name="agent"),
        span(2, call, under=1, at=1, name="call"),
        span(3, retrieval, under=1, at=2, name="kb"),
        span(4, tool, under=1, at=3, name="track"),
        span(5, call, under=1, at=4, name="call"),
    ]


def _openinference() -> tuple[Json, Json, Json, Json]:
    call = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m-1",
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20,
        "llm.finish_reason": "stop",
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": SYSTEM,
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": QUERY,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWER,
    }
    retrieval = {"openinference.span.kind": "RETRIEVER"}
    for i, document in enumerate(DOCUMENTS):
        retrieval |= {f"retrieval.documents.{i}.document.{k}": v for k, v in document.items()}
    agent = {
        "openinference.span.kind": "AGENT",
        "input.value": QUERY,
        "output.value": ANSWER,
        "session.id": "s",
        "metadata": json.dumps({"tier": "pro", "user_id": "u1"}),
    }
    return agent, call, retrieval, {"openinference.span.kind": "TOOL", "tool.name": "track"}


def _genai(structured: bool) -> tuple[Json, Json, Json, Json]:
    def form(messages: Any) -> Any:
        return messages if structured else json.dumps(messages)

    said = {
        "gen_ai.input.messages": form(_messages("system", SYSTEM) + _messages("user", QUERY)),
        "gen_ai.output.messages": form(_messages("assistant", ANSWER)),
    }
    call = said | {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "m-1",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    agent = said | {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.conversation.id": "s",
        "user.id": "u1",
        "metadata.tier": "pro",
    }
    retrieval = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.documents": form(DOCUMENTS),
        "gen_ai.data_source.id": "kb",
    }
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "track"}
    return agent, call, retrieval, tool


def _genai_legacy() -> tuple[Json, Json, Json, Json]:
    agent, _, retrieval, tool = _genai(False)
    old = {
        "gen_ai.system": "acme",
        "gen_ai.response.model": "m-1",
        "gen_ai.usage.prompt_tokens": 100,
        "gen_ai.usage.completion_tokens": 20,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.prompt": json.dumps([{"role": "user", "content": QUERY}]),
        "gen_ai.completion": ANSWER,
    }
    bare = {k: v for k, v in agent.items() if "messages" not in k}
    return bare, old, retrieval, tool


def _openllmetry() -> tuple[Json, Json, Json, Json]:
    _, _, retrieval, tool = _genai(False)
    indexed = {
        "llm.request.type": "chat",
        "gen_ai.response.model": "m-1",
        "gen_ai.usage.prompt_tokens": 100,
        "gen_ai.usage.completion_tokens": 20,
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": SYSTEM,
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": QUERY,
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": ANSWER,
        "gen_ai.completion.0.finish_reason": "stop",
    }
    workflow = {
        "traceloop.span.kind": "workflow",
        "traceloop.association.properties.session_id": "s",
        "traceloop.association.properties.user_id": "u1",
        "traceloop.association.properties.tier": "pro",
        "traceloop.entity.input": json.dumps({"inputs": {"question": QUERY}}),
    }
    return workflow, indexed, retrieval, tool


_VOCABULARIES = {
    "openinference": _openinference,
    "genai": lambda: _genai(False),
    "genai_structured": lambda: _genai(True),
    "genai_legacy": _genai_legacy,
    "openllmetry": _openllmetry,
}
VOCABULARIES = tuple(_VOCABULARIES)
