"""`evalcov run`: the scheduled jobs, in this process."""

from __future__ import annotations

from datetime import date, datetime

import click

from evalcov_pipeline.cli.status import print_status
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

JOBS = {"weekly": "weekly_coverage", "monthly": "monthly_taxonomy"}


@click.command("run")
@click.argument("what", type=click.Choice(sorted(JOBS)), default="weekly")
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Score the week that contains this day [default: the week of the newest traffic].",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Also score every week from the one that contains this day.",
)
def command(what: str, as_of: datetime | None, since: datetime | None) -> None:
    """Run a scheduled job now.

    weekly: bring the imported traces up to date, sample the window, score the suite.
    monthly: the same, after clustering the traffic anew.

    The first weekly run fits a taxonomy. Runs appear in Dagster's UI like scheduled ones.
    """
    settings = get_settings()
    scored = run_weeks(
        settings, JOBS[what], as_of.date() if as_of else None, since.date() if since else None
    )
    print_status(settings, as_of=scored)


def run_weeks(
    settings: Settings, job: str, as_of: date | None = None, since: date | None = None
) -> datetime:
    """Bring traces up to date, then run a weekly job for one week or for several in one run.

    Returns:
        The instant that the last week was scored at.

    Raises:
        BadInput: no traffic was imported, or the week lies before the first partition.
    """
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.cli.progress import say
    from evalcov_pipeline.defs.automation import REFIT
    from evalcov_pipeline.defs.partitions import as_of as partition_end
    from evalcov_pipeline.defs.partitions import now, week_of
    from evalcov_pipeline.storage.lake import traffic_span

    with jobs.instance(settings) as instance:
        days = jobs.bring_traces_up_to_date(settings, instance)
        if days:
            say(f"traces: {days} days brought up to date")
        span = traffic_span(settings.lake)
        if span is None:
            raise BadInput(
                what=f"no production traffic from {settings.first_partition} on was imported",
                where=str(settings.lake),
                what_to_do="run `evalcov ingest traces FILES` first; for older traffic set"
                " first_partition to a Monday before it",
            )
        today = now().date()
        last = week_of(as_of or min(span[1].date(), today))
        first = week_of(since) if since else last
        if first < settings.first_partition.isoformat() or not first <= last <= week_of(today):
            raise BadInput(
                what=f"weeks {first} to {last} cannot be scored",
                where="--as-of, --since",
                what_to_do=f"choose days from {settings.first_partition} to today, --since not"
                " after --as-of; an earlier start is the setting first_partition",
            )
        say(f"{job}: week of {last}" if first == last else f"{job}: weeks of {first} to {last}")
        ops = REFIT if job == "monthly_taxonomy" else None
        jobs.run_job(settings, job, instance, partitions=[first, last], ops=ops)
    return partition_end(last)
