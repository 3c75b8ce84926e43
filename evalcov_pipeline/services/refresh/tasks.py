"""Tasks for people out of drawn queries: what is shown, in which queue, how urgent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.services.labels.tasks import build_tasks, conversation, task_id
from evalcov_pipeline.settings import Settings

DEFAULT_ROUTE = "default"


ONLY_TASKS = ("started_at", "category", "segment", "signal", "outcome")
"""What tasks need to know of candidates besides their rows."""


def named(key: str) -> tuple[str, str, str]:
    """Kind, name and value of a key of `floors` or `routes`."""
    kind, _, name = key.partition(":")
    if kind == "segment":
        segment, _, value = name.partition("=")
        return kind, segment, value
    return kind, kind, name


def candidate_rows(plan_id: str, drawn: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Rows of `refresh_candidates`, with the columns `ONLY_TASKS` beside them.

    Args:
        plan_id: plan.
        drawn: cases to be, in order of the draw: columns of `asked_turns` and category, unit, pool,
            inclusion_probability, reason, session_cluster_key and outcome.
        facts: cluster_id and cluster_key of the clusters.
    """
    return (
        drawn.select(
            "text_hash", "unit", "session_cluster_key", "pool", "inclusion_probability", "reason",
            "gap_score", "steady_weight", "source", "session_id", "trace_id", "turn_index",
            *ONLY_TASKS,
            cluster_id=pl.col("cluster_id").cast(pl.Int32),
            plan_id=pl.lit(plan_id),
            rank=pl.int_range(1, pl.len() + 1),
            status=pl.lit("open"),
            task_id=pl.col("text_hash").map_elements(
                lambda text: task_id(Purpose.NEW_CASE, plan_id, text), pl.String
            ),
        )
        .join(facts.select("cluster_id", "cluster_key"), on="cluster_id", how="left")
        .sort("rank")
    )  # fmt: skip


def cases_to_be(drawn: pl.DataFrame, shown_turns: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """What becomes of drawn rows where people keep them as they are, and production passed.

    Args:
        drawn: see `candidate_rows`.
        shown_turns: from `conversations`.
        settings: whether queries keep what was said before them.

    Returns:
        case_id, input, text_hashes, expected_tools and outcome, as in `eval_case_versions`.
    """
    shown = _with_conversations(drawn, shown_turns, settings)
    return shown.select(
        case_id="text_hash",
        input=pl.struct("context", "query").map_elements(
            lambda row: orjson.dumps(conversation(row["context"], row["query"])).decode(),
            pl.String,
        ),
        text_hashes=pl.when(pl.col("context").is_null())
        .then(pl.concat_list("text_hash"))
        .otherwise("text_hashes"),
        expected_tools="tools",
        outcome="outcome",
    )


def task_rows(
    rows: pl.DataFrame,
    shown_turns: pl.DataFrame,
    facts: pl.DataFrame,
    settings: Settings,
    created_at: datetime,
) -> pl.DataFrame:
    """Rows of `annotation_queue`: redacted; visible failures first, then in order of the draw."""
    first = pl.int_range(pl.len(), 0, -1) / pl.len()
    tasks = (
        _with_conversations(rows, shown_turns, settings)
        .join(
            facts.select("cluster_id", cluster_label="label"),
            on="cluster_id", how="left", maintain_order="left",
        )
        .with_columns(
            priority=first + pl.col("signal"),
            route=pl.struct("cluster_key", "segment", "category").map_elements(
                lambda row: _route(row, settings.refresh.routes), pl.String
            ),
        )
        .select(
            "task_id", "plan_id", "text_hash", "cluster_id", "cluster_key", "cluster_label",
            "category", "reason", "source", "trace_id", "turn_index", "route",
            "priority", "context", "answer", "tools", "outcome",
            text="query",
            selection=pl.lit("verdict_blind"),
            designed=pl.col("pool") != "random",
        )
    )  # fmt: skip
    return build_tasks(
        tasks, Purpose.NEW_CASE, raters_wanted=settings.refresh.raters, created_at=created_at
    )


def _with_conversations(
    rows: pl.DataFrame, shown_turns: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """Rows that the lake still has, with what was said; a query without it, if settings say so."""
    whole = (pl.col("unit") == "session") | (settings.refresh.context == "session")
    return rows.join(
        shown_turns, on=["source", "trace_id", "started_at"], how="inner", maintain_order="left"
    ).with_columns(context=pl.when(whole).then("context"))


def _route(row: Mapping[str, Any], routes: Mapping[str, str]) -> str:
    """Queue of a task: by its cluster, else a segment, else its category, else the default."""
    segment = orjson.loads(row["segment"]) if row["segment"] else {}
    for wanted in ("cluster", "segment", "category"):
        for key, route in routes.items():
            kind, name, value = named(key)
            own = {"cluster": row["cluster_key"], "category": row["category"]}
            actual = segment.get(name) if kind == "segment" else own[kind]
            if kind == wanted and actual == value:
                return route
    return DEFAULT_ROUTE
