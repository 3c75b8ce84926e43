"""A refresh: which production queries people are asked about, planned, drawn and queued."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import orjson
import polars as pl

from evalcov_pipeline.core.candidates import Candidates, find_candidates
from evalcov_pipeline.core.coverage import NOVEL
from evalcov_pipeline.core.refresh import (
    RefreshInputs,
    RefreshPlan,
    RefreshRules,
    cases_to_reach,
    plan_refresh,
)
from evalcov_pipeline.core.scoring import session_weights
from evalcov_pipeline.core.selection import DrawRules, Floor, draw_cases
from evalcov_pipeline.core.shares import ProductionShares, production_shares
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import RefreshSettings, Settings
from evalcov_pipeline.storage.annotation import WAITING, enqueue, supersede
from evalcov_pipeline.storage.candidates import offered_texts
from evalcov_pipeline.storage.coverage import assigned_sample
from evalcov_pipeline.storage.tasks import candidate_rows, named, task_rows
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import Warehouse, frame, insert, one_row

_PRIOR_LABELS = 20
"""Labels that the expected keep rate of the settings counts for beside those that were given."""


@dataclass(frozen=True)
class Refresh:
    """A plan as it was recorded.

    Attributes:
        plan: the row of `refresh_plans`.
        candidates: its rows of `refresh_candidates`, in order of the draw.
        is_new: False where a plan that waits for labels was left alone.
        waiting: its tasks that wait for people.
    """

    plan: Mapping[str, Any]
    candidates: pl.DataFrame
    is_new: bool
    waiting: int


def refresh(
    warehouse: Warehouse,
    settings: Settings,
    cache: VectorCache,
    *,
    trigger: str,
    created_at: datetime,
    budget: int | None = None,
    target: float | None = None,
    as_of: datetime | None = None,
    replace: bool = False,
) -> Refresh:
    """Plan where new cases go, draw production queries for them, and queue these for labelling.

    While the tasks of an earlier plan wait, nothing new is planned: asking for more of the same
    traffic would ask twice.

    Args:
        warehouse: scores, samples and suite; the plan is written in one transaction.
        settings: policies.
        cache: vectors of the texts.
        trigger: coverage_degraded, schedule or manual.
        created_at: wall clock, naive UTC.
        budget: cases asked for; `refresh.budget` of the settings by default.
        target: `jsd_adjusted` to reach, instead of a budget.
        as_of: score that the plan answers; the newest by default.
        replace: close the waiting tasks of earlier plans, and plan anew.

    Returns:
        The new plan, or the one that waits.

    Raises:
        BadInput: there is no such score, nothing is sampled under it, or the target cannot be
            reached.
    """
    with warehouse.reader() as con:
        if (waiting := waiting_plan(con)) and not replace:
            return _recorded(con, waiting, is_new=False)
        score = _score(con, as_of)
        inputs, candidates = _inputs(con, settings, cache, score)
        keep_rate = _keep_rate(con, settings.refresh)
        earlier = int(con.execute("SELECT count(*) FROM refresh_plans").fetchall()[0][0])
        facts = _cluster_facts(con, score)
    rules = _rules(settings.refresh, keep_rate)
    seed = [settings.refresh.seed, score["as_of"].toordinal(), earlier]
    if target is not None:
        budget = _budget_for(target, inputs, rules, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)  # the random numbers that the target was reached with
    plan = plan_refresh(inputs, budget or settings.refresh.budget, rules, rng)
    draw = draw_cases(plan, candidates, _draw_rules(settings.refresh), rng)
    reasons = list(dict.fromkeys((*plan.reasons, *draw.reasons)))
    row = {
        "as_of": score["as_of"],
        "taxonomy_id": score["taxonomy_id"],
        "trigger": trigger,
        "reason": score["verdict"],
        "budget": plan.budget,
        "target": target,
        "n_candidates": draw.picks.height,
        "keep_rate": keep_rate,
        "targets": _json(_targets(plan, facts)),
        "curve": _json(plan.curve.to_dicts()),
        "note": " ".join(reasons) or None,
        "jsd_before": score["jsd_adjusted"],
        "jsd_projected": plan.jsd_projected,
    }
    digest = hashlib.sha256(orjson.dumps([row, draw.picks["text_hash"].to_list()], default=str))
    plan_id = f"{created_at:%Y%m%dT%H%M%S}-{digest.hexdigest()[:8]}"
    row |= {"plan_id": plan_id, "created_at": created_at}
    rows = candidate_rows(plan_id, draw.picks, candidates, facts)
    tasks = task_rows(rows, facts, settings, created_at)
    with warehouse.writer() as con:
        if waiting := waiting_plan(con):
            if not replace:
                return _recorded(con, waiting, is_new=False)
            plans = frame(con, "SELECT plan_id FROM refresh_plans")["plan_id"].to_list()
            supersede(con, plans, created_at)
        insert(con, "refresh_plans", pl.DataFrame([row], infer_schema_length=None))
        insert(con, "refresh_candidates", rows.drop("started_at", "category", "segment", "signal"))
        enqueue(con, tasks)
        return _recorded(con, plan_id, is_new=True)


def waiting_plan(con: duckdb.DuckDBPyConnection) -> str | None:
    """The newest plan with tasks that wait for people, or None."""
    row = one_row(
        con,
        "SELECT max(plan_id) AS plan_id FROM annotation_queue"
        " WHERE plan_id IS NOT NULL AND list_contains($1, status)",
        [list(WAITING)],
    )
    return row["plan_id"] if row else None


def _recorded(con: duckdb.DuckDBPyConnection, plan_id: str, *, is_new: bool) -> Refresh:
    plan = one_row(con, "SELECT * FROM refresh_plans WHERE plan_id = ?", [plan_id])
    assert plan is not None
    rows = frame(con, "SELECT * FROM refresh_candidates WHERE plan_id = ? ORDER BY rank", [plan_id])
    return Refresh(plan, rows, is_new, rows.filter(pl.col("status").is_in(WAITING)).height)


def _score(con: duckdb.DuckDBPyConnection, as_of: datetime | None) -> Mapping[str, Any]:
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
    return score


def _inputs(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    score: Mapping[str, Any],
) -> tuple[RefreshInputs, Candidates]:
    """Coverage, production shares and candidate texts under a score's taxonomy."""
    as_of, taxonomy_id = score["as_of"], score["taxonomy_id"]
    rng = np.random.default_rng([settings.refresh.seed, as_of.toordinal()])
    texts = offered_texts(con, settings.lake, as_of, taxonomy_id)
    if texts.is_empty():
        raise BadInput(
            what="no sampled query is left to draw from",
            where=f"score of {as_of:%Y-%m-%d}",
            what_to_do="import traces, then `evalcov run weekly`",
        )
    cases = frame(
        con,
        "SELECT text_hash, designed, category, cluster_id FROM eval_cases"
        " LEFT JOIN (SELECT * FROM cluster_assignments WHERE taxonomy_id = ?) USING (text_hash)"
        " WHERE status = 'active' AND text_hash IS NOT NULL ORDER BY case_id",
        [taxonomy_id],
    )
    texts = texts.join(_categories(cases), on="cluster_id", how="left", maintain_order="left")
    known = cases.filter(pl.col("cluster_id").is_not_null())
    candidates = find_candidates(
        _with_floor_columns(texts, settings.refresh).rename({"weight": "steady_weight"}),
        cache.get(texts["text_hash"].to_list()),
        cache.get(known["text_hash"].to_list()),
        rng,
    )
    clusters = frame(
        con,
        "SELECT cluster_id, cluster_key, label, status, stale FROM cluster_coverage"
        " WHERE as_of = ? AND taxonomy_id = ? ORDER BY cluster_id = -1, cluster_id",
        [as_of, taxonomy_id],
    )
    counts = known.group_by("cluster_id").agg(eval_cases=pl.len(), designed=pl.sum("designed"))
    clusters = (
        clusters.join(counts, on="cluster_id", how="left", maintain_order="left")
        .join(candidates.offered(), on="cluster_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("eval_cases", "designed", "texts").fill_null(0).cast(pl.Int64),
            pl.col("weight").fill_null(0.0),
        )
    )
    production = _production(con, settings, as_of, taxonomy_id, clusters["cluster_id"].to_list())
    return RefreshInputs(clusters, production), candidates


