"""The code location: assets, checks, jobs, schedules, sensors and resources.

Imports nothing heavy: the code server and every step process pay for what is imported here.
"""

from __future__ import annotations

import dagster as dg

from evalcov_pipeline.defs import (
    annotation,
    automation,
    coverage,
    embedding,
    evals,
    publish,
    refresh,
    report,
    sampling,
    step_lines,
    taxonomy,
    traces,
)
from evalcov_pipeline.defs.resources import warehouse_resource
from evalcov_pipeline.settings import Settings, get_settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """The definitions for these settings."""
    return dg.Definitions(
        assets=[
            traces.traces,
            *evals.recorded,
            evals.eval_suite,
            sampling.sampling,
            embedding.text_vectors,
            taxonomy.taxonomy,
            taxonomy.assignment,
            coverage.coverage,
            *annotation.recorded,
            refresh.refresh_plans,
            publish.published,
            report.coverage_report,
        ],
        jobs=[
            automation.daily_traces,
            automation.weekly_coverage,
            automation.monthly_taxonomy,
            automation.refresh,
        ],
        schedules=[
            automation.daily_traces_schedule,
            automation.weekly_coverage_schedule,
            automation.monthly_taxonomy_schedule,
        ],
        sensors=[automation.coverage_degraded],
        resources={"warehouse": warehouse_resource(settings), "settings": settings},
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, step_lines.NAME: step_lines.step_lines},
    )


defs = build_definitions(get_settings())
