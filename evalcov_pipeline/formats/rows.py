"""Rows of JSON Lines, CSV and Parquet files, one reader for every kind of rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats.lines import (
    LONGEST_LINE,
    Reject,
    json_lines,
    lines,
    open_bytes,
    plain_suffix,
)

Row = dict[str, Any]
_PARQUET_BATCH = 5_000


def read_rows(path: Path, suffix: str | None = None) -> Iterator[tuple[int, Row] | Reject]:
    """Rows of a JSON Lines, CSV or Parquet file with their line (Parquet: row) numbers.

    Args:
        path: the file.
        suffix: read it as a file with this ending, such as `.csv`; default: its own.
    """
    suffix = suffix or plain_suffix(path)
    if suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if suffix in (".csv", ".tsv") else json_lines(path)


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula (OWASP, CSV injection)."""


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: with an apostrophe before it where needed."""
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA_STARTS) else cell


def _plain(cell: str) -> str:
    """The cell that `inert` made this one of."""
    guarded = cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA_STARTS)
    return cell[1:] if guarded else cell


_DELIMITERS = (b",", b";", b"\t", b"|")
_HEADER_BYTES = 65_536
_LONGEST_CELL = 16 << 20
_CSV_PROBLEMS = {
    "end of data": "a quote is opened and never closed, or the line is cut off",
    "field limit": f"a quote is never closed, or a cell is above {_LONGEST_CELL >> 20} MiB",
    "expected after": "text behind a closing quote: double the quotes inside a cell",
    "unquoted field": "a carriage return in a cell without quotes",
}
"""Words for a user, by what the csv module says."""


class _CsvText:
    """Lines of a CSV file as text, for the csv module, which knows neither bytes nor limits.

    Attributes:
        number: lines read.
        line: the last of them.
        size: characters read since it was last set to 0.
        problem: what was wrong with a line since it was last set to None.
    """

    def __init__(self, items: Iterator[tuple[int, bytes] | Reject]) -> None:
        self._items = items
        self.number = 0
        self.line = ""
        self.size = 0
        self.problem: str | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        item = next(self._items)
        if isinstance(item, Reject):
            self.number, self.line, self.problem = item.line, item.raw, item.reason
            return "\n"
        self.number, line = item
        try:
            self.line = line.decode()
        except UnicodeDecodeError:
            self.line = line.decode(errors="replace")
            self.problem = "not UTF-8: save the file as UTF-8"
        self.size += len(self.line)
        if self.size > LONGEST_LINE:
            raise csv.Error("field limit")
        return self.line


def _csv_rows(path: Path) -> Iterator[tuple[int, Row] | Reject]:
    """Rows of a CSV file; its delimiter is what the header has most of: comma, ;, tab or bar."""
    with open_bytes(path) as stream:
        first = cast(io.BufferedReader, stream).peek(_HEADER_BYTES).partition(b"\n")[0]
        delimiter = max(_DELIMITERS, key=first.count).decode()
        csv.field_size_limit(_LONGEST_CELL)
        source = _CsvText(lines(stream, path))
        reader = csv.reader(source, delimiter=delimiter, strict=True)
        header = _header(reader, path)
        while True:
            start, source.size, source.problem = source.number + 1, 0, None
            row: list[str] | None = []
            misfit = ""
            try:
                row = next(reader, None)
            except csv.Error as error:
                misfit = next(
                    (why for sign, why in _CSV_PROBLEMS.items() if sign in str(error)),
                    "not a row of CSV",
                )
            if row is None:
                return
            if reason := source.problem or misfit or _misfit(row, header, source.line):
                yield Reject(str(path), start, reason, source.line.rstrip("\r\n"))
            elif row:
                cells = zip(header, map(_plain, row), strict=False)
                yield start, dict(cells)


def _misfit(row: list[str], header: list[str], line: str) -> str | None:
    """Why a row does not fit its header; a short one only if the file breaks off in it."""
    if any(row[len(header) :]):
        return f"more cells than the header has columns ({len(header)})"
    if 0 < len(row) < len(header) and not line.endswith(("\n", "\r")):
        return "the line is cut off"
    return None


def _header(reader: Iterator[list[str]], path: Path) -> list[str]:
    """Names of the columns.

    Raises:
        BadInput: there are none, or one of them twice.
    """
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error:
        header = []
    if not any(header):
        raise BadInput("no header row", str(path), "name the columns in the first line")
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"column {twice!r} is there twice", str(path), "rename one of the two")
    return header


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    position = 0
    try:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(_PARQUET_BATCH):
                for row in batch.to_pylist():
                    position += 1
                    yield position, row
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        known = error.strerror if isinstance(error, OSError) else None
        after = f" after row {position}" if position else ""
        raise BadInput(
            f"cannot read the file: {known or f'it is damaged{after}, or not a Parquet file'}",
            str(path),
            "check the path and its permissions, or export it again",
        ) from error
