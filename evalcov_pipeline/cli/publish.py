"""`evalcov publish`: the snapshot for readers."""

from __future__ import annotations

import click

from evalcov_pipeline.services.home import publish
from evalcov_pipeline.settings import get_settings


@click.command("publish")
def command() -> None:
    """Copy the warehouse to published.duckdb for notebooks and dashboards.

    Every job does this as its last step. The copy is swapped in atomically.
    """
    settings = get_settings()
    size = publish(settings)
    click.echo(f"{settings.published}: {size / 1e6:.1f} MB")
