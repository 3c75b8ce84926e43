"""`evalcov demo`: the committed sample through everything."""

from __future__ import annotations

from pathlib import Path

import click

from evalcov_pipeline.cli.ingest import (
    Kind,
    ingest_files,
    ingest_incident_files,
    ingest_label_files,
    ingest_verdict_files,
)
from evalcov_pipeline.cli.run import run_audit, run_weeks
from evalcov_pipeline.cli.status import print_status
from evalcov_pipeline.core.traffic.weeks import WEEK
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import DEMO_MARK, Settings, get_settings

RATER = "demo"
"""Who labels in the demo: nobody."""
SAMPLE = Path(__file__).parents[2] / "data" / "sample"
_KINDS: dict[Kind, str] = {"traces": "traces/*", "evals": "evals/*", "results": "results/*"}


@click.command("demo")
@click.option(
    "--refresh",
    "budget",
    type=click.IntRange(min=1),
    help="Then add this many cases: plan, draw, label (by an invented rater), merge, score again.",
)
def command(budget: int | None) -> None:
    """Run the whole pipeline on the sample that comes with it.

    Ten weeks of an invented support assistant's traffic: every week is scored, and the traffic is
    clustered twice. Takes some minutes; running it again changes nothing.
    """
    settings = get_settings()
    _prepare(settings)
    for kind, pattern in _KINDS.items():
        ingest_files(settings, kind, sorted(SAMPLE.glob(pattern)))
    _bring_up_to_date(settings)
    ingest_verdict_files(settings, [SAMPLE / "verdicts.jsonl.gz"])
    ingest_label_files(settings, [SAMPLE / "annotations.jsonl.gz"])
    ingest_incident_files(settings, [SAMPLE / "incidents.jsonl"])
    run_sample(settings)
    run_audit(settings)
    if budget:
        close_loop(settings, budget)
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


def _bring_up_to_date(settings: Settings) -> None:
    """Turn the imported traces into the lake's turns, which labels and incidents are about."""
    from evalcov_pipeline.cli import jobs

    with jobs.instance(settings) as instance:
        jobs.bring_traces_up_to_date(settings, instance)


def run_sample(settings: Settings) -> None:
    """Score every week: cluster after five weeks and at the end, as a monthly schedule would."""
    from evalcov_pipeline.storage.lake import traffic_span

    span = traffic_span(settings.lake)
    if span is None:
        raise BadInput(
            what="the sample holds no traffic",
            where=str(SAMPLE),
            what_to_do="restore data/sample from the repository",
        )
    first, last = span
    fifth = first + 4 * WEEK
    run_weeks(settings, "monthly_taxonomy", fifth.date())
    run_weeks(settings, "weekly_coverage", (last - WEEK).date(), first.date())
    run_weeks(settings, "monthly_taxonomy", last.date())


def close_loop(settings: Settings, budget: int) -> None:
    """Plan a refresh unless there is one, label its queries, and score the last week again.

    The labels are invented: four of five queries are kept, with the answer of production.
    """
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.cli.progress import say
    from evalcov_pipeline.core.labels.decision import Purpose
    from evalcov_pipeline.defs.support.partitions import now
    from evalcov_pipeline.services.home import warehouse_of
    from evalcov_pipeline.services.labels.queue import record_labels, tasks_for
    from evalcov_pipeline.services.refresh.plan import read_plans
    from evalcov_pipeline.services.traffic.texts import redactor
    from evalcov_pipeline.storage.lake import traffic_span

    warehouse = warehouse_of(settings)
    with warehouse.reader() as con:
        planned = not read_plans(con).is_empty()
    if not planned:
        config = {"refresh_plans": {"config": {"trigger": "manual", "budget": budget}}}
        with jobs.instance(settings) as instance:
            jobs.run_job(settings, "refresh", instance, ops=config)
    with warehouse.writer() as con:
        tasks = [task for task in tasks_for(con, RATER) if task.purpose is Purpose.NEW_CASE]
        labels = [
            {"task_id": task.task_id, "rater": RATER, "keep": number % 5 != 4, "passed": True}
            | {"expected": task.answer, "category": task.category}
            for number, task in enumerate(tasks)
        ]
        record_labels(
            con,
            labels,
            via="demo",
            recorded_at=now(),
            redact_all=redactor(settings.redaction),
        )
    if labels:
        say(f"labels: {len(labels)} queries labelled by an invented rater")
        span = traffic_span(settings.lake)
        assert span is not None
        run_weeks(settings, "weekly_coverage", span[1].date())
    with warehouse.reader() as con:
        plan = read_plans(con).drop_nulls("n_kept").row(0, named=True)
    click.echo(
        f"\nRefresh {plan['plan_id']}: {plan['n_candidates']} queries drawn,"
        f" {plan['n_kept']} kept; divergence {plan['jsd_before']:.3f} before,"
        f" {plan['jsd_projected']:.3f} expected, {plan['jsd_after']:.3f} reached"
    )
