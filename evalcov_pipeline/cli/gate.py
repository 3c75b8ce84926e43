"""`evalcov gate`: judge a run of the CI suite. Offline: an exported suite and results suffice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from evalcov_pipeline.cli import CHECK_FAILED
from evalcov_pipeline.core.suites.gate import GateOutcome, SuiteCase, Try, judge_gate
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import AUTO, HOPELESS, find
from evalcov_pipeline.formats.lines import Reject
from evalcov_pipeline.formats.suites import ExportedSuite, read_suite, suite_of
from evalcov_pipeline.reports import gate as reports

INCONCLUSIVE = 2
_EXIT = {"PASS": 0, "FAIL": CHECK_FAILED, "INCONCLUSIVE": INCONCLUSIVE}
_SHARED = 0.5
"""Least share of the suite's cases that a baseline of the same suite has."""
_SHOWN_REJECTS = 5
_file = click.Path(dir_okay=False, path_type=Path)


@click.command("gate")
@click.option(
    "--results",
    type=_file,
    multiple=True,
    required=True,
    help="Results of the run; repeatable, e.g. for a file of reruns.",
)
@click.option("--suite", type=_file, help="Exported suite [default: the newest of the home].")
@click.option("--baseline", type=_file, help="Results of an earlier run to compare with.")
@click.option("--format", "format_", default=AUTO, show_default=True, help="Format of results.")
@click.option("--run", "run_id", help="The run to judge, where the results hold several.")
@click.option("--baseline-run", help="The run to compare with, where the baseline holds several.")
@click.option("--markdown", type=_file, help="Write a comment for a pull request.")
@click.option("--junit", type=_file, help="Write JUnit XML.")
@click.option("--rerun", type=_file, help="Write what to run again: JSON Lines of case_id, tries.")
def command(
    results: tuple[Path, ...],
    suite: Path | None,
    baseline: Path | None,
    format_: str,
    run_id: str | None,
    baseline_run: str | None,
    markdown: Path | None,
    junit: Path | None,
    rerun: Path | None,
) -> int:
    """Judge a run of the CI suite: 0 PASS, 1 FAIL, 2 INCONCLUSIVE.

    Run the suite, then this; on exit 2 run the cases it names again, add their results to the file
    with `repeat` 1, 2, ... and the same `run_id`, and ask again.
    """
    known = _suite(suite)
    tries = _read_run(known, results, format_, run_id, "--run")
    before = None
    if baseline is not None:
        before = _read_run(known, (baseline,), format_, baseline_run, "--baseline-run")
        _check_baseline(known, before, baseline)
    elif baseline_run is not None:
        raise BadInput("there is no baseline", "--baseline-run", "add --baseline FILE")
    outcome = judge_gate(known.cases, tries, before)
    for path, content in (
        (markdown, reports.markdown(outcome, known.suite_id).encode()),
        (junit, reports.junit(outcome, known.suite_id)),
        (rerun, _to_run(outcome)),
    ):
        if path is not None:
            path.write_bytes(content)
    click.echo(reports.text(outcome, known.suite_id))
    return _EXIT[outcome.verdict]


def _suite(path: Path | None) -> ExportedSuite:
    """The suite of a file, or the newest of the home.

    Raises:
        BadInput: it cannot be read, or no file was given and the home has none.
    """
    if path is not None:
        return read_suite(path)
    from evalcov_pipeline.services.suites.ci_suites import newest_suite
    from evalcov_pipeline.settings import get_settings
    from evalcov_pipeline.storage.published import reading

    published = get_settings().published
    cases = []
    if published.exists():
        with reading(published) as con:
            cases = newest_suite(con)
    if not cases:
        raise BadInput(
            "no suite was given, and this home has none",
            f"--suite, {published}",
            "name the file of an exported suite, or any JSON Lines file with a case_id per line;"
            " `evalcov run weekly` chooses one from the results of a home",
        )
    if not any(case["decides"] for case in cases):
        raise BadInput(
            "no case of the suite in force decides",
            str(published),
            "run its cases on the product, `evalcov ingest results FILES`, `evalcov run weekly`",
        )
    return suite_of(cases)


def _read_run(
    suite: ExportedSuite, paths: Sequence[Path], format_: str, run_id: str | None, option: str
) -> list[Try]:
    """Tries of one run, each once; of several judges' verdicts on one, one that counts.

    Raises:
        BadInput: a file without a readable result, several runs and none chosen, a run that is not
            there, or two verdicts on one try that count and disagree.
    """
    where = ", ".join(str(path) for path in paths)
    rows = [row for path in paths for row in _read_rows(path, format_)]
    runs = list(dict.fromkeys(row["run_id"] for row in rows))
    chosen = run_id or runs[0]
    if chosen not in runs or (run_id is None and len(runs) > 1):
        named = ", ".join(runs[:5]) + (", ..." if len(runs) > 5 else "")
        raise BadInput(
            f"there is no run {chosen!r}" if run_id else f"there are results of {len(runs)} runs",
            where,
            f"choose one with {option}: {named}",
        )
    cases = {case.case_id: case for case in suite.cases}
    tries: dict[tuple[str, int], Try] = {}
    for row in rows:
        if row["run_id"] != chosen:
            continue
        one = Try(row["case_id"], row["repeat"], row["passed"], row["judge_id"])
        case = cases.get(one.case_id, SuiteCase(one.case_id))
        known = tries.setdefault((one.case_id, one.repeat), one)
        if not case.counts(known):
            tries[one.case_id, one.repeat] = one
        elif case.counts(one) and known.passed != one.passed:
            raise BadInput(
                f"case {one.case_id!r} has two results for try {one.repeat} that disagree",
                where,
                "number the tries of a case with `repeat` 0, 1, 2, ...; of several judges keep the"
                " one that decides",
            )
    return list(tries.values())


def _read_rows(path: Path, format_: str) -> list[dict[str, Any]]:
    """Results of a file. Lines that cannot be read are named; what they lack is missing later."""
    rows, rejects = [], []
    for item in find("results", path, format_).read(path):
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            rows.append(item[1])
        if not rows and len(rejects) == HOPELESS:
            break
    if not rows:
        why = f"none of its lines can be read: {rejects[0].reason}" if rejects else "no results"
        raise BadInput(why, str(path), "run the suite, then ask again")
    for reject in rejects[:_SHOWN_REJECTS]:
        skipped = BadInput(
            f"not read: {reject.reason}",
            f"{path}, line {reject.line}",
            "correct it or run it again",
        )
        click.echo(f"evalcov: {skipped}", err=True)
    if len(rejects) > _SHOWN_REJECTS:
        click.echo(f"evalcov: {len(rejects)} lines of {path} in all were not read", err=True)
    return rows


def _check_baseline(suite: ExportedSuite, baseline: Sequence[Try], path: Path) -> None:
    ran = {one.case_id for one in baseline}
    shared = sum(case.case_id in ran for case in suite.cases)
    if shared < _SHARED * len(suite.cases):
        raise BadInput(
            f"the baseline is of another suite: it has {shared} of the {len(suite.cases)} cases",
            str(path),
            "run this suite on the system to compare with, or leave --baseline out",
        )


def _to_run(outcome: GateOutcome) -> bytes:
    return b"".join(
        orjson.dumps({"case_id": one.case.case_id, "tries": one.wanted}) + b"\n"
        for one in outcome.to_run
    )
