"""Finding what a suite misses: production texts ranked by `gap_score`, on labelled corpora.

A draw: up to 4,000 distinct texts of production, and a suite of other texts from which a share of
the intents was left out. Intents are the hidden truth; methods see vectors and weights alone.
Traffic is either skewed (Zipf-like intent shares that drift over a 30-day window, so that small
intents have no case by chance) or even (each text of the corpus once). Corpora: Banking77 and
Schema-Guided Dialogue user turns under --data, and the project's simulator.

    score    `core.gaps.gap_scores`
    ratio    log ratio of kernel densities of production and cases, t = .08, mean over 20 neighbours
    plain    k-means clusters (60) without a case, the largest first
    probe    logistic regression trained on production's true intents (cross-fitted), then the
             expected against the found cases of each intent: supervised, what the vectors hold
    oracle   knows the intents: those without a case first, by their share of traffic. Intents that
             have no case by chance keep it below 1, and no method can be expected to beat it

AUC: chance that a text in a gap ranks above one outside. P=R: precision = recall when as many texts
are named as lie in gaps. AP: average precision. `marked`: share of traffic with `in_gap`.

    python benchmarks/blind_spots.py --data ../shared/data [--seeds 3] [--first-seed 100] [--probe]
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import click
import numpy as np
import polars as pl
from banking77 import at_true_size, auc, by_cases
from banking77_traffic import read_corpus
from vectors import embedded

from evalcov_pipeline.core.coverage.gaps import gap_scores
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.simulator.rhythm import Calendar
from evalcov_pipeline.simulator.traffic import simulate_traffic

TEXTS, TURNS = 4000, 9000
FEWEST = 20
"""Least texts of an intent that is used."""
SETTINGS = [(cases, left) for cases in (100, 300, 600) for left in (0, 1 / 6)]
SETTINGS += [(300, 1 / 12), (300, 1 / 3)]
OUT = Path(__file__).parent / "out"


@dataclass(frozen=True)
class Corpus:
    """Vectors with their intents; 30 % of each intent are kept for suites."""

    name: str
    vectors: np.ndarray
    intents: np.ndarray
    for_suites: np.ndarray

    @property
    def n_intents(self) -> int:
        return int(self.intents.max()) + 1


@dataclass(frozen=True)
class Draw:
    """Production with its weights, a suite, and which texts lie in a gap."""

    production: np.ndarray
    weights: np.ndarray
    cases: np.ndarray
    intents: np.ndarray
    case_intents: np.ndarray
    truth: np.ndarray


def dialogue_turns(path: Path) -> Iterator[tuple[str, str]]:
    """User turns with (service, intent); a dialogue of several services names those of the intent.

    Many turns ("Yes, thanks") do not show their intent, so the ceiling is low here.
    """
    with path.open(encoding="utf-8") as file:
        dialogues = [json.loads(line) for line in file]
    offered = defaultdict(set)
    for dialogue in dialogues:
        if len(dialogue["services"]) == 1:
            for turn in dialogue["turns"]:
                offered[turn.get("intent")].add(dialogue["services"][0])
    for dialogue in dialogues:
        for turn in dialogue["turns"]:
            intent = turn.get("intent")
            if turn["speaker"] == "USER" and intent not in (None, "NONE"):
                fitting = [s for s in dialogue["services"] if s in offered[intent]]
                yield turn["text"], f"{(fitting or dialogue['services'])[0]}/{intent}"


def simulated_turns() -> Iterator[tuple[str, str]]:
    """Queries that carry their own intent; follow-ups mean little alone."""
    for turn in simulate_traffic(Calendar(date(2026, 1, 5), 10, 95.0), seed=7):
        if turn.environment == "production" and turn.kind in ("first", "next", "rephrase"):
            yield turn.query, turn.intent


def labelled_texts(data: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    if (data / "banking77").exists():
        corpus = read_corpus(data / "banking77")
        yield "banking77", corpus.texts, [corpus.names[intent] for intent in corpus.intents]
    dialogues = data / "sgd" / "dialogues.jsonl"
    sources = {"simulator": simulated_turns()}
    if dialogues.exists():
        sources["sgd"] = dialogue_turns(dialogues)
    for name, rows in sources.items():
        yield name, *redacted_once(list(rows))


def redacted_once(rows: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Distinct redacted texts with their most frequent intent, rare intents left out."""
    texts = redactor(Settings().redaction)([" ".join(text.split()) for text, _ in rows])
    seen: dict[str, Counter[str]] = {}
    for text, (_, intent) in zip(texts, rows, strict=True):
        seen.setdefault(text, Counter())[intent] += 1
    intent_of = {text: votes.most_common(1)[0][0] for text, votes in sorted(seen.items()) if text}
    frequent = Counter(intent_of.values())
    kept = [text for text, intent in intent_of.items() if frequent[intent] >= FEWEST]
    return kept, [intent_of[text] for text in kept]


