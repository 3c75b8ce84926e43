"""A small home whose commands are killed, or run out of disk, at a chosen change to its files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any

import duckdb

from evalcov_pipeline_tests.conftest import FIRST_DAY, cases, results, turns, write_jsonl

_SOURCE = Path(__file__).with_name("changes.c")
SETTINGS = {
    "EVALCOV_CONFIG": os.devnull,
    "EVALCOV_EMBEDDING__MODEL": "hashing",
    "EVALCOV_TAXONOMY__METHOD": "kmeans",
    "EVALCOV_TAXONOMY__MIN_CLUSTERS": "2",
    "EVALCOV_TAXONOMY__MAX_CLUSTERS": "4",
    "EVALCOV_COVERAGE__RESAMPLES": "99",
    "EVALCOV_LOCK_TIMEOUT_S": "60",
    "HF_HUB_OFFLINE": "1",
}
"""Settings of a home that is quick to fill."""


class Fault(IntEnum):
    """What happens at the chosen change."""

    KILL = 0
    """SIGKILL before it."""
    TEAR = 1
    """SIGKILL after half of it, if it is a write; else before it."""
    FULL = 2
    """The disk is full from then on."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code, or minus the signal.
        changes: changes to the files of the home that it made, or tried.
        last: the last of them.
        said: what it printed.
    """

    code: int
    changes: int
    last: str
    said: str


class Commands:
    """`evalcov` commands in processes of their own, with faults."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(
        self,
        home: Path,
        *arguments: str,
        at: int = 0,
        fault: Fault = Fault.KILL,
        clock_offset_s: int = 0,
        in_dagster: bool = False,
    ) -> int:
        """Start a command and return its process id; `at` 0 lets it end by itself.

        Changes below `<home>/dagster`, Dagster's own databases, count only `in_dagster`, and then
        no others do.
        """
        dagster = str(home / "dagster")
        folders = (dagster, "") if in_dagster else (str(home), dagster)
        started: int = self._ask([str(home), arguments, *folders, at, fault, clock_offset_s])
        return started

    def wait(self, pid: int) -> Ended:
        """Wait for a command to end."""
        return Ended(*self._ask(pid))

    def kill(self, pid: int) -> Ended:
        """End a command with SIGKILL, if it still runs."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def run(self, home: Path, *arguments: str, **how: Any) -> Ended:
        """Run a command to its end."""
        return self.wait(self.start(home, *arguments, **how))

    def _ask(self, question: object) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(question), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())


def why_not() -> str | None:
    """Why commands cannot be made to crash here, or None."""
    if sys.platform != "linux":
        return "changes to files are counted on Linux only"
    return None if shutil.which("cc") else "no C compiler"


def counting_library(folder: Path) -> Path:
    """What is preloaded to count changes to files, built in `folder`."""
    library = folder / "changes.so"
    build = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(build, check=True)
    return library


@contextlib.contextmanager
def commands(folder: Path) -> Iterator[Commands]:
    """Commands with faults; the counting library is built in `folder`."""
    library = counting_library(folder)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("EVALCOV_", "DAGSTER_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "evalcov_pipeline_tests.crash.server", str(library)],
        env={**inherited, **SETTINGS, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield Commands(server)


@dataclass(frozen=True)
class Step:
    """A command in the life of a home, undisturbed.

    Attributes:
        name: what it does.
        arguments: of `evalcov`.
        before: the home before it.
        after: content of the home after it.
        changes: changes to files that it makes outside Dagster's databases.
    """

    name: str
    arguments: tuple[str, ...]
    before: Path
    after: dict[str, Any]
    changes: int


def life(commands: Commands, folder: Path, until: str = "") -> list[Step]:
    """Two weeks of a small home: imports, clustering, score, incidents, snapshot, refit.

    It ends before the step named `until`.
    """
    inputs = {
        "traffic": turns(weeks=2, sessions_per_day=4),
        "suite": [{**case, "created_at": FIRST_DAY.isoformat()} for case in cases(20)]
        + [{"case_id": "no input"}],
        "results": results("run-1", FIRST_DAY + timedelta(days=8)),
        "incidents": [
            {"incident_id": "i", "title": "t", "trace_ids": ["t-0-0-0"]},
            {"incident_id": "j", "title": "u", "cases": [{"input": "hi", "expected": "ho"}]},
        ],
    }
    traffic, suite, run, happened = (
        str(write_jsonl(folder / "in" / f"{name}.jsonl", rows)) for name, rows in inputs.items()
    )
    home, steps = folder / "undisturbed", []
    home.mkdir()
    for name, *arguments in (
        ("ingest traces", "ingest", "traces", traffic),
        ("ingest evals", "ingest", "evals", suite),
        ("ingest results", "ingest", "results", run),
        ("daily_traces, weekly_coverage", "run", "weekly", "--as-of", f"{FIRST_DAY:%Y-%m-%d}"),
        ("ingest incidents", "ingest", "incidents", happened),
        ("publish", "publish"),
        ("ingest traces, another reading", "ingest", "traces", traffic, "--source", "other"),
        ("daily_traces, monthly_taxonomy", "run", "monthly"),
    ):
        if name == until:
            break
        before = folder / f"before {name}"
        shutil.copytree(home, before)
        ended = commands.run(home, *arguments)
        if ended.code:
            raise RuntimeError(f"{name} fails undisturbed: {ended}")
        steps.append(Step(name, tuple(arguments), before, content(home), ended.changes))
    return steps


def disturb(
    commands: Commands, step: Step, home: Path, at: int, fault: Fault, *, in_dagster: bool = False
) -> tuple[Ended, Ended, list[str]]:
    """Let a command crash at a change and start it again.

    Args:
        commands: to run it with.
        step: the command.
        home: a folder that is not there yet.
        at: which change.
        fault: what happens there.
        in_dagster: count the changes to Dagster's databases instead.

    Returns:
        How both ended, and what then differs from the undisturbed home.
    """
    shutil.copytree(step.before, home)
    first = commands.run(home, *step.arguments, at=at, fault=fault, in_dagster=in_dagster)
    second = commands.run(home, *step.arguments)
    return first, second, differences(home, step.after)


def content(home: Path) -> dict[str, Any]:
    """Everything in a home but Dagster's records and what depends on the clock.

    Tables are sorted; a marked day is named without the random part of its mark.
    """
    found: dict[str, Any] = {}
    for file in sorted(home.rglob("*")):
        name = str(file.relative_to(home))
        if file.is_dir() or name.startswith("dagster/") or file.name in ("lock", "warehouse.lock"):
            continue
        if file.suffix == ".duckdb" and file.parent == home:
            found |= {f"{name}: {table}": rows for table, rows in _tables(file).items()}
        elif file.parent.name == ".locks":
            continue
        elif file.parent.name == "pending":
            found[str(file.parent.relative_to(home) / file.name.partition(".")[0])] = "marked"
        else:
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


CLOCKS = {
    "created_at", "imported_at", "recorded_at", "first_recorded_at", "hash", "previous_hash",
}  # fmt: skip


def _tables(file: Path) -> dict[str, Any]:
    found = {}
    with duckdb.connect(file, read_only=True) as con:
        for (name,) in con.sql("SELECT table_name FROM duckdb_tables()").fetchall():
            rows = con.sql(f"FROM {name} ORDER BY ALL").pl()
            clocks = CLOCKS | (
                {"at"} if name in ("eval_case_events", "warehouse_schema") else set()
            )
            rows = rows.drop(clocks & set(rows.columns))
            columns = [column for column in rows.columns if not rows[column].dtype.is_nested()]
            found[name] = rows.sort(columns, maintain_order=True).rows()
    return found


def differences(home: Path, undisturbed: dict[str, Any]) -> list[str]:
    """What differs from an undisturbed home, leftovers and open runs included; empty if nothing."""
    found = content(home)
    names = sorted(found.keys() | undisturbed.keys())
    differing = [name for name in names if found.get(name) != undisturbed.get(name)]
    folders = [p for p in home.rglob(".unfinished/*") if p.is_dir()]
    return differing + [str(p) for p in folders] + open_runs(home)


def open_runs(home: Path) -> list[str]:
    """Runs that Dagster holds for running or to come."""
    file = home / "dagster" / "history" / "runs.db"
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(file)) as con:
        rows = con.execute("SELECT run_id, status FROM runs").fetchall()
    return [f"run {name} {state}" for name, state in rows if state not in ("SUCCESS", "FAILURE")]
