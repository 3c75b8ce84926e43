"""One week's score: sample, suite and results in, the rows of the coverage tables out.

This is where the parts meet: shares, divergence, cluster coverage, assessment, post-stratified pass
rate and diagnosis of one week under one taxonomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from evalcov_pipeline.core.coverage.assessment import Assessment, assess_suite
from evalcov_pipeline.core.coverage.clusters import NOVEL, ClusterCoverage, cluster_coverage
from evalcov_pipeline.core.coverage.diagnosis import Diagnosis, ScorePoint, diagnose
from evalcov_pipeline.core.coverage.divergence import DivergenceScore, score_divergence
from evalcov_pipeline.core.coverage.poststratification import reweighted_score
from evalcov_pipeline.core.coverage.score import Score
from evalcov_pipeline.core.statistics.shares import (
    FloatArray,
    IntArray,
    ProductionShares,
    kish,
    production_shares,
)

MIN_TEXTS = 50
"""Distinct production texts below which clusters and their radii mean little."""


@dataclass(frozen=True)
class WeekInputs:
    """What one week is scored from, under one taxonomy.

    Attributes:
        as_of: exclusive end of the week, UTC without zone.
        taxonomy_id: the taxonomy.
        headline: whether it is the one that the week's score is known by.
        window_start: start of the traffic window, which ends with the week.
        sample: one row per sampled turn: source, session_id, stratum, traffic_weight,
            steady_weight, text_hash, cluster_id.
        cases: one row per active case: case_id, cluster_id, designed, effective_at.
        results: case_id and passed of the scored run's first tries, as far as they are admitted.
        clusters: one row per named cluster: cluster_id, cluster_key, label.
        earlier: cluster_key and production_share_high of an earlier window that does not overlap
            with this one; empty if there is none.
        history: earlier headline scores, for the diagnosis.
        run_id: the scored eval run, None if there is none.
        judge: its judge.
        judge_note: which of its verdicts are refused, None where none is.
        refused_results: first tries that are not among `results` for that.
        refit_shift_from: `jsd_adjusted` of the same week under the previous taxonomy, at a refit.

    A whole session may be the unit too: one row per session, text_hash the hash of its content.
    """

    as_of: datetime
    taxonomy_id: str
    headline: bool
    window_start: datetime
    sample: pl.DataFrame
    cases: pl.DataFrame
    results: pl.DataFrame
    clusters: pl.DataFrame
    earlier: pl.DataFrame
    history: Sequence[ScorePoint]
    run_id: str | None
    judge: str | None
    judge_note: str | None = None
    refused_results: int = 0
    refit_shift_from: float | None = None


@dataclass(frozen=True)
class WeekRules:
    """Thresholds of a score, see `CoverageSettings`, and what is scored."""

    threshold: float
    liability_share: float
    stale_days: int
    resamples: int
    seed: int
    units: str = "texts"


@dataclass(frozen=True)
class WeekScore:
    """What was computed of a week.

    Attributes:
        score: its fields that queries and sessions share.
        clusters: rows of the clusters, novel last: cluster_id, cluster_key, label, the columns of
            `ClusterCoverage.clusters`, pass_rate and n_results.
    """

    score: Score
    clusters: pl.DataFrame


def score_week(inputs: WeekInputs, rules: WeekRules) -> WeekScore:
    """Score one week under one taxonomy.

    Args:
        inputs: sample (at least one turn), suite, results and history.
        rules: thresholds.

    Returns:
        The score; reproducible, since the random numbers depend on seed and week alone.

    Raises:
        ValueError: an empty sample.
    """
    if inputs.sample.is_empty():
        raise ValueError("a week without sampled turns has no score")
    rng = np.random.default_rng([rules.seed, inputs.as_of.toordinal()])
    ids = [*inputs.clusters["cluster_id"].to_list(), NOVEL]
    column = {cluster: index for index, cluster in enumerate(ids)}

    steady, strata = session_weights(inputs.sample, column)
    production = production_shares(steady, strata, rng, rules.resamples)
    counts = _counts(inputs.cases, column)
    designed = _counts(inputs.cases.filter("designed"), column)
    divergence = score_divergence(production, counts, designed, rng)

    coverage = _coverage(inputs, rules, production, counts, column)
    results = inputs.results.join(inputs.cases, on="case_id", how="inner")
    n_results = _counts(results, column)
    quality = reweighted_score(
        ids, production, _counts(results.filter("passed"), column), n_results
    )
    clusters = (
        _named(inputs.clusters)
        .hstack(coverage.clusters.drop("cluster_id"))
        .with_columns(
            pass_rate=pl.Series(quality.pass_rates, dtype=pl.Float64),
            n_results=pl.Series(n_results),
        )
    )
    liable = clusters.filter(pl.col("status") == "liability").sort(
        "production_share", descending=True
    )
    assessment = _assessment(inputs, rules, divergence, liable)
    passed = inputs.results["passed"].to_numpy()
    eval_score = float(passed.mean()) if len(passed) else None
    diagnosis, reason = _diagnosis(inputs, divergence, eval_score)
    score = Score(
        as_of=inputs.as_of,
        taxonomy_id=inputs.taxonomy_id,
        headline=inputs.headline,
        window_start=inputs.window_start,
        window_end=inputs.as_of,
        n_sessions=len(steady),
        n_production=inputs.sample.height,
        n_eff=kish(steady.sum(axis=1)),
        n_eval=inputs.cases.height,
        n_clusters=inputs.clusters.height,
        jsd=divergence.jsd,
        jsd_adjusted=divergence.jsd_adjusted,
        jsd_ci_low=divergence.ci_low,
        jsd_ci_high=divergence.ci_high,
        null_mean=divergence.null_mean,
        null_p95=divergence.null_p95,
        p_value=divergence.p_value,
        attainable_jsd=divergence.attainable_jsd,
        covered_share=coverage.covered_share,
        novel_share=coverage.novel_share,
        unmeasured_share=quality.unmeasured_share,
        band=assessment.band,
        degraded=assessment.degraded,
        liabilities=liable["cluster_key"].to_list(),
        cases_to_settle=assessment.cases_to_settle,
        verdict=assessment.sentence,
        eval_run_id=inputs.run_id,
        judge_id=inputs.judge,
        judge_note=inputs.judge_note,
        refused_results=inputs.refused_results,
        eval_score=eval_score,
        reweighted_score=quality.reweighted_score,
        reweighted_low=quality.low if quality.eval_score is not None else None,
        reweighted_high=quality.high if quality.eval_score is not None else None,
        diagnosis=diagnosis,
        diagnosis_reason=reason,
    )
    return WeekScore(score, clusters)


def session_weights(sample: pl.DataFrame, column: dict[int, int]) -> tuple[FloatArray, IntArray]:
    """Steady weight of each session per category, and its stratum, for `production_shares`.

    Args:
        sample: one row per sampled turn: source, session_id, stratum, steady_weight, cluster_id.
        column: place of each cluster id among the k categories.

    Returns:
        (s, k) weights and (s,) stratum numbers, sessions ordered by source and id.
    """
    sample = sample.sort("source", "session_id", "cluster_id")
    session = sample.select(pl.struct("source", "session_id").rle_id()).to_series().to_numpy()
    strata = (
        sample.group_by("source", "session_id", maintain_order=True)
        .agg(pl.first("stratum"))["stratum"]
        .rank("dense")
        .to_numpy()
        .astype(np.int64)
    )
    weights = np.zeros((len(strata), len(column)))
    category = _categories(sample, column)
    np.add.at(weights, (session, category), sample["steady_weight"].to_numpy())
    return weights, strata


def _named(clusters: pl.DataFrame) -> pl.DataFrame:
    """cluster_id, cluster_key and label of the clusters, novel last."""
    novel = pl.DataFrame(
        {"cluster_id": [NOVEL], "cluster_key": ["novel"], "label": ["novel"]},
        schema_overrides={"cluster_id": pl.Int32},
    )
    return pl.concat([clusters, novel], how="vertical_relaxed")


def _coverage(
    inputs: WeekInputs,
    rules: WeekRules,
    production: ProductionShares,
    counts: IntArray,
    column: dict[int, int],
) -> ClusterCoverage:
    newest = dict(inputs.cases.group_by("cluster_id").agg(pl.max("effective_at")).iter_rows())
    earlier = _named(inputs.clusters).join(
        inputs.earlier, on="cluster_key", how="left", maintain_order="left"
    )["production_share_high"]
    return cluster_coverage(
        list(column),
        production,
        _totals(inputs.sample, column, "traffic_weight"),
        counts,
        as_of=inputs.as_of,
        newest_case_at=[newest.get(cluster) for cluster in column],
        earlier_share_high=(
            earlier.cast(pl.Float64).fill_null(np.nan).to_numpy() if len(inputs.earlier) else None
        ),
        liability_share=rules.liability_share,
        stale_days=rules.stale_days,
    )


def _assessment(
    inputs: WeekInputs, rules: WeekRules, divergence: DivergenceScore, liable: pl.DataFrame
) -> Assessment:
    assessment = assess_suite(
        divergence, dict(liable.select("label", "production_share").iter_rows()), rules.threshold
    )
    n_texts = inputs.sample["text_hash"].n_unique()
    if n_texts >= MIN_TEXTS or assessment.band is None:
        return assessment
    sentence = (
        f"Undecidable: {n_texts} distinct {rules.units} of production are too few to judge by."
    )
    return Assessment("undecidable", bool(len(liable)), None, sentence)


def _totals(sample: pl.DataFrame, column: dict[int, int], weight: str) -> FloatArray:
    totals = np.zeros(len(column))
    np.add.at(totals, _categories(sample, column), sample[weight].to_numpy())
    shares: FloatArray = totals / totals.sum()
    return shares


def _counts(rows: pl.DataFrame, column: dict[int, int]) -> IntArray:
    return np.bincount(_categories(rows, column), minlength=len(column)).astype(np.int64)


def _categories(rows: pl.DataFrame, column: dict[int, int]) -> IntArray:
    return np.array([column[cluster] for cluster in rows["cluster_id"]], dtype=np.int64)


def _diagnosis(
    inputs: WeekInputs, divergence: DivergenceScore, eval_score: float | None
) -> tuple[Diagnosis | None, str]:
    low, high = divergence.ci_low, divergence.ci_high
    if divergence.jsd_adjusted is None or low is None or high is None:
        return None, str(divergence.reason)
    point = ScorePoint(
        as_of=inputs.as_of,
        jsd_adjusted=divergence.jsd_adjusted,
        jsd_ci_low=low,
        jsd_ci_high=high,
        eval_run=inputs.run_id,
        eval_score=eval_score,
        n_results=len(inputs.results),
        judge=": ".join(filter(None, (inputs.judge, inputs.judge_note))) or None,
        refit_shift=(
            0.0
            if inputs.refit_shift_from is None
            else divergence.jsd_adjusted - inputs.refit_shift_from
        ),
    )
    result = diagnose([*inputs.history, point])
    return result.diagnosis, result.reason
