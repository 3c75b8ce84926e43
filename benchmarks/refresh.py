"""Refresh: what new cases do to a suite's true divergence, whether the projection holds, how fast.

Draws are those of `blind_spots.py`: up to 4,000 distinct texts of production, a suite of 300 other
texts from which 1/6 of the intents was left out. Intents are the hidden truth: they measure, and
methods see vectors, weights and clusters (fitted on each draw's production) alone.

Choice: true divergence JSD(p, q) in bits over intents once 30, 60 or 120 cases are added, all kept;
`missing` is the share of intents without a case and above 1 % of traffic that got one; `closed`
the share of the way from random to oracle.

    plan       `plan_refresh` and `draw_cases`, purposive cases alone
    default    the same with the random share of .2
    random     turns drawn from traffic at random
    cluster    one text per cluster in turn, the largest first
    farthest   the text least like any case so far
    oracle     greedy apportionment over the true intents

Projection: `jsd_projected` against the `jsd_adjusted` of the next week, an independent draw of
turns whose intents have drifted (log shares moved by a normal deviate of .2), once reviewers have
rejected 20 % of the cases at random; for suites without 1/6 and without 1/2 of the intents.

    python benchmarks/refresh.py --data ../shared/data [--seeds 8] [--only banking77] [--quick]
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import get_args

import click
import numpy as np
import polars as pl
from blind_spots import Corpus, Draw, make_draw, read_corpora

from evalcov_pipeline.core.coverage.clusters import NOVEL, cluster_coverage
from evalcov_pipeline.core.coverage.divergence import apportion, jsd, score_divergence
from evalcov_pipeline.core.refresh.candidates import Candidates, find_candidates
from evalcov_pipeline.core.refresh.plan import (
    RefreshInputs,
    RefreshPlan,
    RefreshRules,
    plan_refresh,
)
from evalcov_pipeline.core.refresh.queries import DrawRules, draw_cases
from evalcov_pipeline.core.statistics.shares import ProductionShares, production_shares
from evalcov_pipeline.core.taxonomy.discovery import Method, discover
from evalcov_pipeline.core.taxonomy.taxonomy import Taxonomy, assign, freeze

N_CASES, LEFT_OUT, WORSE = 300, 1 / 6, 1 / 2
BUDGETS = (30, 60, 120)
TURNS, DRIFT, KEPT = 9000, 0.2, 0.8
STRATA = 30
NOTABLE = 0.01
PURPOSIVE, DEFAULT = 0.0, 0.2
"""Random shares."""
OUT = Path(__file__).parent / "out"


@dataclass(frozen=True, eq=False)
class Scene:
    """A draw as the pipeline sees it: texts and cases in the clusters of a taxonomy."""

    draw: Draw
    taxonomy: Taxonomy
    clusters: np.ndarray
    case_clusters: np.ndarray
    candidates: Candidates
    inputs: RefreshInputs
    place: dict[str, int]


def names(vectors: np.ndarray) -> list[str]:
    """A hash per text: distinct texts have distinct vectors, but for a few that fall together."""
    return [hashlib.blake2b(vector.tobytes(), digest_size=12).hexdigest() for vector in vectors]


def shares_of(clusters: np.ndarray, k: int, rng: np.random.Generator) -> ProductionShares:
    """Sessions of one turn each; the last category is novel."""
    turns = np.zeros((len(clusters), k + 1))
    turns[np.arange(len(clusters)), clusters] = 1
    return production_shares(turns, rng.integers(0, STRATA, len(clusters)), rng)


def clusters_of(taxonomy: Taxonomy, vectors: np.ndarray) -> np.ndarray:
    fingerprint = taxonomy.embedding_fingerprint
    return assign(taxonomy, vectors, names(vectors), embedding_fingerprint=fingerprint).cluster_id


def fit(draw: Draw, seed: int, method: Method) -> Taxonomy:
    hashes, first = np.unique(names(draw.production), return_index=True)
    vectors = draw.production[first]
    found = discover(vectors, draw.weights[first], method=method, seed=seed)
    return freeze(
        found.labels,
        vectors,
        hashes,
        found.coordinates,
        embedding_fingerprint="benchmark",
        seed=seed,
    )


def make_scene(draw: Draw, taxonomy: Taxonomy, seed: int) -> Scene:
    hashes = names(draw.production)
    _, first = np.unique(hashes, return_index=True)
    k = taxonomy.n_clusters
    clusters, case_clusters = (clusters_of(taxonomy, v) for v in (draw.production, draw.cases))
    rng = np.random.default_rng([seed, 21])
    production = shares_of(np.repeat(clusters, draw.weights.astype(int)), k, rng)
    counts = np.bincount(np.where(case_clusters == NOVEL, k, case_clusters), minlength=k + 1)
    ids = [*range(k), NOVEL]
    coverage = cluster_coverage(
        ids,
        production,
        production.shares,
        counts,
        as_of=datetime(2026, 1, 5),
        newest_case_at=[None] * (k + 1),
    )
    texts = pl.DataFrame(
        {
            "text_hash": hashes,
            "cluster_id": clusters,
            "steady_weight": draw.weights / draw.weights.sum(),
            "gap_score": 0.5,
            "signal": 0.0,
            "session_id": hashes,
            "user_id": [None] * len(hashes),
        }
    )
    candidates = find_candidates(texts[first], draw.production[first], draw.cases, rng)
    keyed = coverage.clusters.select(
        "cluster_id",
        pl.col("cluster_id").cast(pl.String).alias("cluster_key"),
        pl.col("cluster_id").cast(pl.String).alias("label"),
        "status",
        "stale",
        "eval_cases",
        designed=pl.lit(0),
    ).join(
        candidates.offered().cast({"cluster_id": pl.Int64}),
        on="cluster_id",
        how="left",
        maintain_order="left",
    )
    inputs = RefreshInputs(keyed.with_columns(pl.col("texts", "weight").fill_null(0)), production)
    place = {text: index for index, text in enumerate(hashes)}
    return Scene(draw, taxonomy, clusters, case_clusters, candidates, inputs, place)


@lru_cache(maxsize=16)
def planned(
    scene: Scene, budget: int, random_share: float, seed: int
) -> tuple[RefreshPlan, np.ndarray]:
    """The plan, and the places of the texts drawn for it."""
    rules = RefreshRules(random_share=random_share, keep_rate=KEPT)
    plan = plan_refresh(scene.inputs, budget, rules, np.random.default_rng([seed, 31]))
    rng = np.random.default_rng([seed, 32])
    drawn = draw_cases(plan, scene.candidates, DrawRules(spare_share=0), rng)
    return plan, np.array([scene.place[text] for text in drawn.picks["text_hash"]])


def by_chance(scene: Scene, budget: int, seed: int) -> np.ndarray:
    weights = scene.draw.weights / scene.draw.weights.sum()
    rng = np.random.default_rng([seed, 41])
    return rng.choice(len(weights), budget, replace=False, p=weights)


def one_per_cluster(scene: Scene, budget: int, seed: int) -> np.ndarray:
    order = np.random.default_rng([seed, 42]).permutation(len(scene.clusters))
    frame = pl.DataFrame({"text": order, "cluster": scene.clusters[order]}).with_columns(
        turn=pl.int_range(pl.len()).over("cluster"), size=pl.len().cast(pl.Int64).over("cluster")
    )
    ranked = frame.sort("turn", -pl.col("size"), "cluster")
    return ranked["text"].head(budget).to_numpy()


def farthest(scene: Scene, budget: int, seed: int) -> np.ndarray:
    texts = scene.draw.production
    likeness = (texts @ scene.draw.cases.T).max(axis=1)
    picks = []
    for _ in range(budget):
        picks.append(int(likeness.argmin()))
        likeness = np.maximum(likeness, texts @ texts[picks[-1]])
    return np.array(picks)


def oracle(scene: Scene, budget: int, seed: int) -> np.ndarray:
    p, counts = truth(scene.draw)
    rng = np.random.default_rng([seed, 43])
    wanted = apportion(p, budget, counts) - counts
    return np.concatenate(
        [
            rng.choice(members, min(n, len(members)), replace=False)
            for intent, n in enumerate(wanted)
            if len(members := np.flatnonzero(scene.draw.intents == intent))
        ]
    )


METHODS: dict[str, Callable[[Scene, int, int], np.ndarray]] = {
    "plan": lambda scene, budget, seed: planned(scene, budget, PURPOSIVE, seed)[1],
    "default": lambda scene, budget, seed: planned(scene, budget, DEFAULT, seed)[1],
    "random": by_chance,
    "cluster": one_per_cluster,
    "farthest": farthest,
    "oracle": oracle,
}


def truth(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Intents' shares of production, and their cases."""
    k = int(max(draw.intents.max(), draw.case_intents.max())) + 1
    p = np.bincount(draw.intents, draw.weights, minlength=k)
    return p / p.sum(), np.bincount(draw.case_intents, minlength=k)


