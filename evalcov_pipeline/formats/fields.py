"""Declared fields of row formats: what each is called, and how its value is read.

A reader declares its columns as a mapping of name to parser; `read_row` applies them and says which
field is wrong. Parsers take any non-empty value and raise ValueError with a reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats.lines import Reject, json_lines, open_bytes, plain_suffix
from evalcov_pipeline.formats.messages import parsed

Parser = Callable[[Any], Any]
Row = dict[str, Any]

_EPOCH = datetime(1970, 1, 1)
_TICKS_PER_SECOND = (1, 10**3, 10**6, 10**9)
_EARLIEST_SECONDS = 10**8  # March 1973: less is not a number of seconds
_LATEST_SECONDS = 10**11  # the year 5138: a greater number is in a finer unit
_TRUE = frozenset({"true", "t", "yes", "y", "1", "pass", "passed"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "fail", "failed"})
_PARQUET_BATCH = 5_000


def rows(path: Path) -> Iterator[tuple[int, Row] | Reject]:
    """Rows of a JSON Lines, CSV or Parquet file with their line (Parquet: row) numbers."""
    suffix = plain_suffix(path)
    if suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if suffix == ".csv" else json_lines(path)


def read_row(
    row: Mapping[str, Any], fields: Mapping[str, Parser], mapping: Mapping[str, str]
) -> Row:
    """Values of the declared fields that the row has.

    Args:
        row: as it was in the file.
        fields: parser by canonical name.
        mapping: canonical name -> the row's own name; dots reach into nested objects.

    Returns:
        Parsed values by canonical name; None where the row has none.

    Raises:
        ValueError: naming the field, its value and what was expected.
    """
    found = {}
    for name, parse in fields.items():
        value = get(row, mapping.get(name, name))
        try:
            found[name] = None if value is None or value == "" else parse(value)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise ValueError(f"{name} = {str(value)[:80]!r} {error}") from error
    return found


def get(row: Mapping[str, Any], name: str) -> Any:
    """Value under a name, or under a dotted path of names."""
    if name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    inner = row.get(head)
    return get(inner, rest) if dot and isinstance(inner, Mapping) else None


def raw(row: Any) -> str:
    """A row as JSON text, for the quarantine."""
    return orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def text(value: Any) -> str:
    """Text; structured values become JSON."""
    if isinstance(value, str):
        return value
    return raw(value) if isinstance(value, (dict, list)) else str(value)


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool):
        raise ValueError("is not a number")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError("is not a number") from None
    if not isfinite(found):
        raise ValueError("is not a finite number")
    return found


def whole(value: Any) -> int:
    """A whole number from 0."""
    found = number(value)
    if found != int(found) or not 0 <= found < 2**53:
        raise ValueError("is not a whole number from 0")
    return int(found)


def flag(value: Any) -> bool:
    """True or false, also as a word or 0/1."""
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def one_of(*words: str) -> Parser:
    """A parser that accepts only these words."""

    def parse(value: Any) -> str:
        if value in words:
            return str(value)
        raise ValueError(f"is none of {', '.join(words)}")

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
            raise ValueError("is not a time (ISO 8601, or a number since 1970)") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def json_list(value: Any) -> list[Any]:
    """A list, as such, as JSON, or as words between bars or commas."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            bar = "|" if "|" in value else ","
            return [word.strip() for word in value.split(bar) if word.strip()]
        value = parsed(value)
    if not isinstance(value, list):
        raise ValueError("is not a list")
    return value


def texts(value: Any) -> list[str]:
    """A list of texts."""
    return [text(item) for item in json_list(value)]


def pairs(value: Any) -> list[dict[str, str]]:
    """A map of texts as a list of {key, value}, ordered by key; from an object, JSON, or pairs."""
    if isinstance(value, str):
        value = parsed(value)
    if isinstance(value, list):
        value = dict((p["key"], p["value"]) if isinstance(p, dict) else p for p in value)
    if not isinstance(value, Mapping):
        raise ValueError("is not an object of texts")
    return [{"key": str(k), "value": text(v)} for k, v in sorted(value.items()) if v is not None]


def _ticks(value: Any) -> Decimal | None:
    """A number of ticks since 1970, exactly; None for what cannot be one, such as 20261120."""
    try:
        ticks = Decimal(str(value))
    except ArithmeticError:
        return None
    plausible = ticks.is_finite() and _EARLIEST_SECONDS <= ticks < _LATEST_SECONDS * 10**9
    return ticks if plausible else None


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the start of a formula."""


def _csv_rows(path: Path) -> Iterator[tuple[int, Row] | Reject]:
    with open_bytes(path) as stream:
        csv.field_size_limit(2**31 - 1)
        lines = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        reader = csv.DictReader(lines)
        if not reader.fieldnames:
            raise BadInput("no header row", str(path), "name the columns in the first line")
        for row in reader:
            if None in row:
                reason = f"more cells than the header has columns ({len(reader.fieldnames)})"
                yield Reject(str(path), reader.line_num, reason, raw(row))
            else:
                yield reader.line_num, {name: _plain(cell) for name, cell in row.items()}


def _plain(cell: str | None) -> str | None:
    """A cell without the apostrophe that keeps spreadsheets from running it as a formula."""
    if cell and cell[0] == "'" and cell[1:].startswith(FORMULA_STARTS):
        return cell[1:]
    return cell


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(
            f"not a Parquet file: {str(error).splitlines()[0]}", str(path), "export it again"
        ) from error
    position = 0
    try:
        with table:
            for batch in table.iter_batches(_PARQUET_BATCH):
                for row in batch.to_pylist():
                    position += 1
                    yield position, row
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(
            f"damaged after row {position}: {str(error).splitlines()[0]}", str(path), "export again"
        ) from error
