"""Whole sessions on real dialogues: which suites are found that leave out a kind of session?

Schema-Guided Dialogue is traffic (see `sgd_dialogues.py`): one half of the dialogues. Suites are
drawn from the other half, so that nothing is matched by identity:

    none        any dialogue: the suite is proportional, and whatever is found is a false alarm
    switch      only dialogues of one service
    failure     only dialogues in which no booking or purchase failed
    long        only dialogues of less than 12 user turns
    flights     only dialogues without a search for flights
    reordered   any dialogue, with its turns in random order
    single      one turn of any dialogue

These scores look at each suite. `last` and `one` are the coverage of single queries: by the last
query of each case, and by one random query of each. `all` counts every query of every case, as if
each were drawn by itself. `session` compares clusters of whole sessions, `traits` their lengths,
failures and outcomes one by one; `queries` and `tools` compare the order of query clusters and of
tool calls. Kinds and traits are those of whole dialogues, so that the last two have none.

    flagged     p < 0.05; for traits, any with too few or too many cases
    degraded    what the pipeline calls degraded (the scores of order have no such verdict)
    listed      a cluster or path that is listed as gap, liability or thin consists mostly of what
                was left out; for other suites than those, and for traits, any gap or liability
    auc         chance that a session of the kind left out has a higher gap score than another one

A session's gap score is the mean, over its clusters or its transitions, of their parts of the
divergence per share of production, where the suite has fewer than production.

    python benchmarks/sgd.py --data ../shared/data [--seeds 8] [--null-suites 200] [--quick]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import polars as pl
from sgd_dialogues import KINDS, read_dialogues
from sgd_grounds import Ground, corpus_of, ground

from evalcov_pipeline.core.coverage.assessment import assess_suite
from evalcov_pipeline.core.coverage.clusters import NOVEL, cluster_coverage
from evalcov_pipeline.core.coverage.divergence import jsd_contributions, score_divergence
from evalcov_pipeline.core.sessions.ngrams import joined
from evalcov_pipeline.core.sessions.paths import path_coverage
from evalcov_pipeline.core.sessions.sequences import sequence_score
from evalcov_pipeline.core.sessions.traits import trait_coverage
from evalcov_pipeline.core.statistics.shares import ProductionShares, production_shares
from evalcov_pipeline.services.sessions.scores import LENGTH

OUT = Path(__file__).parent / "out" / "sgd.json"
SIZES = (50, 100, 200, 300)
MODES = ("none", *KINDS, "reordered", "single")
LISTED = ("gap", "liability", "thin")
AS_OF = datetime(2026, 11, 2)


@dataclass(frozen=True)
class Suite:
    """Cases as (dialogue, its turns in the order of the case)."""

    cases: Sequence[tuple[int, np.ndarray]]


@dataclass(frozen=True)
class Found:
    """What a score says of a suite.

    Attributes:
        flagged: whether it is found not to be proportional.
        jsd: `jsd_adjusted`, bits; None for a score without one.
        degraded: the verdict; None for a score without one.
        gap_scores: (s,) of the sessions of traffic; None for a score that does not rank them.
        untested: (s, j) which sessions are of each cluster, or walk each path, that is listed; None
            likewise.
        false_gap: whether any is listed as gap or liability.
    """

    flagged: bool
    jsd: float | None
    degraded: bool | None
    gap_scores: np.ndarray | None
    untested: np.ndarray | None
    false_gap: bool


class Scores:
    """The scores of suites against the traffic of one split."""

    def __init__(self, home: Ground, resamples: int) -> None:
        corpus = home.corpus
        self.home, self.resamples = home, resamples
        starts = np.flatnonzero(np.diff(corpus.session, prepend=-1))
        self.turns = np.split(np.arange(len(corpus.session)), starts[1:])
        self.query = home.query_clusters[corpus.text]
        self.tools = [turn.tools for dialogue in corpus.dialogues for turn in dialogue.turns]
        self.symbols: dict[str, Callable[[np.ndarray], list[str]]] = {
            "queries": lambda turns: [str(cluster) for cluster in self.query[turns]],
            "tools": lambda turns: [name for turn in turns for name in self.tools[turn]],
        }
        self.orders = {
            name: OrderScore([walk(self.turns[i]) for i in home.traffic], resamples)
            for name, walk in self.symbols.items()
        }
        sessions = np.arange(len(home.traffic))
        owner = np.repeat(sessions, [len(self.turns[i]) for i in home.traffic])
        asked = self.query[np.concatenate([self.turns[i] for i in home.traffic])]
        self.by_query = ClusterScore(owner, asked, home.query_clusters.max() + 1, resamples)
        self.by_session = ClusterScore(
            sessions,
            home.session_clusters[home.traffic],
            home.session_clusters.max() + 1,
            resamples,
        )

    def of(self, suite: Suite, rng: np.random.Generator) -> Iterator[tuple[str, Found]]:
        """Each score's name and what it says."""
        asked = [self.query[turns] for _, turns in suite.cases]
        for name, queries in (
            ("last", [case[-1] for case in asked]),
            ("one", [rng.choice(case) for case in asked]),
            ("all", np.concatenate(asked)),
        ):
            yield name, self.by_query.found(np.asarray(queries), rng)
        whole = [i for i, turns in suite.cases if np.array_equal(turns, self.turns[i])]
        if len(whole) == len(suite.cases):
            yield "session", self.by_session.found(self.home.session_clusters[whole], rng)
            yield "traits", self._traits(whole, rng)
        for name, order in self.orders.items():
            cases = [self.symbols[name](turns) for _, turns in suite.cases]
            yield name, order.found(cases, rng)

    def _traits(self, cases: Sequence[int], rng: np.random.Generator) -> Found:
        features, n = self.home.features, len(self.home.traffic)
        status = trait_coverage(
            features[self.home.traffic], np.full(n, 1 / n), np.zeros(n, int), features[cases], rng,
            with_outcome=True, resamples=self.resamples,
        )["status"]  # fmt: skip
        off = bool(status.is_in([*LISTED, "over_represented"]).any())
        return Found(off, None, None, None, None, bool((status == "gap").any()))


