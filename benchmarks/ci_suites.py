"""What the chosen CI suite and its gate come to on the sample's own history.

The committed sample (seed 7) and others like it (seeds 101, 102 ...): 142 cases, weekly runs of the
product with failures rerun twice, three variants that are broken on purpose with one run each
in the seventh week. After every week from the fifth on, the suite is chosen from the runs so far,
and judged by the run of the week after: one that the choice has not seen. True pass rates come from
the simulator and only measure.

- **Alarm**: the gate confirms a break in the product's next run, exact probability at the true pass
  rates. Releases differ a little, so that not every alarm is false.
- **Early**: the same after 1 to 4 runs; after 1 as if a case could decide after its first run,
  which it may not.
- **Caught**: the gate confirms a break of a broken variant. *Held out*: the suite was chosen
  without that variant's run. *Random*: as many cases drawn from those that are fit.
- **Churn**: cases that came or went from one week to the next, over the cases of both weeks; with
  the present suite kept until another adds .02, and with a new choice every week.

    python benchmarks/ci_suites.py [--quick]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import click
import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.suites.gate import SuiteCase, Try, judge_gate
from evalcov_pipeline.core.suites.reruns import confirmation, rerun_rule
from evalcov_pipeline.formats.suites import suite_of
from evalcov_pipeline.services.evals.ledger import record_cases
from evalcov_pipeline.services.evals.suite import derive_suite
from evalcov_pipeline.services.suites.ci_suites import choose_suite, newest_suite
from evalcov_pipeline.services.suites.discrimination import judge_cases
from evalcov_pipeline.settings import SuiteSettings
from evalcov_pipeline.simulator import evals as simulated
from evalcov_pipeline.simulator.rhythm import Calendar
from evalcov_pipeline.simulator.sample import START
from evalcov_pipeline.storage.schema import create_tables
from evalcov_pipeline.storage.warehouse import frame, replace_slice

OUT = Path(__file__).parent / "out" / "ci_suites.json"
WEEKS, FIRST = 10, 5
"""Weeks of a sample; runs from which the first suite is chosen."""
_RESULT = ("run_id", "case_id", "repeat", "passed", "latency_ms", "judge_id", "at",
           "system_version", "model", "category", "variant")  # fmt: skip


@dataclass(frozen=True)
class World:
    """A sample's cases and results, and the truth about them."""

    cases: dict[str, simulated.SimulatedCase]
    calendar: Calendar
    results: pl.DataFrame

    @classmethod
    def of(cls, seed: int) -> World:
        """Simulate one."""
        calendar = Calendar(START, WEEKS, 48.0)
        cases = simulated.write_suite(calendar, seed, frozenset())
        rows = [
            *simulated.run_results(cases, calendar, seed),
            *simulated.known_bad_results(cases, calendar, seed),
        ]
        results = pl.DataFrame(
            [{name: row.get(name) for name in _RESULT} for row in rows], infer_schema_length=None
        ).with_columns(pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ"))
        return cls({case.row["case_id"]: case for case in cases}, calendar, results)

    def run_at(self, week: int) -> datetime:
        """When the run of a week takes place, naive."""
        return simulated.run_at(self.calendar, week).replace(tzinfo=None)

    def home(self) -> duckdb.DuckDBPyConnection:
        """A warehouse with the cases and no result."""
        con = duckdb.connect(":memory:")
        create_tables(con)
        at = self.run_at(0)
        record_cases(con, [case.row for case in self.cases.values()], at=at, actor="benchmark")
        derive_suite(con, oldest_traffic=at, redact_all=list)
        return con

    def known(self, week: int, without: str | None = None) -> pl.DataFrame:
        """Results of the runs before that of a week."""
        known = self.results.filter(pl.col("at") < self.run_at(week))
        return known.filter(pl.col("system_version") != without) if without else known


def chosen(con: duckdb.DuckDBPyConnection, results: pl.DataFrame, at: datetime) -> list[SuiteCase]:
    """The suite that these results lead to; kept in the warehouse as the one in force."""
    replace_slice(con, "eval_results", results)
    judge_cases(con, {})
    choose_suite(con, SuiteSettings(), {}, at)
    return list(suite_of(newest_suite(con)).cases)


def early_alarms(world: World) -> list[float]:
    """Alarms in the runs after the first to fourth one."""
    con = world.home()
    alarms = []
    for week in range(1, FIRST):
        replace_slice(con, "eval_results", world.known(week))
        judge_cases(con, {})
        if week == 1:
            con.execute("UPDATE case_discrimination SET unfit = NULL"
                        " WHERE starts_with(unfit, 'run once')")  # fmt: skip
        choose_suite(con, SuiteSettings(), {}, world.run_at(week))
        alarms.append(confirmed(suite_of(newest_suite(con)).cases, product_rate(world, week)))
    return alarms


def confirmed(suite: Sequence[SuiteCase], rate: Callable[[str], float]) -> float:
    """Exact probability that the gate confirms a break, given every case's true pass rate."""
    rule = rerun_rule((case.pass_rate, case.pass_rate_tries) for case in suite if case.decides)
    quiet = [
        1 - confirmation(1 - rate(case.case_id), None, rule.reruns, rule.failures)
        for case in suite
        if case.decides
    ]
    return 1 - float(np.prod(quiet))


def in_world(seed: int) -> dict[str, object]:
    """All figures of one sample."""
    world = World.of(seed)
    kept, anew = world.home(), world.home()
    alarms, recorded, promised, suites = [], [], [], {"kept": [], "anew": []}
    for week in range(FIRST, WEEKS):
        at = world.run_at(week)
        suite = chosen(kept, world.known(week), at)
        anew.execute("DELETE FROM ci_suites")
        suites["kept"].append({case.case_id for case in suite})
        new = chosen(anew, world.known(week), at)
        suites["anew"].append({case.case_id for case in new})
        alarms.append(confirmed(suite, product_rate(world, week)))
        rule = rerun_rule((case.pass_rate, case.pass_rate_tries) for case in suite)
        promised.append(rule.false_alarm)
        recorded.append(judge_gate(suite, tries_of(world, week, suites["kept"][-1])).verdict)
    rng = np.random.default_rng(seed)
    fit = frame(kept, "SELECT case_id, pass_rate, pass_rate_tries FROM case_discrimination"
                " WHERE unfit IS NULL")  # fmt: skip
    drawn = [
        SuiteCase(case, pass_rate=rate, pass_rate_tries=tries)
        for case, rate, tries in fit.sample(len(suite), seed=int(rng.integers(1 << 30))).rows()
    ]
    caught = {
        variant: {
            "kept": confirmed(suite, bad_rate(world, variant)),
            "anew": confirmed(new, bad_rate(world, variant)),
            "held out": confirmed(
                chosen(world.home(), world.known(WEEKS - 1, variant), at), bad_rate(world, variant)
            ),
            "random": confirmed(drawn, bad_rate(world, variant)),
        }
        for variant in simulated.KNOWN_BAD
    }
    power = kept.execute("SELECT detection_power FROM ci_suites ORDER BY chosen_at DESC").fetchall()
    return {
        "seed": seed, "early": early_alarms(world), "expected_by_gate": promised, "alarm": alarms,
        "recorded": recorded, "caught": caught, "detection_power": power[0][0],
        "churn": {name: churn(found) for name, found in suites.items()},
        "sizes": {name: [len(one) for one in found] for name, found in suites.items()},
    }  # fmt: skip


def product_rate(world: World, week: int) -> Callable[[str], float]:
    """True pass rates in the product's run of a week."""
    return lambda case: simulated.pass_rate_at(world.cases[case], world.calendar, week)


def bad_rate(world: World, variant: str) -> Callable[[str], float]:
    """True pass rates under a broken variant."""
    return lambda case: simulated.known_bad_rate(world.cases[case], variant)


def tries_of(world: World, week: int, cases: set[str]) -> list[Try]:
    """The recorded tries of a week's run, of the suite's cases."""
    at = world.run_at(week)
    run = world.results.filter(
        pl.col("run_id") == f"run-{at:%Y-%m-%d}", pl.col("case_id").is_in(list(cases))
    )
    return [Try(*row) for row in run.select("case_id", "repeat", "passed", "judge_id").rows()]


def churn(suites: Sequence[set[str]]) -> float:
    """Mean share of the cases of two weeks that only one of them has."""
    pairs = pairwise(suites)
    return float(np.mean([len(old ^ new) / len(old | new) for old, new in pairs]))


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Four samples instead of twenty-one.")
def main(quick: bool) -> None:
    """Print the tables, and write the figures."""
    found = [in_world(seed) for seed in (7, *range(101, 104 if quick else 121))]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1))
    for name, worlds in (("the sample", found[:1]), (f"{len(found) - 1} others", found[1:])):
        alarms = np.array([world["alarm"] for world in worlds])
        verdicts = [verdict for world in worlds for verdict in world["recorded"]]
        print(
            f"\n{name}: detection power"
            f" {np.mean([world['detection_power'] for world in worlds]):.3f}"
        )
        early = np.mean([world["early"] for world in worlds], axis=0)
        print(f"  alarm after 1 to 4 runs: {', '.join(f'{alarm:.3f}' for alarm in early)}")
        recorded = ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts)))
        print(
            f"  alarm in the next run: {alarms.mean():.3f} (worst week {alarms.max():.3f}),"
            f" expected by the gate"
            f" {np.mean([world['expected_by_gate'] for world in worlds]):.3f};"
            f" as recorded: {recorded}"
        )
        for way in ("kept", "anew"):
            sizes = np.mean([world["sizes"][way] for world in worlds], axis=0)
            print(
                f"  {way}: churn a week {np.mean([w['churn'][way] for w in worlds]):.3f},"
                f" cases by week {', '.join(f'{size:.0f}' for size in sizes)}"
            )
        for variant in simulated.KNOWN_BAD:
            rates = {
                way: np.mean([world["caught"][variant][way] for world in worlds])
                for way in ("kept", "anew", "held out", "random")
            }
            print(f"  {variant:<18}" + "  ".join(f"{w} {rate:.3f}" for w, rate in rates.items()))


if __name__ == "__main__":
    main()
