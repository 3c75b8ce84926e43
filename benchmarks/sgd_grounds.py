"""Schema-Guided Dialogue as the pipeline sees it: features, query clusters and session clusters.

Half of the dialogues are traffic, the others are what authors write cases from. Fits see traffic
alone; the kinds of dialogues build suites and measure, and are no input of any fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from sgd_dialogues import KINDS, START, Dialogue, halves
from vectors import embedded

from evalcov_pipeline.core.sessions.features import (
    STEPS,
    rephrases,
    session_features,
    session_hashes,
    topic_level,
)
from evalcov_pipeline.core.sessions.space import (
    IMPORTANCE,
    fit_space,
    pool_queries,
    session_vectors,
)
from evalcov_pipeline.core.taxonomy.discovery import discover
from evalcov_pipeline.core.taxonomy.taxonomy import assign, freeze
from evalcov_pipeline.settings import SessionSettings, TaxonomySettings

OUT = Path(__file__).parent / "out" / "sgd"
SPACE = "benchmark"


@dataclass(frozen=True)
class Corpus:
    """All dialogues with their turns side by side.

    Attributes:
        dialogues: (n,) sessions.
        session: (t,) dialogue of each turn, ascending.
        text: (t,) place of its query among `hashes`.
        hashes: (d,) distinct queries.
        vectors: (d, width) of them.
    """

    dialogues: Sequence[Dialogue]
    session: np.ndarray
    text: np.ndarray
    hashes: np.ndarray
    vectors: np.ndarray

    @property
    def kinds(self) -> dict[str, np.ndarray]:
        """(n,) whether a dialogue is of a kind."""
        return {kind: np.array([kind in d.kinds for d in self.dialogues]) for kind in KINDS}

    @cached_property
    def steps(self) -> pl.DataFrame:
        """Turns as steps of sessions; `rephrased` is not known yet."""
        rows = [
            dict.fromkeys(STEPS.names())
            | {
                "session_key": number,
                "step": step,
                "started_at": START.astimezone(UTC).replace(tzinfo=None),
                "text_hash": turn.query_hash,
                "query_chars": len(turn.query),
                "answer_chars": len(turn.answer),
                "answered": True,
                "tool_calls": list(turn.tools),
                "tool_failures": int(turn.failed),
                "outcome": dialogue.outcome if step == len(dialogue.turns) - 1 else None,
            }
            for number, dialogue in enumerate(self.dialogues)
            for step, turn in enumerate(dialogue.turns)
        ]
        return pl.DataFrame(rows, schema=STEPS)


def corpus_of(dialogues: Sequence[Dialogue]) -> Corpus:
    texts = sorted({turn.query for dialogue in dialogues for turn in dialogue.turns})
    hashes, vectors = embedded("sgd", texts)
    names, first = np.unique(np.array(hashes), return_index=True)
    place = {name: i for i, name in enumerate(names.tolist())}
    session = [n for n, dialogue in enumerate(dialogues) for _ in dialogue.turns]
    text = [place[turn.query_hash] for dialogue in dialogues for turn in dialogue.turns]
    return Corpus(dialogues, np.array(session), np.array(text), names, vectors[first])


@dataclass(frozen=True)
class Ground:
    """One split of the corpus with its clusters of queries and of sessions.

    Attributes:
        corpus: the dialogues.
        seed: of the split.
        traffic: places of the dialogues that are production.
        pool: places of those that cases are written from.
        query_clusters: (d,) cluster of each distinct query, -1 = novel.
        features: (n,) `session_features` of all dialogues.
        session_clusters: (n,) cluster of each dialogue, -1 = novel.
    """

    corpus: Corpus
    seed: int
    traffic: np.ndarray
    pool: np.ndarray
    query_clusters: np.ndarray
    features: pl.DataFrame
    session_clusters: np.ndarray


def ground(corpus: Corpus, seed: int) -> Ground:
    """A split with its taxonomies; that of the queries is kept from one call to the next."""
    traffic, pool = halves(len(corpus.dialogues), seed)
    queries = _query_clusters(corpus, traffic, seed)
    features = _features(corpus, traffic, queries)
    sessions = session_clusters(corpus, traffic, features, SessionSettings(), IMPORTANCE)
    return Ground(corpus, seed, traffic, pool, queries, features, sessions)


def clustered(
    vectors: np.ndarray, hashes: np.ndarray, fitted: np.ndarray, weights: np.ndarray, **rules
) -> np.ndarray:
    """Discover and freeze clusters of the fitted units, and assign all units by the one rule.

    Args:
        vectors: (n, d) unit vectors.
        hashes: (n,) their names.
        fitted: places of the distinct units that the fit sees.
        weights: their weights.
        **rules: arguments of `discover`.
    """
    found = discover(vectors[fitted], weights, **rules)
    taxonomy = freeze(
        found.labels,
        vectors[fitted],
        hashes[fitted],
        found.coordinates,
        embedding_fingerprint=SPACE,
    )
    return assign(taxonomy, vectors, hashes, embedding_fingerprint=SPACE).cluster_id


def _query_clusters(corpus: Corpus, traffic: np.ndarray, seed: int) -> np.ndarray:
    kept = OUT / f"queries-{seed}.npy"
    if kept.exists():
        return np.load(kept)
    asked = corpus.text[np.isin(corpus.session, traffic)]
    fitted, counts = np.unique(asked, return_counts=True)
    rules = TaxonomySettings().model_dump(exclude={"max_texts"})
    clusters = clustered(corpus.vectors, corpus.hashes, fitted, counts, **rules)
    OUT.mkdir(parents=True, exist_ok=True)
    np.save(kept, clusters)
    return clusters


def session_clusters(
    corpus: Corpus,
    traffic: np.ndarray,
    features: pl.DataFrame,
    rules: SessionSettings,
    importance: Mapping[str, float],
) -> np.ndarray:
    """(n,) cluster of each dialogue in a taxonomy of the sessions of traffic, -1 = novel."""
    asked = pool_queries(features["text_hashes"], corpus.hashes.tolist(), corpus.vectors)
    names = features["session_hash"].to_numpy().astype(str)
    _, first = np.unique(names[traffic], return_index=True)
    fitted = traffic[first]
    weights = np.ones(len(fitted))
    space = fit_space(
        features[fitted],
        asked[fitted],
        weights,
        with_outcome=True,
        text_fingerprint=SPACE,
        rng=np.random.default_rng(rules.seed),
        importance=importance,
    )
    how = rules.model_dump(include={"method", "min_clusters", "max_clusters", "seed"})
    return clustered(session_vectors(space, features, asked), names, fitted, weights, **how)


def _features(corpus: Corpus, traffic: np.ndarray, clusters: np.ndarray) -> pl.DataFrame:
    first = np.flatnonzero(np.diff(corpus.session, prepend=-1))
    opening = np.unique(corpus.text[first][traffic])
    level = topic_level(
        corpus.vectors[opening],
        clusters[opening].astype(np.int64),
        np.random.default_rng(TaxonomySettings().seed),
    )
    at = corpus.vectors[corpus.text]
    similarity = np.full(len(at), np.nan)
    similarity[1:] = np.einsum("ij,ij->i", at[1:], at[:-1])
    similarity[first] = np.nan
    steps = corpus.steps.with_columns(rephrased=rephrases(corpus.steps, similarity, level))
    features = session_features(steps.lazy()).collect()
    return features.with_columns(session_hash=session_hashes(features))
