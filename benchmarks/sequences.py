"""Error rates of the sequence score and of untested paths, on planted truth.

Production: Markov chains over 12 to 40 symbols, sessions of 1 to 12 steps, 2,000 to 4,000 of them
in 60 strata of unequal weight; one chain has no order at all. Suites: whole sessions drawn from
30,000 others, whose n-gram shares are the truth:

    proportional  every session is as likely
    missing       symbols left out one after the other, in random order, with all their sessions
    tilted        sessions more or less likely by the symbols they have
    other         partly sessions of another chain over the same symbols
    shuffled      production's sessions, steps in random order: the same symbols in each session
    single        the first step of production's sessions

    python benchmarks/sequences.py [--quick]
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import polars as pl
from scipy.optimize import brentq

from evalcov_pipeline.core.coverage.divergence import jsd
from evalcov_pipeline.core.sessions.paths import PathCoverage, path_coverage
from evalcov_pipeline.core.sessions.sequences import SequenceScore, sequence_score

OUT = Path(__file__).parent / "out" / "sequences.json"
SIZES = (30, 50, 100, 300)
TARGETS = (0.15, 0.30, 0.50)
POOL = 30_000
LONGEST = 12
Sessions = list[list[str]]
Shares = np.ndarray


@dataclass(frozen=True)
class Chain:
    """Planted production: how many symbols, how much order, how many sessions are sampled."""

    symbols: int
    order: float
    sessions: int
    seed: int


CHAINS = {
    "12 symbols": Chain(12, 0.7, 3000, 1),
    "30 symbols": Chain(30, 0.7, 4000, 2),
    "40 symbols": Chain(40, 0.9, 2000, 3),
    "20 symbols, no order": Chain(20, 0.0, 3000, 4),
}


@dataclass(frozen=True)
class Ground:
    """A sample of production, the sessions that suites are drawn from, and the truth."""

    symbols: list[str]
    production: Sessions
    weights: np.ndarray
    strata: np.ndarray
    pool: Sessions
    other: Sessions
    vectors: np.ndarray
    other_vectors: np.ndarray

    def score(self, cases: Sessions, rng, resamples: int) -> SequenceScore:
        """The score of a suite of draws."""
        return sequence_score(
            self.production,
            self.weights,
            self.strata,
            cases,
            np.zeros(len(cases), dtype=bool),
            rng,
            resamples=resamples,
        )

    def paths(self, cases: Sessions, rng, resamples: int) -> PathCoverage:
        """The paths of a suite."""
        return path_coverage(
            self.production, self.weights, self.strata, cases, rng, resamples=resamples
        )


def walks(chain: Chain, n: int, seed: list[int], popular: Shares | None = None) -> Sessions:
    """Sessions of a chain: Zipf symbols, each followed mostly by a few successors of its own."""
    rng = np.random.default_rng(seed)
    k = chain.symbols
    start = 1 / np.arange(1, k + 1) if popular is None else popular
    start = start / start.sum()
    own = rng.dirichlet(5 * start + 0.02, size=k)
    following = np.cumsum((1 - chain.order) * start + chain.order * own, axis=1)
    steps = np.empty((n, LONGEST), dtype=int)
    steps[:, 0] = rng.choice(k, n, p=start)
    for i in range(1, LONGEST):
        u = rng.random(n)[:, None] * following[steps[:, i - 1], -1:]
        steps[:, i] = (u > following[steps[:, i - 1]]).sum(axis=1)
    lengths = np.minimum(rng.geometric(0.28, n), LONGEST)
    return [[f"s{i}" for i in row[:length]] for row, length in zip(steps, lengths, strict=True)]


@cache
def ground(name: str) -> Ground:
    """The ground of a chain; the same in every process."""
    chain = CHAINS[name]
    rng = np.random.default_rng([chain.seed, 0])
    sessions = walks(chain, chain.sessions + POOL, [chain.seed, 1])
    production, pool = sessions[: chain.sessions], sessions[chain.sessions :]
    strata = rng.integers(0, 60, chain.sessions)
    weights = rng.lognormal(0, 0.3, 60)[strata]
    other = walks(chain, POOL, [chain.seed, 2], 1 / np.arange(chain.symbols, 0, -1) ** 3)
    told = sequence_score(
        production, weights, strata, pool[:50], np.zeros(50, bool), rng, resamples=1
    ).contributions["ngram"]
    cells = {ngram: i for i, ngram in enumerate(told)}
    return Ground(
        [f"s{i}" for i in range(chain.symbols)],
        production,
        weights,
        strata,
        pool,
        other,
        vectors(pool, cells),
        vectors(other, cells),
    )


def vectors(sessions: Sessions, cells: dict[str, int]) -> np.ndarray:
    """(n, k + 1) shares of the transitions of each session, those without a cell last."""
    found = np.zeros((len(sessions), len(cells) + 1))
    for row, session in zip(found, sessions, strict=True):
        steps = ["^", *session, "$"]
        pairs = Counter(pairwise(steps))
        for (a, b), count in pairs.items():
            row[cells.get(f"{a} > {b}", -1)] += count / (len(steps) - 1)
    return found


def missing(home: Ground, rng) -> Callable[[float], np.ndarray]:
    """Chances of the pool's sessions with a share of them left out, symbol by symbol."""
    symbols = rng.permutation(home.symbols)
    order = {symbol: i for i, symbol in enumerate(symbols)}
    first = np.array([min(order[symbol] for symbol in session) for session in home.pool])
    rank = np.argsort(np.argsort(first, kind="stable"))

    def at(x):
        kept = (rank >= x * len(rank)).astype(float)
        return kept / kept.sum()

    return at


