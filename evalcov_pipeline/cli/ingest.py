"""`evalcov ingest`: files of an outside format into the lake and the warehouse."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from glob import glob
from pathlib import Path

import click

from evalcov_pipeline.cli import CHECK_FAILED
from evalcov_pipeline.cli.progress import counting
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

DEMO_MARK = ".demo"
_DEMO_DATA = ("lake", "taxonomies", "quarantine", "warehouse.duckdb", "published.duckdb", DEMO_MARK)


@click.command("ingest")
@click.argument("kind", type=click.Choice(["traces", "evals", "results"]))
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
@click.option("--strict", is_flag=True, help="Exit with 1 if a row was rejected.")
@click.option("--replace-demo", is_flag=True, help="Throw the demo's data away first.")
def command(
    kind: str,
    paths: tuple[str, ...],
    format_: str,
    mapping: tuple[str, ...],
    source: str | None,
    strict: bool,
    replace_demo: bool,
) -> int:
    """Read files: PATHS are files, folders or patterns; .gz and .zst are understood.

    Rejected rows go to quarantine/ with file, line and reason. Importing a file twice changes
    nothing. The files themselves are left alone.
    """
    settings = get_settings()
    demo = settings.home / DEMO_MARK
    if demo.exists():
        if not replace_demo:
            raise BadInput(
                what="this home holds the demo's data",
                where=str(settings.home),
                what_to_do="add --replace-demo to throw it away, or set EVALCOV_HOME",
            )
        for name in _DEMO_DATA:
            path = settings.home / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    rejected = ingest_files(settings, kind, _files(paths), format_, _mapping(mapping), source)
    return CHECK_FAILED if strict and rejected else 0
