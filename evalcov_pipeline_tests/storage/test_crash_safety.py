"""Nothing is lost, half there or left over: not by kills, full disks, clocks, or two at once."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import cast

import duckdb
import polars as pl
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from evalcov_pipeline.cli import BAD_INPUT, STOPPED
from evalcov_pipeline.cli.jobs import LAUNCHED_HERE, instance
from evalcov_pipeline.definitions import build_definitions
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.storage.lake import compact_day, days_pending, traffic_span
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline_tests.conftest import made_once, quick_settings
from evalcov_pipeline_tests.crash.homes import (
    Commands,
    Ended,
    Fault,
    Step,
    content,
    counting_library,
    differences,
    disturb,
    life,
    open_runs,
    why_not,
)

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

SEED = 20261121
KILLS = {
    "ingest traces": 3, "ingest traces, another reading": 2, "ingest evals": 2,
    "ingest results": 2, "daily_traces, weekly_coverage": 1, "ingest incidents": 2, "publish": 3,
}  # fmt: skip
"""Kills by command here; `benchmarks/crash_safety.py` has more of them, and the monthly job."""


@pytest.fixture(scope="module")
def steps(evalcov: Commands, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    def live(folder: Path) -> None:
        lived = life(evalcov, folder, until="daily_traces, monthly_taxonomy")
        (folder / "steps").write_bytes(pickle.dumps({step.name: step for step in lived}))

    steps = (made_once(tmp_path_factory, "life", live) / "steps").read_bytes()
    return cast("dict[str, Step]", pickle.loads(steps))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_command_started_again_leaves_what_an_undisturbed_one_does(
    evalcov: Commands, steps: dict[str, Step], tmp_path: Path, name: str
) -> None:
    step = steps[name]
    rng = random.Random(f"{SEED} {name}")
    for at in rng.sample(range(1, step.changes + 1), KILLS[name]):
        fault = rng.choice([Fault.KILL, Fault.TEAR])
        killed, again, left = disturb(evalcov, step, tmp_path / str(at), at, fault)
        assert killed.code == -signal.SIGKILL, killed
        assert (again.code, left) == (0, []), (killed.last, again.said)


WRITE_KILLED_AT_EVERY_CHANGE = """
import ctypes, itertools, os, sys
from pathlib import Path
from typing import cast
from evalcov_pipeline.storage.files import write_whole

