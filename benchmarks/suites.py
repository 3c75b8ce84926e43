"""What a CI suite and its gate are worth, on planted systems.

**Selection.** 300 cases and 10 failure modes. Three in ten cases notice nothing; the others notice
the mode of their category (three in ten: another one), some of them a second mode, each with a
sensitivity of its own. Fail rates without anything broken: 65 % of cases .2 to 2 %, 25 % 4 to 16 %,
10 % 30 to 65 %. Known are ten runs of the product and one of each of two broken variants
per mode, or three times as many of both, failures rerun twice. Suites of 30 are chosen from that,
and judged by five other variants per mode. A variant has a severity and leaves three in ten
sensitive cases alone. Caught means that the gate confirms a break; its probability is exact, given
the suite. `promised` is what the gate itself expects of its false alarms.

**Gate.** `judge_gate` itself, on simulated runs: how often it fails a system in which nothing
changed, and how often it notices a case that falls to a pass rate of .2.

**Goodhart watch.** A suite of 100 cases against 40 fresh cases a month, for a year.

    python benchmarks/suites.py [--quick]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import click
import numpy as np
import polars as pl
from scipy.stats import binom

from evalcov_pipeline.core.suites.discrimination import RESULTS, Discrimination, case_discrimination
from evalcov_pipeline.core.suites.failure_modes import FailureModes
from evalcov_pipeline.core.suites.gate import SuiteCase, Try, judge_gate
from evalcov_pipeline.core.suites.goodhart import ScorePair, goodhart_watch
from evalcov_pipeline.core.suites.reruns import BROKEN, rerun_rule
from evalcov_pipeline.core.suites.selection import SuiteRules, select_suite

OUT = Path(__file__).parent / "out" / "suites.json"
CASES, MODES, SUITE = 300, 10, 30
HISTORIES = ((10, 1), (30, 3))
"""Known runs of the product, and of each known-bad variant."""
START = datetime(2026, 1, 5)


@dataclass(frozen=True)
class World:
    """Planted cases: how often they fail anyway, and under each variant.

    Attributes:
        ids: (n,) case ids.
        category: (n,) mode that a case is filed under, not always the one that it notices.
        fails: (n,) fail rate without anything broken.
        trained: (v, n) fail rates under the variants whose runs are known.
        held_out: (w, n) fail rates under other variants of the same modes.
    """

    ids: list[str]
    category: np.ndarray
    fails: np.ndarray
    trained: np.ndarray
    held_out: np.ndarray

    @classmethod
    def planted(cls, seed: int) -> World:
        """Draw one."""
        rng = np.random.default_rng([seed, 1])
        shares = 1 / np.arange(1, MODES + 1) ** 0.7
        category = rng.choice(MODES, CASES, p=shares / shares.sum())
        primary = np.where(rng.random(CASES) < 0.7, category, rng.integers(0, MODES, CASES))
        sensitivity = np.zeros((CASES, MODES))
        sensitivity[np.arange(CASES), primary] = rng.beta(1, 1.2, CASES)
        second = rng.random(CASES) < 0.3
        sensitivity[second, rng.integers(0, MODES, second.sum())] = rng.beta(1, 3, second.sum())
        sensitivity[rng.random(CASES) < 0.3] = 0
        band = rng.choice(3, CASES, p=[0.65, 0.25, 0.1])
        low, high = np.array([0.002, 0.04, 0.3]), np.array([0.02, 0.16, 0.65])
        fails = rng.uniform(low[band], high[band])

        def variants(each: int) -> np.ndarray:
            hit = np.repeat(sensitivity.T, each, axis=0)
            severity = rng.uniform(0.4, 1, (len(hit), 1))
            spared = rng.random(hit.shape) < 0.3
            return 1 - (1 - fails) * (1 - severity * np.where(spared, 0, hit))

        ids = [f"case-{i:03d}" for i in range(CASES)]
        return cls(ids, category, fails, variants(2), variants(5))

    def history(self, seed: int, weeks: int, bad_runs: int) -> pl.DataFrame:
        """Results that a team would have: runs of the product, and of each known variant."""
        rng = np.random.default_rng([seed, 2])
        runs = [(f"week-{week}", None, week, self.fails) for week in range(weeks)]
        runs += [
            (f"bad-{i}-{run}", f"bad-{i}", 5, fails)
            for (i, fails), run in product(enumerate(self.trained), range(bad_runs))
        ]
        rows = []
        for run, variant, week, fails in runs:
            failed = rng.random((3, CASES)) < fails
            at = START + timedelta(weeks=week)
            rows += [
                (run, self.ids[i], repeat, not failed[repeat, i], at, variant, variant, None,
                 f"mode-{self.category[i]}")
                for repeat, i in product(range(3), range(CASES))
                if repeat == 0 or failed[0, i]
            ]  # fmt: skip
        return pl.DataFrame(rows, schema=RESULTS, orient="row")


def confirmed(fails: np.ndarray, reruns: int, failures: int) -> np.ndarray:
    """Probability that a break is confirmed, given the fail rate."""
    return fails * binom.sf(failures - 1, reruns, fails)


def chosen_suites(world: World, found: Discrimination, rng) -> Iterator[tuple[str, list[str]]]:
    """Suites of 30 by several rules, all from the cases that are fit for a gate."""
    stats = found.cases
    fit = stats.filter(pl.col("unfit").is_null())["case_id"].to_list()
    cases = stats.select(
        "case_id", "unfit", seconds=pl.lit(5.0), incident_id=pl.lit(None, pl.String)
    )
    table = found.detection.pivot("variant", index="case_id", values="detection").fill_null(0)
    table = cases.select("case_id").join(table, on="case_id", how="left", maintain_order="left")
    detection = table.drop("case_id").to_numpy()
    names = tuple(table.columns[1:])
    rules = SuiteRules(budget_s=1e9, workers=4, max_cases=SUITE, min_gain=0.0)

    def by_selection(detection: np.ndarray, names: tuple[str, ...]) -> list[str]:
        modes = FailureModes(names, np.ones(len(names)), detection)
        return select_suite(cases, modes, rules).picks["case_id"].to_list()

    yield "selected", by_selection(detection, names)
    yield "random", rng.choice(fit, SUITE, replace=False).tolist()
    category = dict(zip(world.ids, world.category, strict=True))
    shuffled = rng.permutation(fit).tolist()
    rank: dict[int, int] = {}
    place = {}
    for case in shuffled:
        place[case] = rank[category[case]] = rank.get(category[case], 0) + 1
    yield "stratified", sorted(shuffled, key=place.get)[:SUITE]
    failed = found.detection.group_by("case_id").agg(pl.col("failed").sum())
    often = stats.join(failed, on="case_id").filter(pl.col("unfit").is_null())
    often = often.with_columns(all_failed=pl.col("failed") + pl.col("n_failed").cast(pl.Int64))
    yield (
        "most often failed",
        often.sort("all_failed", "case_id", descending=[True, False])["case_id"][:SUITE].to_list(),
    )
    true = np.clip((world.held_out - world.fails) / (1 - world.fails), 0, 1).T
    yield "oracle", by_selection(true, tuple(map(str, range(len(world.held_out)))))


def selection(seeds: int) -> list[dict]:
    """Share of held-out variants that suites of 30 catch."""
    rows = []
    for seed, (weeks, bad_runs) in product(range(seeds), HISTORIES):
        world = World.planted(seed)
        found = case_discrimination(world.history(seed, weeks, bad_runs))
        stats = {row["case_id"]: row for row in found.cases.to_dicts()}
        for rule_name, ids in chosen_suites(world, found, np.random.default_rng([seed, 3])):
            rule = rerun_rule((stats[i]["pass_rate"], stats[i]["pass_rate_tries"]) for i in ids)
            picks = [world.ids.index(i) for i in ids]
            caught, alarm = (
                1 - np.prod(1 - confirmed(fails[..., picks], rule.reruns, rule.failures), axis=-1)
                for fails in (world.held_out, world.fails)
            )
            rows.append(
                {
                    "known": f"{weeks} runs, {bad_runs} of each variant",
                    "choice": rule_name,
                    "seed": seed,
                    "caught": float(caught.mean()),
                    "caught_worst_mode": float(caught.reshape(MODES, -1).mean(axis=1).min()),
                    "false_alarm": float(alarm),
                    "promised": rule.false_alarm,
                    "reruns": rule.reruns,
                }
            )
    return rows


def run_of(passes: np.ndarray, rng) -> list[Try]:
    """Nine tries of every case."""
    drawn = rng.random((9, len(passes))) < passes
    return [Try(str(i), r, bool(drawn[r, i])) for r, i in product(range(9), range(len(passes)))]


def rates_known(n: int, rng) -> tuple[np.ndarray, list[SuiteCase]]:
    """Stable cases of a pass rate of .97 that is known."""
    return np.full(n, 0.97), [SuiteCase(str(i)) for i in range(n)]


def rates_estimated(n: int, rng) -> tuple[np.ndarray, list[SuiteCase]]:
    """Cases of many pass rates, .97 on average; ten runs of each are known, the flaky are out."""
    k = 3 * n
    passes = rng.beta(32, 1, k)
    rows = []
    for week in range(10):
        drawn = rng.random((3, k)) < passes
        rows += [
            (f"week-{week}", str(i), r, bool(drawn[r, i]), START + timedelta(weeks=week), None,
             None, None, None)
            for r, i in product(range(3), range(k)) if r == 0 or not drawn[0, i]
        ]  # fmt: skip
    found = case_discrimination(pl.DataFrame(rows, schema=RESULTS, orient="row")).cases
    fit = found.filter(pl.col("unfit").is_null())[:n].to_dicts()
    suite = [
        SuiteCase(str(number), pass_rate=row["pass_rate"], pass_rate_tries=row["pass_rate_tries"])
        for number, row in enumerate(fit)
    ]
    return passes[[int(row["case_id"]) for row in fit]], suite


def gate(runs: int) -> list[dict]:
    """False alarms and power of the gate."""
    rows = []
    kinds: dict[str, Callable] = {"known": rates_known, "estimated": rates_estimated}
    for (number, (kind, rates)), n in product(enumerate(kinds.items()), (30, 100)):
        rng = np.random.default_rng([n, number])
        counts = {"alarms": 0, "alarms_baseline": 0, "alarms_green": 0, "power": 0, "diffuse": 0}
        rules = []
        for run in range(runs):
            if run == 0 or (kind == "estimated" and run % 50 == 0):
                passes, suite = rates(n, rng)
                rules.append(rerun_rule((one.pass_rate, one.pass_rate_tries) for one in suite))
            before = run_of(passes, rng)
            green = [Try(case.case_id, 0, True) for case in suite]
            now = run_of(passes, rng)
            counts["alarms"] += judge_gate(suite, now).verdict == "FAIL"
            counts["alarms_baseline"] += judge_gate(suite, now, before).verdict == "FAIL"
            counts["alarms_green"] += judge_gate(suite, now, green).verdict == "FAIL"
            broken = run_of(np.where(np.arange(len(passes)) == 0, BROKEN, passes), rng)
            one = judge_gate(suite, broken)
            counts["power"] += one.cases[0].state == "broken"
            worse = run_of(passes - 0.12, rng)
            counts["diffuse"] += judge_gate(suite, worse, before).verdict == "FAIL"
        rows.append(
            {
                "pass_rates": kind,
                "cases": n,
                "runs": runs,
                "rules": sorted({f"{rule.failures} of {rule.reruns}" for rule in rules}),
                "promised": float(np.mean([rule.false_alarm for rule in rules])),
                **{name: hits / runs for name, hits in counts.items()},
                "any_failure": float(1 - 0.97**n),
                "majority_of_3": float(1 - (1 - confirmed(np.array(0.03), 2, 1)) ** n),
            }
        )
    return rows


def goodhart(draws: int) -> list[dict]:
    """How often the watch says that the suite's score has come loose."""
    rows = []
    for name, start, rise in (
        ("suite and fresh cases alike", 0.0, 0.0),
        ("suite easier by .10 from the start", 0.10, 0.0),
        ("suite rises by .01 a month", 0.0, 0.01),
        ("suite rises by .02 a month", 0.0, 0.02),
    ):
        rng = np.random.default_rng([int(100 * start), int(1000 * rise)])
        verdicts = []
        for _ in range(draws):
            suite_rates = rng.beta(8, 2, 100)
            pairs = [
                ScorePair(
                    START + timedelta(days=30 * month),
                    int((rng.random(100) < suite_rates + start + rise * month).sum()),
                    100,
                    int(rng.binomial(40, 0.8)),
                    40,
                )
                for month in range(12)
            ]
            verdicts.append(goodhart_watch(pairs).verdict)
        rows.append(
            {"planted": name, "draws": draws}
            | {word: verdicts.count(word) / draws for word in ("widening", "gap", "none")}
        )
    return rows


