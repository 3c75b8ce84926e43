"""Schedules, and the sensors that answer scores and labels, through Dagster's own machinery."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from evalcov_pipeline.cli.run import run_weeks
from evalcov_pipeline.definitions import build_definitions, defs
from evalcov_pipeline.defs.automation import schedules
from evalcov_pipeline.defs.automation.requests import MAX_ATTEMPTS
from evalcov_pipeline.defs.automation.sensors import annotations_landed, coverage_degraded
from evalcov_pipeline.defs.support.events import materialized
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.services.taxonomy.taxonomies import age
from evalcov_pipeline.settings import FreshnessSettings, Settings
from evalcov_pipeline.storage.lake import compact_day
from evalcov_pipeline_tests.conftest import LAST_WEEK, write_jsonl

SETTINGS = Settings()
FAILURE, SUCCESS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


class Sensor:
    """A sensor with its cursor, as the daemon would tick it."""

    def __init__(
        self, instance: dg.DagsterInstance, sensor: dg.SensorDefinition, settings: Settings
    ) -> None:
        self.instance = instance
        self.sensor = sensor
        self.settings = settings
        self.cursor: str | None = None
        self.skipped = ""

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=defs.get_repository_def(),
            resources={"settings": self.settings},
        )
        data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        self.skipped = data.skip_message or ""
        return list(data.run_requests or [])

    def happens(self, asset: str, **metadata: Any) -> None:
        """An asset is materialized by any run or command."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, metadata=metadata))

    def score(
        self,
        day: int,
        *,
        degraded: bool,
        jsd_adjusted: float | None = None,
        table: str = "coverage_scores",
    ) -> None:
        self.happens(
            table,
            as_of=datetime(2026, 10, day).isoformat(),
            taxonomy="20261005-abc" if table == "coverage_scores" else "20261005-def",
            degraded=degraded,
            jsd_adjusted=jsd_adjusted if jsd_adjusted is not None else 0.4 if degraded else 0.1,
        )

    def plan(self, tasks: int, *, is_new: bool = True) -> None:
        """Anyone planned a refresh, or found one open, that asks about so many queries."""
        self.happens("refresh_plans", tasks_waiting=tasks, is_new=is_new)

    def labels(self, *, decided: int, waiting: int) -> None:
        self.happens("annotations", tasks_decided=decided, tasks_waiting=waiting)

    def finish(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
        """The run that the daemon launched for a request ended."""
        assert request.run_key
        assert self.sensor.job_name
        self.instance.create_run_for_job(
            defs.resolve_job_def(self.sensor.job_name),
            tags={**request.tags, "dagster/run_key": request.run_key},
            status=status,
        )


@pytest.fixture
def sensor(instance: dg.DagsterInstance) -> Sensor:
    return Sensor(instance, coverage_degraded, SETTINGS)


def keys(requests: list[dg.RunRequest]) -> list[str | None]:
    return [request.run_key for request in requests]


def test_a_degraded_score_requests_one_refresh(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    (request,) = sensor.tick()
    assert request.run_key == "2026-10-05T00:00:00:20261005-abc:1"
    config: Any = request.run_config["ops"]["refresh_plans"]["config"]
    assert config == {"trigger": "coverage_degraded", "as_of": "2026-10-05T00:00:00"}
    sensor.finish(request, SUCCESS)
    sensor.score(12, degraded=True)
    assert sensor.tick() == []


def test_what_the_sensor_asks_for_is_a_valid_run_of_the_job(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    (request,) = sensor.tick()
    assert dg.validate_run_config(defs.resolve_job_def("refresh"), request.run_config)


def test_a_good_score_requests_nothing(sensor: Sensor) -> None:
    sensor.score(5, degraded=False)
    assert sensor.tick() == []


def test_a_new_degradation_after_recovery_requests_again(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.score(12, degraded=False)
    assert sensor.tick() == []
    sensor.score(19, degraded=True)
    assert keys(sensor.tick()) == ["2026-10-19T00:00:00:20261005-abc:1"]


def test_a_score_that_hovers_at_the_threshold_does_not_rearm(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.score(12, degraded=False, jsd_adjusted=SETTINGS.coverage.threshold - 0.01)
    sensor.score(19, degraded=True)
    assert sensor.tick() == []


def test_backfilled_older_weeks_request_nothing(sensor: Sensor) -> None:
    sensor.score(19, degraded=False)
    assert sensor.tick() == []
    sensor.score(5, degraded=True)
    assert sensor.tick() == []


def test_a_backfilled_good_week_does_not_end_a_degradation(sensor: Sensor) -> None:
    sensor.score(19, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.score(5, degraded=False)
    sensor.score(26, degraded=True)
    assert sensor.tick() == []


def fail_for_good(sensor: Sensor) -> list[str | None]:
    """Every try of the request fails; the run keys of the tries."""
    tried = []
    for number in range(MAX_ATTEMPTS):
        (request,) = sensor.tick()
        assert request.tags["evalcov/try"] == str(number + 1)
        tried += keys([request])
        sensor.finish(request, FAILURE)
    assert sensor.tick() == []
    return tried


def test_a_failed_refresh_is_requested_again_under_a_new_key_and_then_given_up(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=True)
    assert [str(key).rsplit(":", 1)[1] for key in fail_for_good(sensor)] == ["1", "2", "3"]
    assert "failed 3 times" in sensor.skipped
    sensor.score(5, degraded=True)
    assert sensor.tick() == []


def test_a_degradation_whose_refresh_was_given_up_is_asked_about_again_in_a_later_week(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=True)
    fail_for_good(sensor)
    sensor.score(12, degraded=True)
    assert keys(sensor.tick()) == ["2026-10-12T00:00:00:20261005-abc:1"]


def test_a_failed_refresh_of_a_suite_that_recovered_is_not_tried_again(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], FAILURE)
    sensor.score(12, degraded=False)
    assert sensor.tick() == []


def test_a_request_whose_run_was_never_created_is_repeated_under_the_same_key(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=True)
    first = sensor.tick()
    assert keys(sensor.tick()) == keys(first)


def test_a_request_is_not_repeated_while_its_run_is_under_way(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], dg.DagsterRunStatus.STARTED)
    assert sensor.tick() == []


def test_a_liability_alone_is_degraded_and_requests_once(sensor: Sensor) -> None:
    sensor.score(5, degraded=True, jsd_adjusted=0.08)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.score(12, degraded=True, jsd_adjusted=0.08)
    assert sensor.tick() == []


def test_a_week_that_degrades_recovers_and_degrades_again_requests_under_a_new_key(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.score(5, degraded=False)
    assert sensor.tick() == []
    sensor.score(5, degraded=True)
    assert keys(sensor.tick()) == ["2026-10-05T00:00:00:20261005-abc:2"]


def test_of_several_weeks_scored_between_two_ticks_the_newest_is_answered_once(
    sensor: Sensor,
) -> None:
    sensor.score(5, degraded=False)
    sensor.score(12, degraded=True)
    sensor.score(19, degraded=True)
    assert keys(sensor.tick()) == ["2026-10-19T00:00:00:20261005-abc:1"]


def test_a_degradation_that_recovered_before_the_tick_requests_nothing(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.score(12, degraded=False)
    assert sensor.tick() == []
    assert sensor.tick() == []


def test_while_tasks_wait_nothing_is_requested_and_the_first_score_after_them_decides(
    sensor: Sensor,
) -> None:
    sensor.plan(50)
    sensor.score(5, degraded=True)
    assert sensor.tick() == []
    assert "50 tasks" in sensor.skipped
    sensor.labels(decided=20, waiting=30)
    sensor.score(12, degraded=True)
    assert sensor.tick() == []
    sensor.labels(decided=30, waiting=0)
    assert sensor.tick() == []
    sensor.score(12, degraded=True)
    assert keys(sensor.tick()) == ["2026-10-12T00:00:00:20261005-abc:1"]


def test_a_degradation_that_the_open_refresh_mends_requests_nothing(sensor: Sensor) -> None:
    sensor.plan(50)
    sensor.score(5, degraded=True)
    sensor.labels(decided=50, waiting=0)
    sensor.score(5, degraded=False)
    assert sensor.tick() == []


def test_a_refresh_that_a_person_plans_answers_the_degradation(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], FAILURE)
    sensor.plan(50)
    assert sensor.tick() == []
    sensor.labels(decided=50, waiting=0)
    sensor.score(12, degraded=True)
    assert sensor.tick() == []
    sensor.score(19, degraded=False)
    sensor.score(26, degraded=True)
    assert len(sensor.tick()) == 1


def test_a_request_that_finds_another_plan_open_is_answered_after_it(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    (request,) = sensor.tick()
    sensor.plan(50, is_new=False)
    sensor.finish(request, SUCCESS)
    assert sensor.tick() == []
    sensor.labels(decided=50, waiting=0)
    assert sensor.tick() == []
    sensor.score(5, degraded=True)
    assert keys(sensor.tick()) == ["2026-10-05T00:00:00:20261005-abc:2"]


def test_a_person_who_looks_at_the_open_plan_changes_nothing(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.plan(50)
    assert sensor.tick() == []
    sensor.plan(50, is_new=False)
    sensor.labels(decided=50, waiting=0)
    sensor.score(12, degraded=True)
    assert sensor.tick() == []


def test_sessions_that_the_suite_no_longer_covers_request_a_refresh_too(sensor: Sensor) -> None:
    sensor.score(5, degraded=False)
    sensor.score(5, degraded=True, table="session_scores")
    (request,) = sensor.tick()
    assert request.run_key == "2026-10-05T00:00:00:20261005-def:1"
    sensor.finish(request, SUCCESS)
    sensor.score(12, degraded=True, table="session_scores")
    assert sensor.tick() == []
    sensor.score(19, degraded=False, table="session_scores")
    sensor.score(26, degraded=True, table="session_scores")
    assert len(sensor.tick()) == 1


def test_queries_and_sessions_that_degrade_together_request_one_refresh(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.score(5, degraded=True, table="session_scores")
    (request,) = sensor.tick()
    sensor.finish(request, SUCCESS)
    assert sensor.tick() == []


def test_sessions_that_degrade_after_queries_request_one_more_refresh(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.score(12, degraded=True)
    sensor.score(12, degraded=True, table="session_scores")
    assert keys(sensor.tick()) == ["2026-10-12T00:00:00:20261005-def:1"]


def test_an_open_plan_answers_sessions_too(sensor: Sensor) -> None:
    sensor.plan(50)
    sensor.score(5, degraded=True, table="session_scores")
    assert sensor.tick() == []
    assert "50 tasks" in sensor.skipped


def test_a_cursor_of_an_older_layout_leads_to_the_same_state(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.plan(0)
    sensor.cursor = '{"storage_id": 1, "health": {"degraded": true}, "answered": true}'
    assert sensor.tick() == []
    sensor.score(12, degraded=True)
    assert sensor.tick() == []


def test_the_weekly_run_says_too_that_no_task_waits(sensor: Sensor) -> None:
    """If a command that brought labels died before it told, the refresh is not open for good."""
    sensor.plan(50)
    sensor.happens("eval_cases", tasks_waiting=0)
    sensor.score(5, degraded=True)
    assert len(sensor.tick()) == 1


def test_a_cursor_that_is_reset_leads_to_the_same_state(sensor: Sensor) -> None:
    sensor.score(5, degraded=True)
    sensor.finish(sensor.tick()[0], SUCCESS)
    sensor.plan(50)
    sensor.labels(decided=50, waiting=0)
    sensor.score(12, degraded=True)
    assert sensor.tick() == []
    sensor.cursor = None
    assert sensor.tick() == []


def test_a_sensor_that_is_far_behind_takes_in_every_event_in_order(sensor: Sensor) -> None:
    for waiting in range(600, -1, -1):
        sensor.happens("annotations", tasks_waiting=waiting)
    sensor.score(5, degraded=True)
    events = materialized(sensor.instance, ["coverage_scores", "annotations"], after=0)
    assert len(events) == 602
    assert len(sensor.tick()) == 1


TRAFFIC = {"query_text": "hello", "started_at": "2026-11-12T09:00:00Z", "trace_id": "t"}


@pytest.fixture
def landing(instance: dg.DagsterInstance, tmp_path: Path) -> Sensor:
    """The sensor of labels, over a home whose newest traffic is of the week of 9 November."""
    settings = Settings(home=tmp_path / "home")
    ingest_traces([write_jsonl(tmp_path / "traffic.jsonl", [TRAFFIC])], settings)
    compact_day(settings.lake, datetime(2026, 11, 12).date())
    return Sensor(instance, annotations_landed, settings)


def newest_labels(landing: Sensor) -> int:
    return materialized(landing.instance, ["annotations"], after=0)[-1].storage_id


def test_labels_that_decide_tasks_have_the_newest_week_scored_once(landing: Sensor) -> None:
    landing.labels(decided=3, waiting=2)
    landing.labels(decided=2, waiting=0)
    (request,) = landing.tick()
    assert request.partition_key == "2026-11-09"
    assert keys([request]) == [f"annotations:{newest_labels(landing)}:1"]
    landing.finish(request, SUCCESS)
    assert landing.tick() == []


def test_labels_that_decide_nothing_have_nothing_scored(landing: Sensor) -> None:
    landing.labels(decided=0, waiting=5)
    assert landing.tick() == []


def test_labels_that_come_while_the_score_is_written_make_the_next_run(landing: Sensor) -> None:
    landing.labels(decided=3, waiting=2)
    (first,) = landing.tick()
    landing.finish(first, dg.DagsterRunStatus.STARTED)
    landing.labels(decided=2, waiting=0)
    assert landing.tick() == []
    (run,) = landing.instance.get_runs()
    landing.instance.report_run_canceled(run)
    (second,) = landing.tick()
    assert keys([second]) == [f"annotations:{newest_labels(landing)}:1"]


def test_a_failed_score_after_labels_is_requested_again_and_then_given_up(landing: Sensor) -> None:
    landing.labels(decided=3, waiting=0)
    place = newest_labels(landing)
    assert fail_for_good(landing) == [f"annotations:{place}:{attempt}" for attempt in (1, 2, 3)]
    assert "failed 3 times" in landing.skipped
    landing.labels(decided=1, waiting=0)
    assert keys(landing.tick()) == [f"annotations:{newest_labels(landing)}:1"]


def test_labels_in_a_home_without_traffic_have_nothing_scored(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    landing = Sensor(instance, annotations_landed, Settings(home=tmp_path))
    landing.labels(decided=3, waiting=0)
    assert landing.tick() == []


@pytest.mark.parametrize(
    ("schedule", "at", "partition"),
    [
        (schedules.daily_traces, datetime(2026, 11, 20, 1, 30), "2026-11-19"),
        (schedules.weekly_coverage, datetime(2026, 11, 16, 4), "2026-11-09"),
        (schedules.monthly_taxonomy, datetime(2026, 11, 1, 6), "2026-10-19"),
        (schedules.monthly_taxonomy, datetime(2026, 6, 1, 6), "2026-05-25"),
        (schedules.quarterly_refresh, datetime(2026, 10, 1, 8), None),
    ],
)
def test_schedules_request_the_period_that_ended(
    tmp_path: Path, schedule: dg.ScheduleDefinition, at: datetime, partition: str | None
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
    ingest_traces([write_jsonl(tmp_path / "late.jsonl", [TRAFFIC])], settings)
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 11, 20, 1, 30),
        repository_def=defs.get_repository_def(),
        resources={"settings": settings},
    )
    tick = schedules.daily_traces.evaluate_tick(context)
    requested = [request.partition_key for request in tick.run_requests or []]
    assert requested == ["2026-11-12", "2026-11-19"]


def test_the_quarterly_refresh_says_that_the_schedule_asked() -> None:
    config: Any = defs.resolve_job_def("quarterly_refresh").run_config
    assert config["ops"]["refresh_plans"]["config"]["trigger"] == "schedule"


def test_the_score_and_the_taxonomy_have_the_freshness_that_is_set() -> None:
    settings = Settings(freshness=FreshnessSettings(score_days=3, taxonomy_days=20))
    policies = {
        spec.key.to_user_string(): spec.freshness_policy
        for spec in build_definitions(settings).resolve_all_asset_specs()
        if spec.freshness_policy
    }
    assert policies == {
        "coverage_scores": dg.FreshnessPolicy.time_window(timedelta(days=3)),
        "taxonomies": dg.FreshnessPolicy.time_window(timedelta(days=20)),
    }


@pytest.mark.slow
def test_clusters_that_are_older_than_is_set_are_noted(
    copy: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were fitted a week before the last scored one."""
    settings = copy.model_copy(update={"freshness": FreshnessSettings(taxonomy_days=6)})
    run_weeks(settings, "weekly_coverage", LAST_WEEK.date())
    said = capsys.readouterr()
    assert "check taxonomies.clusters_are_recent: no" in said.out + said.err


def test_a_week_before_the_first_taxonomy_has_no_old_clusters(scored: Settings) -> None:
    with warehouse_of(scored).reader() as con:
        assert age(con, LAST_WEEK - timedelta(days=30)) is None
