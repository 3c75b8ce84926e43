"""Incidents and the cases that guard them, as JSON Lines, CSV or Parquet.

Two spellings are read, also mixed: `cases` as a list of ids and of eval cases, or one case per row,
its fields (`input`, `expected`, `case_id` ...) beside those of the incident.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.core.text.normalise import normalise
from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.generic_evals import CASE, case_of
from evalcov_pipeline.formats.lines import Reject, Unreadable
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.formats.rows import read_rows

Row = dict[str, Any]


def read(
    path: Path, mapping: Mapping[str, str] | None = None, latest: datetime = datetime.max
) -> Iterator[tuple[int, Row] | Reject]:
    """Incidents with their lines; required are `incident_id` and `title`.

    `cases` holds ids of known cases as texts, and eval cases as `generic_evals` gives them, with
    what people expect. A case that cannot be read is a `Reject` of its own; its incident is taken.
    A case without an id is named by its incident and its `input`, so that it stays the same case
    when what is expected changes.

    Args:
        path: JSON Lines, CSV or Parquet.
        mapping: canonical field -> the file's field; of incidents, and of cases in rows.
        latest: last instant (naive UTC) that a time may name.

    Yields:
        incident_id, title, at (naive UTC), category, severity, postmortem, trace_ids and cases;
        None where the row does not say.

    Raises:
        BadInput: an unreadable file, or a mapping of an unknown field.
    """
    mapping = mapping or {}
    fields.check_mapping(mapping, _INCIDENT | CASE)
    for item in read_rows(path):
        if isinstance(item, Reject):
            yield item
            continue
        number, row = item
        try:
            stated = fields.read_row(row, _INCIDENT, mapping, latest)
            incident, cases = _incident(stated), _cases(stated, row, mapping)
        except Unreadable as error:
            yield Reject(str(path), number, str(error), fields.raw(row))
            continue
        for place, case in enumerate(cases, 1):
            try:
                incident["cases"].append(_case(case, incident, latest))
            except Unreadable as error:
                reason = f"case {place} of {incident['incident_id']}: {error}"
                yield Reject(str(path), number, reason, fields.raw(case))
        yield number, incident


def _incident(stated: Row) -> Row:
    """An incident without its cases."""
    for name in ("incident_id", "title"):
        if not stated[name]:
            raise Unreadable(f"{name} is missing")
    trace_ids = [*(stated["trace_ids"] or []), stated["trace_id"]]
    return {
        **{name: stated[name] for name in INCIDENT},
        "trace_ids": list(dict.fromkeys(name for name in trace_ids if name)),
        "cases": [],
    }


def _cases(stated: Row, row: Mapping[str, Any], mapping: Mapping[str, str]) -> list[Any]:
    """The cases of a row as it states them."""
    beside = {name: fields.get(row, mapping.get(name, name)) for name in CASE}
    if beside["input"] in (None, ""):
        named = beside["case_id"]
        return [*(stated["cases"] or []), *([named] if named else [])]
    return [*(stated["cases"] or []), beside]


def _case(case: Any, incident: Row, latest: datetime) -> str | Row:
    """The id of a known case, or an eval case that guards the incident."""
    if isinstance(case, Mapping) and case.get("input") in (None, "") and case.get("case_id"):
        case = case["case_id"]
    if not isinstance(case, Mapping):
        return _id(case)
    incident_case = case_of(case, latest)
    if not incident_case["expected"] or not normalise(incident_case["expected"]):
        raise Unreadable("expected is missing: a regression case needs what people expect")
    if not case.get("case_id"):
        content = orjson.dumps(incident_case["input"], option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(content).hexdigest()[:12]
        incident_case["case_id"] = f"{incident['incident_id']}-{digest}"
    only_trace = incident["trace_ids"][0] if len(incident["trace_ids"]) == 1 else None
    return incident_case | {
        "category": incident_case["category"] or incident["category"],
        "source_ref": incident_case["source_ref"] or only_trace,
        "origin": "incident",
        "regression": True,
        "incident_id": incident["incident_id"],
        "status": None,
        "designed": None,
    }


def _id(value: Any) -> str:
    """A name that a person can read and type."""
    incident_id = fields.name(value)
    if not incident_id.strip() or not incident_id.isprintable():
        raise Unreadable("is blank or has characters that cannot be seen")
    return incident_id.strip()


def _title(value: Any) -> str:
    return normalise(fields.name(value))


def _ids(value: Any) -> list[str]:
    return [_id(item) for item in fields.json_list(value) if item not in (None, "")]


def _items(value: Any) -> list[Any]:
    """Cases of a row: a list, its JSON, one object, or ids between bars or commas."""
    one = parsed(value)
    items = [one] if isinstance(one, Mapping) else fields.json_list(value)
    return [item for item in items if item not in (None, "")]


INCIDENT: dict[str, fields.Parser] = {
    "incident_id": _id,
    "title": _title,
    "at": fields.instant,
    "category": fields.name,
    "severity": fields.name,
    "postmortem": fields.statement,
}
"""What is said of an incident itself."""
_INCIDENT = INCIDENT | {"trace_ids": _ids, "trace_id": _id, "cases": _items}