def tilted(home: Ground, rng) -> Callable[[float], np.ndarray]:
    """Chances of the pool's sessions that favour some symbols."""
    favour = dict(zip(home.symbols, rng.normal(size=len(home.symbols)), strict=True))
    lean = np.array([np.mean([favour[symbol] for symbol in session]) for session in home.pool])

    def at(x):
        chances = np.exp(12 * x * (lean - lean.max()))
        return chances / chances.sum()

    return at


def mixed(home: Ground, rng) -> Callable[[float], np.ndarray]:
    """Chances of the pool's sessions, then of those of another chain."""
    return lambda x: np.concatenate([np.full(POOL, (1 - x) / POOL), np.full(POOL, x / POOL)])


KINDS = {"missing": missing, "tilted": tilted, "other": mixed}


def at_divergence(home: Ground, kind: str, target: float, rng) -> tuple[np.ndarray, float]:
    """Chances of sessions, and their divergence: `target` as nearly as whole sessions allow."""
    truth, path = home.vectors.mean(axis=0), KINDS[kind](home, rng)
    both = np.concatenate([home.vectors, home.other_vectors])

    def lies(x):
        chances = path(x)
        return jsd(truth, chances @ both[: len(chances)])

    if lies(0.99) < target:  # a path that does not go so far: another one
        return at_divergence(home, kind, target, rng)
    x = brentq(lambda x: lies(x) - target, 0, 0.99, xtol=1e-4)
    return path(x), lies(x)


def divergent(name: str, kind: str, target: float, n: int, suites: int, resamples: int) -> dict:
    """Error, interval and power on suites at a known divergence."""
    home = ground(name)
    everyone = home.pool + home.other
    rng = np.random.default_rng([n, round(100 * target), list(KINDS).index(kind), suites])
    rows = []
    for i in range(suites):
        if i % 5 == 0:
            chances, true = at_divergence(home, kind, target, rng)
        drawn = rng.choice(len(chances), n, p=chances)
        score = home.score([everyone[j] for j in drawn], rng, resamples)
        rows.append(
            {
                "significant": score.p_value < 0.05,
                "covered": score.jsd_ci_low <= true <= score.jsd_ci_high,
                "above": score.jsd_ci_low > true,
                "width": score.jsd_ci_high - score.jsd_ci_low,
                "plain": score.jsd - true,
                "null_taken_off": score.jsd - score.null_mean - true,
                "adjusted": score.jsd_adjusted - true,
            }
        )
    frame = pl.DataFrame(rows)
    errors = ("plain", "null_taken_off", "adjusted")
    return {
        "ground": name,
        "kind": kind,
        "true": target,
        "cases": n,
        "suites": suites,
        **{column: frame[column].mean() for column in ("significant", "covered", "above", "width")},
        **{f"{error}_bias": frame[error].mean() for error in errors},
        **{f"{error}_rmse": float((frame[error] ** 2).mean() ** 0.5) for error in errors},
    }