class ClusterScore:
    """Coverage of clusters by the cases' clusters."""

    def __init__(self, owner: np.ndarray, clusters: np.ndarray, k: int, resamples: int) -> None:
        self.weights = np.zeros((owner[-1] + 1, k + 1))
        np.add.at(self.weights, (owner, clusters), 1.0)  # novel, -1, is the last column
        self.production: ProductionShares = production_shares(
            self.weights,
            np.zeros(len(self.weights), int),
            np.random.default_rng(1),
            resamples,
        )

    def found(self, cases: np.ndarray, rng: np.random.Generator) -> Found:
        production, k = self.production, self.weights.shape[1] - 1
        counts = np.bincount(np.where(cases < 0, k, cases), minlength=k + 1)
        score = score_divergence(production, counts, None, rng)
        ids = [*range(k), NOVEL]
        status = cluster_coverage(
            ids, production, production.shares, counts,
            as_of=AS_OF, newest_case_at=[None] * len(ids),
        ).clusters["status"].to_numpy()  # fmt: skip
        liable = {
            str(i): share
            for i, share in zip(ids, production.shares, strict=True)
            if status[i] == "liability"
        }
        p, q = production.shares, counts / counts.sum()
        missing = np.where(q < p, jsd_contributions(p, q) / np.maximum(p, 1e-12), 0.0)
        return Found(
            score.p_value < 0.05,
            score.jsd_adjusted,
            assess_suite(score, liable).degraded,
            self.weights @ missing / self.weights.sum(axis=1),
            self.weights[:, np.isin(status, LISTED)] > 0,
            bool(np.isin(status, ("gap", "liability")).any()),
        )


class OrderScore:
    """Coverage of transitions, for the divergence, and of paths of up to three steps, as gaps."""

    def __init__(self, traffic: Sequence[Sequence[str]], resamples: int) -> None:
        self.traffic, self.resamples = traffic, resamples
        walked = [["^", *symbols, "$"] for symbols in traffic]
        self.transitions = [[joined(pair) for pair in pairwise(walk)] for walk in walked]
        self.paths = [
            {joined(walk[i : i + n]) for n in (1, 2, 3) for i in range(len(walk) - n + 1)}
            for walk in walked
        ]

    def found(self, cases: Sequence[Sequence[str]], rng: np.random.Generator) -> Found:
        n = len(self.traffic)
        weights, strata = np.full(n, 1 / n), np.zeros(n, int)
        score = sequence_score(
            self.traffic, weights, strata, cases, np.zeros(len(cases), bool), rng,
            length=LENGTH, resamples=self.resamples,
        )  # fmt: skip
        paths = path_coverage(
            self.traffic, weights, strata, cases, rng, lengths=(1, 2, 3), resamples=self.resamples
        ).paths
        fewer = (
            paths.filter(pl.col("eval_share") < pl.col("production_share"))
            .join(score.contributions, on="ngram")
            .select("ngram", pl.col("jsd_contribution") / pl.col("production_share"))
        )
        missing = dict(fewer.iter_rows())
        listed = paths.filter(pl.col("status").is_in(LISTED))["ngram"].to_list()
        return Found(
            score.p_value < 0.05,
            score.jsd_adjusted,
            None,
            np.array([np.mean([missing.get(p, 0.0) for p in walk]) for walk in self.transitions]),
            np.array([[path in walked for path in listed] for walked in self.paths]).reshape(n, -1),
            bool((paths["status"] == "gap").any()),
        )


