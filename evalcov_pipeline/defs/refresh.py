"""The request for new eval cases."""

from datetime import datetime

import dagster as dg
import orjson

from evalcov_pipeline.defs.partitions import now
from evalcov_pipeline.defs.resources import WarehouseResource
from evalcov_pipeline.defs.specs import row_count, table_spec
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.refresh import record_plan

_SCORE = ["coverage_scores", "cluster_coverage", "text_coverage", "eval_coverage"]
_SPECS = [
    table_spec(table, group="refresh", deps=_SCORE)
    for table in ("refresh_plans", "refresh_candidates", "annotation_queue")
]


class RefreshRequest(dg.Config):
    """Why a refresh is planned, and for how many cases."""

    trigger: str = "manual"
    """coverage_degraded, schedule or manual."""
    as_of: str | None = None
    """ISO instant of the score to answer; the newest by default."""
    budget: int | None = None
    """Number of cases; `refresh.budget` of the settings by default."""


@dg.multi_asset(name="refresh_plans", specs=_SPECS, pool="warehouse")
def refresh_plans(
    config: RefreshRequest, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
):
    """Record how many cases are wanted for which clusters, and why."""
    with warehouse.writer() as con:
        plan = record_plan(
            con,
            trigger=config.trigger,
            budget=config.budget or settings.refresh.budget,
            created_at=now(),
            as_of=datetime.fromisoformat(config.as_of) if config.as_of else None,
        )
    targets = orjson.loads(plan["targets"])
    for table in ("refresh_candidates", "annotation_queue"):
        yield dg.MaterializeResult(asset_key=table)
    yield dg.MaterializeResult(
        asset_key="refresh_plans",
        metadata={
            **row_count(1),
            "plan": plan["plan_id"],
            "reason": plan["reason"],
            "budget": plan["budget"],
            "jsd_before": plan["jsd_before"] or 0.0,
            "targets": dg.MetadataValue.json(targets),
        },
    )
