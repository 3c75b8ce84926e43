"""Fits a taxonomy to a week's window: vectors in, frozen clusters with names and lineage out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.sessions.space import SessionSpace
from evalcov_pipeline.core.statistics.shares import FloatArray
from evalcov_pipeline.core.taxonomy.discovery import Discovery, discover
from evalcov_pipeline.core.taxonomy.lineage import Lineage, match, mint_keys
from evalcov_pipeline.core.taxonomy.naming import ClusterName, name_clusters
from evalcov_pipeline.core.taxonomy.taxonomy import Taxonomy, assign, freeze
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.taxonomy.labelling import own_labeller
from evalcov_pipeline.services.taxonomy.taxonomies import QUERIES, Family
from evalcov_pipeline.settings import ClusterSettings, Settings
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


@dataclass(frozen=True)
class Units:
    """Distinct units to cluster: texts or sessions.

    Attributes:
        hashes: (n,) their names, ascending.
        weights: (n,) steady weights.
        vectors: (n, d) L2-normalised.
        space: fingerprint of the vectors.
        model: fingerprint of the embedding model.
        name: names the clusters (0..k-1) of the units.
        under: the units' clusters under an earlier taxonomy.
        columns: what else the taxonomy's row says.
        session_space: the space that session vectors lie in.
    """

    hashes: Sequence[str]
    weights: FloatArray
    vectors: NDArray[np.float32]
    space: str
    model: str
    name: Callable[[NDArray[np.int32], int], Sequence[ClusterName]]
    under: Callable[[str, Taxonomy], NDArray[np.int32]]
    columns: Mapping[str, Any] = field(default_factory=dict)
    session_space: SessionSpace | None = None


def thinned(units: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """At most `most` rows, drawn with chances proportional to `weight`; they then weigh the same.

    Args:
        units: with `weight`, in a fixed order, which is kept.
        most: rows wanted.
        seed: of the draw.
    """
    if len(units) <= most:
        return units
    chance = units["weight"].to_numpy() / units["weight"].sum()
    drawn = np.random.default_rng(seed).choice(len(units), most, replace=False, p=chance)
    return units[np.sort(drawn)].with_columns(weight=pl.lit(units["weight"].sum() / most))


def fit_taxonomy(
    warehouse: Warehouse,
    settings: Settings,
    cache: VectorCache,
    as_of: datetime,
    clock: datetime,
    progress: Callable[[str], None],
) -> Fit:
    """Cluster the texts of the window that ends at `as_of`, see `fit_units`.

    Args:
        warehouse: where samples are read and taxonomies recorded.
        settings: the `taxonomy` section and the folder of taxonomies.
        cache: vectors of the window's texts.
        as_of: end of the training window; the taxonomy's `fitted_at`.
        clock: wall clock, UTC.
        progress: told what is being done.

    Raises:
        BadInput: the labeller of the settings fails.
    """
    rules = settings.taxonomy
    labeller = own_labeller(rules.labeller)
    with warehouse.reader() as con:
        texts = frame(
            con,
            "SELECT text_hash, any_value(text) AS text, sum(steady_weight) AS weight"
            " FROM trace_sample JOIN texts USING (text_hash) WHERE as_of = ?"
            " GROUP BY text_hash ORDER BY text_hash",
            [as_of],
        )
    texts = thinned(texts, rules.max_texts, rules.seed)
    hashes, weights = texts["text_hash"].to_list(), texts["weight"].to_numpy()
    vectors = cache.get(hashes)

    def under(_: str, before: Taxonomy) -> NDArray[np.int32]:
        return assign(before, vectors, hashes, embedding_fingerprint=cache.fingerprint).cluster_id

    units = Units(
        hashes=hashes,
        weights=weights,
        vectors=vectors,
        space=cache.fingerprint,
        model=cache.fingerprint,
        name=lambda ids, k: name_clusters(
            texts["text"].to_list(), ids, weights, vectors, k, labeller=labeller
        ),
        under=under,
    )
    return fit_units(warehouse, settings, QUERIES, units, rules, as_of, clock, progress)


def fit_units(
    warehouse: Warehouse,
    settings: Settings,
    family: Family,
    units: Units,
    rules: ClusterSettings,
    as_of: datetime,
    clock: datetime,
    progress: Callable[[str], None],
) -> Fit:
    """Cluster units, freeze, name, match to the predecessor and record.

    A fit of the same units with the same settings is found and kept, so running twice is running
    once; it becomes the newest of its window again. The files are written before the rows that name
    them, and the warehouse is free while the clusters are searched for.

    Args:
        warehouse: where taxonomies are recorded.
        settings: the folder of taxonomies.
        family: tables of the taxonomy.
        units: what is clustered.
        rules: how.
        as_of: end of the training window; the taxonomy's `fitted_at`.
        clock: wall clock, UTC.
        progress: told what is being done.
    """
    with warehouse.reader() as con:
        previous = taxonomies.predecessor(con, as_of, family)
        known = set(con.execute(f"SELECT taxonomy_id FROM {family.taxonomies}").fetchall())
        previous_keys = con.execute(
            f"SELECT cluster_key FROM {family.clusters} WHERE taxonomy_id = ? ORDER BY cluster_id",
            [previous],
        ).fetchall()
        previous_model = con.execute(
            f"SELECT embedding_fingerprint FROM {family.taxonomies} WHERE taxonomy_id = ?",
            [previous],
        ).fetchall()
    name = taxonomies.taxonomy_id(
        as_of,
        texts=units.hashes,
        weights=units.weights.round(12).tolist(),
        rules=_stated(rules),
        fingerprint=units.space,
        previous=previous,
    )
    with_space = units.session_space is not None
    if (name,) in known and taxonomies.is_intact(settings.taxonomies, name, with_space=with_space):
        with warehouse.writer() as con:
            con.execute(
                f"UPDATE {family.taxonomies} SET created_at = ? WHERE taxonomy_id = ?",
                [taxonomies.creation(con, clock, family), name],
            )
        progress(f"taxonomy {name} was fitted from the same traffic before: kept")
        return Fit(name, None, None)

    _keep_compiled_code()
    discovery = discover(
        units.vectors,
        units.weights,
        method=rules.method,
        min_clusters=rules.min_clusters,
        max_clusters=rules.max_clusters,
        seed=rules.seed,
        progress=progress,
    )
    taxonomy = freeze(
        discovery.labels,
        units.vectors,
        units.hashes,
        discovery.coordinates,
        embedding_fingerprint=units.space,
        seed=rules.seed,
    )
    ids = assign(
        taxonomy, units.vectors, units.hashes, embedding_fingerprint=units.space
    ).cluster_id
    names = units.name(ids, taxonomy.n_clusters)
    minted, lineage = mint_keys(taxonomy), None
    if previous and previous_model == [(units.model,)]:
        earlier = units.under(previous, taxonomies.load(settings.taxonomies, previous))
        lineage = match(earlier, ids, units.weights, [k for (k,) in previous_keys], minted)

    fitted = _Fitted(name, as_of, previous, discovery, taxonomy, ids, names, lineage)
    taxonomies.save(settings.taxonomies, name, taxonomy, units.session_space)
    with warehouse.writer() as con:
        created_at = pl.lit(taxonomies.creation(con, clock, family))
        row = _taxonomy_row(fitted, units, rules).with_columns(created_at=created_at)
        replace_slice(con, family.taxonomies, row, taxonomy_id=name)
        clusters = _cluster_rows(fitted, lineage.cluster_keys if lineage else minted)
        replace_slice(con, family.clusters, clusters, taxonomy_id=name)
        replace_slice(con, family.lineage, _lineage_rows(fitted), to_taxonomy=name)
    return Fit(name, discovery, lineage)


@dataclass(frozen=True)
class _Fitted:
    """A new taxonomy: its name, its predecessor's, and everything that its rows say."""

    name: str
    as_of: datetime
    previous: str | None
    discovery: Discovery
    taxonomy: Taxonomy
    ids: NDArray[np.int32]
    names: Sequence[ClusterName]
    lineage: Lineage | None


