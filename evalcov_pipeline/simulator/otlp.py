"""Spans as OTLP JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any, NamedTuple

from evalcov_pipeline.simulator.traffic import Turn

SERVICE = "northlight-assist"
BATCH = 48
"""Spans in one exported line, at most."""
INTERNAL, CLIENT = 1, 3
"""Span kinds."""
_OK, _ERROR = 1, 2


class Resource(NamedTuple):
    """The process that sends spans."""

    environment: str
    release: str
    dialect: str


@dataclass
class Span:
    """A span before it is written; `offset` and `length` are seconds from the turn's start."""

    turn: Turn
    number: int
    name: str
    offset: float
    length: float
    attributes: dict[str, Any]
    kind: int = INTERNAL
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


def export(sent: Iterable[tuple[Resource, Span]], rng: Random) -> Iterator[str]:
    """TracesData lines: batches of spans, roughly in the order in which spans end.

    Args:
        sent: spans and who sends them.
        rng: delays of the exporters.
    """
    arrivals: list[tuple[datetime, Resource, Span]] = []
    for resource, span in sent:
        delay = rng.uniform(0, 20) if rng.random() > 0.01 else rng.uniform(60, 1800)
        arrivals.append((span.ended_at + timedelta(seconds=delay), resource, span))
    arrivals.sort(key=lambda item: (item[0], item[2].turn.trace_id, item[2].number))
    for _, group in groupby(arrivals, key=lambda item: f"{item[0]:%Y-%m-%dT%H}"):
        hour = list(group)
        for resource in sorted({item[1] for item in hour}):
            spans = [span for _, sender, span in hour if sender == resource]
            for i in range(0, len(spans), BATCH):
                yield dump(_traces_data(resource, spans[i : i + BATCH]))


def dump(value: Any) -> str:
    """Compact JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _traces_data(resource: Resource, spans: list[Span]) -> dict[str, Any]:
    attributes = {
        "service.name": SERVICE,
        "service.version": resource.release,
        "deployment.environment.name": resource.environment,
    }
    scope = {"name": f"northlight.{resource.dialect}", "version": "0.3.1"}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": key_values(attributes)},
                "scopeSpans": [{"scope": scope, "spans": [span.to_json() for span in spans]}],
            }
        ]
    }
