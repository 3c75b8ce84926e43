"""`evalcov ui`: Dagster's UI over this home."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from evalcov_pipeline.settings import get_settings


@click.command("ui")
@click.option("--port", default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
def command(port: int, host: str) -> None:
    """Open Dagster's UI with the pipeline's assets, jobs, schedules and sensors.

    Schedules and sensors start switched off: switch them on under Automation.
    """
    from evalcov_pipeline.cli.jobs import use_dagster_home

    settings = get_settings()
    use_dagster_home(settings)
    click.echo(f"http://{host}:{port}  (Automation: switch schedules and sensors on)", err=True)
    dagster = Path(sys.executable).with_name("dagster")
    arguments = ["dev", "-m", "evalcov_pipeline.definitions", "-h", host, "-p", str(port)]
    os.execv(dagster, [str(dagster), *arguments])
