"""Files that no exporter writes: arbitrary bytes, valid files with damage, values of any type.

Used by the tests (a few hundred files) and by `benchmarks/fuzz_readers.py` (as many as asked for).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import zstandard
from hypothesis import strategies as st

from evalcov_pipeline.core.traffic.turns import SPANS
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import find
from evalcov_pipeline.formats.annotations import LabelRow
from evalcov_pipeline.formats.lines import Reject
from evalcov_pipeline.formats.traces import TraceOptions
from evalcov_pipeline_tests import otlp_lines

LATEST = datetime(2026, 11, 2)
KINDS = ("otlp", "traces", "evals", "results", "annotations", "labelstudio", "incidents")
"""What is read: OTLP traces, the kinds of rows, and Label Studio's exports."""

_PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": lambda content: gzip.compress(content, 1),
    ".zst": zstandard.compress,
}
_PYTHON = re.compile(r"\w+Error\b|Traceback|object has no|subscriptable|NoneType|argument|keyword")
_NOTES = {
    "annotations.0.annotation.name": "thumbs",
    "annotations.0.annotation.score": 1.0,
    "retrieval.documents.0.document.score": 0.5,
    "metadata": '{"tier": "pro", "outcome": "success"}',
    "tag.tags": ["a", "b"],
    "gen_ai.usage.cost": 0.1,
}
_RESULT = {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 1}
_LOG = {
    "timeUnixNano": otlp_lines.nanos(otlp_lines.NOON),
    "eventName": "gen_ai.evaluation.result",
    "traceId": otlp_lines.trace(1),
    "attributes": otlp_lines.attributes(_RESULT),
}
_MESSAGE = _LOG | {
    "eventName": "gen_ai.user.message",
    "spanId": f"{1:016x}",
    "body": otlp_lines.value({"role": "user", "content": "hi"}),
}
_EVENT = {"name": "gen_ai.evaluation.result", "attributes": otlp_lines.attributes(_RESULT)}
_LINK = {"traceId": otlp_lines.trace(1), "spanId": f"{1:016x}"}
VALID: Mapping[str, list[Any]] = {
    "otlp": [
        *(json.loads(otlp_lines.line(otlp_lines.conversation(v))) for v in otlp_lines.VOCABULARIES),
        json.loads(
            otlp_lines.line(
                [
                    otlp_lines.span(1, _NOTES, events=[_EVENT], status={"code": 2}),
                    otlp_lines.span(
                        2, {"openinference.span.kind": "EVALUATOR"} | _NOTES, links=[_LINK]
                    ),
                ]
            )
        ),
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [_LOG, _MESSAGE]}]}]},
    ],
    "traces": [
        {
            "trace_id": f"t{i}", "session_id": "s", "started_at": "2026-09-01T12:00:00Z",
            "ended_at": 1788264001000, "query_text": "where is my parcel", "answer_text": "here",
            "segment": {"tier": "pro"}, "segment.locale": "de", "tool_calls": ["track"],
            "input_tokens": 10, "cost_usd": 0.1, "latency_ms": 1500.0, "retrieval_count": 0,
            "feedback": [{"name": "thumbs", "value": 1}], "outcome": "success",
        }
        for i in range(3)
    ],
    "evals": [
        {"input": "hi", "case_id": "c", "tags": ["x"], "created_at": "2026-08-01"},
        {"input": [{"role": "user", "content": "hi"}], "expected": "ho", "status": "retired"},
        {"input": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "designed": 1},
    ],
    "results": [
        {"run_id": "r", "case_id": f"c{i}", "passed": True, "score": 0.5, "latency_ms": 1,
         "repeat": 0, "at": "2026-09-01", "output": {"a": 1}}
        for i in range(3)
    ],
    "annotations": [
        {"task_id": "t", "rater": "ann", "keep": True, "passed": "no", "at": "2026-09-01"},
        {"item_id": "t", "rater": 7, "expected": "ho", "category": "c", "note": "n", "x": [1]},
        {"task_id": "t", "rater": None, "keep": None},
    ],
    "labelstudio": [
        {"id": 1, "data": {"task_id": "t"}, "predictions": [], "annotations": [
            {"id": 2, "completed_by": {"id": 3, "email": "a@b.example"}, "was_cancelled": False,
             "updated_at": "2026-09-01T12:00:00Z", "result": [
                {"from_name": "keep", "type": "choices", "value": {"choices": ["keep"]}},
                {"from_name": "note", "type": "textarea", "value": {"text": ["a", "b"]}}]}]},
        {"task_id": "t", "keep": "keep", "note": {"text": ["a"]}, "annotation_id": 3,
         "annotator": 7, "created_at": "2026-09-01T12:00:00Z"},
    ],
    "incidents": [
        {"incident_id": "i", "title": "t", "at": "2026-09-01", "trace_ids": ["a"], "cases": ["c"]},
        {"incident_id": 7, "title": "t", "cases": [{"input": "hi", "expected": "ho"}]},
        {"incident_id": "i", "title": "t", "trace_id": "a", "input": "hi", "expected": "ho"},
    ],
}  # fmt: skip
"""JSON Lines by kind, every one of them readable."""

