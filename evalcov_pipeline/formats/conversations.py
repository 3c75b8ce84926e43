"""Conversations of eval cases: the messages of several vendors, made one.

A canonical message is `{"role", "content"}`, with `tool_calls` (names, in order) where it called
tools, and `failed` (true) on a message of role `tool` that reports an error.

Known are the messages of OpenAI and LangChain (`tool_calls`, `function_call`, role `tool`), of
Anthropic (parts `tool_use` and `tool_result`) and of OpenTelemetry GenAI (parts `tool_call` and
`tool_call_response`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.lines import Unreadable
from evalcov_pipeline.formats.messages import content

Message = dict[str, Any]

_TOOL_ROLES = ("tool", "function")
_CALLS = ("tool_use", "server_tool_use", "tool_call")
_RESULTS = ("tool_result", "tool_call_response")


def is_conversation(value: Any) -> bool:
    """Whether a value, such as an input's parsed JSON, is read as messages, not as a text."""
    return isinstance(value, list) and bool(value) and _is_message(value[0])


def read_conversation(value: Any) -> list[Message]:
    """Canonical messages.

    A result that no message before it called for is a call itself: its message has `tool_calls`.
    What is canonical already stays as it is.

    Raises:
        Unreadable: something is no message, or its tool calls are no calls.
    """
    if not (isinstance(value, list) and value and all(map(_is_message, value))):
        raise Unreadable("is neither text nor a list of {role, content}")
    return list(_canonical(value))


def calls_in_words(message: Mapping[str, Any]) -> str:
    """What a canonical message called and whether a tool failed; empty where there is nothing."""
    called = message.get("tool_calls")
    told = [f"called: {', '.join(map(str, called))}"] if called else []
    return "; ".join(told + ["failed"] * bool(message.get("failed")))


def _is_message(value: Any) -> bool:
    """A role, and content as text or as parts; an assistant that only called tools has none."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("role"), str)
        and not {"content", "parts", "tool_calls", "function_call"}.isdisjoint(value)
        and isinstance(value.get("content"), (str, list, type(None)))
        and isinstance(value.get("parts"), (list, type(None)))
    )


def _canonical(messages: list[Mapping[str, Any]]) -> Iterator[Message]:
    awaited = 0
    for message in messages:
        is_tool = message["role"] in _TOOL_ROLES
        results = _parts(message, _RESULTS) or ([message] if is_tool else [])
        for result in results:
            called = _calls(result) or ([] if awaited else [fields.tool_name(result)])
            awaited += len(called) - 1
            failed = {"failed": True} if _failed(result) else {}
            yield _message("tool", _result_text(result), called) | failed
        text = content(message) or ""
        if not (is_tool or (results and not text)):
            called = _calls(message)
            awaited = len(called) + (0 if message["role"] == "user" else awaited)
            yield _message(message["role"], text, called)


def _message(role: str, text: str, called: list[str]) -> Message:
    message = {"role": role, "content": fields.bounded(text)}
    return message | ({"tool_calls": called} if called else {})


def _calls(message: Mapping[str, Any]) -> list[str]:
    """Tools that a message calls; calls that stand in its parts too count once."""
    if stated := message.get("tool_calls"):
        try:
            return fields.tool_names(stated)
        except Unreadable as error:
            raise Unreadable(f"has tool_calls: {fields.raw(stated)[:80]} {error}") from error
    if (function := message.get("function_call")) is not None:
        return [fields.tool_name(function)]
    return [fields.tool_name(part) for part in _parts(message, _CALLS)]


def _parts(message: Mapping[str, Any], types: tuple[str, ...]) -> list[Mapping[str, Any]]:
    parts = message.get("parts") or message.get("content")
    items = parts if isinstance(parts, list) else []
    return [part for part in items if isinstance(part, Mapping) and part.get("type") in types]


def _failed(result: Mapping[str, Any]) -> bool:
    return (
        result.get("status") == "error"
        or result.get("is_error") is True
        or result.get("failed") is True
    )


def _result_text(result: Mapping[str, Any]) -> str:
    """What a tool gave back; structured values become JSON."""
    given = result.get("response", result.get("result"))
    text = content(result) or ("" if given is None else fields.content(given))
    return text if text.strip() else ""
