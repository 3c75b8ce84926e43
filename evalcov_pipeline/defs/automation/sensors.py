"""When jobs run because something happened. Sensors start stopped, like schedules."""

from __future__ import annotations

import dagster as dg
from pydantic import BaseModel, ValidationError

from evalcov_pipeline.defs.automation import jobs
from evalcov_pipeline.defs.automation.requests import MAX_ATTEMPTS, Request
from evalcov_pipeline.defs.support.events import (
    IS_NEW,
    LABELS,
    PLANS,
    SCORES,
    SESSION_SCORES,
    SUITE,
    TASKS_DECIDED,
    TASKS_WAITING,
    AnnouncedScore,
    Health,
    Materialized,
    materialized,
    score_of,
)
from evalcov_pipeline.defs.support.partitions import newest_week
from evalcov_pipeline.settings import CoverageSettings, Settings


class Coverage(BaseModel):
    """What `coverage_degraded` remembers of one kind of score, of queries or of sessions.

    Attributes:
        health: whether the suite is degraded.
        answered: this degradation has its refresh, or was asked for.
        newest: newest score; None from when tasks wait until the first score after them, since
            the cases that they become are not in an earlier one.
    """

    health: Health = Health()
    answered: bool = False
    newest: AnnouncedScore | None = None


class Watch(BaseModel, extra="forbid"):
    """What `coverage_degraded` remembers between ticks.

    Attributes:
        storage_id: newest event taken in.
        kinds: what is known by table of scores.
        tasks_waiting: tasks of refresh plans that people still have to decide.
        request: refresh that was asked for and has not succeeded.
    """

    storage_id: int = 0
    kinds: dict[str, Coverage] = {SCORES: Coverage(), SESSION_SCORES: Coverage()}
    tasks_waiting: int = 0
    request: Request | None = None

    @classmethod
    def remembered(cls, cursor: str | None) -> Watch:
        """What a cursor says; one of an older layout is forgotten, and all that happened read."""
        try:
            return cls.model_validate_json(cursor) if cursor else cls()
        except ValidationError:
            return cls()

    @property
    def degraded(self) -> list[Coverage]:
        """Kinds of score by which the suite is degraded."""
        return [kind for kind in self.kinds.values() if kind.health.degraded]

    def take_in(self, event: Materialized, settings: CoverageSettings) -> None:
        """One event, in order."""
        self.storage_id = event.storage_id
        self.tasks_waiting = event.facts.get(TASKS_WAITING, self.tasks_waiting)
        if event.asset == PLANS:
            self._planned(is_new=event.facts.get(IS_NEW, True))
        if score := score_of(event):
            kind = self.kinds[event.asset]
            if kind.health.observe(score, settings):
                kind.newest = score
                kind.answered = kind.answered and kind.health.degraded
            if not self.degraded:
                self.request = None
        if self.tasks_waiting:
            for kind in self.kinds.values():
                kind.newest = None

    def asked(self, request: Request) -> None:
        """One refresh answers all degradations: it plans queries and sessions together."""
        self.request = request
        for kind in self.degraded:
            kind.answered = True

    def _planned(self, *, is_new: bool) -> None:
        """A new plan answers a degradation; a request that found an open one is for later."""
        if is_new or self.request:
            self.request = None
            for kind in self.degraded:
                kind.answered = is_new

    def unanswered(self) -> AnnouncedScore | None:
        """The degraded score that a refresh has to be asked for, if any."""
        for kind in self.kinds.values():
            score = kind.newest
            if score and score.degraded:
                given_up = self.request and self.request.given_up and self.request.key != score.key
                if given_up or not kind.answered:
                    return score
        return None


@dg.sensor(job=jobs.refresh, minimum_interval_seconds=30)
def coverage_degraded(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult:
    """Ask for a refresh when a newly written score, of queries or of sessions, is degraded.

    Once per degradation, and again after the score recovered below the threshold less a margin. A
    refresh that anyone plans while the score is degraded answers it, for queries and sessions
    alike. While tasks of a refresh wait for people nothing is asked for: the first score after that
    decides. Scores older than the newest one seen are ignored, so a backfill asks for nothing. A
    failed refresh is asked for again, up to three times, and anew when a later week is degraded.
    """
    watch = Watch.remembered(context.cursor)
    state = watch.request.state(context.instance) if watch.request else None
    for event in materialized(
        context.instance,
        (SCORES, SESSION_SCORES, PLANS, LABELS, SUITE),
        after=watch.storage_id,
    ):
        watch.take_in(event, settings.coverage)
    if state == "done":
        watch.request = None
    if score := watch.unanswered():
        config = {"trigger": "coverage_degraded", "as_of": score.as_of}
        request = Request(key=score.key, ops={"refresh_plans": {"config": config}})
        watch.asked(request.past_known_runs(context.instance))
        state = "wanted"
    cursor = watch.model_dump_json()
    if watch.request and state == "wanted":
        return dg.SensorResult(run_requests=[watch.request.launch()], cursor=cursor)
    return dg.SensorResult(skip_reason=_why_none(watch), cursor=cursor)


def _why_none(watch: Watch) -> str:
    if watch.request and watch.request.given_up:
        return (
            f"The refresh for the score of {watch.request.key} failed {MAX_ATTEMPTS} times: see its"
            " runs, then launch the job refresh. A degraded score of a later week asks anew."
        )
    if watch.request:
        return "The refresh is under way."
    if watch.tasks_waiting:
        return f"{watch.tasks_waiting} tasks of a refresh wait for people."
    return "No newly degraded score."


class Arrivals(BaseModel):
    """What `annotations_landed` remembers between ticks."""

    storage_id: int = 0
    request: Request | None = None


@dg.sensor(job=jobs.weekly_coverage, minimum_interval_seconds=30)
def annotations_landed(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Score the newest week anew when people have decided tasks, so that their cases count.

    All that arrived since the last run makes one run. A failed run is asked for again, up to three
    times, and anew when more labels come.
    """
    arrivals = Arrivals.model_validate_json(context.cursor) if context.cursor else Arrivals()
    state = arrivals.request.state(context.instance) if arrivals.request else None
    if state == "running":
        return dg.SkipReason("The score is being written; what came meanwhile is next.")
    if state == "done":
        arrivals.request = None
    decided = 0
    for event in materialized(context.instance, (LABELS,), after=arrivals.storage_id):
        arrivals.storage_id = event.storage_id
        decided += event.facts.get(TASKS_DECIDED, 0)
    if decided and (week := newest_week(settings)):
        arrivals.request = Request(key=f"{LABELS}:{arrivals.storage_id}", partition_key=week)
        state = "wanted"
    cursor = arrivals.model_dump_json()
    if arrivals.request and state == "wanted":
        return dg.SensorResult(run_requests=[arrivals.request.launch()], cursor=cursor)
    why_none = "No newly decided task."
    if state == "given_up":
        why_none = f"Scoring after the newest labels failed {MAX_ATTEMPTS} times: see its runs."
    return dg.SensorResult(skip_reason=why_none, cursor=cursor)
