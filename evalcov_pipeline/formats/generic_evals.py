"""Generic eval cases and eval results, as JSON Lines, CSV or Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.core.text.normalise import normalise
from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.conversations import Message, is_conversation, read_conversation
from evalcov_pipeline.formats.lines import Reject, Unreadable
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.formats.rows import read_rows

Row = dict[str, Any]


def read_cases(
    path: Path, mapping: Mapping[str, str] | None = None, latest: datetime = datetime.max
) -> Iterator[tuple[int, Row] | Reject]:
    """Eval cases with their lines and every field of the contract; only `input` is required.

    `input` is text, or a list of messages with at least one of a user, made canonical as
    `conversations` says. A missing `case_id` is a hash of the content of `input` and `expected`.
    `expected_tools` is None where a case says nothing of tools, empty where none is to be called.
    `created_at` is ISO 8601 in UTC.

    Args:
        path: JSON Lines, CSV or Parquet.
        mapping: canonical field -> the file's field.
        latest: last instant (naive UTC) that a time may name.

    Raises:
        BadInput: an unreadable file, or a mapping of an unknown field.
    """
    return read_declared(path, CASE, mapping, latest, _case)


def case_of(row: Mapping[str, Any], latest: datetime = datetime.max) -> Row:
    """The eval case in an object, as `read_cases` gives it.

    Raises:
        Unreadable: a value cannot be read, or `input` is missing.
    """
    return _case(fields.read_row(row, CASE, {}, latest))


def read_results(
    path: Path, mapping: Mapping[str, str] | None = None, latest: datetime = datetime.max
) -> Iterator[tuple[int, Row] | Reject]:
    """Eval results with their lines and every field of the contract.

    Required are `run_id`, `case_id` and `passed` or `score`. A result without `passed` passed when
    its score is at least 0.5. `at` is a naive UTC datetime, None where it was not stated; `repeat`
    is 0 where it was not. Arguments and errors as in `read_cases`.
    """
    return read_declared(path, _RESULT, mapping, latest, _result)


def read_declared(
    path: Path,
    declared: Mapping[str, fields.Parser],
    mapping: Mapping[str, str] | None,
    latest: datetime,
    finish: Callable[[Row], Row],
) -> Iterator[tuple[int, Row] | Reject]:
    """Rows of declared fields with their lines; `finish` completes one or raises `Unreadable`."""
    fields.check_mapping(mapping or {}, declared)
    for item in read_rows(path):
        if isinstance(item, Reject):
            yield item
            continue
        number, row = item
        try:
            yield number, finish(fields.read_row(row, declared, mapping or {}, latest))
        except Unreadable as error:
            yield Reject(str(path), number, str(error), fields.raw(row))


def _case(case: Row) -> Row:
    if case["input"] is None:
        raise Unreadable("input is missing")
    if case["case_id"] is None:
        content = orjson.dumps([case["input"], case["expected"]], option=orjson.OPT_SORT_KEYS)
        case["case_id"] = hashlib.sha256(content).hexdigest()[:16]
    created: datetime | None = case["created_at"]
    case["created_at"] = created and f"{created.isoformat()}Z"
    return case | {"tags": case["tags"] or []}


def _result(result: Row) -> Row:
    for name in ("run_id", "case_id"):
        if result[name] is None:
            raise Unreadable(f"{name} is missing")
    return with_verdict(result) | {"repeat": result["repeat"] or 0}


def with_verdict(row: Row) -> Row:
    """The row with `passed`, where only a score is given from that.

    Raises:
        Unreadable: neither is given.
    """
    if row["passed"] is None and row["score"] is None:
        raise Unreadable("neither passed nor score is given")
    return row | {"passed": row["score"] >= 0.5 if row["passed"] is None else row["passed"]}


def _input(value: Any) -> str | list[Message]:
    """Text, or messages; JSON text of a list of messages is messages."""
    if isinstance(value, str):
        messages = parsed(value)
        if not is_conversation(messages):
            if not normalise(value):
                raise Unreadable("is blank")
            return fields.bounded(value)
        value = messages
    messages = read_conversation(value)
    if not any(m["role"] == "user" and normalise(m["content"]) for m in messages):
        raise Unreadable("has no user message")
    return messages


CASE: dict[str, fields.Parser] = {
    "case_id": fields.name,
    "input": _input,
    "expected": fields.statement,
    "expected_tools": fields.tool_names,
    "outcome": fields.one_of("success", "abandoned", "error"),
    "category": fields.name,
    "tags": fields.texts,
    "origin": fields.one_of("hand_authored", "synthetic", "production", "incident"),
    "source_ref": fields.name,
    "created_at": fields.instant,
    "regression": fields.flag,
    "supersedes": fields.name,
    "incident_id": fields.name,
    "designed": fields.flag,
    "status": fields.one_of("active", "retired"),
}
_RESULT: dict[str, fields.Parser] = {
    "run_id": fields.name,
    "case_id": fields.name,
    "passed": fields.flag,
    "score": fields.share,
    "latency_ms": fields.amount,
    "cost_usd": fields.amount,
    "judge_id": fields.name,
    "repeat": fields.whole,
    "at": fields.instant,
    "system_version": fields.name,
    "model": fields.name,
    "output": fields.content,
    "category": fields.name,
    "variant": fields.name,
}
