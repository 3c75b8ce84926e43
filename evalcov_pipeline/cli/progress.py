"""What a person sees while something long runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


def say(line: str) -> None:
    """Print one line for people; standard output stays for results."""
    click.echo(line, err=True)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of `done` out of `total`: a bar on a terminal, a line every tenth elsewhere."""
    if sys.stderr.isatty():
        from rich.progress import Progress

        with Progress(transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    said = -1

    def line(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(total, 1)
        if tenth > said:
            said = tenth
            say(f"  {what}: {done} of {total}")

    yield line
