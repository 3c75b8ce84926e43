"""`evalcov refresh`: plan new cases now."""

from __future__ import annotations

import click
import orjson

from evalcov_pipeline.settings import get_settings


@click.command("refresh")
@click.option("--budget", type=click.IntRange(min=1), help="Cases to ask for [default: setting].")
def command(budget: int | None) -> None:
    """Plan which clusters need new eval cases, and how many, from the newest score."""
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.storage.warehouse import Warehouse, one_row

    settings = get_settings()
    config = {"trigger": "manual", "budget": budget}
    with jobs.instance(settings) as instance:
        result = jobs.run_job(
            settings, "refresh", instance, ops={"refresh_plans": {"config": config}}
        )
    (written,) = result.asset_materializations_for_node("refresh_plans")
    with Warehouse(settings.warehouse, settings.lock_timeout_s).reader() as con:
        plan = one_row(
            con, "SELECT * FROM refresh_plans WHERE plan_id = ?", [written.metadata["plan"].value]
        )
    assert plan is not None
    click.echo(f"plan {plan['plan_id']}: {plan['budget']} cases, because: {plan['reason']}")
    for target in orjson.loads(plan["targets"]):
        click.echo(f"  {target['cases']:4d}  {target['status']:<16} {target['label']}")
