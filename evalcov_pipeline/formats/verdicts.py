"""Verdicts of judges, as JSON Lines, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.generic_evals import Row, read_declared, with_verdict
from evalcov_pipeline.formats.lines import Reject, Unreadable

VERSION = ("judge_model", "prompt_version", "rubric_version")
"""What makes a version of a judge beside its id; empty where it is not stated."""


def read(
    path: Path, mapping: Mapping[str, str] | None = None, latest: datetime = datetime.max
) -> Iterator[tuple[int, Row] | Reject]:
    """Verdicts with their lines and the columns of `judge_verdicts`.

    Required are `item_id`, `judge_id` and `passed` or `score`; a verdict without `passed` passed
    when its score is at least 0.5. `at` is a naive UTC datetime, None where it was not stated.

    Args:
        path: JSON Lines, CSV or Parquet.
        mapping: canonical field -> the file's field.
        latest: last instant (naive UTC) that a time may name.

    Raises:
        BadInput: an unreadable file, or a mapping of an unknown field.
    """
    return read_declared(path, _VERDICT, mapping, latest, _verdict)


def _verdict(verdict: Row) -> Row:
    for name in ("item_id", "judge_id"):
        if verdict[name] is None:
            raise Unreadable(f"{name} is missing")
    known = with_verdict(verdict)
    return {name: known[name] for name in _VERDICT if name != "score"} | {
        name: known[name] or "" for name in VERSION
    }


_VERDICT: dict[str, fields.Parser] = {
    "item_id": fields.name,
    "judge_id": fields.name,
    "judge_model": fields.name,
    "prompt_version": fields.name,
    "rubric_version": fields.name,
    "case_id": fields.name,
    "category": fields.name,
    "passed": fields.flag,
    "score": fields.share,
    "output": fields.content,
    "model": fields.name,
    "at": fields.instant,
}
