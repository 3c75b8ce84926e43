"""The lake: staging, compaction by day, the view of turns."""

from __future__ import annotations

import json
import random
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import (
    DayReport,
    compact_day,
    create_traces_view,
    days_pending,
    lake_connection,
    traffic_span,
)
from evalcov_pipeline_tests.otlp_lines import NOON, line, span, trace, turn, write

SEPT_1, SEPT_2, SEPT_3 = (date(2026, 9, day) for day in (1, 2, 3))
MIDNIGHT = datetime(2026, 9, 2)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def load(settings: Settings, *lines: str, name: str = "t.jsonl") -> list[DayReport]:
    """Import the lines as one file and compact what that changed."""
    ingest_traces([write(settings.home / "in" / name, *lines)], settings)
    return [compact_day(settings.lake, day) for day in days_pending(settings.lake)]


def traces(settings: Settings, query: str = "SELECT * FROM traces") -> list[dict[str, Any]]:
    with duckdb.connect() as con:
        create_traces_view(con, settings.lake)
        return con.sql(query).pl().to_dicts()


def lake_files(settings: Settings) -> dict[str, bytes]:
    root = settings.lake / "traces"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.parquet")}


def feedback(of: int, day: datetime, name: str = "thumbs") -> dict[str, Any]:
    judge = {
        "openinference.span.kind": "EVALUATOR",
        "annotations.0.annotation.name": name,
        "annotations.0.annotation.score": 1,
    }
    return span(1, judge, of=900 + of, day=day, links=[{"traceId": trace(of)}])


def test_any_order_and_any_split_over_files_give_the_same_bytes(tmp_path: Path) -> None:
    spans = [s for n in range(1, 6) for s in turn(n, at=n * 20_000)] + [feedback(2, MIDNIGHT)]
    homes = [Settings(home=tmp_path / name) for name in ("whole", "split", "late")]
    load(homes[0], line(spans))
    lines = [line([s]) for s in reversed(spans)]
    ingest_traces(
        [write(homes[1].home / "in" / f"{i}.jsonl", *lines[i::4]) for i in range(4)], homes[1]
    )
    for day in days_pending(homes[1].lake):
        compact_day(homes[1].lake, day)
    for i in range(4):
        load(homes[2], *lines[i::4], name=f"{i}.jsonl")
    whole, split, late = map(lake_files, homes)
    assert len(whole) == 2
    assert whole == split == late


def test_compacting_again_changes_nothing(settings: Settings) -> None:
    (first,) = load(settings, line(turn(1)))
    again = compact_day(settings.lake, SEPT_1)
    assert (first.turns, first.sessions, first.changed) == (1, 1, True)
    assert (again.turns, again.sessions, again.changed) == (1, 1, False)


def test_a_trace_across_midnight_is_one_turn_of_the_day_it_began(settings: Settings) -> None:
    before = 12 * 3600 - 1.5
    reports = load(settings, line(turn(1, at=before)), line(turn(2, at=before + 60)))
    assert [(r.day, r.turns) for r in reports] == [(SEPT_1, 1), (SEPT_2, 1)]
    first, second = traces(settings)
    assert first["tool_calls"] == second["tool_calls"] == ["track"]


def test_a_late_child_updates_only_the_day_of_its_turn(settings: Settings) -> None:
    root, call, tool = turn(1, at=12 * 3600 - 1.5)
    other = turn(2, day=NOON + timedelta(days=1))
    third = turn(3, day=NOON + timedelta(days=2))
    load(settings, line([root]), line(other), line(third))
    before = lake_files(settings)
    reports = load(settings, line([call, tool]), name="late.jsonl")
    after = lake_files(settings)
    assert [r.day for r in reports] == [SEPT_1, SEPT_2]
    assert {name for name in after if after[name] != before[name]} == {
        f"date={SEPT_1}/part-0.parquet"
    }
    assert traces(settings, f"FROM traces WHERE trace_id = '{trace(1)}'")[0]["tool_calls"] == [
        "track"
    ]


