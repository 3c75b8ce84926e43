"""`python -m evalcov_pipeline.simulator --out data/sample --seed 7`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from evalcov_pipeline.simulator.sample import START, write_sample


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--weeks", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--start", default=str(START), show_default=True, type=click.DateTime(["%Y-%m-%d"]))
@click.option("--sessions-per-day", default=48.0, show_default=True, type=click.FloatRange(min=0.1))
def main(out: Path, seed: int, weeks: int, start: datetime, sessions_per_day: float) -> None:
    """Write a sample of simulated traffic, evals, results and labels."""
    try:
        sample = write_sample(out, seed, weeks, start.date(), sessions_per_day)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--start") from error
    click.echo(
        f"{sample.folder}: {sample.sessions:,} sessions, {sample.turns:,} turns, {sample.spans:,} "
        f"spans, {sample.cases} cases, {sample.bytes / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
