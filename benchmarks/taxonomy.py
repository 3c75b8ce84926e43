"""Clusters of Banking77: how near to its intents, and how much of them a refit keeps.

Each seed clusters 4,000 texts and places the other 9,071. Intents only measure.

    fit      clusters found, share unclustered, stability; adjusted Rand index against the intents
             on the unseen texts; resolution loss JSD(p, q) - JSD(pM, qM) over drifted suites, with
             M = P(cluster | intent); share of unseen texts that are called novel, of 13 intents
             that arrive after a fit and of those that were there
    lineage  share of texts in clusters that keep their key at a refit: with another seed, and on
             other texts of the same traffic

    python benchmarks/taxonomy.py --data ../shared/data [--seeds 4]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import polars as pl
from banking77_traffic import read_corpus
from grounds import shares_given_intent
from sklearn.metrics import adjusted_rand_score
from vectors import embedded

from evalcov_pipeline.core.coverage.divergence import jsd
from evalcov_pipeline.core.taxonomy.discovery import Method, discover
from evalcov_pipeline.core.taxonomy.lineage import match
from evalcov_pipeline.core.taxonomy.taxonomy import Taxonomy, assign, freeze

OUT = Path(__file__).parent / "out" / "taxonomy.json"
TEXTS, LATE = 4000, 13
METHODS: tuple[Method, ...] = ("umap_hdbscan", "kmeans")
SPACE = "the default model's"


@dataclass(frozen=True)
class Texts:
    """Distinct texts with their vectors and intents."""

    vectors: np.ndarray
    hashes: np.ndarray
    intents: np.ndarray

    def take(self, rows: np.ndarray) -> Texts:
        """Some of them."""
        return Texts(self.vectors[rows], self.hashes[rows], self.intents[rows])

    def __len__(self) -> int:
        """How many."""
        return len(self.hashes)


def banking77(folder: Path) -> Texts:
    corpus = read_corpus(folder)
    hashes, vectors = embedded("banking77", corpus.texts)
    return Texts(vectors, np.array(hashes), corpus.intents)


def fit(texts: Texts, method: Method, seed: int) -> tuple[Taxonomy, dict[str, float]]:
    """A taxonomy and what its discovery says of itself."""
    found = discover(texts.vectors, np.ones(len(texts)), method=method, seed=seed)
    taxonomy = freeze(
        found.labels,
        texts.vectors,
        texts.hashes,
        found.coordinates,
        embedding_fingerprint=SPACE,
        seed=seed,
    )
    return taxonomy, {
        "clusters": found.n_clusters,
        "unclustered": found.unclustered_share,
        "stability": found.stability or 0.0,
    }


def clusters(taxonomy: Taxonomy, texts: Texts) -> np.ndarray:
    """Cluster of each text, -1 for novel."""
    return assign(taxonomy, texts.vectors, texts.hashes, embedding_fingerprint=SPACE).cluster_id


def resolution_loss(ids: np.ndarray, intents: np.ndarray, rng: np.random.Generator) -> float:
    """Mean bits that clusters hide of the divergence between intents, over 30 drifted suites."""
    n_intents = intents.max() + 1
    mixture = shares_given_intent(intents, ids, n_intents, ids.max() + 1)
    p = np.bincount(intents) / len(intents)
    losses = []
    for _ in range(30):
        q = p * rng.gamma(0.6, size=n_intents)
        q[rng.choice(n_intents, n_intents // 6, replace=False)] = 0.0
        q /= q.sum()
        losses.append(jsd(p, q) - jsd(p @ mixture, q @ mixture))
    return float(np.mean(losses))


def novelty(early: Texts, unseen: Texts, method: Method, seed: int) -> dict[str, float]:
    """Novel share of intents that were absent at the fit, and of those that were there."""
    late = np.random.default_rng([seed, 1]).choice(unseen.intents.max() + 1, LATE, replace=False)
    early = early.take(np.flatnonzero(~np.isin(early.intents, late)))
    novel = clusters(fit(early, method, seed)[0], unseen) < 0
    new = np.isin(unseen.intents, late)
    return {"novel_new": float(novel[new].mean()), "novel_known": float(novel[~new].mean())}


def kept_keys(before: Taxonomy, after: Taxonomy, texts: Texts) -> float:
    """Weighted share of clusters of `after` that keep a key of `before`."""
    old = [f"old{k}" for k in range(before.n_clusters)]
    new = [f"new{k}" for k in range(after.n_clusters)]
    placed = (clusters(taxonomy, texts) for taxonomy in (before, after))
    lineage = match(*placed, np.ones(len(texts)), old, new)
    kept = np.array([key.startswith("old") for key in lineage.cluster_keys])
    return float(np.average(kept, weights=after.sizes))


def measure(texts: Texts, method: Method, seed: int) -> dict[str, float]:
    order = np.random.default_rng(seed).permutation(len(texts))
    seen, unseen = texts.take(order[:TEXTS]), texts.take(order[TEXTS:])
    taxonomy, about = fit(seen, method, seed)
    ids = clusters(taxonomy, unseen) % (taxonomy.n_clusters + 1)
    loss = resolution_loss(ids, unseen.intents, np.random.default_rng(seed))
    about |= {"ari": float(adjusted_rand_score(unseen.intents, ids)), "loss": loss}
    about |= novelty(seen, unseen, method, seed)
    for name, rows in (("other_seed", seen), ("other_texts", unseen.take(np.arange(TEXTS)))):
        refit, _ = fit(rows, method, seed + 100)
        about[name] = kept_keys(taxonomy, refit, texts)
    return about


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default=4, show_default=True)
def main(data: Path, seeds: int) -> None:
    folder = data / "banking77"
    if not folder.exists():
        click.echo(f"skipped: no Banking77 at {folder}")
        return
    texts = banking77(folder)
    rows = [
        {"method": method, "seed": seed} | measure(texts, method, seed)
        for method in METHODS
        for seed in range(seeds)
    ]
    table = pl.DataFrame(rows)
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(tbl_cols=-1, tbl_width_chars=200, float_precision=3, **plain):
        click.echo(table)
        click.echo("Means")
        click.echo(table.drop("seed").group_by("method", maintain_order=True).mean())
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
