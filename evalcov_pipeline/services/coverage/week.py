"""Reads what a week's score needs, and writes the coverage tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.coverage.diagnosis import ScorePoint
from evalcov_pipeline.core.coverage.gaps import gap_scores
from evalcov_pipeline.core.coverage.score import QueryScore
from evalcov_pipeline.core.coverage.week import WeekInputs, WeekRules, score_week
from evalcov_pipeline.core.taxonomy.taxonomy import locate
from evalcov_pipeline.services.coverage.scores import AnyScore, score_rows
from evalcov_pipeline.services.evals.suite import scored_run, suite
from evalcov_pipeline.services.judges.admission import NO_RESULTS, admitted_results
from evalcov_pipeline.services.labels.merging import record_after
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.taxonomy.taxonomies import Family
from evalcov_pipeline.services.traffic.sampling import has_traffic
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import Warehouse, frame, one_row, replace_slice

HISTORY_WEEKS = 12
"""Weeks that a diagnosis looks back."""


@dataclass(frozen=True)
class ScoredWeek(Generic[AnyScore]):
    """A week's scores under every taxonomy that applies, the headline first, and their clusters."""

    scores: Sequence[AnyScore]
    clusters: pl.DataFrame

    @property
    def headline(self) -> AnyScore:
        """The headline score."""
        return self.scores[0]

    @property
    def headline_clusters(self) -> pl.DataFrame:
        """Rows of its clusters."""
        return self.clusters.filter(pl.col("taxonomy_id") == self.headline.taxonomy_id)

    @property
    def contributions_off_by(self) -> float:
        """How far the clusters' contributions are from the headline divergence, in bits."""
        if self.headline.jsd is None:
            return 0.0
        return abs(float(self.headline_clusters["jsd_contribution"].sum()) - self.headline.jsd)


@dataclass(frozen=True)
class WeekReport(ScoredWeek[QueryScore]):
    """Rows that a week has in the coverage tables."""

    texts: pl.DataFrame
    cases: pl.DataFrame

    @property
    def n_unassigned(self) -> int:
        """Turns and cases whose text was not put into a cluster, novel included."""
        return sum(score.n_unassigned for score in self.scores)


def week_report(
    warehouse: Warehouse, settings: Settings, cache: VectorCache, as_of: datetime
) -> WeekReport | None:
    """Score one week under every taxonomy that applies to it.

    Returns:
        Its rows; None for a week without traffic or before any taxonomy.
    """
    with warehouse.reader() as con:
        used = taxonomies.applicable(con, as_of)
        if used is None or not has_traffic(con, as_of):
            return None
        return _score(con, settings, cache, as_of, used)


def write_week(warehouse: Warehouse, as_of: datetime, report: WeekReport | None) -> None:
    """Replace a week's rows of the coverage tables; without a report they are deleted."""
    stamp = pl.lit(as_of, pl.Datetime("us")).alias("as_of")
    none = pl.DataFrame()
    with warehouse.writer() as con:
        for table, rows in (
            ("coverage_scores", score_rows(report.scores) if report else none),
            ("cluster_coverage", report.clusters if report else none),
            ("text_coverage", report.texts if report else none),
            ("eval_coverage", report.cases if report else none),
        ):
            replace_slice(con, table, rows.with_columns(stamp) if len(rows) else rows, as_of=as_of)
        if report:
            record_after(con, as_of, report.headline.jsd_adjusted)


def assigned_sample(
    con: duckdb.DuckDBPyConnection, as_of: datetime, taxonomy_id: str
) -> pl.DataFrame:
    """Sampled turns of a week with their clusters, as `WeekInputs.sample` wants them."""
    return frame(
        con,
        """
        SELECT s.source, s.session_id, s.stratum, s.traffic_weight, s.steady_weight, s.text_hash,
               coalesce(a.cluster_id, -1)::INTEGER AS cluster_id,
               s.text_hash IS NOT NULL AND a.cluster_id IS NULL AS unassigned
        FROM trace_sample s
        LEFT JOIN cluster_assignments a ON a.text_hash = s.text_hash AND a.taxonomy_id = $2
        WHERE s.as_of = $1
        ORDER BY s.source, s.session_id, s.turn_index, s.trace_id
        """,
        [as_of, taxonomy_id],
    )


