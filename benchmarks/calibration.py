"""Error rates of the score: false alarms, power, intervals, accuracy.

First on real texts, as the pipeline scores them (see `grounds.py`). A suite's true divergence is
JSD(p M, q M'), in bits, and q is chosen such that it is exactly the one stated. Three kinds of
divergence:

    missing   clusters left out one after the other, in random order
    tilted    the share of every intent times a log-normal factor
    old       toward the intents of the first days, and beyond them if that is not far enough

A proportional suite draws its intents from p and distinct unseen texts of each intent.

Then on invented shares (see `synthetic.py`): the estimator beside simpler ones, suites of designed
cases, and the statuses of clusters.

    python benchmarks/calibration.py --data ../shared/data [--quick] [--keep FOLDER]
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import polars as pl
import synthetic
from grounds import Ground, banking77_grounds, sample_grounds
from scipy.optimize import brentq

from evalcov_pipeline.core.coverage.assessment import assess_suite
from evalcov_pipeline.core.coverage.clusters import NOVEL, cluster_coverage
from evalcov_pipeline.core.coverage.divergence import DivergenceScore, jsd, score_divergence
from evalcov_pipeline.core.coverage.gaps import gap_scores

OUT = Path(__file__).parent / "out" / "calibration.json"
SIZES = (30, 100, 300)
POWER_AT = (0.25, 0.30, 0.35, 0.40)
COVERAGE_AT = (0.15, 0.25, 0.35, 0.50)


def divergent_cases(ground: Ground, kind: str, target: float, rng) -> np.ndarray:
    """(k + 1,) cluster shares of a suite at `target` bits from production."""
    path, far = PATHS[kind](ground, rng)
    if jsd(ground.truth, path(far)) < target:
        return divergent_cases(ground, kind, target, rng)
    return path(brentq(lambda x: jsd(ground.truth, path(x)) - target, 0.0, far))


def missing(ground: Ground, rng) -> tuple[Callable[[float], np.ndarray], float]:
    """Left out: a share of production, cluster by cluster."""
    cases = ground.cases(ground.p)
    order = rng.permutation(len(cases))
    before = np.cumsum(cases[order]) - cases[order]

    def at(x):
        kept = cases.copy()
        kept[order] -= np.clip(x - before, 0, cases[order])
        return np.clip(kept, 0, None) / kept.sum()

    return at, 0.99


def tilted(ground: Ground, rng) -> tuple[Callable[[float], np.ndarray], float]:
    """More of some intents and less of others."""
    tilt = rng.normal(size=len(ground.p))

    def at(x):
        q = ground.p * np.exp(x * tilt)
        return ground.cases(q / q.sum())

    return at, 20.0


def old(ground: Ground, rng) -> tuple[Callable[[float], np.ndarray], float]:
    """Toward the old distribution up to 1, then as far beyond it again."""
    ratio = ground.old / np.maximum(ground.p, 1e-4)

    def at(x):
        q = (1 - min(x, 1)) * ground.p + min(x, 1) * ground.old
        q = q * ratio ** max(0.0, x - 1)
        return ground.cases(q / q.sum())

    return at, 20.0


PATHS = {"missing": missing, "tilted": tilted, "old": old}


def judged(ground: Ground, counts: np.ndarray, rng) -> tuple[DivergenceScore, np.ndarray, bool]:
    """Score, statuses and whether the suite is degraded."""
    k = len(counts) - 1
    score = score_divergence(ground.production, counts, None, rng)
    rows = cluster_coverage(
        [*range(k), NOVEL],
        ground.production,
        ground.production.shares,
        counts,
        as_of=datetime(2026, 11, 9),
        newest_case_at=[None] * (k + 1),
    ).clusters
    liable = rows.filter(pl.col("status") == "liability")
    liabilities = {str(i): share for i, share in liable["cluster_id", "production_share"].rows()}
    return score, rows["status"].to_numpy(), assess_suite(score, liabilities).degraded


def false_alarms(ground: Ground, n: int, suites: int, marked: int, seed) -> dict:
    """Rates on proportional suites; share of production marked `in_gap` on the first `marked`."""
    rng = np.random.default_rng(seed)
    found = {name: [] for name in ("significant", "degraded", "false_gap", "false_tilt", "inside")}
    in_gap = []
    true = jsd(ground.truth, ground.cases(ground.p))
    for i in range(suites):
        drawn = ground.draw(n, rng)
        counts = np.bincount(ground.clusters[drawn], minlength=len(ground.truth))
        score, status, degraded = judged(ground, counts, rng)
        found["significant"].append(score.p_value < 0.05)
        found["degraded"].append(degraded)
        found["false_gap"].append(np.isin(status, ["gap", "liability"]).any())
        found["false_tilt"].append(np.isin(status, ["thin", "over_represented"]).any())
        found["inside"].append(score.ci_low <= true <= score.ci_high)
        if i < marked:
            texts, weights, unseen = ground.gap_inputs
            gaps = gap_scores(texts, weights, unseen[drawn], rng=rng)
            in_gap.append(float(weights @ gaps.in_gap / weights.sum()))
    return {
        "corpus": ground.name,
        "cases": n,
        "suites": suites,
        "true": true,
        **{name: float(np.mean(values)) for name, values in found.items()},
        "in_gap": float(np.mean(in_gap)),
        "in_gap_highest": float(np.max(in_gap)),
        "in_gap_suites": len(in_gap),
    }


def divergent(ground: Ground, n: int, kind: str, target: float, suites: int, seed) -> dict:
    """Power, interval and error on suites at a known divergence."""
    rng = np.random.default_rng(seed)
    significant, degraded, inside, errors, widths = [], [], [], [], []
    for _ in range(suites):
        counts = rng.multinomial(n, divergent_cases(ground, kind, target, rng))
        score, _, fell = judged(ground, counts, rng)
        significant.append(score.p_value < 0.05)
        degraded.append(fell)
        inside.append((score.ci_low > target, score.ci_high < target))
        errors.append(score.jsd - score.bias - target)
        widths.append(score.ci_high - score.ci_low)
    above, below = np.mean(inside, axis=0)
    return {
        "corpus": ground.name,
        "cases": n,
        "kind": kind,
        "jsd": target,
        "suites": suites,
        "significant": float(np.mean(significant)),
        "degraded": float(np.mean(degraded)),
        "covered": float(1 - above - below),
        "missed_above": float(above),
        "missed_below": float(below),
        "bias": float(np.mean(errors)),
        "rmse": float(np.sqrt(np.mean(np.square(errors)))),
        "width": float(np.mean(widths)),
    }


def pooled(rows: list[dict], keys: list[str]) -> pl.DataFrame:
    """Rows of several homes together, weighted by their suites."""
    rates = pl.selectors.float().exclude(keys)
    return (
        pl.DataFrame(rows, infer_schema_length=None)
        .with_columns(rates * pl.col("suites"))
        .group_by(keys, maintain_order=True)
        .agg(rates.sum() / pl.col("suites").sum(), pl.sum("suites"))
    )


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option(
    "--suites", default=70, show_default=True, help="Suites per kind, size and divergence."
)
@click.option(
    "--null-suites", default=1200, show_default=True, help="Proportional suites per size."
)
@click.option("--draws", default=300, show_default=True, help="Suites per cell of estimators.")
@click.option("--seeds", default=3, show_default=True, help="Homes of Banking77.")
@click.option("--resamples", default=299, show_default=True)
@click.option("--quick", is_flag=True, help="Few suites, one home per corpus.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for homes; reused.")
@click.option("--workers", default=2, show_default=True)
def main(data, suites, null_suites, draws, seeds, resamples, quick, keep, workers) -> None:
    """Print the tables and write them as JSON."""
    if quick:
        suites, null_suites, draws, seeds = 20, 60, 30, 1
    root = keep or Path(tempfile.mkdtemp(prefix="calibration-"))
    root.mkdir(parents=True, exist_ok=True)
    grounds = {"sample": list(sample_grounds(resamples, root))}
    if (data / "banking77").exists():
        made = banking77_grounds(data / "banking77", seeds, resamples, root)
        grounds["banking77"] = list(made)
    else:
        click.echo(f"no Banking77 at {data / 'banking77'}: the sample alone")

    real = {name: homes[0].truth for name, homes in grounds.items()}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        alarms, rates = [], []
        for homes in grounds.values():
            plain = [replace(home, gap_inputs=None) for home in homes]
            for n in SIZES:
                per_home = -(-null_suites // len(homes))
                for i, home in enumerate(homes):
                    marked = 1 if quick else 8
                    seed = [n, i, 1]
                    alarms.append(pool.submit(false_alarms, home, n, per_home, marked, seed))
                for target in sorted({*POWER_AT, *COVERAGE_AT}):
                    for j, kind in enumerate(PATHS):
                        per_home = -(-suites // len(homes))
                        for i, home in enumerate(plain):
                            seed = [n, round(100 * target), j, i, 2]
                            rates.append(
                                pool.submit(divergent, home, n, kind, target, per_home, seed)
                            )
        cells = synthetic.accuracy_cells(real, draws, resamples)
        accuracy = [pool.submit(synthetic.accuracy, *cell) for cell in cells]
        statuses = [
            pool.submit(synthetic.statuses, *cell) for cell in synthetic.status_cells(draws)
        ]
        designed = pool.submit(synthetic.designed, draws // 5, 7)
        found = {
            "grounds": [home.about() for homes in grounds.values() for home in homes],
            "false_alarms": [future.result() for future in alarms],
            "divergent": [future.result() for future in rates],
            "accuracy": [future.result() for future in accuracy],
            "designed": designed.result(),
            "statuses": [future.result() for future in statuses],
        }
    report(found)
    OUT.parent.mkdir(exist_ok=True)
    conditions = {"suites": suites, "null_suites": null_suites, "resamples": resamples}
    OUT.write_text(json.dumps(conditions | found, indent=1))
    click.echo(f"written to {OUT}")


def report(found: dict) -> None:
    """The tables."""
    shown = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 250, "float_precision": 3}
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**shown, **plain, tbl_formatting="MARKDOWN"):
        alarms, rates = found["false_alarms"], found["divergent"]
        click.echo("Homes; unseen, shuffled and first days in bits from production")
        with pl.Config(float_precision=4):
            click.echo(pl.DataFrame(found["grounds"], infer_schema_length=None))
        click.echo("Proportional suites of unseen texts: shares of suites")
        click.echo(pooled(alarms, ["corpus", "cases"]))
        click.echo("The same, each home by itself")
        click.echo(pl.DataFrame(alarms).select("corpus", "cases", "suites", "significant"))
        table = pooled(rates, ["corpus", "cases", "kind", "jsd"])
        together = pooled(rates, ["corpus", "cases", "jsd"])
        for title, column, at in (
            ("Degraded", "degraded", POWER_AT),
            ("95 % interval holds the true divergence", "covered", COVERAGE_AT),
        ):
            for of, by, rows in (
                ("all kinds", ["corpus", "cases"], together),
                ("by kind", ["corpus", "cases", "kind"], table),
            ):
                click.echo(f"{title}, by true divergence, {of}")
                rows = rows.filter(pl.col("jsd").is_in(at))
                click.echo(rows.pivot("jsd", index=by, values=column))
        click.echo("Mean error and RMSE of jsd_adjusted, unclipped, and width of the interval")
        click.echo(
            table.group_by("corpus", "cases", "jsd", maintain_order=True).agg(
                pl.mean("bias", "rmse", "width", "missed_above", "missed_below")
            )
        )
        click.echo(
            "Invented shares: RMSE (mean error) of estimators, and whether the interval holds"
        )
        click.echo(synthetic.accuracy_table(found["accuracy"]))
        click.echo("RMSE of jsd_adjusted on apportioned suites")
        click.echo(pl.DataFrame([found["designed"]]))
        click.echo(
            "Proportional suites with a false status; share of forgotten traffic that is found"
        )
        click.echo(pl.DataFrame(found["statuses"]))


if __name__ == "__main__":
    main()
