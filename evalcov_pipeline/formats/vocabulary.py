"""The vocabulary of span attributes: OpenInference and OpenTelemetry GenAI, current and legacy.

One table says which attribute names mean which canonical column, newest name first. A span may mix
vocabularies: two instrumentations often describe the same call. What names alone decide is worked
out once per set of names, since all spans of an instrumentation share theirs.

Sources: OpenInference semantic conventions 0.1.32; OpenTelemetry GenAI conventions (development),
with the names they replaced; OpenLLMetry's indexed messages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache, wraps
from typing import NamedTuple, TypeVar

Names = tuple[str, ...]
R = TypeVar("R")

_TEXTS: Mapping[str, Names] = {
    "session_id": (
        "session.id", "gen_ai.conversation.id", "langfuse.session.id",
        "traceloop.association.properties.session_id", "session_id", "conversation_id", "thread_id",
    ),
    "user_id": (
        "user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id",
        "user_id", "metadata.user_id",
    ),
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
_NUMBERS: Mapping[str, Names] = {
    "input_tokens": (
        "llm.token_count.prompt", "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens",
    ),
    "output_tokens": (
        "llm.token_count.completion", "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
    ),
    "cost_usd": (
        "llm.cost.total", "gen_ai.usage.cost", "gen_ai.usage.cost_usd", "gen_ai.usage.total_cost",
        "gen_ai.cost.total",
    ),
}  # fmt: skip
_INPUTS: Names = (
    "gen_ai.input.messages", "gen_ai.prompt", "traceloop.entity.input",
    "langfuse.observation.input", "langfuse.trace.input",
)  # fmt: skip
_OUTPUTS: Names = (
    "gen_ai.output.messages", "gen_ai.completion", "traceloop.entity.output",
    "langfuse.observation.output", "langfuse.trace.output",
)  # fmt: skip
_JSON_MESSAGES = "gen_ai.prompt."
_INPUT_MESSAGES: Names = ("llm.input_messages.", _JSON_MESSAGES)
_OUTPUT_MESSAGES: Names = ("llm.output_messages.", "gen_ai.completion.")
_SEGMENTS: Names = (
    "metadata.", "segment.", "langfuse.trace.metadata.", "traceloop.association.properties.",
)  # fmt: skip
_ANNOTATIONS = frozenset({"annotations", "evaluations"})
_REMEMBERED = 4096
_WIDEST = 500


class MessagePart(NamedTuple):
    """An attribute that holds one field of a message.

    Attributes:
        attribute: its name.
        message: number of the message.
        field: role or content; "parts" for one text among several; "" for what is not read.
        is_json: whether its value may be JSON.
    """

    attribute: str
    message: int
    field: str
    is_json: bool


class Said(NamedTuple):
    """Where a span keeps what was asked, or what was answered.

    Attributes:
        parts: attributes that messages were flattened into, by message.
        value: attribute of the whole text or of JSON, whichever its MIME type says.
        mime_type: attribute of that type.
        whole: other attributes that hold everything at once, best first.
    """

    parts: tuple[MessagePart, ...]
    value: str
    mime_type: str
    whole: Names


class Layout(NamedTuple):
    """Which attributes of a span, or of its resource, tell what.

    Attributes:
        texts: canonical column and the attribute of span or resource that tells it.
        numbers: the same for columns that only model calls and turns have.
        segments: key of a segment and the attribute that tells it.
        annotations: for each annotation its fields and the attributes that tell them.
        asked: where the query is.
        answered: where the answer is.
    """

    texts: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, str], ...]
    segments: tuple[tuple[str, str], ...]
    annotations: tuple[Mapping[str, str], ...]
    asked: Said
    answered: Said


def remembered(function: Callable[..., R]) -> Callable[..., R]:
    """Remember what a function of names returns; not for spans so wide that it would cost much."""
    known = lru_cache(_REMEMBERED)(function)

    @wraps(function)
    def answer(*names: Names) -> R:
        return (known if sum(map(len, names)) <= _WIDEST else function)(*names)

    return answer


@remembered
def layout(own: Names, resource: Names) -> Layout:
    """The layout of a span with certain attributes.

    Args:
        own: names of the attributes of the span.
        resource: names of those of its resource.
    """
    both = {*own, *resource}
    inputs, outputs = (tuple(n for n in names if n in own) for names in (_INPUTS, _OUTPUTS))
    return Layout(
        texts=_told(_TEXTS, both),
        numbers=_told(_NUMBERS, both),
        segments=tuple(_segments(own)),
        annotations=_annotations(own),
        asked=Said(_parts(own, _INPUT_MESSAGES), "input.value", "input.mime_type", inputs),
        answered=Said(_parts(own, _OUTPUT_MESSAGES), "output.value", "output.mime_type", outputs),
    )


@lru_cache(_REMEMBERED)
def is_personal(key: str) -> bool:
    """Whether a metadata key names an individual or a request, not a segment."""
    key = key.lower()
    return key.endswith(("id", "email", "name", "phone", "outcome")) or key in ("user", "ip")


def _told(table: Mapping[str, Names], given: Collection[str]) -> tuple[tuple[str, str], ...]:
    best = ((column, next((n for n in names if n in given), "")) for column, names in table.items())
    return tuple((column, name) for column, name in best if name)


def _segments(own: Names) -> Iterable[tuple[str, str]]:
    for name in own:
        if name.startswith(_SEGMENTS):
            yield name.removeprefix(next(p for p in _SEGMENTS if name.startswith(p))), name


def _annotations(own: Names) -> tuple[Mapping[str, str], ...]:
    """Annotation attributes, whose two spellings mean the same, of span or trace."""
    messages: dict[tuple[str, str], dict[str, str]] = {}
    for name in own:
        kind, *rest = name.removeprefix("trace.").split(".", 3)
        if kind in _ANNOTATIONS and len(rest) == 3:
            number, _, field = rest
            messages.setdefault((kind, number), {})[field] = name
    return tuple(messages.values())


def _parts(own: Names, prefixes: Names) -> tuple[MessagePart, ...]:
    """Parts of messages under the first of the prefixes that has any, by message."""
    for prefix in prefixes:
        parts = []
        for name in own:
            number, _, rest = name.removeprefix(prefix).partition(".")
            if name.startswith(prefix) and number.isdecimal():
                is_json = prefix == _JSON_MESSAGES
                parts.append(MessagePart(name, int(number), _message_field(rest), is_json))
        if parts:
            return tuple(sorted(parts, key=lambda part: part.message))
    return ()


def _message_field(rest: str) -> str:
    field = rest.removeprefix("message.")
    if field.startswith("contents.") and field.endswith("message_content.text"):
        return "parts"
    return field if field in ("role", "content") else ""
