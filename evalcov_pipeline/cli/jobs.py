"""Running the pipeline's jobs in this process, on the instance that the UI reads too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy.exc import DatabaseError

from evalcov_pipeline.cli.progress import say
from evalcov_pipeline.definitions import build_definitions
from evalcov_pipeline.defs.support import events, step_lines
from evalcov_pipeline.defs.support.partitions import PARTITION_RANGE, now
from evalcov_pipeline.errors import BadInput, CheckFailed
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.merging import MergeReport
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.files import held_by_nobody, locked, write_whole
from evalcov_pipeline.storage.lake import days_pending

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


LAUNCHED_HERE = {"evalcov/launched_by": "command line"}
"""Tag of runs that live in a process of the command line."""

_OPEN = (
    dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)  # fmt: skip


def use_dagster_home(settings: Settings) -> Path:
    """Point Dagster at `<home>/dagster` unless DAGSTER_HOME names another place."""
    if "DAGSTER_HOME" not in os.environ:
        folder = (settings.home / "dagster").resolve()
        config = folder / "dagster.yaml"
        if not config.exists():
            write_whole(folder, config, _INSTANCE_CONFIG.encode())
        os.environ["DAGSTER_HOME"] = str(folder)
    return Path(os.environ["DAGSTER_HOME"])


@contextmanager
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the home; its storage is made by one process at a time.

    While it is held, a shared lock says that runs of the command line are alive. Who finds nobody
    holding it marks those that are still open as failed: their process died. Else they would count
    as running for good, in the UI and against the limit of concurrent runs.

    Raises:
        BadInput: the home is of a newer version, or Dagster's records cannot be read or written.
    """
    warehouse_of(settings).version()
    home = use_dagster_home(settings)
    alive = home / ".alive"
    with ExitStack() as held, _naming_trouble(home):
        with locked(home / ".lock", "the Dagster instance"):
            dagster = held.enter_context(dg.DagsterInstance.get())
            dagster.get_runs(limit=1)
            dagster.fetch_materializations(dg.AssetKey("coverage_scores"), limit=1)
            with held_by_nobody(alive) as alone:
                if alone:
                    _fail_open_runs(dagster)
            held.enter_context(locked(alive, "the Dagster instance", shared=True))
        yield dagster


@contextmanager
def _naming_trouble(home: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise BadInput(
            what=f"Dagster's records cannot be read or written: {error.orig}",
            where=str(home),
            what_to_do="check the disk and its free space; if they are damaged, move the folder"
            " away: it holds the history of runs and nothing else",
        ) from error


def _fail_open_runs(on: dg.DagsterInstance) -> None:
    for run in on.get_runs(filters=dg.RunsFilter(statuses=[*_OPEN], tags=LAUNCHED_HERE)):
        on.report_run_failed(run, "The process of this run died.")


def run_job(
    settings: Settings,
    name: str,
    on: dg.DagsterInstance,
    *,
    partitions: Sequence[str] = (),
    ops: dict[str, Any] | None = None,
    only: Sequence[str] = (),
) -> dg.ExecuteInProcessResult:
    """Run one job to its end, with a line per step.

    Args:
        settings: of the pipeline.
        name: job.
        on: instance that records the run.
        partitions: first and last partition key of the run; none for an unpartitioned job.
        ops: configuration by op.
        only: assets of the job that are made; all by default.

    Raises:
        CheckFailed: a blocking check said no; what it is about is as it was before.
        KeyboardInterrupt: the process was told to stop.
        Exception: whatever a step raised.
    """
    job = build_definitions(settings).resolve_job_def(name)
    several = len(set(partitions)) > 1
    span = (
        dict(zip(PARTITION_RANGE, (partitions[0], partitions[-1]), strict=True)) if several else {}
    )
    config: dict[str, Any] = {"loggers": {step_lines.NAME: {}}}
    if ops:
        config["ops"] = ops
    try:
        result = job.execute_in_process(
            instance=on,
            run_config=config,
            tags=LAUNCHED_HERE | span,
            asset_selection=[dg.AssetKey(asset) for asset in only] or None,
            partition_key=partitions[0] if partitions and not several else None,
        )
    except CheckFailed as failed:
        raise CheckFailed(f"{name} stopped and published nothing: {failed}") from failed
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    noted = [check for check in result.get_asset_check_evaluations() if not check.passed]
    for check in noted:
        say(f"  check {check.asset_key.to_user_string()}.{check.check_name}: no")
    return result


def announce(settings: Settings, asset: str, metadata: dict[str, Any]) -> None:
    """Record that an asset which no job makes has new rows, so that the UI and sensors see it."""
    with instance(settings) as on:
        on.report_runless_asset_event(dg.AssetMaterialization(asset, metadata=metadata))


def announce_labels(settings: Settings, decided: int, merged: MergeReport) -> None:
    """Announce labels that came: how many tasks they decided, and what became of the suite."""
    announce(settings, events.LABELS, events.labelled(decided, merged.waiting_of_plans))


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
