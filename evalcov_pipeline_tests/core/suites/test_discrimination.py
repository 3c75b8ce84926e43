"""What the history of results says about cases, on planted histories."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from evalcov_pipeline.core.suites.discrimination import (
    MIN_SYSTEMS,
    RESULTS,
    beta_prior,
    case_discrimination,
    item_total_correlation,
)
from evalcov_pipeline.core.suites.goodhart import ScorePair, goodhart_watch

START = datetime(2026, 1, 5)
Row = dict[str, object]


def results(rows: Iterable[Row]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=RESULTS)


def row(case: str, week: int, passed: bool, repeat: int = 0, **more: object) -> Row:
    run = more.pop("run_id", f"week-{week}")
    return {
        "run_id": run, "case_id": case, "repeat": repeat, "passed": passed,
        "at": START + timedelta(weeks=week), "system_version": "1.0", "category": "orders",
    } | more  # fmt: skip


def of(case: str, rows: Iterable[Row]) -> dict[str, object]:
    return case_discrimination(results(rows)).cases.row(
        by_predicate=pl.col("case_id") == case, named=True
    )


def test_a_case_that_never_failed_is_saturated_unless_a_known_bad_variant_fails_it() -> None:
    weeks = [row(case, week, True) for case in "ab" for week in range(6)]
    bad = [row("b", 3, False, run_id="bad", variant="known_bad", system_version="bad")]
    bad += [row("a", 3, True, run_id="bad", variant="known_bad", system_version="bad")]
    cases = case_discrimination(results(weeks + bad)).cases
    assert cases["saturated"].to_list() == [True, False]
    assert cases["kills"].to_list() == [0, 1]
    assert cases["n_runs"].to_list() == [6, 6], "runs of broken systems are none of the product"


def test_a_case_that_never_passed_is_broken_and_goes_to_label_review() -> None:
    found = of("a", [row("a", week, False) for week in range(6)])
    assert found["broken"]
    assert "never passed" in str(found["review"])
    assert found["unfit"] == "fails now"


def test_with_few_runs_nothing_is_called_saturated_or_broken() -> None:
    found = of("a", [row("a", week, True) for week in range(4)])
    assert (found["saturated"], found["broken"]) == (None, None)


def test_a_case_decides_no_gate_before_its_second_run() -> None:
    others = [row(f"b{i}", 0, passed=True) for i in range(30)]
    runs = [row("a", week, passed=True) for week in range(2)]
    assert of("a", [*others, runs[0]])["unfit"] == "run once: it takes 2 runs"
    assert of("a", [*others, *runs])["unfit"] is None


def test_the_flip_rate_counts_changes_between_consecutive_runs_by_time() -> None:
    verdicts = [True, True, False, False, True]
    rows = [row("a", week, passed) for week, passed in enumerate(verdicts)]
    assert of("a", reversed(rows))["flip_rate"] == 2 / 4
    assert of("a", rows[:1])["flip_rate"] is None


def test_a_real_regression_of_one_release_is_not_flakiness() -> None:
    """It fails every try of the release that broke it, and none of the others."""
    rows = [row("other", week, True, system_version=str(week // 4)) for week in range(12)]
    for week in range(12):
        broken = week // 4 == 1
        rows += [
            row("a", week, not broken, repeat, system_version=str(week // 4))
            for repeat in range(3 if broken else 1)
        ]
    found = of("a", rows)
    assert not found["flaky"]
    assert found["n_failed"] == 4


@pytest.mark.parametrize("policy", ["failures", "all"])
def test_flakiness_is_unbiased_however_reruns_are_triggered(policy: str) -> None:
    """Pass rate .8 in every run: two tries disagree with probability .32."""
    rng = np.random.default_rng(1)
    rows = []
    for case in range(300):
        for week in range(20):
            tries = rng.random(3) < 0.8
            reruns = 3 if policy == "all" or not tries[0] else 1
            rows += [
                row(f"c{case}", week, bool(tries[r]), r, system_version=str(week))
                for r in range(reruns)
            ]
    flakiness = case_discrimination(results(rows)).cases["flakiness"]
    assert flakiness.mean() == pytest.approx(0.32, abs=0.01)


def test_flakiness_is_unknown_where_no_system_was_tried_twice() -> None:
    rows = [row("a", week, week != 2, system_version=str(week)) for week in range(6)]
    found = of("a", rows)
    assert found["flakiness"] is None
    assert not found["flaky"]


def test_variants_are_told_apart_by_their_name_alone() -> None:
    rows = [row("a", week, True) for week in range(3)]
    for name, kills in (("slow", False), ("deaf", True), ("blind", True)):
        rows.append(row("a", 3, not kills, run_id=name, variant=name))
    found = case_discrimination(results(rows))
    assert found.cases["kills"].to_list() == [2]
    assert found.detection["variant"].to_list() == ["blind/1.0", "deaf/1.0", "slow/1.0"]


def test_results_without_a_verdict_and_cases_seen_only_in_bad_systems_are_no_trouble() -> None:
    rows = [row("a", 0, True), row("a", 1, True) | {"passed": None}]
    rows += [row("b", 0, False, run_id="bad", variant="known_bad")]
    cases = case_discrimination(results(rows)).cases
    assert cases["n_runs"].to_list() == [1, 0]
    assert cases["unfit"].to_list() == ["run once: it takes 2 runs", "never run"]


def test_the_same_results_are_judged_alike_to_the_last_digit() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for case, number in product(range(150), range(24)):
        tries = rng.random(3) < 0.7 + case / 1000
        rows += [
            row(f"c{case}", number, bool(tries[r]), r, system_version=f"v{number // 3}")
            for r in range(1 if tries[0] else 3)
        ]
    rows += [row(f"c{case}", 30 + n, bool(rng.random() < 0.5), system_version=f"w{n}")
             for case, n in product(range(150), range(16))]  # fmt: skip
    first = case_discrimination(results(rows))
    for _ in range(8):
        again = case_discrimination(results(rows))
        assert_frame_equal(again.cases, first.cases, check_exact=True)
        assert_frame_equal(again.detection, first.detection, check_exact=True)


def test_no_results_give_no_rows() -> None:
    found = case_discrimination(results([]))
    assert found.cases.is_empty()
    assert found.detection.is_empty()


def test_detection_is_high_for_a_clear_kill_and_next_to_nothing_for_a_case_that_fails_anyway() -> (
    None
):
    rows = []
    for week in range(20):
        rows += [row("steady", week, True), row("blind", week, True)]
        rows += [row("shaky", week, week % 2 == 0, repeat) for repeat in range(2)]
    bad = {"variant": "known_bad", "system_version": "bad", "category": None}
    for repeat in range(3):
        rows += [row("steady", 20, False, repeat, run_id="bad", **bad)]
        rows += [row("shaky", 20, False, repeat, run_id="bad", **bad)]
    rows += [row("blind", 20, True, run_id="bad", **bad)]
    detection = dict(
        case_discrimination(results(rows)).detection.select("case_id", "detection").rows()
    )
    assert detection["steady"] > 0.6
    assert detection["blind"] < 0.2
    assert detection["shaky"] < detection["steady"]


def systems(rates: Callable[[int], dict[str, float]], n: int, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [
        row(case, number, bool(rng.random() < rate), system_version=f"v{number}")
        for number in range(n)
        for case, rate in rates(number).items()
    ]


def test_a_case_that_better_systems_fail_goes_to_label_review() -> None:
    def rates(number: int) -> dict[str, float]:
        quality = number / 30
        return {f"c{i}": quality for i in range(20)} | {"mislabelled": 1 - quality}

    cases = case_discrimination(results(systems(rates, 30))).cases
    by_case = dict(cases.select("case_id", "discrimination").rows())
    assert by_case["mislabelled"] < -0.3
    assert np.mean([by_case[f"c{i}"] for i in range(20)]) > 0.3
    reviewed = cases.filter(pl.col("review").str.contains("better systems"))["case_id"].to_list()
    assert reviewed == ["mislabelled"]


def test_below_fifteen_systems_there_is_a_reason_instead_of_a_correlation() -> None:
    cases = case_discrimination(results(systems(lambda _: {"a": 0.5, "b": 0.5}, 14))).cases
    assert cases["discrimination"].to_list() == [None, None]
    assert cases["discrimination_reason"][0] == f"14 systems, it takes {MIN_SYSTEMS}"


def test_a_case_that_never_varies_has_no_correlation_and_a_reason() -> None:
    found = of("a", systems(lambda _: {"a": 1.0, "b": 0.5, "c": 0.5}, 20))
    assert found["discrimination"] is None
    assert "never varied" in str(found["discrimination_reason"])


def test_easy_cases_that_only_some_systems_ran_do_not_sway_the_total() -> None:
    rng = np.random.default_rng(3)
    rates = (rng.random((40, 30)) < 0.5).astype(float)
    rates[20:, :15], rates[20:, 15:] = np.nan, 1.0
    rates[0, :15], rates[0, 15:] = 0.0, 1.0
    correlation, n = item_total_correlation(rates)
    assert n.tolist() == [30] * 20 + [15] * 20
    assert abs(correlation[0]) < 0.5, "it follows the presence of easy cases, not the others"


def test_the_prior_of_rates_is_found_again() -> None:
    rng = np.random.default_rng(5)
    tries = np.full(3000, 20)
    a, b = beta_prior(rng.binomial(tries, rng.beta(6, 2, 3000)), tries)
    assert a == pytest.approx(6, rel=0.15)
    assert b == pytest.approx(2, rel=0.15)
    assert sum(beta_prior([], [])) > 0
    assert beta_prior([10] * 50, [10] * 50)[1] > 0, "a suite without a failure has a prior"


# Goodhart watch.


def months(gap: Callable[[int], float], seed: int, n: int = 12) -> list[ScorePair]:
    rng = np.random.default_rng(seed)
    return [
        ScorePair(
            START + timedelta(days=30 * month),
            int(rng.binomial(200, 0.75 + gap(month))), 200, int(rng.binomial(60, 0.75)), 60,
        )
        for month in range(n)
    ]  # fmt: skip


def verdicts(gap: Callable[[int], float]) -> list[str]:
    return [goodhart_watch(months(gap, seed)).verdict for seed in range(100)]


def test_a_suite_that_scores_as_fresh_cases_do_raises_few_alarms() -> None:
    said = verdicts(lambda month: 0.0)
    assert said.count("widening") <= 10
    assert said.count("gap") <= 10


def test_periods_in_which_fresh_cases_happened_to_pass_weigh_no_more_than_others() -> None:
    rng = np.random.default_rng(3)
    watches = [
        goodhart_watch(
            [
                ScorePair(START + timedelta(weeks=week), 180, 200, int(rng.binomial(15, 0.9)), 15)
                for week in range(12)
            ]
        )
        for _ in range(200)
    ]
    assert np.mean([watch.mean_gap or 0.0 for watch in watches]) == pytest.approx(0, abs=0.006)


def test_a_suite_that_is_learnt_by_heart_is_seen_to_come_loose() -> None:
    assert verdicts(lambda month: 0.02 * month).count("widening") >= 80


def test_a_suite_that_was_easier_from_the_start_is_a_gap_and_not_a_widening_one() -> None:
    said = verdicts(lambda month: 0.12)
    assert said.count("gap") >= 80
    assert said.count("widening") <= 10


def test_little_evidence_is_called_insufficient() -> None:
    watch = goodhart_watch([ScorePair(START, 20, 20, 5, 20)])
    assert (watch.verdict, watch.mean_gap) == ("insufficient", None)
    (gap,) = watch.gaps
    assert gap.low < gap.gap == 0.75 < gap.high
    assert goodhart_watch([]).verdict == "insufficient"
    assert goodhart_watch(months(lambda _: 0.0, 1, 2)).slope is None
    with pytest.raises(ValueError, match="more passes"):
        goodhart_watch([ScorePair(START, 2, 1, 0, 1)])
