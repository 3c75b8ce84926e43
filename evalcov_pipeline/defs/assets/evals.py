"""The eval suite and its runs, derived from what `evalcov ingest evals|results` recorded."""

import dagster as dg
import polars as pl

from evalcov_pipeline.defs.support.events import TASKS_WAITING
from evalcov_pipeline.defs.support.partitions import now
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import checked, row_count, table_spec
from evalcov_pipeline.services.evals.ledger import broken_link
from evalcov_pipeline.services.labels.arrival import labels_arrived
from evalcov_pipeline.services.labels.incidents import queue_incidents
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import size

recorded = [
    table_spec("eval_case_events", group="evals", kinds=("duckdb",)),
    table_spec("ledger_head", group="evals", kinds=("duckdb",)),
    table_spec("eval_results", group="evals", kinds=("duckdb",)),
]


@dg.multi_asset(
    name="eval_suite",
    specs=[
        table_spec("eval_cases", group="evals", deps=["eval_case_events"]),
        table_spec("eval_case_versions", group="evals", deps=["eval_case_events"]),
        table_spec("eval_runs", group="evals", deps=["eval_results", "eval_case_events"]),
    ],
    check_specs=[dg.AssetCheckSpec("ledger_is_intact", asset="eval_cases", blocking=True)],
    pool="warehouse",
)
def eval_suite(warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]):
    """The suite of today, derived from the ledger, and a summary of every eval run.

    What people decided about queued queries enters the ledger first. Then people are asked about
    traces of incidents that lack cases. A ledger whose chain is broken changes nothing.
    """
    with warehouse.reader() as con:
        broken = broken_link(con)
    yield from checked(
        dg.AssetCheckResult(
            check_name="ledger_is_intact",
            asset_key="eval_cases",
            passed=broken is None,
            metadata={"first_broken_event": broken or 0},
        )
    )
    with warehouse.writer() as con:
        arrival = labels_arrived(con, settings, now())
        queue_incidents(con, settings, now())
        versions = size(con, "eval_case_versions")
    merged, cases = arrival.merged, arrival.cases
    yield dg.MaterializeResult(
        asset_key="eval_cases",
        metadata={
            **row_count(cases.height),
            "active": cases.filter(pl.col("status") == "active").height,
            "multi_turn": cases.filter(pl.col("n_turns") > 1).height,
            "origins": dict(cases["origin"].value_counts().iter_rows()),
            "merged": merged.added,
            "kept_without_expected_answer": merged.unanswered,
            TASKS_WAITING: merged.waiting_of_plans,
        },
    )
    yield dg.MaterializeResult(asset_key="eval_case_versions", metadata=row_count(versions))
    yield dg.MaterializeResult(asset_key="eval_runs", metadata=row_count(arrival.n_runs))
