"""Scored windows of two kinds of production, and unseen texts to draw suites from.

Each window is scored by the pipeline itself (sample draw, redaction, embedding, clustering,
assignment with leave-one-out):

    banking77   six weeks of traffic made of Banking77 (see `banking77_traffic.py`), one home and
                one split of the texts per seed; suites come from the 30 % of texts that traffic
                never uses
    sample      the committed sample; suites come from traffic that its simulator makes anew with
                another seed (150 sessions a day), so nothing limits how many texts there are

Intents are the hidden truth. Production is drawn from cluster shares p M, with p the steady share
of each intent and M = P(cluster | intent) over the texts that traffic draws from; suites are drawn
from q M', with M' over unseen texts.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from banking77 import evalcov
from banking77_traffic import make_traffic, read_corpus
from vectors import embedded, give

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.coverage.divergence import jsd
from evalcov_pipeline.core.coverage.week import session_weights
from evalcov_pipeline.core.statistics.shares import ProductionShares, production_shares
from evalcov_pipeline.core.taxonomy.taxonomy import assign
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.simulator.rhythm import Calendar
from evalcov_pipeline.simulator.sample import START
from evalcov_pipeline.simulator.traffic import simulate_traffic

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
FRESH_SEEDS, FRESH_SESSIONS = (1001, 1002, 1003, 1004), 150.0
EARLIER_WEEK = "2026-10-05"
OLD_DAYS = 28


@dataclass(frozen=True)
class Ground:
    """A scored window and the unseen texts that suites are drawn from.

    Attributes:
        name: of its corpus.
        production: shares and replicates, as the pipeline estimates them.
        truth: (k + 1,) shares of the distribution that production was drawn from, novel last.
        clusters: (t,) cluster of each unseen text.
        intents: (t,) its intent.
        p: (intents,) steady share of each intent in the window.
        old: (intents,) its share in the first days.
        gap_inputs: vectors and weights of the window's texts, and vectors of the unseen texts.
        known: share of the unseen texts that production happens to have too.
        shuffled: bits between texts of traffic and unseen texts if both were dealt out anew within
            each intent, None where they are drawn from the same texts.
    """

    name: str
    production: ProductionShares
    truth: np.ndarray
    clusters: np.ndarray
    intents: np.ndarray
    p: np.ndarray
    old: np.ndarray
    gap_inputs: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    known: float
    shuffled: float | None

    def cases(self, q: np.ndarray) -> np.ndarray:
        """(k + 1,) cluster shares of a suite with intent shares `q`."""
        return q @ shares_given_intent(self.intents, self.clusters, len(self.p), len(self.truth))

    def about(self) -> dict:
        """What production and unseen texts are like.

        `unseen` and `first_days` are bits from production, between clusters, of the unseen texts
        and of the intents of the first days; `first_days_intents` is the latter between intents.
        """
        return {
            "corpus": self.name,
            "clusters": len(self.truth) - 1,
            "sessions": self.production.n_sessions,
            "known": self.known,
            "unseen": jsd(self.truth, self.cases(self.p)),
            "shuffled": self.shuffled,
            "first_days": jsd(self.truth, self.cases(self.old)),
            "first_days_intents": jsd(self.p, self.old),
        }

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A proportional suite of `n` unseen texts."""
        counts = rng.multinomial(n, self.p)
        return np.concatenate(
            [
                rng.choice(members, m, replace=m > len(members))
                for intent, m in enumerate(counts)
                if m and len(members := np.flatnonzero(self.intents == intent))
            ]
        )


def shares_given_intent(intents, clusters, n_intents, n_clusters):
    """P(cluster | intent) of texts."""
    table = np.zeros((n_intents, n_clusters))
    np.add.at(table, (intents, clusters), 1)
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1)


def banking77_grounds(folder: Path, seeds: int, resamples: int, root: Path) -> Iterator[Ground]:
    """One home per seed, with its own traffic and its own split of the texts."""
    corpus = read_corpus(folder)
    hashes, vectors = embedded("banking77", corpus.texts)
    for seed in range(seeds):
        corpus = replace(corpus, for_suites=split(corpus.intents, seed))
        home = root / f"banking77-{seed}"
        log = root / f"banking77-{seed}.log"
        folder = root / f"banking77-traffic-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        traffic = make_traffic(corpus, seed, folder)
        if not (home / "published.duckdb").exists():
            give("banking77", home)
            evalcov(home, "ingest", "traces", str(folder), log=log)
            evalcov(home, "run", "weekly", log=log)
        week = windows(home)[-1]
        steady = steady_days(home, week[0])
        weight = np.array([steady.get(day.date(), 0.0) for day in traffic.days])
        yield ground(
            "banking77", home, week, hashes, vectors, corpus.intents,
            in_traffic=~corpus.for_suites, unseen=corpus.for_suites,
            p=weight @ traffic.daily / weight.sum(), old=traffic.daily[0],
            resamples=resamples, seed=seed,
        )  # fmt: skip


