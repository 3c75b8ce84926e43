"""The 30-day steady-state sample of production sessions."""

import dagster as dg
import polars as pl

from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.support.partitions import WEEKLY, WINDOW, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import checked, row_count, table_spec
from evalcov_pipeline.services.traffic.sampling import WeekSample, sample_week, write_sample
from evalcov_pipeline.services.traffic.texts import forget_unused_texts, redactor
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import size

_TOLERANCE = 1e-9
_TRACES = dg.AssetDep("traces", partition_mapping=WINDOW)


@dg.multi_asset(
    name="sampling",
    specs=[
        table_spec("trace_sample", group="sampling", deps=[_TRACES], partitions_def=WEEKLY),
        table_spec("sample_days", group="sampling", deps=[_TRACES], partitions_def=WEEKLY),
        table_spec("texts", group="sampling", deps=[_TRACES, "eval_cases"], partitions_def=WEEKLY),
    ],
    check_specs=[dg.AssetCheckSpec("weights_sum_to_one", asset="trace_sample", blocking=True)],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def sampling(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Draw whole sessions in strata of day and daypart, cap spikes, redact the texts.

    A week whose weights do not sum to 1 keeps the sample that it had.
    """
    redact_all = redactor(settings.redaction)
    off: dict[str, float] = {}
    for week in weeks(context):
        sample = sample_week(settings, as_of(week), redact_all)
        if sample:
            sums = sample.turns.select(pl.sum("traffic_weight", "steady_weight")).row(0)
            off[week] = max(abs(total - 1) for total in sums)
        if off.get(week, 0.0) >= _TOLERANCE:
            break
        with warehouse.writer() as con:
            drawn = write_sample(con, as_of(week), sample)
        context.add_asset_metadata(
            {**row_count(drawn), **_facts(sample)}, asset_key="trace_sample", partition_key=week
        )
    yield from checked(
        dg.AssetCheckResult(
            check_name="weights_sum_to_one",
            asset_key="trace_sample",
            passed=max(off.values(), default=0.0) < _TOLERANCE,
            metadata={"largest_error_by_week": off},
        )
    )
    with warehouse.writer() as con:
        forget_unused_texts(con)
        rows = {table: size(con, table) for table in ("sample_days", "texts")}
    yield dg.MaterializeResult(asset_key="trace_sample")
    for table, count in rows.items():
        yield dg.MaterializeResult(asset_key=table, metadata=row_count(count))


def _facts(sample: WeekSample | None) -> dict[str, object]:
    if sample is None:
        return {"notes": "The window holds no production traffic."}
    draw = sample.draw
    return {
        "sessions": draw.sessions.height,
        "sessions_in_window": draw.n_available,
        "effective_sample_size": draw.n_eff,
        "distinct_texts": sample.turns["text_hash"].n_unique(),
        "spike_days": draw.days.filter("spike")["day"].cast(pl.String).to_list(),
        "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in draw.notes) or "-"),
    }
