"""No file can stop a reader: it yields rows and rejects, or says what is wrong with the file.

A fixed draw of hostile files, the same on every machine; `benchmarks/fuzz_readers.py` reads as many
others as one likes.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import compact_day
from evalcov_pipeline_tests.hostile_files import KINDS, HostileFile, hostile_files, survives

FILES_PER_KIND = 250
fixed = settings(
    max_examples=FILES_PER_KIND,
    derandomize=True,
    database=None,
    deadline=timedelta(seconds=5),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_can_stop_a_reader(tmp_path: Path, kind: str) -> None:
    @fixed
    @given(hostile_files(kind))
    def read(file: HostileFile) -> None:
        survives(kind, file, tmp_path)

    read()


@settings(fixed, max_examples=3)
@given(st.lists(hostile_files("otlp") | hostile_files("traces"), min_size=8, max_size=8))
def test_what_was_imported_can_be_compacted(
    tmp_path_factory: pytest.TempPathFactory, files: list[HostileFile]
) -> None:
    home = tmp_path_factory.mktemp("fuzz")
    for number, file in enumerate(files):
        (home / f"{number}{file.suffix}").write_bytes(file.content)
    config = Settings(home=home / "home")
    try:
        days = ingest_traces(sorted(home.glob("*.*")), config).days
    except BadInput:
        return
    for day in days:
        compact_day(config.lake, day)


@settings(fixed, max_examples=2)
@given(st.lists(hostile_files("evals"), min_size=5, max_size=5))
def test_hostile_suites_leave_a_ledger_that_reads(
    tmp_path_factory: pytest.TempPathFactory, files: list[HostileFile]
) -> None:
    home = tmp_path_factory.mktemp("fuzz")
    config = Settings(home=home / "home")
    for number, file in enumerate(files):
        path = home / f"{number}{file.suffix}"
        path.write_bytes(file.content)
        try:
            ingest_evals("evals", [path], config)
        except BadInput:
            continue
        again = ingest_evals("evals", [path], config)
        assert again.accepted == 0 or again.duplicate
