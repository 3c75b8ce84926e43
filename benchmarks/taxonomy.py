"""Taxonomy and local gaps on Banking77: is the null right, what is lost, what is found?

Each seed draws 4,000 texts as production; suites come from the other 9,083. Intents are the hidden
truth: they only measure.

    fit      clusters, share unclustered, stability, adjusted Rand index against the intents on
             unseen texts (beside it: nearest centroid as the rule), resolution loss
             JSD(p, q) - JSD(pM, qM) over drifted suites, and how much novelty is noticed when 13
             intents arrive after the fit
    null     P(p_value < .05) of perfectly proportional suites, plug-in JSD, multinomial null; and
             what it would be if production texts matched themselves
    lineage  clusters that keep their key at a refit: other seed, and other texts
    gaps     1/6 of the intents removed from a 300-case suite: ranking of production texts by the
             local score and by zero-case clusters, precision and recall of `in_gap`, and the share
             of production marked on proportional suites

    python benchmarks/taxonomy.py --data ../shared/data [--seeds 4] [--suites 200]
"""

from __future__ import annotations

import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from evalcov_pipeline.core.discovery import Method, discover
from evalcov_pipeline.core.divergence import jsd
from evalcov_pipeline.core.gaps import gap_scores
from evalcov_pipeline.core.lineage import match
from evalcov_pipeline.core.taxonomy import Taxonomy, assign, freeze
from evalcov_pipeline.core.texts import text_hash
from evalcov_pipeline.embedding import make_embedder
from evalcov_pipeline.settings import EmbeddingSettings

OUT = Path(__file__).parent / "out" / "taxonomy.json"
PRODUCTION, CASES, SIZES, NULL_DRAWS = 4000, 300, (30, 100, 300), 999
METHODS: tuple[Method, ...] = ("umap_hdbscan", "kmeans")


@dataclass(frozen=True)
class Corpus:
    """Distinct texts with their vectors and intents."""

    vectors: np.ndarray
    hashes: np.ndarray
    intents: np.ndarray
    model: str

    def take(self, rows: np.ndarray) -> Corpus:
        """Some of the texts."""
        return Corpus(self.vectors[rows], self.hashes[rows], self.intents[rows], self.model)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.hashes)


def read_corpus(folder: Path) -> Corpus:
    """Banking77, embedded with the default model."""
    texts: dict[str, tuple[str, str]] = {}
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                texts.setdefault(text_hash(row["text"]), (row["text"], row["category"]))
    embedder = make_embedder(EmbeddingSettings())
    vectors = embedder.embed([text for text, _ in texts.values()])
    intents = np.unique([intent for _, intent in texts.values()], return_inverse=True)[1]
    return Corpus(vectors, np.array(list(texts)), intents, embedder.fingerprint)


def fit(production: Corpus, method: Method, seed: int) -> tuple[Taxonomy, dict[str, float]]:
    """A taxonomy and what its discovery says of itself."""
    began = time.perf_counter()
    found = discover(production.vectors, np.ones(len(production)), method=method, seed=seed)
    taxonomy = freeze(
        found.labels,
        production.vectors,
        production.hashes,
        found.coordinates,
        embedding_fingerprint=production.model,
        seed=seed,
    )
    return taxonomy, {
        "clusters": found.n_clusters,
        "unclustered": found.unclustered_share,
        "stability": found.stability or 0.0,
        "seconds": time.perf_counter() - began,
    }


def clusters(taxonomy: Taxonomy, corpus: Corpus) -> np.ndarray:
    """Cluster of each text, novel as the last category."""
    ids = assign(
        taxonomy, corpus.vectors, corpus.hashes, embedding_fingerprint=corpus.model
    ).cluster_id
    return np.where(ids < 0, taxonomy.n_clusters, ids)


def shares(ids: np.ndarray, k: int) -> np.ndarray:
    """Shares over k categories."""
    return np.bincount(ids, minlength=k) / len(ids)


