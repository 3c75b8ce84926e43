"""Error rates of the whole score on suites of texts that production never used.

A reduced form of `benchmarks/calibration.py`: one scored home, its frozen clusters, fresh texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import duckdb
import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.coverage.assessment import assess_suite
from evalcov_pipeline.core.coverage.clusters import NOVEL, cluster_coverage
from evalcov_pipeline.core.coverage.divergence import jsd, score_divergence
from evalcov_pipeline.core.coverage.week import session_weights
from evalcov_pipeline.core.statistics.shares import ProductionShares, production_shares
from evalcov_pipeline.core.taxonomy.taxonomy import assign
from evalcov_pipeline.core.text.normalise import text_hash
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline_tests.conftest import LAST_WEEK, TOPICS, question

SUITES = 200
FRESH_PER_TOPIC = 250


@dataclass(frozen=True)
class Ground:
    """Production as the home scores it, and P(cluster | topic) of texts it has never seen."""

    production: ProductionShares
    given_topic: np.ndarray


@pytest.fixture(scope="module")
def ground(scored) -> Ground:
    with duckdb.connect(scored.published, read_only=True) as con:
        as_of = LAST_WEEK + timedelta(days=7)
        sample = con.execute(
            "SELECT s.*, a.cluster_id, a.taxonomy_id FROM trace_sample s"
            " JOIN coverage_scores c ON c.as_of = s.as_of AND c.headline"
            " JOIN cluster_assignments a"
            " ON a.text_hash = s.text_hash AND a.taxonomy_id = c.taxonomy_id WHERE s.as_of = ?",
            [as_of],
        ).pl()
    taxonomy = taxonomies.load(scored.taxonomies, sample["taxonomy_id"][0])
    k = taxonomy.n_clusters
    column = {cluster: cluster % (k + 1) for cluster in range(NOVEL, k)}
    weights, strata = session_weights(sample, column)
    seen = set(sample["text_hash"])
    rng = np.random.default_rng(77)
    given_topic = np.zeros((len(TOPICS), k + 1))
    for topic in range(len(TOPICS)):
        drawn = {question(topic, rng) for _ in range(FRESH_PER_TOPIC)}
        texts = [text for text in sorted(drawn) if text_hash(text) not in seen]
        found = assign(
            taxonomy,
            embedder(scored.embedding).embed(texts),
            [text_hash(text) for text in texts],
            embedding_fingerprint=vector_cache(scored).fingerprint,
        )
        given_topic[topic] = np.bincount(found.cluster_id % (k + 1), minlength=k + 1) / len(texts)
    return Ground(production_shares(weights, strata, rng, 299), given_topic)


def judged(ground: Ground, topic_shares: np.ndarray, n: int, seed: int) -> pl.DataFrame:
    """One row per suite of `n` fresh texts about the topics."""
    rng = np.random.default_rng(seed)
    p, rows = ground.production.shares, []
    k = len(p) - 1
    for counts in rng.multinomial(n, topic_shares @ ground.given_topic, size=SUITES):
        score = score_divergence(ground.production, counts, None, rng)
        clusters = cluster_coverage(
            [*range(k), NOVEL],
            ground.production,
            p,
            counts,
            as_of=LAST_WEEK,
            newest_case_at=[None] * (k + 1),
        ).clusters
        liable = clusters.filter(pl.col("status") == "liability")
        liabilities = {
            str(i): share for i, share in liable["cluster_id", "production_share"].rows()
        }
        rows.append(
            {
                "significant": score.p_value < 0.05,
                "degraded": assess_suite(score, liabilities).degraded,
                "gap": clusters["status"].is_in(["gap", "liability"]).any(),
                "low": score.ci_low,
                "high": score.ci_high,
            }
        )
    return pl.DataFrame(rows)


ALL_TOPICS = np.full(len(TOPICS), 1 / len(TOPICS))


@pytest.fixture(scope="module")
def proportional(ground) -> dict[int, pl.DataFrame]:
    return {n: judged(ground, ALL_TOPICS, n, n) for n in (30, 100, 300)}


@pytest.mark.parametrize("n", [30, 100, 300])
def test_a_proportional_suite_of_unseen_texts_rarely_raises_an_alarm(proportional, n):
    rows = proportional[n]
    assert rows["significant"].mean() <= 0.08
    assert rows["degraded"].mean() <= 0.05
    assert rows["gap"].mean() <= 0.05


@pytest.mark.parametrize("n", [100, 300])
def test_a_suite_about_half_of_the_topics_is_degraded(ground, n):
    half = np.repeat([2.0, 0.0], len(TOPICS) // 2) / len(TOPICS)
    true = jsd(ALL_TOPICS @ ground.given_topic, half @ ground.given_topic)
    assert 0.25 < true < 0.35
    rows = judged(ground, half, n, 10 + n)
    assert rows["degraded"].mean() >= 0.8
    assert ((rows["low"] <= true) & (true <= rows["high"])).mean() >= 0.9
