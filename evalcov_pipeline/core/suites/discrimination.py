"""What each case of a suite can tell apart, from the history of its results.

A case that always passes guards nothing, one that fails by the toss of a coin cries wolf, and one
that the better systems fail is likely to be labelled wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from evalcov_pipeline.core.statistics.shares import Z95, FloatArray, IntArray
from evalcov_pipeline.core.suites.flakiness import FLAKY, flakiness
from evalcov_pipeline.core.suites.reruns import USUAL_RERUNS, confirmation

MIN_RUNS = 5
"""Runs from which a case is called saturated or broken."""
MIN_SYSTEMS = 15
"""Systems from which the item-total correlation is shown: at 5 its standard deviation is .37."""
PROBATION = 2
"""Runs from which a case may decide a gate: what passed once may be what hardly ever does."""
SELDOM = 0.8
"""Pass rate below which a case fails too often to guard anything."""
_PRIOR_TRIES = 1.0

RESULTS = {
    "run_id": pl.String,
    "case_id": pl.String,
    "repeat": pl.Int64,
    "passed": pl.Boolean,
    "at": pl.Datetime("us"),
    "variant": pl.String,
    "system_version": pl.String,
    "model": pl.String,
    "category": pl.String,
}
"""Columns of a history of results; `variant` is null for the product itself."""


@dataclass(frozen=True)
class Discrimination:
    """What a history of results says about each case.

    Attributes:
        cases: one row per case, by case_id; see `case_discrimination`.
        detection: one row per case and known-bad variant; see `known_bad_detection`.
    """

    cases: pl.DataFrame
    detection: pl.DataFrame


def case_discrimination(results: pl.DataFrame) -> Discrimination:
    """Judge every case by its results.

    A run is one of the product or, with `variant`, one of a system that is broken on purpose. Rates
    go by first tries; reruns of failures would bias them.

    Args:
        results: columns of `RESULTS`, at most one row per run, case and repeat; rows without a
            verdict are left out.

    Returns:
        cases: case_id; n_runs, n_failed (first tries of the product); n_known_bad; pass_rate and
        pass_rate_tries (shrunk toward the suite's, and the tries it is worth); flip_rate (share of
        consecutive runs whose verdict changed, None below 2); flakiness (chance that two tries of
        one system disagree, 0..0.5, shrunk; None where no system was tried twice); flaky; saturated
        (never failed in any run, known-bad ones included; None below 5 runs); broken (never passed
        a first try of the product; None below 5 runs); failing (failed most tries of its newest
        run of the product); discrimination (item-total correlation) or
        discrimination_reason why there is none; kills (known-bad variants that break it); review
        (why a person should look at the case's label, else None); unfit (why it cannot decide a
        gate, else None); last_failed_at.
    """
    judged = results.select(list(RESULTS)).filter(pl.col("passed").is_not_null())
    runs = _runs(judged)
    product = runs.filter(pl.col("variant").is_null())
    cases = (
        runs.select("case_id")
        .unique()
        .join(_history(product), on="case_id", how="left")
        .join(flakiness(product), on="case_id", how="left")
        .join(_item_total(runs), on="case_id", how="left")
        .join(_kills(runs), on="case_id", how="left")
        .with_columns(pl.col("n_runs", "n_failed", "n_known_bad", "kills").fill_null(0))
        .sort("case_id")
    )
    passes = (cases["n_runs"] - cases["n_failed"]).to_numpy()
    a, b = beta_prior(passes, cases["n_runs"].to_numpy())
    n_all = pl.col("n_runs") + pl.col("n_known_bad")
    enough = pl.col("n_runs") >= MIN_RUNS
    cases = cases.with_columns(
        pass_rate=(pl.Series(passes) + a) / (pl.col("n_runs") + a + b),
        pass_rate_tries=pl.col("n_runs") + a + b,
        flaky=(pl.col("flakiness") >= FLAKY).fill_null(value=False),
        saturated=pl.when(n_all >= MIN_RUNS).then(
            (pl.col("n_failed") == 0) & (pl.col("n_failed_known_bad").fill_null(0) == 0)
        ),
        broken=pl.when(enough).then(pl.col("n_failed") == pl.col("n_runs")),
        failing=pl.col("failing").fill_null(value=False),
    ).with_columns(
        review=pl.when(pl.col("discrimination_high") < 0)
        .then(pl.lit("better systems fail it more often: is its expected answer right?"))
        .when(pl.col("broken"))
        .then(pl.lit("never passed: is its expected answer right, is the task possible?")),
        unfit=pl.when(pl.col("n_runs") == 0)
        .then(pl.lit("never run"))
        .when(pl.col("failing"))
        .then(pl.lit("fails now"))
        .when(pl.col("n_runs") < PROBATION)
        .then(pl.lit(f"run once: it takes {PROBATION} runs"))
        .when(pl.col("flaky"))
        .then(pl.format("flaky: two tries disagree in {} %", _percent("flakiness")))
        .when(pl.col("pass_rate") < SELDOM)
        .then(pl.format("passes {} % of runs", _percent("pass_rate"))),
    )
    return Discrimination(
        cases=cases.drop("n_failed_known_bad", "discrimination_high"),
        detection=known_bad_detection(runs, cases),
    )


def known_bad_detection(runs: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """How likely a gate is to confirm each case as broken under each known-bad variant.

    Beta posterior of the case's fail rate under the variant, from all its tries there: reruns that
    follow failures distort a rate, not a likelihood. The prior is the share of the case's category
    that the variant makes fail, itself shrunk toward the share of all cases. What the gate would
    confirm anyway is taken out by Abbott's formula (1925): (f - q) / (1 - q).

    Args:
        runs: from `_runs`.
        cases: one row per case: case_id, pass_rate, pass_rate_tries.

    Returns:
        case_id, variant, tries, failed, detection (0..1), ordered.
    """
    bad = runs.filter(pl.col("variant").is_not_null()).select(
        "case_id",
        "first_passed",
        pl.col("category").fill_null(""),
        variant="system",
        tries=pl.col("reruns") + 1,
        failed=pl.col("reruns") + 1 - pl.col("reruns_passed") - pl.col("first_passed"),
    )
    share = (~pl.col("first_passed")).mean()
    every = bad.group_by("variant").agg(share=share)
    prior = (
        bad.group_by("variant", "category")
        .agg(of_category=share, n=pl.len())
        .join(every, on="variant")
        .select(
            "variant",
            "category",
            prior=(pl.col("n") * pl.col("of_category") + _PRIOR_TRIES * pl.col("share"))
            / (pl.col("n") + _PRIOR_TRIES),
        )
    )
    rows = (
        bad.group_by("case_id", "variant")
        .agg(pl.col("tries", "failed").sum(), pl.col("category").last())
        .join(prior, on=["variant", "category"])
        .join(cases.select("case_id", "pass_rate", "pass_rate_tries"), on="case_id")
        .sort("case_id", "variant")
    )
    detection = [
        _detection(
            (row["failed"] + _PRIOR_TRIES * row["prior"]) / (row["tries"] + _PRIOR_TRIES),
            row["tries"] + _PRIOR_TRIES,
            1 - row["pass_rate"],
            row["pass_rate_tries"],
        )
        for row in rows.iter_rows(named=True)
    ]
    return rows.select("case_id", "variant", "tries", "failed").with_columns(
        detection=pl.Series(detection, dtype=pl.Float64)
    )


def _detection(fails: float, tries: float, anyway: float, anyway_tries: float) -> float:
    confirmed = confirmation(fails, tries, *USUAL_RERUNS)
    by_itself = confirmation(anyway, anyway_tries, *USUAL_RERUNS)
    return max(0.0, (confirmed - by_itself) / (1 - by_itself))


def beta_prior(successes: ArrayLike, tries: ArrayLike) -> tuple[float, float]:
    """Beta distribution that rates were drawn from, by moments.

    Its spread is that of the observed rates beyond binomial noise; its strength is kept between 1
    and 100 tries, and one try of each kind is added, so that a suite without a failure has a prior.

    Args:
        successes: (k,) successes of each unit.
        tries: (k,) tries of each unit; units without are left out.

    Returns:
        a, b > 0.

    Source: Kleinman (1973).
    """
    n = np.asarray(tries, dtype=float)
    x = np.asarray(successes, dtype=float)[n > 0]
    n = n[n > 0]
    mean = float((x.sum() + 1) / (n.sum() + 2)) if len(n) else 0.5
    if len(n) < 2:
        return mean, 1 - mean
    noise = mean * (1 - mean) * float((1 / n).mean())
    spread = max(float(np.var(x / n, ddof=1)) - noise, 1e-9)
    strength = float(np.clip(mean * (1 - mean) / spread - 1, 1.0, 100.0))
    return mean * strength, (1 - mean) * strength


def _percent(rate: str) -> pl.Expr:
    return (100 * pl.col(rate)).round(0).cast(pl.Int64)


def _runs(judged: pl.DataFrame) -> pl.DataFrame:
    """One row per run and case: its first try, its reruns, and whether most of them failed.

    Systems differ by variant, version and model; runs that state neither are of one system.
    """
    system = pl.concat_str("variant", "system_version", "model", separator="/", ignore_nulls=True)
    return (
        judged.sort("run_id", "case_id", "repeat")
        .group_by("run_id", "case_id", maintain_order=True)
        .agg(
            pl.col("variant", "category").last(),
            system=system.last(),
            at=pl.col("at").max(),
            first_passed=pl.col("passed").first(),
            reruns=pl.len() - 1,
            reruns_passed=pl.col("passed").sum() - pl.col("passed").first().cast(pl.Int64),
        )
        .with_columns(
            failed=2 * (pl.col("reruns_passed") + pl.col("first_passed").cast(pl.Int64))
            < pl.col("reruns") + 1
        )
        .sort("at", "run_id", "case_id")
    )


def _history(product: pl.DataFrame) -> pl.DataFrame:
    """Per case, of runs of the product: how many, failures, flips, and the newest."""
    passed = pl.col("first_passed")
    return product.group_by("case_id").agg(
        n_runs=pl.len(),
        n_failed=(~passed).sum(),
        flip_rate=pl.when(pl.len() > 1).then((passed != passed.shift()).mean()),
        failing=pl.col("failed").last(),
        last_failed_at=pl.col("at").filter(~passed).max(),
    )


def _kills(runs: pl.DataFrame) -> pl.DataFrame:
    """Per case: runs of known-bad variants, first tries that failed, and variants it kills."""
    by_variant = (
        runs.filter(pl.col("variant").is_not_null())
        .group_by("case_id", "system")
        .agg(
            runs=pl.len(),
            killed=pl.col("failed").sum(),
            n_failed=(~pl.col("first_passed")).sum(),
        )
    )
    return by_variant.group_by("case_id").agg(
        n_known_bad=pl.col("runs").sum(),
        n_failed_known_bad=pl.col("n_failed").sum(),
        kills=(2 * pl.col("killed") > pl.col("runs")).sum().cast(pl.Int64),
    )


def _item_total(runs: pl.DataFrame) -> pl.DataFrame:
    """Per case: correlation of its pass rate with that of the other cases, over systems."""
    rates = runs.group_by("case_id", "system").agg(rate=pl.col("first_passed").mean())
    table = rates.pivot("system", index="case_id", values="rate", sort_columns=True).sort("case_id")
    correlation, n = item_total_correlation(table.drop("case_id").to_numpy().astype(float))
    with np.errstate(divide="ignore"):
        high = np.tanh(
            np.arctanh(np.clip(correlation, -1, 1)) + Z95 / np.sqrt(np.maximum(n - 3, 0))
        )
    return (
        table.select("case_id")
        .with_columns(
            discrimination=pl.Series(correlation),
            discrimination_high=pl.Series(high),
            n_systems=pl.Series(n),
        )
        .with_columns(pl.col("discrimination", "discrimination_high").fill_nan(None))
        .with_columns(
            discrimination_reason=pl.when(pl.col("n_systems") < MIN_SYSTEMS)
            .then(pl.format("{} systems, it takes {}", "n_systems", pl.lit(MIN_SYSTEMS)))
            .when(pl.col("discrimination").is_null())
            .then(pl.lit("its verdict, or that of all other cases, never varied"))
        )
        .drop("n_systems")
    )


def item_total_correlation(rates: FloatArray) -> tuple[FloatArray, IntArray]:
    """Corrected item-total correlation of every case.

    The total of a system is the mean, over the other cases that it ran, of how far each lies from
    its own mean: cases come and go, and an easy one must not raise the systems that ran it.

    Args:
        rates: (c, s) pass rate of case c under system s, NaN where it was not run.

    Returns:
        correlation (c,), NaN below `MIN_SYSTEMS` systems or without variance; systems (c,).
    """
    ran = ~np.isnan(rates)
    n = ran.sum(axis=1)
    correlation = np.full(len(rates), np.nan)
    if not len(rates):
        return correlation, n
    means = np.divide(np.where(ran, rates, 0).sum(axis=1), n, out=np.zeros(len(n)), where=n > 0)
    residual = np.where(ran, rates - means[:, None], 0.0)
    others = ran.sum(axis=0) - ran
    rest = np.divide(
        residual.sum(axis=0) - residual, others, out=np.zeros(rates.shape), where=others > 0
    )
    for case in np.flatnonzero(n >= MIN_SYSTEMS):
        usable = ran[case] & (others[case] > 0)
        x, y = rates[case, usable], rest[case, usable]
        if usable.sum() >= MIN_SYSTEMS and np.ptp(x) > 1e-12 and np.ptp(y) > 1e-12:
            correlation[case] = np.corrcoef(x, y)[0, 1]
    return correlation, n
