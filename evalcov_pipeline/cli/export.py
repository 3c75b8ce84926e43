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
from evalcov_pipeline.formats.fields import FORMULA_STARTS
from evalcov_pipeline.formats.messages import parsed
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
    content = (
        _csv(cases) if format_ == "csv" else b"".join(orjson.dumps(case) + b"\n" for case in cases)
    )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(out)
    click.echo(f"{out}: {len(cases)} cases")


def _case(row: dict[str, Any]) -> dict[str, Any]:
    case = {name: value for name, value in row.items() if value not in (None, [])}
    messages = parsed(case["input"])
    if isinstance(messages, list) and messages and "role" in messages[0]:
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
                name: _inert(value) if isinstance(value, str) else orjson.dumps(value).decode()
                for name, value in case.items()
            }
        )
    return text.getvalue().encode()


def _inert(value: str) -> str:
    """A cell that no spreadsheet takes for a formula; reading a CSV undoes it."""
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value
