"""The score on invented shares: its estimator beside simpler ones, designed suites, statuses.

Production: Zipf shares over K clusters (or shares of a real home), known from 4,000 sessions of 1
to 5 turns in 120 strata. Suites: n cases from a distribution at a known divergence, in three
shapes: `mixed` (partly another product's traffic, a third of its clusters missing), `dropped`
(production with clusters left out), `tilted` (every share times a log-normal factor). Run by
`calibration.py`.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import rel_entr

from evalcov_pipeline.core.coverage.assessment import assess_suite
from evalcov_pipeline.core.coverage.clusters import cluster_coverage
from evalcov_pipeline.core.coverage.divergence import apportion, jsd, score_divergence
from evalcov_pipeline.core.statistics.shares import production_shares

AS_OF = datetime(2026, 11, 2)
SIZES = (30, 100, 300)
TARGETS = (0.0, 0.15, 0.30, 0.44)
RESAMPLES = 299


def zipf(k):
    """Shares of rank 1 to k."""
    weights = 1 / np.arange(1, k + 1)
    return weights / weights.sum()


def estimated(truth, rng, sessions=4000, resamples=RESAMPLES):
    """Production as a sample of sessions shows it."""
    turns = rng.multinomial(rng.integers(1, 6, sessions), truth)
    return production_shares(turns, rng.integers(0, 120, sessions), rng, resamples)


def suite_shares(truth, target, shape, rng):
    """Case distribution of a shape at `target` bits from production."""
    if target == 0:
        return truth
    path, far, spread = PATHS[shape], FAR[shape], 1.0
    at = path(truth, spread, rng)
    while jsd(truth, at(far)) < target:
        spread *= 1.1
        at = path(truth, spread, rng)
    return at(brentq(lambda x: jsd(truth, at(x)) - target, 0, far))


def mixed(truth, spread, rng):
    """Partly another product's traffic."""
    k = len(truth)
    other = rng.permutation(truth) * rng.lognormal(0, spread, k) * (rng.random(k) > 0.3)
    other /= other.sum()
    return lambda x: (1 - x) * truth + x * other


def dropped(truth, spread, rng):
    """Clusters left out one after the other, the last one in part."""
    order = rng.permutation(len(truth))
    before = np.cumsum(truth[order]) - truth[order]

    def at(x):
        kept = truth.copy()
        kept[order] -= np.clip(x - before, 0, truth[order])
        return np.clip(kept, 0, None) / kept.sum()

    return at


def tilted(truth, spread, rng):
    """Every share times a log-normal factor."""
    tilt = spread * rng.normal(size=len(truth))

    def at(x):
        shares = truth * np.exp(x * tilt)
        return shares / shares.sum()

    return at


PATHS = {"mixed": mixed, "dropped": dropped, "tilted": tilted}
FAR = {"mixed": 1.0, "dropped": 0.99, "tilted": 20.0}


def james_stein(p, counts, rng):
    """Shrink toward production, then correct the bias by parametric bootstrap."""
    n = counts.sum()
    q = counts / n
    distance = ((p - q) ** 2).sum()
    pull = np.clip((q * (1 - q)).sum() / (n - 1) / distance, 0, 1) if distance else 1.0
    shrunk = pull * p + (1 - pull) * q
    redrawn = rng.multinomial(n, shrunk / shrunk.sum(), size=RESAMPLES) / n
    middle = (p + redrawn) / 2
    divergences = (rel_entr(p, middle) + rel_entr(redrawn, middle)).sum(axis=1) / (2 * np.log(2))
    bias = divergences.mean() - jsd(p, shrunk)
    return jsd(p, q) - bias


def estimates(production, counts, score, rng):
    """Every estimator on one suite, none of them clipped."""
    n, k = counts.sum(), len(counts)
    return {
        "plug-in": score.jsd,
        "null subtracted": score.jsd - score.null_mean,
        "KT +0.5": jsd(production.shares, (counts + 0.5) / (n + k / 2)),
        "James-Stein": james_stein(production.shares, counts, rng),
        "adjusted": score.jsd - score.bias,
    }


def accuracy_cells(real, suites, resamples, seed=7):
    """Arguments of `accuracy` for every production, size and divergence.

    `real` holds further productions' shares by name.
    """
    productions = real | {f"zipf {k}": zipf(k) for k in (20, 50, 80)}
    return [
        (name, shares, n, target, suites, resamples, [seed, i, n, round(100 * target)])
        for i, (name, shares) in enumerate(productions.items())
        for n in SIZES
        for target in TARGETS
    ]


