"""`evalcov refresh`: plan and draw new cases now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

SHOWN = 12
"""Units that are listed."""


@click.command("refresh")
@click.option("--budget", type=click.IntRange(min=1), help="Cases to ask for [default: setting].")
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Ask for as many cases as bring the divergence down to this.",
)
@click.option("--replace", is_flag=True, help="Close the waiting tasks of earlier plans first.")
def command(budget: int | None, target: float | None, replace: bool) -> None:
    """Plan where new eval cases are needed, draw queries and sessions, and queue them for labels.

    The plan answers the newest score. While an earlier plan waits for labels, it is shown instead.
    """
    if budget and target:
        raise BadInput(
            what="both a number of cases and a target are given",
            where="--budget, --target",
            what_to_do="choose one",
        )
    config = {"trigger": "manual", "budget": budget, "target": target, "replace": replace}
    run_refresh(get_settings(), "refresh", config)


def run_refresh(settings: Settings, job: str, config: Mapping[str, Any]) -> None:
    """Run a job that plans a refresh, and print the plan.

    Raises:
        BadInput: there is no score to answer, or the target cannot be reached.
    """
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.services.home import warehouse_of
    from evalcov_pipeline.services.labels.queue import waiting_by_route
    from evalcov_pipeline.services.refresh.plan import read_plan

    with jobs.instance(settings) as instance:
        result = jobs.run_job(settings, job, instance, ops={"refresh_plans": {"config": config}})
    written = next(
        event
        for event in result.asset_materializations_for_node("refresh_plans")
        if event.asset_key.to_user_string() == "refresh_plans"
    )
    with warehouse_of(settings).reader() as con:
        plan = read_plan(con, str(written.metadata["plan"].value))
        waiting = waiting_by_route(con, str(written.metadata["plan"].value))
    if not written.metadata["is_new"].value:
        click.echo(
            f"plan {plan['plan_id']} still waits for {sum(waiting.values())} labels, so nothing"
            " new is planned; --replace closes it"
        )
    else:
        n_sessions = plan["n_sessions"] or 0
        drawn = f"{plan['n_candidates'] - n_sessions} queries"
        drawn += f" and {n_sessions} whole sessions" if n_sessions else ""
        click.echo(f"plan {plan['plan_id']}: {drawn}, because:")
        click.echo(f"  {plan['reason']}")
    targets = orjson.loads(plan["targets"])
    for unit in targets[:SHOWN]:
        whole = "whole sessions: " if unit.get("unit") == "session" else ""
        click.echo(f"  {unit['cases']:4d}  {unit['status']:<16} {whole}{unit['label']}")
    if rest := targets[SHOWN:]:
        click.echo(f"  {sum(unit['cases'] for unit in rest):4d}  in {len(rest)} others")
    if plan["note"]:
        click.echo(plan["note"])
    click.echo(
        f"Divergence {_score(plan['jsd_before'])} now, {_score(plan['jsd_projected'])} expected"
        f" once {plan['keep_rate']:.0%} of them are kept; by number of cases:"
    )
    curve = orjson.loads(plan["curve"] or "[]")
    click.echo("  " + "   ".join(f"{p['cases']}: {_score(p['jsd_projected'])}" for p in curve))
    if plan["session_jsd_before"] is not None:
        before, expected = plan["session_jsd_before"], plan["session_jsd_projected"]
        click.echo(f"Divergence of sessions {_score(before)} now, {_score(expected)} expected")
    if not waiting:
        return
    queues = ", ".join(f"{tasks} in {route}" for route, tasks in waiting.items())
    click.echo(f"Waiting: {queues}")
    click.echo("Next: label them: `evalcov review`, or `evalcov export queue`")


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