_ODD = st.sampled_from(
    [None, True, "", " ", "0", "-1", "NaN", "1e999", "\x00", "\u202e", "{", "[", "[[", '{"a": 1}',
     '[{"role": "user"}]', '[{"role": "user", "content": [{}]}]', "2026-13-01", "9999-12-31T23:59",
     "0001-01-01T00:00+14:00", "-5:00", "=1+1", "x" * 2_000, 0, -1, 2**31, 2**53, 2**63, -(2**63),
     2**64 - 1, 1e308, 5e-324, float("nan"), float("inf"), 253402300800, 10**17, 10**18, 10**19,
     {"stringValue": 1}, {"intValue": "x"}, {"intValue": None}, {"doubleValue": "NaN"},
     {"arrayValue": None}, {"arrayValue": {"values": 3}}, {"kvlistValue": {"values": [{"key": 1}]}},
     {"bytesValue": "AA=="}, {"key": "a"}, {"key": None, "value": 3}, {"unknownValue": {}}]
)  # fmt: skip
_ANYTHING = st.recursive(
    _ODD | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "parts", "text", "type", "key", "value", "values",
                             "messages", "message", "data", "name", "score", "a", ""]),
            inner, max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@dataclass(frozen=True)
class HostileFile:
    """A file's ending and content, and how many rows it has if that can be told."""

    suffix: str
    content: bytes
    rows: int | None = None


@st.composite
def hostile_files(draw: st.DrawFn, kind: str) -> HostileFile:
    """A file that a reader of this kind has to survive."""
    tables = [] if kind in ("otlp", "labelstudio") else [_table, _parquet]
    make = draw(st.sampled_from([_bytes, _swapped, _swapped, _damaged, *tables]))
    made: HostileFile = draw(make(kind))
    packing = draw(st.sampled_from(sorted(_PACK)))
    packed = HostileFile(made.suffix + packing, _PACK[packing](made.content), made.rows)
    if packing and draw(st.booleans()):
        return HostileFile(packed.suffix, draw(_damage(packed.content)))
    return packed


@st.composite
def _bytes(draw: st.DrawFn, kind: str) -> HostileFile:
    """Bytes of any kind, alone or between good lines."""
    junk = draw(st.binary(max_size=200) | _ANYTHING.map(_dumps))
    good = _dumps(draw(st.sampled_from(VALID[kind])))
    suffix = draw(st.sampled_from([".jsonl", ".json", ".csv", ".parquet", ".txt"]))
    return HostileFile(suffix, draw(st.sampled_from([junk, good + b"\n" + junk + b"\n" + good])))


@st.composite
def _swapped(draw: st.DrawFn, kind: str) -> HostileFile:
    """Valid JSON whose values were swapped for others at random places."""
    rows = json.loads(
        json.dumps(draw(st.lists(st.sampled_from(VALID[kind]), min_size=1, max_size=4)))
    )
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(rows, ()))
        place = draw(st.sampled_from(places))
        inside: Any = rows
        for step in place[:-1]:
            inside = inside[step]
        if draw(st.integers(0, 3)):
            inside[place[-1]] = deepcopy(draw(_ANYTHING))
        else:
            del inside[place[-1]]
        if not rows:
            break
    if draw(st.integers(0, 9)) == 0:
        return HostileFile(".json", _dumps(rows))
    countable = (
        kind not in ("otlp", "labelstudio") and len(rows) > 1
    )  # a list alone is an array of rows
    content = b"\n".join(map(_dumps, rows))
    return HostileFile(".jsonl", content, len(rows) if countable else None)


@st.composite
def _damaged(draw: st.DrawFn, kind: str) -> HostileFile:
    """A valid file with bits flipped, pieces cut out, doubled or put in."""
    content = b"\n".join(map(_dumps, VALID[kind]))
    return HostileFile(".jsonl", draw(_damage(content)))


