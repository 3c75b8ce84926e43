"""`evalcov ingest`: files of an outside format into the lake and the warehouse."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click

from evalcov_pipeline.cli import BAD_INPUT, CHECK_FAILED
from evalcov_pipeline.cli.progress import rows_read
from evalcov_pipeline.cli.status import incidents_in_words
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import find
from evalcov_pipeline.services.imports.annotations import ingest_annotations
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.imports.files import IngestReport, input_files
from evalcov_pipeline.services.imports.incidents import IncidentsReport, ingest_incidents
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.services.imports.verdicts import ingest_verdicts
from evalcov_pipeline.settings import DEMO_MARK, Settings, get_settings

Kind = Literal["traces", "evals", "results"]
_DEMO_DATA = (
    "lake", "taxonomies", "quarantine", "warehouse.duckdb", "published.duckdb", "dagster",
    DEMO_MARK,
)  # fmt: skip


@click.command("ingest")
@click.argument(
    "kind",
    type=click.Choice(["traces", "evals", "results", "annotations", "verdicts", "incidents"]),
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--format", "format_", default="auto", show_default=True, help="Outside format.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="CANONICAL=SOURCE",
    help="Take a canonical field from a field of the file; repeatable.",
)
@click.option("--source", help="Name of the system that the traces come from.")
@click.option("--rater", help="Who labelled, where the file does not say.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a row was rejected.")
@click.option("--replace-demo", is_flag=True, help="Throw the demo's data away first.")
def command(
    kind: Kind | Literal["annotations", "verdicts", "incidents"],
    paths: tuple[str, ...],
    format_: str,
    mapping: tuple[str, ...],
    source: str | None,
    rater: str | None,
    strict: bool,
    replace_demo: bool,
) -> int:
    """Read files: PATHS are files, folders or patterns; .gz and .zst are understood.

    Rejected rows go to quarantine/ with file, line and reason. Importing a file twice changes
    nothing. The files themselves are left alone.
    """
    settings = get_settings()
    fields = _mapping(mapping)
    if source and kind != "traces":
        raise BadInput(f"{kind} have no source", "--source", "leave it out")
    if rater and kind != "annotations":
        raise BadInput(f"{kind} have no rater", "--rater", "leave it out")
    if kind == "annotations" or kind == "verdicts":
        if replace_demo:
            raise BadInput(
                f"{kind} are about the data of this home", "--replace-demo", "leave it out"
            )
        rejected = (
            ingest_label_files(settings, paths, format_, fields, rater)
            if kind == "annotations"
            else ingest_verdict_files(settings, paths, format_, fields)
        )
        return CHECK_FAILED if strict and rejected else 0
    files = input_files(paths)
    demo = settings.home / DEMO_MARK
    if demo.exists():
        if not replace_demo:
            raise BadInput(
                what="this home holds the demo's data",
                where=str(settings.home),
                what_to_do="add --replace-demo to throw it away, or set EVALCOV_HOME",
            )
        for path in files:
            find(kind, path, format_)
        for name in _DEMO_DATA:
            old = settings.home / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    if kind == "incidents":
        incidents = ingest_incident_files(settings, paths, format_, fields)
        return CHECK_FAILED if strict and incidents.rejected else 0
    report = ingest_files(settings, kind, paths, format_, fields, source)
    if report.unreadable:
        return BAD_INPUT
    return CHECK_FAILED if strict and report.rejected else 0


def ingest_files(
    settings: Settings,
    kind: Kind,
    paths: Sequence[str | Path],
    format_: str = "auto",
    mapping: Mapping[str, str] | None = None,
    source: str | None = None,
) -> IngestReport:
    """Read files and print what came of it."""
    with rows_read(kind) as progress:
        if kind == "traces":
            report = ingest_traces(
                paths, settings, format=format_, source=source, mapping=mapping, progress=progress
            )
        else:
            report = ingest_evals(
                kind, paths, settings, format=format_, mapping=mapping, progress=progress
            )
    line = f"{kind}: {report.accepted} accepted"
    if report.replaced:
        line += f" ({report.replaced} of them replace an earlier result)"
    line += f", {report.duplicate} duplicate"
    if report.set_aside:
        line += f", {report.set_aside} set aside as eval or test traffic"
    click.echo(f"{line}, {report.rejected} rejected, from {report.files} file(s)")
    if report.rejected:
        click.echo(f"  rejected rows with their reasons: {settings.quarantine}", err=True)
    for line in report.unreadable:
        click.echo(f"evalcov: {line}", err=True)
    return report


def ingest_label_files(
    settings: Settings,
    paths: Sequence[str | Path],
    format_: str = "auto",
    mapping: Mapping[str, str] | None = None,
    rater: str | None = None,
) -> int:
    """Read labels, print what came of them, and tell the sensors; how many were rejected."""
    with rows_read("annotations") as progress:
        report = ingest_annotations(
            paths, settings, format=format_, rater=rater, mapping=mapping, progress=progress
        )
    click.echo(
        f"annotations: {report.new} new, {report.changed} changed, {report.unchanged} unchanged,"
        f" {report.outdated} outdated, {report.rejected} rejected, {report.empty} rows without a"
        f" label, from {report.files} file(s)"
    )
    if report.rejected:
        click.echo(f"  rejected rows with their reasons: {settings.quarantine}", err=True)
    merged = report.merged
    click.echo(
        f"suite: {merged.added} cases added, {merged.changed} changed, {merged.retired} retired;"
        f" {merged.waiting} tasks wait for labels{merged.remarks}"
    )
    if report.new or report.changed or report.outdated:
        from evalcov_pipeline.cli import jobs

        jobs.announce_labels(settings, report.decided, merged)
    return report.rejected


def ingest_verdict_files(
    settings: Settings,
    paths: Sequence[str | Path],
    format_: str = "auto",
    mapping: Mapping[str, str] | None = None,
) -> int:
    """Read verdicts, print what came of them, and announce them; how many were rejected."""
    with rows_read("verdicts") as progress:
        report = ingest_verdicts(
            paths, settings, format=format_, mapping=mapping, progress=progress
        )
    click.echo(
        f"verdicts: {report.new} new, {report.replaced} replaced, {report.outdated} outdated,"
        f" {report.duplicate} duplicate, {report.rejected} rejected, from {report.files} file(s)"
    )
    if report.rejected:
        click.echo(f"  rejected rows with their reasons: {settings.quarantine}", err=True)
    if report.new or report.replaced:
        from evalcov_pipeline.cli import jobs
        from evalcov_pipeline.defs.support import events

        jobs.announce(settings, events.VERDICTS, asdict(report))
    return report.rejected


def ingest_incident_files(
    settings: Settings,
    paths: Sequence[str | Path],
    format_: str = "auto",
    mapping: Mapping[str, str] | None = None,
) -> IncidentsReport:
    """Read incidents, print what came of them, and tell the sensors."""
    with rows_read("incidents") as progress:
        report = ingest_incidents(
            paths, settings, format=format_, mapping=mapping, progress=progress
        )
    click.echo(
        f"incidents: {report.new + report.edited} accepted ({report.edited} of them edited),"
        f" {report.unchanged} duplicate, {report.rejected} rejected, from {report.files} file(s)"
    )
    if report.rejected:
        click.echo(f"  rejected rows with their reasons: {settings.quarantine}", err=True)
    click.echo(
        f"suite: {report.cases_added} regression cases added, {report.tasks} traces queued for"
        f" labels; {incidents_in_words(report.states)}"
    )
    if report.new or report.edited or report.cases_added:
        from evalcov_pipeline.cli import jobs
        from evalcov_pipeline.defs.assets import incidents

        jobs.announce(settings, incidents.INCIDENTS, incidents.facts_of(report))
    return report


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Parse `canonical=source` pairs.

    Raises:
        BadInput: a pair without an equals sign.
    """
    parsed = {}
    for pair in pairs:
        canonical, equals, field = pair.partition("=")
        if not (canonical and equals and field):
            raise BadInput(
                what=f"{pair!r} is no mapping",
                where="--map",
                what_to_do="write CANONICAL=SOURCE, e.g. --map query_text=question",
            )
        parsed[canonical] = field
    return parsed
