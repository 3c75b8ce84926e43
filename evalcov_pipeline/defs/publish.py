"""The last step of every job: the copy that notebooks and dashboards read."""

from __future__ import annotations

import dagster as dg

from evalcov_pipeline.defs.resources import WarehouseResource
from evalcov_pipeline.defs.specs import OWNERS
from evalcov_pipeline.settings import Settings


@dg.asset(
    deps=["coverage_scores", "cluster_coverage", "text_coverage", "eval_cases", "eval_runs"],
    group_name="publish",
    kinds={"duckdb"},
    owners=OWNERS,
    pool="warehouse",
)
def published(
    warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """`published.duckdb`: a snapshot of all tables for notebooks, swapped in atomically.

    Open it read-only. Whoever has the old snapshot open keeps it until they reopen; the pipeline
    never waits for a reader.
    """
    size = warehouse.warehouse.publish(settings.published)
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(settings.published.resolve())),
            "size_bytes": size,
        }
    )