def test_late_feedback_updates_only_the_day_of_its_turn(settings: Settings) -> None:
    load(settings, line(turn(1)), line(turn(2, day=NOON + timedelta(days=1))))
    ten_days_later = NOON + timedelta(days=10)
    reports = load(settings, line([feedback(1, ten_days_later)]), name="late.jsonl")
    changed = [r.day for r in reports if r.changed]
    assert changed == [SEPT_1]
    by_trace = {row["trace_id"]: row["feedback"] for row in traces(settings)}
    assert [f["name"] for f in by_trace[trace(1)]] == ["thumbs"]
    assert by_trace[trace(2)] == []


def test_feedback_that_comes_before_its_turn_waits_for_it(settings: Settings) -> None:
    load(settings, line([feedback(1, NOON)]))
    load(settings, line(turn(1)), name="later.jsonl")
    assert [len(row["feedback"]) for row in traces(settings)] == [1]


def test_a_root_that_comes_late_takes_its_turn_back_to_its_day(settings: Settings) -> None:
    agent, call, tool = turn(1, at=12 * 3600 - 0.5)
    call["attributes"] += [{"key": "input.value", "value": {"stringValue": "guess"}}]
    load(settings, line([call, tool]))
    assert [row["query_text"] for row in traces(settings)] == ["guess"]
    load(settings, line([agent]), name="root.jsonl")
    assert [row["query_text"] for row in traces(settings)] == ["where is my parcel"]
    assert list(lake_files(settings)) == [f"date={SEPT_1}/part-0.parquet"]


def test_sessions_are_rebuilt_across_files_days_and_midnight(settings: Settings) -> None:
    load(settings, line(turn(2, "b", session="s", at=12 * 3600 + 5)))
    load(settings, line(turn(1, "a", session="s", at=12 * 3600 - 5)), name="2.jsonl")
    load(settings, line(turn(3, "c", session="s", day=datetime(2026, 9, 3))), name="3.jsonl")
    load(settings, line(turn(4, "d", session="t")), name="4.jsonl")
    rows = traces(settings, "SELECT session_id, turn_index, query_text FROM traces ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [
        ("s", 0, "a"), ("s", 1, "b"), ("s", 2, "c"), ("t", 0, "d"),
    ]  # fmt: skip


def places(settings: Settings) -> list[tuple[str, str, int, str]]:
    """Source, session, place and query of every turn."""
    columns = "source, session_id, turn_index, query_text"
    return [
        tuple(row.values())
        for row in traces(settings, f"SELECT {columns} FROM traces ORDER BY ALL")
    ]


def test_a_trace_without_a_session_is_its_own_and_may_have_several_turns(
    settings: Settings,
) -> None:
    first, second, alone = (
        span(n, {"input.value": query, "session.id": ""}, of=of, at=n)
        for n, query, of in [(1, "a", 1), (2, "b", 1), (3, "c", 2)]
    )
    load(settings, line([second, alone]))
    load(settings, line([first]), name="late.jsonl")
    assert places(settings) == [
        ("otlp", trace(1), 0, "a"), ("otlp", trace(1), 1, "b"), ("otlp", trace(2), 0, "c"),
    ]  # fmt: skip


def test_a_turn_that_comes_late_moves_those_after_it(settings: Settings) -> None:
    late = turn(2, "b", session="s", at=12 * 3600)
    load(settings, line(turn(1, "a", session="s")), line(turn(3, "c", session="s", at=86_400)))
    assert places(settings) == [("otlp", "s", 0, "a"), ("otlp", "s", 1, "c")]
    load(settings, line(late), name="late.jsonl")
    assert [row[2:] for row in places(settings)] == [(0, "a"), (1, "b"), (2, "c")]


def test_sources_that_share_ids_share_neither_turns_nor_sessions(settings: Settings) -> None:
    for source, query in [("desk", "a"), ("phone", "b")]:
        lines = line(turn(1, query, session="s")), line(turn(2, query * 2, session="s", at=60))
        path = write(settings.home / "in" / f"{source}.jsonl", *lines)
        assert ingest_traces([path], settings, source=source).duplicate == 0
    assert [compact_day(settings.lake, day).sessions for day in days_pending(settings.lake)] == [2]
    assert places(settings) == [
        ("desk", "s", 0, "a"), ("desk", "s", 1, "aa"),
        ("phone", "s", 0, "b"), ("phone", "s", 1, "bb"),
    ]  # fmt: skip
    keys = traces(settings, "SELECT DISTINCT source, session_key FROM traces")
    assert len({row["session_key"] for row in keys}) == len(keys) == 2