def proportional(name: str, n: int, suites: int, resamples: int) -> dict:
    """False alarms."""
    home, rng = ground(name), np.random.default_rng([n, suites])
    rows = []
    for _ in range(suites):
        cases = [home.pool[j] for j in rng.integers(0, POOL, n)]
        score, paths = home.score(cases, rng, resamples), home.paths(cases, rng, resamples)
        status = set(paths.paths["status"])
        rows.append(
            {
                "significant": score.p_value < 0.05,
                "order": score.order_p_value < 0.05,
                "covered": score.jsd_ci_low == 0,
                "false_gap": "gap" in status,
                "false_tilt": bool(status & {"thin", "over_represented"}),
                "plain": score.jsd,
                "adjusted_rmse": score.jsd_adjusted**2,
                "null_taken_off_rmse": (score.jsd - score.null_mean) ** 2,
            }
        )
    means = pl.DataFrame(rows).mean().row(0, named=True)
    means |= {key: value**0.5 for key, value in means.items() if key.endswith("rmse")}
    return {"ground": name, "cases": n, "suites": suites, **means}


def altered(name: str, kind: str, n: int, suites: int, resamples: int) -> dict:
    """What the score says of suites whose order, length or symbols are not production's."""
    home = ground(name)
    rng = np.random.default_rng([n, suites, len(kind)])
    chances, rows = np.full(POOL, 1 / POOL), []
    for i in range(suites):
        if kind == "tilted" and i % 5 == 0:
            chances, _ = at_divergence(home, kind, 0.1, rng)
        cases = [home.pool[j] for j in rng.choice(POOL, n, p=chances)]
        if kind == "shuffled":
            cases = [list(rng.permutation(case)) for case in cases]
        if kind == "single":
            cases = [case[:1] for case in cases]
        score, paths = home.score(cases, rng, resamples), home.paths(cases, rng, resamples)
        rows.append(
            {
                "significant": score.p_value < 0.05,
                "order_significant": score.order_p_value < 0.05,
                "jsd": score.jsd,
                "jsd_adjusted": score.jsd_adjusted,
                "order_jsd": score.order_jsd,
                "order_adjusted": score.order_adjusted,
                "untested_share": paths.untested_share,
            }
        )
    means = pl.DataFrame(rows).mean().row(0, named=True)
    return {"ground": name, "kind": kind, "cases": n, "suites": suites, **means}


def forgotten(name: str, n: int, suites: int, resamples: int) -> dict:
    """What is found of sessions with a step that no case takes."""
    home, rng = ground(name), np.random.default_rng([n, suites, 9])
    total = home.weights.sum()
    rows = []
    for _ in range(suites):
        gone = {f"s{i}" for i in rng.choice(CHAINS[name].symbols, 3, replace=False)}
        kept = [session for session in home.pool if not gone & {*session}]
        paths = home.paths([kept[j] for j in rng.integers(0, len(kept), n)], rng, resamples)
        theirs = [bool(gone & {*session}) for session in home.production]
        named = paths.paths.filter(pl.col("minimal") & (pl.col("status") == "gap"))["symbols"]
        rows.append(
            {
                "true": float(home.weights[theirs].sum() / total),
                "untested_share": paths.untested_share,
                "named": len(named),
                "right": sum(bool(gone & {*symbols}) for symbols in named),
            }
        )
    frame = pl.DataFrame(rows)
    return {
        "ground": name,
        "cases": n,
        "suites": suites,
        "true": frame["true"].mean(),
        "untested_share": frame["untested_share"].mean(),
        "right": frame["right"].sum() / max(frame["named"].sum(), 1),
    }


