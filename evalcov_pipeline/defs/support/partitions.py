"""Days of traffic and scored weeks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time

import dagster as dg

from evalcov_pipeline.core.traffic.weeks import week_of
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.lake import traffic_span

_FIRST = datetime.combine(get_settings().first_partition, time())

DAILY = dg.DailyPartitionsDefinition(start_date=_FIRST, end_offset=1)
"""Days of traffic, UTC, today included."""

WEEKLY = dg.WeeklyPartitionsDefinition(start_date=_FIRST, day_offset=1, end_offset=1)
"""Scored weeks from Monday 00:00 UTC, the running one included."""

WINDOW = dg.TimeWindowPartitionMapping(start_offset=-4, allow_nonexistent_upstream_partitions=True)
"""A week depends on its own days and those of the four weeks before: the window and its rim."""

PARTITION_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""Tags of a run over several partitions."""


def newest_week(settings: Settings) -> str | None:
    """Partition key of the week of the newest traffic, but not after the running week.

    None without traffic from the first partition on.
    """
    span = traffic_span(settings.lake)
    if span is None:
        return None
    week = week_of(min(span[1].date(), now().date()))
    return week if week >= settings.first_partition.isoformat() else None


def weeks(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The weeks that this run is about, oldest first; several in a single-run backfill."""
    return sorted(context.partition_keys)


def now() -> datetime:
    """The wall clock, UTC, naive like every instant in the tables."""
    return datetime.now(UTC).replace(tzinfo=None)