def _production(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    as_of: datetime,
    taxonomy_id: str,
    cluster_ids: Sequence[int],
) -> ProductionShares:
    column = {cluster: index for index, cluster in enumerate(cluster_ids)}
    steady, strata = session_weights(assigned_sample(con, as_of, taxonomy_id), column)
    rng = np.random.default_rng([settings.coverage.seed, as_of.toordinal()])
    return production_shares(steady, strata, rng, settings.coverage.resamples)


def _categories(cases: pl.DataFrame) -> pl.DataFrame:
    """cluster_id and the category that most cases of the cluster have."""
    named = cases.drop_nulls(["cluster_id", "category"])
    return (
        named.group_by("cluster_id", "category")
        .len()
        .sort("cluster_id", "len", "category", descending=[False, True, False])
        .group_by("cluster_id", maintain_order=True)
        .agg(pl.first("category"))
        .filter(pl.col("cluster_id") != NOVEL)
    )


def _with_floor_columns(texts: pl.DataFrame, rules: RefreshSettings) -> pl.DataFrame:
    """Add a column per segment that a floor names."""
    names = {named(key)[1] for key in rules.floors if key.startswith("segment:")}
    return texts.with_columns(
        pl.col("segment").str.json_path_match(f"$['{name}']").alias(f"segment:{name}")
        for name in sorted(names)
    )


