"""`evalcov doctor`: is the environment sound, is the data?"""

from __future__ import annotations

import click

from evalcov_pipeline.cli import CHECK_FAILED
from evalcov_pipeline.errors import one_line
from evalcov_pipeline.settings import get_settings


@click.command("doctor")
def command() -> int:
    """Check the environment and the data; exits with 1 if a check says no."""
    from evalcov_pipeline.services.health import checks

    failed = False
    for check in checks(get_settings()):
        failed |= not check.passed
        click.echo(
            f"{'ok  ' if check.passed else 'FAIL'}  {check.name:<22} {one_line(check.finding)}"
        )
    return CHECK_FAILED if failed else 0
