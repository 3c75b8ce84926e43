"""Write a whole sample: traces, suite, results, labels, and the truth to measure against."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any

from evalcov_pipeline.simulator.dialects import Dialect, spans_of
from evalcov_pipeline.simulator.evals import (
    SimulatedCase,
    bare,
    known_bad_results,
    run_results,
    write_suite,
)
from evalcov_pipeline.simulator.labels import label
from evalcov_pipeline.simulator.otlp import Resource, Span, dump, export
from evalcov_pipeline.simulator.rhythm import Calendar
from evalcov_pipeline.simulator.traffic import Turn, release_at, simulate_traffic

START = date(2026, 8, 31)
SWITCH = 0.6
"""Part of the span after which services write GenAI attributes; web starts a week earlier."""
CI_CASES = 16
"""Suite cases whose weekly run leaves traces in the same project."""


@dataclass(frozen=True)
class SampleFiles:
    """What was written."""

    folder: Path
    sessions: int
    turns: int
    spans: int
    cases: int
    bytes: int


def write_sample(
    out: Path,
    seed: int = 7,
    weeks: int = 10,
    start: date = START,
    sessions_per_day: float = 48.0,
) -> SampleFiles:
    """Simulate a span of traffic and everything around it, and write it under a folder.

    The same arguments give the same bytes.

    Args:
        out: folder; files of an earlier sample in it are replaced.
        seed: seed of every random stream.
        weeks: length of the span, >= 1.
        start: its first day, a Monday.
        sessions_per_day: mean sessions of an ordinary day.

    Raises:
        ValueError: a start that is not a Monday, or weeks < 1.
    """
    if start.weekday() != 0 or weeks < 1:
        raise ValueError("a sample spans whole weeks (at least one) and starts on a Monday")
    calendar = Calendar(start, weeks, sessions_per_day)
    traffic = list(simulate_traffic(calendar, seed))
    cases = write_suite(calendar, seed, frozenset(bare(turn.query) for turn in traffic))
    turns = traffic + list(_offline_turns(cases, calendar, seed))
    spans = _write_traces(out / "traces", turns, calendar, seed)
    labels = label(traffic, calendar, seed)
    _write(out / "evals/suite.jsonl.gz", (case.row for case in cases))
    _write(out / "results/weekly.jsonl.gz", run_results(cases, calendar, seed))
    _write(out / "results/known_bad.jsonl.gz", known_bad_results(cases, calendar, seed))
    _write(out / "annotations.jsonl.gz", labels.annotations)
    _write(out / "verdicts.jsonl.gz", labels.verdicts)
    _write(out / "incidents.jsonl", labels.incidents)
    _write(out / "truth/turns.jsonl.gz", (_truth(turn) for turn in turns))
    _write(out / "truth/pii.jsonl.gz", (row for turn in turns for row in _personal(turn)))
    _write(
        out / "truth/cases.jsonl.gz",
        ({"case_id": c.row["case_id"], "intent": c.intent.name} for c in cases),
    )
    return SampleFiles(
        folder=out,
        sessions=len({turn.session_id for turn in turns}),
        turns=len(turns),
        spans=spans,
        cases=len(cases),
        bytes=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
    )


def _offline_turns(cases: list[SimulatedCase], calendar: Calendar, seed: int) -> Iterator[Turn]:
    """Turns of eval runs and smoke tests, which are not production traffic."""
    for week in range(calendar.weeks):
        rng = Random(f"{seed}/offline/{week}")
        at = datetime.combine(calendar.start, time(11, 40), UTC) + timedelta(days=7 * week + 6)
        single = [c for c in cases if isinstance(c.row["input"], str) and c.created_at <= at]
        for i, case in enumerate(rng.sample(single, min(CI_CASES, len(single)))):
            turn = _offline_turn(case, at + timedelta(seconds=9 * i), calendar, rng)
            if i % 4 == 0:
                marks = {"experiment.id": f"exp-{at:%m%d}", "experiment.case": case.row["case_id"]}
                yield replace(turn, attributes=marks)
            else:
                yield replace(turn, environment="eval")
        for day in range(7):
            smoke = at - timedelta(days=6 - day, hours=4)
            yield replace(_offline_turn(single[day], smoke, calendar, rng), environment="test")


def _offline_turn(case: SimulatedCase, at: datetime, calendar: Calendar, rng: Random) -> Turn:
    return Turn(
        trace_id=f"{rng.getrandbits(128):032x}",
        session_id=f"ci-{rng.getrandbits(40):010x}",
        user_id="u-ci",
        started_at=at,
        latency_s=rng.lognormvariate(0.3, 0.3),
        query=case.row["input"],
        answer=case.row["expected"],
        intent=case.intent.name,
        release=release_at(calendar, at)[0],
        segment={"tier": "free", "locale": "en-GB", "channel": "web"},
    )


def _write_traces(folder: Path, turns: list[Turn], calendar: Calendar, seed: int) -> int:
    """Write a file of spans per week; a week's late feedback stays in its file."""
    switch = round(SWITCH * calendar.weeks)
    by_week: dict[int, list[tuple[Resource, Span]]] = {}
    for turn in turns:
        week = min(calendar.week(turn.started_at.date()), calendar.weeks - 1)
        early = week == switch - 1 and turn.segment["channel"] == "web"
        dialect: Dialect = "genai" if week >= switch or early else "openinference"
        resource = Resource(turn.environment, turn.release, dialect)
        sent = ((resource, span) for span in spans_of(turn, dialect))
        by_week.setdefault(week, []).extend(sent)
    for week, sent_in_week in sorted(by_week.items()):
        monday = calendar.start + timedelta(days=7 * week)
        lines = export(sent_in_week, Random(f"{seed}/export/{week}"))
        _write_lines(folder / f"week-{monday}.jsonl.gz", lines)
    return sum(map(len, by_week.values()))


def _truth(turn: Turn) -> dict[str, Any]:
    return {
        "trace_id": turn.trace_id,
        "session_id": turn.session_id,
        "intent": turn.intent,
        "kind": turn.kind,
        "is_follow_up": turn.kind == "follow_up",
        "is_rephrase": turn.kind == "rephrase",
        "is_regeneration": turn.kind == "regeneration",
        "is_friction": turn.kind == "friction",
        "failed": turn.failed,
        "outcome": turn.outcome,
        "production": turn.environment == "production" and not turn.attributes,
    }


def _personal(turn: Turn) -> Iterator[dict[str, Any]]:
    fields = {"query_text": turn.personal_query, "answer_text": turn.personal_answer}
    for name, planted in fields.items():
        for item in sorted(planted, key=lambda p: p.start):
            yield {
                "trace_id": turn.trace_id,
                "field": name,
                "start": item.start,
                "end": item.end,
                "kind": item.kind,
                "value": item.value,
            }


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    _write_lines(path, map(dump, rows))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, gzipped without a time stamp where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)
