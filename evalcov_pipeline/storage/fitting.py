"""Fits a taxonomy to a week's window: vectors in, frozen clusters with names and lineage out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import orjson
import polars as pl

from evalcov_pipeline.core.discovery import Discovery, discover
from evalcov_pipeline.core.lineage import Lineage, match, mint_keys
from evalcov_pipeline.core.naming import name_clusters
from evalcov_pipeline.core.taxonomy import assign, freeze
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage import taxonomies
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import Columns, Warehouse, frame, replace_slice

_LINEAGE_SCHEMA: Columns = {
    "from_cluster": pl.Int32,
    "to_cluster": pl.Int32,
    "relation": pl.String,
    "overlap": pl.Float64,
}


@dataclass(frozen=True)
class Fit:
    """A taxonomy that was fitted now, or found fitted from the same inputs.

    Attributes:
        taxonomy_id: its name.
        discovery: how the clusters were found; None where the fit was found.
        lineage: how they continue the previous taxonomy; None for the first, or where found.
    """

    taxonomy_id: str
    discovery: Discovery | None
    lineage: Lineage | None


def training_texts(
    con: duckdb.DuckDBPyConnection, as_of: datetime, most: int, seed: int
) -> pl.DataFrame:
    """Distinct texts of a week's sample with their steady weight.

    Of more than `most` texts, a seeded draw with chances proportional to weight is taken, in which
    all weigh the same.

    Returns:
        text_hash, text, weight; ordered by text_hash.
    """
    texts = frame(
        con,
        "SELECT text_hash, any_value(text) AS text, sum(steady_weight) AS weight"
        " FROM trace_sample JOIN texts USING (text_hash) WHERE as_of = ?"
        " GROUP BY text_hash ORDER BY text_hash",
        [as_of],
    )
    if len(texts) <= most:
        return texts
    chance = texts["weight"].to_numpy() / texts["weight"].sum()
    drawn = np.random.default_rng(seed).choice(len(texts), most, replace=False, p=chance)
    return texts[np.sort(drawn)].with_columns(weight=pl.lit(texts["weight"].sum() / most))


def fit_taxonomy(
    warehouse: Warehouse,
    settings: Settings,
    cache: VectorCache,
    as_of: datetime,
    clock: datetime,
    progress: Callable[[str], None],
) -> Fit:
    """Cluster the window that ends at `as_of`, freeze, name, match to the predecessor and record.

    A fit of the same texts with the same settings is found and kept, so running twice is running
    once; it becomes the newest of its window again. The files are written before the rows that name
    them, and the warehouse is free while the clusters are searched for.

    Args:
        warehouse: where samples are read and taxonomies recorded.
        settings: the `taxonomy` section and the folder of taxonomies.
        cache: vectors of the window's texts.
        as_of: end of the training window; the taxonomy's `fitted_at`.
        clock: wall clock, UTC.
        progress: told what is being done.
    """
    rules = settings.taxonomy
    with warehouse.reader() as con:
        texts = training_texts(con, as_of, rules.max_texts, rules.seed)
        previous = taxonomies.predecessor(con, as_of)
        known = set(con.execute("SELECT taxonomy_id FROM taxonomies").fetchall())
        previous_keys = con.execute(
            "SELECT cluster_key FROM clusters WHERE taxonomy_id = ? ORDER BY cluster_id", [previous]
        ).fetchall()
    name = taxonomies.taxonomy_id(
        as_of,
        texts=texts["text_hash"].to_list(),
        weights=texts["weight"].round(12).to_list(),
        rules=rules.model_dump(),
        fingerprint=cache.fingerprint,
        previous=previous,
    )
    if (name,) in known and taxonomies.is_intact(settings.taxonomies, name):
        with warehouse.writer() as con:
            con.execute(
                "UPDATE taxonomies SET created_at = ? WHERE taxonomy_id = ?",
                [taxonomies.creation(con, clock), name],
            )
        progress(f"taxonomy {name} was fitted from the same texts before: kept")
        return Fit(name, None, None)

    _keep_compiled_code()
    hashes = texts["text_hash"].to_list()
    weights = texts["weight"].to_numpy()
    vectors = cache.get(hashes)
    discovery = discover(
        vectors,
        weights,
        method=rules.method,
        min_clusters=rules.min_clusters,
        max_clusters=rules.max_clusters,
        seed=rules.seed,
        progress=progress,
    )
    taxonomy = freeze(
        discovery.labels,
        vectors,
        hashes,
        discovery.coordinates,
        embedding_fingerprint=cache.fingerprint,
        seed=rules.seed,
    )
    ids = assign(taxonomy, vectors, hashes, embedding_fingerprint=cache.fingerprint).cluster_id
    names = name_clusters(texts["text"].to_list(), ids, weights, vectors, taxonomy.n_clusters)
    minted, lineage = mint_keys(taxonomy), None
    before = taxonomies.load(settings.taxonomies, previous) if previous else None
    if before and before.embedding_fingerprint == cache.fingerprint:
        earlier = assign(before, vectors, hashes, embedding_fingerprint=cache.fingerprint)
        lineage = match(earlier.cluster_id, ids, weights, [k for (k,) in previous_keys], minted)

    row = pl.DataFrame(
        {
            "taxonomy_id": name,
            "fitted_at": as_of,
            "method": discovery.method,
            "parameters": orjson.dumps(_parameters(settings, discovery)).decode(),
            "n_texts": len(texts),
            "n_clusters": taxonomy.n_clusters,
            "unclustered_share": discovery.unclustered_share,
            "novel_share": float(weights[ids < 0].sum() / weights.sum()),
            "stability": discovery.stability,
            "embedding_fingerprint": cache.fingerprint,
            "previous_taxonomy_id": previous,
        }
    )
    clusters = pl.DataFrame(
        {
            "taxonomy_id": name,
            "cluster_id": [n.cluster_id for n in names],
            "cluster_key": lineage.cluster_keys if lineage else minted,
            "label": [n.label for n in names],
            "keywords": [list(n.keywords) for n in names],
            "exemplars": [list(n.exemplars) for n in names],
            "size": taxonomy.sizes,
            "radius": taxonomy.radius,
        },
        schema_overrides={"keywords": pl.List(pl.String), "exemplars": pl.List(pl.String)},
    )
    links = pl.DataFrame(
        [vars(link) for link in lineage.rows] if lineage else [], schema=_LINEAGE_SCHEMA
    ).with_columns(from_taxonomy=pl.lit(previous, pl.String), to_taxonomy=pl.lit(name, pl.String))
    taxonomies.save(settings.taxonomies, name, taxonomy)
    with warehouse.writer() as con:
        row = row.with_columns(created_at=pl.lit(taxonomies.creation(con, clock)))
        replace_slice(con, "taxonomies", row, taxonomy_id=name)
        replace_slice(con, "clusters", clusters, taxonomy_id=name)
        replace_slice(con, "taxonomy_lineage", links, to_taxonomy=name)
    return Fit(name, discovery, lineage)


def _keep_compiled_code() -> None:
    """Let numba keep what UMAP compiles: half a minute at the first fit, seconds at later ones."""
    if os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(sys.prefix) / "numba_cache"))


def _parameters(settings: Settings, discovery: Discovery) -> dict[str, object]:
    return {
        **settings.taxonomy.model_dump(),
        "chosen": {
            "selection": discovery.chosen.selection,
            "parameter": discovery.chosen.parameter,
            "validity": discovery.chosen.validity,
        },
        "notes": discovery.notes,
    }
