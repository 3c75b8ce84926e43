"""Suggested labels on Banking77: how many, how right, how sure, and when does a cluster fall back?

Each seed draws 4,000 texts as production, clusters them with the pipeline's taxonomy and assigns
the other texts to it. The true intent plays the people: it is the category that they give. Of each
cluster a first batch is labelled, and up to 100 others wait. Intents make the labels of the first
batch and measure the rest; nothing else sees them.

    suggested    share of waiting queries with at least the default confidence, how many of these
                 have the right category, and of all waiting ones; Brier score of the confidence
    reliability  confidence against the share that was right
    audit        agreement on the hidden share against agreement on all suggestions of a cluster:
                 how often Wilson's interval holds it
    shuffled     one cluster in six gets categories of queries drawn from the whole corpus, first
                 batch and others: how many suggestions are made there at all
    turned       one cluster in six gets other categories after its first batch, so that suggestions
                 are confident and wrong: how often it has fallen back by n audits, looked at after
                 every audit, and how often a sound cluster has
    rule         the same for a cluster of known agreement: 20,000 simulated rows of audits

    python benchmarks/suggestions.py --data ../shared/data [--seeds 5] [--quick]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import polars as pl
from banking77_traffic import read_corpus
from vectors import embedded

from evalcov_pipeline.core.labels.suggestions import (
    Group,
    Suggestion,
    Verdict,
    agreement,
    in_audit,
    suggest,
)
from evalcov_pipeline.core.taxonomy.discovery import Method, discover
from evalcov_pipeline.core.taxonomy.taxonomy import assign, freeze
from evalcov_pipeline.settings import SuggestionSettings

RULES = SuggestionSettings()
OUT = Path(__file__).parent / "out"
PRODUCTION, WAITING = 4000, 100
FIRST_BATCHES = (5, 10, 20, 40)
BANDS = np.array([0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95])
AUDITS = (3, 5, 10, 15, 20, 30)
METHODS: tuple[Method, ...] = ("umap_hdbscan", "kmeans")


@dataclass(frozen=True)
class Corpus:
    """Texts with vectors and intents."""

    vectors: np.ndarray
    hashes: np.ndarray
    intents: np.ndarray
    names: list[str]
    model: str


@dataclass(frozen=True)
class Batch:
    """A cluster: its first batch, what waits, and the category that people give to each."""

    first: np.ndarray
    waiting: np.ndarray
    said_first: np.ndarray
    said_waiting: np.ndarray
    bad: bool


def labelled_texts(data: Path) -> Corpus:
    corpus = read_corpus(data / "banking77")
    hashes, vectors = embedded("banking77", corpus.texts)
    return Corpus(vectors, np.array(hashes), corpus.intents, corpus.names, "the default model's")


def clustered(corpus: Corpus, method: Method, seed: int) -> np.ndarray:
    """Cluster of every text, by a taxonomy of 4,000 of them; -1 = novel."""
    production = np.random.default_rng([seed, 3]).permutation(len(corpus.hashes))[:PRODUCTION]
    vectors, hashes = corpus.vectors[production], corpus.hashes[production]
    found = discover(vectors, np.ones(PRODUCTION), method=method, seed=seed)
    taxonomy = freeze(
        found.labels,
        vectors,
        hashes,
        found.coordinates,
        embedding_fingerprint=corpus.model,
        seed=seed,
    )
    every = assign(taxonomy, corpus.vectors, corpus.hashes, embedding_fingerprint=corpus.model)
    return every.cluster_id


def batches(
    corpus: Corpus, clusters: np.ndarray, n_first: int, seed: int, harm: str
) -> dict[str, Batch]:
    """Clusters with a first batch and at least 20 others; `harm` befalls one in six."""
    rng = np.random.default_rng([seed, n_first, 5])
    found = {}
    for cluster in range(clusters.max() + 1):
        members = rng.permutation(np.flatnonzero(clusters == cluster))[: n_first + WAITING]
        if len(members) < n_first + 20:
            continue
        said = corpus.intents[members].copy()
        bad = harm != "none" and rng.random() < 1 / 6
        if bad and harm == "shuffled":
            said = rng.choice(corpus.intents, len(said))
        elif bad:
            others = np.setdiff1d(np.arange(len(corpus.names)), said[:n_first])
            said[n_first:] = rng.choice(others, len(said) - n_first)
        found[str(cluster)] = Batch(
            members[:n_first], members[n_first:], said[:n_first], said[n_first:], bad
        )
    return found


def suggested(corpus: Corpus, found: dict[str, Batch]) -> dict[str, list[Suggestion]]:
    groups = {
        key: Group(
            corpus.vectors[batch.first],
            [Verdict(True, None, corpus.names[said]) for said in batch.said_first],
            corpus.vectors[batch.waiting],
        )
        for key, batch in found.items()
    }
    return suggest(groups, k=RULES.neighbours, least_labelled=RULES.least_labelled, near=RULES.near)


def measured(
    corpus: Corpus, clusters: np.ndarray, n_first: int, seed: int, harm: str
) -> list[dict]:
    """A row per waiting query."""
    found = batches(corpus, clusters, n_first, seed, harm)
    rows = []
    for key, suggestions in suggested(corpus, found).items():
        batch = found[key]
        for text, said, one in zip(batch.waiting, batch.said_waiting, suggestions, strict=True):
            rows.append(
                {
                    "seed": seed,
                    "first": n_first,
                    "harm": harm,
                    "cluster": key,
                    "bad": batch.bad,
                    "confidence": one.confidence,
                    "suggested": one.confidence >= RULES.confidence,
                    "right": one.vote.verdict.category == corpus.names[said],
                    "audit": in_audit(f"{seed}-{corpus.hashes[text]}", RULES.audit_share),
                }
            )
    return rows


def fallen_by(matches: np.ndarray) -> list[bool | None]:
    """Whether a cluster has fallen back by 3, 5, ... audits; None where it has fewer."""
    states = [
        agreement(matches[:n].tolist(), bound=RULES.agreement, enough=RULES.enough_audits).state
        for n in range(1, min(len(matches), max(AUDITS)) + 1)
    ]
    return ["fallen_back" in states[:n] if len(matches) >= n else None for n in AUDITS]


def audit_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """By cluster: agreement on audits with its interval, and on all suggestions."""
    found = []
    groups = rows.filter(pl.col("suggested")).group_by(
        "method", "seed", "first", "cluster", maintain_order=True
    )
    for (method, seed, first, cluster), group in groups:
        audits = group.filter(pl.col("audit"))["right"].to_list()
        if not audits:
            continue
        told = agreement(audits, bound=RULES.agreement, enough=RULES.enough_audits)
        true = float(group["right"].mean())
        found.append(
            {
                "method": method, "first": first, "seed": seed, "cluster": cluster,
                "audits": len(audits), "error": told.rate - true,
                "held": told.low <= true <= told.high, "width": told.high - told.low,
            }
        )  # fmt: skip
    return pl.DataFrame(found)


def fallback_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """By cluster: fallen back by n audits, all its suggestions audited in a random order."""
    found = []
    groups = rows.filter(pl.col("suggested")).group_by(
        "method", "seed", "first", "cluster", "bad", maintain_order=True
    )
    for (method, seed, first, cluster, bad), group in groups:
        order = np.random.default_rng([seed, first, int(cluster)]).permutation(len(group))
        states = fallen_by(group["right"].to_numpy()[order])
        found.append(
            {"method": method, "bad": bad, "agreement": float(group["right"].mean())}
            | {f"by {n}": state for n, state in zip(AUDITS, states, strict=True)}
        )
    return pl.DataFrame(found, infer_schema_length=None)


def rule_rows(draws: int) -> pl.DataFrame:
    """Chance of having fallen back by n audits, by true agreement."""
    rng = np.random.default_rng(9)
    longest = max(AUDITS)
    stays = np.zeros((longest + 1, longest + 1), bool)
    for n in range(1, longest + 1):
        for agreed in range(n + 1):
            matches = [True] * agreed + [False] * (n - agreed)
            state = agreement(matches, bound=RULES.agreement, enough=RULES.enough_audits).state
            stays[n, agreed] = state != "fallen_back"
    rows = []
    for true in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98):
        agreed = np.cumsum(rng.random((draws, longest)) < true, axis=1)
        fallen = np.cumsum(~stays[np.arange(1, longest + 1), agreed], axis=1) > 0
        rows.append({"agreement": true} | {f"by {n}": fallen[:, n - 1].mean() for n in AUDITS})
    return pl.DataFrame(rows)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--first-seed", default=100, show_default=True)
@click.option("--quick", is_flag=True, help="One seed, k-means only.")
def main(data: Path, seeds: int, first_seed: int, quick: bool) -> None:
    corpus = labelled_texts(data)
    rows: list[dict] = []
    for method in METHODS[1:] if quick else METHODS:
        for seed in range(first_seed, first_seed + (1 if quick else seeds)):
            clusters = clustered(corpus, method, seed)
            for n_first in FIRST_BATCHES:
                for harm in ("none", "shuffled", "turned"):
                    found = measured(corpus, clusters, n_first, seed, harm)
                    rows += [{"method": method, **row} for row in found]
            click.echo(f"{method} seed {seed}: {clusters.max() + 1} clusters", err=True)
    tables = report(pl.DataFrame(rows), 2000 if quick else 20_000)
    OUT.mkdir(exist_ok=True)
    content = {name: table.to_dicts() for name, table in tables.items()}
    (OUT / "suggestions.json").write_text(json.dumps(content, indent=1))


def report(rows: pl.DataFrame, draws: int) -> dict[str, pl.DataFrame]:
    sound = rows.filter(pl.col("harm") == "none")
    band = pl.Series(BANDS[np.searchsorted(BANDS, sound["confidence"].to_numpy(), "right") - 1])
    brier = ((pl.col("confidence") - pl.col("right").cast(pl.Float64)) ** 2).mean()
    tables = {
        "suggested": sound.group_by("method", "first", maintain_order=True).agg(
            queries=pl.len(),
            suggested=pl.mean("suggested"),
            right_if_suggested=pl.col("right").filter(pl.col("suggested")).mean(),
            confidence_if_suggested=pl.col("confidence").filter(pl.col("suggested")).mean(),
            right_of_all=pl.mean("right"),
            brier=brier,
            brier_of_constant=pl.mean("right") * (1 - pl.mean("right")),
        ),
        "reliability": sound.with_columns(at_least=band)
        .group_by("first", "at_least")
        .agg(pl.mean("confidence"), pl.mean("right"), queries=pl.len())
        .sort("first", "at_least"),
        "shuffled": rows.filter(pl.col("harm") == "shuffled")
        .group_by("method", "first", "bad", maintain_order=True)
        .agg(
            suggested=pl.mean("suggested"),
            right_if_suggested=pl.col("right").filter(pl.col("suggested")).mean(),
            right_of_all=pl.mean("right"),
            clusters=pl.struct("seed", "cluster").n_unique(),
        )
        .sort("method", "first", "bad"),
    }
    audits = audit_rows(sound)
    tables["audit"] = audits.group_by("first", maintain_order=True).agg(
        clusters=pl.len(),
        audits_per_cluster=pl.mean("audits"),
        interval_held=pl.mean("held"),
        width=pl.mean("width"),
        mean_error=pl.mean("error"),
    )
    turned = fallback_rows(rows.filter(pl.col("harm") == "turned"))
    tables["turned"] = (
        turned.group_by("method", "bad", maintain_order=True)
        .agg(pl.mean("agreement"), *(pl.mean(f"by {n}") for n in AUDITS), clusters=pl.len())
        .sort("method", "bad")
    )
    tables["rule"] = rule_rows(draws)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, float_precision=3):
        for name, table in tables.items():
            click.echo(f"{name}\n{table}")
    return tables


if __name__ == "__main__":
    main()