@click.command(help=__doc__)
@click.option("--seeds", default=20, show_default=True, help="Planted worlds for selection.")
@click.option("--runs", default=4000, show_default=True, help="Simulated runs per gate.")
@click.option("--quick", is_flag=True, help="Few worlds and runs.")
def main(seeds: int, runs: int, quick: bool) -> None:
    """Print the tables and write them as JSON."""
    if quick:
        seeds, runs = 3, 200
    found = {"selection": selection(seeds), "gate": gate(runs), "goodhart": goodhart(runs // 4)}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"seeds": seeds, "runs": runs} | found, indent=1))
    with pl.Config(
        tbl_rows=-1, tbl_cols=-1, tbl_width_chars=250, float_precision=3,
        tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_formatting="MARKDOWN",
        fmt_table_cell_list_len=10,
    ):  # fmt: skip
        chosen = pl.DataFrame(found["selection"])
        click.echo(
            chosen.group_by("known", "choice", maintain_order=True).agg(
                pl.col("caught").mean(),
                standard_error=pl.col("caught").std() / pl.len() ** 0.5,
                worst_mode=pl.col("caught_worst_mode").mean(),
                false_alarm=pl.col("false_alarm").mean(),
                false_alarm_worst=pl.col("false_alarm").max(),
                promised=pl.col("promised").mean(),
                reruns=pl.col("reruns").mean(),
            )
        )
        wide = chosen.pivot("choice", index=["known", "seed"], values="caught")
        click.echo("Worlds in which the selected suite catches more")
        click.echo(
            wide.group_by("known", maintain_order=True).agg(
                (pl.col("selected") > pl.col(rival)).sum().alias(rival)
                for rival in ("random", "stratified", "most often failed")
            )
        )
        click.echo(pl.DataFrame(found["gate"]))
        click.echo(pl.DataFrame(found["goodhart"]))
    click.echo(f"written to {OUT}")


if __name__ == "__main__":
    main()
