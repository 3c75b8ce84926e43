"""Every figure in the README and in docs/, printed by one command.

Each script runs in a process of its own, one after the other, prints its tables and writes them to
benchmarks/out/NAME.json; a script that fails does not keep the others from running.

    python -m benchmarks --data ../shared/data              # one to two hours on two cores
    python -m benchmarks --data ../shared/data --quick      # smaller, to see that all of it works
    python -m benchmarks --data ../shared/data --only speed

The folder of real data holds `banking77/train.csv` and `test.csv` (text, category) and
`sgd/dialogues.jsonl` (Schema-Guided Dialogue); intents in them only measure.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Benchmark:
    """A script, whether it reads the real data, and what makes it quick."""

    answers: str
    needs_data: bool = False
    quick: tuple[str, ...] = ()
    full: tuple[str, ...] = ()


BENCHMARKS = {
    "calibration": Benchmark("How often is the score wrong?", True, ("--quick",)),
    "sequences": Benchmark("How often is the order of steps misread?", False, ("--quick",)),
    "blind_spots": Benchmark(
        "Which untested texts are found?", True, ("--seeds", "1"), ("--probe",)
    ),
    "banking77": Benchmark(
        "What does the whole pipeline make of known traffic?",
        True,
        ("--seeds", "1", "--modes", "null,gap"),
    ),
    "taxonomy": Benchmark("How good are the clusters?", True, ("--seeds", "1")),
    "failure_signals": Benchmark("How right are signs of failure?", True, ("--seeds", "1")),
    "refresh": Benchmark("Which queries should be added?", True, ("--quick",)),
    "refresh_loop": Benchmark("What does the loop make of a poor suite?", True, ("--seeds", "1")),
    "refresh_sessions": Benchmark("Which whole sessions should be added?", True, ("--seeds", "2")),
    "suggestions": Benchmark("How right are suggested labels?", True, ("--quick",)),
    "sgd": Benchmark("Which kinds of session does a suite leave out?", True, ("--quick",)),
    "sgd_spaces": Benchmark(
        "How else could sessions be clustered?", True, ("--seeds", "1", "--null-suites", "10")
    ),
    "sgd_home": Benchmark(
        "What do whole sessions look like in a home?", True, ("--modes", "failure")
    ),
    "suites": Benchmark("What do a CI suite and its gate notice?", False, ("--quick",)),
    "ci_suites": Benchmark(
        "What does the chosen CI suite come to on the sample?", False, ("--quick",)
    ),
    "judges": Benchmark("Which judges are believed, rightly?", False, ("--quick",)),
    "redaction": Benchmark("How much personal data is taken out?"),
    "crash_safety": Benchmark("What is lost in a crash?", False, ("--most", "2")),
    "fuzz_readers": Benchmark(
        "Can a file stop a reader?", False, ("--inputs", "2000"), ("--inputs", "100000")
    ),
    "automation": Benchmark("Does Dagster's daemon ask for each refresh once?"),
    "speed": Benchmark("How fast, how much memory?", False, ("--quick",)),
    "session_speed": Benchmark(
        "How fast are the features of a million sessions?", False, ("--sessions", "20000")
    ),
}


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Folder of real data.")
@click.option("--only", multiple=True, type=click.Choice(list(BENCHMARKS)), help="Repeatable.")
@click.option("--quick", is_flag=True, help="Smaller sizes: figures are rough.")
def main(data: Path | None, only: tuple[str, ...], quick: bool) -> None:
    """Run the benchmarks and say how each ended."""
    ended = {}
    for name in only or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        click.secho(f"\n{name}: {benchmark.answers}", bold=True)
        if benchmark.needs_data and data is None:
            ended[name] = "skipped: it needs --data"
            continue
        arguments = benchmark.quick if quick else benchmark.full
        if benchmark.needs_data:
            arguments = ("--data", str(data), *arguments)
        began = time.perf_counter()
        code = subprocess.run(
            [sys.executable, HERE / f"{name}.py", *arguments], check=False
        ).returncode
        seconds = time.perf_counter() - began
        ended[name] = f"{'ok' if code == 0 else f'exit {code}'} after {seconds:.0f} s"
    click.echo()
    for name, how in ended.items():
        click.echo(f"{name:<14} {how}")
    sys.exit(any(how.startswith("exit") for how in ended.values()))


if __name__ == "__main__":
    main()
