"""Days of production turns in the lake."""

from datetime import date

import dagster as dg

from evalcov_pipeline.core.traffic.turns import TURNS
from evalcov_pipeline.defs.support.partitions import DAILY
from evalcov_pipeline.defs.support.specs import OWNERS, row_count
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import compact_day


@dg.asset(
    partitions_def=DAILY,
    group_name="ingestion",
    kinds={"parquet"},
    owners=OWNERS,
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name, type=str(type_)) for name, type_ in TURNS.items()]
        )
    },
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=31),
)
def traces(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """One row per user turn, folded from the spans of the imported files; Parquet, a file per day.

    `evalcov ingest traces` puts spans into staging; this puts a day's spans together, drops
    duplicates, and leaves out eval and test traffic. Late files change only the days they touch.
    """
    warehouse_of(settings).bring_up_to_date()  # it states the version of the lake, too
    for day in sorted(context.partition_keys):
        report = compact_day(settings.lake, date.fromisoformat(day))
        context.add_asset_metadata(
            {
                **row_count(report.turns),
                "set_aside_traces": report.set_aside,
                "traces_without_a_query": report.without_query,
                "duplicate_spans": report.duplicates,
            },
            asset_key="traces",
            partition_key=day,
        )
    return dg.MaterializeResult()