def read_corpora(data: Path) -> Iterator[Corpus]:
    for name, texts, labels in labelled_texts(data):
        _, vectors = embedded(name, texts)
        intents = np.unique(labels, return_inverse=True)[1]
        rng = np.random.default_rng(77)
        for_suites = np.zeros(len(texts), bool)
        for intent in range(intents.max() + 1):
            members = rng.permutation(np.flatnonzero(intents == intent))
            for_suites[members[: round(0.3 * len(members))]] = True
        yield Corpus(name, vectors, intents, for_suites)


def make_draw(corpus: Corpus, seed: int, n_cases: int, left_out: float, *, skewed: bool) -> Draw:
    rng = np.random.default_rng([seed, 11, skewed])
    k = corpus.n_intents
    pools = [np.flatnonzero((corpus.intents == i) & ~corpus.for_suites) for i in range(k)]
    if skewed:
        base, drift = np.log(1 / (rng.permutation(k) + 3.0)), rng.normal(0, 1.1, k)
        daily = np.exp(base + np.outer(np.linspace(0.3, 1, 30), drift))
        p = (daily / daily.sum(1, keepdims=True)).mean(0)
        turns = np.array([rng.choice(pools[i]) for i in rng.choice(k, TURNS, p=p)])
        _, first = np.unique(turns, return_index=True)
        turns = turns[: np.sort(first)[TEXTS]] if len(first) > TEXTS else turns
    else:
        p = np.bincount(corpus.intents, minlength=k) / len(corpus.intents)
        pool = np.flatnonzero(~corpus.for_suites)
        turns = rng.choice(pool, min(TEXTS, len(pool)), replace=False)
    texts, weights = np.unique(turns, return_counts=True)
    kept = np.ones(k, bool)
    kept[rng.choice(k, round(k * left_out), replace=False)] = False
    q = np.where(kept, p, 0) / p[kept].sum()
    pools = [np.flatnonzero((corpus.intents == i) & corpus.for_suites) for i in range(k)]
    cases = np.concatenate(
        [
            rng.choice(pool, n, replace=n > len(pool))
            for pool, n in zip(pools, rng.multinomial(n_cases, q), strict=True)
        ]
    )
    return Draw(
        corpus.vectors[texts],
        weights.astype(float),
        corpus.vectors[cases],
        corpus.intents[texts],
        corpus.intents[cases],
        ~kept[corpus.intents[texts]],
    )


def density_ratio(draw: Draw, temperature: float = 0.08, neighbours: int = 20) -> np.ndarray:
    mass = draw.weights / draw.weights.sum()
    texts, cases = (
        (moved := vectors - mass @ draw.production) / np.linalg.norm(moved, axis=1, keepdims=True)
        for vectors in (draw.production, draw.cases)
    )
    cosine = texts @ texts.T
    np.fill_diagonal(cosine, -np.inf)
    near = np.argpartition(-cosine, neighbours, axis=1)[:, :neighbours]
    around = np.exp((cosine - 1) / temperature) @ mass / (1 - mass)
    tested = np.exp((texts @ cases.T - 1) / temperature).mean(1)
    ratio = np.log(around + 1e-12) - np.log(tested + 1e-12)
    return (ratio + ratio[near].sum(1)) / (neighbours + 1)


def plain_clusters(draw: Draw, k: int = 60) -> np.ndarray:
    from sklearn.cluster import KMeans

    fitted = KMeans(k, n_init=1, random_state=0).fit(draw.production)
    return by_cases(
        np.bincount(fitted.labels_, draw.weights, minlength=k),
        np.bincount(fitted.predict(draw.cases), minlength=k),
    )[fitted.labels_]


def oracle(draw: Draw) -> np.ndarray:
    k = max(draw.intents.max(), draw.case_intents.max()) + 1
    return by_cases(
        np.bincount(draw.intents, draw.weights, minlength=k),
        np.bincount(draw.case_intents, minlength=k),
    )[draw.intents]


