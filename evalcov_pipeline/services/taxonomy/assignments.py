"""Projects texts, production and eval alike, onto a frozen taxonomy (`cluster_assignments`)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl

from evalcov_pipeline.core.taxonomy.taxonomy import assign
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.traffic.texts import week_texts
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import frame, insert


def assign_week(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    taxonomy_id: str,
    cache: VectorCache,
    as_of: datetime,
) -> int:
    """Assign a week's texts that have no assignment under this taxonomy yet; how many there were.

    A text's assignment depends on nothing but the taxonomy and the text, so what is there stays.

    Raises:
        BadInput: the taxonomy belongs to another embedding model.
    """
    taxonomy = taxonomies.load(folder, taxonomy_id)
    if taxonomy.embedding_fingerprint != cache.fingerprint:
        raise BadInput(
            what=f"taxonomy {taxonomy_id} was fitted with another embedding model",
            where="setting embedding.model",
            what_to_do="set the model back, or cluster anew with this one: `evalcov run monthly`",
        )
    known = frame(
        con, "SELECT text_hash FROM cluster_assignments WHERE taxonomy_id = ?", [taxonomy_id]
    )
    new = sorted(set(week_texts(con, as_of)["text_hash"]) - set(known["text_hash"]))
    if not new:
        return 0
    assigned = assign(
        taxonomy,
        cache.get(new),
        new,
        embedding_fingerprint=cache.fingerprint,
    )
    return insert(
        con,
        "cluster_assignments",
        pl.DataFrame(
            {
                "taxonomy_id": taxonomy_id,
                "text_hash": new,
                "cluster_id": assigned.cluster_id,
                "similarity": assigned.similarity,
            }
        ),
        new_only=True,
    )


def keys_of_texts(con: duckdb.DuckDBPyConnection, taxonomy_id: str) -> pl.DataFrame:
    """text_hash, cluster_key and label of all texts; 'novel' and None outside every cluster."""
    return frame(
        con,
        "SELECT text_hash, coalesce(cluster_key, 'novel') AS cluster_key, label"
        " FROM cluster_assignments LEFT JOIN clusters USING (taxonomy_id, cluster_id)"
        " WHERE taxonomy_id = ?",
        [taxonomy_id],
    )
