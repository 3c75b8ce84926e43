"""The request for new eval cases: planned, drawn, queued for people."""

from datetime import datetime

import dagster as dg
import orjson

from evalcov_pipeline.defs.support.events import IS_NEW, TASKS_WAITING
from evalcov_pipeline.defs.support.partitions import now
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, table_spec
from evalcov_pipeline.services.refresh.plan import refresh
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings

TABLES = ("refresh_plans", "refresh_candidates", "annotation_queue")
_SCORE = [
    "coverage_scores", "cluster_coverage", "text_coverage", "eval_coverage", "session_scores",
    "session_coverage", "sequence_coverage", "session_features", "case_features",
]  # fmt: skip
_DIVERGENCES = (
    "jsd_before", "jsd_projected", "session_jsd_before", "session_jsd_projected",
)  # fmt: skip


class RefreshRequest(dg.Config):
    """Why a refresh is planned, and for how many cases."""

    trigger: str = "manual"
    """coverage_degraded, schedule or manual."""
    as_of: str | None = None
    """ISO instant of the score to answer; the newest by default."""
    budget: int | None = None
    """Number of cases; `refresh.budget` of the settings by default."""
    target: float | None = None
    """`jsd_adjusted` to reach, instead of a number of cases."""
    replace: bool = False
    """Close the waiting tasks of earlier plans, and plan anew."""


@dg.multi_asset(
    name="refresh_plans",
    specs=[table_spec(table, group="refresh", deps=_SCORE) for table in TABLES],
    pool="warehouse",
)
def refresh_plans(
    config: RefreshRequest, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
):
    """Plan which clusters need cases, draw production queries and sessions, queue these for people.

    While an earlier plan waits for labels nothing new is planned.
    """
    recorded = refresh(
        warehouse.warehouse,
        settings,
        vector_cache(settings),
        trigger=config.trigger,
        created_at=now(),
        budget=config.budget,
        target=config.target,
        as_of=datetime.fromisoformat(config.as_of) if config.as_of else None,
        replace=config.replace,
    )
    plan = recorded.plan
    scores = {name: plan[name] for name in _DIVERGENCES if plan[name] is not None}
    yield dg.MaterializeResult(
        asset_key="refresh_plans",
        metadata={
            **row_count(int(recorded.is_new)),
            "plan": plan["plan_id"],
            IS_NEW: recorded.is_new,
            TASKS_WAITING: recorded.waiting,
            "reason": plan["reason"],
            "budget": plan["budget"],
            "sessions": plan["n_sessions"] or 0,
            **scores,
            "note": plan["note"] or "-",
            "targets": dg.MetadataValue.json(orjson.loads(plan["targets"])),
            "curve": dg.MetadataValue.json(orjson.loads(plan["curve"] or "[]")),
        },
    )
    pools = dict(recorded.candidates["pool"].value_counts().iter_rows())
    yield dg.MaterializeResult(
        asset_key="refresh_candidates",
        metadata={**row_count(recorded.candidates.height), "pools": dg.MetadataValue.json(pools)},
    )
    yield dg.MaterializeResult(asset_key="annotation_queue", metadata=row_count(recorded.waiting))
