"""Reads what the HTML report shows from the published tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.core.coverage.score import QueryScore
from evalcov_pipeline.services.coverage.scores import headline_score
from evalcov_pipeline.services.evals.suite import active_at
from evalcov_pipeline.services.labels.queue import count_waiting
from evalcov_pipeline.services.report.failures import FailureEvidence, read_failures
from evalcov_pipeline.services.report.sessions import ScoredSessions, read_scored_sessions
from evalcov_pipeline.storage.warehouse import frame, one_row

PLANS = 6
"""Refresh plans that the report shows."""
WEEKS = 52
"""Weeks of history that the report looks back."""


@dataclass(frozen=True)
class Scored:
    """The newest headline score and everything that the report shows beside it.

    Attributes:
        score: the newest headline score.
        run_finished_at: when its eval run finished; None without a run.
        taxonomy: the row of `taxonomies`.
        history: scores of the last `WEEKS` weeks under every taxonomy, oldest first.
        clusters: rows of `cluster_coverage` under the headline taxonomy, largest share first, with
            `exemplars` (list of texts) and `shares` (list of production shares of the same
            cluster_key by week, oldest first, null where it did not exist).
        texts: sampled texts with cluster_id, label, gap_score, in_gap, map_x, map_y, by text_hash.
        cases: active cases with cluster_id, label, map_x, map_y, text, origin and effective_at.
        suite: active cases by week and origin: as_of, origin, cases.
        changes: cases `added` and `retired` since the oldest week of the history.
        refreshes: the newest rows of `refresh_plans`, newest first, with `decided` (tasks that
            people decided) and `waiting` (tasks that wait for them).
        answers: answers that wait for people: of failure batches, incidents and judges.
        sessions: the same week's whole sessions; None where they have no score.
        failures: failures, judges and the CI suite.
    """

    score: QueryScore
    run_finished_at: datetime | None
    taxonomy: dict[str, Any]
    history: pl.DataFrame
    clusters: pl.DataFrame
    texts: pl.DataFrame
    cases: pl.DataFrame
    suite: pl.DataFrame
    changes: dict[str, int]
    refreshes: pl.DataFrame
    answers: int
    sessions: ScoredSessions | None
    failures: FailureEvidence

    @property
    def waiting(self) -> int:
        """Queued queries that wait for a label."""
        return int(self.refreshes["waiting"].sum())


def read_scored(con: duckdb.DuckDBPyConnection) -> Scored | None:
    """What the report shows, or None before the first score."""
    score = headline_score(con, QueryScore)
    if score is None:
        return None
    as_of, taxonomy_id = score.as_of, score.taxonomy_id
    history = frame(
        con,
        "SELECT * FROM coverage_scores WHERE as_of <= $1 AND as_of > $1 - to_weeks($2)"
        " ORDER BY as_of, headline",
        [as_of, WEEKS],
    )
    run = one_row(con, "SELECT finished_at FROM eval_runs WHERE run_id = ?", [score.eval_run_id])
    weeks = history["as_of"].unique().sort()
    return Scored(
        score=score,
        run_finished_at=run["finished_at"] if run else None,
        taxonomy=dict(
            one_row(con, "SELECT * FROM taxonomies WHERE taxonomy_id = ?", [taxonomy_id]) or {}
        ),
        history=history,
        clusters=_clusters(con, as_of, taxonomy_id, weeks[0]),
        texts=frame(
            con,
            "SELECT t.text_hash, text, cluster_id, label, gap_score, in_gap, map_x, map_y"
            " FROM text_coverage t JOIN texts USING (text_hash)"
            " JOIN cluster_coverage c USING (as_of, cluster_id)"
            " WHERE as_of = ? AND taxonomy_id = ? ORDER BY t.text_hash",
            [as_of, taxonomy_id],
        ),
        cases=frame(
            con,
            "SELECT case_id, cluster_id, label, map_x, map_y, text, origin, effective_at"
            " FROM eval_coverage e JOIN cluster_coverage c USING (as_of, cluster_id)"
            f" JOIN ({_ACTIVE}) USING (as_of, case_id)"
            " LEFT JOIN texts ON texts.text_hash = e.text_hash"
            " WHERE as_of = ? AND c.taxonomy_id = ? ORDER BY case_id",
            [as_of, taxonomy_id],
        ),
        suite=frame(
            con,
            f"SELECT as_of, origin, count(*) AS cases FROM ({_ACTIVE}) WHERE as_of >= ?"
            " GROUP BY ALL ORDER BY ALL",
            [weeks[0]],
        ),
        changes=_changes(con, weeks[0], as_of),
        refreshes=frame(
            con,
            """
            SELECT p.*, count(*) FILTER (q.status IN ('kept', 'rejected')) AS decided,
                   count(*) FILTER (q.status IN ('open', 'labelled', 'adjudicate')) AS waiting
            FROM refresh_plans p LEFT JOIN annotation_queue q USING (plan_id)
            GROUP BY ALL ORDER BY p.plan_id DESC LIMIT $1
            """,
            [PLANS],
        ),
        answers=count_waiting(con).answers,
        sessions=read_scored_sessions(con, as_of),
        failures=read_failures(con, score),
    )


def untested_clusters(con: duckdb.DuckDBPyConnection, score: QueryScore, most: int) -> pl.DataFrame:
    """cluster_key, label, status, production_share and exemplars of clusters without a case.

    Args:
        con: a reading connection.
        score: of the week.
        most: how many to give, the largest first.
    """
    return frame(
        con,
        "SELECT cluster_key, label, status, production_share, exemplars FROM cluster_coverage"
        " JOIN clusters USING (taxonomy_id, cluster_id, cluster_key, label)"
        " WHERE as_of = ? AND taxonomy_id = ? AND eval_cases = 0"
        " ORDER BY production_share DESC, cluster_id LIMIT ?",
        [score.as_of, score.taxonomy_id, most],
    )


_ACTIVE = (
    "SELECT as_of, case_id, origin, effective_at FROM coverage_scores, eval_case_versions"
    f" WHERE headline AND {active_at('as_of')}"
)


def _clusters(
    con: duckdb.DuckDBPyConnection, as_of: datetime, taxonomy_id: str, since: datetime
) -> pl.DataFrame:
    return frame(
        con,
        """
        WITH headline AS (
          SELECT as_of, taxonomy_id FROM coverage_scores WHERE headline AND as_of BETWEEN $3 AND $1
        ), keys AS (
          SELECT cluster_key FROM cluster_coverage WHERE as_of = $1 AND taxonomy_id = $2
        ), shares AS (
          SELECT cluster_key, list(production_share ORDER BY as_of) AS shares
          FROM (FROM headline, keys)
          LEFT JOIN cluster_coverage USING (as_of, taxonomy_id, cluster_key) GROUP BY cluster_key
        )
        SELECT c.*, exemplars, shares
        FROM cluster_coverage c
        LEFT JOIN clusters USING (taxonomy_id, cluster_id, cluster_key)
        LEFT JOIN shares USING (cluster_key)
        WHERE as_of = $1 AND taxonomy_id = $2 ORDER BY production_share DESC, cluster_id
        """,
        [as_of, taxonomy_id, since],
    )


def _changes(con: duckdb.DuckDBPyConnection, since: datetime, as_of: datetime) -> dict[str, int]:
    return dict(
        one_row(
            con,
            "SELECT count(*) FILTER (version = 1) AS added,"
            " count(*) FILTER (status = 'retired') AS retired"
            " FROM eval_case_versions WHERE valid_from > $1 AND valid_from <= $2",
            [since, as_of],
        )
        or {}
    )
