"""`evalcov export`: eval cases, the CI suite, or the queue of queries to label, in a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import label_studio
from evalcov_pipeline.formats.annotations import write_csv, write_jsonl
from evalcov_pipeline.formats.conversations import is_conversation
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.formats.rows import inert
from evalcov_pipeline.formats.suites import write_suite
from evalcov_pipeline.services.evals.suite import active_cases
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.queue import WAITING, tasks_with
from evalcov_pipeline.services.suites.ci_suites import newest_suite
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.files import write_beside

_CASE = (
    "case_id", "input", "expected", "expected_tools", "outcome", "category", "tags", "origin",
    "source_ref", "created_at", "regression", "supersedes", "incident_id",
)  # fmt: skip
_STATUSES = (*WAITING, "kept", "rejected", "superseded")
_FORMULAS = (
    "  cells that a spreadsheet would run as formulas begin with an apostrophe; `evalcov ingest"
    " {}` takes it off again"
)


@click.command("export")
@click.argument("what", type=click.Choice(["evals", "queue", "suite", "regressions"]))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv", label_studio.NAME]),
    default="jsonl",
    show_default=True,
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write; without an extension the format's own is added.",
)
@click.option("--route", help="Only the tasks of this queue.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice(_STATUSES),
    multiple=True,
    help="Only tasks with this status; repeatable [default: those that wait for a label].",
)
def command(
    what: str, format_: str, out: Path, route: str | None, statuses: tuple[str, ...]
) -> None:
    """Write eval cases, the CI suite, or the queue of queries to label.

    `evals` are the active cases and `regressions` those of them that guard a known failure, for
    `evalcov ingest evals`. `suite` is the newest CI suite, for whatever runs it and for
    `evalcov gate --suite`. `queue` are the tasks that wait for a label, with columns to fill in
    (rater, keep, passed, expected, category, note) or as tasks of Label Studio with the labelling
    interface beside them, for `evalcov ingest annotations`.
    """
    settings = get_settings()
    if not out.parent.is_dir():
        raise BadInput("no such folder", str(out.parent), "make it first")
    if what == "queue":
        _queue(settings, format_, out, route, statuses)
        return
    for option, value in (("--route", route), ("--status", statuses)):
        if value:
            raise BadInput("eval cases are in no queue", option, "leave it out")
    if what == "suite":
        _suite(settings, format_, out)
        return
    if format_ not in _WRITERS:
        raise BadInput(f"eval cases are not written as {format_}", "--format", "jsonl or csv")
    _cases(settings, format_, out, only_regressions=what == "regressions")


def _cases(settings: Settings, format_: str, out: Path, *, only_regressions: bool) -> None:
    with warehouse_of(settings).reader() as con:
        rows = active_cases(con, only_regressions=only_regressions).select(_CASE).to_dicts()
    if not rows and only_regressions:
        raise BadInput(
            what="no active case guards a known failure",
            where=str(settings.warehouse),
            what_to_do="they come of incidents, of failures that people label, and of cases with"
            ' `"regression": true`',
        )
    if not rows:
        raise BadInput(
            what="there are no eval cases to export",
            where=str(settings.warehouse),
            what_to_do="run `evalcov ingest evals FILES`, then `evalcov run weekly`",
        )
    out = _named(out, f".{format_}")
    write_beside(out, _WRITERS[format_]([_case(row) for row in rows]))
    click.echo(f"{out}: {len(rows)} cases")
    if format_ == "csv":
        click.echo(_FORMULAS.format("evals"), err=True)


def _suite(settings: Settings, format_: str, out: Path) -> None:
    if format_ != "jsonl":
        raise BadInput(f"a CI suite is not written as {format_}", "--format", "jsonl")
    with warehouse_of(settings).reader() as con:
        cases = newest_suite(con)
    if not cases:
        raise BadInput(
            what="no CI suite was chosen yet",
            where=str(settings.warehouse),
            what_to_do="run the eval cases on the product, `evalcov ingest results FILES`, then"
            " `evalcov run weekly`",
        )
    out = _named(out, ".jsonl")
    write_beside(out, write_suite(cases))
    shown = sum(not case["decides"] for case in cases)
    click.echo(f"{out}: {len(cases)} cases" + (f", {shown} of them do not decide" if shown else ""))


def _queue(
    settings: Settings, format_: str, out: Path, route: str | None, statuses: Sequence[str]
) -> None:
    with warehouse_of(settings).reader() as con:
        tasks = tasks_with(con, statuses or WAITING, route)
    if not tasks:
        raise BadInput(
            what="no task of the queue is like that" if route or statuses else "the queue is empty",
            where=" ".join([f"--route {route}"] * bool(route) + [f"--status {s}" for s in statuses])
            or str(settings.warehouse),
            what_to_do="draw queries to label with `evalcov refresh`",
        )
    extension, write = _QUEUE[format_]
    out = _named(out, extension)
    write_beside(out, write([vars(task) for task in tasks]))
    click.echo(f"{out}: {len(tasks)} tasks")
    if format_ == label_studio.NAME:
        interface = out.with_suffix(".config.xml")
        write_beside(interface, label_studio.INTERFACE.encode())
        click.echo(f"{interface}: their labelling interface (Settings > Labeling Interface > Code)")
    if format_ == "csv":
        click.echo(_FORMULAS.format("annotations"), err=True)
    click.echo("  labelled, they come back with `evalcov ingest annotations FILE`", err=True)


def _named(out: Path, extension: str) -> Path:
    return out if out.suffix else out.with_suffix(extension)


def _case(row: dict[str, Any]) -> dict[str, Any]:
    case = {name: value for name, value in row.items() if _is_said(name, value)}
    if is_conversation(messages := parsed(case["input"])):
        case["input"] = messages
    if "created_at" in case:
        case["created_at"] = f"{case['created_at'].isoformat()}Z"
    return case


def _is_said(name: str, value: Any) -> bool:
    """Whether a case says something by a value; an empty list of expected tools does: call none."""
    return value is not None if name == "expected_tools" else value not in (None, False, [])


def _jsonl(cases: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(case) + b"\n" for case in cases)


def _csv(cases: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _CASE, restval="")
    writer.writeheader()
    for case in cases:
        writer.writerow(
            {
                name: inert(value) if isinstance(value, str) else orjson.dumps(value).decode()
                for name, value in case.items()
            }
        )
    return text.getvalue().encode()


_WRITERS: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {"jsonl": _jsonl, "csv": _csv}
_QUEUE: dict[str, tuple[str, Callable[[Sequence[dict[str, Any]]], bytes]]] = {
    "jsonl": (".jsonl", write_jsonl),
    "csv": (".csv", write_csv),
    label_studio.NAME: (".json", label_studio.write),
}
