"""The gate's outcome for a terminal, for a pull request (Markdown) and for CI systems (JUnit XML).

Ids and names come from files and may hold anything: each form writes them so that they stay text.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from evalcov_pipeline.core.suites.gate import CaseOutcome, GateOutcome, State

_SHOWN = 50
_SHOWN_UNKNOWN = 10
_ORDER: tuple[State, ...] = ("broken", "undecided", "missing", "flaky", "people")
_WORDS: dict[State, str] = {
    "passed": "passed",
    "broken": "broken",
    "undecided": "rerun",
    "missing": "no result",
    "flaky": "flaky, cleared",
    "people": "for people",
}
_HARMLESS = frozenset(" -.,:;/%()=+?")


def text(outcome: GateOutcome, suite_id: str) -> str:
    """Lines for a terminal."""
    rows = [[_plain(cell) for cell in row] for row in _table(outcome)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(
        [
            f"{outcome.verdict}: {'; '.join(outcome.reasons)}",
            *(f"  {_plain(line)}" for line in _facts(outcome, suite_id)),
            *(table if len(table) > 1 else []),
            *_more(outcome),
        ]
    )


def markdown(outcome: GateOutcome, suite_id: str) -> str:
    """A comment for a pull request, GitHub-flavoured."""
    head, *rows = _table(outcome)
    table = [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(_entities(cell) for cell in row)} |" for row in rows),
    ]
    lines = [
        f"### Eval gate: {outcome.verdict}",
        "",
        *(f"- {_entities(reason)}" for reason in outcome.reasons),
        *(f"- {_entities(fact)}" for fact in _facts(outcome, suite_id)),
        *(["", *table] if rows else []),
        *(["", *_more(outcome)] if _more(outcome) else []),
    ]
    return "\n".join(lines) + "\n"


def junit(outcome: GateOutcome, suite_id: str) -> bytes:
    """JUnit XML: a break is a failure, what is undecided an error, what does not decide skipped."""
    counts = {"failure": 0, "error": 0, "skipped": 0}
    suite = ElementTree.Element("testsuite", name=f"evalcov gate {suite_id}")
    for case in outcome.cases:
        element = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_xml(case.case.failure_mode or "suite"),
            name=_xml(case.case.case_id),
        )
        if kind := _junit_kind(case):
            counts[kind] += 1
            ElementTree.SubElement(element, kind, message=_xml(_sentence(case)))
    for case_id in outcome.unknown:
        element = ElementTree.SubElement(suite, "testcase", classname="suite", name=_xml(case_id))
        counts["error"] += 1
        ElementTree.SubElement(element, "error", message="not a case of the suite")
    verdict = ElementTree.SubElement(suite, "testcase", classname="gate", name="verdict")
    if outcome.verdict != "PASS":
        kind = "failure" if outcome.verdict == "FAIL" else "error"
        counts[kind] += 1
        message = _xml(f"{outcome.verdict}: {'; '.join(outcome.reasons)}")
        ElementTree.SubElement(verdict, kind, message=message)
    suite.set("tests", str(len(suite)))
    for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(name, str(counts[kind]))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _facts(outcome: GateOutcome, suite_id: str) -> list[str]:
    """What the verdict rests on, one line each."""
    deciding = [case for case in outcome.cases if case.case.decides]
    tried = [case for case in deciding if case.tries]
    passed = sum(case.state == "passed" for case in tried)
    share = f" ({passed / len(tried):.0%})" if tried else ""
    silent = len(outcome.cases) - len(deciding)
    rule = outcome.rule
    facts = [
        f"suite {suite_id}: {len(deciding)} cases decide"
        + (f", {silent} are only shown" if silent else ""),
        f"first tries: {passed} of {len(tried)} passed{share}",
        f"rule: a failure is confirmed by {rule.failures} more in up to {rule.reruns} reruns;"
        f" {min(rule.false_alarm, 1):.1%} false alarms expected, {rule.power:.0%} of cases that"
        " fall to a pass rate of 20 % are caught",
    ]
    if paired := outcome.paired:
        facts.append(
            f"against the baseline, {paired.compared} cases: {paired.worse} worse,"
            f" {paired.better} better, p = {paired.p_value:.2g}"
        )
    if unknown := outcome.unknown:
        more = ", ..." if len(unknown) > _SHOWN_UNKNOWN else ""
        facts.append(f"not of the suite: {', '.join(unknown[:_SHOWN_UNKNOWN])}{more}")
    return facts


def _table(outcome: GateOutcome) -> list[list[str]]:
    """A header and the cases that are not simply passed, worst first, up to `_SHOWN`."""
    head = ["state", "case", "failure mode", "incident", "failed", "baseline", "run again"]
    return [
        head,
        *(
            [
                _WORDS[one.state] + ("" if one.case.decides else " (not deciding)"),
                one.case.case_id,
                one.case.failure_mode or "-",
                one.case.incident_id or "-",
                f"{one.failed} of {one.tries}",
                {None: "-", True: "passed", False: "failed"}[one.passed_before],
                f"up to {one.wanted}" if one.wanted > 1 else "once" if one.wanted else "-",
            ]
            for one in _notable(outcome)[:_SHOWN]
        ),
    ]


def _notable(outcome: GateOutcome) -> Sequence[CaseOutcome]:
    return sorted(
        (one for one in outcome.cases if one.state != "passed"),
        key=lambda one: (not one.case.decides, _ORDER.index(one.state)),
    )


def _more(outcome: GateOutcome) -> list[str]:
    left = len(_notable(outcome)) - _SHOWN
    return [f"  and {left} more"] if left > 0 else []


def _junit_kind(outcome: CaseOutcome) -> str | None:
    if outcome.state in ("passed", "flaky"):
        return None
    if not outcome.case.decides or outcome.state == "people":
        return "skipped"
    return "failure" if outcome.state == "broken" else "error"


def _sentence(outcome: CaseOutcome) -> str:
    guards = f"; guards incident {outcome.case.incident_id}" if outcome.case.incident_id else ""
    return f"{_WORDS[outcome.state]}: {outcome.failed} of {outcome.tries} tries failed{guards}"


def _plain(text: str) -> str:
    """Text that moves no terminal's cursor and is one line."""
    return "".join(c if c.isprintable() else " " for c in text)


def _entities(text: str) -> str:
    """Text in which Markdown and HTML find no sign, mention or reference to act on."""
    return "".join(c if c.isalnum() or c in _HARMLESS else f"&#{ord(c)};" for c in _plain(text))


def _xml(text: str) -> str:
    """Text without what XML 1.0 cannot hold; signs are escaped by the writer."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
