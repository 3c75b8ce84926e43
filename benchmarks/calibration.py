"""Error rates of the score on real texts: false alarms, power, intervals, accuracy.

Two kinds of production, each scored by the pipeline itself (sample draw, redaction, embedding,
clustering, assignment with leave-one-out):

    banking77   six weeks of traffic made of Banking77 (see `banking77.py`), one home and one split
                of the texts per seed; suites come from the 30 % of texts that traffic never uses
    sample      the committed sample; suites come from traffic that its simulator makes anew with
                another seed (150 sessions a day), so nothing limits how many texts there are

Intents are the hidden truth. Production is drawn from cluster shares p M, with p the steady share
of each intent and M = P(cluster | intent) over the texts that traffic draws from; suites are drawn
from q M', with M' over unseen texts. A suite's true divergence is JSD(p M, q M'), in bits, and q is
chosen such that it is exactly the one stated. Three kinds of divergence:

    missing   clusters left out one after the other, in random order
    tilted    the share of every intent times a log-normal factor
    old       toward the intents of the first days, and beyond them if that is not far enough

A proportional suite draws its intents from p and distinct unseen texts of each intent.

    python benchmarks/calibration.py --data ../shared/data [--quick] [--keep FOLDER]
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from multiprocessing import get_context
from pathlib import Path

import banking77
import click
import divergence as synthetic
import duckdb
import numpy as np
import polars as pl
from scipy.optimize import brentq

from evalcov_pipeline.core.coverage import NOVEL, cluster_coverage
from evalcov_pipeline.core.divergence import DivergenceScore, jsd, score_divergence
from evalcov_pipeline.core.gaps import gap_scores
from evalcov_pipeline.core.redaction import Redactor
from evalcov_pipeline.core.score import judge_suite
from evalcov_pipeline.core.scoring import session_weights
from evalcov_pipeline.core.shares import ProductionShares, production_shares
from evalcov_pipeline.core.taxonomy import assign
from evalcov_pipeline.core.texts import text_hash
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.simulator.rhythm import Calendar
from evalcov_pipeline.simulator.sample import START
from evalcov_pipeline.simulator.traffic import simulate_traffic
from evalcov_pipeline.storage import taxonomies
from evalcov_pipeline.storage.embedding import embedder, vector_cache
from evalcov_pipeline.storage.vectors import embed_texts

OUT = Path(__file__).parent / "out" / "calibration.json"
SAMPLE = Path(__file__).parents[1] / "data" / "sample"
SIZES = (30, 100, 300)
KINDS = ("missing", "tilted", "old")
POWER_AT = (0.25, 0.30, 0.35, 0.40)
COVERAGE_AT = (0.15, 0.25, 0.35, 0.50)
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
    """

    name: str
    production: ProductionShares
    truth: np.ndarray
    clusters: np.ndarray
    intents: np.ndarray
    p: np.ndarray
    old: np.ndarray
    gap_inputs: tuple[np.ndarray, np.ndarray, np.ndarray] | None

    def cases(self, q: np.ndarray) -> np.ndarray:
        """(k + 1,) cluster shares of a suite with intent shares `q`."""
        return q @ shares_given_intent(self.intents, self.clusters, len(self.p), len(self.truth))

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


# ---------------------------------------------------------------------------------- the two grounds


