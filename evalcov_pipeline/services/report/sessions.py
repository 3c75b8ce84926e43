"""Reads what the HTML report shows of whole sessions from the published tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.core.coverage.score import SessionScore
from evalcov_pipeline.core.sessions.sequences import SequenceRow
from evalcov_pipeline.services.coverage.scores import headline_score
from evalcov_pipeline.storage.warehouse import frame, one_row


@dataclass(frozen=True)
class ScoredSessions:
    """The headline score of one week's sessions and everything that is shown beside it.

    Attributes:
        score: of the week's sessions.
        taxonomy: the row of `session_taxonomies`; empty if it is gone.
        clusters: rows of `session_coverage` under that taxonomy, largest share first, with
            `exemplars` (list of typical sessions, null for what lies in no cluster).
        orders: rows of `sequence_scores` by kind, queries before tools.
        paths: rows of `sequence_coverage`, most travelled first.
        traits: rows of `session_traits`, those that most sessions have first.
        compounding: rows of `session_compounding`.
        knowledge: shares 0..1 of what was recorded, None where there is nothing to look at:
            `several_turns` (sessions of more than one turn), `outcomes` (sessions whose outcome is
            known), `tools` (sessions whose tool calls were recorded), `case_tools` (cases that name
            all of their tool calls).
    """

    score: SessionScore
    taxonomy: Mapping[str, Any]
    clusters: pl.DataFrame
    orders: Mapping[str, SequenceRow]
    paths: pl.DataFrame
    traits: pl.DataFrame
    compounding: pl.DataFrame
    knowledge: Mapping[str, float | None]

    @property
    def untested_paths(self) -> pl.DataFrame:
        """Paths that surely no case walks while every part of them is tested, as `paths`."""
        return self.paths.filter((pl.col("status") == "gap") & pl.col("minimal"))


def read_scored_sessions(con: duckdb.DuckDBPyConnection, as_of: datetime) -> ScoredSessions | None:
    """What is known of the sessions of the week that ends at `as_of`; None without their score."""
    score = headline_score(con, SessionScore, as_of)
    if score is None:
        return None
    taxonomy_id = score.taxonomy_id
    columns = ", ".join(field.name for field in fields(SequenceRow))
    orders = frame(
        con, f"SELECT {columns} FROM sequence_scores WHERE as_of = ? ORDER BY kind", [as_of]
    )
    return ScoredSessions(
        score=score,
        taxonomy=one_row(
            con, "SELECT * FROM session_taxonomies WHERE taxonomy_id = ?", [taxonomy_id]
        )
        or {},
        clusters=frame(
            con,
            "SELECT c.*, exemplars FROM session_coverage c"
            " LEFT JOIN session_clusters USING (taxonomy_id, cluster_id)"
            " WHERE as_of = ? AND taxonomy_id = ? ORDER BY production_share DESC, cluster_id",
            [as_of, taxonomy_id],
        ),
        orders={row["kind"]: SequenceRow(**row) for row in orders.iter_rows(named=True)},
        paths=frame(
            con,
            "SELECT * FROM sequence_coverage WHERE as_of = ?"
            " ORDER BY production_share DESC, length, kind, ngram",
            [as_of],
        ),
        traits=frame(
            con,
            "SELECT * FROM session_traits WHERE as_of = ? ORDER BY production_share DESC, trait",
            [as_of],
        ),
        compounding=frame(
            con, "SELECT * FROM session_compounding WHERE as_of = ? ORDER BY mean_turns", [as_of]
        ),
        knowledge=_knowledge(con, as_of),
    )


def _knowledge(con: duckdb.DuckDBPyConnection, as_of: datetime) -> dict[str, float | None]:
    return dict(
        one_row(
            con,
            """
            WITH sessions AS (
              SELECT n_turns, outcome, tools_known, steady_weight / sum(steady_weight) OVER () AS w
              FROM session_features WHERE as_of = $1
            )
            SELECT sum(w * (n_turns > 1)::INTEGER) AS several_turns,
                   sum(w * (outcome <> 'unknown')::INTEGER) AS outcomes,
                   sum(w * tools_known::INTEGER) AS tools,
                   (SELECT avg(tools_known::INTEGER) FROM case_features WHERE as_of = $1)
                     AS case_tools
            FROM sessions
            """,
            [as_of],
        )
        or {}
    )
