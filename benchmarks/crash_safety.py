"""Kills commands at their changes to files, starts them again, compares with undisturbed homes.

A change is a call to the system that creates, writes, truncates, syncs, renames or removes a file
of the home, made by Python, DuckDB, Arrow or SQLite alike. Kinds of trouble:

    kill      SIGKILL before the change
    tear      SIGKILL after half of the change if it writes, else before it
    full      no space on the disk from the change on; the command must end with one line, code 3
    dagster   SIGKILL before a change to Dagster's own databases
    any time  SIGKILL at a random moment
    pair      two commands at once, both to their end

After each, the command is started again and must end with 0; tables, published tables, lake and
files must equal those of an undisturbed home (wall-clock columns aside), with nothing unfinished
left and no open run in Dagster.

    python benchmarks/crash_safety.py              # at most 12 changes of each kind and command
    python benchmarks/crash_safety.py --most 0     # every change: hours
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from evalcov_pipeline.cli import BAD_INPUT
from evalcov_pipeline_tests.crash.homes import (
    Commands,
    Ended,
    Fault,
    Step,
    commands,
    differences,
    disturb,
    life,
)

OUT = Path(__file__).parent / "out" / "crash_safety.json"
PAIRS = (
    ("ingest traces", "ingest traces"),
    ("ingest evals", "ingest evals"),
    ("daily_traces, weekly_coverage", "daily_traces, weekly_coverage"),
    ("daily_traces, weekly_coverage", "publish"),
    ("daily_traces, monthly_taxonomy", "daily_traces, monthly_taxonomy"),
)


@click.command()
@click.option("--most", default=12, show_default=True, help="Changes per kind; 0 for every one.")
@click.option("--seed", default=7, show_default=True)
@click.option("--only", default="", help="Part of the name of a command, or ' + ' for pairs.")
def main(most: int, seed: int, only: str) -> None:
    """Print a row per command and kind of trouble, and write what went wrong as JSON."""
    rows, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary, commands(Path(temporary)) as running:
        folder = Path(temporary)
        print(f"{'command':<32} {'trouble':<9} {'changes':>7} {'tried':>6} {'equal':>6}")
        for row in _trials(running, folder, most, random.Random(seed), only):
            rows.append(row)
            print(
                f"{row['command']:<32} {row['trouble']:<9} {row['changes']:>7} {row['tried']:>6}"
                f" {row['equal']:>6}",
                flush=True,
            )
            for problem in row["problems"]:
                print(f"    {problem}")
    OUT.parent.mkdir(exist_ok=True)
    seconds = round(time.perf_counter() - began)
    OUT.write_text(json.dumps({"seed": seed, "seconds": seconds, "rows": rows}, indent=2))
    print(f"{seconds} s; {OUT}")


def _trials(
    running: Commands, folder: Path, most: int, rng: random.Random, only: str
) -> Iterator[dict[str, Any]]:
    steps = {step.name: step for step in life(running, folder)}
    home = folder / "disturbed"
    for step in (step for name, step in steps.items() if only in name):
        crash = partial(_crash, running, step, home)
        for fault in Fault:
            chosen = _chosen(step.changes, most, rng)
            trials = [partial(crash, at, fault) for at in chosen]
            yield _row(step.name, fault.name.lower(), step.changes, trials, home)
        changes, seconds = _in_dagster(running, step, home)
        chosen = _chosen(changes, most or 100, rng)
        trials = [partial(crash, at, Fault.KILL, in_dagster=True) for at in chosen]
        yield _row(step.name, "dagster", changes, trials, home)
        moments = [rng.uniform(0, seconds) for _ in range(most or 100)]
        trials = [partial(_kill_after, running, step, home, moment) for moment in moments]
        yield _row(step.name, "any time", step.changes + changes, trials, home)
    for one, other in PAIRS:
        if only in (name := f"{one} + {other}"):
            pair = partial(_pair, running, steps[one], steps[other], home)
            yield _row(name, "pair", 0, [pair], home)


def _row(
    command: str, trouble: str, changes: int, trials: list[partial[list[str]]], home: Path
) -> dict[str, Any]:
    problems = []
    for trial in trials:
        shutil.rmtree(home, ignore_errors=True)
        problems += trial()
    shutil.rmtree(home, ignore_errors=True)
    return {
        "command": command,
        "trouble": trouble,
        "changes": changes,
        "tried": len(trials),
        "equal": len(trials) - len(problems),
        "problems": problems,
    }


def _chosen(changes: int, most: int, rng: random.Random) -> list[int]:
    every = range(1, changes + 1)
    return list(every) if not most or changes <= most else sorted(rng.sample(every, most))


def _crash(
    running: Commands, step: Step, home: Path, at: int, fault: Fault, *, in_dagster: bool = False
) -> list[str]:
    first, second, problems = disturb(running, step, home, at, fault, in_dagster=in_dagster)
    if fault is Fault.FULL and (first.code not in (0, BAD_INPUT) or "Traceback" in first.said):
        problems.append(f"code {first.code} on a full disk")
    return _report(f"change {at}: {first.last}", second, problems, home)


def _kill_after(running: Commands, step: Step, home: Path, seconds: float) -> list[str]:
    shutil.copytree(step.before, home)
    pid = running.start(home, *step.arguments)
    time.sleep(seconds)
    running.kill(pid)
    second = running.run(home, *step.arguments)
    return _report(f"after {seconds:.2f} s", second, differences(home, step.after), home)


def _pair(running: Commands, one: Step, other: Step, home: Path) -> list[str]:
    shutil.copytree(one.before, home)
    pids = [running.start(home, *step.arguments) for step in (one, other)]
    ended = [running.wait(pid) for pid in pids]
    problems = [each.said for each in ended if each.code] + differences(home, one.after)
    return _report("at once", ended[0], problems, home)


def _report(where: str, second: Ended, problems: list[str], home: Path) -> list[str]:
    if second.code:
        problems.insert(0, f"started again: code {second.code}: {second.said[-300:]}")
    if not problems:
        return []
    return [f"{where}: {'; '.join(problems[:4])}".replace(str(home), "~")]


def _in_dagster(running: Commands, step: Step, home: Path) -> tuple[int, float]:
    """Changes to Dagster's databases by an undisturbed command, and its seconds."""
    shutil.copytree(step.before, home)
    began = time.perf_counter()
    changes = running.run(home, *step.arguments, in_dagster=True).changes
    return changes, time.perf_counter() - began


if __name__ == "__main__":
    main()