def banking77_grounds(folder: Path, seeds: int, resamples: int, root: Path) -> Iterator[Ground]:
    """One home per seed, with its own traffic and its own split of the texts."""
    corpus = banking77.read_corpus(folder)
    hashes = [text_hash(text) for text in corpus.texts]
    vectors, store = embedded(corpus.texts, hashes, root)
    for seed in range(seeds):
        corpus = replace(corpus, for_suites=split(corpus.intents, seed))
        home = root / f"banking77-{seed}"
        log = root / f"banking77-{seed}.log"
        folder = root / f"banking77-traffic-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        traffic = banking77.make_traffic(corpus, seed, folder)
        if not (home / "published.duckdb").exists():
            shutil.copytree(store, home / "lake" / "vectors")
            banking77.evalcov(home, "ingest", "traces", str(folder), log=log)
            banking77.evalcov(home, "run", "weekly", log=log)
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
        banking77.evalcov(home, "ingest", "traces", str(SAMPLE / "traces"), log=log)
        banking77.evalcov(home, "run", "weekly", "--as-of", EARLIER_WEEK, log=log)
        banking77.evalcov(home, "run", "monthly", log=log)
        banking77.evalcov(home, "run", "weekly", log=log)
    calendar = Calendar(START, 10, FRESH_SESSIONS)
    fresh = list(simulate_traffic(calendar, FRESH_SEEDS[0]))
    texts = Redactor(Settings().redaction).redact_all([turn.query for turn in fresh])
    hashes = [text_hash(text) for text in texts]
    vectors, _ = embedded(texts, hashes, root)
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
    )


def embedded(texts: list[str], hashes: list[str], root: Path) -> tuple[np.ndarray, Path]:
    """Vectors of texts, and the folder of the cache that keeps them."""
    shared = Settings(home=root / "vectors")
    cache = vector_cache(shared)
    frame = pl.DataFrame({"text_hash": hashes, "text": texts})
    embed_texts(cache, lambda: embedder(shared.embedding), frame)
    return cache.get(hashes), shared.lake / "vectors"


def split(intents: np.ndarray, seed: int) -> np.ndarray:
    """Mask of the 30 % of each intent's texts that are kept for suites."""
    rng = np.random.default_rng([seed, 77])
    kept = np.zeros(len(intents), bool)
    for intent in np.unique(intents):
        members = rng.permutation(np.flatnonzero(intents == intent))
        kept[members[: round(0.3 * len(members))]] = True
    return kept


# ------------------------------------------------------------------------------------------- suites


def divergent_cases(ground: Ground, kind: str, target: float, rng) -> np.ndarray:
    """(k + 1,) cluster shares of a suite at `target` bits from production."""
    path, far = PATHS[kind](ground, rng)
    if jsd(ground.truth, path(far)) < target:
        return divergent_cases(ground, kind, target, rng)
    return path(brentq(lambda x: jsd(ground.truth, path(x)) - target, 0.0, far))


def missing(ground: Ground, rng) -> tuple[Callable[[float], np.ndarray], float]:
    """Left out: a share of production, cluster by cluster."""
    cases = ground.cases(ground.p)
    order = rng.permutation(len(cases))
    before = np.cumsum(cases[order]) - cases[order]

    def at(x):
        kept = cases.copy()
        kept[order] -= np.clip(x - before, 0, cases[order])
        return np.clip(kept, 0, None) / kept.sum()

    return at, 0.99


def tilted(ground: Ground, rng) -> tuple[Callable[[float], np.ndarray], float]:
    """More of some intents and less of others."""
    tilt = rng.normal(size=len(ground.p))

    def at(x):
        q = ground.p * np.exp(x * tilt)
        return ground.cases(q / q.sum())

    return at, 20.0


def old(ground: Ground, rng) -> tuple[Callable[[float], np.ndarray], float]:
    """Toward the old distribution up to 1, then as far beyond it again."""
    ratio = ground.old / np.maximum(ground.p, 1e-4)

    def at(x):
        q = (1 - min(x, 1)) * ground.p + min(x, 1) * ground.old
        q = q * ratio ** max(0.0, x - 1)
        return ground.cases(q / q.sum())

    return at, 20.0


PATHS = {"missing": missing, "tilted": tilted, "old": old}


# ------------------------------------------------------------------------------------------ figures


def judged(ground: Ground, counts: np.ndarray, rng) -> tuple[DivergenceScore, np.ndarray, bool]:
    """Score, statuses and whether the suite is degraded."""
    k = len(counts) - 1
    score = score_divergence(ground.production, counts, None, rng)
    rows = cluster_coverage(
        [*range(k), NOVEL],
        ground.production,
        ground.production.shares,
        counts,
        as_of=datetime(2026, 11, 9),
        newest_case_at=[None] * (k + 1),
    ).clusters
    liable = rows.filter(pl.col("status") == "liability")
    liabilities = {str(i): share for i, share in liable["cluster_id", "production_share"].rows()}
    return score, rows["status"].to_numpy(), judge_suite(score, liabilities).degraded


