"""The code location: assets, checks, jobs, schedules, sensors and resources.

Imports nothing heavy: the code server and every step process pay for what is imported here.
"""

from __future__ import annotations

from typing import cast

import dagster as dg

from evalcov_pipeline.alerts import Webhook
from evalcov_pipeline.defs import assets
from evalcov_pipeline.defs.automation import alerts, freshness, inbox, jobs, schedules, sensors
from evalcov_pipeline.defs.support import step_lines
from evalcov_pipeline.defs.support.resources import warehouse_resource
from evalcov_pipeline.settings import Settings, get_settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """The definitions for these settings."""
    loaded = dg.load_assets_from_package_module(assets, include_specs=True)
    assets_and_specs = cast("list[dg.AssetsDefinition | dg.AssetSpec]", loaded)
    return dg.Definitions(
        assets=dg.map_asset_specs(freshness.with_policy(settings.freshness), assets_and_specs),
        jobs=[
            jobs.daily_traces,
            jobs.weekly_coverage,
            jobs.monthly_taxonomy,
            jobs.quarterly_refresh,
            jobs.refresh,
            inbox.ingest_inbox,
        ],
        schedules=[
            schedules.daily_traces,
            schedules.weekly_coverage,
            schedules.monthly_taxonomy,
            schedules.quarterly_refresh,
        ],
        sensors=[
            inbox.files_landed,
            sensors.coverage_degraded,
            sensors.annotations_landed,
            alerts.coverage_alerts,
        ],
        resources={
            "warehouse": warehouse_resource(settings),
            "settings": settings,
            "alerts": Webhook.of(settings.alerts),
        },
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, step_lines.NAME: step_lines.step_lines},
    )


defs = build_definitions(get_settings())
