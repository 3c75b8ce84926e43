"""Schema-Guided Dialogue as production traffic and as multi-turn eval cases.

A dialogue is a session: per user turn a query, the tools that the system then called, whether one
of them failed, and its answer. Suites leave out one of three kinds of dialogue:

    switch   more than one service
    failure  a booking or purchase that failed
    long     at least 12 user turns
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from evalcov_pipeline.core.text.normalise import text_hash
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.simulator.otlp import dump, key_values, nanos, span_id

KINDS = ("switch", "failure", "long", "flights")
LONG = 12
"""User turns from which a dialogue is long."""
START = datetime(2026, 9, 28, tzinfo=UTC)
WEEKS = 5
WEEKEND = 0.5
"""Sessions of a day at the weekend, by those of a weekday."""
_INSTRUCTIONS = 400
"""Tokens of context before anything is said."""


@dataclass(frozen=True)
class Turn:
    """What a user asked, and what became of it; `failed` are tool calls that failed."""

    query: str
    answer: str
    tools: tuple[str, ...]
    failed: int

    @property
    def query_hash(self) -> str:
        return text_hash(self.query)


@dataclass(frozen=True)
class Dialogue:
    """A session; `outcome` is None where nothing was booked or bought."""

    name: str
    turns: tuple[Turn, ...]
    outcome: str | None
    kinds: frozenset[str]


def read_dialogues(path: Path) -> list[Dialogue]:
    """Dialogues with redacted texts, as a pipeline would keep them."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    said = [turn["text"] for row in rows for turn in row["turns"]]
    clean = iter(redactor(Settings().redaction)(said))
    return [_dialogue(row, [next(clean) for _ in row["turns"]]) for row in rows]


def _dialogue(row: dict, texts: Sequence[str]) -> Dialogue:
    """Users and system alternate, and a user begins."""
    replies = row["turns"][1::2]
    notices = [[act for act in reply["acts"] if act.startswith("NOTIFY")] for reply in replies]
    turns = tuple(
        Turn(query, answer, tuple(reply.get("tool_calls", ())), "NOTIFY_FAILURE" in notice)
        for query, answer, reply, notice in zip(
            texts[::2], texts[1::2], replies, notices, strict=True
        )
    )
    told = [act for notice in notices for act in notice]
    outcome = {"NOTIFY_SUCCESS": "success", "NOTIFY_FAILURE": "abandoned"}.get((told or [""])[-1])
    is_of = {
        "switch": len(row["services"]) > 1,
        "failure": "NOTIFY_FAILURE" in told,
        "long": len(turns) >= LONG,
        "flights": "Flights_3" in row["services"],
    }
    return Dialogue(
        row["dialogue_id"], turns, outcome, frozenset(kind for kind in KINDS if is_of[kind])
    )


