"""What the results say about each case, and whether the suite's score has come loose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import polars as pl

from evalcov_pipeline.core.suites.discrimination import Discrimination, case_discrimination
from evalcov_pipeline.core.suites.goodhart import GoodhartWatch, ScorePair, goodhart_watch
from evalcov_pipeline.storage.warehouse import Columns, frame, replace_slice

RefusedJudges = Mapping[str, frozenset[str]]
"""Judges that are refused, by category."""
_WATCH: Columns = {
    "at": pl.Datetime("us"),
    "suite_cases": pl.Int64,
    "suite_passed": pl.Int64,
    "fresh_cases": pl.Int64,
    "fresh_passed": pl.Int64,
    "gap": pl.Float64,
    "gap_low": pl.Float64,
    "gap_high": pl.Float64,
    "mean_gap": pl.Float64,
    "gap_p_value": pl.Float64,
    "slope": pl.Float64,
    "slope_p_value": pl.Float64,
    "verdict": pl.String,
}


def judge_cases(con: duckdb.DuckDBPyConnection, refused: RefusedJudges) -> Discrimination:
    """Derive `case_discrimination` and `case_detection` from the results that count.

    Results of cases that the suite does not know are judged as well: the case may be on its way.

    Args:
        con: a writing connection.
        refused: judges whose verdicts do not count.

    Returns:
        The rows of both tables.
    """
    discrimination = case_discrimination(case_results(con, refused))
    status = frame(con, "SELECT case_id, status AS case_status FROM eval_cases")
    cases = discrimination.cases.join(status, on="case_id", how="left", maintain_order="left")
    replace_slice(con, "case_discrimination", cases)
    replace_slice(con, "case_detection", discrimination.detection)
    return Discrimination(cases, discrimination.detection)


def cases_to_review(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """case_id and review of the active cases whose label a person should look at."""
    return frame(
        con,
        "SELECT case_id, review FROM case_discrimination"
        " WHERE case_status = 'active' AND review IS NOT NULL ORDER BY case_id",
    )


def case_results(con: duckdb.DuckDBPyConnection, refused: RefusedJudges) -> pl.DataFrame:
    """Results of every case since it asks and expects what it does now.

    Those of a judge that is refused for their category are left out.

    Returns:
        Columns of `core.case_discrimination.RESULTS`.
    """
    return frame(
        con,
        """
        WITH wordings AS (
          SELECT case_id, version, valid_from,
                 (input, expected, expected_tools) IS DISTINCT FROM lag(
                   (input, expected, expected_tools)) OVER (PARTITION BY case_id ORDER BY version)
                   AS is_new
          FROM eval_case_versions
        ), since AS (
          SELECT case_id, max(valid_from) AS since FROM wordings
          WHERE is_new AND version > 1 GROUP BY case_id
        )
        SELECT run_id, r.case_id, repeat, passed, "at", variant, system_version, model,
               coalesce(r.category, c.category) AS category
        FROM eval_results r
        LEFT JOIN since s ON s.case_id = r.case_id
        LEFT JOIN eval_cases c ON c.case_id = r.case_id
        WHERE (s.since IS NULL OR r."at" >= s.since) AND NOT coalesce(list_contains(
          $1, {'judge': judge_id, 'category': coalesce(r.category, c.category)}), false)
        ORDER BY run_id, r.case_id, repeat
        """,
        [_pairs(refused)],
    )


def watch_goodhart(con: duckdb.DuckDBPyConnection, refused: RefusedJudges) -> GoodhartWatch:
    """Derive `goodhart_watch`: the suite's score against that of fresh cases, by 30 days.

    Fresh is the first run of a case that a refresh drew at random from production. Cases of
    failures are none: they are in the suite because production failed them.
    """
    pairs = _score_pairs(con, refused)
    watch = goodhart_watch(pairs)
    gaps = {gap.at: gap for gap in watch.gaps}
    rows = [
        vars(pair)
        | {
            "gap": gap and gap.gap,
            "gap_low": gap and gap.low,
            "gap_high": gap and gap.high,
            **{name: value for name, value in vars(watch).items() if name != "gaps"},
        }
        for pair in pairs
        for gap in [gaps.get(pair.at)]
    ]
    replace_slice(con, "goodhart_watch", pl.DataFrame(rows, schema=_WATCH))
    return watch


def _score_pairs(con: duckdb.DuckDBPyConnection, refused: RefusedJudges) -> Sequence[ScorePair]:
    """First tries of the product by 30 days.

    The suite counts in the runs that hold fresh cases, so that both were answered by one system.
    """
    rows = frame(
        con,
        """
        WITH first_tries AS (
          SELECT r.run_id, r.case_id, r.passed,
                 time_bucket(INTERVAL 30 DAY, runs.finished_at) AS "at",
                 row_number() OVER (PARTITION BY r.case_id ORDER BY runs.finished_at, r.run_id) = 1
                   AS is_first,
                 coalesce(c.origin = 'production' AND c.plan_id IS NOT NULL AND NOT c.designed
                   AND NOT c.regression, false) AS drawn
          FROM eval_results r JOIN eval_runs runs USING (run_id)
          LEFT JOIN eval_cases c USING (case_id)
          WHERE r.repeat = 0 AND r.variant IS NULL AND r.passed IS NOT NULL
            AND NOT coalesce(list_contains(
              $1, {'judge': r.judge_id, 'category': coalesce(r.category, c.category)}), false)
        ), with_runs AS (
          SELECT *, is_first AND drawn AS fresh,
                 bool_or(is_first AND drawn) OVER (PARTITION BY run_id) AS run_has_fresh,
                 bool_or(is_first AND drawn) OVER (PARTITION BY "at") AS period_has_fresh
          FROM first_tries
        )
        SELECT "at",
               count(*) FILTER (counted) AS suite_cases,
               count(*) FILTER (counted AND passed) AS suite_passed,
               count(*) FILTER (fresh) AS fresh_cases,
               count(*) FILTER (fresh AND passed) AS fresh_passed
        FROM (SELECT *, NOT is_first AND (run_has_fresh OR NOT period_has_fresh) AS counted
              FROM with_runs)
        WHERE counted OR fresh GROUP BY "at" ORDER BY "at"
        """,
        [_pairs(refused)],
    )
    return [ScorePair(**row) for row in rows.iter_rows(named=True)]


def _pairs(refused: RefusedJudges) -> duckdb.Value:
    """The refused judges and their categories as a parameter, typed even where there are none."""
    pairs = [
        {"judge": judge, "category": category}
        for category, judges in refused.items()
        for judge in sorted(judges)
    ]
    return duckdb.Value(pairs, duckdb.sqltype("STRUCT(judge VARCHAR, category VARCHAR)[]"))
