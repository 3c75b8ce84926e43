"""Coverage on real input: Banking77 as production traffic, through the command line.

Traffic: 6 weeks of OTLP traces with OpenInference attributes. Intents are drawn from a Zipf-like
distribution that drifts from day to day, with a promotional spike, in sessions of 1 to 4 turns.
The suites are drawn from texts that never occur in traffic, in four modes:

    null    from the window's own distribution: the true divergence is 0
    drift   from the distribution of the first day
    gap     from the window's distribution without 1/6 of the intents
    severe  from 3 of 10 groups of intents (grouped by the similarity of their mean vectors)

Intents are the hidden truth: they make the traffic and measure the result, and the pipeline never
sees them. With M = P(cluster | intent) over all texts, the estimator error is
`jsd_adjusted` - JSD(pM, qM) and the resolution loss is JSD(p, q) - JSD(pM, qM); p is the
steady-weighted mean over the window's days, q what the suite was drawn from. The plain recipe
beside it is plug-in JSD, and clusters without a case as gaps.

    python benchmarks/banking77.py --data ../shared/data [--seeds 4] [--cases 300]
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click
import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.divergence import jsd
from evalcov_pipeline.core.redaction import Redactor
from evalcov_pipeline.core.taxonomy import assign
from evalcov_pipeline.core.texts import text_hash
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage import taxonomies
from evalcov_pipeline.storage.embedding import embedder, vector_cache
from evalcov_pipeline.storage.vectors import embed_texts

START = datetime(2026, 9, 28)
WEEKS = 6
SESSIONS_PER_DAY = 190
SPIKE_DAY, SPIKE_FACTOR = 30, 4.0
MODES = ("null", "drift", "gap", "severe")
OUT = Path(__file__).parent / "out"


@dataclass(frozen=True)
class Corpus:
    """Texts with their intents; the last 30 % of each intent are kept for suites."""

    texts: list[str]
    intents: np.ndarray
    for_suites: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Traffic:
    """What made the traffic: (days, intents) distribution of each day, and how much it was."""

    daily: np.ndarray
    days: list[datetime]
    sessions: int
    turns: int


def read_corpus(folder: Path) -> Corpus:
    rows = []
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(encoding="utf-8") as file:
            rows += [
                (" ".join(row["text"].split()), row["category"]) for row in csv.DictReader(file)
            ]
    redacted = Redactor(Settings().redaction).redact_all([text for text, _ in rows])
    rows = sorted(dict(zip(redacted, [intent for _, intent in rows], strict=True)).items())
    names = sorted({intent for _, intent in rows})
    intents = np.array([names.index(intent) for _, intent in rows])
    rng = np.random.default_rng(77)
    for_suites = np.zeros(len(rows), bool)
    for intent in range(len(names)):
        members = rng.permutation(np.flatnonzero(intents == intent))
        for_suites[members[: round(0.3 * len(members))]] = True
    return Corpus([text for text, _ in rows], intents, for_suites, names)


def make_traffic(corpus: Corpus, seed: int, out: Path) -> Traffic:
    """Write six weeks of traces as OTLP JSON lines, one file a week."""
    rng = np.random.default_rng([seed, 1])
    k = len(corpus.names)
    base = np.log(1 / (rng.permutation(k) + 3.0))
    drift = rng.normal(0, 1.1, k)
    promoted = rng.choice(k, 3, replace=False)
    pool = [np.flatnonzero((corpus.intents == i) & ~corpus.for_suites) for i in range(k)]
    daily, days = [], []
    sessions = turns = 0
    out.mkdir(parents=True)
    for week in range(WEEKS):
        lines = []
        for weekday in range(7):
            number = 7 * week + weekday
            day = START + timedelta(days=number)
            logits = base + drift * number / (7 * WEEKS)
            p = np.exp(logits - logits.max())
            p /= p.sum()
            volume = SESSIONS_PER_DAY * (0.55 if weekday >= 5 else 1.0)
            if number == SPIKE_DAY:
                volume *= SPIKE_FACTOR
                promo = np.zeros(k)
                promo[promoted] = 1 / 3
                p = 0.25 * p + 0.75 * promo
            daily.append(p)
            days.append(day)
            volume = int(rng.poisson(volume))
            sessions += volume
            for session in range(volume):
                lines += _session(corpus, pool, p, day, f"{seed}-{number}-{session}", rng)
        turns += len(lines)
        rng.shuffle(lines)
        (out / f"week-{week}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Traffic(np.array(daily), days, sessions, turns)


def _session(corpus, pool, p, day, name, rng) -> list[str]:
    hour = float(np.clip(rng.normal(14, 4), 0, 23.4))
    at = day + timedelta(hours=hour)
    intent = rng.choice(len(p), p=p)
    lines = []
    for turn in range(min(4, rng.geometric(0.55))):
        if turn and rng.random() > 0.7:
            intent = rng.choice(len(p), p=p)
        text = corpus.texts[rng.choice(pool[intent])]
        lines.append(_trace(f"{name}-{turn}", name, at, text))
        at += timedelta(seconds=float(rng.uniform(20, 200)))
    return lines


def _trace(key: str, session: str, at: datetime, text: str) -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    start = int((at - datetime(1970, 1, 1)).total_seconds() * 1e9)

    def span(number: int, parent: str, kind: str, attributes: dict[str, str]) -> dict:
        named = {"openinference.span.kind": kind, "session.id": session, **attributes}
        return {
            "traceId": digest[:32],
            "spanId": digest[32 + 16 * number :][:16],
            "parentSpanId": parent,
            "name": kind.lower(),
            "startTimeUnixNano": str(start + number * 10**6),
            "endTimeUnixNano": str(start + 10**9),
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in named.items()],
        }

    root = span(0, "", "AGENT", {"input.value": text, "output.value": "Sure, let me look."})
    child = span(1, root["spanId"], "LLM", {"llm.model_name": "example-model"})
    resource = [{"key": "service.name", "value": {"stringValue": "bank-assistant"}}]
    return json.dumps(
        {
            "resourceSpans": [
                {"resource": {"attributes": resource}, "scopeSpans": [{"spans": [child, root]}]}
            ]
        }
    )


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
        intent = dict(zip(hashes, corpus.intents, strict=True))
        truth = np.array([q[intent[h]] == 0 for h in texts["text_hash"]])
        row |= {
            "gap_auc": auc(truth, texts["gap_score"].to_numpy()),
            "gap_pr": at_true_size(truth, texts["gap_score"].to_numpy()),
            "plain_auc": auc(truth, texts["no_case"].to_numpy().astype(float)),
            "plain_precision": float(truth[texts["no_case"].to_numpy()].mean()),
            "plain_recall": float(texts["no_case"].to_numpy()[truth].mean()),
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
    shared = Settings(home=root / "vectors")
    cache = vector_cache(shared)
    hashes = [text_hash(text) for text in corpus.texts]
    frame = pl.DataFrame({"text_hash": hashes, "text": corpus.texts})
    embed_texts(cache, lambda: embedder(shared.embedding), frame)
    vectors = cache.get(hashes)
    groups = intent_groups(corpus, vectors)

    rows = []
    for seed in range(seeds):
        log = root / f"seed-{seed}.log"
        base = root / f"seed-{seed}"
        traffic = make_traffic(corpus, seed, root / f"traffic-{seed}")
        shutil.copytree(shared.lake / "vectors", base / "lake" / "vectors")
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
            found = ["gap_auc", "gap_pr", "plain_auc", "plain_precision", "plain_recall"]
            gaps = runs.filter(pl.col("mode") == "gap").select("seed", *found)
            click.echo(pl.concat([gaps, gaps.mean()], how="diagonal_relaxed"))
        click.echo("Traffic, sampled turns of the last window, and seconds")
        click.echo(runs.select(pl.mean("sessions", "turns", "sampled_turns")))
        click.echo(runs.select(pl.mean("ingest", "first_run", "run")))


if __name__ == "__main__":
    main()