def halves(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the dialogues that are traffic, and of those that authors write cases from."""
    order = np.random.default_rng([seed, 20]).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def reordered(dialogue: Dialogue, rng: np.random.Generator) -> Dialogue:
    """The same turns in another order: what is asked and called stays, the sequence does not."""
    turns = tuple(dialogue.turns[i] for i in rng.permutation(len(dialogue.turns)))
    return Dialogue(f"{dialogue.name}-reordered", turns, dialogue.outcome, dialogue.kinds)


def write_traffic(dialogues: Sequence[Dialogue], seed: int, folder: Path) -> datetime:
    """Write the sessions as OTLP JSON lines, one file a week; where the last week ends."""
    rng = np.random.default_rng([seed, 21])
    folder.mkdir(parents=True)
    days = np.arange(7 * WEEKS)
    volume = np.where(days % 7 >= 5, WEEKEND, 1.0)
    lines: list[list[str]] = [[] for _ in range(WEEKS)]
    for dialogue in dialogues:
        day = int(rng.choice(days, p=volume / volume.sum()))
        hour = float(np.clip(rng.normal(14, 4), 0, 23.4))
        lines[day // 7] += _traces(dialogue, START + timedelta(days=day, hours=hour), rng)
    for week, sent in enumerate(lines):
        rng.shuffle(sent)
        path = folder / f"week-{week}.jsonl"
        path.write_text("".join(f"{line}\n" for line in sent), encoding="utf-8")
    return (START + timedelta(weeks=WEEKS)).replace(tzinfo=None)


def _traces(dialogue: Dialogue, at: datetime, rng: np.random.Generator) -> Iterator[str]:
    """One trace per turn: an agent, its model call, and a span per tool call."""
    said = 0
    for number, turn in enumerate(dialogue.turns):
        trace = hashlib.sha256(f"{dialogue.name}/{number}".encode()).hexdigest()[:32]
        said += len(turn.query)
        last = number == len(dialogue.turns) - 1
        seconds = [float(rng.lognormal(-0.7, 0.5)) for _ in turn.tools]
        length = 0.8 + sum(seconds) + 0.004 * len(turn.answer)
        asked = {
            "openinference.span.kind": "AGENT",
            "session.id": dialogue.name,
            "input.value": turn.query,
            "output.value": turn.answer,
            "session.outcome": dialogue.outcome if last else None,
        }
        called = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "example-model",
            "llm.token_count.prompt": _INSTRUCTIONS + said // 4,
            "llm.token_count.completion": len(turn.answer) // 4,
            "llm.cost.total": 1e-6 * (_INSTRUCTIONS + said // 4 + len(turn.answer)),
        }
        spans = [_span(trace, 0, asked, at, length), _span(trace, 1, called, at, length)]
        began = at + timedelta(seconds=0.5)
        for tool, (name, wait) in enumerate(zip(turn.tools, seconds, strict=True)):
            attributes = {"openinference.span.kind": "TOOL", "tool.name": name}
            failed = tool >= len(turn.tools) - turn.failed
            spans.append(_span(trace, 2 + tool, attributes, began, wait, failed))
            began += timedelta(seconds=wait)
        service = key_values({"service.name": "schema-guided-assistant"})
        scopes = {"resource": {"attributes": service}, "scopeSpans": [{"spans": spans}]}
        yield dump({"resourceSpans": [scopes]})
        said += len(turn.answer)
        at += timedelta(seconds=length + float(rng.uniform(5, 60)))


def _span(trace, number, attributes, at, seconds, failed=False) -> dict:
    return {
        "traceId": trace,
        "spanId": span_id(trace, number),
        "parentSpanId": span_id(trace, 0) if number else "",
        "name": attributes.get("tool.name", attributes["openinference.span.kind"].lower()),
        "startTimeUnixNano": nanos(at),
        "endTimeUnixNano": nanos(at + timedelta(seconds=seconds)),
        "attributes": key_values(attributes),
        "status": {"code": 2 if failed else 1},
    }


def write_suite(dialogues: Sequence[Dialogue], path: Path) -> None:
    """Write dialogues as multi-turn eval cases that end with the last query."""
    with path.open("w", encoding="utf-8") as file:
        for dialogue in dialogues:
            file.write(json.dumps(as_case(dialogue)) + "\n")


def as_case(dialogue: Dialogue) -> dict:
    """A case: everything said before the last answer, and what that answer should call."""
    messages: list[dict] = []
    for turn in dialogue.turns:
        messages.append({"role": "user", "content": turn.query})
        reply: dict = {"role": "assistant", "content": turn.answer}
        if turn.tools:
            reply["tool_calls"] = list(turn.tools)
        messages.append(reply)
        for tool in range(len(turn.tools)):
            failed = tool >= len(turn.tools) - turn.failed
            messages.append({"role": "tool", "content": "", "failed": failed})
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    case = {
        "case_id": f"case-{dialogue.name}",
        "input": messages[: last + 1],
        "expected": dialogue.turns[-1].answer,
        "expected_tools": list(dialogue.turns[-1].tools),
    }
    return case | ({"outcome": dialogue.outcome} if dialogue.outcome else {})