def speed() -> dict:
    """Seconds of one score and of its paths on 4,000 sessions, 300 cases, 999 resamples."""
    home, rng = ground("30 symbols"), np.random.default_rng(5)
    seconds = {}
    for what in ("score", "paths"):
        began = time.perf_counter()
        getattr(home, what)(home.pool[:300], rng, 999)
        seconds[what] = time.perf_counter() - began
    return seconds


@click.command(help=__doc__)
@click.option("--suites", default=10, show_default=True, help="Suites per cell.")
@click.option("--null-suites", default=400, show_default=True, help="Proportional suites per size.")
@click.option("--resamples", default=199, show_default=True)
@click.option("--quick", is_flag=True, help="Few suites.")
@click.option("--workers", default=2, show_default=True)
def main(suites: int, null_suites: int, resamples: int, quick: bool, workers: int) -> None:
    """Print the tables and write them as JSON."""
    if quick:
        suites, null_suites, resamples = 5, 20, 99
    per_ground = -(-null_suites // len(CHAINS))
    ordered = [name for name, chain in CHAINS.items() if chain.order]
    without_order = next(name for name, chain in CHAINS.items() if not chain.order)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {
            "false_alarms": [
                pool.submit(proportional, name, n, per_ground, resamples)
                for n in SIZES
                for name in CHAINS
            ],
            "divergent": [
                pool.submit(divergent, name, kind, target, n, suites, resamples)
                for target in TARGETS
                for n in SIZES
                for kind in KINDS
                for name in CHAINS
            ],
            "altered": [
                pool.submit(altered, name, kind, n, suites, resamples)
                for kind, names in (
                    ("shuffled", ordered),
                    ("tilted", [without_order]),
                    ("single", list(CHAINS)),
                )
                for n in SIZES
                for name in names
            ],
            "forgotten": [
                pool.submit(forgotten, name, n, suites, resamples) for n in SIZES for name in CHAINS
            ],
        }
        found = {}
        for what, submitted in jobs.items():
            found[what] = [job.result() for job in submitted]
            click.echo(f"{what}: done")
    report(found)
    seconds = speed()
    click.echo(f"\n4,000 sessions, 300 cases, 999 resamples: {seconds}")
    OUT.parent.mkdir(exist_ok=True)
    conditions = {"suites": suites, "null_suites": null_suites, "resamples": resamples}
    OUT.write_text(json.dumps(conditions | found | {"seconds": seconds}, indent=1))
    click.echo(f"written to {OUT}")


def report(found: dict) -> None:
    """The tables: means over chains, then each chain by itself where that matters."""
    tables = {
        "false_alarms": ["cases"],
        "divergent": ["true", "cases"],
        "altered": ["kind", "cases"],
        "forgotten": ["cases"],
    }
    shown = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 250, "float_precision": 3}
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**shown, **plain, tbl_formatting="MARKDOWN"):
        for what, keys in tables.items():
            rows = pl.DataFrame(found[what])
            numbers = pl.selectors.numeric().exclude(*keys, "suites")
            click.echo(f"\n{what}")
            click.echo(
                rows.group_by(keys, maintain_order=True).agg(pl.sum("suites"), numbers.mean())
            )
        click.echo("\nfalse_alarms, each chain")
        click.echo(pl.DataFrame(found["false_alarms"]))
        click.echo("\ndivergent, each kind")
        kinds = pl.DataFrame(found["divergent"]).group_by("kind", "true", "cases")
        click.echo(kinds.agg(pl.mean("covered", "adjusted_bias", "adjusted_rmse")).sort(pl.all()))


if __name__ == "__main__":
    main()