def false_alarms(ground: Ground, n: int, suites: int, marked: int, seed) -> dict:
    """Rates on proportional suites; share of production marked `in_gap` on the first `marked`."""
    rng = np.random.default_rng(seed)
    found = {name: [] for name in ("significant", "degraded", "false_gap", "false_tilt", "inside")}
    in_gap = []
    true = jsd(ground.truth, ground.cases(ground.p))
    for i in range(suites):
        drawn = ground.draw(n, rng)
        counts = np.bincount(ground.clusters[drawn], minlength=len(ground.truth))
        score, status, degraded = judged(ground, counts, rng)
        found["significant"].append(score.p_value < 0.05)
        found["degraded"].append(degraded)
        found["false_gap"].append(np.isin(status, ["gap", "liability"]).any())
        found["false_tilt"].append(np.isin(status, ["thin", "over_represented"]).any())
        found["inside"].append(score.ci_low <= true <= score.ci_high)
        if i < marked:
            texts, weights, unseen = ground.gap_inputs
            gaps = gap_scores(texts, weights, unseen[drawn], rng=rng)
            in_gap.append(float(weights @ gaps.in_gap / weights.sum()))
    return {
        "corpus": ground.name,
        "cases": n,
        "suites": suites,
        "true": true,
        **{name: float(np.mean(values)) for name, values in found.items()},
        "in_gap": float(np.mean(in_gap)) if in_gap else None,
        "in_gap_suites": len(in_gap),
    }


def divergent(ground: Ground, n: int, kind: str, target: float, suites: int, seed) -> dict:
    """Power, interval and error on suites at a known divergence."""
    rng = np.random.default_rng(seed)
    significant, degraded, inside, errors, widths = [], [], [], [], []
    for _ in range(suites):
        counts = rng.multinomial(n, divergent_cases(ground, kind, target, rng))
        score, _, fell = judged(ground, counts, rng)
        significant.append(score.p_value < 0.05)
        degraded.append(fell)
        inside.append((score.ci_low > target, score.ci_high < target))
        errors.append(score.jsd - score.bias - target)
        widths.append(score.ci_high - score.ci_low)
    above, below = np.mean(inside, axis=0)
    return {
        "corpus": ground.name,
        "cases": n,
        "kind": kind,
        "jsd": target,
        "suites": suites,
        "significant": float(np.mean(significant)),
        "degraded": float(np.mean(degraded)),
        "covered": float(1 - above - below),
        "missed_above": float(above),
        "missed_below": float(below),
        "bias": float(np.mean(errors)),
        "rmse": float(np.sqrt(np.mean(np.square(errors)))),
        "width": float(np.mean(widths)),
    }


