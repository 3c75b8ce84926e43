"""Whole sessions: their features, their clusters, and how well the suite covers them."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.assets.coverage import TOLERANCE, contributions_check, figures_of
from evalcov_pipeline.defs.assets.taxonomy import TaxonomyRun, fit_facts
from evalcov_pipeline.defs.support.partitions import WEEKLY, now, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import checked, row_count, table_spec
from evalcov_pipeline.reports.plots import cluster_bars, path_table
from evalcov_pipeline.services.sessions.features import read_sessions, week_sessions, write_sessions
from evalcov_pipeline.services.sessions.scores import (
    TABLES,
    SessionReport,
    session_report,
    write_session_report,
)
from evalcov_pipeline.services.sessions.taxonomy import assign_sessions, fit_session_taxonomy
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import size

_OF_ORDER = ("jsd_adjusted", "p_value", "order_adjusted", "order_p_value")
SESSION_TAXONOMY_OP = "session_taxonomy"
_TAXONOMY_TABLES = ("session_taxonomies", "session_clusters", "session_taxonomy_lineage")
_TREND = (
    "jsd_adjusted", "jsd", "jsd_ci_low", "jsd_ci_high", "p_value", "null_p95", "covered_share",
    "unmeasured_share", "novel_share", "eval_score", "reweighted_score", "n_eval", "n_multi_turn",
    "n_sessions",
)  # fmt: skip


@dg.multi_asset(
    name="session_features",
    specs=[
        table_spec(
            table,
            group="sessions",
            deps=["trace_sample", "text_vectors", "cluster_assignments", "eval_cases"],
            partitions_def=WEEKLY,
            kinds=("duckdb", "polars"),
        )
        for table in ("session_features", "case_features")
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def session_features(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Describe each sampled session, and each eval case, as a whole: length, tools, outcome."""
    for week in weeks(context):
        with warehouse.reader() as con:
            used = taxonomies.applicable(con, as_of(week))
            sessions = used and week_sessions(
                con, settings, vector_cache(settings), as_of(week), used.headline
            )
        with warehouse.writer() as con:
            rows = write_sessions(con, as_of(week), sessions or None)
        for table, count in rows.items():
            context.add_asset_metadata(row_count(count), asset_key=table, partition_key=week)
    for table in ("session_features", "case_features"):
        yield dg.MaterializeResult(asset_key=table)