def choice_rows(scene: Scene, seed: int) -> Iterator[dict]:
    """A row per budget and method."""
    p, counts = truth(scene.draw)
    missing = (counts == 0) & (p > NOTABLE)
    for budget in BUDGETS:
        for method, choose in METHODS.items():
            picks = choose(scene, budget, seed)
            added = np.bincount(scene.draw.intents[picks], minlength=len(p))
            after = counts + added
            yield {
                "budget": budget,
                "method": method,
                "before": jsd(p, counts / counts.sum()),
                "true": jsd(p, after / after.sum()),
                "missing": float((added[missing] > 0).mean()) if missing.any() else None,
            }


def next_week(corpus: Corpus, scene: Scene, seed: int) -> ProductionShares:
    """Shares of an independent draw of turns, drifted."""
    rng = np.random.default_rng([seed, 51])
    p, _ = truth(scene.draw)
    moved = p * np.exp(rng.normal(0, DRIFT, len(p)))
    turns = rng.multinomial(TURNS, moved / moved.sum())
    texts = np.concatenate(
        [
            rng.choice(np.flatnonzero((corpus.intents == intent) & ~corpus.for_suites), n)
            for intent, n in enumerate(turns)
            if n
        ]
    )
    distinct, inverse = np.unique(texts, return_inverse=True)
    clusters = clusters_of(scene.taxonomy, corpus.vectors[distinct])
    return shares_of(clusters[inverse], scene.taxonomy.n_clusters, rng)


