"""The sensor that answers a degraded score, and the schedules, through Dagster's own machinery."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from evalcov_pipeline.definitions import defs
from evalcov_pipeline.defs import automation
from evalcov_pipeline.defs.automation import MAX_ATTEMPTS, Watch, coverage_degraded
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.ingest import ingest_traces
from evalcov_pipeline_tests.conftest import write_jsonl

SETTINGS = Settings()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


class Sensor:
    """The sensor with its cursor, as the daemon would tick it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = coverage_degraded(context, settings=SETTINGS)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return list(result.run_requests or [])

    def score(self, day: int, *, degraded: bool, jsd_adjusted: float | None = None) -> None:
        """A score materialized by any run, in the UI, by schedule or from the command line."""
        value = jsd_adjusted if jsd_adjusted is not None else (0.4 if degraded else 0.1)
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "coverage_scores",
                metadata={
                    "as_of": datetime(2026, 10, day).isoformat(),
                    "taxonomy": "20261005-abc",
                    "degraded": degraded,
                    "jsd_adjusted": value,
                },
            )
        )

    def finish(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
        """The run that the daemon launched for a request ended."""
        assert request.run_key
        self.instance.create_run_for_job(
            defs.resolve_job_def("refresh"),
            tags={"dagster/run_key": request.run_key},
            status=status,
        )


@pytest.fixture
def sensor(instance: dg.DagsterInstance) -> Sensor:
    return Sensor(instance)


def test_a_degraded_score_requests_one_refresh(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    (request,) = sensor.tick()
    assert request.run_key == "2026-10-05T00:00:00:20261005-abc:1"
    config: Any = request.run_config["ops"]["refresh_plans"]["config"]
    assert config["trigger"] == "coverage_degraded"
    assert config["as_of"] == "2026-10-05T00:00:00"
    sensor.finish(request, dg.DagsterRunStatus.SUCCESS)
    sensor.score(12, degraded=True)
    assert sensor.tick() == []


def test_a_good_score_requests_nothing(sensor: Sensor) -> None:
    sensor.score(5, degraded=False)
    assert sensor.tick() == []


def test_a_new_degradation_after_recovery_requests_again(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], dg.DagsterRunStatus.SUCCESS)
    sensor.score(12, degraded=False)
    assert sensor.tick() == []
    sensor.score(19, degraded=True)
    assert [r.run_key for r in sensor.tick()] == ["2026-10-19T00:00:00:20261005-abc:1"]


def test_a_score_that_hovers_at_the_threshold_does_not_rearm(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], dg.DagsterRunStatus.SUCCESS)
    sensor.score(12, degraded=False, jsd_adjusted=SETTINGS.coverage.threshold - 0.01)
    sensor.score(19, degraded=True)
    assert sensor.tick() == []


def test_backfilled_older_weeks_request_nothing(sensor: Sensor) -> None:
    sensor.score(19, degraded=False)
    assert sensor.tick() == []
    sensor.score(5, degraded=True)
    assert sensor.tick() == []


def test_a_failed_refresh_is_requested_again_under_a_new_key_and_then_given_up(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=True)
    keys = []
    for _ in range(MAX_ATTEMPTS):
        (request,) = sensor.tick()
        keys.append(request.run_key)
        sensor.finish(request, dg.DagsterRunStatus.FAILURE)
    assert [str(key).rsplit(":", 1)[1] for key in keys] == ["1", "2", "3"]
    assert sensor.tick() == []


def test_a_request_whose_run_was_never_created_is_repeated_under_the_same_key(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=True)
    first = sensor.tick()
    assert [r.run_key for r in sensor.tick()] == [first[0].run_key]


def test_a_request_is_not_repeated_while_its_run_is_under_way(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], dg.DagsterRunStatus.STARTED)
    assert sensor.tick() == []


def test_a_liability_alone_is_degraded_and_requests(sensor: Sensor) -> None:
    sensor.score(5, degraded=True, jsd_adjusted=0.08)
    assert len(sensor.tick()) == 1
    assert Watch.model_validate_json(sensor.cursor or "").armed is False


@pytest.mark.parametrize(
    ("schedule", "at", "partition"),
    [
        (automation.daily_traces_schedule, datetime(2026, 11, 20, 1, 30), "2026-11-19"),
        (automation.weekly_coverage_schedule, datetime(2026, 11, 16, 4), "2026-11-09"),
        (automation.monthly_taxonomy_schedule, datetime(2026, 11, 1, 6), "2026-10-19"),
        (automation.monthly_taxonomy_schedule, datetime(2026, 6, 1, 6), "2026-05-25"),
    ],
)
def test_schedules_request_the_period_that_ended(
    tmp_path: Path, schedule: dg.ScheduleDefinition, at: datetime, partition: str
) -> None:
    context = dg.build_schedule_context(
        scheduled_execution_time=at,
        repository_def=defs.get_repository_def(),
        resources={"settings": Settings(home=tmp_path)},
    )
    tick = schedule.evaluate_tick(context)
    assert [request.partition_key for request in tick.run_requests or []] == [partition]


def test_the_nightly_schedule_also_takes_days_that_late_files_changed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    late = {"query_text": "hello", "started_at": "2026-11-12T09:00:00Z", "trace_id": "t"}
    ingest_traces([write_jsonl(tmp_path / "late.jsonl", [late])], settings)
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 11, 20, 1, 30),
        repository_def=defs.get_repository_def(),
        resources={"settings": settings},
    )
    tick = automation.daily_traces_schedule.evaluate_tick(context)
    requested = [request.partition_key for request in tick.run_requests or []]
    assert requested == ["2026-11-12", "2026-11-19"]


def test_a_week_that_degrades_recovers_and_degrades_again_requests_under_a_new_key(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], dg.DagsterRunStatus.SUCCESS)
    sensor.score(5, degraded=False)
    assert sensor.tick() == []
    sensor.score(5, degraded=True)
    assert [r.run_key for r in sensor.tick()] == ["2026-10-05T00:00:00:20261005-abc:2"]


def test_of_several_weeks_scored_between_two_ticks_the_newest_is_answered_once(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=False)
    sensor.score(12, degraded=True)
    sensor.score(19, degraded=True)
    assert [r.run_key for r in sensor.tick()] == ["2026-10-19T00:00:00:20261005-abc:1"]


def test_a_degradation_that_recovered_before_the_tick_requests_nothing(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.score(12, degraded=False)
    assert sensor.tick() == []
    assert sensor.tick() == []
