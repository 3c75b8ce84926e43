"""A week's sample from the lake: which text stands for a turn, strata, and no personal data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from evalcov_pipeline.cli.run import run_weeks
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.services.traffic.sampling import WeekSample, sample_week
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import EmbeddingSettings, SamplingSettings, Settings
from evalcov_pipeline.storage.lake import compact_day, days_pending
from evalcov_pipeline_tests.conftest import (
    FIRST_DAY,
    filled_once,
    import_rows,
    turns,
    write_jsonl,
)

AS_OF = FIRST_DAY + timedelta(days=7)


def unchanged(texts: Sequence[str]) -> list[str]:
    return list(texts)


def sample(home: Path, rows: list[dict[str, Any]], **sections: Any) -> WeekSample:
    settings = Settings(home=home, **sections)
    ingest_traces([write_jsonl(home / "in.jsonl", rows)], settings)
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    found = sample_week(settings, AS_OF, unchanged)
    assert found is not None
    return found


def turn(session: str, number: int, text: str, **fields: Any) -> dict[str, Any]:
    at = FIRST_DAY + timedelta(hours=12, minutes=number)
    return {
        "trace_id": f"{session}-{number}",
        "session_id": session,
        "started_at": at.isoformat() + "Z",
        "query_text": text,
        **fields,
    }


def test_a_follow_up_can_stand_with_the_query_before_it(tmp_path: Path) -> None:
    rows = [turn("s", 0, "weather in Rome?"), turn("s", 1, "and tomorrow?")]
    alone = sample(tmp_path / "a", rows)
    assert alone.turns["text"].to_list() == ["weather in Rome?", "and tomorrow?"]
    settings = EmbeddingSettings(text="query_with_previous_turn")
    joined = sample(tmp_path / "b", rows, embedding=settings)
    assert joined.turns["text"].to_list() == [
        "weather in Rome?",
        "weather in Rome? and tomorrow?",
    ]


def test_redaction_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ingest_traces([write_jsonl(tmp_path / "in.jsonl", [turn("s", 0, "hello")])], settings)
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    with pytest.raises(BadInput, match="no text is left"):
        sample_week(settings, AS_OF, lambda texts: [""] * len(texts))


def test_turn_index_counts_within_the_session_from_0(tmp_path: Path) -> None:
    rows = [turn(s, n, f"question {n}") for s in ("x", "y") for n in (2, 0, 1)]
    found = sample(tmp_path, rows).turns
    assert found.sort("session_id", "started_at")["turn_index"].to_list() == [0, 1, 2] * 2


def test_segments_enter_the_strata(tmp_path: Path) -> None:
    rows = [turn(f"s{i}", 0, f"q {i}", segment={"tier": tier}) for i, tier in enumerate("ab")]
    found = sample(tmp_path, rows, sampling=SamplingSettings(segments=("tier",)))
    assert set(found.turns["stratum"]) == {
        "2026-09-28/12-18h/tier=a",
        "2026-09-28/12-18h/tier=b",
    }


def test_days_and_dayparts_are_those_of_the_time_zone(tmp_path: Path) -> None:
    found = sample(tmp_path, [turn("s", 0, "hello")], timezone="Pacific/Auckland")
    assert found.turns["stratum"].to_list() == ["2026-09-29/00-06h"]


def test_turns_outside_the_window_are_left_out_of_a_drawn_session(tmp_path: Path) -> None:
    rows = [turn("s", 0, "inside"), turn("s", 60 * 24 * 9, "after the week")]
    assert sample(tmp_path, rows).turns["text"].to_list() == ["inside"]


def test_a_session_across_the_border_of_the_window_keeps_the_places_of_its_turns(
    tmp_path: Path,
) -> None:
    rows = [turn("s", minute, text) for minute, text in [(-60 * 24 * 40, "before"), (0, "inside")]]
    found = sample(tmp_path, rows).turns
    assert found.select("text", "turn_index").rows() == [("inside", 1)]


def test_personal_data_is_found_however_it_is_spelled(tmp_path: Path) -> None:
    hidden = ["mail jane.doe＠example.org", "card 4111\u200b1111 1111 1111", "\u200b10.20.30.40"]
    settings = Settings(home=tmp_path)
    rows = [turn(f"s{i}", 0, text) for i, text in enumerate(hidden)]
    ingest_traces([write_jsonl(tmp_path / "in.jsonl", rows)], settings)
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    found = sample_week(settings, AS_OF, redactor(settings.redaction))
    assert found is not None
    assert sorted(found.turns["text"]) == ["<IP>", "card <CARD>", "mail <EMAIL>"]


SECRETS = [
    "anna.meyer@example.com",
    "4111 1111 1111 1111",
    "+49 30 901820",
    "DE89370400440532013000",
]


@pytest.fixture(scope="module")
def published_with_personal_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = turns(weeks=2)
    for i, row in enumerate(rows):
        row["query_text"] += f", reach me at {SECRETS[i % len(SECRETS)]}"

    def fill(settings: Settings) -> None:
        import_rows(settings, "traces", rows, "traffic")
        import_rows(settings, "evals", [{"input": f"mail {SECRETS[0]}"}], "suite")
        run_weeks(settings, "weekly_coverage")

    return filled_once(tmp_path_factory, "personal-data", fill).home


def test_personal_data_reaches_no_published_table(
    published_with_personal_data: Path,
) -> None:
    with duckdb.connect(published_with_personal_data / "published.duckdb", read_only=True) as con:
        names = [name for (name,) in con.sql("SELECT table_name FROM duckdb_tables()").fetchall()]
        assert con.sql("SELECT count(*) FROM texts WHERE text LIKE '%<EMAIL>%'").fetchone() > (0,)
        for name in names:
            rows = con.sql(f"SELECT {name}::VARCHAR FROM {name}").fetchall()
            for secret in SECRETS:
                assert not any(secret in row for (row,) in rows), (name, secret)


def test_personal_data_of_users_reaches_no_event_that_the_ui_shows(
    published_with_personal_data: Path,
) -> None:
    storage = list((published_with_personal_data / "dagster").rglob("*.db"))
    assert storage
    for file in storage:
        content = file.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in content, file
