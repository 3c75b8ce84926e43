"""Signs of failure in production, week by week."""

import dagster as dg
import polars as pl

from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.support.partitions import WEEKLY, WINDOW, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, table_spec
from evalcov_pipeline.reports.plots import frame_table
from evalcov_pipeline.services.failures.signals import WeekSignals, find_signals, write_signals
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings

_TABLES = ("failure_signals", "signal_thresholds")
_DEPS: list[str | dg.AssetDep] = [
    dg.AssetDep("traces", partition_mapping=WINDOW),
    "text_vectors",
    "annotation_events",
]
_EXAMPLES = 3


@dg.multi_asset(
    name="failure_signals",
    specs=[
        table_spec(
            table, group="failures", deps=_DEPS, partitions_def=WEEKLY, kinds=("duckdb", "polars")
        )
        for table in _TABLES
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def failure_signals(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Look for signs that an answer failed, in every turn of the week: not only in the sample.

    Complaints and tickets, flags of reviewers, retrieval that found little or nothing, questions
    that were sent again, asked in other words or answered by an objection, sessions that ended in
    an error, and answers that people call wrong though they sound sure. Each row is a turn whose
    answer seems to have failed, one sign, its strength, and what was seen. Cuts are estimated from
    each source's own traffic; a source that has too little of it gets none, and a reason.
    """
    redact_all = redactor(settings.redaction)
    for week in weeks(context):
        with warehouse.reader() as con:
            week_signals = find_signals(
                con, settings, as_of(week), redact_all,
                lambda done, total: context.log.info(f"{done} of {total} texts embedded"),
            )  # fmt: skip
        with warehouse.writer() as con:
            rows = write_signals(con, as_of(week), week_signals)
        for table, count in rows.items():
            facts = (
                _facts(table, week_signals) if week_signals else {"notes": "The week has no turns."}
            )
            context.add_asset_metadata(
                {**row_count(count), **facts}, asset_key=table, partition_key=week
            )
    for table in _TABLES:
        yield dg.MaterializeResult(asset_key=table)


def _facts(table: str, week: WeekSignals) -> dict[str, object]:
    if table == "signal_thresholds":
        return {"thresholds": dg.MetadataValue.md(frame_table(week.thresholds))}
    counts = week.signals.group_by("signal").agg(turns=pl.len()).sort("signal")
    examples = (
        week.signals.sort("strength", descending=True, maintain_order=True)
        .group_by("signal", maintain_order=True)
        .head(_EXAMPLES)
        .sort("signal", maintain_order=True)
        .select("signal", "strength", "evidence", "trace_id", "turn_index")
    )
    return {
        "turns": week.n_turns,
        "turns_with_a_signal": week.signals.select("trace_id", "turn_index").n_unique(),
        "share_of_pairs_compared": week.n_compared / week.n_pairs if week.n_pairs else 1.0,
        "by_signal": dg.MetadataValue.md(frame_table(counts)),
        "examples": dg.MetadataValue.md(frame_table(examples)),
    }
