"""Refresh plan: how many new cases go where, and what the score will be once they are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.coverage.divergence import apportion_within, score_divergence
from evalcov_pipeline.core.statistics.shares import IntArray, ProductionShares

UNDER_COVERED = frozenset({"liability", "gap", "thin", "undecidable"})
LARGEST_BUDGET = 5000
"""Most cases that are tried on the way to a target."""
CURVE = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Points of a plan's curve, as multiples of its budget."""
_REVIEWS = 8
"""Simulated reviews per projection."""
_REPLICATES = 199


@dataclass(frozen=True)
class RefreshRules:
    """What a plan must honour besides the divergence.

    Attributes:
        floor: cases that an under-covered unit gets at least, however small it is.
        random_share: part of the budget that is drawn at random from all traffic.
        drift_watch_share: part of the budget that goes to covered clusters, one case each.
        edge_share: clusters below this share of production are pooled into one unit.
        keep_rate: share of the cases that reviewers are expected to keep.
        cluster_floors: own floors by cluster key; such a cluster is never pooled.
    """

    floor: int = 1
    random_share: float = 0.2
    drift_watch_share: float = 0.05
    edge_share: float = 0.005
    keep_rate: float = 0.8
    cluster_floors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RefreshInputs:
    """What is planned from.

    Attributes:
        clusters: one row per category of production, in its order, novel included: cluster_id,
            cluster_key, label, status, stale, eval_cases, designed (cases of earlier plans), texts
            (new texts that may be drawn) and weight (their steady weight): `Candidates.offered`.
        production: steady shares of the same categories.
        coming: cases per category that reviewers decide on besides the planned ones; None for none.

    A whole session may be the unit too: a text is then the content of a session.
    """

    clusters: pl.DataFrame
    production: ProductionShares
    coming: IntArray | None = None


@dataclass(frozen=True)
class Placement:
    """Where new cases go.

    Attributes:
        units: one row per unit: unit (cluster key, edge or novel), pool (cluster, drift_watch,
            edge or novel), label, status, cluster_ids, production_share, eval_cases, texts, floor,
            cases (purposive picks).
        n_random: cases drawn at random from all traffic besides.
        reasons: why it is not what was asked for, one sentence each.
    """

    units: pl.DataFrame
    n_random: int
    reasons: tuple[str, ...]

    @property
    def n_cases(self) -> int:
        """Cases planned, random ones included."""
        return int(self.units["cases"].sum()) + self.n_random


@dataclass(frozen=True)
class RefreshPlan(Placement):
    """A placement, its units by cases, and what it is expected to come to.

    Attributes:
        budget: cases asked for.
        jsd_before: `jsd_adjusted` now; None for a suite without cases.
        jsd_projected: `jsd_adjusted` expected once the reviewed cases are in.
        curve: cases (0 included) and jsd_projected of plans of other sizes.
    """

    budget: int
    jsd_before: float | None
    jsd_projected: float | None
    curve: pl.DataFrame


@dataclass(frozen=True)
class Budget:
    """The least budget that reaches a target, or None and the reason why none does."""

    cases: int | None
    jsd_projected: float | None
    reason: str | None


def plan_refresh(
    inputs: RefreshInputs, budget: int, rules: RefreshRules, rng: np.random.Generator
) -> RefreshPlan:
    """Place `budget` new cases where they lower the divergence from production most.

    Units are clusters, one pool of small clusters (*edge*) and novel traffic. The purposive cases
    minimise JSD(p, (c + r + a) / n) over the units, where r is what the random share is expected to
    add; every unit's floor is met first, no unit gets more cases than it has new texts.

    Args:
        inputs: coverage, production, and what traffic offers.
        budget: cases asked for, >= 1.
        rules: floors, shares and the expected keep rate.
        rng: source of the simulated reviews.

    Returns:
        The plan; smaller than the budget where traffic offers less, with the reason.

    Raises:
        ValueError: a budget below 1, or shares in `rules` outside 0..1.
    """
    placed = place_cases(inputs, budget, rules)
    seed = int(rng.integers(2**63))
    offered = int(inputs.clusters["texts"].sum())
    sizes = {0} | {min(max(1, round(budget * part)), offered) for part in CURVE}
    curve = {size: _projected(inputs, size, rules, seed) for size in sorted(sizes)}
    now = curve[0] if inputs.coming is None else _projected(_as_is(inputs), 0, rules, seed)
    return RefreshPlan(
        units=placed.units.sort("cases", "production_share", descending=True, maintain_order=True),
        n_random=placed.n_random,
        reasons=placed.reasons,
        budget=budget,
        jsd_before=now,
        jsd_projected=curve[min(budget, offered)],
        curve=pl.DataFrame(
            {"cases": list(curve), "jsd_projected": list(curve.values())},
            schema={"cases": pl.Int64, "jsd_projected": pl.Float64},
        ),
    )


