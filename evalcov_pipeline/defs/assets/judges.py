"""How far the judges' verdicts can be believed, and which labels would tell."""

import dagster as dg
import polars as pl

from evalcov_pipeline.core.judges.rulings import RULING_VERDICTS
from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.support.partitions import WEEKLY, now, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import checked, row_count, table_spec
from evalcov_pipeline.reports.plots import certificates_table
from evalcov_pipeline.services.judges.calibration import (
    Calibration,
    calibrate_judges,
    is_newest,
    write_certificates,
)
from evalcov_pipeline.services.judges.top_up import planned, queue_refused, queue_top_up
from evalcov_pipeline.settings import Settings

recorded = [table_spec("judge_verdicts", group="judges")]
"""External, without dependencies: `evalcov ingest verdicts` brings them."""


@dg.multi_asset(
    name="judge_calibration",
    specs=[
        table_spec(
            table,
            group="judges",
            deps=["judge_verdicts", "annotations", "eval_runs"],
            partitions_def=WEEKLY,
            kinds=("duckdb", "polars"),
        )
        for table in ("judge_calibration", "judge_top_up")
    ],
    check_specs=[dg.AssetCheckSpec("judges_are_believable", asset="judge_calibration")],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def judge_calibration(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Hold each judge's verdicts against what people say, by category.

    Verdicts of a refused judge enter no score. In the newest week people are asked about the
    answers whose labels would help most, and about answers whose verdict is refused.
    """
    calibrations: list[Calibration] = []
    with warehouse.writer() as con:
        for week in weeks(context):
            calibrations.append(calibrate_judges(con, settings, as_of(week)))
            write_certificates(con, calibrations[-1])
        if is_newest(con, calibrations[-1].as_of):
            queue_top_up(con, settings, calibrations[-1], now())
            queue_refused(con, settings, calibrations[-1].as_of, now())
        plans = [planned(con, one.as_of) for one in calibrations]
    for week, one, plan in zip(weeks(context), calibrations, plans, strict=True):
        context.add_asset_metadata(_facts(one), asset_key="judge_calibration", partition_key=week)
        context.add_asset_metadata(_top_up(plan), asset_key="judge_top_up", partition_key=week)
    yield from checked(_believable(calibrations[-1]))
    for table in ("judge_calibration", "judge_top_up"):
        yield dg.MaterializeResult(asset_key=table)


def _facts(calibration: Calibration) -> dict[str, object]:
    counts = {verdict.lower(): len(calibration.of(verdict)) for verdict in RULING_VERDICTS}
    return {
        **row_count(len(calibration.certificates)),
        "as_of": calibration.as_of.isoformat(),
        **counts,
        "certificates": dg.MetadataValue.md(certificates_table(calibration.rows)),
    }


def _top_up(plan: pl.DataFrame) -> dict[str, object]:
    wanted = plan.group_by("judge_id", "category", "ask").len("answers").sort(pl.all())
    return {**row_count(len(plan)), "asked": dg.MetadataValue.json(wanted.to_dicts())}


def _believable(calibration: Calibration) -> dg.AssetCheckResult:
    refused = [f"{one.judge} on {one.category}" for one in calibration.of("REFUSED")]
    return dg.AssetCheckResult(
        check_name="judges_are_believable",
        asset_key="judge_calibration",
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"refused": refused},
    )
