"""Outside formats: each module reads one of them into canonical rows; this is their register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from re import compile as regex
from types import MappingProxyType
from typing import Any

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import (
    generic,
    generic_evals,
    incidents,
    label_studio,
    otlp,
    verdicts,
)
from evalcov_pipeline.formats.annotations import read as read_labels
from evalcov_pipeline.formats.lines import Reject, head, plain_suffix
from evalcov_pipeline.formats.messages import parsed

AUTO = "auto"
HOPELESS = 10_000
"""Rows without one that can be read, after which a file is given up."""


@dataclass(frozen=True)
class Format:
    """One outside format of one kind of input.

    Attributes:
        name: what users call it.
        recognises: says from a path and the first bytes whether a file is of this format.
        read: streams a file; what it yields depends on the kind, bad rows are `Reject`.
    """

    name: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[..., Iterator[Any]]


def _ends_in(*suffixes: str) -> Callable[[Path, bytes], bool]:
    return lambda path, start: plain_suffix(path) in suffixes


FORMATS = MappingProxyType(
    {
        "traces": (
            Format(otlp.NAME, otlp.recognises, otlp.read),
            Format(generic.NAME, generic.recognises, generic.read),
        ),
        "evals": (Format(generic.NAME, generic.recognises, generic_evals.read_cases),),
        "results": (Format(generic.NAME, generic.recognises, generic_evals.read_results),),
        "incidents": (Format(generic.NAME, generic.recognises, incidents.read),),
        "verdicts": (Format(generic.NAME, generic.recognises, verdicts.read),),
        "annotations": (
            Format(label_studio.NAME, label_studio.recognises, label_studio.read),
            Format("csv", _ends_in(".csv", ".tsv"), partial(read_labels, suffix=".csv")),
            Format("parquet", _ends_in(".parquet"), partial(read_labels, suffix=".parquet")),
            Format("jsonl", generic.recognises, partial(read_labels, suffix=".jsonl")),
        ),
    }
)
"""Formats by kind of input, in the order in which they are tried."""


_TELLTALES = {
    "traces": regex(rb"resourceSpans|resourceLogs|query_text").search,
    "results": regex(rb"\brun_id\b").search,
    "verdicts": regex(rb"(?s)\bitem_id\b.*\bjudge_id\b|\bjudge_id\b.*\bitem_id\b").search,
    "annotations": regex(rb"\b(task_id|rater|completed_by)\b").search,
    "incidents": regex(rb"\bincident_id\b[^\n]*\b(title|postmortem)\b").search,
    "evals": regex(rb"(?<![\w.])input(?![\w.])").search,
}
"""What the beginning of a file of each kind holds."""


def detect(kind: str, path: Path) -> Format:
    """The first format of a kind that recognises a file.

    Raises:
        BadInput: an unreadable or empty file, or one that no format recognises.
    """
    start = head(path)
    if not start.strip():
        raise BadInput("the file is empty", str(path), "export it again")
    for known in FORMATS[kind]:
        if known.recognises(path, start):
            return known
    names = ", ".join(known.name for known in FORMATS[kind])
    raise BadInput(
        f"no known format of {kind}",
        str(path),
        f"export JSON Lines, CSV or Parquet (plain, .gz or .zst); --format may be {names}",
    )


def find(kind: str, path: Path, name: str = AUTO) -> Format:
    """The format with a name, or the one that recognises the file.

    Raises:
        BadInput: an unknown name, an unreadable or empty file, or one that no format recognises.
    """
    if name == AUTO:
        return detect(kind, path)
    for known in FORMATS[kind]:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in FORMATS[kind])
    raise BadInput(f"unknown format {name!r} of {kind}", "--format", f"use {AUTO} or {names}")


def nothing_read(
    kind: str, path: Path, rejected: int, first: Reject | None, quarantine: Path
) -> BadInput:
    """What to tell about a file that holds not one row of a kind.

    Args:
        kind: what was looked for.
        path: the file.
        rejected: rows that could not be read.
        first: the first of them, None where there were no rows.
        quarantine: where they are.
    """
    if first is None:
        return BadInput(f"the file holds no {kind}", str(path), "check the export")
    number = f"first {rejected:,}" if rejected == HOPELESS else f"{rejected:,}"
    return BadInput(
        f"none of its {number} rows can be read as {kind}; the first: {first.reason}",
        f"{path}, line {first.line}",
        _advice(kind, head(path), first) or f"all of them, with reasons, are in {quarantine}",
    )


def _advice(kind: str, start: bytes, first: Reject) -> str | None:
    if not _TELLTALES[kind](start):
        for other, found_in in _TELLTALES.items():
            if found_in(start):
                return f"it looks like {other}: try `evalcov ingest {other}`"
    row = parsed(first.raw)
    if "missing" in first.reason and isinstance(row, dict):
        return f"its fields are {', '.join(row)[:300]}: say which is which with --map, or --format"
    return None