def accuracy(name, truth, n, target, suites, resamples, seed):
    """RMSE and mean error per estimator, interval coverage and alarms, at one known divergence."""
    rng = np.random.default_rng(seed)
    productions = [estimated(truth, rng, resamples=resamples) for _ in range(20)]
    errors, inside, widths = defaultdict(list), defaultdict(list), []
    significant, degraded, below_half = [], [], []
    for i in range(suites):
        shape = tuple(PATHS)[i % 3]
        production = productions[i % len(productions)]
        counts = rng.multinomial(n, suite_shares(truth, target, shape, rng))
        score = score_divergence(production, counts, None, rng)
        for estimator, value in estimates(production, counts, score, rng).items():
            errors[estimator].append(value - target)
        inside[shape].append(score.ci_low <= target <= score.ci_high)
        widths.append(score.ci_high - score.ci_low)
        significant.append(score.p_value < 0.05)
        below_half.append(score.p_value < 0.5)
        degraded.append(assess_suite(score, {}).degraded)
    return {
        "production": name,
        "clusters": len(truth),
        "cases": n,
        "jsd": target,
        "suites": suites,
        "rmse": {m: float(np.sqrt(np.mean(np.square(e)))) for m, e in errors.items()},
        "bias": {m: float(np.mean(e)) for m, e in errors.items()},
        "coverage": {s: float(np.mean(v)) for s, v in inside.items()},
        "width": float(np.mean(widths)),
        "significant": float(np.mean(significant)),
        "p_below_half": float(np.mean(below_half)),
        "degraded": float(np.mean(degraded)),
    }


def accuracy_table(rows):
    """`accuracy` in a table, with the mean RMSE of each estimator at each divergence."""
    named = ("production", "clusters", "cases", "jsd")
    cells = [
        {name: row[name] for name in named}
        | {m: f"{rmse:.3f} ({row['bias'][m]:+.3f})" for m, rmse in row["rmse"].items()}
        | {"holds": float(np.mean(list(row["coverage"].values())))}
        for row in rows
    ]
    means = []
    for target in TARGETS:
        at = [row["rmse"] for row in rows if row["jsd"] == target]
        mean = {m: f"{np.mean([rmse[m] for rmse in at]):.4f}" for m in at[0]}
        means.append({"production": "mean RMSE", "jsd": target} | mean)
    return pl.DataFrame(cells + means, infer_schema_length=None)


def designed(suites, seed):
    """Suites apportioned to part of production: designed cases taken as designed, and as draws."""
    rng = np.random.default_rng(seed)
    truth, errors = zipf(60), defaultdict(list)
    for _ in range(suites):
        kept = truth * (rng.random(60) < 0.5)
        if not kept.any():
            continue
        counts = apportion(kept / kept.sum(), 50)
        production = estimated(truth, rng, 2000)
        for name, plan in (("designed", counts), ("taken as draws", None)):
            score = score_divergence(production, counts, plan, rng)
            errors[name].append(score.jsd - score.bias - jsd(truth, counts / counts.sum()))
    return {name: float(np.sqrt(np.mean(np.square(e)))) for name, e in errors.items()}


def status_cells(suites, seed=7):
    """Arguments of `statuses` for every production and size."""
    return [
        (k, shape, n, suites, [seed, k, i, n])
        for k in (20, 40, 80)
        for i, shape in enumerate(("flat", "zipf"))
        for n in SIZES
    ]


def statuses(k, shape, n, suites, seed):
    """How many proportional suites have a false status, and how much is found that was forgotten.

    A forgetful suite has no case in a random quarter of the clusters.
    """
    rng = np.random.default_rng(seed)
    truth = zipf(k) if shape == "zipf" else np.full(k, 1 / k)
    productions = [estimated(truth, rng) for _ in range(20)]
    empty, tilted, found = [], [], []
    for i in range(suites):
        production = productions[i % len(productions)]
        status = status_of(production, rng.multinomial(n, truth))
        empty.append(np.isin(status, ["gap", "liability"]).any())
        tilted.append(np.isin(status, ["thin", "over_represented"]).any())
        forgotten = rng.permutation(k) < k // 4
        cases = np.where(forgotten, 0, truth)
        status = status_of(production, rng.multinomial(n, cases / cases.sum()))
        named = np.isin(status, ["gap", "liability"]) & forgotten
        found.append(truth[named].sum() / truth[forgotten].sum())
    return {
        "clusters": k,
        "shares": shape,
        "cases": n,
        "suites": suites,
        "false_gap": float(np.mean(empty)),
        "false_tilt": float(np.mean(tilted)),
        "found": float(np.mean(found)),
    }


def status_of(production, counts):
    """Status of every cluster."""
    k = len(counts)
    coverage = cluster_coverage(
        range(k), production, production.shares, counts, as_of=AS_OF, newest_case_at=[None] * k
    )
    return coverage.clusters["status"].to_numpy()
