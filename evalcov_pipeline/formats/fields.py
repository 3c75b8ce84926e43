"""Declared fields of row formats: what each is called, and how its value is read.

A reader declares its columns as a mapping of name to parser; `read_row` applies them and says which
field is wrong. Parsers take any non-empty value and raise `Unreadable` with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any

import orjson

from evalcov_pipeline.core.sessions.features import NAMELESS
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats.lines import Unreadable
from evalcov_pipeline.formats.messages import parsed

Parser = Callable[[Any], Any]
Row = dict[str, Any]

EARLIEST = datetime(1990, 1, 1)
"""No time of traffic or evals lies before; a number that says so is in another unit."""
_EPOCH = datetime(1970, 1, 1)
_TICKS_PER_SECOND = (1, 10**3, 10**6, 10**9)
_EARLIEST_SECONDS = int((EARLIEST - _EPOCH).total_seconds())
_LATEST_SECONDS = 10**11  # the year 5138: a greater number is in a finer unit
_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0", "pass", "passed"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0", "fail", "failed"})
_LONGEST_NAME = 1_000
_LONGEST_TEXT = 2_000_000
_SHOWN = 80


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
    canonical: Row = {}
    for name, parse in fields.items():
        value = get(row, mapping.get(name, name))
        if value is None or value == "":
            canonical[name] = None
            continue
        try:
            canonical[name] = parsed_value = parse(value)
            if isinstance(parsed_value, datetime) and parsed_value > latest:
                raise Unreadable("lies in the future")
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            reason = str(error) if isinstance(error, Unreadable) else "cannot be read"
            shown = value if isinstance(value, str) else raw(value)
            raise Unreadable(f"{name} = {shown[:_SHOWN]!r} {reason}") from error
    return canonical


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
    short = text(value)
    if len(short) > _LONGEST_NAME:
        raise Unreadable(f"is longer than {_LONGEST_NAME:,} characters")
    return short


def content(value: Any) -> str:
    """Text; structured values become JSON."""
    return raw(value) if isinstance(value, (dict, list)) else text(value)


def bounded(written: str) -> str:
    """A text that is not absurdly long."""
    if len(written) > _LONGEST_TEXT:
        raise Unreadable(f"is longer than {_LONGEST_TEXT:,} characters")
    return written


def statement(value: Any) -> str:
    """What somebody wrote, such as an expected answer; structured values become JSON."""
    return bounded(content(value))


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool):
        raise Unreadable("is not a number")
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable("is not a number") from None
    if not isfinite(parsed):
        raise Unreadable("is not a finite number")
    return parsed


def amount(value: Any) -> float:
    """A finite number from 0: money, time."""
    parsed = number(value)
    if parsed < 0:
        raise Unreadable("is negative")
    return parsed


def share(value: Any) -> float:
    """A number between 0 and 1: a rate, a score."""
    parsed = number(value)
    if not 0 <= parsed <= 1:
        raise Unreadable("is not between 0 and 1")
    return parsed


def probability(value: Any) -> float:
    """A chance above 0, at most 1."""
    parsed = share(value)
    if parsed == 0:
        raise Unreadable("is no chance with which a row could have been drawn")
    return parsed


def whole(value: Any) -> int:
    """A whole number from 0."""
    parsed = number(value)
    if parsed != int(parsed) or not 0 <= parsed < 2**53:
        raise Unreadable("is not a whole number from 0")
    return int(parsed)


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


def tool_names(value: Any) -> list[str]:
    """Names of called tools in order; a call without a name is there as `NAMELESS`.

    From a list of names or of calls as OpenAI and LangChain record them, from its JSON, or from
    names between bars or commas.
    """
    if isinstance(value, str):
        is_json = value.lstrip().startswith("[")
        value = parsed(value.lstrip()) if is_json else value.split("|" if "|" in value else ",")
    if not isinstance(value, list):
        raise Unreadable("is not a list of tool calls")
    return [tool_name(call) for call in value]


def tool_name(call: Any) -> str:
    """Name of the tool in a call, which may be the name itself."""
    if isinstance(call, Mapping):
        function = call.get("function")
        call = (function if isinstance(function, Mapping) else call).get("name")
    return NAMELESS if call is None else name(call).strip() or NAMELESS


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
