"""Requests for new eval cases (`refresh_plans`)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.core.divergence import apportion
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.warehouse import frame, insert, one_row


def record_plan(
    con: duckdb.DuckDBPyConnection,
    *,
    trigger: str,
    budget: int,
    created_at: datetime,
    as_of: datetime | None = None,
) -> dict[str, Any]:
    """Plan where `budget` new cases go, and record it.

    The cases go to named clusters where each lowers the divergence from production most.

    Args:
        con: a writing connection.
        trigger: coverage_degraded, schedule or manual.
        budget: number of cases, >= 1.
        created_at: wall clock, UTC.
        as_of: score that the plan answers; the newest by default.

    Returns:
        The row of `refresh_plans`; a plan that is there already with the same content is not
        written again.

    Raises:
        BadInput: there is no such score, or no named cluster has traffic.
    """
    score = one_row(
        con,
        "SELECT * FROM coverage_scores WHERE headline AND (? IS NULL OR as_of = ?)"
        " ORDER BY as_of DESC LIMIT 1",
        [as_of, as_of],
    )
    if score is None:
        raise BadInput(
            what="there is no coverage score to refresh from",
            where="coverage_scores",
            what_to_do="run `evalcov run weekly` first",
        )
    clusters = frame(
        con,
        "SELECT * FROM cluster_coverage WHERE as_of = ? AND taxonomy_id = ? AND cluster_id >= 0"
        " ORDER BY cluster_id",
        [score["as_of"], score["taxonomy_id"]],
    )
    shares = clusters["production_share"].to_numpy()
    if not shares.sum() > 0:
        raise BadInput(
            what="no named cluster has traffic, so there is nothing to plan for",
            where=f"score of {score['as_of']:%Y-%m-%d}",
            what_to_do="cluster the traffic anew: `evalcov run monthly`",
        )
    now = clusters["eval_cases"].to_numpy()
    added = apportion(shares / shares.sum(), budget, start=now) - now
    targets = (
        clusters.with_columns(cases=pl.Series(added))
        .filter(pl.col("cases") > 0)
        .sort(["cases", "production_share", "cluster_id"], descending=[True, True, False])
        .select("cluster_id", "cluster_key", "label", "status", "production_share", "cases")
    )
    plan = {
        "as_of": score["as_of"],
        "taxonomy_id": score["taxonomy_id"],
        "trigger": trigger,
        "reason": score["verdict"],
        "budget": budget,
        "targets": orjson.dumps(targets.to_dicts()).decode(),
        "jsd_before": score["jsd_adjusted"],
    }
    digest = hashlib.sha256(orjson.dumps(plan, default=str)).hexdigest()[:10]
    if known := one_row(con, "SELECT * FROM refresh_plans WHERE ends_with(plan_id, ?)", [digest]):
        return dict(known)
    plan |= {"plan_id": f"{created_at:%Y%m%dT%H%M%S}-{digest}", "created_at": created_at}
    insert(con, "refresh_plans", pl.DataFrame([plan]))
    return plan


def record_after(
    con: duckdb.DuckDBPyConnection, as_of: datetime, jsd_adjusted: float | None
) -> None:
    """Write `jsd_after` of every plan that is done and whose cases all count in this score.

    The first such score is kept; scoring that week again replaces it.

    Args:
        con: a writing connection.
        as_of: the score's instant.
        jsd_adjusted: its headline.
    """
    con.execute(
        """
        UPDATE refresh_plans AS p SET jsd_after = $2, after_as_of = $1
        WHERE p.n_kept IS NOT NULL AND p.as_of <= $1 AND coalesce(p.after_as_of, $1) = $1
          AND NOT EXISTS (
            SELECT 1 FROM annotation_queue q LEFT JOIN eval_cases c USING (case_id)
            WHERE q.plan_id = p.plan_id AND q.status = 'kept'
              AND (c.case_id IS NULL OR c.effective_at > $1))
        """,
        [as_of, jsd_adjusted],
    )
