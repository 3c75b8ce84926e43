"""`evalcov run`: the scheduled jobs, in this process."""

from __future__ import annotations

from datetime import date, datetime

import click

from evalcov_pipeline.cli.status import print_status
from evalcov_pipeline.core.traffic import weeks
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

JOBS = {"weekly": "weekly_coverage", "monthly": "monthly_taxonomy"}
QUARTERLY = "quarterly"


@click.command("run")
@click.argument("what", type=click.Choice([*JOBS, QUARTERLY]), default="weekly")
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
    quarterly: hold the quarter's failures against the suite, and plan a refresh of it, whether or
    not the score is degraded.

    The first weekly run fits a taxonomy. Runs appear in Dagster's UI like scheduled ones.
    """
    settings = get_settings()
    if what == QUARTERLY:
        if since:
            raise BadInput("a refresh answers one week's score", "--since", "leave it out")
        run_quarterly(settings, as_of.date() if as_of else None)
        return
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
    from evalcov_pipeline.defs.automation.jobs import REFIT
    from evalcov_pipeline.defs.support.partitions import newest_week, now

    with jobs.instance(settings) as instance:
        days = jobs.bring_traces_up_to_date(settings, instance)
        if days:
            say(f"traces: {days} days brought up to date")
        newest = newest_week(settings)
        if newest is None:
            raise BadInput(
                what=f"no production traffic from {settings.first_partition} on was imported",
                where=str(settings.lake),
                what_to_do="run `evalcov ingest traces FILES` first; for older traffic set"
                " first_partition to a Monday before it",
            )
        last = weeks.week_of(as_of) if as_of else newest
        first = weeks.week_of(since) if since else last
        running = weeks.week_of(now().date())
        if first < settings.first_partition.isoformat() or not first <= last <= running:
            raise BadInput(
                what=f"weeks {first} to {last} cannot be scored",
                where="--as-of, --since",
                what_to_do=f"choose days from {settings.first_partition} to today, --since not"
                " after --as-of; an earlier start is the setting first_partition",
            )
        say(f"{job}: week of {last}" if first == last else f"{job}: weeks of {first} to {last}")
        ops = REFIT if job == "monthly_taxonomy" else None
        jobs.run_job(settings, job, instance, partitions=[first, last], ops=ops)
    return weeks.as_of(last)


def run_quarterly(settings: Settings, as_of: date | None = None) -> None:
    """Audit the failures of a quarter, then plan a refresh from the score of a week in it.

    Args:
        settings: of the pipeline.
        as_of: a day of the week whose score is answered, and of the quarter; the newest by default.

    Raises:
        BadInput: there is no traffic, or no score of that week.
    """
    from evalcov_pipeline.cli.refresh import run_refresh

    run_audit(settings, as_of)
    config: dict[str, str] = {"trigger": "schedule"}
    if as_of:
        config["as_of"] = weeks.as_of(weeks.week_of(as_of)).isoformat()
    run_refresh(settings, "refresh", config)


def run_audit(settings: Settings, as_of: date | None = None) -> None:
    """Audit the failures of a quarter, print what was found, and write the report anew.

    Args:
        settings: of the pipeline.
        as_of: a day of the quarter, which is seen until the end of its week; the newest traffic's
            by default.

    Raises:
        BadInput: there is no traffic.
    """
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.cli.audit import print_audit

    day = as_of.isoformat() if as_of else None
    with jobs.instance(settings) as instance:
        result = jobs.run_job(
            settings, "quarterly_refresh", instance,
            ops={"failure_audit": {"config": {"day": day}}},
            only=["failure_audit", "published", "coverage_report"],
        )  # fmt: skip
    (written,) = result.asset_materializations_for_node("failure_audit")
    print_audit(settings, str(written.metadata["quarter"].value))
