"""The CI suite: the few cases that together notice most within a time budget."""

from datetime import datetime

import dagster as dg
import polars as pl

from evalcov_pipeline.defs.support.partitions import now
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, rows_of, table_spec
from evalcov_pipeline.reports.plots import suite_table
from evalcov_pipeline.services.judges.admission import refused_judges
from evalcov_pipeline.services.suites.ci_suites import choose_suite
from evalcov_pipeline.settings import Settings

_DEPS = [
    "case_discrimination",
    "case_detection",
    "eval_cases",
    "judge_calibration",
    "failure_audit",
]
_FIGURES = (
    "suite_id", "n_deciding", "expected_s", "detection_power", "n_failure_modes", "weighed_by",
)  # fmt: skip


@dg.multi_asset(
    name="ci_suites",
    specs=[
        table_spec(table, group="suites", deps=_DEPS) for table in ("ci_suites", "ci_suite_cases")
    ],
    pool="warehouse",
)
def ci_suites(warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]):
    """Choose the CI suite; `evalcov export suite` writes it, `evalcov gate` judges its results.

    The suite of before stays, less what cannot decide any more, until another notices clearly more.
    """
    with warehouse.writer() as con:
        chosen = choose_suite(con, settings.suites, refused_judges(con, datetime.max), now())
    facts = {name: getattr(chosen.suite, name) for name in _FIGURES} if chosen.suite else {}
    yield dg.MaterializeResult(
        asset_key="ci_suites",
        metadata={
            **row_count(int(bool(facts))),
            **facts,
            "note": chosen.note or "-",
            "left_out": chosen.left_out.height,
            "cannot_decide": rows_of(chosen.left_out),
        },
    )
    modes = chosen.cases.group_by("failure_mode").agg(
        cases=pl.len(), deciding=pl.col("decides").sum(), pinned=pl.col("incident_id").count()
    )
    yield dg.MaterializeResult(
        asset_key="ci_suite_cases",
        metadata={
            **row_count(chosen.cases.height),
            "failure_modes": rows_of(modes.sort("failure_mode")),
            "cases": dg.MetadataValue.md(suite_table(chosen.cases)),
        },
    )