def by_centroid(taxonomy: Taxonomy, production: Corpus, texts: Corpus) -> np.ndarray:
    """The simpler rule: nearest centroid of the texts assigned."""
    ids = clusters(taxonomy, production)
    sums = [production.vectors[ids == k].sum(axis=0) for k in range(taxonomy.n_clusters)]
    centroids = np.array([s / max(float(np.linalg.norm(s)), 1e-9) for s in sums])
    return (texts.vectors @ centroids.T).argmax(axis=1)


def resolution_loss(ids: np.ndarray, intents: np.ndarray, rng: np.random.Generator) -> float:
    """Mean bits that clusters hide of the divergence between intents, over 30 drifted suites."""
    mixture = np.zeros((intents.max() + 1, ids.max() + 1))
    np.add.at(mixture, (intents, ids), 1.0)
    p = mixture.sum(axis=1) / mixture.sum()
    mixture /= mixture.sum(axis=1, keepdims=True)
    losses = []
    for _ in range(30):
        q = p * rng.gamma(0.6, size=len(p))
        q[rng.choice(len(p), len(p) // 6, replace=False)] = 0.0
        q /= q.sum()
        losses.append(jsd(p, q) - jsd(p @ mixture, q @ mixture))
    return float(np.mean(losses))


def novelty(
    production: Corpus, unseen: Corpus, method: Method, seed: int, rng: np.random.Generator
) -> dict[str, float]:
    """Novel share of intents that were absent at the fit, and of those that were there."""
    late = rng.choice(unseen.intents.max() + 1, 13, replace=False)
    early = production.take(np.flatnonzero(~np.isin(production.intents, late)))
    taxonomy, _ = fit(early, method, seed)
    novel = clusters(taxonomy, unseen) == taxonomy.n_clusters
    new = np.isin(unseen.intents, late)
    return {"novel_new": float(novel[new].mean()), "novel_known": float(novel[~new].mean())}


def false_alarms(
    production: np.ndarray, unseen: np.ndarray, k: int, suites: int, rng: np.random.Generator
) -> dict[int, float]:
    """P(p_value < .05) over proportional suites, by size."""
    p, n_production = shares(production, k), len(production)
    found = {}
    for size in SIZES:
        null = np.sort(
            [
                jsd(a / n_production, b / size)
                for a, b in zip(
                    rng.multinomial(n_production, p, NULL_DRAWS),
                    rng.multinomial(size, p, NULL_DRAWS),
                    strict=True,
                )
            ]
        )
        drawn = (rng.choice(unseen, size, replace=False) for _ in range(suites))
        observed = [jsd(p, shares(suite, k)) for suite in drawn]
        above = NULL_DRAWS - np.searchsorted(null, np.array(observed) - 1e-12)
        found[size] = float(((1 + above) / (1 + NULL_DRAWS) < 0.05).mean())
    return found


def kept_keys(before: Taxonomy, after: Taxonomy, texts: Corpus, weight: np.ndarray) -> float:
    """Weighted share of clusters of `after` that keep a key of `before`."""
    a, b = (
        assign(t, texts.vectors, texts.hashes, embedding_fingerprint=texts.model).cluster_id
        for t in (before, after)
    )
    old = [f"old{k}" for k in range(before.n_clusters)]
    lineage = match(a, b, weight, old, [f"new{k}" for k in range(after.n_clusters)])
    kept = np.array([key.startswith("old") for key in lineage.cluster_keys])
    return float(np.average(kept, weights=after.sizes))


def gaps(
    taxonomy: Taxonomy, production: Corpus, unseen: Corpus, rng: np.random.Generator
) -> dict[str, float]:
    """How well a planted gap is found, and how much is found where there is none."""
    missing = rng.choice(unseen.intents.max() + 1, 13, replace=False)
    tested = unseen.take(np.flatnonzero(~np.isin(unseen.intents, missing)))
    suite = tested.take(rng.choice(len(tested), CASES, replace=False))
    truth = np.isin(production.intents, missing)
    weights = np.ones(len(production))
    began = time.perf_counter()
    found = gap_scores(production.vectors, weights, suite.vectors, rng=rng)
    seconds = time.perf_counter() - began
    cases = np.bincount(clusters(taxonomy, suite), minlength=taxonomy.n_clusters + 1)
    empty = cases[clusters(taxonomy, production)] == 0
    top = np.argsort(-found.gap_score)[: truth.sum()]
    result = {
        "auc": float(roc_auc_score(truth, found.gap_score)),
        "precision_at_size": float(truth[top].mean()),
        "in_gap_precision": float(truth[found.in_gap].mean()),
        "in_gap_recall": float(found.in_gap[truth].mean()),
        "clusters_auc": float(roc_auc_score(truth, empty)),
        "clusters_precision": float(truth[empty].mean()) if empty.any() else 0.0,
        "clusters_recall": float(empty[truth].mean()),
        "seconds": seconds,
    }
    for size in SIZES:
        marked = [
            gap_scores(
                production.vectors,
                weights,
                unseen.vectors[rng.choice(len(unseen), size, replace=False)],
                rng=rng,
            ).in_gap.mean()
            for _ in range(5)
        ]
        result[f"false_{size}"] = float(np.mean(marked))
    return result


def projection_seconds(taxonomy: Taxonomy, corpus: Corpus) -> float:
    """Seconds to assign 10,000 texts that the taxonomy has not seen."""
    rows = np.arange(10_000) % len(corpus)
    began = time.perf_counter()
    assign(
        taxonomy,
        corpus.vectors[rows],
        [f"new {row}" for row in range(len(rows))],
        embedding_fingerprint=corpus.model,
    )
    return time.perf_counter() - began


def show(title: str, rows: list[dict[str, float]]) -> dict[str, float]:
    """Print one line per seed and the mean; return the mean."""
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    print(f"\n{title}\n" + " ".join(f"{name:>18}" for name in mean))
    for row in [*rows, mean]:
        mark = "  mean" if row is mean else ""
        print(" ".join(f"{value:18.3f}" for value in row.values()) + mark)
    return mean


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default=4, show_default=True)
@click.option("--suites", default=200, show_default=True)
def main(data: Path, seeds: int, suites: int) -> None:
    """Measure, print, write `out/taxonomy.json`."""
    folder = data / "banking77"
    if not folder.is_dir():
        print(f"skipped: no banking77 under {data}")
        return
    corpus = read_corpus(folder)
    result = {}
    for method in METHODS:
        fits, nulls, lines, holes = [], [], [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(corpus))
            production, unseen = corpus.take(order[:PRODUCTION]), corpus.take(order[PRODUCTION:])
            taxonomy, about = fit(production, method, seed)
            k = taxonomy.n_clusters + 1
            new = clusters(taxonomy, unseen)
            centroid = by_centroid(taxonomy, production, unseen)
            about |= {
                "ari": float(adjusted_rand_score(unseen.intents, new)),
                "ari_centroid": float(adjusted_rand_score(unseen.intents, centroid)),
                "loss": resolution_loss(new, unseen.intents, np.random.default_rng(seed)),
                "loss_centroid": resolution_loss(
                    centroid, unseen.intents, np.random.default_rng(seed)
                ),
                "projection_10k_s": projection_seconds(taxonomy, unseen),
            }
            fits.append(about | novelty(production, unseen, method, seed, rng))
            met = Corpus(
                production.vectors,
                np.char.add("met itself ", production.hashes),
                production.intents,
                production.model,
            )
            honest = false_alarms(clusters(taxonomy, production), new, k, suites, rng)
            leaky = false_alarms(clusters(taxonomy, met), new, k, suites, rng)
            nulls.append(
                {f"n={n}": honest[n] for n in SIZES} | {f"leaky n={n}": leaky[n] for n in SIZES}
            )
            reseeded, _ = fit(production, method, seed + 100)
            resampled, _ = fit(unseen.take(np.arange(PRODUCTION)), method, seed + 100)
            weight = np.ones(len(corpus))
            lines.append(
                {
                    "other_seed": kept_keys(taxonomy, reseeded, corpus, weight),
                    "other_texts": kept_keys(taxonomy, resampled, corpus, weight),
                }
            )
            holes.append(gaps(taxonomy, production, unseen, rng))
        result[method] = {
            name: {"mean": show(f"{method}: {name}", rows), "seeds": rows}
            for name, rows in (("fit", fits), ("null", nulls), ("lineage", lines), ("gaps", holes))
        }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
