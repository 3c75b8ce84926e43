"""What a person sees while something long runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click


def say(line: str) -> None:
    """Print one line for people; standard output stays for results."""
    click.echo(line, err=True)


@contextmanager
def rows_read(what: str) -> Iterator[Callable[[Path, int], None]]:
    """Progress of an import: a spinner on a terminal, a line per 100,000 rows elsewhere."""
    if sys.stderr.isatty():
        from rich.progress import Progress, SpinnerColumn, TextColumn

        with Progress(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as bar:
            task = bar.add_task(what)
            yield lambda path, rows: bar.update(task, description=f"{path.name}: {rows:,} rows")
        return
    shown: dict[Path, int] = {}

    def line(path: Path, rows: int) -> None:
        if rows // 100_000 > shown.get(path, 0):
            shown[path] = rows // 100_000
            say(f"  {path.name}: {rows:,} rows")

    yield line
