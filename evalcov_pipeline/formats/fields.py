"""Declared fields of row formats: what each is called, and how its value is read.

A reader declares its columns as a mapping of name to parser; `read_row` applies them and says which
field is wrong. Parsers take any non-empty value and raise `Unreadable` with a reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any, cast

import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats.lines import (
    LONGEST_LINE,
    Reject,
    Unreadable,
    json_lines,
    lines,
    open_bytes,
    plain_suffix,
)
from evalcov_pipeline.formats.messages import parsed

Parser = Callable[[Any], Any]
Row = dict[str, Any]

EARLIEST = datetime(1990, 1, 1)
"""No time of traffic or evals lies before; a number that says so is in another unit."""
_EPOCH = datetime(1970, 1, 1)
_TICKS_PER_SECOND = (1, 10**3, 10**6, 10**9)
_EARLIEST_SECONDS = int((EARLIEST - _EPOCH).total_seconds())
_LATEST_SECONDS = 10**11  # the year 5138: a greater number is in a finer unit
_TRUE = frozenset({"true", "t", "yes", "y", "1", "pass", "passed"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "fail", "failed"})
_PARQUET_BATCH = 5_000
_LONGEST_NAME = 1_000
_SHOWN = 80


def rows(path: Path) -> Iterator[tuple[int, Row] | Reject]:
    """Rows of a JSON Lines, CSV or Parquet file with their line (Parquet: row) numbers."""
    suffix = plain_suffix(path)
    if suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if suffix in (".csv", ".tsv") else json_lines(path)


def read_row(
    row: Mapping[str, Any],
    fields: Mapping[str, Parser],
    mapping: Mapping[str, str],
    latest: datetime = datetime.max,
) -> Row:
    """Values of the declared fields that the row has.

    Args:
        row: as it was in the file.
        fields: parser by canonical name.
        mapping: canonical name -> the row's own name; dots reach into nested objects.
        latest: last instant (naive UTC) that a time may name.

    Returns:
        Parsed values by canonical name; None where the row has none.

    Raises:
        Unreadable: naming the field, its value and what was expected.
    """
    found: Row = {}
    for name, parse in fields.items():
        value = get(row, mapping.get(name, name))
        if value is None or value == "":
            found[name] = None
            continue
        try:
            found[name] = parsed_value = parse(value)
            if isinstance(parsed_value, datetime) and parsed_value > latest:
                raise Unreadable("lies in the future")
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            reason = str(error) if isinstance(error, Unreadable) else "cannot be read"
            shown = value if isinstance(value, str) else raw(value)
            raise Unreadable(f"{name} = {shown[:_SHOWN]!r} {reason}") from error
    return found


def check_mapping(mapping: Mapping[str, str], known: Collection[str], prefix: str = "") -> None:
    """Refuse a mapping of a field that no row has.

    Args:
        mapping: canonical name -> the file's name.
        known: canonical names.
        prefix: names that begin with it are canonical too; empty for none.

    Raises:
        BadInput: naming the first unknown one.
    """
    for name, own in mapping.items():
        if name not in known and not (prefix and name.startswith(prefix)):
            more = f" or {prefix}<key>" if prefix else ""
            raise BadInput(
                f"unknown canonical field {name!r}",
                f"--map {name}={own}",
                f"use one of {', '.join(known)}{more}",
            )


def get(row: Mapping[str, Any], name: str) -> Any:
    """Value under a name, or under a dotted path of names."""
    if name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    inner = row.get(head)
    return get(inner, rest) if dot and isinstance(inner, Mapping) else None


def raw(row: Any) -> str:
    """A row or a value as JSON text, for the quarantine."""
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError, RecursionError):
        return f"<{type(row).__name__} that JSON cannot hold>"


def text(value: Any) -> str:
    """Text; a number or a flag as it is written."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list, bytes)):
        raise Unreadable("is not a text")
    return str(value)


def name(value: Any) -> str:
    """A short text: an id or a label."""
    found = text(value)
    if len(found) > _LONGEST_NAME:
        raise Unreadable(f"is longer than {_LONGEST_NAME:,} characters")
    return found


