"""What a refresh plans queries from: coverage of the clusters, production, and texts on offer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.coverage.score import QueryScore
from evalcov_pipeline.core.coverage.week import session_weights
from evalcov_pipeline.core.refresh.candidates import Candidates, find_candidates
from evalcov_pipeline.core.refresh.plan import Placement, RefreshInputs
from evalcov_pipeline.core.statistics.shares import ProductionShares, production_shares
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.coverage.week import assigned_sample
from evalcov_pipeline.services.refresh.candidates import offered_texts
from evalcov_pipeline.services.refresh.tasks import named
from evalcov_pipeline.settings import RefreshSettings, Settings
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import frame


def query_inputs(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    score: QueryScore,
    turns: pl.DataFrame,
    coming: pl.DataFrame,
) -> tuple[RefreshInputs, Candidates]:
    """Coverage, production shares and candidate texts under a score's taxonomy.

    Args:
        con: a connection.
        settings: policies.
        cache: vectors of the texts.
        score: the score that is answered.
        turns: from `asked_turns`, with `category`.
        coming: text_hash and cluster_id of queries that people are asked about besides: no text
            like one of them is offered.

    Raises:
        BadInput: nothing is sampled.
    """
    as_of, taxonomy_id = score.as_of, score.taxonomy_id
    rng = np.random.default_rng([settings.refresh.seed, as_of.toordinal()])
    texts = offered_texts(turns)
    if texts.is_empty():
        raise BadInput(
            what="no sampled query is left to draw from",
            where=f"score of {as_of:%Y-%m-%d}",
            what_to_do="import traces, then `evalcov run weekly`",
        )
    cases = _cases(con, taxonomy_id)
    known = cases.filter(pl.col("cluster_id").is_not_null())
    candidates = find_candidates(
        _with_floor_columns(texts, settings.refresh),
        cache.get(texts["text_hash"].to_list()),
        cache.get([*known["text_hash"], *coming["text_hash"]]),
        rng,
    )
    clusters = frame(
        con,
        "SELECT cluster_id, cluster_key, label, status, stale FROM cluster_coverage"
        " WHERE as_of = ? AND taxonomy_id = ? ORDER BY cluster_id = -1, cluster_id",
        [as_of, taxonomy_id],
    )
    counts = known.group_by("cluster_id").agg(eval_cases=pl.len(), designed=pl.sum("designed"))
    more = coming.group_by("cluster_id").agg(coming=pl.len())
    clusters = (
        clusters.join(counts, on="cluster_id", how="left", maintain_order="left")
        .join(candidates.offered(), on="cluster_id", how="left", maintain_order="left")
        .join(more, on="cluster_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("eval_cases", "designed", "texts", "coming").fill_null(0).cast(pl.Int64),
            pl.col("weight").fill_null(0.0),
        )
    )
    production = _production(con, settings, as_of, taxonomy_id, clusters["cluster_id"].to_list())
    expected = clusters["coming"].to_numpy() if len(coming) else None
    return RefreshInputs(clusters.drop("coming"), production, expected), candidates


def units_with_cases(
    placement: Placement, clusters: pl.DataFrame, unit: str
) -> list[dict[str, Any]]:
    """Where cases go, for `refresh_plans.targets`: each unit with cases, and the random share.

    Args:
        placement: of queries or of sessions.
        clusters: cluster_id, cluster_key, label and status of their clusters.
        unit: query or session.
    """
    names = {row["cluster_id"]: row for row in clusters.iter_rows(named=True)}
    placed = placement.units.filter(pl.col("cases") > 0)
    units = []
    for row in placed.sort(
        "cases", "production_share", descending=True, maintain_order=True
    ).iter_rows(named=True):
        first = names[row["cluster_ids"][0]]
        pooled = row["pool"] == "edge"
        units.append(
            {
                "unit": unit,
                "cluster_id": None if pooled else first["cluster_id"],
                "cluster_key": None if pooled else first["cluster_key"],
                "label": f"{len(row['cluster_ids'])} small clusters" if pooled else first["label"],
                "status": "edge" if pooled else first["status"],
                "pool": row["pool"],
                "production_share": row["production_share"],
                "cases": row["cases"],
            }
        )
    if placement.n_random:
        units.append(
            {
                "unit": unit, "cluster_id": None, "cluster_key": None,
                "label": "at random from all traffic", "status": "random", "pool": "random",
                "production_share": None, "cases": placement.n_random,
            }
        )  # fmt: skip
    return units


def with_categories(
    con: duckdb.DuckDBPyConnection, taxonomy_id: str, rows: pl.DataFrame
) -> pl.DataFrame:
    """Rows with the `category` that most cases of their cluster have."""
    categories = _categories(_cases(con, taxonomy_id))
    return rows.join(categories, on="cluster_id", how="left", maintain_order="left")


def _cases(con: duckdb.DuckDBPyConnection, taxonomy_id: str) -> pl.DataFrame:
    """text_hash, designed, category and cluster_id of the active cases."""
    return frame(
        con,
        "SELECT text_hash, designed, category, cluster_id FROM eval_cases"
        " LEFT JOIN (SELECT * FROM cluster_assignments WHERE taxonomy_id = ?) USING (text_hash)"
        " WHERE status = 'active' AND text_hash IS NOT NULL ORDER BY case_id",
        [taxonomy_id],
    )


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
