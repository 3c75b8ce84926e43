"""A migration that is killed, runs out of disk or is started twice loses nothing."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import duckdb
import pytest

from evalcov_pipeline.cli import BAD_INPUT
from evalcov_pipeline.storage import schema
from evalcov_pipeline_tests.crash.homes import (
    Commands,
    Fault,
    Step,
    content,
    differences,
    disturb,
    why_not,
)

SEED = 20261201

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@pytest.fixture(scope="module")
def migration(evalcov: Commands, tmp_path_factory: pytest.TempPathFactory) -> Step:
    """The command that migrates a home of version 1 with a table to mend, undisturbed."""
    folder = tmp_path_factory.mktemp("migration")
    before = folder / "before"
    before.mkdir()
    with duckdb.connect(before / "warehouse.duckdb") as con:
        con.execute(schema.migrations()[0].sql)
        con.execute("CREATE OR REPLACE TABLE texts AS SELECT 'h' AS text_hash, 'a text' AS text")
    shutil.copytree(before, folder / "home")
    ended = evalcov.run(folder / "home", "publish")
    assert ended.code == 0, ended
    return Step("publish", ("publish",), before, content(folder / "home"), ended.changes)


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.TEAR])
def test_a_migration_that_is_killed_and_started_again_leaves_what_an_undisturbed_one_does(
    evalcov: Commands, migration: Step, tmp_path: Path, fault: Fault
) -> None:
    for at in random.Random(f"{SEED} {fault}").sample(range(1, migration.changes + 1), 3):
        killed, again, left = disturb(evalcov, migration, tmp_path / str(at), at, fault)
        assert killed.code == -signal.SIGKILL, killed
        assert (again.code, left) == (0, []), (killed.last, again.said)
        shutil.rmtree(tmp_path / str(at))


def test_a_full_disk_stops_a_migration_with_one_clear_line(
    evalcov: Commands, migration: Step, tmp_path: Path
) -> None:
    for at in (2, migration.changes // 3):
        full, again, left = disturb(evalcov, migration, tmp_path / str(at), at, Fault.FULL)
        assert full.code == BAD_INPUT, full
        assert "space" in full.said
        assert "Traceback" not in full.said
        assert (again.code, left) == (0, []), (full.last, again.said)
        shutil.rmtree(tmp_path / str(at))


def test_two_processes_migrate_a_home_once(
    evalcov: Commands, migration: Step, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(migration.before, home)
    ended = [evalcov.wait(pid) for pid in [evalcov.start(home, "publish") for _ in range(2)]]
    assert [process.code for process in ended] == [0, 0], ended
    assert sum("brought from version" in process.said for process in ended) == 1
    assert differences(home, migration.after) == []
