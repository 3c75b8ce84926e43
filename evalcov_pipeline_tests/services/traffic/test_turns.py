"""Turns read from the lake: their order, their place in their session, damage named."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.traffic.turns import last_turns_of_traces, turns_of_sessions
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import compact_day, days_pending, lake_connection
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import FIRST_DAY, import_rows

NOON = FIRST_DAY + timedelta(hours=12)


def turn(session: str, trace: str, at: datetime, query: str, **fields: Any) -> dict[str, Any]:
    return {
        "trace_id": trace, "session_id": session, "query_text": query,
        "started_at": at.isoformat() + "Z", **fields,
    }  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three sessions over three days, two of them interleaved, two turns at the same instant."""
    settings = Settings(home=tmp_path_factory.mktemp("turns") / "home")
    hours = [("t5", 30, "late"), ("t1", 0, "first"), ("t4", 1, "b"), ("t3", 1, "a")]
    rows = [turn("s", name, NOON + timedelta(hours=hour), text) for name, hour, text in hours]
    rows += [turn("u", f"u{n}", NOON + timedelta(minutes=n), f"u {n}") for n in range(3)]
    rows += [turn("v", "alone", NOON, "one turn")]
    import_rows(settings, "traces", rows, "in")
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    return settings


def sessions(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"source": "generic", "session_id": names})


def of(settings: Settings, *names: str, **within: datetime) -> list[tuple[str, str, int]]:
    turns = turns_of_sessions(settings.lake, sessions(*names), **within)
    return turns.select("session_id", "trace_id", "turn_index").rows()


def test_turns_at_the_same_instant_are_ordered_by_their_trace(settings: Settings) -> None:
    assert of(settings, "s") == [("s", "t1", 0), ("s", "t3", 1), ("s", "t4", 2), ("s", "t5", 3)]


def test_a_turn_keeps_its_place_where_earlier_ones_are_not_read(settings: Settings) -> None:
    window = {"start": NOON + timedelta(hours=1), "end": NOON + timedelta(hours=31)}
    assert of(settings, "s", "u", **window) == [("s", "t3", 1), ("s", "t4", 2), ("s", "t5", 3)]


def test_a_session_asked_for_twice_is_read_once(settings: Settings) -> None:
    assert of(settings, "u", "u") == of(settings, "u") == [("u", f"u{n}", n) for n in range(3)]


def test_the_reader_and_the_view_number_turns_alike(settings: Settings) -> None:
    with lake_connection(settings.lake) as con:
        view = frame(
            con,
            "SELECT source, session_id, started_at, trace_id, span_id, turn_index, query_text"
            " FROM traces ORDER BY source, session_id, turn_index",
        )
    read = turns_of_sessions(settings.lake, view, ["query_text"])
    assert_frame_equal(read.select(view.columns), view)


def test_columns_may_be_computed_while_they_are_read(settings: Settings) -> None:
    with lake_connection(settings.lake) as con:
        known = frame(con, "SELECT source, session_id FROM turns")
    length = pl.col("query_text").str.len_chars().alias("length")
    turns = turns_of_sessions(settings.lake, known, [length])
    assert turns.filter(trace_id="alone")["length"].to_list() == [8]


def test_the_last_turn_of_a_trace_has_its_place_in_the_whole_session(settings: Settings) -> None:
    turns = last_turns_of_traces(settings.lake, ["u1", "t5", "unknown"])
    assert turns.select("trace_id", "turn_index", "query_text").rows() == [
        ("t5", 3, "late"),
        ("u1", 1, "u 1"),
    ]


def test_no_trace_has_no_last_turn(settings: Settings) -> None:
    assert last_turns_of_traces(settings.lake, []).is_empty()


def test_a_damaged_day_is_named(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    import_rows(settings, "traces", [turn("s", "t1", NOON, "hello")], "in")
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    (file,) = (settings.lake / "traces").rglob("*.parquet")
    file.write_bytes(b"not parquet")
    with pytest.raises(BadInput, match="damaged") as error:
        turns_of_sessions(settings.lake, sessions("s"))
    assert str(file) in str(error.value)