def _rules(settings: RefreshSettings, keep_rate: float) -> RefreshRules:
    floors = {named(key): cases for key, cases in settings.floors.items()}
    return RefreshRules(
        random_share=settings.random_share,
        keep_rate=keep_rate,
        cluster_floors={v: cases for (kind, _, v), cases in floors.items() if kind == "cluster"},
    )


def _draw_rules(settings: RefreshSettings) -> DrawRules:
    floors = []
    for key, cases in settings.floors.items():
        kind, name, value = named(key)
        if kind != "cluster":
            floors.append(Floor(name if kind == "category" else f"segment:{name}", value, cases))
    return DrawRules(
        floors=tuple(floors),
        per_session=settings.per_session,
        per_user=settings.per_user,
        spare_share=0.0,
    )


def _keep_rate(con: duckdb.DuckDBPyConnection, settings: RefreshSettings) -> float:
    """Share of candidates that people kept so far, drawn toward the rate of the settings."""
    kept, decided = con.execute(
        "SELECT count(*) FILTER (status = 'kept'), count(*) FROM annotation_queue"
        " WHERE purpose = 'new_case' AND status IN ('kept', 'rejected')"
    ).fetchall()[0]
    return float((kept + _PRIOR_LABELS * settings.keep_rate) / (decided + _PRIOR_LABELS))


def _budget_for(
    target: float, inputs: RefreshInputs, rules: RefreshRules, rng: np.random.Generator
) -> int:
    """Cases that reach a target.

    Raises:
        BadInput: the suite is there already, or no number of cases would do.
    """
    found = cases_to_reach(inputs, target, rules, rng)
    if found.cases is None:
        raise BadInput(
            what=str(found.reason),
            where=f"--target {target}",
            what_to_do="ask for a higher target, or for a number of cases with --budget",
        )
    if found.cases == 0:
        raise BadInput(
            what=f"the suite is there already: {found.jsd_projected:.3f}",
            where=f"--target {target}",
            what_to_do="ask for a lower target, or for a number of cases with --budget",
        )
    return found.cases


def _cluster_facts(con: duckdb.DuckDBPyConnection, score: Mapping[str, Any]) -> pl.DataFrame:
    """cluster_id, cluster_key, label, status, production_share of a score's clusters."""
    return frame(
        con,
        "SELECT cluster_id, cluster_key, label, status, production_share FROM cluster_coverage"
        " WHERE as_of = ? AND taxonomy_id = ? ORDER BY cluster_id",
        [score["as_of"], score["taxonomy_id"]],
    )


def _targets(plan: RefreshPlan, facts: pl.DataFrame) -> list[dict[str, Any]]:
    """Where the cases go: one entry per unit with cases, and one for the random share."""
    names = {row["cluster_id"]: row for row in facts.iter_rows(named=True)}
    found = []
    for unit in plan.units.filter(pl.col("cases") > 0).iter_rows(named=True):
        first = names[unit["cluster_ids"][0]]
        pooled = unit["pool"] == "edge"
        found.append(
            {
                "cluster_id": None if pooled else first["cluster_id"],
                "cluster_key": None if pooled else first["cluster_key"],
                "label": f"{len(unit['cluster_ids'])} small clusters" if pooled else first["label"],
                "status": "edge" if pooled else first["status"],
                "pool": unit["pool"],
                "production_share": unit["production_share"],
                "cases": unit["cases"],
            }
        )
    if plan.n_random:
        found.append(
            {
                "cluster_id": None, "cluster_key": None, "label": "at random from all traffic",
                "status": "random", "pool": "random", "production_share": None,
                "cases": plan.n_random,
            }
        )  # fmt: skip
    return found


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
