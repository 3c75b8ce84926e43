"""When things run: jobs, schedules, and the sensor that answers a degraded score.

Schedules and sensors start stopped; a team switches them on in the UI. A weekly schedule asks for
the week that has just ended.
"""

from datetime import datetime, timedelta

import dagster as dg
from pydantic import BaseModel

from evalcov_pipeline.defs.partitions import week_of
from evalcov_pipeline.defs.taxonomy import TAXONOMY_OP
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import days_pending

_WEEKLY = dg.AssetSelection.groups(
    "evals", "sampling", "embedding", "taxonomy", "coverage", "publish"
).materializable()

REFIT = {TAXONOMY_OP: {"config": {"refit": True}}}
"""Configuration by op that makes a weekly run cluster the traffic anew."""

daily_traces = dg.define_asset_job(
    "daily_traces",
    selection=dg.AssetSelection.assets("traces"),
    description="Turn the day's imported trace files into the lake's turns.",
)
weekly_coverage = dg.define_asset_job(
    "weekly_coverage",
    selection=_WEEKLY,
    executor_def=dg.in_process_executor,
    description="Sample the 30 days before the week's end, and score the eval suite against them. "
    "Fits a taxonomy only if there is none yet.",
)
monthly_taxonomy = dg.define_asset_job(
    "monthly_taxonomy",
    selection=_WEEKLY,
    executor_def=dg.in_process_executor,
    config={"ops": REFIT},
    description="Cluster the week's window of traffic anew, match the clusters to the ones before, "
    "and score the suite under both.",
)
refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.assets(
        "refresh_plans", "refresh_candidates", "annotation_queue", "published"
    ),
    executor_def=dg.in_process_executor,
    description="Plan which clusters need new eval cases, and how many.",
)


@dg.schedule(
    job=daily_traces, name="daily_traces", cron_schedule="30 1 * * *", execution_timezone="UTC"
)
def daily_traces_schedule(
    context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]
) -> list[dg.RunRequest]:
    """Every night: yesterday's traces, and every day that late files have changed."""
    tick = context.scheduled_execution_time
    yesterday = tick.date() - timedelta(days=1)
    late = (day for day in days_pending(settings.lake) if settings.first_partition <= day)
    days = sorted({day for day in late if day <= yesterday} | {yesterday})
    return [
        dg.RunRequest(run_key=f"{day}:{tick.isoformat()}", partition_key=day.isoformat())
        for day in days
    ]


@dg.schedule(
    job=weekly_coverage, name="weekly_coverage", cron_schedule="0 4 * * 1", execution_timezone="UTC"
)
def weekly_coverage_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every Monday: the week that has just ended."""
    return dg.RunRequest(partition_key=_last_week(context.scheduled_execution_time))


@dg.schedule(
    job=monthly_taxonomy,
    name="monthly_taxonomy",
    cron_schedule="0 6 1 * *",
    execution_timezone="UTC",
)
def monthly_taxonomy_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every first of the month: cluster the window of the last full week anew."""
    return dg.RunRequest(partition_key=_last_week(context.scheduled_execution_time))


def _last_week(instant: datetime) -> str:
    return week_of(instant.date() - timedelta(days=7))


class Request(BaseModel):
    """A refresh that was asked for and has not succeeded yet."""

    as_of: str
    taxonomy_id: str
    attempt: int = 1
    failures: int = 0

    @property
    def run_key(self) -> str:
        """Names the attempt, so that a tick that is repeated does not launch it twice."""
        return f"{self.as_of}:{self.taxonomy_id}:{self.attempt}"


class Watch(BaseModel):
    """What the sensor remembers between ticks."""

    storage_id: int = 0
    newest_as_of: str = ""
    armed: bool = True
    request: Request | None = None


MAX_ATTEMPTS = 3
"""How often a failing refresh is launched before a person has to look."""

_FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dg.sensor(job=refresh, minimum_interval_seconds=60)
def coverage_degraded(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Ask for a refresh when a newly written score is degraded.

    Once per degradation, and again after the score recovered below the threshold less a margin;
    scores older than the newest one seen are ignored, so a backfill asks for nothing. A failed
    refresh is asked for again, up to three times.
    """
    watch = Watch.model_validate_json(context.cursor) if context.cursor else Watch()
    launch, fresh = _unanswered(context.instance, watch), False
    for record in _new_scores(context.instance, watch.storage_id):
        fresh = _observe(watch, record, settings, fresh)
    launch |= fresh
    while fresh and watch.request and _is_known(context.instance, watch.request):
        watch.request.attempt += 1
    if launch and watch.request:
        return dg.SensorResult(
            run_requests=[_run_request(watch.request)], cursor=watch.model_dump_json()
        )
    return dg.SensorResult(skip_reason="No newly degraded score.", cursor=watch.model_dump_json())


def _unanswered(instance: dg.DagsterInstance, watch: Watch) -> bool:
    """Whether a request is to be launched (again); forgets one that was answered."""
    if watch.request is None:
        return False
    runs = instance.get_runs(
        filters=dg.RunsFilter(tags={"dagster/run_key": watch.request.run_key}), limit=1
    )
    if not runs:
        return True
    if runs[0].status == dg.DagsterRunStatus.SUCCESS:
        watch.request = None
    elif runs[0].status in _FAILED and watch.request.failures < MAX_ATTEMPTS - 1:
        watch.request.failures += 1
        watch.request.attempt += 1
        return True
    return False


def _is_known(instance: dg.DagsterInstance, request: Request) -> bool:
    """Whether a run has this request's key: the week was degraded before, and recovered."""
    filters = dg.RunsFilter(tags={"dagster/run_key": request.run_key})
    return bool(instance.get_runs(filters=filters, limit=1))


def _new_scores(instance: dg.DagsterInstance, after_storage_id: int) -> list[dg.EventLogRecord]:
    """Materializations of the score since the last tick, oldest first."""
    result = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey("coverage_scores"), after_storage_id=after_storage_id
        ),
        limit=1000,
        ascending=True,
    )
    return list(result.records)


def _observe(watch: Watch, record: dg.EventLogRecord, settings: Settings, fresh: bool) -> bool:
    """Take in one score; whether this tick asks for a refresh, of the newest degraded week."""
    watch.storage_id = record.storage_id
    materialization = record.asset_materialization
    metadata = materialization.metadata if materialization else {}
    if "degraded" not in metadata or "as_of" not in metadata:
        return fresh
    as_of = str(metadata["as_of"].value)
    if as_of < watch.newest_as_of:
        return fresh
    watch.newest_as_of = as_of
    adjusted = metadata["jsd_adjusted"].value if "jsd_adjusted" in metadata else None
    if metadata["degraded"].value and (watch.armed or fresh):
        watch.armed = False
        watch.request = Request(as_of=as_of, taxonomy_id=str(metadata["taxonomy"].value))
        return True
    if (
        not metadata["degraded"].value
        and isinstance(adjusted, float)
        and adjusted < (settings.coverage.threshold - settings.coverage.rearm_margin)
    ):
        watch.armed = True
        if fresh:
            watch.request = None
        return False
    return fresh


def _run_request(request: Request) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=request.run_key,
        run_config=dg.RunConfig(
            ops={
                "refresh_plans": {
                    "config": {"trigger": "coverage_degraded", "as_of": request.as_of}
                }
            }
        ),
    )
