"""Labels that people gave, as JSON Lines, CSV or Parquet, and queued tasks as such rows to fill in.

A queue that went through a spreadsheet comes back with other delimiters, words for true and false,
columns in another order and rows nobody touched. All of that is read; what could mean two things,
such as 03/04/2026, is rejected with the reason.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.conversations import calls_in_words
from evalcov_pipeline.formats.lines import Reject, Unreadable
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.formats.rows import inert, read_rows

Row = dict[str, Any]
VERDICT = ("keep", "passed", "expected")
"""What a label has to say something about."""
LABEL = ("rater", *VERDICT, "category", "note")
"""Columns that a person fills in."""
TASK = (
    "task_id", "route", "status", "purpose", "reason", "cluster", "hint", "query", "context",
    "answer",
)  # fmt: skip
"""Columns that tell a person what a task is about."""
_WHOLE_AS_FLOAT = re.compile(r"\d+\.0+")


@dataclass(frozen=True)
class LabelRow:
    """What one row of a file, or one annotation of a task, says.

    Attributes:
        line: where it is.
        label: task_id, rater, keep, passed, expected, category, note, `at` (naive UTC, None where
            it was not stated), selection and inclusion_probability (how its item was drawn from the
            judged answers, None where that was not stated); None where nobody has said anything.
        raw: the row as it was.
    """

    line: int
    label: Row | None
    raw: str


def read(
    path: Path,
    mapping: Mapping[str, str] | None = None,
    latest: datetime = datetime.max,
    rater: str | None = None,
    *,
    suffix: str | None = None,
) -> Iterator[LabelRow | Reject]:
    """Labels with every field of the contract; fields that nobody knows are left aside.

    Args:
        path: JSON Lines, CSV or Parquet.
        mapping: canonical field -> the file's field.
        latest: last instant (naive UTC) that a time may name.
        rater: who labelled, where a row does not say.
        suffix: read the file as if its name ended so.

    Raises:
        BadInput: an unreadable file, or a mapping of an unknown field.
    """
    fields.check_mapping(mapping or {}, FIELDS)
    for item in read_rows(path, suffix):
        if isinstance(item, Reject):
            yield item
            continue
        number, row = item
        try:
            yield LabelRow(number, label(row, mapping or {}, latest, rater), fields.raw(row))
        except Unreadable as error:
            yield Reject(str(path), number, str(error), fields.raw(row))


def label(
    row: Mapping[str, Any], mapping: Mapping[str, str], latest: datetime, rater: str | None
) -> Row | None:
    """The label that a row holds; None where it is empty or nobody has filled it in.

    A row without `keep` that judges the answer or gives a better one keeps its task. Arguments as
    in `read`.

    Raises:
        Unreadable: a value cannot be read, or the row does not say who says what about which task.
    """
    stripped = {k: v.strip() if isinstance(v, str) else v for k, v in row.items()}
    values = fields.read_row(stripped, FIELDS, mapping, latest)
    item_id, task_id = values.pop("item_id"), values.pop("task_id")
    if all(values[name] is None for name in (*VERDICT, "category", "note")):
        known = any(mapping.get(name, name).partition(".")[0] in row for name in VERDICT)
        if known or not any(value not in (None, "") for value in stripped.values()):
            return None
        raise Unreadable(f"says nothing: none of {', '.join(VERDICT)} is there")
    if item_id and task_id and item_id != task_id:
        raise Unreadable(f"item_id = {item_id!r} and task_id = {task_id!r} are different tasks")
    values["task_id"] = task_id or item_id
    if values["task_id"] is None:
        raise Unreadable("task_id is missing")
    if all(values[name] is None for name in VERDICT):
        raise Unreadable(f"has a remark, but none of {', '.join(VERDICT)}")
    values["rater"] = values["rater"] or rater
    if values["rater"] is None:
        raise Unreadable("rater is missing: name who labelled in the file, or with --rater")
    if values["keep"] is None:
        values["keep"] = True
    return values


def dialogue(context: str | None) -> str | None:
    """Messages (JSON, as in `annotation_queue.context`) for people to read: one line each."""
    if context is None:
        return None
    return "\n".join(map(_line, orjson.loads(context)))


def _line(message: Mapping[str, Any]) -> str:
    called = calls_in_words(message)
    parts = [f"{message['role']}:", message["content"], f"({called})" if called else ""]
    return " ".join(filter(None, parts))


def to_fill_in(task: Mapping[str, Any]) -> Row:
    """The row of a queued task (of `annotation_queue`) for a person: `TASK`, and `LABEL` empty."""
    known = dict(task) | {
        "query": task["text"],
        "cluster": task["cluster_label"],
        "hint": task["category"],
    }
    return {name: known[name] for name in TASK} | dict.fromkeys(LABEL)


def write_jsonl(tasks: Iterable[Mapping[str, Any]]) -> bytes:
    """Queued tasks as JSON Lines, the context as messages."""
    rows = (to_fill_in(task) for task in tasks)
    return b"".join(orjson.dumps(row | {"context": parsed(row["context"])}) + b"\n" for row in rows)


def write_csv(tasks: Iterable[Mapping[str, Any]]) -> bytes:
    """Queued tasks as CSV, the context as dialogue; no cell is a formula to a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, (*TASK, *LABEL))
    writer.writeheader()
    for task in tasks:
        row = to_fill_in(task) | {"context": dialogue(task["context"])}
        writer.writerow({name: inert(value) if value else "" for name, value in row.items()})
    return text.getvalue().encode()


def _id(value: Any) -> str:
    """An id; a number that a spreadsheet or a data frame wrote as 7.0 is 7 again."""
    id_ = fields.name(value)
    return id_.partition(".")[0] if _WHOLE_AS_FLOAT.fullmatch(id_) else id_


def _either(yes: str, no: str) -> fields.Parser:
    """A parser of yes and no, under these words too."""

    def parse(value: Any) -> bool:
        word = value.lower() if isinstance(value, str) else value
        if word in (yes, no):
            return bool(word == yes)
        try:
            return fields.flag(value)
        except Unreadable:
            raise Unreadable(f"is neither yes ({yes}) nor no ({no})") from None

    return parse


def _instant(value: Any) -> datetime:
    try:
        return fields.instant(value)
    except Unreadable as error:
        raise Unreadable(
            f"{error}: write 2026-11-21T10:30:00Z, since other dates and a spreadsheet's numbers"
            " can mean several days, or leave it empty"
        ) from None


FIELDS: dict[str, fields.Parser] = {
    "task_id": _id,
    "item_id": _id,
    "rater": _id,
    "keep": _either("keep", "reject"),
    "passed": _either("pass", "fail"),
    "expected": fields.statement,
    "category": fields.name,
    "note": fields.statement,
    "at": _instant,
    "selection": fields.one_of("random", "by_verdict", "verdict_blind"),
    "inclusion_probability": fields.probability,
}
"""Fields of a label, and how their values are read."""
