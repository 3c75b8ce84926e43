"""Running the pipeline's jobs in this process, on the instance that the UI reads too."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg

from evalcov_pipeline.cli.progress import say
from evalcov_pipeline.definitions import build_definitions
from evalcov_pipeline.defs import step_lines
from evalcov_pipeline.defs.partitions import now
from evalcov_pipeline.errors import CheckFailed
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import days_pending

_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")

_INSTANCE_CONFIG = """\
concurrency:
  runs:
    max_concurrent_runs: 4
  pools:
    granularity: op
telemetry:
  enabled: false
nux:
  enabled: false
"""


def use_dagster_home(settings: Settings) -> Path:
    """Point Dagster at `<home>/dagster` unless DAGSTER_HOME names another place."""
    if "DAGSTER_HOME" not in os.environ:
        folder = (settings.home / "dagster").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "dagster.yaml"
        if not config.exists():
            config.write_text(_INSTANCE_CONFIG, encoding="utf-8")
        os.environ["DAGSTER_HOME"] = str(folder)
    return Path(os.environ["DAGSTER_HOME"])


@contextmanager
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the home; its storage is made by one process at a time."""
    home = use_dagster_home(settings)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = dg.DagsterInstance.get()
        found.get_runs(limit=1)
        found.fetch_materializations(dg.AssetKey("coverage_scores"), limit=1)
    with found:
        yield found


def run_job(
    settings: Settings,
    name: str,
    on: dg.DagsterInstance,
    *,
    partitions: Sequence[str] = (),
    ops: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run one job to its end, with a line per step.

    Args:
        settings: of the pipeline.
        name: job.
        on: instance that records the run.
        partitions: first and last partition key of the run; none for an unpartitioned job.
        ops: configuration by op.

    Raises:
        CheckFailed: a blocking check said no.
        Exception: whatever a step raised.
    """
    job = build_definitions(settings).resolve_job_def(name)
    tags = dict(zip(_RANGE, (partitions[0], partitions[-1]), strict=True)) if partitions else {}
    config: dict[str, Any] = {"loggers": {step_lines.NAME: {}}}
    if ops:
        config["ops"] = ops
    try:
        result = job.execute_in_process(
            instance=on,
            run_config=config,
            tags=tags if len(set(partitions)) > 1 else None,
            partition_key=partitions[0] if len(set(partitions)) == 1 else None,
        )
    except dg.DagsterError as error:
        if type(error).__name__ != "DagsterAssetCheckFailedError":
            raise
        said = " ".join(str(error).split())
        raise CheckFailed(f"{name} stopped and published nothing: {said}") from error
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    for check in failed:
        say(f"  check {check.asset_key.to_user_string()}.{check.check_name}: no")
    return result


def bring_traces_up_to_date(settings: Settings, on: dg.DagsterInstance) -> int:
    """Compact every day whose imported files changed; how many days that were."""
    first, last = settings.first_partition, now().date()
    pending = days_pending(settings.lake)
    days = [day for day in pending if first <= day <= last]
    if left_out := len(pending) - len(days):
        say(
            f"traces: {left_out} imported days lie before {first} (setting first_partition) or"
            " after today, and are left out"
        )
    for run in _ranges(days):
        run_job(settings, "daily_traces", on, partitions=[run[0].isoformat(), run[-1].isoformat()])
    return len(days)


def _ranges(days: Sequence[date]) -> Iterator[list[date]]:
    """Runs of consecutive days."""
    if not days:
        return
    run = [days[0]]
    for before, day in pairwise(days):
        if day - before > timedelta(days=1):
            yield run
            run = []
        run.append(day)
    yield run
