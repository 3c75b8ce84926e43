"""An exported CI suite: eval cases, each with what the gate has to know about it.

JSON Lines, one case per line, so that whatever runs eval cases runs the suite too. Every line
carries the suite's id, which is a hash of the cases, so that a file that was cut short or edited is
noticed. A suite written by hand needs nothing but `case_id` on each line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.core.suites.gate import SuiteCase
from evalcov_pipeline.core.suites.reruns import STABLE
from evalcov_pipeline.core.suites.selection import suite_id
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import fields
from evalcov_pipeline.formats.lines import Reject, Unreadable
from evalcov_pipeline.formats.rows import read_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class ExportedSuite:
    """A suite as a file holds it.

    Attributes:
        suite_id: id of the suite.
        cases: its cases, at least one that decides.
    """

    suite_id: str
    cases: tuple[SuiteCase, ...]


def write_suite(cases: Iterable[Mapping[str, Any]]) -> bytes:
    """A suite as JSON Lines.

    Args:
        cases: rows with `case_id`; what `suite_id` hashes, what `SuiteCase` holds and whatever else
            a case has (input, expected, tags, reason, expected_s ...). None is left out.
    """
    rows = [{name: value for name, value in case.items() if value is not None} for case in cases]
    own_id = suite_id(rows)
    return b"".join(orjson.dumps({"suite_id": own_id} | row) + b"\n" for row in rows)


def suite_of(cases: Sequence[Mapping[str, Any]]) -> ExportedSuite:
    """A suite from the rows that `write_suite` takes, as if it came from a file.

    Raises:
        ValueError: no case that decides.
    """
    known = tuple(_case(dict(case)) for case in cases)
    if not any(case.decides for case in known):
        raise ValueError("no case of the suite decides")
    return ExportedSuite(suite_id(cases), known)


def read_suite(path: Path) -> ExportedSuite:
    """Read an exported suite whole, or refuse it: a gate on a part of a suite guards nothing.

    Raises:
        BadInput: an unreadable file, an unreadable line, no case, a case twice, no case that
            decides, or cases that are not those of the suite whose id they carry.
    """
    rows: list[Row] = []
    cases: dict[str, SuiteCase] = {}
    for item in read_rows(path):
        if isinstance(item, Reject):
            raise _damaged(item.reason, path, item.line)
        line, row = item
        try:
            case = _case(row)
        except Unreadable as error:
            raise _damaged(str(error), path, line) from error
        if case.case_id in cases:
            raise _damaged(f"case {case.case_id!r} is there twice", path, line)
        rows.append(row)
        cases[case.case_id] = case
    if not any(case.decides for case in cases.values()):
        what = "no case of the suite decides" if cases else "the file holds no case"
        raise BadInput(what, str(path), "export the suite again")
    stated = {row.get("suite_id") for row in rows}
    own_id = suite_id(rows)
    if stated not in ({None}, {own_id}):
        raise BadInput(
            "these are not the cases of the suite whose id they carry: the file was cut short,"
            " edited or put together",
            str(path),
            "export the suite again; a suite written by hand goes without suite_id",
        )
    return ExportedSuite(own_id, tuple(cases.values()))


def _case(row: Row) -> SuiteCase:
    known = fields.read_row(row, _FIELDS, {})
    if known["case_id"] is None:
        raise Unreadable("case_id is missing")
    return SuiteCase(
        case_id=known["case_id"],
        failure_mode=known["failure_mode"] or known["category"],
        incident_id=known["incident_id"],
        decides=known["decides"] is not False,
        pass_rate=STABLE if known["pass_rate"] is None else known["pass_rate"],
        pass_rate_tries=known["pass_rate_tries"],
        refused_judges=frozenset(known["refused_judges"] or ()),
    )


def _damaged(reason: str, path: Path, line: int) -> BadInput:
    return BadInput(
        f"the suite cannot be read: {reason}", f"{path}, line {line}", "export the suite again"
    )


_FIELDS: dict[str, fields.Parser] = {
    "suite_id": fields.name,
    "case_id": fields.name,
    "failure_mode": fields.name,
    "category": fields.name,
    "incident_id": fields.name,
    "decides": fields.flag,
    "pass_rate": fields.share,
    "pass_rate_tries": fields.amount,
    "refused_judges": fields.texts,
}
