"""Files that other systems drop into the home's inbox."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta

import dagster as dg
from pydantic import BaseModel

from evalcov_pipeline.defs.assets.incidents import INCIDENTS, facts_of
from evalcov_pipeline.defs.automation.jobs import daily_traces
from evalcov_pipeline.defs.automation.requests import MAX_ATTEMPTS, Request, advance
from evalcov_pipeline.defs.support.events import LABELS, VERDICTS, labelled
from evalcov_pipeline.defs.support.partitions import PARTITION_RANGE, now
from evalcov_pipeline.services.imports import inbox
from evalcov_pipeline.services.imports.annotations import AnnotationsReport
from evalcov_pipeline.services.imports.incidents import IncidentsReport
from evalcov_pipeline.services.imports.verdicts import VerdictsReport
from evalcov_pipeline.settings import DEMO_MARK, Settings
from evalcov_pipeline.storage.lake import days_pending

_MOST_FILES = 100
_MOST_DAYS = 31
"""Of one run; the next run takes the next ones."""


class InboxFiles(dg.Config):
    """Which files are imported."""

    files: list[str]
    """Paths below the inbox."""


@dg.op(pool="warehouse")
def take_files(
    context: dg.OpExecutionContext, config: InboxFiles, settings: dg.ResourceParam[Settings]
) -> None:
    """Import each file and put it away: below `inbox/done`, or below `inbox/failed` with why."""
    for name in config.files:
        outcome = inbox.take(settings, name)
        context.log.info(f"{name}: {outcome or 'gone'}")
        if isinstance(outcome, AnnotationsReport):
            facts = labelled(outcome.decided, outcome.merged.waiting_of_plans)
            context.log_event(dg.AssetMaterialization(LABELS, metadata=facts))
        elif isinstance(outcome, VerdictsReport):
            context.log_event(dg.AssetMaterialization(VERDICTS, metadata=asdict(outcome)))
        elif isinstance(outcome, IncidentsReport):
            context.log_event(dg.AssetMaterialization(INCIDENTS, metadata=facts_of(outcome)))


@dg.job(executor_def=dg.in_process_executor)
def ingest_inbox() -> None:
    """Import complete files of the home's inbox."""
    take_files()


class Seen(BaseModel):
    """What `files_landed` remembers between ticks.

    Attributes:
        files: size and time of change of every file of the inbox, at the last tick.
        imports: import that was asked for and has not succeeded.
        traces: days that were asked for and have not succeeded.
    """

    files: dict[str, inbox.Fingerprint] = {}
    imports: Request | None = None
    traces: Request | None = None


@dg.sensor(jobs=[ingest_inbox, daily_traces], minimum_interval_seconds=30)
def files_landed(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Import files dropped below the home's `inbox/<kind>`, such as `inbox/traces`.

    A file is complete when it did not change between two ticks, or when FILE.done lies beside it.
    Days that imported traces touch are brought up to date.
    """
    if (settings.home / DEMO_MARK).exists():
        return dg.SkipReason("This home holds the demo's data: set EVALCOV_HOME to another.")
    seen = Seen.model_validate_json(context.cursor) if context.cursor else Seen()
    files = inbox.waiting(settings.inbox)
    complete = [
        name
        for name, fingerprint in files.items()
        if seen.files.get(name) == fingerprint or inbox.is_marked(settings.inbox, name)
    ]
    seen.files = files
    seen.imports, launch_import = advance(seen.imports, _import(complete, files), context.instance)
    seen.traces, launch_traces = advance(seen.traces, _pending_days(settings), context.instance)
    wanted = ((seen.imports, launch_import), (seen.traces, launch_traces))
    given_up = any(request and request.given_up for request, _ in wanted)
    return dg.SensorResult(
        run_requests=[request.launch() for request, launch in wanted if request and launch],
        skip_reason=f"Failed {MAX_ATTEMPTS} times: see the runs." if given_up else None,
        cursor=seen.model_dump_json(),
    )


def _import(complete: Sequence[str], files: Mapping[str, inbox.Fingerprint]) -> Request | None:
    taken = sorted(complete)[:_MOST_FILES]
    if not taken:
        return None
    content = repr([(name, *files[name]) for name in taken])
    return Request(
        key=f"inbox:{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        job=ingest_inbox.name,
        ops={"take_files": {"config": {"files": taken}}},
    )


def _pending_days(settings: Settings) -> Request | None:
    """The first days in a row whose imported spans changed."""
    first, last = settings.first_partition, now().date()
    days = [day for day in days_pending(settings.lake) if first <= day <= last]
    row = [day for i, day in enumerate(days[:_MOST_DAYS]) if day == days[0] + timedelta(days=i)]
    if not row:
        return None
    span = (row[0].isoformat(), row[-1].isoformat())
    return Request(
        key=f"traces:{span[0]}:{span[1]}",
        job=daily_traces.name,
        tags=dict(zip(PARTITION_RANGE, span, strict=True)),
    )
