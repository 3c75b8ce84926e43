"""Generic eval cases and eval results, as JSON Lines, CSV or Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.lines import Reject
from evalcov_pipeline.formats.messages import parsed

Row = dict[str, Any]


def read_cases(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[Row | Reject]:
    """Eval cases with every field of the contract; only `input` is required.

    `input` is text, or a list of {role, content} with at least one user message. A missing
    `case_id` is a hash of the content of `input` and `expected`. `created_at` is ISO 8601 in UTC.
    """
    return _read(path, _CASE, mapping, _case)


def read_results(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[Row | Reject]:
    """Eval results with every field of the contract.

    Required are `run_id`, `case_id` and `passed` or `score`. A result without `passed` passed when
    its score is at least 0.5. `at` is a naive UTC datetime, None where it was not stated; `repeat`
    is 0 where it was not.
    """
    return _read(path, _RESULT, mapping, _result)


def _read(
    path: Path,
    declared: Mapping[str, fields.Parser],
    mapping: Mapping[str, str] | None,
    finish: Callable[[Row], Row],
) -> Iterator[Row | Reject]:
    for item in fields.rows(path):
        if isinstance(item, Reject):
            yield item
            continue
        number, row = item
        try:
            yield finish(fields.read_row(row, declared, mapping or {}))
        except ValueError as error:
            yield Reject(str(path), number, str(error), fields.raw(row))


def _case(case: Row) -> Row:
    if case["input"] is None:
        raise ValueError("input is missing")
    if case["case_id"] is None:
        content = orjson.dumps([case["input"], case["expected"]], option=orjson.OPT_SORT_KEYS)
        case["case_id"] = hashlib.sha256(content).hexdigest()[:16]
    created: datetime | None = case["created_at"]
    case["created_at"] = created and f"{created.isoformat()}Z"
    return case | {"tags": case["tags"] or [], "origin": case["origin"] or "hand_authored"}


def _result(result: Row) -> Row:
    for name in ("run_id", "case_id"):
        if result[name] is None:
            raise ValueError(f"{name} is missing")
    if result["passed"] is None:
        if result["score"] is None:
            raise ValueError("neither passed nor score is given")
        result["passed"] = result["score"] >= 0.5
    return result | {"repeat": result["repeat"] or 0}


def _input(value: Any) -> str | list[dict[str, str]]:
    """Text, or messages; JSON text of a list of messages is messages."""
    if isinstance(value, str):
        messages = parsed(value)
        if not (isinstance(messages, list) and messages and _is_message(messages[0])):
            if not value.strip():
                raise ValueError("is blank")
            return value
        value = messages
    if not (isinstance(value, list) and value and all(_is_message(m) for m in value)):
        raise ValueError("is neither text nor a list of {role, content}")
    if not any(m["role"] == "user" and m["content"].strip() for m in value):
        raise ValueError("has no user message")
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
    )


def _share(value: Any) -> float:
    score = fields.number(value)
    if not 0 <= score <= 1:
        raise ValueError("is not between 0 and 1")
    return score


_CASE: dict[str, fields.Parser] = {
    "case_id": fields.text,
    "input": _input,
    "expected": fields.text,
    "category": fields.text,
    "tags": fields.texts,
    "origin": fields.one_of("hand_authored", "synthetic", "production", "incident"),
    "source_ref": fields.text,
    "created_at": fields.instant,
    "regression": fields.flag,
    "designed": fields.flag,
    "status": fields.one_of("active", "retired"),
}
_RESULT: dict[str, fields.Parser] = {
    "run_id": fields.text,
    "case_id": fields.text,
    "passed": fields.flag,
    "score": _share,
    "latency_ms": fields.number,
    "cost_usd": fields.number,
    "judge_id": fields.text,
    "repeat": fields.whole,
    "at": fields.instant,
    "system_version": fields.text,
    "model": fields.text,
    "output": fields.text,
    "category": fields.text,
    "variant": fields.text,
}
