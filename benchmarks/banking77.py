"""Coverage on real input: Banking77 as production traffic, through the command line.

Traffic is made by `banking77_traffic.py`; the suites are drawn from texts that never occur in it,
in four modes:

    null    from the window's own distribution: the true divergence is 0
    drift   from the distribution of the first day
    gap     from the window's distribution without 1/6 of the intents
    severe  from 3 of 10 groups of intents (grouped by the similarity of their mean vectors)

Intents are the hidden truth: they make the traffic and measure the result, and the pipeline never
sees them. With M = P(cluster | intent) over all texts, the estimator error is
`jsd_adjusted` - JSD(pM, qM) and the resolution loss is JSD(p, q) - JSD(pM, qM); p is the
steady-weighted mean over the window's days, q what the suite was drawn from. The plain recipe
beside it is plug-in JSD, and clusters without a case as gaps; the oracle knows the intents and
names those without a case first, by their share of traffic.

    python benchmarks/banking77.py --data ../shared/data [--seeds 4] [--cases 300]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import duckdb
import numpy as np
import polars as pl
from banking77_traffic import Corpus, Traffic, make_traffic, read_corpus
from vectors import embedded, give

from evalcov_pipeline.core.coverage.divergence import jsd
from evalcov_pipeline.core.taxonomy.taxonomy import assign
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings

MODES = ("null", "drift", "gap", "severe")
OUT = Path(__file__).parent / "out"


def intent_groups(corpus: Corpus, vectors: np.ndarray, n_groups: int = 10) -> np.ndarray:
    """Groups of intents by the similarity of their mean vectors (spherical k-means)."""
    from sklearn.cluster import KMeans

    means = np.array([vectors[corpus.intents == i].mean(0) for i in range(len(corpus.names))])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return KMeans(n_groups, n_init=20, random_state=0).fit_predict(means)


def suite_distribution(
    mode: str, p: np.ndarray, first_day: np.ndarray, groups: np.ndarray, seed: int
) -> np.ndarray:
    """What the suite of a mode is drawn from."""
    rng = np.random.default_rng([seed, 2])
    if mode == "null":
        return p
    if mode == "drift":
        return first_day
    if mode == "gap":
        kept = np.ones(len(p), bool)
        kept[rng.choice(len(p), len(p) // 6, replace=False)] = False
    else:
        kept = np.isin(groups, rng.choice(np.unique(groups), 3, replace=False))
    return np.where(kept, p, 0) / p[kept].sum()


def evalcov(home: Path, *arguments: str, log: Path) -> float:
    """Run a command; seconds it took."""
    began = time.perf_counter()
    environment = {**os.environ, "EVALCOV_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    with log.open("a") as file:
        subprocess.run(
            [sys.executable, "-m", "evalcov_pipeline", *arguments],
            check=True, env=environment, stdout=file, stderr=file, cwd=home.parent,
        )  # fmt: skip
    return time.perf_counter() - began


def write_suite(corpus: Corpus, q: np.ndarray, cases: int, seed: int, path: Path) -> None:
    rng = np.random.default_rng([seed, 3])
    with path.open("w", encoding="utf-8") as file:
        for intent, n in enumerate(rng.multinomial(cases, q)):
            pool = np.flatnonzero((corpus.intents == intent) & corpus.for_suites)
            for text in rng.choice(pool, n, replace=n > len(pool)):
                case = {
                    "case_id": f"case-{text}-{rng.integers(1 << 30)}",
                    "input": corpus.texts[text],
                }
                file.write(json.dumps(case) + "\n")


def measure(home: Path, corpus: Corpus, vectors, hashes, traffic: Traffic, p, q, mode) -> dict:
    """Compare one scored home with the truth."""
    settings = Settings(home=home)
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        score = con.sql("SELECT * FROM coverage_scores WHERE headline ORDER BY as_of").pl().tail(1)
        score = score.to_dicts()[0]
        texts = con.execute(
            "SELECT text_hash, gap_score, in_gap, eval_cases = 0 AS no_case FROM text_coverage"
            " JOIN cluster_coverage USING (as_of, cluster_id)"
            " WHERE as_of = ? AND taxonomy_id = ?",
            [score["as_of"], score["taxonomy_id"]],
        ).pl()
        sample = "SELECT text_hash, sum(steady_weight) FROM trace_sample WHERE as_of = ? GROUP BY 1"
        weights = dict(con.execute(sample, [score["as_of"]]).fetchall())
        suite = con.sql("SELECT text_hash FROM eval_cases").fetchall()
    fingerprint = vector_cache(settings).fingerprint
    taxonomy = taxonomies.load(settings.taxonomies, score["taxonomy_id"])
    clusters = assign(taxonomy, vectors, hashes, embedding_fingerprint=fingerprint).cluster_id
    m = np.zeros((len(corpus.names), taxonomy.n_clusters + 1))
    np.add.at(m, (corpus.intents, clusters), 1)
    m /= m.sum(1, keepdims=True)
    resolved = jsd(p @ m, q @ m)
    row = {
        "mode": mode,
        "clusters": taxonomy.n_clusters,
        "novel": score["novel_share"],
        "true": jsd(p, q),
        "resolved": resolved,
        "loss": jsd(p, q) - resolved,
        "adjusted": score["jsd_adjusted"],
        "error": score["jsd_adjusted"] - resolved,
        "plain": score["jsd"],
        "plain_error": score["jsd"] - resolved,
        "inside": score["jsd_ci_low"] <= resolved <= score["jsd_ci_high"],
        "p_value": score["p_value"],
        "degraded": score["degraded"],
        "in_gap": float(texts["in_gap"].mean()),
    }
    if mode == "gap":
        intent_of = dict(zip(hashes, corpus.intents, strict=True))
        intents = np.array([intent_of[h] for h in texts["text_hash"]])
        truth = q[intents] == 0
        known = by_cases(
            np.bincount(intents, [weights[h] for h in texts["text_hash"]], minlength=len(q)),
            np.bincount([intent_of[h] for (h,) in suite], minlength=len(q)),
        )[intents]
        found, empty = texts["gap_score"].to_numpy(), texts["no_case"].to_numpy()
        row |= {
            "gap_auc": auc(truth, found),
            "gap_pr": at_true_size(truth, found),
            "oracle_auc": auc(truth, known),
            "oracle_pr": at_true_size(truth, known),
            "plain_auc": auc(truth, empty.astype(float)),
            "plain_precision": float(truth[empty].mean()),
            "plain_recall": float(empty[truth].mean()),
        }
    return row


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Chance that a text in a gap scores above one outside."""
    from scipy.stats import rankdata

    ranks, n = rankdata(score), truth.sum()
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * (~truth).sum()))


