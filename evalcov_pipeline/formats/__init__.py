"""Outside formats: each module reads one of them into canonical rows; this is their register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import generic, generic_evals, otlp
from evalcov_pipeline.formats.lines import head

AUTO = "auto"


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


FORMATS = MappingProxyType(
    {
        "traces": (
            Format(otlp.NAME, otlp.recognises, otlp.read),
            Format(generic.NAME, generic.recognises, generic.read),
        ),
        "evals": (Format(generic.NAME, generic.recognises, generic_evals.read_cases),),
        "results": (Format(generic.NAME, generic.recognises, generic_evals.read_results),),
    }
)
"""Formats by kind of input, in the order in which they are tried."""


def detect(kind: str, path: Path) -> Format:
    """The first format of a kind that recognises a file.

    Raises:
        BadInput: an unreadable file, or one that no format recognises.
    """
    start = head(path)
    for known in FORMATS[kind]:
        if known.recognises(path, start):
            return known
    names = ", ".join(known.name for known in FORMATS[kind])
    raise BadInput(
        f"no known format of {kind}", str(path), f"name it with --format; known: {names}"
    )


def find(kind: str, path: Path, name: str = AUTO) -> Format:
    """The format with a name, or the one that recognises the file.

    Raises:
        BadInput: an unknown name, an unreadable file, or one that no format recognises.
    """
    if name == AUTO:
        return detect(kind, path)
    for known in FORMATS[kind]:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in FORMATS[kind])
    raise BadInput(f"unknown format {name!r} of {kind}", "--format", f"use {AUTO} or {names}")
