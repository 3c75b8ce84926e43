"""The coverage score of each week, per cluster and per text."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import dagster as dg
import polars as pl

from evalcov_pipeline.core.coverage.score import Score
from evalcov_pipeline.core.sessions.sequences import SequenceRow
from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.support.partitions import WEEKLY, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import checked, row_count, table_spec
from evalcov_pipeline.reports.plots import cluster_bars
from evalcov_pipeline.services.coverage.week import ScoredWeek, WeekReport, week_report, write_week
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings

TOLERANCE = 1e-9
"""Rounding that contributions may be off by, in bits."""
TABLES = ("coverage_scores", "cluster_coverage", "text_coverage", "eval_coverage")
_TREND = (
    "jsd_adjusted", "jsd", "jsd_ci_low", "jsd_ci_high", "p_value", "null_p95", "covered_share",
    "unmeasured_share", "novel_share", "eval_score", "reweighted_score", "latency_ms", "cost_usd",
    "n_eval", "n_production",
)  # fmt: skip


@dg.multi_asset(
    name="coverage",
    specs=[
        table_spec(
            table,
            group="coverage",
            deps=[
                "trace_sample",
                "cluster_assignments",
                "eval_cases",
                "eval_runs",
                "judge_calibration",
            ],
            partitions_def=WEEKLY,
        )
        for table in TABLES
    ],
    check_specs=[
        dg.AssetCheckSpec("contributions_sum_to_jsd", asset="coverage_scores", blocking=True),
        dg.AssetCheckSpec("every_text_has_a_cluster", asset="coverage_scores", blocking=True),
        dg.AssetCheckSpec("suite_covers_production", asset="coverage_scores"),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def coverage(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Score the suite against each week's traffic: divergence, clusters, gaps, pass rate.

    A week whose score fails a check keeps the rows that it had, and ends the run.
    """
    reports: list[WeekReport | None] = []
    for week in weeks(context):
        report = week_report(warehouse.warehouse, settings, vector_cache(settings), as_of(week))
        reports.append(report)
        if report and not _is_sound(report):
            break
        write_week(warehouse.warehouse, as_of(week), report)
        for table in TABLES:
            context.add_asset_metadata(
                _facts(table, report, as_of(week).isoformat()), asset_key=table, partition_key=week
            )
        verdict = report.headline.verdict if report else "no traffic, so no score"
        context.log.info(f"week of {week}: {verdict}")
    yield from checked(*_checks([report for report in reports if report]))
    for table in TABLES:
        yield dg.MaterializeResult(asset_key=table)


def _facts(table: str, report: WeekReport | None, as_of_: str) -> dict[str, object]:
    if report is None:
        return {**row_count(0), "notes": "The week has no production traffic: no score."}
    if table == "text_coverage":
        return {**row_count(len(report.texts)), "in_gap": int(report.texts["in_gap"].sum())}
    if table == "eval_coverage":
        return {**row_count(len(report.cases))}
    headline = report.headline_clusters
    if table == "cluster_coverage":
        worst = headline.filter(pl.col("eval_cases") == 0).sort("production_share", descending=True)
        return {
            **row_count(len(report.clusters)),
            "shares": dg.MetadataValue.md(cluster_bars(headline)),
            "largest_clusters_without_a_case": dg.MetadataValue.md(_table(worst.head(10))),
        }
    score = report.headline
    facts: dict[str, object] = {
        **row_count(len(report.scores)),
        "as_of": as_of_,
        "taxonomy": score.taxonomy_id,
        "verdict": score.verdict,
        "degraded": score.degraded,
        "band": score.band or "none",
        "diagnosis": score.diagnosis or score.diagnosis_reason,
        "judges": score.judge_note or "no verdict is refused",
        "refused_results": score.refused_results,
    }
    return facts | figures_of(score, _TREND)


def figures_of(score: Score | SequenceRow, names: Sequence[str]) -> dict[str, float]:
    """Those of a score's fields that are known, for the UI's trend lines."""
    known = vars(score)
    return {name: float(known[name]) for name in names if known[name] is not None}


def _table(clusters: pl.DataFrame) -> str:
    lines = ["| cluster | share of production | status |", "|---|---|---|"]
    for row in clusters.iter_rows(named=True):
        label = escape(row["label"]).replace("|", "&#124;")
        lines.append(f"| {label} | {row['production_share']:.1%} | {row['status']} |")
    return "\n".join(lines)


def _is_sound(report: WeekReport) -> bool:
    return report.contributions_off_by < TOLERANCE and report.n_unassigned == 0


def contributions_check(asset: str, reports: Sequence[ScoredWeek[Any]]) -> dg.AssetCheckResult:
    """Whether the clusters' contributions add up to the divergence of every headline score."""
    off = max((report.contributions_off_by for report in reports), default=0.0)
    return dg.AssetCheckResult(
        check_name="contributions_sum_to_jsd",
        asset_key=asset,
        passed=off < TOLERANCE,
        metadata={"largest_difference": off},
    )


def _checks(reports: list[WeekReport]) -> Iterator[dg.AssetCheckResult]:
    yield contributions_check("coverage_scores", reports)
    unassigned = sum(report.n_unassigned for report in reports)
    yield dg.AssetCheckResult(
        check_name="every_text_has_a_cluster",
        asset_key="coverage_scores",
        passed=unassigned == 0,
        metadata={"turns_and_cases_without_a_cluster": unassigned},
    )
    degraded = [report.headline.verdict for report in reports if report.headline.degraded]
    yield dg.AssetCheckResult(
        check_name="suite_covers_production",
        asset_key="coverage_scores",
        passed=not degraded,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"verdicts": degraded},
    )