def test_a_session_of_10_000_turns_across_midnight_is_whole_whatever_their_order(
    settings: Settings,
) -> None:
    n = 10_000
    rows = [
        {
            "session_id": "s",
            "started_at": (NOON + timedelta(seconds=10 * i)).isoformat(),
            "query_text": f"{i}",
            "tool_calls": ["f"] * (i % 3),
            "tool_failures": i % 2,
        }
        for i in random.Random(3).sample(range(n), n)
    ]
    reports = load(settings, *map(json.dumps, rows))
    assert [r.turns for r in reports] == [4320, 5680]
    told = traces(
        settings,
        "SELECT count(*) AS turns, count(DISTINCT session_id) AS sessions,"
        " bool_and(query_text = turn_index::VARCHAR) AS in_order, count(outcome) AS outcomes,"
        " sum(len(tool_calls)) AS tools, sum(tool_failures) AS failures FROM traces",
    )
    assert told == [
        {
            "turns": n,
            "sessions": 1,
            "in_order": True,
            "outcomes": 0,
            "tools": 9999,
            "failures": 5000,
        }
    ]


def test_set_aside_turns_are_counted_and_kept_out(settings: Settings) -> None:
    agent, call, tool = turn(2)
    call["attributes"] += [{"key": "experiment.id", "value": {"stringValue": "x"}}]
    (report,) = load(settings, line(turn(1)), line([agent, call, tool]))
    assert (report.turns, report.set_aside) == (1, 1)
    assert [row["trace_id"] for row in traces(settings)] == [trace(1)]


def test_a_day_without_turns_has_no_file(settings: Settings) -> None:
    report = compact_day(settings.lake, SEPT_3)
    assert (report.turns, report.changed) == (0, False)
    load(settings, line(turn(1)))
    (settings.lake / "staging" / f"date={SEPT_1}").rename(settings.home / "gone")
    assert compact_day(settings.lake, SEPT_1).changed
    assert lake_files(settings) == {}


def test_the_view_of_an_empty_lake_has_the_columns_and_types_of_a_full_one(
    settings: Settings,
) -> None:
    described = "SELECT column_name, column_type FROM (DESCRIBE traces)"
    empty = traces(settings, described)
    assert traces(settings) == []
    load(settings, line(turn(1)))
    assert traces(settings, described) == empty
    types = {row["column_name"]: row["column_type"] for row in empty}
    assert types["started_at"] == "TIMESTAMP"
    assert types["segment"] == "MAP(VARCHAR, VARCHAR)"


def test_a_day_that_another_version_wrote_is_named_and_compacted_anew(settings: Settings) -> None:
    load(settings, line(turn(1)))
    (day,) = (settings.lake / "traces").rglob("*.parquet")
    written = day.read_bytes()
    pl.read_parquet(day).drop("session_key").write_parquet(day)
    with (
        pytest.raises(BadInput, match="another version") as said,
        lake_connection(settings.lake) as con,
    ):
        con.sql("SELECT session_key FROM turns").fetchall()
    assert str(day) in str(said.value)
    assert [compact_day(settings.lake, d).changed for d in days_pending(settings.lake)] == [True]
    assert day.read_bytes() == written


def test_a_lake_from_before_a_column_was_known_is_compacted_anew(settings: Settings) -> None:
    load(settings, line(turn(1)), line(turn(2, day=NOON + timedelta(days=1))))
    written = lake_files(settings)
    for file in settings.lake.rglob("*.parquet"):
        pl.read_parquet(file).drop("tool_failures").write_parquet(file)
    with pytest.raises(BadInput, match="2 such days are compacted anew"):
        traffic_span(settings.lake)
    assert days_pending(settings.lake) == [SEPT_1, SEPT_2]
    late = [*turn(1, at=60, of=3), feedback(2, NOON)]
    assert [r.turns for r in load(settings, line(late), name="late.jsonl")] == [2, 1]
    assert lake_files(settings).keys() == written.keys()
    assert {row["tool_failures"] for row in traces(settings)} == {0}
