"""`evalcov publish`: the snapshot for readers."""

from __future__ import annotations

import click

from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.warehouse import Warehouse


@click.command("publish")
def command() -> None:
    """Copy the warehouse to published.duckdb for notebooks and dashboards.

    Every job does this as its last step. The copy is swapped in atomically.
    """
    settings = get_settings()
    size = publish(settings)
    click.echo(f"{settings.published}: {size / 1e6:.1f} MB")


def publish(settings: Settings) -> int:
    """Publish the warehouse of these settings; the size of the copy in bytes."""
    return Warehouse(settings.warehouse, settings.lock_timeout_s).publish(settings.published)
