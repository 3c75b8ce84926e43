"""What sensors know: the metadata of materializations, never the warehouse.

Assets and commands write these keys; sensors read them. A sensor that is behind takes in all that
happened since, in order, so a cursor that was lost or reset leads to the same state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import BaseModel

from evalcov_pipeline.settings import CoverageSettings

SCORES = "coverage_scores"
SESSION_SCORES = "session_scores"
PLANS = "refresh_plans"
LABELS = "annotations"
VERDICTS = "judge_verdicts"
SUITE = "eval_cases"

TASKS_WAITING = "tasks_waiting"
"""On plans, labels and the suite: tasks of refresh plans that people still have to decide.

The newest word counts, whichever asset says it: a refresh is open while it is above 0.
"""
TASKS_DECIDED = "tasks_decided"
"""On labels: tasks whose decision is new or changed by the labels that came."""
IS_NEW = "is_new"
"""On plans: False where an earlier plan still waits for people and was left alone."""

_PAGE = 500


@dataclass(frozen=True)
class Materialized:
    """One materialization.

    Attributes:
        storage_id: its place in Dagster's log; rises with time.
        asset: table.
        at: when, UTC, naive.
        facts: its metadata, as plain values.
    """

    storage_id: int
    asset: str
    at: datetime
    facts: dict[str, Any]


class AnnouncedScore(BaseModel, frozen=True):
    """What a sensor needs of a row of `coverage_scores` or `session_scores`."""

    as_of: str
    taxonomy: str
    degraded: bool
    jsd_adjusted: float | None = None
    covered_share: float | None = None

    @property
    def key(self) -> str:
        """Names the score, whoever wrote it and however often."""
        return f"{self.as_of}:{self.taxonomy}"


class Health(BaseModel):
    """Whether the suite is degraded, with hysteresis.

    A score is memoryless; this is not: what is degraded stays so until `jsd_adjusted` is below the
    threshold less a margin, so a score that hovers at the threshold is one degradation.
    """

    newest_as_of: str = ""
    degraded: bool = False

    def observe(self, score: AnnouncedScore, settings: CoverageSettings) -> bool:
        """Take in a score; False, and no change, for a week older than the newest one seen."""
        if score.as_of < self.newest_as_of:
            return False
        self.newest_as_of = score.as_of
        if score.degraded:
            self.degraded = True
        elif score.jsd_adjusted is not None:
            recovered = score.jsd_adjusted < settings.threshold - settings.rearm_margin
            self.degraded = self.degraded and not recovered
        return True


def labelled(decided: int, waiting: int) -> dict[str, int]:
    """Metadata of labels that came: tasks they decided, and tasks of refresh plans that wait."""
    return {TASKS_DECIDED: decided, TASKS_WAITING: waiting}


def materialized(
    instance: dg.DagsterInstance, assets: Iterable[str], after: int
) -> list[Materialized]:
    """What was materialized after a place in the log, oldest first."""
    occurred = [event for asset in assets for event in _of_asset(instance, asset, after)]
    return sorted(occurred, key=lambda event: event.storage_id)


def score_of(event: Materialized) -> AnnouncedScore | None:
    """The score that an event tells of; None for other assets and for a week without one."""
    if (
        event.asset not in (SCORES, SESSION_SCORES)
        or not {"as_of", "taxonomy", "degraded"} <= event.facts.keys()
    ):
        return None
    return AnnouncedScore.model_validate(event.facts)


def _of_asset(instance: dg.DagsterInstance, asset: str, after: int) -> Iterator[Materialized]:
    records_filter = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), after_storage_id=after)
    cursor = None
    while True:
        page = instance.fetch_materializations(
            records_filter, limit=_PAGE, cursor=cursor, ascending=True
        )
        for record in page.records:
            materialization = record.asset_materialization
            metadata = materialization.metadata if materialization else {}
            yield Materialized(
                storage_id=record.storage_id,
                asset=asset,
                at=datetime.fromtimestamp(record.timestamp, UTC).replace(tzinfo=None),
                facts={name: value.value for name, value in metadata.items()},
            )
        if not page.has_more:
            return
        cursor = page.cursor
