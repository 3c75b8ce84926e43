"""A refresh: which production queries people are asked about, planned, drawn and queued."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import orjson
import polars as pl

from evalcov_pipeline.core.coverage.score import QueryScore
from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.core.refresh.plan import (
    RefreshInputs,
    RefreshPlan,
    RefreshRules,
    cases_to_reach,
    plan_refresh,
)
from evalcov_pipeline.core.refresh.queries import DrawRules, draw_cases
from evalcov_pipeline.core.statistics.quotas import Floor
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.coverage.scores import headline_score
from evalcov_pipeline.services.labels.queue import WAITING, enqueue, supersede
from evalcov_pipeline.services.refresh.candidates import asked_turns
from evalcov_pipeline.services.refresh.inputs import query_inputs, units_with_cases, with_categories
from evalcov_pipeline.services.refresh.sessions import (
    draw_whole_sessions,
    projected_session_jsd,
    sessions_of_week,
)
from evalcov_pipeline.services.refresh.tasks import (
    ONLY_TASKS,
    candidate_rows,
    cases_to_be,
    named,
    task_rows,
)
from evalcov_pipeline.services.traffic.conversations import conversations
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import RefreshSettings, Settings
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
        asked = _ask(con, settings, cache, _score(con, as_of), budget, target)
    digest = hashlib.sha256(
        orjson.dumps([asked.plan, asked.drawn["text_hash"].to_list()], default=str)
    )
    plan_id = f"{created_at:%Y%m%dT%H%M%S}-{digest.hexdigest()[:8]}"
    plan = asked.plan | {"plan_id": plan_id, "trigger": trigger, "created_at": created_at}
    rows = candidate_rows(plan_id, asked.drawn, asked.facts)
    tasks = task_rows(rows, asked.said, asked.facts, settings, created_at)
    with warehouse.writer() as con:
        if waiting := waiting_plan(con):
            if not replace:
                return _recorded(con, waiting, is_new=False)
            plans = frame(con, "SELECT plan_id FROM refresh_plans")["plan_id"].to_list()
            supersede(con, plans, created_at)
        insert(con, "refresh_plans", pl.DataFrame([plan], infer_schema_length=None))
        insert(con, "refresh_candidates", rows.drop(ONLY_TASKS))
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


def read_plan(con: duckdb.DuckDBPyConnection, plan_id: str) -> Mapping[str, Any]:
    """The row of `refresh_plans` of a plan that is there."""
    plan = one_row(con, "SELECT * FROM refresh_plans WHERE plan_id = ?", [plan_id])
    assert plan is not None
    return plan


def read_plans(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Rows of `refresh_plans`, the oldest first."""
    return frame(con, "SELECT * FROM refresh_plans ORDER BY plan_id")


def _recorded(con: duckdb.DuckDBPyConnection, plan_id: str, *, is_new: bool) -> Refresh:
    rows = frame(con, "SELECT * FROM refresh_candidates WHERE plan_id = ? ORDER BY rank", [plan_id])
    return Refresh(
        read_plan(con, plan_id), rows, is_new, rows.filter(pl.col("status").is_in(WAITING)).height
    )


@dataclass(frozen=True)
class _Asked:
    """What people will be asked about.

    Attributes:
        plan: row of `refresh_plans`, but for what names it.
        drawn: one row per case to be: whole sessions first, each in order of the draw.
        said: from `conversations`.
        facts: cluster_id, cluster_key, label, status and production_share of the clusters.
    """

    plan: dict[str, Any]
    drawn: pl.DataFrame
    said: pl.DataFrame
    facts: pl.DataFrame