@dg.multi_asset(
    name=SESSION_TAXONOMY_OP,
    specs=[
        table_spec(table, group="sessions", deps=["session_features", "case_features"],
                   partitions_def=WEEKLY, kinds=("duckdb", "scikitlearn"))
        for table in _TAXONOMY_TABLES
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="taxonomy",
)  # fmt: skip
def session_taxonomy(
    context: dg.AssetExecutionContext,
    config: TaxonomyRun,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Cluster the window's sessions, freeze the clusters, match them to the ones before.

    As for queries: without `refit` a taxonomy is fitted only if there is none at all.
    """
    cache = vector_cache(settings)
    with warehouse.reader() as con:
        known = taxonomies.applicable(con, as_of(weeks(context)[-1]), taxonomies.SESSIONS)
        busy = [week for week in weeks(context) if read_sessions(con, cache, as_of(week))]
    fitted = busy[-1] if busy and (config.refit or known is None) else None
    for week in weeks(context):
        facts: dict[str, object] = {"fitted": week == fitted}
        if week == fitted:
            with warehouse.reader() as con:
                sessions = read_sessions(con, cache, as_of(week))
            assert sessions is not None
            fit = fit_session_taxonomy(
                warehouse.warehouse, settings, cache, sessions, as_of(week), now(),
                context.log.info,
            )  # fmt: skip
            facts |= fit_facts(fit)
        context.add_asset_metadata(facts, asset_key="session_taxonomies", partition_key=week)
    with warehouse.reader() as con:
        rows = {table: size(con, table) for table in _TAXONOMY_TABLES}
    for table, count in rows.items():
        yield dg.MaterializeResult(asset_key=table, metadata=row_count(count))


@dg.multi_asset(
    name="session_assignment",
    specs=[
        table_spec(
            "session_assignments",
            group="sessions",
            deps=["session_taxonomies", "session_clusters", "session_features", "case_features"],
            partitions_def=WEEKLY,
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def session_assignment(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult:
    """Put every session and every case of the week into a session cluster by one frozen rule."""
    for week in weeks(context):
        with warehouse.writer() as con:
            used = taxonomies.applicable(con, as_of(week), taxonomies.SESSIONS)
            sessions = read_sessions(con, vector_cache(settings), as_of(week))
            rows = 0
            for name in used.ids if used and sessions else []:
                assert sessions is not None
                rows += assign_sessions(con, settings, sessions, as_of(week), name)
        context.add_asset_metadata(
            {**row_count(rows), "taxonomies": used.ids if used else []},
            asset_key="session_assignments",
            partition_key=week,
        )
    return dg.MaterializeResult(asset_key="session_assignments")


@dg.multi_asset(
    name="session_coverage",
    specs=[
        table_spec(
            table,
            group="sessions",
            deps=[
                "session_assignments",
                "session_features",
                "case_features",
                "eval_runs",
                "judge_calibration",
            ],
            partitions_def=WEEKLY,
        )
        for table in TABLES
    ],
    check_specs=[
        dg.AssetCheckSpec("contributions_sum_to_jsd", asset="session_scores", blocking=True),
        dg.AssetCheckSpec("suite_covers_sessions", asset="session_scores"),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def session_coverage(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Score the suite against whole sessions: their clusters, their paths, how failures compound.

    A week whose score fails a check keeps the rows that it had, and ends the run.
    """
    reports: list[SessionReport | None] = []
    for week in weeks(context):
        with warehouse.reader() as con:
            report = session_report(con, settings, as_of(week))
        reports.append(report)
        if report and report.contributions_off_by >= TOLERANCE:
            break
        write_session_report(warehouse.warehouse, as_of(week), report)
        for table in TABLES:
            context.add_asset_metadata(
                _facts(table, report, as_of(week).isoformat()), asset_key=table, partition_key=week
            )
        verdict = report.headline.verdict if report else "no sessions, so no score"
        context.log.info(f"sessions, week of {week}: {verdict}")
    yield from checked(*_checks([report for report in reports if report]))
    for table in TABLES:
        yield dg.MaterializeResult(asset_key=table)


def _facts(table: str, report: SessionReport | None, as_of_: str) -> dict[str, object]:
    if report is None:
        return {**row_count(0), "notes": "The week has no sampled sessions: no score."}
    if table == "session_scores":
        score = report.headline
        facts: dict[str, object] = {
            **row_count(len(report.scores)),
            "as_of": as_of_,
            "taxonomy": score.taxonomy_id,
            "verdict": score.verdict,
            "degraded": score.degraded,
            "band": score.band or "none",
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in score.notes) or "-"),
        }
        return facts | figures_of(score, _TREND)
    if table == "sequence_scores":
        return {
            **row_count(len(report.sequences)),
            **{
                f"{row.kind}_{name}": figure
                for row in report.sequences
                for name, figure in figures_of(row, _OF_ORDER).items()
            },
        }
    if table == "sequence_coverage":
        untested = report.paths.filter((pl.col("status") == "gap") & pl.col("minimal"))
        return {
            **row_count(len(report.paths)),
            "untested_paths": len(untested),
            "most_travelled_untested": dg.MetadataValue.md(path_table(untested)),
        }
    if table == "session_traits":
        missing = report.traits.filter(pl.col("status") == "gap")["trait"].to_list()
        return {**row_count(len(report.traits)), "traits_of_no_case": missing}
    if table == "session_coverage":
        return {
            **row_count(len(report.clusters)),
            "shares": dg.MetadataValue.md(cluster_bars(report.headline_clusters)),
        }
    return {**row_count(len(report.compounding))}


def _checks(reports: list[SessionReport]) -> Iterator[dg.AssetCheckResult]:
    yield contributions_check("session_scores", reports)
    degraded = [report.headline.verdict for report in reports if report.headline.degraded]
    yield dg.AssetCheckResult(
        check_name="suite_covers_sessions",
        asset_key="session_scores",
        passed=not degraded,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"verdicts": degraded},
    )