def week_inputs(
    con: duckdb.DuckDBPyConnection,
    family: Family,
    as_of: datetime,
    taxonomy_id: str,
    sample: pl.DataFrame,
    cases: pl.DataFrame,
    *,
    headline: bool,
    window_days: int,
    refit_shift_from: float | None = None,
) -> WeekInputs:
    """Everything that the score of one week under one taxonomy is computed from.

    Args:
        con: a reading connection.
        family: tables of the kind of unit that is scored.
        as_of: exclusive end of the week.
        taxonomy_id: taxonomy.
        sample: sampled units with their clusters, see `WeekInputs.sample`.
        cases: active cases with their clusters, see `WeekInputs.cases`.
        headline: whether it is the taxonomy that the week's score is known by.
        window_days: length of the traffic window.
        refit_shift_from: `jsd_adjusted` under the previous taxonomy, at a refit.
    """
    run = scored_run(con, as_of)
    admitted = admitted_results(con, run.run_id, as_of) if run else NO_RESULTS
    history = frame(
        con,
        f"""
        SELECT h.taxonomy_id, h.as_of, h.jsd_adjusted, h.jsd_ci_low, h.jsd_ci_high,
               h.eval_run_id AS eval_run, h.eval_score,
               coalesce(r.n_cases, 0) - coalesce(h.refused_results, 0) AS n_results,
               nullif(concat_ws(': ', h.judge_id, h.judge_note), '') AS judge,
               h.jsd_adjusted - p.jsd_adjusted AS refit_shift
        FROM {family.scores} h
        LEFT JOIN {family.scores} p ON p.as_of = h.as_of AND NOT p.headline
        LEFT JOIN eval_runs r ON r.run_id = h.eval_run_id
        WHERE h.headline AND h.jsd_adjusted IS NOT NULL AND h.as_of < $1 AND h.as_of >= $2
        ORDER BY h.as_of
        """,
        [as_of, as_of - timedelta(weeks=HISTORY_WEEKS)],
    )
    window_start = as_of - timedelta(days=window_days)
    return WeekInputs(
        as_of=as_of,
        taxonomy_id=taxonomy_id,
        headline=headline,
        window_start=window_start,
        sample=sample,
        cases=cases,
        results=admitted.results,
        clusters=frame(
            con,
            f"SELECT cluster_id, cluster_key, label FROM {family.clusters} WHERE taxonomy_id = ?"
            " ORDER BY cluster_id",
            [taxonomy_id],
        ),
        earlier=frame(
            con,
            f"""
            SELECT cluster_key, production_share_high FROM {family.coverage}
            JOIN {family.scores} USING (as_of, taxonomy_id)
            WHERE headline AND as_of = (SELECT max(as_of) FROM {family.scores} WHERE as_of <= ?)
            """,
            [window_start],
        ),
        history=_comparable(history, taxonomy_id, refit_shift_from is not None),
        run_id=run.run_id if run else None,
        judge=run.judge_id if run else None,
        judge_note=admitted.note,
        refused_results=admitted.left_out,
        refit_shift_from=refit_shift_from,
    )


def _assigned_cases(
    con: duckdb.DuckDBPyConnection, taxonomy_id: str, cases: pl.DataFrame
) -> pl.DataFrame:
    """Cases of a suite with their clusters, as `WeekInputs.cases` wants them."""
    assigned = frame(
        con,
        "SELECT text_hash, cluster_id FROM cluster_assignments WHERE taxonomy_id = ?",
        [taxonomy_id],
    )
    return cases.join(assigned, on="text_hash", how="left", maintain_order="left").select(
        "case_id",
        pl.col("cluster_id").fill_null(-1),
        "designed",
        "effective_at",
        unassigned=pl.col("cluster_id").is_null() & pl.col("text_hash").is_not_null(),
    )


def _comparable(history: pl.DataFrame, taxonomy_id: str, shift_is_known: bool) -> list[ScorePoint]:
    """Earlier scores that a trend may be drawn from.

    It reaches back to the last change of taxonomy whose step is not known, since only a refit week
    is scored under both.
    """
    points: list[ScorePoint] = []
    before: str | None = None
    for row in history.iter_rows(named=True):
        changed = before is not None and row["taxonomy_id"] != before
        if changed and row["refit_shift"] is None:
            points = []
        before = row.pop("taxonomy_id")
        shift = row["refit_shift"] if changed and points else None
        points.append(ScorePoint(**row | {"refit_shift": shift or 0.0}))
    return points if before == taxonomy_id or shift_is_known else []


def _run_figures(
    con: duckdb.DuckDBPyConnection, as_of: datetime, run_id: str | None
) -> dict[str, Any]:
    """Latency and cost of the scored run and of the sampled turns."""
    production = one_row(
        con,
        "SELECT median(latency_ms) AS production_latency_ms, avg(cost_usd) AS production_cost_usd"
        " FROM trace_sample WHERE as_of = ?",
        [as_of],
    )
    run = one_row(con, "SELECT latency_ms, cost_usd FROM eval_runs WHERE run_id = ?", [run_id])
    return {**(production or {}), **(run or {"latency_ms": None, "cost_usd": None})}


