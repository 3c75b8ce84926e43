"""What was said: texts out of the many shapes in which chat messages are recorded.

Known shapes: plain text; OpenAI and LangChain messages; OpenTelemetry GenAI messages with parts;
and JSON of any of them, alone or inside an object such as ``{"messages": [...]}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_USER = frozenset({"user", "human"})
_ASSISTANT = frozenset({"assistant", "ai", "model"})
_INPUT_KEYS = (
    "messages", "input", "inputs", "query", "question", "prompt", "user_input", "user_message",
    "text", "content", "message", "kwargs", "args",
)  # fmt: skip
_OUTPUT_KEYS = (
    "messages", "output", "outputs", "answer", "response", "result", "completion", "choices",
    "text", "content", "message", "kwargs", "generations",
)  # fmt: skip
_TEXT_PARTS = ("text", "input_text", "output_text")
_MAX_DEPTH = 6


def asked(value: Any) -> str | None:
    """The last user message in a recorded input, or None where none is recognised."""
    return _text(value, _USER, _INPUT_KEYS, _MAX_DEPTH)


def answered(value: Any) -> str | None:
    """The last assistant message in a recorded output, or None where none is recognised."""
    return _text(value, _ASSISTANT, _OUTPUT_KEYS, _MAX_DEPTH)


def parsed(value: Any) -> Any:
    """JSON text as its value; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _text(value: Any, roles: frozenset[str], keys: tuple[str, ...], depth: int) -> str | None:
    value = parsed(value)
    if isinstance(value, str):
        return value if value.strip() else None
    if depth == 0 or not value:
        return None
    if isinstance(value, list):
        if any(_role(item) for item in value):
            messages = (item for item in reversed(value) if _role(item) in roles)
            return next((text for item in messages if (text := content(item))), None)
        texts = (_text(item, roles, keys, depth - 1) for item in reversed(value))
        return next((text for text in texts if text), None)
    if isinstance(value, Mapping):
        role = _role(value)
        if role:
            return content(value) if role in roles else None
        texts = (_text(value[key], roles, keys, depth - 1) for key in keys if key in value)
        return next((text for text in texts if text), None)
    return None


def _role(message: Any) -> str | None:
    """Role of a message in lower case; None for what is not a message."""
    if not isinstance(message, Mapping):
        return None
    message = _unwrapped(message)
    role = message.get("role") or message.get("message.role")
    if role is None and ("content" in message or "data" in message):
        role = message.get("type")
    return role.lower() if isinstance(role, str) else None


def content(message: Mapping[str, Any]) -> str | None:
    """Text of one message: its content or the text parts of it, one per line."""
    message = _unwrapped(message)
    for key in ("parts", "content", "message.content", "data"):
        if key in message and (text := _parts(message[key])):
            return text
    return None


def _unwrapped(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inner message of a choice, or of LangChain's serialised form."""
    for key in ("message", "kwargs"):
        inner = message.get(key)
        if isinstance(inner, Mapping) and ("content" in inner or "role" in inner):
            return inner
    return message


def _parts(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return None
    texts = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and part.get("type", "text") in _TEXT_PARTS:
            text = part.get("content", part.get("text"))
            if isinstance(text, str):
                texts.append(text)
    return "\n".join(texts) if any(text.strip() for text in texts) else None
