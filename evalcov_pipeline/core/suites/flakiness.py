"""Which cases pass and fail by chance: how often two tries of one system disagree."""

from __future__ import annotations

import polars as pl

FLAKY = 0.09
"""Chance that two tries of one system disagree from which a case is flaky: a pass rate of .953."""
_PRIOR_PAIRS = 5
_RERUN_SHARE = 0.5
"""Share of first tries with one outcome that a run has rerun, from which that is its policy."""


def flakiness(product: pl.DataFrame) -> pl.DataFrame:
    """Chance that two tries of one system disagree, by case.

    Pairs of tries come from reruns within a run, and from first tries of several runs of one
    system. The mean over both is shrunk toward the suite's, worth `_PRIOR_PAIRS` pairs.

    Args:
        product: one row per run of the product and case: run_id, case_id, system, first_passed,
            reruns, reruns_passed.

    Returns:
        case_id, flakiness (0..0.5), of the cases of which any system was tried twice.
    """
    pairs = (
        pl.concat([_within_runs(product), _between_runs(product)])
        .sort("case_id", "total", "pairs")
        .group_by("case_id", maintain_order=True)
        .agg(pl.col("total", "pairs").sum())
    )
    mean = pl.col("total").sum() / pl.col("pairs").sum()
    shrunk = (pl.col("total") + _PRIOR_PAIRS * mean) / (pl.col("pairs") + _PRIOR_PAIRS)
    return pairs.select("case_id", flakiness=shrunk.clip(0, 0.5))


def _within_runs(product: pl.DataFrame) -> pl.DataFrame:
    """Disagreement of tries within runs, one pair's worth per run.

    Tries within a run are alike, so P(first passes, second fails) = P(first fails, second passes).
    Runs that rerun failures alone show the second, which is doubled; runs that rerun what passes
    too show every pair. Both are unbiased although reruns follow failures, if how many there are
    does not follow them: where they end with the first pass, the figure is too high, by 2 % at a
    pass rate of .97 and by 12 % at .8.
    """
    rerun, passed = pl.col("reruns") > 0, pl.col("first_passed")
    policy = product.group_by("run_id").agg(
        passes_rerun=rerun.filter(passed).mean().fill_null(0) >= _RERUN_SHARE,
        failures_rerun=rerun.filter(~passed).mean().fill_null(0) >= _RERUN_SHARE,
    )
    tries, passes = pl.col("reruns") + 1, pl.col("reruns_passed") + passed.cast(pl.Int64)
    disagreement = (
        pl.when(pl.col("passes_rerun"))
        .then(pl.when(rerun).then(2 * passes * (tries - passes) / (tries * (tries - 1))))
        .when(pl.col("failures_rerun") & passed)
        .then(0.0)
        .when(pl.col("failures_rerun") & rerun)
        .then(2 * pl.col("reruns_passed") / pl.col("reruns"))
    )
    return (
        product.join(policy, on="run_id")
        .select("case_id", total=disagreement, pairs=1.0)
        .drop_nulls()
    )


def _between_runs(product: pl.DataFrame) -> pl.DataFrame:
    """Disagreement of first tries between runs of one system, worth one pair less than its runs."""
    n, passes = pl.len().cast(pl.Float64), pl.col("first_passed").sum()
    return (
        product.group_by("case_id", "system")
        .agg(total=2 * passes * (n - passes) / n, pairs=n - 1)
        .filter(pl.col("pairs") > 0)
        .select("case_id", "total", "pairs")
    )