def _ask(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    score: QueryScore,
    budget: int | None,
    target: float | None,
) -> _Asked:
    """Plan and draw: whole sessions first, then the queries, with these sessions counted."""
    taxonomy_id = score.taxonomy_id
    (earlier,) = con.execute("SELECT count(*) FROM refresh_plans").fetchall()[0]
    seed = [settings.refresh.seed, score.as_of.toordinal(), int(earlier)]
    keep_rate = _keep_rate(con, settings.refresh)
    rules = _rules(settings.refresh, keep_rate)
    turns = asked_turns(con, settings.lake, score.as_of, taxonomy_id)
    turns = with_categories(con, taxonomy_id, turns)
    budget = budget or settings.refresh.budget
    if target is not None:
        alone, _ = query_inputs(con, settings, cache, score, turns, turns.clear())
        budget = _budget_for(target, alone, rules, np.random.default_rng(seed))

    week = sessions_of_week(con, settings, cache, score, turns)
    rng = np.random.default_rng([*seed, 1])
    sessions = draw_whole_sessions(week, settings, budget, rules, turns, rng)
    inputs, candidates = query_inputs(con, settings, cache, score, turns, sessions.rows)
    n_sessions = sessions.rows.height
    n_queries = budget - n_sessions
    if target is not None and n_sessions:
        enough = cases_to_reach(inputs, target, rules, np.random.default_rng(seed))
        n_queries = enough.cases or n_queries
    rng = np.random.default_rng(seed)  # the random numbers that the target was reached with
    plan = plan_refresh(inputs, n_queries, rules, rng)
    draw = draw_cases(plan, candidates, _draw_rules(settings.refresh), rng, sessions.rows)

    queries = draw.picks.select(
        "text_hash", "pool", "inclusion_probability", "reason", unit=pl.lit("query")
    ).join(candidates.rows, on="text_hash", how="left", maintain_order="left")
    drawn = pl.concat([sessions.rows, queries], how="diagonal")
    shown = conversations(settings.lake, drawn, turns, redactor(settings.redaction))
    facts = _cluster_facts(con, score)
    targets = units_with_cases(plan, facts, "query")
    if week and sessions.placement:
        targets += units_with_cases(sessions.placement, week.inputs.clusters, "session")
    row = {
        "as_of": score.as_of,
        "taxonomy_id": taxonomy_id,
        "reason": score.verdict,
        "budget": n_queries + n_sessions,
        "target": target,
        "n_candidates": drawn.height,
        "n_sessions": n_sessions,
        "keep_rate": keep_rate,
        "targets": _json(targets),
        "curve": _json(_curve(plan, n_sessions)),
        "note": " ".join(dict.fromkeys((*sessions.notes, *plan.reasons, *draw.reasons))) or None,
        "jsd_before": score.jsd_adjusted,
        "jsd_projected": plan.jsd_projected,
    }
    if week:
        rng = np.random.default_rng([*seed, 2])
        written = cases_to_be(drawn, shown, settings)
        row["session_jsd_before"] = week.score.jsd_adjusted
        row["session_jsd_projected"] = projected_session_jsd(
            con, settings, cache, week, taxonomy_id, written, rules, rng
        )
    return _Asked(row, drawn, shown, facts)


def _score(con: duckdb.DuckDBPyConnection, as_of: datetime | None) -> QueryScore:
    score = headline_score(con, QueryScore, as_of)
    if score is None:
        raise BadInput(
            what="there is no coverage score to refresh from",
            where="coverage_scores",
            what_to_do="run `evalcov run weekly` first",
        )
    return score


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
        " WHERE purpose = ? AND status IN ('kept', 'rejected')",
        [Purpose.NEW_CASE.value],
    ).fetchall()[0]
    return float((kept + _PRIOR_LABELS * settings.keep_rate) / (decided + _PRIOR_LABELS))


def _budget_for(
    target: float, inputs: RefreshInputs, rules: RefreshRules, rng: np.random.Generator
) -> int:
    """Cases that reach a target.

    Raises:
        BadInput: the suite is there already, or no number of cases would do.
    """
    cases = cases_to_reach(inputs, target, rules, rng)
    if cases.cases is None:
        raise BadInput(
            what=str(cases.reason),
            where=f"--target {target}",
            what_to_do="ask for a higher target, or for a number of cases with --budget",
        )
    if cases.cases == 0:
        raise BadInput(
            what=f"the suite is there already: {cases.jsd_projected:.3f}",
            where=f"--target {target}",
            what_to_do="ask for a lower target, or for a number of cases with --budget",
        )
    return cases.cases


def _cluster_facts(con: duckdb.DuckDBPyConnection, score: QueryScore) -> pl.DataFrame:
    """cluster_id, cluster_key, label, status, production_share of a score's clusters."""
    return frame(
        con,
        "SELECT cluster_id, cluster_key, label, status, production_share FROM cluster_coverage"
        " WHERE as_of = ? AND taxonomy_id = ? ORDER BY cluster_id",
        [score.as_of, score.taxonomy_id],
    )


def _curve(plan: RefreshPlan, n_sessions: int) -> list[dict[str, Any]]:
    """Points of a plan's curve, its sessions counted among the cases."""
    curve = plan.curve.with_columns(pl.col("cases") + n_sessions).to_dicts()
    return [{"cases": 0, "jsd_projected": plan.jsd_before}] * (n_sessions > 0) + curve


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
