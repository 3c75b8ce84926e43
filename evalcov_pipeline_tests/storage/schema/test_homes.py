"""Homes that releases left behind open, migrate and score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from evalcov_pipeline.cli.doctor import command
from evalcov_pipeline.cli.jobs import instance
from evalcov_pipeline.cli.run import run_weeks
from evalcov_pipeline.core.traffic.turns import TURNS
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage import schema
from evalcov_pipeline_tests.conftest import FIRST_DAY, turns, write_jsonl
from evalcov_pipeline_tests.storage.homes import HOMES, unpack
from evalcov_pipeline_tests.storage.homes.make import SETTINGS, WEEKS

NEXT_WEEK = (FIRST_DAY + timedelta(weeks=WEEKS)).date()
SCORES = "FROM coverage_scores ORDER BY as_of, taxonomy_id"


@dataclass(frozen=True)
class Opened:
    """A home of a release, opened by this version.

    Attributes:
        settings: of the home.
        version: of the home before.
        scores: rows of `coverage_scores` as the release published them.
        advice: what `evalcov doctor` said before.
        runs: runs that Dagster knew.
    """

    settings: Settings
    version: int
    scores: list[tuple[Any, ...]]
    advice: str
    runs: int


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    """The settings under which the homes were filled."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        yield patch
    get_settings.cache_clear()


@pytest.fixture(scope="module", params=HOMES, ids=lambda packed: packed.name.split(".tar")[0])
def opened(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    environment: pytest.MonkeyPatch,
) -> Opened:
    """A home of a release in which this version scored the week after its last."""
    folder = tmp_path_factory.mktemp("opened")
    settings = Settings(home=unpack(request.param, folder / "home"))
    with duckdb.connect(settings.published, read_only=True) as con:
        version, scores = schema.version(con, settings.published), con.execute(SCORES).fetchall()
    advice = doctor(settings, environment)
    environment.delenv("DAGSTER_HOME", raising=False)
    with instance(settings) as on:
        runs = on.get_runs_count()
    traffic = turns(weeks=WEEKS + 1, sessions_per_day=3)
    later = [row for row in traffic if row["started_at"] >= str(NEXT_WEEK)]
    ingest_traces([write_jsonl(folder / "later.jsonl", later)], settings)
    run_weeks(settings, "weekly_coverage", NEXT_WEEK)
    return Opened(settings, version, scores, advice, runs)


def doctor(settings: Settings, environment: pytest.MonkeyPatch) -> str:
    """What `evalcov doctor` says when it is content."""
    environment.setenv("EVALCOV_HOME", str(settings.home))
    get_settings.cache_clear()
    answer = CliRunner().invoke(command, standalone_mode=False)
    assert answer.return_value == 0, answer.output
    return answer.output


def test_its_tables_are_exactly_those_of_a_new_home(opened: Opened) -> None:
    with warehouse_of(opened.settings).reader() as con, duckdb.connect(":memory:") as fresh:
        schema.create(fresh)
        assert schema.version(con, opened.settings.warehouse) == schema.newest()
        assert schema.layouts(con) == schema.layouts(fresh)


def test_its_lake_holds_turns_as_this_version_writes_them(opened: Opened) -> None:
    """A change to the columns of a turn needs a migration of the lake."""
    for file in (opened.settings.lake / "traces").glob("date=*/*.parquet"):
        assert pq.read_schema(file).names == list(TURNS), file


def test_its_old_scores_are_as_they_were_and_a_new_week_follows(opened: Opened) -> None:
    with duckdb.connect(opened.settings.published, read_only=True) as con:
        scores = con.execute(SCORES).fetchall()
        (newest,) = con.execute("SELECT max(as_of) FROM coverage_scores").fetchall()[0]
    assert scores[: len(opened.scores)] == opened.scores
    assert newest.date() == NEXT_WEEK + timedelta(weeks=1)


def test_doctor_is_content_before_and_after(
    opened: Opened, environment: pytest.MonkeyPatch
) -> None:
    if opened.version < schema.newest():
        assert (
            f"the home's is {opened.version}, the code's is {schema.newest()}; the next"
            in opened.advice
        )
        assert "backups/" in opened.advice
    assert f"the home's is {schema.newest()}, the code's is {schema.newest()}\n" in doctor(
        opened.settings, environment
    )


def test_its_record_of_runs_goes_on(opened: Opened, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DAGSTER_HOME", raising=False)
    with instance(opened.settings) as on:
        assert on.get_runs_count() > opened.runs > 0
        seen = on.fetch_materializations(dg.AssetKey("coverage_scores"), limit=10).records
    assert len(seen) > 1
