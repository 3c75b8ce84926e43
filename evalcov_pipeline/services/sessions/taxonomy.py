"""Clusters of whole sessions: fitted, and assigned to a week's sessions and cases by one rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.sessions.naming import describe_clusters, typical_sessions
from evalcov_pipeline.core.sessions.space import fit_space, session_vectors
from evalcov_pipeline.core.statistics.shares import FloatArray
from evalcov_pipeline.core.taxonomy.naming import ClusterName, name_clusters
from evalcov_pipeline.core.taxonomy.taxonomy import Assignments, Taxonomy, assign
from evalcov_pipeline.services.sessions.features import WeekSessions
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.taxonomy.fitting import Fit, Units, fit_units, thinned
from evalcov_pipeline.services.taxonomy.taxonomies import SESSIONS
from evalcov_pipeline.settings import SessionSettings, Settings
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import Warehouse, frame, replace_slice

_SHOWN_QUERIES = 8
"""Queries of a typical session that are kept."""


def fit_session_taxonomy(
    warehouse: Warehouse,
    settings: Settings,
    cache: VectorCache,
    week: WeekSessions,
    as_of: datetime,
    clock: datetime,
    progress: Callable[[str], None],
) -> Fit:
    """Cluster the sessions of a week's window; as `fit_taxonomy` does texts.

    Args:
        warehouse: where taxonomies are recorded.
        settings: the `sessions` section and the folder of taxonomies.
        cache: vectors of the texts.
        week: the sessions.
        as_of: end of the training window.
        clock: wall clock, UTC.
        progress: told what is being done.
    """
    rules = settings.sessions
    distinct = (
        week.sessions.group_by("session_hash", maintain_order=True)
        .agg(pl.all().exclude("steady_weight").first(), weight=pl.sum("steady_weight"))
        .sort("session_hash")
    )
    distinct = thinned(distinct, rules.max_texts, rules.seed)
    hashes, weights = distinct["session_hash"].to_list(), distinct["weight"].to_numpy()
    queries = week.queries(distinct)
    note = outcomes_left_out(week, rules)
    space = fit_space(
        distinct,
        queries,
        weights,
        with_outcome=note is None,
        text_fingerprint=cache.fingerprint,
        rng=np.random.default_rng(rules.seed),
    )
    vectors = session_vectors(space, distinct, queries)

    def under(name: str, before: Taxonomy) -> NDArray[np.int32]:
        earlier = taxonomies.load_space(settings.taxonomies, name)
        return assign(
            before,
            session_vectors(earlier, distinct, queries),
            hashes,
            embedding_fingerprint=before.embedding_fingerprint,
        ).cluster_id

    with warehouse.reader() as con:
        texts = dict(frame(con, "SELECT text_hash, text FROM texts").iter_rows())
    units = Units(
        hashes=hashes,
        weights=weights,
        vectors=vectors,
        space=space.fingerprint,
        model=cache.fingerprint,
        name=lambda ids, k: _names(distinct, texts, ids, weights, vectors, k),
        under=under,
        columns={"with_outcome": note is None, "note": note},
        session_space=space,
    )
    return fit_units(warehouse, settings, SESSIONS, units, rules, as_of, clock, progress)


def outcomes_left_out(week: WeekSessions, rules: SessionSettings) -> str | None:
    """Why outcomes do not enter the comparison; None where they do."""
    known = pl.col("outcome") != "unknown"
    of_traffic = week.sessions.select((known * pl.col("steady_weight")).sum()).item()
    several = week.cases.filter(pl.col("n_turns") > 1)
    of_cases = several.select(known.mean()).item()
    if of_traffic == 0:
        return "No session of production has an outcome: outcomes are not compared."
    if of_traffic < rules.outcomes_known:
        return f"Only {of_traffic:.0%} of sessions have an outcome: outcomes are not compared."
    if of_cases is None:
        return "No case has several turns, to say how they went: outcomes are not compared."
    if of_cases < rules.outcomes_known:
        some = f"Only {of_cases:.0%}" if of_cases else "None"
        return (
            f"{some} of the multi-turn cases say how their conversation went (field outcome):"
            " outcomes are not compared."
        )
    return None


def assign_sessions(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    week: WeekSessions,
    as_of: datetime,
    taxonomy_id: str,
) -> int:
    """Write the clusters of a week's sessions and cases under a session taxonomy; how many."""
    rows = pl.concat([week.sessions, week.cases], how="diagonal").unique(
        "session_hash", keep="first", maintain_order=True
    )
    found = clusters_of(settings, week, rows, taxonomy_id)
    assigned = rows.select(
        "session_hash",
        taxonomy_id=pl.lit(taxonomy_id),
        as_of=pl.lit(as_of, pl.Datetime("us")),
        cluster_id=pl.Series(found.cluster_id),
        similarity=pl.Series(found.similarity),
    )
    return replace_slice(con, "session_assignments", assigned, taxonomy_id=taxonomy_id, as_of=as_of)


def clusters_of(
    settings: Settings, week: WeekSessions, rows: pl.DataFrame, taxonomy_id: str
) -> Assignments:
    """Clusters of rows of a week's sessions or cases under a session taxonomy."""
    space = taxonomies.load_space(settings.taxonomies, taxonomy_id)
    return assign(
        taxonomies.load(settings.taxonomies, taxonomy_id),
        session_vectors(space, rows, week.queries(rows)),
        rows["session_hash"].to_list(),
        embedding_fingerprint=space.fingerprint,
    )


def _names(
    sessions: pl.DataFrame,
    texts: dict[str, str],
    ids: NDArray[np.int32],
    weights: FloatArray,
    vectors: NDArray[np.float32],
    n_clusters: int,
) -> Sequence[ClusterName]:
    """Clusters of sessions in words, with keywords of their queries and typical sessions."""
    descriptions = [
        [texts[name] for name in hashes if name in texts]
        for hashes in sessions["text_hashes"].to_list()
    ]
    named = name_clusters(
        ["\n".join(queries) for queries in descriptions], ids, weights, vectors, n_clusters
    )
    labels = describe_clusters(sessions, ids, weights, [n.keywords for n in named], n_clusters)
    typical = typical_sessions(
        sessions["session_hash"].to_list(), ids, weights, vectors, n_clusters, most=3
    )
    return [
        replace(
            name,
            label=label,
            exemplars=tuple(" / ".join(descriptions[row][:_SHOWN_QUERIES]) for row in rows),
        )
        for name, label, rows in zip(named, labels, typical, strict=True)
    ]