def probe(draw: Draw) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    def probabilities(fitted_on: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=30, max_iter=200, tol=1e-3)
        model.fit(draw.production[fitted_on], draw.intents[fitted_on])
        full = np.zeros((len(vectors), draw.intents.max() + 1))
        full[:, model.classes_] = model.predict_proba(vectors)
        return full

    half = np.random.default_rng(0).random(len(draw.intents)) < 0.5
    named = np.zeros((len(draw.intents), draw.intents.max() + 1))
    for part in (half, ~half):
        named[part] = probabilities(~part, draw.production[part])
    found = probabilities(np.ones(len(half), bool), draw.cases).sum(0)
    expected = len(draw.cases) * (draw.weights / draw.weights.sum()) @ named
    return named @ np.log((expected + 0.3) / (found + 0.3))


def average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    hits = truth[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def measure(draw: Draw, seed: int, *, with_probe: bool) -> Iterator[dict]:
    """A row per method; without a gap, what `score` marks."""
    began = time.process_time()
    found = gap_scores(draw.production, draw.weights, draw.cases, rng=np.random.default_rng(seed))
    seconds = time.process_time() - began
    marked = float(draw.weights[found.in_gap].sum() / draw.weights.sum())
    if not draw.truth.any():
        yield {"method": "score", "marked": marked, "seconds": seconds}
        return
    scores = {
        "score": found.gap_score,
        "ratio": density_ratio(draw),
        "plain": plain_clusters(draw),
        "oracle": oracle(draw),
    } | ({"probe": probe(draw)} if with_probe else {})
    for method, score in scores.items():
        row = {
            "method": method,
            "AUC": auc(draw.truth, score),
            "P=R": at_true_size(draw.truth, score),
            "AP": average_precision(draw.truth, score),
        }
        if method == "score":
            row |= {"marked": marked, "recall": float(found.in_gap[draw.truth].mean())}
            if found.in_gap.any():
                row["precision"] = float(draw.truth[found.in_gap].mean())
        yield row


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--first-seed", default=100, show_default=True)
@click.option("--probe", "with_probe", is_flag=True, help="Also at 300 cases, 1/6 left out.")
def main(data: Path, seeds: int, first_seed: int, with_probe: bool) -> None:
    rows = []
    for corpus in read_corpora(data):
        for traffic in ("skewed", "even"):
            for cases, left in SETTINGS:
                for seed in range(first_seed, first_seed + seeds):
                    draw = make_draw(corpus, seed, cases, left, skewed=traffic == "skewed")
                    stamp = {"corpus": corpus.name, "traffic": traffic, "cases": cases}
                    stamp |= {"left_out": round(left, 3), "seed": seed}
                    probed = with_probe and (cases, left) == (300, 1 / 6)
                    rows += [stamp | row for row in measure(draw, seed, with_probe=probed)]
                click.echo(f"{corpus.name} {traffic} {cases} cases, {left:.3f} left out", err=True)
    table = pl.DataFrame(rows, infer_schema_length=None)
    report(table)
    OUT.mkdir(exist_ok=True)
    (OUT / "blind_spots.json").write_text(json.dumps(rows, indent=1))


def report(table: pl.DataFrame) -> None:
    place = ["corpus", "traffic", "cases", "left_out"]
    gaps = table.filter(pl.col("left_out") > 0)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, float_precision=3):
        click.echo("Ranking by method, means over seeds; marked, recall, precision are in_gap's")
        click.echo(
            gaps.group_by(*place, "method", maintain_order=True).agg(
                pl.mean("AUC", "P=R", "AP", "marked", "recall", "precision")
            )
        )
        click.echo("Spread over seeds of P=R, and how often `score` beats `ratio` in the same draw")
        paired = gaps.filter(pl.col("method").is_in(["score", "ratio"])).pivot(
            "method", index=[*place, "seed"], values="P=R"
        )
        click.echo(
            paired.group_by(place, maintain_order=True).agg(
                low=pl.min("score"),
                high=pl.max("score"),
                gain=(pl.col("score") - pl.col("ratio")).mean(),
                wins=(pl.col("score") > pl.col("ratio")).mean(),
            )
        )
        gain = paired["score"] - paired["ratio"]
        click.echo(f"in all: {(gain > 0).sum()} of {len(gain)} draws, by {gain.mean():.3f} of P=R")
        click.echo("Proportional suites: share of traffic marked, at most .05")
        null = table.filter(pl.col("left_out") == 0)
        click.echo(
            null.group_by("corpus", "traffic", "cases", maintain_order=True).agg(
                mean=pl.mean("marked"), highest=pl.max("marked"), processor_s=pl.mean("seconds")
            )
        )
        click.echo(f"in all: {null['marked'].mean():.3f}")


if __name__ == "__main__":
    main()
