"""Importing files of traces."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.imports.files import IngestReport, input_files
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.settings import ProductionSettings, Settings
from evalcov_pipeline.storage.lake import compact_day, days_pending
from evalcov_pipeline_tests.otlp_lines import line, span, turn, write

SEPT_1 = date(2026, 9, 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def snapshot(home: Path) -> dict[str, bytes]:
    files = (p for p in home.rglob("*") if p.is_file() and p.name != "lock")
    return {str(p.relative_to(home)): p.read_bytes() for p in files}


def test_an_import_counts_what_it_did(settings: Settings, tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl",
        line(turn(1)),
        line([span(7, {"experiment.id": "x"}, of=2)]),
        line(turn(1)[:1]),
        "{broken",
    )
    assert ingest_traces([path], settings) == IngestReport(
        files=1, accepted=4, duplicate=1, rejected=1, set_aside=1, days=(SEPT_1,)
    )


def test_importing_twice_changes_nothing_whatever_the_name(
    settings: Settings, tmp_path: Path
) -> None:
    first = write(tmp_path / "a.jsonl", line(turn(1)), "{broken")
    second = write(tmp_path / "b.jsonl", line(turn(1)), "{broken")
    ingest_traces([first], settings)
    compact_day(settings.lake, SEPT_1)
    before = snapshot(settings.home)
    report = ingest_traces([second, first], settings)
    assert snapshot(settings.home) == before
    assert report == IngestReport(
        files=2, accepted=0, duplicate=6, rejected=2, set_aside=0, days=()
    )


def test_the_same_spans_in_another_file_are_duplicates(settings: Settings, tmp_path: Path) -> None:
    ingest_traces([write(tmp_path / "a.jsonl", line(turn(1)))], settings)
    overlap = write(tmp_path / "b.jsonl", line(turn(1)), line(turn(2)))
    report = ingest_traces([overlap], settings)
    assert (report.accepted, report.duplicate) == (3, 3)
    assert compact_day(settings.lake, SEPT_1).turns == 2


def test_rejected_rows_lie_in_quarantine_with_file_line_and_reason(
    settings: Settings, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.jsonl", line(turn(1)), "{broken", "[]")
    ingest_traces([path], settings)
    (kept,) = settings.quarantine.glob("*.jsonl")
    rows = [json.loads(text) for text in kept.read_text().splitlines()]
    assert kept.name.startswith("t.jsonl.")
    assert [(r["file"], r["line"], r["raw"]) for r in rows] == [
        (str(path), 2, "{broken"),
        (str(path), 3, "[]"),
    ]
    assert rows[1]["reason"] == "not a JSON object"


def test_a_file_that_breaks_off_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl.gz", *(line(turn(n)) for n in range(1, 50)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadInput, match="cannot read"):
        ingest_traces([path], settings)
    assert snapshot(settings.home) == {}
    assert days_pending(settings.lake) == []


def test_other_options_replace_the_earlier_reading(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", line(turn(1)))
    ingest_traces([path], settings)
    assert compact_day(settings.lake, SEPT_1).turns == 1
    strict = settings.model_copy(update={"production": ProductionSettings(services=("other",))})
    report = ingest_traces([path], strict)
    assert (report.accepted, report.set_aside, report.days) == (3, 3, (SEPT_1,))
    compacted = compact_day(settings.lake, SEPT_1)
    assert (compacted.turns, compacted.set_aside) == (0, 1)


def test_a_mapping_that_moves_the_days_leaves_nothing_on_the_old_ones(
    settings: Settings, tmp_path: Path
) -> None:
    row = {"started_at": "2026-09-01", "made": "2026-09-05", "query_text": "q"}
    path = write(tmp_path / "t.jsonl", json.dumps(row))
    ingest_traces([path], settings)
    report = ingest_traces([path], settings, mapping={"started_at": "made"}, source="desk")
    assert report.days == (SEPT_1, date(2026, 9, 5))
    assert [compact_day(settings.lake, day).turns for day in report.days] == [0, 1]


def test_files_come_from_paths_folders_and_patterns(tmp_path: Path) -> None:
    names = ["x/a.jsonl", "x/y/b.jsonl.gz", "x/c.csv", "x/.hidden.jsonl", "x/notes.md"]
    for name in names:
        write(tmp_path / name, "{}")
    wanted = [tmp_path / "x/a.jsonl", tmp_path / "x/c.csv", tmp_path / "x/y/b.jsonl.gz"]
    assert input_files([tmp_path / "x"]) == wanted
    assert input_files([tmp_path / "x/*.jsonl"]) == [
        tmp_path / "x/.hidden.jsonl",
        tmp_path / "x/a.jsonl",
    ]
    assert input_files([f"{tmp_path}/**/b.*", tmp_path / "x/notes.md"]) == [
        tmp_path / "x/y/b.jsonl.gz",
        tmp_path / "x/notes.md",
    ]
    with pytest.raises(BadInput, match="no such file"):
        input_files([tmp_path / "z*.jsonl"])


def test_progress_tells_file_and_rows(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", line(turn(1)))
    told: list[tuple[Path, int]] = []
    ingest_traces([path], settings, progress=lambda file, rows: told.append((file, rows)))
    assert told == [(path, 3)]


@pytest.mark.parametrize("week", ["2026-08-31", "2026-11-02"])
def test_the_sample_in_both_conventions_gives_its_true_turns(settings: Settings, week: str) -> None:
    sample = Path(__file__).parents[3] / "data" / "sample"
    report = ingest_traces([sample / "traces" / f"week-{week}.jsonl.gz"], settings)
    assert (report.rejected, report.duplicate) == (0, 0)
    for day in report.days:
        compact_day(settings.lake, day)
    found = pl.read_parquet(settings.lake / "traces" / "date=*" / "*.parquet")
    truth = pl.read_ndjson(sample / "truth" / "turns.jsonl.gz", infer_schema_length=None)
    spans = pl.read_parquet(settings.lake / "staging" / "date=*" / "*.parquet")
    truth = truth.filter(pl.col("production")).join(spans, on="trace_id", how="semi")
    assert truth.height > 400
    joined = truth.join(found, on="trace_id", how="full", suffix="_read")
    assert joined.filter(pl.col("session_id").ne_missing(pl.col("session_id_read"))).is_empty()
    assert joined.filter(
        pl.col("outcome").is_not_null(), pl.col("outcome").ne_missing(pl.col("outcome_read"))
    ).is_empty()