def at_true_size(truth: np.ndarray, score: np.ndarray) -> float:
    """Precision = recall when as many texts are named as there are in gaps."""
    named = np.argsort(-score, kind="stable")[: truth.sum()]
    return float(truth[named].mean())


def by_cases(weight: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Groups without a case first, by weight; then by cases per weight."""
    return np.where(cases == 0, weight, -cases / np.maximum(weight, 1e-9))


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--cases", default=300, show_default=True)
@click.option("--modes", default=",".join(MODES), show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for homes and logs.")
def main(data: Path, seeds: int, cases: int, modes: str, keep: Path | None) -> None:
    folder = data / "banking77"
    if not folder.exists():
        click.echo(f"skipped: no Banking77 at {folder}")
        return
    root = keep or Path(tempfile.mkdtemp(prefix="banking77-"))
    root.mkdir(parents=True, exist_ok=True)
    corpus = read_corpus(folder)
    hashes, vectors = embedded("banking77", corpus.texts)
    groups = intent_groups(corpus, vectors)

    rows = []
    for seed in range(seeds):
        log = root / f"seed-{seed}.log"
        base = root / f"seed-{seed}"
        traffic = make_traffic(corpus, seed, root / f"traffic-{seed}")
        give("banking77", base)
        seconds = {
            "ingest": evalcov(base, "ingest", "traces", str(root / f"traffic-{seed}"), log=log),
            "first_run": evalcov(base, "run", "weekly", log=log),
        }
        with duckdb.connect(base / "published.duckdb", read_only=True) as con:
            as_of = con.sql("SELECT max(as_of) FROM coverage_scores").fetchone()[0]
            steady = dict(
                con.execute(
                    "SELECT day, steady_sessions FROM sample_days WHERE as_of = ?", [as_of]
                ).fetchall()
            )
            turns = con.sql("SELECT count(*) FROM trace_sample").fetchone()[0]
        weight = np.array([steady.get(day.date(), 0.0) for day in traffic.days])
        p = weight @ traffic.daily / weight.sum()
        for mode in modes.split(","):
            home = root / f"seed-{seed}-{mode}"
            shutil.copytree(base, home)
            q = suite_distribution(mode, p, traffic.daily[0], groups, seed)
            write_suite(corpus, q, cases, seed, home / "suite.jsonl")
            evalcov(home, "ingest", "evals", str(home / "suite.jsonl"), log=log)
            seconds["run"] = evalcov(home, "run", "weekly", log=log)
            row = measure(home, corpus, vectors, hashes, traffic, p, q, mode)
            rows.append(
                {
                    "seed": seed,
                    "cases": cases,
                    "sessions": traffic.sessions,
                    "turns": traffic.turns,
                    "sampled_turns": turns,
                    **row,
                    **seconds,
                }
            )
            click.echo(json.dumps(rows[-1], default=float), err=True)
    table = pl.DataFrame(rows, infer_schema_length=None).sort("mode", "seed")
    report(table)
    OUT.mkdir(exist_ok=True)
    (OUT / "banking77.json").write_text(json.dumps(rows, indent=1, default=float))


def report(runs: pl.DataFrame) -> None:
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, float_precision=3):
        click.echo("Divergence in bits, per mode and seed")
        columns = "mode seed clusters true resolved loss adjusted error plain plain_error inside"
        click.echo(runs.select(*columns.split(), "p_value", "degraded", "in_gap"))
        click.echo("Means per mode")
        means = runs.group_by("mode").agg(
            pl.mean("true", "resolved", "loss", "error"),
            rmse=(pl.col("error") ** 2).mean().sqrt(),
            plain_rmse=(pl.col("plain_error") ** 2).mean().sqrt(),
            inside=pl.col("inside").mean(),
            degraded=pl.col("degraded").mean(),
            in_gap=pl.col("in_gap").mean(),
        )
        click.echo(means.sort("mode"))
        if "gap_auc" in runs.columns:
            click.echo("Finding the left-out intents (gap mode)")
            found = ["gap_auc", "gap_pr", "oracle_auc", "oracle_pr", "plain_auc"]
            found += ["plain_precision", "plain_recall"]
            gaps = runs.filter(pl.col("mode") == "gap").select("seed", *found)
            click.echo(pl.concat([gaps, gaps.mean()], how="diagonal_relaxed"))
        click.echo("Traffic, sampled turns of the last window, and seconds")
        click.echo(runs.select(pl.mean("sessions", "turns", "sampled_turns")))
        click.echo(runs.select(pl.mean("ingest", "first_run", "run")))


if __name__ == "__main__":
    main()