def draw(home: Ground, scores: Scores, mode: str, n: int, rng: np.random.Generator) -> Suite:
    """A suite of n cases by a mode, without repeats."""
    pool = home.pool
    if mode in KINDS:
        pool = pool[~home.corpus.kinds[mode][pool]]
    change: Callable[[np.ndarray], np.ndarray] = {
        "reordered": rng.permutation,
        "single": lambda turns: rng.choice(turns, 1),
    }.get(mode, lambda turns: turns)
    return Suite([(int(i), change(scores.turns[i])) for i in rng.choice(pool, n, replace=False)])


def rows_of_seed(
    data: Path, seed: int, sizes: Sequence[int], suites: int, null_suites: int, resamples: int
) -> list[dict]:
    """What each score says of each suite of one split."""
    home = ground(corpus_of(read_dialogues(data)), seed)
    scores = Scores(home, resamples)
    rows = []
    for n in sizes:
        for number, mode in enumerate(MODES):
            of_kind = home.corpus.kinds[mode][home.traffic] if mode in KINDS else None
            for i in range(null_suites if mode == "none" else suites):
                rng = np.random.default_rng([seed, n, number, i])
                suite = draw(home, scores, mode, n, rng)
                for score, found in scores.of(suite, rng):
                    rows.append(
                        {"seed": seed, "cases": n, "mode": mode, "score": score}
                        | measured(found, of_kind)
                    )
    return rows


def measured(found: Found, of_kind: np.ndarray | None) -> dict:
    row = {
        "flagged": found.flagged,
        "degraded": found.degraded,
        "jsd": found.jsd,
        "listed": found.false_gap,
        "auc": None,
    }
    if of_kind is None or found.gap_scores is None or found.untested is None:
        return row
    mostly = max(0.5, min(0.9, 1.5 * of_kind.mean()))
    shares = of_kind.astype(float) @ found.untested / np.maximum(found.untested.sum(axis=0), 1)
    return row | {
        "listed": bool((shares >= mostly).any()),
        "auc": _auc(found.gap_scores, of_kind),
    }


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    from scipy.stats import rankdata

    n = positive.sum()
    ranks = rankdata(scores)[positive].sum() - n * (n + 1) / 2
    return float(ranks / (n * (len(scores) - n)))


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default=8, show_default=True, help="Splits into traffic and pool.")
@click.option("--suites", default=3, show_default=True, help="Suites per split, size and mode.")
@click.option("--null-suites", default=200, show_default=True, help="Proportional ones per size.")
@click.option("--resamples", default=99, show_default=True)
@click.option("--quick", is_flag=True, help="Two splits, suites of 100.")
@click.option("--workers", default=2, show_default=True)
def main(data, seeds, suites, null_suites, resamples, quick, workers) -> None:
    """Print the tables and write them as JSON."""
    sizes = SIZES
    if quick:
        seeds, suites, null_suites, sizes = 2, 3, 10, (100,)
    path = data / "sgd" / "dialogues.jsonl"
    corpus_of(read_dialogues(path))  # embeds what is not yet embedded
    settings = (sizes, suites, -(-null_suites // seeds), resamples)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(rows_of_seed, path, seed, *settings) for seed in range(seeds)]
        rows = []
        for done in as_completed(running):
            rows += done.result()
            click.echo(f"{len(rows)} scores of suites", err=True)
    table = summary(rows)
    report(table)
    OUT.parent.mkdir(exist_ok=True)
    conditions = {"seeds": seeds, "suites": suites, "resamples": resamples}
    OUT.write_text(json.dumps(conditions | {"table": table.to_dicts()}, indent=1))
    click.echo(f"written to {OUT}")


def summary(rows: list[dict]) -> pl.DataFrame:
    """Shares of suites and means, by score, mode and size."""
    measured = pl.col("flagged", "degraded", "listed", "jsd", "auc").cast(pl.Float64).mean()
    return (
        pl.DataFrame(rows, infer_schema_length=None)
        .group_by("score", "mode", "cases", maintain_order=True)
        .agg(pl.len().alias("suites"), measured)
    )


def report(table: pl.DataFrame) -> None:
    """One table per mode and measure, sizes across."""
    shown = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 200, "float_precision": 2}
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**shown, **plain, tbl_formatting="MARKDOWN"):
        for mode in MODES:
            own = table.filter(mode=mode)
            click.echo(f"{mode}: {own['suites'].min()} suites per size")
            for measure in ("flagged", "degraded", "listed", "auc", "jsd"):
                if own[measure].is_not_null().any():
                    click.echo(measure)
                    click.echo(own.pivot("cases", index="score", values=measure))


if __name__ == "__main__":
    main()
