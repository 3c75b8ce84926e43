"""`evalcov status`: the latest score in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

if TYPE_CHECKING:
    from evalcov_pipeline.core.coverage.score import QueryScore
    from evalcov_pipeline.services.failures.batches import NewestBatch
    from evalcov_pipeline.services.labels.queue import Waiting
    from evalcov_pipeline.services.report.sessions import ScoredSessions

_GAPS = 5
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
        click.echo(orjson.dumps(status.facts(), option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"\nWeek to {status.score.as_of:%Y-%m-%d}: {status.score.verdict}")
    for line in [
        *_figures(status.score),
        *_session_figures(status.sessions),
        *_incident_figures(status.incidents),
        *_failure_figures(status.failures),
        *_review(status.review),
    ]:
        click.echo(f"  {line}")
    if status.gaps:
        click.echo("Largest untested clusters:")
    for gap in status.gaps:
        click.echo(f"  {gap['production_share']:6.1%}  {gap['status']:<12} {gap['label']}")
        if gap["exemplars"]:
            click.echo(f"          e.g. {gap['exemplars'][0][:90]!r}")
    first, *others = status.steps
    click.echo(f"Next: {first}")
    for step in others:
        click.echo(f"      {step}")
    if settings.report.exists():
        click.echo(f"\nReport: {settings.report}")


@dataclass(frozen=True)
class Status:
    """A headline score and what is said beside it.

    Attributes:
        score: of single queries.
        gaps: the largest untested clusters, see `untested_clusters`.
        review: case_id and review of cases whose label may be wrong.
        waiting: tasks that wait for people.
        incidents: see `incident_states`.
        failures: see `newest_batch`; None before the first batch.
        sessions: the week's whole sessions; None where they have no score.
        steps: what to do next, the most useful first.
    """

    score: QueryScore
    gaps: Sequence[Mapping[str, Any]]
    review: Sequence[Mapping[str, Any]]
    waiting: Waiting
    incidents: Mapping[str, Mapping[str, str]]
    failures: NewestBatch | None
    sessions: ScoredSessions | None
    steps: Sequence[str]

    def facts(self) -> dict[str, Any]:
        """Everything as `--json` prints it; what begins with session_ tells of whole sessions."""
        sessions = self.sessions
        return {
            "score": asdict(self.score),
            "gaps": self.gaps,
            "review": self.review,
            "waiting": self.waiting.queries,
            "waiting_answers": self.waiting.answers,
            "incidents": self.incidents,
            "failures": asdict(self.failures) if self.failures else None,
            "session_score": asdict(sessions.score) if sessions else None,
            "session_sequences": [asdict(row) for row in sessions.orders.values()]
            if sessions
            else [],
            "session_paths": sessions.untested_paths.head(_PATHS).to_dicts() if sessions else [],
            "next": self.steps[0],
            "then": self.steps[1:],
        }


def read_status(settings: Settings, as_of: datetime | None = None) -> Status:
    """The newest headline score or that of one week, its largest gaps and what to do next.

    Raises:
        BadInput: nothing was published, or there is no such score.
    """
    from evalcov_pipeline.core.coverage.score import QueryScore
    from evalcov_pipeline.reports.findings import next_steps
    from evalcov_pipeline.services.coverage.scores import headline_score
    from evalcov_pipeline.services.evals.incidents import incident_states
    from evalcov_pipeline.services.failures.batches import newest_batch
    from evalcov_pipeline.services.labels.queue import count_waiting
    from evalcov_pipeline.services.report.scored import untested_clusters
    from evalcov_pipeline.services.report.sessions import read_scored_sessions
    from evalcov_pipeline.services.suites.discrimination import cases_to_review
    from evalcov_pipeline.storage.published import reading

    with reading(settings.published) as con:
        score = headline_score(con, QueryScore, as_of)
        if score is None:
            raise BadInput(
                what=f"the week to {as_of:%Y-%m-%d} has no production traffic, so no score"
                if as_of
                else "no week was scored yet",
                where=str(settings.published),
                what_to_do="run `evalcov run weekly` for a week with traffic",
            )
        waiting, sessions = count_waiting(con), read_scored_sessions(con, score.as_of)
        steps = next_steps(
            score, waiting=waiting.queries, answers=waiting.answers, sessions=sessions
        )
        return Status(
            score=score,
            gaps=untested_clusters(con, score, _GAPS).to_dicts(),
            review=cases_to_review(con).to_dicts(),
            waiting=waiting,
            incidents=incident_states(con),
            failures=newest_batch(con),
            sessions=sessions,
            steps=[str(step) for step in steps],
        )


def _figures(score: QueryScore) -> list[str]:
    lines = [
        f"coverage   {_percent(score.covered_share)} of traffic lies in tested clusters,"
        f" {_percent(score.novel_share)} in none; {score.n_eval} cases against"
        f" {score.n_production} sampled turns",
    ]
    if score.eval_score is None:
        return [*lines, f"quality    {score.judge_note or 'no complete eval run'}"]
    bounds = f"{_percent(score.reweighted_low)} to {_percent(score.reweighted_high)}"
    lines.append(
        f"quality    {_percent(score.eval_score)} pass on the suite; {bounds} of production"
        f" traffic passes, {_percent(score.unmeasured_share)} of traffic is unmeasured"
    )
    if score.judge_note:
        left_out = f"{score.refused_results} results left out."
        lines.append(f"judges     {left_out} {score.judge_note}")
    lines.append(f"trend      {score.diagnosis or '-'} ({score.diagnosis_reason})")
    return lines


def _failure_figures(batch: NewestBatch | None) -> list[str]:
    if batch is None:
        return []
    return [
        f"failures   newest batch of {batch.size} turns, week to {batch.as_of:%Y-%m-%d}:"
        f" {batch.waiting} wait; {batch.waiting_of_all} in all batches"
    ]


def _session_figures(sessions: ScoredSessions | None) -> list[str]:
    if sessions is None:
        return []
    score = sessions.score
    parts = [f"{score.n_multi_turn} of {score.n_eval} cases have several turns"]
    if score.jsd_adjusted is not None:
        degraded = "degraded" if score.degraded else score.band
        parts.insert(0, f"divergence {score.jsd_adjusted:.2f} ({degraded})")
    parts += [
        f"{_percent(row.untested_share)} of sessions walk untested paths of {row.kind}"
        for row in sessions.orders.values()
        if row.untested_share is not None
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


def incidents_in_words(states: Mapping[str, Mapping[str, str]]) -> str:
    """How many incidents have no case, and which lack some; see `incident_states`."""
    total = sum(map(len, states.values()))
    lacking = [f"{name} {cases}" for name, cases in {**states["open"], **states["partial"]}.items()]
    more = f" and {len(lacking) - _INCIDENTS} more" if len(lacking) > _INCIDENTS else ""
    named = f": {', '.join(lacking[:_INCIDENTS])}{more}" if lacking else ""
    return f"{len(states['open'])} of {total} incidents open{named}"


def _incident_figures(states: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [f"incidents  {incidents_in_words(states)}"] if any(states.values()) else []


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
