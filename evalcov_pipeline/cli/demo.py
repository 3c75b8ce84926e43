"""`evalcov demo`: the committed sample through everything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from evalcov_pipeline.cli.ingest import DEMO_MARK, Kind, ingest_files
from evalcov_pipeline.cli.run import run_weeks
from evalcov_pipeline.cli.status import print_status
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
_KINDS: dict[Kind, str] = {"traces": "traces/*", "evals": "evals/*", "results": "results/*"}


@click.command("demo")
def command() -> None:
    """Run the whole pipeline on the sample that comes with it.

    Ten weeks of an invented support assistant's traffic: every week is scored, and the traffic is
    clustered twice. Takes some minutes; running it again changes nothing.
    """
    settings = get_settings()
    _prepare(settings)
    for kind, pattern in _KINDS.items():
        ingest_files(settings, kind, sorted(SAMPLE.glob(pattern)))
    run_sample(settings)
    print_status(settings)
    click.echo(f"Tables: {settings.published} (open read-only); UI: `make ui`")


def _prepare(settings: Settings) -> None:
    """Refuse a home with other data, mark an empty one."""
    if not SAMPLE.exists():
        raise BadInput(
            what="the sample is not there",
            where=str(SAMPLE),
            what_to_do="run the demo from a clone of the repository",
        )
    mark = settings.home / DEMO_MARK
    theirs = settings.warehouse.exists() or (settings.lake / "staging").exists()
    if theirs and not mark.exists():
        raise BadInput(
            what="this home holds data that is not the demo's",
            where=str(settings.home),
            what_to_do="choose another home: EVALCOV_HOME=/tmp/demo evalcov demo",
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    mark.write_text("This home holds the demo's traffic.\n", encoding="utf-8")


def run_sample(settings: Settings) -> None:
    """Score every week: cluster after five weeks and at the end, as a monthly schedule would."""
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.storage.lake import traffic_span

    with jobs.instance(settings) as instance:
        jobs.bring_traces_up_to_date(settings, instance)
    span = traffic_span(settings.lake)
    if span is None:
        raise BadInput(
            what="the sample holds no traffic",
            where=str(SAMPLE),
            what_to_do="restore data/sample from the repository",
        )
    first, last = span
    fifth = first + timedelta(weeks=4)
    run_weeks(settings, "monthly_taxonomy", fifth.date())
    run_weeks(settings, "weekly_coverage", (last - timedelta(weeks=1)).date(), first.date())
    run_weeks(settings, "monthly_taxonomy", last.date())
