"""Tasks for people out of drawn queries: what is shown, in which queue, how urgent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from evalcov_pipeline.core.candidates import Candidates
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.candidates import conversations
from evalcov_pipeline.storage.texts import redactor

DEFAULT_ROUTE = "default"


def named(key: str) -> tuple[str, str, str]:
    """Kind, name and value of a key of `floors` or `routes`."""
    kind, _, name = key.partition(":")
    if kind == "segment":
        segment, _, value = name.partition("=")
        return kind, segment, value
    return kind, kind, name


def candidate_rows(
    plan_id: str, picks: pl.DataFrame, candidates: Candidates, facts: pl.DataFrame
) -> pl.DataFrame:
    """Rows of `refresh_candidates`, with started_at, category, segment and signal beside them."""
    told = candidates.rows.select(
        "text_hash", "text", "gap_score", "steady_weight", "source", "session_id", "trace_id",
        "turn_index", "started_at", "category", "segment", "signal",
    )  # fmt: skip
    rows = picks.select("text_hash", "cluster_id", "pool", "inclusion_probability", "reason")
    return (
        rows.with_columns(
            pl.col("cluster_id").cast(pl.Int32),
            plan_id=pl.lit(plan_id),
            rank=pl.int_range(1, pl.len() + 1),
            status=pl.lit("open"),
            task_id=pl.col("text_hash").map_elements(
                lambda text: _task_id(plan_id, text),
                pl.String,
            ),
        )
        .join(told.drop("text"), on="text_hash", how="left", maintain_order="left")
        .join(facts.select("cluster_id", "cluster_key"), on="cluster_id", how="left")
        .sort("rank")
    )


def task_rows(
    rows: pl.DataFrame, facts: pl.DataFrame, settings: Settings, created_at: datetime
) -> pl.DataFrame:
    """Rows of `annotation_queue`: redacted; visible failures first, then in order of the draw."""
    said = conversations(settings.lake, rows, redactor(settings.redaction))
    whole = settings.refresh.context == "session"
    first = pl.int_range(pl.len(), 0, -1) / pl.len()
    return (
        rows.join(said, on=["source", "trace_id", "started_at"], how="inner", maintain_order="left")
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
            "category", "reason", "source", "trace_id", "turn_index", "status", "route",
            "priority", "answer",
            text="query",
            context="context" if whole else pl.lit(None, pl.String),
            purpose=pl.lit("new_case"),
            designed=pl.col("pool") != "random",
            raters_wanted=pl.lit(settings.refresh.raters),
            created_at=pl.lit(created_at, pl.Datetime("us")),
        )
    )  # fmt: skip


def _task_id(plan_id: str, text_hash: str) -> str:
    """A name that no spreadsheet takes for a number, as it would 12 digits or 1234567e8901."""
    digest = hashlib.sha256(f"{plan_id}\n{text_hash}".encode()).hexdigest()
    return f"q{digest[:12]}"


def _route(row: Mapping[str, Any], routes: Mapping[str, str]) -> str:
    """Queue of a task: by its cluster, else a segment, else its category, else the default."""
    segment = orjson.loads(row["segment"]) if row["segment"] else {}
    for wanted in ("cluster", "segment", "category"):
        for key, route in routes.items():
            kind, name, value = named(key)
            own = {"cluster": row["cluster_key"], "category": row["category"]}
            found = segment.get(name) if kind == "segment" else own[kind]
            if kind == wanted and found == value:
                return route
    return DEFAULT_ROUTE
