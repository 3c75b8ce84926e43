"""Turns that people look at because something seems to have gone wrong."""

import dagster as dg
import polars as pl

from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.support.partitions import WEEKLY, now, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, table_spec
from evalcov_pipeline.reports.plots import signal_plot
from evalcov_pipeline.services.failures.batches import (
    FailureWeek,
    examine_week,
    record_week,
    signal_weeks,
)
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import size

TABLES = ("failure_batches", "failure_picks", "signal_precision")
_COUNTS = ("size", "n_turns", "n_signalled", "n_near_duplicates")
_DEPS = ["failure_signals", "text_vectors", "cluster_assignments", "eval_cases", "annotations"]


@dg.multi_asset(
    name="failure_batches",
    specs=[
        table_spec(table, group="failures", deps=_DEPS, partitions_def=WEEKLY) for table in TABLES
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def failure_batches(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Draw the turns that people are asked about: likely failures first, each with a known chance.

    A signal counts by how often people agreed with it so far; a share of the batch explores signals
    that little is known of, and a share is drawn evenly from all turns of the week, so that the
    precision of every signal, and how much fails without one, can be estimated. Of several weeks
    in one run only the last asks people; a batch that somebody has begun to label stays as it is.
    """
    wanted = weeks(context)
    for week in wanted:
        examined = examine_week(
            warehouse.warehouse, settings, as_of(week), now(), ask=week == wanted[-1]
        )
        with warehouse.writer() as con:
            record_week(con, as_of(week), examined)
        for table in ("failure_batches", "signal_precision"):
            context.add_asset_metadata(_facts(examined, table), asset_key=table, partition_key=week)
    with warehouse.reader() as con:
        rows = {table: size(con, table) for table in TABLES}
        trend = signal_weeks(con, as_of(wanted[-1]))
    if not trend.is_empty():
        context.add_asset_metadata(
            {"trend": dg.MetadataValue.md(signal_plot(trend))},
            asset_key="signal_precision",
            partition_key=wanted[-1],
        )
    for table in TABLES:
        yield dg.MaterializeResult(asset_key=table, metadata=row_count(rows[table]))


def _facts(examined: FailureWeek, table: str) -> dict[str, object]:
    if table == "signal_precision":
        shown = examined.precision.drop("as_of").with_columns(pl.col(pl.Float64).round(3))
        return {"precision": dg.MetadataValue.json(shown.to_dicts())}
    if examined.batch is None:
        return {"note": examined.note or "-"}
    batch = examined.batch
    counts = {
        name: getattr(batch, name)
        for name in ("size", "n_turns", "n_signalled", "n_near_duplicates")
    }
    weights = dg.MetadataValue.json(batch.weights)
    return {**counts, "note": batch.note or "-", "weights": weights}