def _score(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    as_of: datetime,
    used: taxonomies.Applicable,
) -> WeekReport:
    cases = suite(con, as_of)
    texts = _text_coverage(con, settings, cache, as_of, used.headline, cases)
    scores: list[QueryScore] = []
    clusters: list[pl.DataFrame] = []
    for name in reversed(used.ids):
        inputs = week_inputs(
            con,
            taxonomies.QUERIES,
            as_of,
            name,
            assigned_sample(con, as_of, name),
            _assigned_cases(con, name, cases),
            headline=name == used.headline,
            window_days=settings.sampling.window_days,
            refit_shift_from=scores[0].jsd_adjusted if scores else None,
        )
        week = score_week(inputs, week_rules(settings))
        unassigned = int(inputs.sample["unassigned"].sum()) + int(inputs.cases["unassigned"].sum())
        scores.append(
            QueryScore(
                **vars(week.score),
                n_unassigned=unassigned,
                truncated_share=_truncated_share(con, as_of, cache),
                **_run_figures(con, as_of, inputs.run_id),
            )
        )
        clusters.append(week.clusters.with_columns(taxonomy_id=pl.lit(name)))
    headline = clusters[-1].join(
        texts.group_by("cluster_id").agg(
            gap_share=(pl.col("in_gap") * pl.col("weight")).sum() / pl.col("weight").sum()
        ),
        on="cluster_id",
        how="left",
        maintain_order="left",
    )
    return WeekReport(
        scores[::-1],
        pl.concat([headline, *clusters[:-1]], how="diagonal"),
        texts.drop("weight"),
        _eval_coverage(con, settings, cache, used.headline, cases),
    )


def _text_coverage(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    as_of: datetime,
    taxonomy_id: str,
    cases: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of `text_coverage`, and each text's steady weight."""
    texts = frame(
        con,
        "SELECT text_hash, any_value(cluster_id) AS cluster_id, sum(steady_weight) AS weight"
        " FROM trace_sample JOIN cluster_assignments USING (text_hash)"
        " WHERE as_of = ? AND taxonomy_id = ? GROUP BY text_hash ORDER BY text_hash",
        [as_of, taxonomy_id],
    )
    hashes = texts["text_hash"].to_list()
    vectors = cache.get(hashes)
    gaps = gap_scores(
        vectors,
        texts["weight"].to_numpy(),
        cache.get(cases["text_hash"].drop_nulls().to_list()),
        rng=np.random.default_rng([settings.coverage.seed, as_of.toordinal()]),
    )
    place = locate(taxonomies.load(settings.taxonomies, taxonomy_id), vectors, hashes)
    return texts.with_columns(
        gap_score=pl.Series(gaps.gap_score),
        in_gap=pl.Series(gaps.in_gap),
        map_x=pl.Series(place[:, 0]).cast(pl.Float64),
        map_y=pl.Series(place[:, 1]).cast(pl.Float64),
    )


def _eval_coverage(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    taxonomy_id: str,
    cases: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of `eval_coverage`."""
    texts = frame(
        con,
        "SELECT text_hash, cluster_id FROM cluster_assignments"
        " WHERE taxonomy_id = ? AND text_hash IN (SELECT unnest(?)) ORDER BY text_hash",
        [taxonomy_id, cases["text_hash"].drop_nulls().unique().to_list()],
    )
    hashes = texts["text_hash"].to_list()
    place = locate(taxonomies.load(settings.taxonomies, taxonomy_id), cache.get(hashes), hashes)
    placed = texts.with_columns(
        map_x=pl.Series(place[:, 0]).cast(pl.Float64), map_y=pl.Series(place[:, 1]).cast(pl.Float64)
    )
    return (
        cases.select("case_id", "text_hash")
        .join(placed, on="text_hash", how="left", maintain_order="left")
        .with_columns(pl.col("cluster_id").fill_null(-1))
    )


def _truncated_share(
    con: duckdb.DuckDBPyConnection, as_of: datetime, cache: VectorCache
) -> float | None:
    """Share of steady traffic whose text is longer than the embedding model's window."""
    texts = frame(
        con,
        "SELECT text_hash, sum(steady_weight) AS weight FROM trace_sample"
        " WHERE as_of = ? AND text_hash IS NOT NULL GROUP BY text_hash",
        [as_of],
    )
    flags = cache.truncated(texts["text_hash"].to_list())
    return float(texts["weight"].to_numpy() @ flags) if len(texts) else None


def week_rules(settings: Settings, units: str = "texts") -> WeekRules:
    """Thresholds of the settings, for a score of these units."""
    rules = settings.coverage
    return WeekRules(
        threshold=rules.threshold,
        liability_share=rules.liability_share,
        stale_days=rules.stale_days,
        resamples=rules.resamples,
        seed=rules.seed,
        units=units,
    )
