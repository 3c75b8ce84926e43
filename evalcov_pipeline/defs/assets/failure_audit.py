"""Kinds of failure against the suite, once a quarter."""

from datetime import date

import dagster as dg

from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, table_spec
from evalcov_pipeline.services.failures.audit import audit, write_audit
from evalcov_pipeline.settings import Settings

_SHOWN = ["rank", "category", "status", "observed", "labelled", "assigned", "eval_cases", "reason"]
_DEPS = [
    "failure_signals", "failure_batches", "failure_picks", "annotations", "incidents",
    "eval_cases", "eval_case_versions", "eval_results",
]  # fmt: skip


class AuditRequest(dg.Config):
    """Which quarter is looked at."""

    day: str | None = None
    """ISO day in the quarter, seen until the end of its week; the newest traffic's by default."""


@dg.multi_asset(
    name="failure_audit",
    specs=[table_spec("failure_audit", group="failures", deps=_DEPS)],
    op_tags={"dagster/priority": "1"},
    pool="warehouse",
)
def failure_audit(
    config: AuditRequest, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
):
    """What fails in production, how often, and which of it the suite would notice.

    Kinds of failure come from people's labels and from incidents; other turns with a signal take
    the kind of their nearest labelled neighbours, and are counted apart. Kinds without a case come
    first.
    """
    held = audit(
        warehouse.warehouse, settings, date.fromisoformat(config.day) if config.day else None
    )
    with warehouse.writer() as con:
        write_audit(con, held)
    yield dg.MaterializeResult(
        asset_key="failure_audit",
        metadata={
            **row_count(held.rows.height),
            "quarter": held.quarter.name,
            "seen_until": held.quarter.as_of.isoformat(),
            "labels_behind_rates": held.n_labels,
            "assignment": held.assignment.reason,
            "audit": dg.MetadataValue.json(held.rows.select(_SHOWN).to_dicts()),
        },
    )