def _taxonomy_row(fitted: _Fitted, units: Units, rules: ClusterSettings) -> pl.DataFrame:
    """The row of the taxonomy, without its creation."""
    return pl.DataFrame(
        {
            "taxonomy_id": fitted.name,
            "fitted_at": fitted.as_of,
            "method": fitted.discovery.method,
            "parameters": orjson.dumps(_parameters(rules, fitted.discovery)).decode(),
            "n_texts": len(units.hashes),
            "n_clusters": fitted.taxonomy.n_clusters,
            "unclustered_share": fitted.discovery.unclustered_share,
            "novel_share": float(units.weights[fitted.ids < 0].sum() / units.weights.sum()),
            "stability": fitted.discovery.stability,
            "embedding_fingerprint": units.model,
            "previous_taxonomy_id": fitted.previous,
            **units.columns,
        }
    )


def _cluster_rows(fitted: _Fitted, cluster_keys: Sequence[str]) -> pl.DataFrame:
    """The rows of its clusters."""
    return pl.DataFrame(
        {
            "taxonomy_id": fitted.name,
            "cluster_id": [n.cluster_id for n in fitted.names],
            "cluster_key": cluster_keys,
            "label": [n.label for n in fitted.names],
            "keywords": [list(n.keywords) for n in fitted.names],
            "exemplars": [list(n.exemplars) for n in fitted.names],
            "size": fitted.taxonomy.sizes,
            "radius": fitted.taxonomy.radius,
        },
        schema_overrides={"keywords": pl.List(pl.String), "exemplars": pl.List(pl.String)},
    )


def _lineage_rows(fitted: _Fitted) -> pl.DataFrame:
    """Which cluster continues which of the predecessor; none without one."""
    links = [vars(link) for link in fitted.lineage.rows] if fitted.lineage else []
    return pl.DataFrame(links, schema=_LINEAGE_SCHEMA).with_columns(
        from_taxonomy=pl.lit(fitted.previous, pl.String),
        to_taxonomy=pl.lit(fitted.name, pl.String),
    )


def _keep_compiled_code() -> None:
    """Let numba keep what UMAP compiles: half a minute at the first fit, seconds at later ones."""
    if os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(sys.prefix) / "numba_cache"))


def _stated(rules: ClusterSettings) -> dict[str, Any]:
    """The settings of a fit, without what is left unset, so that a new setting renames no fit."""
    return rules.model_dump(exclude_none=True)


def _parameters(rules: ClusterSettings, discovery: Discovery) -> dict[str, object]:
    return {
        **_stated(rules),
        "chosen": {
            "selection": discovery.chosen.selection,
            "parameter": discovery.chosen.parameter,
            "validity": discovery.chosen.validity,
        },
        "notes": discovery.notes,
    }
