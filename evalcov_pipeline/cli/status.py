"""`evalcov status`: the latest score in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

_PATHS = 5
_REVIEWED = 5
_INCIDENTS = 5


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Show the latest score, the top gaps and what to do next.

    Reads published.duckdb, so it works while the pipeline runs.
    """
    print_status(get_settings(), as_json=as_json)


def print_status(
    settings: Settings, *, as_json: bool = False, as_of: datetime | None = None
) -> None:
    """Print the newest headline score, or that of one week.

    Raises:
        BadInput: nothing was published, or no score was written yet.
    """
    status = read_status(settings, as_of)
    if as_json:
        click.echo(orjson.dumps(status, option=orjson.OPT_INDENT_2).decode())
        return
    score = status["score"]
    click.echo(f"\nWeek to {score['as_of']:%Y-%m-%d}: {score['verdict']}")
    for line in [
        *_figures(score),
        *_session_figures(status),
        *_incident_figures(status),
        *_failure_figures(status["failures"]),
        *_review(status["review"]),
    ]:
        click.echo(f"  {line}")
    if status["gaps"]:
        click.echo("Largest untested clusters:")
    for gap in status["gaps"]:
        click.echo(f"  {gap['production_share']:6.1%}  {gap['status']:<12} {gap['label']}")
        if gap["exemplars"]:
            click.echo(f"          e.g. {gap['exemplars'][0][:90]!r}")
    click.echo(f"Next: {status['next']}")
    for step in status["then"]:
        click.echo(f"      {step}")
    if settings.report.exists():
        click.echo(f"\nReport: {settings.report}")


def read_status(settings: Settings, as_of: datetime | None = None) -> dict[str, Any]:
    """The newest headline score or that of one week, its largest gaps and what to do next.

    Keys that begin with session_ tell of whole sessions; they are empty where these have no score.
    """
    from evalcov_pipeline.reports.findings import next_steps
    from evalcov_pipeline.services.evals.incidents import incident_states
    from evalcov_pipeline.services.failures.batches import newest_batch
    from evalcov_pipeline.services.labels.queue import count_waiting
    from evalcov_pipeline.services.report.sessions import read_sessions
    from evalcov_pipeline.services.suites.discrimination import cases_to_review
    from evalcov_pipeline.storage.published import reading
    from evalcov_pipeline.storage.warehouse import frame, one_row

    with reading(settings.published) as con:
        score = one_row(
            con,
            "SELECT * FROM coverage_scores WHERE headline AND ($1 IS NULL OR as_of = $1)"
            " ORDER BY as_of DESC LIMIT 1",
            [as_of],
        )
        if score is None:
            raise BadInput(
                what=f"the week to {as_of:%Y-%m-%d} has no production traffic, so no score"
                if as_of
                else "no week was scored yet",
                where=str(settings.published),
                what_to_do="run `evalcov run weekly` for a week with traffic",
            )
        gaps = frame(
            con,
            "SELECT cluster_key, label, status, production_share, exemplars"
            " FROM cluster_coverage"
            " JOIN clusters USING (taxonomy_id, cluster_id, cluster_key, label)"
            " WHERE as_of = ? AND taxonomy_id = ? AND eval_cases = 0"
            " ORDER BY production_share DESC, cluster_id LIMIT 5",
            [score["as_of"], score["taxonomy_id"]],
        ).to_dicts()
        sessions = read_sessions(con, score["as_of"])
        incidents = incident_states(con)
        failures = newest_batch(con)
        waiting = count_waiting(con)
        review = cases_to_review(con).to_dicts()
    steps = next_steps(score, waiting=waiting.queries, answers=waiting.answers, sessions=sessions)
    return {
        "score": dict(score),
        "gaps": gaps,
        "review": review,
        "waiting": waiting.queries,
        "waiting_answers": waiting.answers,
        "incidents": incidents,
        "failures": failures,
        "session_score": dict(sessions.score) if sessions else None,
        "session_sequences": list(sessions.orders.values()) if sessions else [],
        "session_paths": sessions.untested_paths.head(_PATHS).to_dicts() if sessions else [],
        "next": str(steps[0]),
        "then": [str(step) for step in steps[1:]],
    }


def _figures(score: Mapping[str, Any]) -> list[str]:
    lines = [
        f"coverage   {_percent(score['covered_share'])} of traffic lies in tested clusters,"
        f" {_percent(score['novel_share'])} in none; {score['n_eval']} cases against"
        f" {score['n_production']} sampled turns",
    ]
    if score["eval_score"] is None:
        return [*lines, f"quality    {score['judge_note'] or 'no complete eval run'}"]
    bounds = f"{_percent(score['reweighted_low'])} to {_percent(score['reweighted_high'])}"
    lines.append(
        f"quality    {_percent(score['eval_score'])} pass on the suite; {bounds} of production"
        f" traffic passes, {_percent(score['unmeasured_share'])} of traffic is unmeasured"
    )
    if score["judge_note"]:
        left_out = f"{score['refused_results']} results left out."
        lines.append(f"judges     {left_out} {score['judge_note']}")
    lines.append(f"trend      {score['diagnosis'] or '-'} ({score['diagnosis_reason']})")
    return lines


def _failure_figures(batch: Mapping[str, Any] | None) -> list[str]:
    if batch is None:
        return []
    return [
        f"failures   newest batch of {batch['size']} turns, week to {batch['as_of']:%Y-%m-%d}:"
        f" {batch['waiting']} wait; {batch['waiting_of_all']} in all batches"
    ]


def _session_figures(status: Mapping[str, Any]) -> list[str]:
    score = status["session_score"]
    if score is None:
        return []
    parts = [f"{score['n_multi_turn']} of {score['n_eval']} cases have several turns"]
    if score["jsd_adjusted"] is not None:
        degraded = "degraded" if score["degraded"] else score["band"]
        parts.insert(0, f"divergence {score['jsd_adjusted']:.2f} ({degraded})")
    parts += [
        f"{_percent(row['untested_share'])} of sessions walk untested paths of {row['kind']}"
        for row in status["session_sequences"]
        if row["untested_share"] is not None
    ]
    return [f"sessions   {'; '.join(parts)}"]


def _review(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cases whose label may be wrong: to be corrected where the suite is kept, and imported."""
    if not cases:
        return []
    names = ", ".join(case["case_id"] for case in cases[:_REVIEWED])
    more = ", ..." if len(cases) > _REVIEWED else ""
    what = "1 case" if len(cases) == 1 else f"{len(cases)} cases"
    return [f"review     {what} may expect the wrong answer: {names}{more}"]


def incidents_in_words(states: Mapping[str, dict[str, str]]) -> str:
    """How many incidents have no case, and which lack some; see `storage.incidents`."""
    total = sum(map(len, states.values()))
    lacking = [f"{name} {cases}" for name, cases in (states["open"] | states["partial"]).items()]
    more = f" and {len(lacking) - _INCIDENTS} more" if len(lacking) > _INCIDENTS else ""
    named = f": {', '.join(lacking[:_INCIDENTS])}{more}" if lacking else ""
    return f"{len(states['open'])} of {total} incidents open{named}"


def _incident_figures(status: Mapping[str, Any]) -> list[str]:
    words = incidents_in_words(status["incidents"])
    return [f"incidents  {words}"] if any(status["incidents"].values()) else []


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
