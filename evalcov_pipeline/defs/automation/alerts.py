"""News about the suite, to people who do not look at the UI.

It is sent by a sensor, so that no run ever waits for a webhook. Messages hold figures and names of
jobs, never what users wrote.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg
from pydantic import BaseModel

from evalcov_pipeline.alerts import Webhook
from evalcov_pipeline.defs.automation.requests import FAILED, MAX_ATTEMPTS, TRY_TAG
from evalcov_pipeline.defs.support.events import (
    SCORES,
    SESSION_SCORES,
    AnnouncedScore,
    Health,
    Materialized,
    materialized,
    score_of,
)
from evalcov_pipeline.defs.support.partitions import now
from evalcov_pipeline.settings import CoverageSettings, FreshnessSettings, Settings

_WORDS = {
    SCORES: ("production", "the traffic", "production is"),
    SESSION_SCORES: ("production's sessions", "the sessions", "sessions are"),
}
MAX_DELIVERIES = 10
"""How often a message is offered: with doubling waits from two minutes, for 17 hours."""


class Message(BaseModel):
    """A message on its way."""

    text: str
    not_before: datetime
    deliveries: int = 0


class Told(BaseModel):
    """What people know of one kind of score, of queries or of sessions.

    Attributes:
        health: whether the suite is degraded.
        degraded: what people know of that.
        newest: newest score.
    """

    health: Health = Health()
    degraded: bool = False
    newest: AnnouncedScore | None = None


class News(BaseModel):
    """What `coverage_alerts` remembers between ticks.

    Attributes:
        storage_id: newest score taken in.
        kinds: what is known by table of scores.
        written_at: when the newest score of queries was written, UTC.
        told_stale: people know that no newer one came.
        told_runs: runs of the last day that failed for good, and that people know of.
        outbox: what was not taken yet, oldest first.
    """

    storage_id: int = 0
    kinds: dict[str, Told] = {SCORES: Told(), SESSION_SCORES: Told()}
    written_at: datetime | None = None
    told_stale: bool = False
    told_runs: list[str] = []
    outbox: list[Message] = []

    def take_in(self, event: Materialized, settings: CoverageSettings) -> None:
        """One score, in order."""
        self.storage_id = event.storage_id
        if (score := score_of(event)) is None:
            return
        kind = self.kinds[event.asset]
        if kind.health.observe(score, settings):
            kind.newest = score
            if event.asset == SCORES:
                self.written_at = event.at
                self.told_stale = False

    def tell_health(self, settings: CoverageSettings, at: datetime) -> None:
        """Queue a message if the suite became degraded, or recovered, since the last one."""
        for table, kind in self.kinds.items():
            if kind.newest and kind.health.degraded != kind.degraded:
                kind.degraded = kind.health.degraded
                text = _degraded if kind.degraded else _recovered
                message = text(kind.newest, settings, *_WORDS[table])
                self.outbox.append(Message(text=message, not_before=at))

    def tell_age(self, settings: FreshnessSettings, at: datetime) -> None:
        """Queue a message, once per score, if no newer one came for too long."""
        longest = timedelta(days=settings.score_days)
        if self.written_at and not self.told_stale and at - self.written_at > longest:
            self.told_stale = True
            text = (
                f"The coverage score is stale: none was written since {self.written_at:%Y-%m-%d}"
                f" (longer than {settings.score_days:g} days). Is the schedule weekly_coverage on?"
            )
            self.outbox.append(Message(text=text, not_before=at))

    def tell_failures(self, runs: Sequence[dg.DagsterRun], at: datetime) -> None:
        """Queue a message for each of the runs that failed for good and are not known yet."""
        for run in runs:
            if run.run_id not in self.told_runs:
                text = (
                    f"The job {run.job_name} failed {MAX_ATTEMPTS} times and is not tried again:"
                    f" see its run {run.run_id}, then launch it by hand."
                )
                self.outbox.append(Message(text=text, not_before=at))
        self.told_runs = [run.run_id for run in runs]

    def deliver(self, webhook: Webhook, at: datetime) -> list[str]:
        """Offer what is due, in order, until one is not taken; what happened, a line each."""
        lines = []
        while self.outbox and self.outbox[0].not_before <= at:
            message = self.outbox[0]
            problem = webhook.post(message.text)
            if problem is None:
                lines.append(f"sent: {message.text}")
                self.outbox.pop(0)
                continue
            message.deliveries += 1
            lines.append(f"not taken ({problem}), try {message.deliveries}: {message.text}")
            message.not_before = at + timedelta(minutes=2**message.deliveries)
            if message.deliveries >= MAX_DELIVERIES:
                self.outbox.pop(0)
            break
        return lines


@dg.sensor(minimum_interval_seconds=30)
def coverage_alerts(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    alerts: dg.ResourceParam[Webhook],
) -> dg.SensorResult | dg.SkipReason:
    """Tell people by webhook: a degradation, a recovery, a stale score, a job that keeps failing.

    Each once. A webhook that is down is tried again with growing waits, for 17 hours.
    """
    if alerts.url is None:
        return dg.SkipReason("Set alerts.webhook (EVALCOV_ALERTS__WEBHOOK) to be told.")
    news, at = News.model_validate_json(context.cursor) if context.cursor else News(), now()
    for event in materialized(context.instance, (SCORES, SESSION_SCORES), after=news.storage_id):
        news.take_in(event, settings.coverage)
    news.tell_health(settings.coverage, at)
    news.tell_age(settings.freshness, at)
    news.tell_failures(_failed_for_good(context.instance, since=at - timedelta(days=1)), at)
    lines = news.deliver(alerts, at)
    for line in lines:
        context.log.info(line)
    return dg.SensorResult(
        skip_reason="; ".join(lines) or f"{len(news.outbox)} messages wait for the webhook.",
        cursor=news.model_dump_json(),
    )


def _failed_for_good(instance: dg.DagsterInstance, since: datetime) -> Sequence[dg.DagsterRun]:
    """Runs that failed as the last try of a sensor's request."""
    filters = dg.RunsFilter(
        statuses=list(FAILED), tags={TRY_TAG: str(MAX_ATTEMPTS)}, updated_after=since
    )
    return instance.get_runs(filters=filters)


def _degraded(
    score: AnnouncedScore, settings: CoverageSettings, whom: str, traffic: str, covered: str
) -> str:
    text = f"The eval suite no longer covers {whom}, week to {score.as_of[:10]}: "
    if score.jsd_adjusted is None or score.jsd_adjusted < settings.threshold:
        text += f"a cluster with at least {settings.liability_share:.0%} of {traffic} has no case"
    else:
        text += f"its divergence is {score.jsd_adjusted:.2f} (threshold {settings.threshold:.2f})"
    return f"{text}{_covered(score, covered)}."


def _recovered(
    score: AnnouncedScore, settings: CoverageSettings, whom: str, traffic: str, covered: str
) -> str:
    return (
        f"The eval suite covers {whom} again, week to {score.as_of[:10]}: its divergence is"
        f" {score.jsd_adjusted:.2f} (threshold {settings.threshold:.2f}){_covered(score, covered)}."
    )


def _covered(score: AnnouncedScore, covered: str) -> str:
    if score.covered_share is None:
        return ""
    return f"; {score.covered_share:.0%} of {covered} in clusters with cases"
