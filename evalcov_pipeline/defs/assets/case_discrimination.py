"""What each eval case can tell apart, and whether the suite's score has come loose."""

from datetime import datetime

import dagster as dg
import polars as pl

from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, rows_of, table_spec
from evalcov_pipeline.services.judges.admission import refused_judges
from evalcov_pipeline.services.suites.discrimination import (
    cases_to_review,
    judge_cases,
    watch_goodhart,
)

_DEPS = ["eval_results", "eval_cases", "judge_calibration"]


@dg.multi_asset(
    name="case_discrimination",
    specs=[
        table_spec(table, group="suites", deps=_DEPS)
        for table in ("case_discrimination", "case_detection", "goodhart_watch")
    ],
    check_specs=[dg.AssetCheckSpec("cases_need_review", asset="case_discrimination")],
    pool="warehouse",
)
def case_discrimination(warehouse: WarehouseResource):
    """Judge every case by all its results: saturated, broken, flaky, and which regressions it sees.

    Cases that never passed, or that better systems fail more often, are listed for review: their
    expected answers may be wrong. The Goodhart watch holds the suite's score against that of cases
    drawn afresh from production.
    """
    with warehouse.writer() as con:
        refused = refused_judges(con, datetime.max)
        judged = judge_cases(con, refused)
        watch = watch_goodhart(con, refused)
        review = cases_to_review(con)
    yield dg.AssetCheckResult(
        check_name="cases_need_review",
        asset_key="case_discrimination",
        passed=review.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description="Cases whose expected answer a person should look at.",
        metadata={"cases": review.height, "review": rows_of(review)},
    )
    cases = judged.cases
    yield dg.MaterializeResult(
        asset_key="case_discrimination",
        metadata={
            **row_count(cases.height),
            **{name: int(cases[name].sum()) for name in ("saturated", "broken", "flaky")},
            "unknown_to_the_suite": cases["case_status"].null_count(),
            "cannot_decide": rows_of(
                cases.filter(
                    pl.col("unfit").is_not_null() & (pl.col("case_status") == "active")
                ).select("case_id", "unfit", "n_runs", "n_failed", "kills")
            ),
            "review": rows_of(review),
        },
    )
    variants = judged.detection.group_by("variant").agg(
        cases=pl.len(), failed=(pl.col("failed") > 0).sum(), detection=pl.col("detection").mean()
    )
    yield dg.MaterializeResult(
        asset_key="case_detection",
        metadata={
            **row_count(judged.detection.height),
            "variants": rows_of(variants.sort("variant")),
        },
    )
    yield dg.MaterializeResult(
        asset_key="goodhart_watch",
        metadata={
            **row_count(len(watch.gaps)),
            "verdict": watch.verdict,
            **({} if watch.mean_gap is None else {"mean_gap": watch.mean_gap}),
        },
    )