def place_cases(inputs: RefreshInputs, budget: int, rules: RefreshRules) -> Placement:
    """Place cases as `plan_refresh` does, without projecting what they come to.

    Args:
        inputs: coverage, production, and what traffic offers.
        budget: cases asked for, >= 1.
        rules: floors and shares.

    Raises:
        ValueError: a budget below 1, or shares in `rules` outside 0..1.
    """
    _check(budget, rules)
    units = _units(inputs, rules)
    texts = units["texts"].to_numpy().astype(np.int64)
    weight = units["weight"].to_numpy()
    offered = int(texts.sum())
    n_cases = min(budget, offered)
    n_random = round(rules.random_share * n_cases)
    purposive = n_cases - n_random
    floor = _floors(units, round(rules.drift_watch_share * n_cases), rules)
    expected = n_random * weight / weight.sum() if n_random else np.zeros(len(units))
    share = units["production_share"].to_numpy()
    start = units["eval_cases"].to_numpy() + units["coming"].to_numpy() + expected
    cases = apportion_within(share / share.sum(), purposive, start, floor, texts)
    reasons = []
    if offered == 0:
        reasons.append("Nothing to add: every production text is like a case that is there.")
    elif offered < budget:
        reasons.append(f"{offered} cases instead of {budget}: traffic offers no more new texts.")
    if (short := int((cases < floor).sum())) and offered:
        reasons.append(
            f"{purposive} purposive cases do not meet all floors ({floor.sum()} cases): {short} of"
            f" {int((floor > 0).sum())} units stay below theirs."
        )
    units = units.with_columns(floor=floor, cases=cases).drop("weight", "stale", "coming")
    return Placement(units, n_random, tuple(reasons))


def cases_to_reach(
    inputs: RefreshInputs, target: float, rules: RefreshRules, rng: np.random.Generator
) -> Budget:
    """The least budget whose projected `jsd_adjusted` is at most `target`.

    Found by bisection: all budgets are projected with the same random numbers, so the projection
    falls with the budget but for the whims of rounding.

    Args:
        inputs: as `plan_refresh`.
        target: `jsd_adjusted` wanted, 0..1.
        rules: as `plan_refresh`.
        rng: source of the simulated reviews.

    Returns:
        Cases and their projected score; 0 cases where the suite is there already, None with a
        reason where not even all that traffic offers, `LARGEST_BUDGET` at most, would do.
    """
    _check(1, rules)
    seed = int(rng.integers(2**63))
    now = _projected(_as_is(inputs), 0, rules, seed)
    if now is not None and now <= target:
        return Budget(0, now, None)
    offered = int(inputs.clusters["texts"].sum())
    most = min(LARGEST_BUDGET, offered)
    best = _projected(inputs, most, rules, seed) if most else None
    if best is None or best > target:
        reached = "there is no new text" if best is None else f"{most} cases would reach {best:.3f}"
        return Budget(None, best, f"{target:.3f} is out of reach: {reached}.")
    low, high = 0, most  # not reached at low, reached at high
    while high - low > 1:
        middle = (low + high) // 2
        score = _projected(inputs, middle, rules, seed)
        if score is not None and score <= target:
            high, best = middle, score
        else:
            low = middle
    return Budget(high, best, None)