def content(value: Any) -> str:
    """Text; structured values become JSON."""
    return raw(value) if isinstance(value, (dict, list)) else text(value)


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool):
        raise Unreadable("is not a number")
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable("is not a number") from None
    if not isfinite(found):
        raise Unreadable("is not a finite number")
    return found


def amount(value: Any) -> float:
    """A finite number from 0: money, time."""
    found = number(value)
    if found < 0:
        raise Unreadable("is negative")
    return found


def whole(value: Any) -> int:
    """A whole number from 0."""
    found = number(value)
    if found != int(found) or not 0 <= found < 2**53:
        raise Unreadable("is not a whole number from 0")
    return int(found)


def flag(value: Any) -> bool:
    """True or false, also as a word or 0/1."""
    word = str(value).strip().lower() if isinstance(value, (str, bool, int, float)) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Unreadable("is neither true nor false")


def one_of(*words: str) -> Parser:
    """A parser that accepts only these words."""

    def parse(value: Any) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise Unreadable(f"is none of {', '.join(words)}")

    return parse


def instant(value: Any) -> datetime:
    """Naive UTC instant of ISO 8601 text (naive: UTC) or of seconds, ms, us or ns since 1970."""
    if isinstance(value, datetime):
        moment = value
    elif (ticks := _ticks(value)) is not None:
        unit = next(u for u in _TICKS_PER_SECOND if ticks < _LATEST_SECONDS * u)
        return _EPOCH + timedelta(microseconds=int(ticks * 1_000_000 / unit))
    else:
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise Unreadable("is not a time (ISO 8601, or a number since 1970)") from None
    try:
        moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError:
        raise Unreadable("is not a time that a calendar holds") from None
    if moment < EARLIEST:
        raise Unreadable(f"lies before {EARLIEST.year}")
    return moment


def json_list(value: Any) -> list[Any]:
    """A list, as such, as JSON, or as words between bars or commas."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            bar = "|" if "|" in value else ","
            return [word.strip() for word in value.split(bar) if word.strip()]
        value = parsed(value)
    if not isinstance(value, list):
        raise Unreadable("is not a list")
    return value


def texts(value: Any) -> list[str]:
    """A list of short texts."""
    return [name(item) for item in json_list(value)]


def pairs(value: Any) -> list[dict[str, str]]:
    """A map of texts as a list of {key, value}, ordered by key; from an object, JSON, or pairs."""
    if isinstance(value, str):
        value = parsed(value)
    if isinstance(value, list):
        try:
            value = dict((p["key"], p["value"]) if isinstance(p, dict) else p for p in value)
        except (KeyError, TypeError, ValueError):
            raise Unreadable("is not a list of {key, value}") from None
    if not isinstance(value, Mapping):
        raise Unreadable("is not an object of texts")
    known = {str(key): content(inner) for key, inner in value.items() if inner is not None}
    return [{"key": key, "value": inner} for key, inner in sorted(known.items())]


def _ticks(value: Any) -> Decimal | None:
    """A number of ticks since 1970, exactly; None for what cannot be one, such as 20261120."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        ticks = Decimal(str(value))
    except (ArithmeticError, ValueError):
        return None
    plausible = ticks.is_finite() and _EARLIEST_SECONDS <= ticks < _LATEST_SECONDS * 10**9
    return ticks if plausible else None


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
            said = ""
            try:
                row = next(reader, None)
            except csv.Error as error:
                said = next(
                    (why for sign, why in _CSV_PROBLEMS.items() if sign in str(error)),
                    "not a row of CSV",
                )
            if row is None:
                return
            if reason := source.problem or said or _misfit(row, header, source.line):
                yield Reject(str(path), start, reason, source.line.rstrip("\r\n"))
            elif row:
                cells = zip(header, map(_plain, row), strict=False)
                yield start, dict(cells)


def _misfit(row: list[str], header: list[str], line: str) -> str | None:
    """Why a row does not fit its header; a short one only if the file breaks off in it."""
    if len(row) > len(header):
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
