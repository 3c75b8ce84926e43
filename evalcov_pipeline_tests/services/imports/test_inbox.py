"""Files that are dropped into the inbox: imported once, when complete, and put away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from evalcov_pipeline.definitions import build_definitions
from evalcov_pipeline.defs.automation.inbox import files_landed
from evalcov_pipeline.defs.support.events import (
    LABELS,
    TASKS_DECIDED,
    TASKS_WAITING,
    materialized,
)
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.settings import DEMO_MARK, Settings
from evalcov_pipeline_tests.conftest import FIRST_DAY, cases, quick_settings, turns, write_jsonl


class Landing:
    """The sensor with its cursor over a home, and the jobs that it asks for."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self.instance = instance
        self.settings = settings
        self.defs = build_definitions(settings)
        self.cursor: str | None = None

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.defs.get_repository_def(),
            resources={"settings": self.settings},
        )
        data = files_landed.evaluate_tick(context)
        self.cursor = data.cursor
        return list(data.run_requests or [])

    def run(self, request: dg.RunRequest) -> None:
        assert request.job_name
        self.defs.resolve_job_def(request.job_name).execute_in_process(
            instance=self.instance,
            run_config=request.run_config,
            tags={**request.tags, "dagster/run_key": str(request.run_key)},
        )

    def drop(self, name: str, rows: list[dict[str, Any]]) -> Path:
        return write_jsonl(self.settings.inbox / name, rows)

    def files(self) -> set[str]:
        inbox = self.settings.inbox
        return {str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file()}


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Landing(instance, quick_settings(tmp_path / "home"))


def n_cases(settings: Settings) -> int:
    with warehouse_of(settings).reader() as con:
        return int(con.execute("SELECT count(*) FROM eval_cases").fetchall()[0][0])


def test_a_file_is_imported_once_it_has_stopped_growing(landing: Landing) -> None:
    landing.drop("evals/suite.jsonl", cases(3))
    assert landing.tick() == []
    landing.drop("evals/suite.jsonl", cases(5))
    assert landing.tick() == []
    (request,) = landing.tick()
    landing.run(request)
    assert n_cases(landing.settings) == 5
    assert landing.files() == {"done/evals/suite.jsonl"}
    assert landing.tick() == []


def test_a_file_that_its_sender_marks_as_done_is_imported_at_once(landing: Landing) -> None:
    path = landing.drop("evals/suite.jsonl", cases(3))
    path.with_name("suite.jsonl.done").touch()
    (request,) = landing.tick()
    landing.run(request)
    assert landing.files() == {"done/evals/suite.jsonl"}


def test_hidden_and_temporary_files_are_left_alone(landing: Landing) -> None:
    for name in ("evals/.suite.jsonl", "evals/suite.jsonl.part", "elsewhere/suite.jsonl"):
        landing.drop(name, cases(3))
    assert landing.tick() == landing.tick() == []


def test_what_cannot_be_read_is_put_aside_with_the_reason_and_the_rest_is_imported(
    landing: Landing,
) -> None:
    landing.drop("evals/suite.jsonl", cases(3))
    landing.drop("evals/wrong.jsonl", [{"answer": 42}])
    landing.tick()
    (request,) = landing.tick()
    landing.run(request)
    assert n_cases(landing.settings) == 3
    assert landing.files() == {
        "done/evals/suite.jsonl", "failed/evals/wrong.jsonl", "failed/evals/wrong.jsonl.reason",
    }  # fmt: skip
    reason = (landing.settings.inbox / "failed/evals/wrong.jsonl.reason").read_text()
    assert "wrong.jsonl" in reason
    assert reason.count("\n") == 1


def test_two_files_of_one_name_are_both_kept(landing: Landing) -> None:
    for n in (3, 4):
        landing.drop("evals/suite.jsonl", cases(n, seed=n))
        landing.tick()
        landing.run(landing.tick()[0])
    assert len([name for name in landing.files() if name.startswith("done/evals/suite.")]) == 2


def test_a_file_whose_import_died_before_it_was_put_away_is_imported_again(
    landing: Landing,
) -> None:
    path = landing.drop("evals/suite.jsonl", cases(3))
    ingest_evals("evals", [path], landing.settings)
    landing.tick()
    landing.run(landing.tick()[0])
    assert n_cases(landing.settings) == 3
    assert landing.files() == {"done/evals/suite.jsonl"}


def test_traces_that_land_become_turns(landing: Landing) -> None:
    rows = turns(weeks=1, sessions_per_day=2)
    landing.drop("traces/week.jsonl", rows)
    landing.tick()
    (request,) = landing.tick()
    landing.run(request)
    (days,) = landing.tick()
    assert days.job_name == "daily_traces"
    assert days.tags["dagster/asset_partition_range_start"] == FIRST_DAY.date().isoformat()
    landing.run(days)
    assert landing.tick() == []
    parts = list((landing.settings.lake / "traces").glob("date=*/*.parquet"))
    assert len(parts) == 7


def test_labels_that_land_are_merged_and_told(landing: Landing, queued_home: Settings) -> None:
    landing = Landing(landing.instance, queued_home)
    with warehouse_of(queued_home).reader() as con:
        task_id, tasks = con.execute(
            "SELECT min(task_id), count(*) FROM annotation_queue WHERE raters_wanted = 1"
            " AND status = 'open'"
        ).fetchall()[0]
    assert tasks > 0
    landing.drop("annotations/labels.jsonl", [{"item_id": task_id, "rater": "ada", "keep": True}])
    landing.tick()
    landing.run(landing.tick()[0])
    (told,) = materialized(landing.instance, [LABELS], after=0)
    assert told.facts[TASKS_DECIDED] == 1
    assert told.facts[TASKS_WAITING] == 4


def test_incidents_that_land_are_taken_and_told(landing: Landing) -> None:
    guard = {"input": "charged twice", "expected": "Refund it."}
    rows = [{"incident_id": "INC-1", "title": "Charged twice", "cases": [guard]}]
    landing.drop("incidents/new.jsonl", rows)
    landing.tick()
    landing.run(landing.tick()[0])
    assert landing.files() == {"done/incidents/new.jsonl"}
    (told,) = materialized(landing.instance, ["incidents"], after=0)
    assert (told.facts["partial"], told.facts["open"]) == (1, 0)
    assert n_cases(landing.settings) == 1


def test_nothing_lands_in_the_demo_s_home(landing: Landing) -> None:
    path = landing.drop("evals/suite.jsonl", cases(3))
    path.with_name("suite.jsonl.done").touch()
    (landing.settings.home / DEMO_MARK).touch()
    assert landing.tick() == []