def project(
    inputs: RefreshInputs,
    placed: Iterable[tuple[list[int], int]],
    n_random: int,
    rules: RefreshRules,
    rng: np.random.Generator,
) -> float | None:
    """`jsd_adjusted` expected after review.

    The mean over simulated reviews, in each of which a case falls into one of its unit's clusters
    by the weight on offer, and is kept with the expected rate, as are those that come besides. All
    of them are designed cases.

    Args:
        inputs: coverage, production, and the cases that come besides.
        placed: the clusters of each unit, and its cases.
        n_random: cases drawn at random from all that is on offer.
        rules: the expected keep rate.
        rng: source of the reviews.

    Returns:
        Expected score, or None for a suite that has no case.
    """
    clusters = inputs.clusters
    ids, weight = clusters["cluster_id"].to_numpy(), clusters["weight"].to_numpy()
    now = clusters["eval_cases"].to_numpy().astype(np.int64)
    designed = clusters["designed"].to_numpy().astype(np.int64)
    replicates = inputs.production.replicates[:_REPLICATES]
    production = replace(inputs.production, replicates=replicates)
    groups = [(np.isin(ids, members), cases) for members, cases in placed if cases]
    groups += [(np.ones(len(ids), bool), n_random)] if n_random else []
    coming = np.zeros(len(ids), np.int64) if inputs.coming is None else inputs.coming
    scores = []
    for _ in range(_REVIEWS if groups or coming.any() else 1):
        added = coming.copy()
        for inside, cases in groups:
            part = np.where(inside, weight, 0.0)
            added += rng.multinomial(cases, part / part.sum())
        kept = rng.binomial(added, rules.keep_rate)
        score = score_divergence(production, now + kept, designed + kept, rng)
        if score.jsd_adjusted is not None:
            scores.append(score.jsd_adjusted)
    return float(np.mean(scores)) if scores else None


def _projected(inputs: RefreshInputs, budget: int, rules: RefreshRules, seed: int) -> float | None:
    """Projection of a plan of this size; the same random numbers for every size."""
    placement = place_cases(inputs, budget, rules) if budget else None
    placed = placement.units.select("cluster_ids", "cases").rows() if placement else []
    n_random = placement.n_random if placement else 0
    return project(inputs, placed, n_random, rules, np.random.default_rng(seed))


def _as_is(inputs: RefreshInputs) -> RefreshInputs:
    return replace(inputs, coming=None)


def _units(inputs: RefreshInputs, rules: RefreshRules) -> pl.DataFrame:
    """Clusters, with the small ones pooled and novel traffic, in the order of the clusters."""
    key, status = pl.col("cluster_key"), pl.col("status")
    novel = pl.col("cluster_id") == NOVEL
    edge = (pl.col("production_share") < rules.edge_share) & ~key.is_in(list(rules.cluster_floors))
    named = inputs.clusters.with_columns(
        production_share=pl.Series(inputs.production.shares),
        coming=pl.lit(0) if inputs.coming is None else pl.Series(inputs.coming),
    )
    pool = (
        pl.when(novel)
        .then(pl.lit("novel"))
        .when(edge)
        .then(pl.lit("edge"))
        .when(status.is_in(list(UNDER_COVERED)))
        .then(pl.lit("cluster"))
        .otherwise(pl.lit("drift_watch"))
    )
    pooled = pl.col("pool").is_in(["novel", "edge"])
    return (
        named.with_columns(pool=pool)
        .with_columns(unit=pl.when(pooled).then("pool").otherwise(key))
        .group_by("unit", "pool", maintain_order=True)
        .agg(
            pl.first("label", "status"),
            pl.col("cluster_id").alias("cluster_ids"),
            pl.sum("production_share", "eval_cases", "coming", "texts", "weight"),
            pl.any("stale"),
        )
    )


def _floors(units: pl.DataFrame, n_watched: int, rules: RefreshRules) -> IntArray:
    """Least cases of each unit, at most its texts.

    Every unit that is not well covered has the common floor; of the others the stale and then the
    largest ones are watched with one case each.
    """
    watch = pl.col("pool") == "drift_watch"
    order = pl.struct(~watch, ~pl.col("stale"), -pl.col("production_share"))
    own = pl.col("unit").replace_strict(
        dict(rules.cluster_floors), default=0, return_dtype=pl.Int64
    )
    common = pl.when(~watch).then(rules.floor).when(order.rank("ordinal") <= n_watched).then(1)
    floor = pl.max_horizontal(own, common.otherwise(0)).clip(upper_bound="texts")
    return units.select(floor).to_series().to_numpy().astype(np.int64)


def _check(budget: int, rules: RefreshRules) -> None:
    shares = (rules.random_share, rules.drift_watch_share, rules.edge_share, rules.keep_rate)
    if budget < 1 or not all(0 <= share <= 1 for share in shares):
        raise ValueError("need a budget of at least 1 and shares within 0..1")
