"""Label Studio: queued tasks with their labelling interface out, its JSON and JSON_MIN exports in.

An export in JSON has tasks with `data` and `annotations`, each a list of results named by the
control that gave them (`from_name`); JSON_MIN has one flat row per annotation. Source: Label Studio
2.1, guide/task_format and the export's converter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.annotations import (
    FIELDS,
    LABEL,
    LabelRow,
    dialogue,
    label,
    to_fill_in,
)
from evalcov_pipeline.formats.lines import Reject, Unreadable, json_lines

NAME = "labelstudio"
_TASKS = re.compile(rb'(?<!\\)"(annotations"\s*:\s*\[|annotation_id"\s*:|data"\s*:\s*\{)')

INTERFACE = """\
<View>
  <Header value="Said before"/>
  <Text name="context" value="$context"/>
  <Header value="What the user asked"/>
  <Text name="query" value="$query"/>
  <Header value="What production answered"/>
  <Text name="answer" value="$answer"/>
  <Header value="Why it was drawn, its cluster, its likely category"/>
  <Text name="reason" value="$reason"/>
  <Text name="cluster" value="$cluster"/>
  <Text name="hint" value="$hint"/>
  <Header value="Is the question worth an eval case?"/>
  <Choices name="keep" toName="query" choice="single" required="true" showInline="true">
    <Choice value="keep" hotkey="k"/>
    <Choice value="reject" hotkey="r"/>
  </Choices>
  <Header value="Is the answer good?"/>
  <Choices name="passed" toName="answer" choice="single" showInline="true">
    <Choice value="pass" hotkey="p"/>
    <Choice value="fail" hotkey="f"/>
  </Choices>
  <Header value="Expected answer"/>
  <TextArea name="expected" toName="query" rows="4" maxSubmissions="1" editable="true"/>
  <Header value="Category"/>
  <TextArea name="category" toName="query" rows="1" maxSubmissions="1" editable="true"/>
  <Header value="Note"/>
  <TextArea name="note" toName="query" rows="2" maxSubmissions="1" editable="true"/>
</View>
"""
"""The labelling interface that the tasks are made for (Settings > Labeling Interface > Code)."""

_WORDS = {"keep": ("keep", "reject"), "passed": ("pass", "fail")}
"""Choices of the interface for true and false."""
_TEXT_KEY = {"choices": "choices", "textarea": "text"}
"""Where the value of a result lies, by the type of its control."""


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file is a list of Label Studio's tasks, labelled or not."""
    return head.lstrip().startswith((b"[", b"{")) and _TASKS.search(head) is not None


def read(
    path: Path,
    mapping: Mapping[str, str] | None = None,
    latest: datetime = datetime.max,
    rater: str | None = None,
) -> Iterator[LabelRow | Reject]:
    """Labels of an export as JSON or JSON_MIN, one per annotation that was not cancelled.

    A rater is the `completed_by` of an annotation: an e-mail address where the export has one, else
    the number of the account. Results of controls that are no field of a label are left aside.

    Args:
        path: the export.
        mapping: canonical field -> name of the control, or of the task's data.
        latest: last instant (naive UTC) that a time may name.
        rater: who labelled, where the export does not say.

    Raises:
        BadInput: an unreadable file, or a mapping of an unknown field.
    """
    fields.check_mapping(mapping or {}, FIELDS)
    for item in json_lines(path):
        if isinstance(item, Reject):
            yield item
            continue
        number, task = item
        for annotation in _annotations(task):
            try:
                row = _row(task, annotation, mapping or {})
                values = label(row, mapping or {}, latest, rater) if row else None
                yield LabelRow(number, values, fields.raw(annotation))
            except Unreadable as error:
                yield Reject(str(path), number, str(error), fields.raw(annotation))


def write(tasks: Iterable[Mapping[str, Any]]) -> bytes:
    """Queued tasks (rows of `annotation_queue`) for import into a project with `INTERFACE`.

    Nothing is filled in. A suggestion goes along as a prediction, marked as such; tasks for
    calibration have neither suggestion nor hint, since raters would lean towards it.
    """
    return orjson.dumps([_task(task) for task in tasks], option=orjson.OPT_INDENT_2)