@st.composite
def _table(draw: st.DrawFn, kind: str) -> HostileFile:
    """A CSV file of any cells under the kind's columns, perhaps damaged."""
    columns = sorted({name for row in VALID[kind] for name in row})
    cell = st.text(max_size=6) | _ODD.map(str) | st.sampled_from(["2026-09-01", "hi", "1"])
    width = draw(st.integers(1, len(columns)))
    table = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=5))
    text = io.StringIO(newline="")
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(draw(st.permutations(columns))[:width])
    writer.writerows(table)
    content = text.getvalue().encode(errors="surrogatepass")
    if draw(st.booleans()):
        return HostileFile(".csv", draw(_damage(content)))
    return HostileFile(".csv", content)


@st.composite
def _parquet(draw: st.DrawFn, kind: str) -> HostileFile:
    """A Parquet file whose columns have any types, perhaps damaged."""
    columns = sorted({name for row in VALID[kind] for name in row})
    values = st.sampled_from(
        [[b"\xff"], [datetime(1677, 9, 22)], [datetime(2026, 9, 1)], [["a", None]],
         [{"a": b"\x00"}], [1], [1.5], [float("nan")], ["text"], [None], [True], [[[]]],
         [[{"name": 3}]],
         [datetime(2026, 9, 1).time()], [datetime(2026, 9, 1) - datetime(2026, 8, 1)]]
    )  # fmt: skip
    frame = pl.DataFrame({name: draw(values) for name in columns})
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    content = buffer.getvalue()
    if draw(st.booleans()):
        return HostileFile(".parquet", draw(_damage(content)))
    return HostileFile(".parquet", content, 1)


@st.composite
def _damage(draw: st.DrawFn, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        if not damaged:
            break
        at = draw(st.integers(0, len(damaged) - 1))
        length = draw(st.integers(1, 60))
        match draw(st.sampled_from(["flip", "cut", "delete", "double", "insert"])):
            case "flip":
                damaged[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del damaged[at:]
            case "delete":
                del damaged[at : at + length]
            case "double":
                damaged[at:at] = damaged[at : at + length]
            case "insert":
                damaged[at:at] = draw(st.binary(max_size=8) | st.just(b"\n"))
    return bytes(damaged)


def survives(kind: str, file: HostileFile, folder: Path) -> str:
    """Read a hostile file, and hold the reader to what it promises.

    Args:
        kind: one of `KINDS`.
        file: the file.
        folder: where to put it.

    Returns:
        What came of it: "refused", "read" or "in part".

    Raises:
        AssertionError: a promise was broken; any other exception: the reader let it through.
    """
    path = folder / f"file{file.suffix}"
    path.write_bytes(file.content)
    options = (TraceOptions(latest=LATEST),) if kind in ("otlp", "traces") else (None, LATEST)
    name = {"otlp": "traces", "labelstudio": "annotations"}.get(kind, kind)
    generic = dict.fromkeys(("traces", "evals", "results", "incidents"), "generic")
    format_ = generic | {"annotations": "auto"}
    refused = None
    try:
        reader = find(name, path, format_.get(kind, kind))
        items = list(reader.read(path, *options))
    except BadInput as error:
        refused = error
    if refused:
        assert not _PYTHON.search(str(refused))
        return "refused"
    good = 0
    for item in items:
        if isinstance(item, Reject):
            assert item.file == str(path)
            assert item.line >= 1
            assert item.reason
            assert isinstance(item.raw, str)
            said = re.sub(r" = '.*' ", " ", item.reason, flags=re.DOTALL)
            assert not _PYTHON.search(said), item.reason
        elif name == "traces":
            assert item.schema == SPANS
            assert (
                item.select("source", "trace_id", "span_id", "started_at")
                .null_count()
                .sum_horizontal()
                .item()
                == 0
            )
            assert item["started_at"].is_between(datetime(1990, 1, 1), LATEST).all()
            good += item.height
        elif isinstance(item, LabelRow):
            assert item.label is None or (item.label["task_id"] and item.label["rater"])
            assert isinstance(item.raw, str)
            good += 1
        else:
            assert item[0] >= 1
            assert item[1]["incident_id" if kind == "incidents" else "case_id"]
            assert _dumps(item)
            good += 1
    if file.rows is not None:
        rejected = sum(isinstance(item, Reject) for item in items)
        beside = kind == "incidents" and good + rejected > file.rows  # cases that cannot be read
        assert beside or good + rejected == file.rows
    return "read" if good == len(items) or not items else "in part"


def _places(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Paths to every value inside a JSON value."""
    found = [path] if path else []
    inner = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list)
        else ()
    )  # fmt: skip
    for key, item in inner:
        found += _places(item, (*path, key))
    return found


def _dumps(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()
