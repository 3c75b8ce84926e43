"""Reads what the HTML report shows of failures, judges and the CI suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.core.coverage.score import QueryScore
from evalcov_pipeline.services.failures.precision import ANY, NONE
from evalcov_pipeline.services.labels.queue import WAITING, outcomes_of
from evalcov_pipeline.storage.warehouse import frame, one_row

WEEKS = 26
"""Weeks of signals that the report looks back."""


@dataclass(frozen=True)
class FailureEvidence:
    """Whether the suite would notice a wrong answer, as far as it is known.

    Attributes:
        signals: as_of, signal, n_signals (turns of the week that bear it, null where it was silent
            for want of a threshold), n_turns (turns of the week, null where unknown): every pair of
            the last `WEEKS` weeks that were looked at and the signals ever seen, `ANY` among them,
            oldest week first.
        precision: rows of `signal_precision` of the newest week.
        batch: the newest row of `failure_batches` with `waiting`, `labelled` and `bad` tasks.
        audit: rows of `failure_audit` of the newest quarter, the most urgent first.
        incidents: rows of `incidents`, those without a case first.
        certificates: rows of `judge_calibration` of the newest week that has any.
        n_results: first tries of the scored eval run.
        n_refused: of them, those by a judge that is refused for their category.
        suite: the row of `ci_suites` in force.
        suite_cases: its rows of `ci_suite_cases` in order of choice, with tags and text.
        discrimination: rows of `case_discrimination` of active cases, with category and text.
        goodhart: rows of `goodhart_watch`, oldest first.
    """

    signals: pl.DataFrame
    precision: pl.DataFrame
    batch: Mapping[str, Any] | None
    audit: pl.DataFrame
    incidents: pl.DataFrame
    certificates: pl.DataFrame
    n_results: int
    n_refused: int
    suite: Mapping[str, Any] | None
    suite_cases: pl.DataFrame
    discrimination: pl.DataFrame
    goodhart: pl.DataFrame


def read_failures(con: duckdb.DuckDBPyConnection, score: QueryScore) -> FailureEvidence:
    """What was known of the week of a score; tables that know no week as they are now.

    Args:
        con: a reading connection.
        score: the score that is reported.
    """
    as_of = score.as_of
    run = one_row(con, "SELECT n_cases FROM eval_runs WHERE run_id = ?", [score.eval_run_id])
    suite = one_row(con, "SELECT * FROM ci_suites ORDER BY chosen_at DESC, suite_id LIMIT 1")
    return FailureEvidence(
        signals=frame(con, _SIGNALS, [as_of, WEEKS]),
        precision=frame(
            con,
            "SELECT * FROM signal_precision WHERE as_of ="
            " (SELECT max(as_of) FROM signal_precision WHERE as_of <= ?) ORDER BY signal",
            [as_of],
        ),
        batch=_batch(con, as_of),
        audit=frame(
            con,
            "SELECT * FROM failure_audit WHERE quarter = (SELECT max(quarter) FROM failure_audit)"
            " ORDER BY rank",
        ),
        incidents=frame(
            con,
            "SELECT * FROM incidents ORDER BY status <> 'open', status <> 'partial',"
            ' "at" DESC NULLS LAST, incident_id',
        ),
        certificates=frame(
            con,
            "SELECT * FROM judge_calibration WHERE calibrated_at ="
            " (SELECT max(calibrated_at) FROM judge_calibration WHERE calibrated_at <= ?)"
            " ORDER BY judge_id, judge_model, prompt_version, rubric_version, category",
            [as_of],
        ),
        n_results=run["n_cases"] if run else 0,
        n_refused=score.refused_results or 0,
        suite=suite,
        suite_cases=frame(
            con,
            "SELECT s.*, tags, text FROM ci_suite_cases s LEFT JOIN eval_cases USING (case_id)"
            " LEFT JOIN texts USING (text_hash) WHERE suite_id = ? ORDER BY rank",
            [suite["suite_id"] if suite else None],
        ),
        discrimination=frame(
            con,
            "SELECT d.*, category, text FROM case_discrimination d JOIN eval_cases USING (case_id)"
            " LEFT JOIN texts USING (text_hash) WHERE case_status = 'active' ORDER BY case_id",
        ),
        goodhart=frame(con, 'SELECT * FROM goodhart_watch ORDER BY "at"'),
    )


def _batch(con: duckdb.DuckDBPyConnection, as_of: datetime) -> Mapping[str, Any] | None:
    batch = one_row(
        con,
        "SELECT * FROM failure_batches WHERE as_of <= ? ORDER BY as_of DESC, batch_id LIMIT 1",
        [as_of],
    )
    if batch is None:
        return None
    tasks = con.execute(
        "SELECT task_id, status FROM annotation_queue WHERE batch_id = ?",
        [batch["batch_id"]],
    ).fetchall()
    settled = [task_id for task_id, status in tasks if status not in WAITING]
    labels = [one.label for one in outcomes_of(con, settled).values() if one.label]
    return {
        **batch,
        "waiting": sum(status in WAITING for _, status in tasks),
        "labelled": len(labels),
        "bad": sum(label.passed is False for label in labels),
    }


_SIGNALS = f"""
WITH counted AS (
  SELECT as_of, signal, count(*) AS n_signals FROM failure_signals GROUP BY ALL
  UNION ALL
  SELECT as_of, '{ANY}', count(DISTINCT (source, trace_id, turn_index))
  FROM failure_signals GROUP BY as_of
), turns AS (
  SELECT as_of, sum(n_signals) AS n_turns FROM signal_precision
  WHERE signal IN ('{ANY}', '{NONE}') GROUP BY as_of
), silent AS (
  SELECT as_of, signal, true AS silent FROM signal_thresholds
  GROUP BY as_of, signal HAVING count(threshold) = 0
), weeks AS (
  SELECT as_of FROM counted UNION SELECT as_of FROM signal_thresholds
)
SELECT as_of, signal, coalesce(n_signals, CASE WHEN silent IS NULL THEN 0 END) AS n_signals,
       n_turns::BIGINT AS n_turns
FROM (FROM weeks, (SELECT DISTINCT signal FROM counted))
LEFT JOIN counted USING (as_of, signal) LEFT JOIN turns USING (as_of)
LEFT JOIN silent USING (as_of, signal)
WHERE as_of <= $1 AND as_of > $1 - to_weeks($2)
ORDER BY as_of, signal
"""