def _annotations(task: Mapping[str, Any]) -> list[Any]:
    """What was said about a task; a task without, or a flat row, stands for itself."""
    annotations = task.get("annotations")
    return annotations if isinstance(annotations, list) and annotations else [task]


def _row(
    task: Mapping[str, Any], annotation: Any, mapping: Mapping[str, str]
) -> dict[str, Any] | None:
    """A flat row of an annotation; None where nothing was said.

    Raises:
        Unreadable: the annotation is not what Label Studio writes.
    """
    if not isinstance(annotation, Mapping):
        raise Unreadable("an annotation is not an object")
    if annotation.get("was_cancelled"):
        return None
    who = {"rater": _rater(annotation.get("completed_by", annotation.get("annotator")))}
    if (at := annotation.get("updated_at") or annotation.get("created_at")) is not None:
        who["at"] = at
    if annotation is task and "data" not in task:
        row = {name: _plain(value) for name, value in task.items()}
    elif not (results := annotation.get("result") or []):
        return None
    elif not isinstance(data := task.get("data"), Mapping):
        raise Unreadable("the task has no data")
    else:
        wanted = {mapping.get(name, name): name for name in LABEL}
        row = {**data, **dict.fromkeys(wanted), **_said(results, wanted)}
        if not any(row[own] for own in wanted):
            raise Unreadable(f"none of its results is one of {', '.join(wanted)}")
    return {**row, **{mapping.get(name, name): value for name, value in who.items()}}


def _said(results: Any, wanted: Mapping[str, str]) -> dict[str, str]:
    """Values by control, of the controls that are wanted."""
    values: dict[str, str] = {}
    for result in results if isinstance(results, list) else [results]:
        if not isinstance(result, Mapping):
            raise Unreadable("a result is not an object")
        control, kind, value = (result.get(key) for key in ("from_name", "type", "value"))
        if not isinstance(control, str) or control not in wanted:
            continue
        key = _TEXT_KEY.get(kind) if isinstance(kind, str) else None
        if key is None or not isinstance(value, Mapping):
            raise Unreadable(f"{control} is a result of type {kind!r}, not choices or textarea")
        text = _plain(value.get(key))
        if not isinstance(text, str):
            raise Unreadable(f"{control} has no value that can be read")
        if kind == "choices" and values.get(control, text) != text:
            raise Unreadable(f"{control} has two values, {values[control]!r} and {text!r}")
        more = kind == "textarea" and control in values
        values[control] = f"{values[control]}\n{text}" if more else text
    return values


def _plain(value: Any) -> Any:
    """The text in what Label Studio wraps in lists and objects; several lines of text are one."""
    if isinstance(value, Mapping) and (inner := value.get("choices", value.get("text"))):
        value = inner
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return "\n".join(value)
    return value


def _rater(who: Any) -> Any:
    """Name of the person who annotated."""
    return who.get("email") or who.get("id") if isinstance(who, Mapping) else who


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    calibration = task["purpose"] == Purpose.CALIBRATION
    shown = {name: value for name, value in to_fill_in(task).items() if name not in LABEL}
    data = shown | {
        "context": dialogue(task["context"]) or "(nothing: it opens the session)",
        "answer": task["answer"] or "(not captured)",
        "cluster": shown["cluster"] or "none",
        "hint": "-" if calibration else shown["hint"] or "-",
    }
    suggestion = orjson.loads(task["suggestion"]) if task["suggestion"] else None
    if calibration or suggestion is None:
        return {"data": data}
    return {"data": data, "predictions": [_prediction(suggestion)]}


def _prediction(suggestion: Mapping[str, Any]) -> dict[str, Any]:
    results = []
    for name in LABEL:
        value = suggestion.get(name)
        if value is None or name == "rater":
            continue
        if name in _WORDS:
            kind, content = "choices", {"choices": [_WORDS[name][0 if value else 1]]}
        else:
            kind, content = "textarea", {"text": [value]}
        to = "answer" if name == "passed" else "query"
        results.append(
            {"id": name, "from_name": name, "to_name": to, "type": kind, "value": content}
        )
    return {
        "model_version": str(suggestion.get("by") or "suggestion"),
        "score": suggestion.get("confidence"),
        "result": results,
    }