def sample_grounds(resamples: int, root: Path) -> Iterator[Ground]:
    """Two windows of the committed sample, each with its own clusters, and fresh traffic."""
    home, log = root / "sample", root / "sample.log"
    if not (home / "published.duckdb").exists():
        evalcov(home, "ingest", "traces", str(SAMPLE / "traces"), log=log)
        evalcov(home, "run", "weekly", "--as-of", EARLIER_WEEK, log=log)
        evalcov(home, "run", "monthly", log=log)
        evalcov(home, "run", "weekly", log=log)
    calendar = Calendar(START, 10, FRESH_SESSIONS)
    fresh = list(simulate_traffic(calendar, FRESH_SEEDS[0]))
    texts = redactor(Settings().redaction)([turn.query for turn in fresh])
    hashes, vectors = embedded("simulator", texts)
    names = sorted({turn.intent for turn in fresh})
    intents = np.array([names.index(turn.intent) for turn in fresh])
    sessions = Counter()
    turns: dict[date, np.ndarray] = defaultdict(lambda: np.zeros(len(names)))
    for seed in FRESH_SEEDS:
        for turn in simulate_traffic(calendar, seed):
            day = turn.started_at.date()
            sessions[day] += turn.kind == "first"
            turns[day][names.index(turn.intent)] += 1
    early = sum(counts for day, counts in turns.items() if (day - START).days < OLD_DAYS)
    everything = np.ones(len(fresh), bool)
    for week in windows(home):
        days = steady_days(home, week[0])
        p = sum(days[day] * turns[day] / sessions[day] for day in turns if day in days)
        yield ground(
            "sample", home, week, hashes, vectors, intents, in_traffic=everything,
            unseen=everything, p=p / p.sum(), old=early / early.sum(), resamples=resamples, seed=0,
        )  # fmt: skip


def windows(home: Path) -> list[tuple[datetime, str]]:
    """End and headline taxonomy of every scored window."""
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        return con.sql(
            "SELECT as_of, taxonomy_id FROM coverage_scores WHERE headline ORDER BY as_of"
        ).fetchall()


def steady_days(home: Path, as_of: datetime) -> dict[date, float]:
    """Steady sessions of each day of a window."""
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        return dict(
            con.execute(
                "SELECT day, steady_sessions FROM sample_days WHERE as_of = ?", [as_of]
            ).fetchall()
        )


def ground(
    name, home, week, hashes, vectors, intents, *, in_traffic, unseen, p, old, resamples, seed
) -> Ground:
    """Read a window of a home as the pipeline scores it, and place the texts in its clusters.

    `in_traffic` and `unseen` mark the texts that production and suites are drawn from.
    """
    settings = Settings(home=home)
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        sample = con.execute(
            "SELECT source, session_id, stratum, steady_weight, text_hash, cluster_id"
            " FROM trace_sample JOIN cluster_assignments USING (text_hash)"
            " WHERE as_of = ? AND taxonomy_id = ?",
            week,
        ).pl()
    taxonomy = taxonomies.load(settings.taxonomies, week[1])
    k = taxonomy.n_clusters
    cache = vector_cache(settings)
    column = {cluster: cluster % (k + 1) for cluster in range(NOVEL, k)}
    weights, strata = session_weights(sample, column)
    placed = assign(taxonomy, vectors, hashes, embedding_fingerprint=cache.fingerprint)
    clusters = placed.cluster_id % (k + 1)
    given = shares_given_intent(intents[in_traffic], clusters[in_traffic], len(p), k + 1)
    texts = sample.group_by("text_hash").agg(pl.sum("steady_weight")).sort("text_hash")
    return Ground(
        name=name,
        production=production_shares(weights, strata, np.random.default_rng([seed, 1]), resamples),
        truth=p @ given,
        clusters=clusters[unseen],
        intents=intents[unseen],
        p=p,
        old=old,
        gap_inputs=(
            cache.get(texts["text_hash"].to_list()),
            texts["steady_weight"].to_numpy(),
            vectors[unseen],
        ),
        known=float(np.isin(np.array(hashes)[unseen], texts["text_hash"].to_numpy()).mean()),
        shuffled=None
        if (in_traffic & unseen).any()
        else shuffled(p, intents, clusters, unseen, np.random.default_rng([seed, 2])),
    )


def shuffled(p, intents, clusters, unseen, rng, times: int = 20) -> float:
    """Mean bits between two sets of texts that differ by chance alone, as large as these."""
    n_clusters = clusters.max() + 1
    by_intent = np.argsort(intents, kind="stable")
    found = []
    for _ in range(times):
        dealt = np.empty_like(clusters)
        dealt[by_intent] = clusters[np.lexsort((rng.random(len(intents)), intents))]
        one, other = (
            p @ shares_given_intent(intents[part], dealt[part], len(p), n_clusters)
            for part in (unseen, ~unseen)
        )
        found.append(jsd(one, other))
    return float(np.mean(found))


def split(intents: np.ndarray, seed: int) -> np.ndarray:
    """Mask of the 30 % of each intent's texts that are kept for suites."""
    rng = np.random.default_rng([seed, 77])
    kept = np.zeros(len(intents), bool)
    for intent in np.unique(intents):
        members = rng.permutation(np.flatnonzero(intents == intent))
        kept[members[: round(0.3 * len(members))]] = True
    return kept