def pooled(rows: list[dict], keys: list[str]) -> pl.DataFrame:
    """Rows of several homes together, weighted by their suites."""
    rates = pl.selectors.float().exclude(keys)
    return (
        pl.DataFrame(rows, infer_schema_length=None)
        .with_columns(rates * pl.col("suites"))
        .group_by(keys, maintain_order=True)
        .agg(rates.sum() / pl.col("suites").sum(), pl.sum("suites"))
    )


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option(
    "--suites", default=70, show_default=True, help="Suites per kind, size and divergence."
)
@click.option(
    "--null-suites", default=1200, show_default=True, help="Proportional suites per size."
)
@click.option("--draws", default=300, show_default=True, help="Suites per cell of estimators.")
@click.option("--seeds", default=3, show_default=True, help="Homes of Banking77.")
@click.option("--resamples", default=299, show_default=True)
@click.option("--quick", is_flag=True, help="Few suites, one home per corpus.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for homes; reused.")
@click.option("--workers", default=2, show_default=True)
def main(data, suites, null_suites, draws, seeds, resamples, quick, keep, workers) -> None:
    """Print the tables and write them as JSON."""
    if quick:
        suites, null_suites, draws, seeds = 20, 60, 30, 1
    root = keep or Path(tempfile.mkdtemp(prefix="calibration-"))
    root.mkdir(parents=True, exist_ok=True)
    grounds = {"sample": list(sample_grounds(resamples, root))}
    if (data / "banking77").exists():
        made = banking77_grounds(data / "banking77", seeds, resamples, root)
        grounds["banking77"] = list(made)
    else:
        click.echo(f"no Banking77 at {data / 'banking77'}: the sample alone")

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        alarms, rates = [], []
        for homes in grounds.values():
            plain = [replace(home, gap_inputs=None) for home in homes]
            for n in SIZES:
                per_home = -(-null_suites // len(homes))
                for i, home in enumerate(homes):
                    marked = 1 if quick else 8
                    seed = [n, i, 1]
                    alarms.append(pool.submit(false_alarms, home, n, per_home, marked, seed))
                for target in sorted({*POWER_AT, *COVERAGE_AT}):
                    for j, kind in enumerate(KINDS):
                        per_home = -(-suites // len(homes))
                        for i, home in enumerate(plain):
                            seed = [n, round(100 * target), j, i, 2]
                            rates.append(
                                pool.submit(divergent, home, n, kind, target, per_home, seed)
                            )
        real = {name: homes[0].truth for name, homes in grounds.items()}
        cells = synthetic.accuracy_cells(real, draws, resamples)
        accuracy = [pool.submit(synthetic.accuracy, *cell) for cell in cells]
        alarms, rates, accuracy = ([f.result() for f in x] for x in (alarms, rates, accuracy))
    for name, homes in grounds.items():
        sizes = ", ".join(str(len(home.truth) - 1) for home in homes)
        click.echo(f"{name}: {sizes} clusters")
    report(alarms, rates, accuracy)
    OUT.parent.mkdir(exist_ok=True)
    conditions = {"suites": suites, "null_suites": null_suites, "resamples": resamples}
    found = {"false_alarms": alarms, "divergent": rates, "accuracy": accuracy}
    OUT.write_text(json.dumps(conditions | found, indent=1))
    click.echo(f"written to {OUT}")


def report(alarms: list[dict], rates: list[dict], accuracy: list[dict]) -> None:
    """The tables."""
    shown = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 200, "float_precision": 3}
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**shown, **plain, tbl_formatting="MARKDOWN"):
        click.echo("Proportional suites of unseen texts: shares of suites")
        click.echo(pooled(alarms, ["corpus", "cases"]))
        table = pooled(rates, ["corpus", "cases", "kind", "jsd"])
        click.echo("Degraded, by kind and true divergence")
        power = table.filter(pl.col("jsd").is_in(POWER_AT))
        click.echo(power.pivot("jsd", index=["corpus", "cases", "kind"], values="degraded"))
        click.echo("Degraded, all kinds")
        power = pooled(rates, ["corpus", "cases", "jsd"]).filter(pl.col("jsd").is_in(POWER_AT))
        click.echo(power.pivot("jsd", index=["corpus", "cases"], values="degraded"))
        click.echo("95 % interval holds the true divergence, by kind")
        inside = table.filter(pl.col("jsd").is_in(COVERAGE_AT))
        click.echo(inside.pivot("jsd", index=["corpus", "cases", "kind"], values="covered"))
        click.echo("95 % interval holds the true divergence, all kinds")
        inside = pooled(rates, ["corpus", "cases", "jsd"]).filter(pl.col("jsd").is_in(COVERAGE_AT))
        click.echo(inside.pivot("jsd", index=["corpus", "cases"], values="covered"))
        click.echo("Mean error and RMSE of jsd_adjusted, unclipped, and width of the interval")
        click.echo(
            table.group_by("corpus", "cases", "jsd", maintain_order=True).agg(
                pl.mean("bias", "rmse", "width", "missed_above", "missed_below")
            )
        )
    synthetic.print_accuracy(accuracy)


if __name__ == "__main__":
    main()
