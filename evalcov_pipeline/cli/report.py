"""`evalcov report`: the latest score as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from evalcov_pipeline.settings import get_settings


@click.command("report")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write [default: reports/coverage.html in the home].",
)
def command(out: Path | None) -> None:
    """Write the HTML report of the latest score.

    One file that needs no network and no server: open it, send it, print it. Every weekly and
    monthly run writes it too. Reads published.duckdb, so it works while the pipeline runs.
    """
    from evalcov_pipeline.reports.page import write_report

    written = write_report(get_settings(), out)
    click.echo(f"{written.path}: {written.verdict or 'no score yet; the page says what to do'}")
