"""Banking77 as production traffic: six weeks of OTLP traces with OpenInference attributes.

Intents are drawn from a Zipf-like distribution that drifts from day to day, with a promotional
spike, in sessions of 1 to 4 turns. Texts kept for suites never occur.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings

START = datetime(2026, 9, 28)
WEEKS = 6
SESSIONS_PER_DAY = 190
SPIKE_DAY, SPIKE_FACTOR = 30, 4.0


@dataclass(frozen=True)
class Corpus:
    """Texts with their intents; the last 30 % of each intent are kept for suites."""

    texts: list[str]
    intents: np.ndarray
    for_suites: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Traffic:
    """What made the traffic: (days, intents) distribution of each day, and how much it was."""

    daily: np.ndarray
    days: list[datetime]
    sessions: int
    turns: int


def read_corpus(folder: Path) -> Corpus:
    rows = []
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(encoding="utf-8") as file:
            rows += [
                (" ".join(row["text"].split()), row["category"]) for row in csv.DictReader(file)
            ]
    redacted = redactor(Settings().redaction)([text for text, _ in rows])
    rows = sorted(dict(zip(redacted, [intent for _, intent in rows], strict=True)).items())
    names = sorted({intent for _, intent in rows})
    intents = np.array([names.index(intent) for _, intent in rows])
    rng = np.random.default_rng(77)
    for_suites = np.zeros(len(rows), bool)
    for intent in range(len(names)):
        members = rng.permutation(np.flatnonzero(intents == intent))
        for_suites[members[: round(0.3 * len(members))]] = True
    return Corpus([text for text, _ in rows], intents, for_suites, names)


def make_traffic(corpus: Corpus, seed: int, out: Path) -> Traffic:
    """Write six weeks of traces as OTLP JSON lines, one file a week."""
    rng = np.random.default_rng([seed, 1])
    k = len(corpus.names)
    base = np.log(1 / (rng.permutation(k) + 3.0))
    drift = rng.normal(0, 1.1, k)
    promoted = rng.choice(k, 3, replace=False)
    pool = [np.flatnonzero((corpus.intents == i) & ~corpus.for_suites) for i in range(k)]
    daily, days = [], []
    sessions = turns = 0
    out.mkdir(parents=True)
    for week in range(WEEKS):
        lines = []
        for weekday in range(7):
            number = 7 * week + weekday
            day = START + timedelta(days=number)
            logits = base + drift * number / (7 * WEEKS)
            p = np.exp(logits - logits.max())
            p /= p.sum()
            volume = SESSIONS_PER_DAY * (0.55 if weekday >= 5 else 1.0)
            if number == SPIKE_DAY:
                volume *= SPIKE_FACTOR
                promo = np.zeros(k)
                promo[promoted] = 1 / 3
                p = 0.25 * p + 0.75 * promo
            daily.append(p)
            days.append(day)
            volume = int(rng.poisson(volume))
            sessions += volume
            for session in range(volume):
                lines += _session(corpus, pool, p, day, f"{seed}-{number}-{session}", rng)
        turns += len(lines)
        rng.shuffle(lines)
        (out / f"week-{week}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Traffic(np.array(daily), days, sessions, turns)


def _session(corpus, pool, p, day, name, rng) -> list[str]:
    hour = float(np.clip(rng.normal(14, 4), 0, 23.4))
    at = day + timedelta(hours=hour)
    intent = rng.choice(len(p), p=p)
    lines = []
    for turn in range(min(4, rng.geometric(0.55))):
        if turn and rng.random() > 0.7:
            intent = rng.choice(len(p), p=p)
        text = corpus.texts[rng.choice(pool[intent])]
        lines.append(_trace(f"{name}-{turn}", name, at, text))
        at += timedelta(seconds=float(rng.uniform(20, 200)))
    return lines


def _trace(key: str, session: str, at: datetime, text: str) -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    start = int((at - datetime(1970, 1, 1)).total_seconds() * 1e9)

    def span(number: int, parent: str, kind: str, attributes: dict[str, str]) -> dict:
        named = {"openinference.span.kind": kind, "session.id": session, **attributes}
        return {
            "traceId": digest[:32],
            "spanId": digest[32 + 16 * number :][:16],
            "parentSpanId": parent,
            "name": kind.lower(),
            "startTimeUnixNano": str(start + number * 10**6),
            "endTimeUnixNano": str(start + 10**9),
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in named.items()],
        }

    root = span(0, "", "AGENT", {"input.value": text, "output.value": "Sure, let me look."})
    child = span(1, root["spanId"], "LLM", {"llm.model_name": "example-model"})
    resource = [{"key": "service.name", "value": {"stringValue": "bank-assistant"}}]
    return json.dumps(
        {
            "resourceSpans": [
                {"resource": {"attributes": resource}, "scopeSpans": [{"spans": [child, root]}]}
            ]
        }
    )
