"""When jobs run by the clock. Schedules start stopped; a team switches them on in the UI."""

from datetime import datetime, timedelta

import dagster as dg

from evalcov_pipeline.core.traffic.weeks import WEEK, week_of
from evalcov_pipeline.defs.automation import jobs
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import days_pending


@dg.schedule(
    job=jobs.daily_traces, name="daily_traces", cron_schedule="30 1 * * *", execution_timezone="UTC"
)
def daily_traces(
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
    job=jobs.weekly_coverage,
    name="weekly_coverage",
    cron_schedule="0 4 * * 1",
    execution_timezone="UTC",
)
def weekly_coverage(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every Monday: the week that has just ended."""
    return dg.RunRequest(partition_key=_last_week(context.scheduled_execution_time))


@dg.schedule(
    job=jobs.monthly_taxonomy,
    name="monthly_taxonomy",
    cron_schedule="0 6 1 * *",
    execution_timezone="UTC",
)
def monthly_taxonomy(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every first of the month: cluster the window of the last full week anew."""
    return dg.RunRequest(partition_key=_last_week(context.scheduled_execution_time))


@dg.schedule(
    job=jobs.quarterly_refresh,
    name="quarterly_refresh",
    cron_schedule="0 8 1 1,4,7,10 *",
    execution_timezone="UTC",
)
def quarterly_refresh(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every first day of a quarter, after the month's taxonomy: audit the quarter that ended."""
    yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
    audit = {"failure_audit": {"config": {"day": yesterday.isoformat()}}}
    return dg.RunRequest(run_config={"ops": {**jobs.QUARTERLY, **audit}})


def _last_week(instant: datetime) -> str:
    return week_of((instant - WEEK).date())
