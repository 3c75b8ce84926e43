"""Suggested labels for queued queries, and how often people agree with them."""

import dagster as dg
from dagster import MetadataValue

from evalcov_pipeline.defs.support import events
from evalcov_pipeline.defs.support.partitions import now
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, table_spec
from evalcov_pipeline.services.labels.proposals import prepare
from evalcov_pipeline.services.labels.suggestions import record, summary
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import size

_DEPS = ["annotation_queue", "annotations", "eval_cases"]


@dg.multi_asset(
    name="suggestions",
    specs=[
        table_spec("suggestions", group="refresh", deps=_DEPS),
        table_spec("suggestion_agreement", group="refresh", deps=_DEPS),
    ],
    pool="warehouse",
)
def suggestions(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Suggest labels for queries much like those that people have labelled.

    A share of the suggestions is hidden from people, to measure how often they agree. Accepted ones
    are labels like others: they enter the suite at the next run.
    """
    prepared = prepare(warehouse.warehouse, settings)
    with warehouse.writer() as con:
        report = record(con, prepared, settings, now())
        rows = size(con, "suggestions")
    if decided := report.accepted + report.withdrawn:
        facts = {events.TASKS_DECIDED: decided}
        context.log_event(dg.AssetMaterialization(events.LABELS, metadata=facts))
    yield dg.MaterializeResult(
        asset_key="suggestions", metadata={**row_count(rows), **summary(prepared, report)}
    )
    yield dg.MaterializeResult(
        asset_key="suggestion_agreement",
        metadata={
            **row_count(report.agreement.height),
            "agreement": MetadataValue.json(report.agreement.to_dicts()),
        },
    )
