"""`evalcov export`: the suite in a file."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import click
import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats.generic_evals import is_conversation
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.formats.rows import inert
from evalcov_pipeline.settings import get_settings
from evalcov_pipeline.storage.warehouse import Warehouse, frame

_FIELDS = (
    "case_id", "input", "expected", "category", "tags", "origin", "source_ref", "created_at",
)  # fmt: skip


@click.command("export")
@click.argument("what", type=click.Choice(["evals"]))
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write; without an extension the format's own is added.",
)
def command(what: str, format_: str, out: Path) -> None:
    """Write the active eval cases in a form that `evalcov ingest evals` reads back."""
    settings = get_settings()
    with Warehouse(settings.warehouse, settings.lock_timeout_s).reader() as con:
        rows = frame(
            con,
            f"SELECT {', '.join(_FIELDS)} FROM eval_cases WHERE status = 'active' ORDER BY case_id",
        ).to_dicts()
    if not rows:
        raise BadInput(
            what="there are no eval cases to export",
            where=str(settings.warehouse),
            what_to_do="run `evalcov ingest evals FILES`, then `evalcov run weekly`",
        )
    out = out if out.suffix else out.with_suffix(f".{format_}")
    cases = [_case(row) for row in rows]
    _write(out, _csv(cases) if format_ == "csv" else _jsonl(cases))
    click.echo(f"{out}: {len(cases)} cases")
    if format_ == "csv":
        click.echo(
            "  cells that a spreadsheet would run as formulas begin with an apostrophe;"
            " `evalcov ingest evals` takes it off again",
            err=True,
        )


def _write(out: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        BadInput: its folder is not there.
    """
    if not out.parent.is_dir():
        raise BadInput("no such folder", str(out.parent), "make it first")
    partial = out.with_name(f".evalcov.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _jsonl(cases: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(case) + b"\n" for case in cases)


def _case(row: dict[str, Any]) -> dict[str, Any]:
    case = {name: value for name, value in row.items() if value not in (None, [])}
    if is_conversation(messages := parsed(case["input"])):
        case["input"] = messages
    if "created_at" in case:
        case["created_at"] = f"{case['created_at'].isoformat()}Z"
    return case


def _csv(cases: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _FIELDS, restval="")
    writer.writeheader()
    for case in cases:
        writer.writerow(
            {
                name: inert(value) if isinstance(value, str) else orjson.dumps(value).decode()
                for name, value in case.items()
            }
        )
    return text.getvalue().encode()