def projection_rows(corpus: Corpus, scene: Scene, seed: int) -> Iterator[dict]:
    production = next_week(corpus, scene, seed)
    rng = np.random.default_rng([seed, 52])
    now = scene.inputs.clusters["eval_cases"].to_numpy()
    for budget in BUDGETS:
        plan, picks = planned(scene, budget, DEFAULT, seed)
        kept = rng.permutation(picks)[: round(KEPT * len(picks))]
        added = np.bincount(scene.clusters[kept] % len(now), minlength=len(now))  # novel is last
        achieved = score_divergence(production, now + added, added, rng).jsd_adjusted
        unchanged = score_divergence(production, now, 0 * now, rng).jsd_adjusted
        yield {
            "budget": budget,
            "before": plan.jsd_before,
            "unchanged": unchanged,
            "projected": plan.jsd_projected,
            "achieved": achieved,
            "error": plan.jsd_projected - achieved,
        }


def speed_row(n: int = 50_000, k: int = 80, d: int = 384) -> dict:
    """Seconds of the three steps for one large window of clustered random vectors."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(k + 1, d))
    cluster = rng.choice(k + 1, n, p=rng.dirichlet(np.full(k + 1, 2.0)))
    vectors = (centres[cluster] + 1.2 * rng.normal(size=(n, d))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cases = vectors[rng.choice(n, N_CASES, replace=False)] + 0.02 * rng.normal(size=(N_CASES, d))
    cases = (cases / np.linalg.norm(cases, axis=1, keepdims=True)).astype(np.float32)
    ids = [*range(k), NOVEL]
    texts = pl.DataFrame(
        {
            "text_hash": [f"{number:024x}" for number in rng.permutation(n)],
            "cluster_id": np.array(ids)[cluster],
            "steady_weight": rng.pareto(2.0, n) + 0.1,
            "gap_score": rng.random(n),
            "signal": 0.0,
            "session_id": [f"s{number // 2}" for number in range(n)],
            "user_id": [None] * n,
        }
    )
    production = shares_of(cluster[:20_000], k, rng)
    tracemalloc.start()
    refresh_once(texts, vectors, cases, ids, production)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    on_processor = time.process_time()
    seconds = refresh_once(texts, vectors, cases, ids, production)
    return {
        "texts": n,
        "clusters": k,
        **seconds,
        "total_s": sum(seconds.values()),
        "processor_s": time.process_time() - on_processor,
        "peak_mb": peak / 2**20,
        "vectors_mb": vectors.nbytes / 2**20,
        "load": os.getloadavg()[0],
        "cores": os.cpu_count(),
    }


def refresh_once(
    texts: pl.DataFrame,
    vectors: np.ndarray,
    cases: np.ndarray,
    ids: list[int],
    production: ProductionShares,
) -> dict[str, float]:
    """Seconds of each step for 60 cases."""
    rng = np.random.default_rng(1)
    marks = [time.perf_counter()]
    candidates = find_candidates(texts, vectors, cases, rng)
    marks.append(time.perf_counter())
    clusters = pl.DataFrame(
        {
            "cluster_id": ids,
            "cluster_key": [str(cluster) for cluster in ids],
            "label": [str(cluster) for cluster in ids],
            "status": ["undecidable", "covered"] * (len(ids) // 2) + ["novel"],
            "stale": False,
            "eval_cases": rng.multinomial(N_CASES, production.shares),
            "designed": 0,
        }
    ).join(candidates.offered(), on="cluster_id", how="left", maintain_order="left")
    inputs = RefreshInputs(
        clusters.with_columns(pl.col("texts", "weight").fill_null(0)), production
    )
    plan = plan_refresh(inputs, 60, RefreshRules(), rng)
    marks.append(time.perf_counter())
    draw_cases(plan, candidates, DrawRules(), rng)
    marks.append(time.perf_counter())
    return dict(zip(("candidates_s", "plan_s", "draw_s"), np.diff(marks).tolist(), strict=True))


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--first-seed", default=100, show_default=True)
@click.option("--method", type=click.Choice(get_args(Method)), default="umap_hdbscan")
@click.option("--quick", is_flag=True, help="Two seeds, k-means clusters.")
@click.option("--only", multiple=True, help="Corpus; repeatable.")
def main(
    data: Path,
    seeds: int,
    first_seed: int,
    method: Method,
    quick: bool,
    only: tuple[str, ...],
) -> None:
    speed = speed_row()
    if quick:
        seeds, method = 2, "kmeans"
    choice, projection = [], []
    OUT.mkdir(exist_ok=True)
    for corpus in read_corpora(data):
        if only and corpus.name not in only:
            continue
        for seed, traffic in product(range(first_seed, first_seed + seeds), ("skewed", "even")):
            draw, worse = (
                make_draw(corpus, seed, N_CASES, share, skewed=traffic == "skewed")
                for share in (LEFT_OUT, WORSE)
            )  # of the same production
            taxonomy = fit(draw, seed, method)
            stamp = {"corpus": corpus.name, "traffic": traffic, "seed": seed}
            stamp |= {"clusters": taxonomy.n_clusters}
            scene = make_scene(draw, taxonomy, seed)
            choice += [stamp | row for row in choice_rows(scene, seed)]
            for share, suite in (
                (LEFT_OUT, scene),
                (WORSE, make_scene(worse, taxonomy, seed)),
            ):
                rows = projection_rows(corpus, suite, seed)
                projection += [stamp | {"left_out": share} | row for row in rows]
            results = {"choice": choice, "projection": projection, "speed": speed}
            (OUT / "refresh.json").write_text(json.dumps(results, indent=1))
            click.echo(f"{corpus.name} {traffic} seed {seed}", err=True)
    report(pl.DataFrame(choice, infer_schema_length=None), pl.DataFrame(projection), speed)


def report(choice: pl.DataFrame, projection: pl.DataFrame, speed: dict) -> None:
    place = ["corpus", "traffic", "budget"]
    means = choice.group_by(*place, "method", maintain_order=True).agg(
        pl.mean("before", "true", "missing")
    )
    random, best = (pl.col("true").filter(method=name).first() for name in ("random", "oracle"))
    closed = means.with_columns(closed=((random - pl.col("true")) / (random - best)).over(place))
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, float_precision=3):
        for value in ("true", "closed", "missing"):
            click.echo(f"Choice, mean over seeds: {value}")
            index = [*place, "before"] if value == "true" else place
            click.echo(closed.pivot("method", index=index, values=value))
        click.echo("Share of draws with every notable missing intent in the suite")
        whole = choice.drop_nulls("missing").group_by(*place, "method", maintain_order=True)
        click.echo(
            whole.agg((pl.col("missing") == 1).mean()).pivot(
                "method", index=place, values="missing"
            )
        )
        click.echo("Projection and what it came to a week later")
        errors = (
            pl.mean("before", "unchanged", "projected", "achieved"),
            pl.col("error").mean().alias("bias"),
            pl.col("error").abs().mean().alias("mean_absolute_error"),
            pl.col("error").abs().max().alias("largest"),
        )
        conditions = ["corpus", "traffic", "left_out", "budget"]
        click.echo(projection.group_by(conditions, maintain_order=True).agg(*errors))
        click.echo(projection.select(*errors))
        click.echo("One large window")
        click.echo(pl.DataFrame([speed]))


if __name__ == "__main__":
    main()
