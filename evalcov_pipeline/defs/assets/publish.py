"""The last step of every job: the copy that notebooks and dashboards read."""

import dagster as dg

from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import OWNERS
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.schema import tables


@dg.asset(
    deps=sorted(tables()),
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