arm = ctypes.CDLL(sys.argv[1]).arm
arm.argtypes = [ctypes.c_char_p] * 2 + [ctypes.c_long, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
for at in itertools.count(1):
    root = Path(sys.argv[2], str(at))
    child = os.fork()
    if child == 0:
        report = ctypes.create_string_buffer(512)
        arm(bytes(root), b"", at, 0, 0, report)
        write_whole(root, root / "kept", b"content")
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_a_file_whose_writer_is_killed_is_absent_or_whole_with_nothing_beside_it(
    tmp_path: Path,
) -> None:
    library = counting_library(tmp_path)
    subprocess.run(
        [sys.executable, "-c", WRITE_KILLED_AT_EVERY_CHANGE, library, tmp_path / "killed"],
        env={**os.environ, "LD_PRELOAD": str(library)},
        check=True,
    )
    *killed, ended = sorted((tmp_path / "killed").iterdir(), key=lambda root: int(root.name))
    assert len(killed) >= 4  # made, written, moved
    for root in (*killed, ended):
        if (root / "kept").exists():
            assert (root / "kept").read_bytes() == b"content"
            assert [path.name for path in root.glob(".unfinished/*")] == ["lock"]


@pytest.mark.parametrize("name", ["ingest traces", "ingest results", "publish"])
def test_a_full_disk_is_one_clear_line_and_costs_nothing(
    evalcov: Commands, steps: dict[str, Step], home: Path, name: str
) -> None:
    step = steps[name]
    at = random.Random(f"{SEED} {name}").randrange(1, step.changes // 2)
    full, again, left = disturb(evalcov, step, home, at, Fault.FULL)
    assert "space" in refused(full)
    assert (again.code, left) == (0, []), (full.last, again.said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_says_so_in_one_line(
    evalcov: Commands, steps: dict[str, Step], home: Path, number: signal.Signals
) -> None:
    step = steps["daily_traces, weekly_coverage"]
    shutil.copytree(step.before, home)
    pid = evalcov.start(home, *step.arguments)
    wait_for(lambda: any((home / "lake" / "traces").glob("*/*.parquet")))
    os.kill(pid, number)
    stopped = evalcov.wait(pid)
    assert stopped.code == STOPPED
    assert "Traceback" not in stopped.said
    assert stopped.said.endswith("evalcov: stopped; start it again to go on\n")
    assert open_runs(home) == []


def test_two_imports_at_once_do_what_one_after_the_other_does(
    evalcov: Commands, steps: dict[str, Step], home: Path
) -> None:
    traces, evals = steps["ingest traces"], steps["ingest evals"]
    home.mkdir()
    pids = [evalcov.start(home, *step.arguments) for step in (traces, traces, evals, evals)]
    for ended in map(evalcov.wait, pids):
        assert ended.code == 0, ended.said
    assert differences(home, evals.after) == []


def test_whoever_reads_the_published_file_keeps_their_snapshot(
    evalcov: Commands, steps: dict[str, Step], home: Path
) -> None:
    step = steps["ingest results"]
    shutil.copytree(step.before, home)
    with duckdb.connect(home / "published.duckdb", read_only=True) as reader:
        assert evalcov.run(home, *step.arguments).code == 0
        assert reader.sql("SELECT count(*) FROM eval_results").fetchone() == (0,)
    assert differences(home, step.after) == []


@pytest.mark.parametrize("days", [-30, 400])
def test_a_clock_that_jumps_between_commands_changes_no_number(
    evalcov: Commands, steps: dict[str, Step], home: Path, days: int
) -> None:
    evals, results = steps["ingest evals"], steps["ingest results"]
    shutil.copytree(evals.before, home)
    for step in (evals, results):
        assert evalcov.run(home, *step.arguments, clock_offset_s=days * 86_400).code == 0
    assert differences(home, results.after) == []
    edit = home.parent / "edit.jsonl"
    edit.write_text('{"case_id": "case-003", "input": "edited"}\n')
    assert evalcov.run(home, "ingest", "evals", str(edit)).code == 0
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        versions = con.sql(
            "SELECT version, valid_from <= valid_to AS ordered FROM eval_case_versions"
            " WHERE case_id = 'case-003' ORDER BY version"
        ).fetchall()
        newest = con.sql("SELECT input FROM eval_cases WHERE case_id = 'case-003'").fetchall()
    assert (versions, newest) == ([(1, True), (2, None)], [("edited",)])


def test_runs_of_dead_processes_are_marked_as_failed_and_those_of_living_ones_are_not(
    tmp_path: Path,
) -> None:
    settings = quick_settings(tmp_path / "home")
    job = build_definitions(settings).resolve_job_def("refresh")
    with instance(settings) as living:
        run = living.create_run_for_job(job, tags=LAUNCHED_HERE, status=DagsterRunStatus.STARTED)
        elsewhere = living.create_run_for_job(job, status=DagsterRunStatus.STARTED)
        with instance(settings) as beside:
            assert status(beside, run.run_id) == DagsterRunStatus.STARTED
    with instance(settings) as later:
        assert status(later, run.run_id) == DagsterRunStatus.FAILURE
        assert status(later, elsewhere.run_id) == DagsterRunStatus.STARTED


def status(on: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = on.get_run_by_id(run_id)
    assert run
    return run.status


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.fixture
def lake(steps: dict[str, Step], home: Path) -> Path:
    shutil.copytree(steps["publish"].before, home)
    return home / "lake"


def test_a_damaged_staged_file_is_named_and_mended_by_importing_again(
    evalcov: Commands, steps: dict[str, Step], lake: Path
) -> None:
    arguments = steps["ingest traces"].arguments
    damaged = sorted(lake.glob("staging/date=*/*.parquet"))[0]
    whole = damaged.read_bytes()
    half(damaged)
    day = date.fromisoformat(damaged.parent.name.removeprefix("date="))
    with pytest.raises(BadInput, match=f"{damaged}.*delete it, then import {arguments[-1]}"):
        compact_day(lake, day)
    damaged.unlink()
    assert evalcov.run(lake.parent, *arguments).code == 0
    assert damaged.read_bytes() == whole
    assert compact_day(lake, day).changed is False


def test_half_a_receipt_counts_as_none(
    evalcov: Commands, steps: dict[str, Step], lake: Path
) -> None:
    (receipt,) = lake.glob("staging/files/*.json")
    whole = receipt.read_bytes()
    half(receipt)
    assert evalcov.run(lake.parent, *steps["ingest traces"].arguments).code == 0
    assert receipt.read_bytes() == whole


def test_a_damaged_day_of_the_lake_is_named_and_compacted_anew(lake: Path) -> None:
    damaged = sorted(lake.glob("traces/date=*/*.parquet"))[-1]
    whole = damaged.read_bytes()
    half(damaged)
    with pytest.raises(BadInput, match=f"{damaged}.*evalcov run"):
        traffic_span(lake)
    (day,) = days_pending(lake)
    compact_day(lake, day)
    assert damaged.read_bytes() == whole


def test_damaged_vectors_are_named(lake: Path) -> None:
    shard = sorted(lake.glob("vectors/*/*.parquet"))[0]
    text_hash = pl.read_parquet(shard)["text_hash"][0]
    half(shard)
    cache = VectorCache(lake / "vectors", shard.parent.name, 256)
    for read in (cache.missing, cache.get):
        with pytest.raises(BadInput, match=f"{shard}.*delete it"):
            read([text_hash])


@pytest.mark.parametrize("name", ["arrays.npz", "taxonomy.json"])
def test_a_damaged_taxonomy_says_which_window_to_fit_again(lake: Path, name: str) -> None:
    folder = lake.parent / "taxonomies"
    taxonomy = sorted(folder.glob("2*"))[0]
    half(taxonomy / name)
    with pytest.raises(BadInput, match="evalcov run monthly --as-of 2026-10-04"):
        taxonomies.load(folder, taxonomy.name)
    assert not taxonomies.is_intact(folder, taxonomy.name, with_space=False)


@pytest.mark.parametrize("damage", [half, lambda file: file.write_bytes(b"garbage" * 999)])
def test_a_damaged_warehouse_is_restored_from_the_published_copy(
    evalcov: Commands, steps: dict[str, Step], home: Path, damage: Callable[[Path], object]
) -> None:
    step = steps["publish"]
    shutil.copytree(step.before, home)
    damage(home / "warehouse.duckdb")
    assert "copy published.duckdb in its place" in refused(evalcov.run(home, "publish"))
    shutil.copy(home / "published.duckdb", home / "warehouse.duckdb")
    damage(home / "published.duckdb")
    assert "evalcov publish" in refused(evalcov.run(home, "status"))
    assert evalcov.run(home, "publish").code == 0
    assert content(home) == step.after


def refused(ended: Ended) -> str:
    """What a command said that ended with bad input, in one line."""
    assert ended.code == BAD_INPUT, ended
    assert "Traceback" not in ended.said
    return ended.said.strip().splitlines()[-1]


def wait_for(happens: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.02)
