"""The CI suite: what is in it, in which order, and what it keeps to."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.statistics.quotas import Floor
from evalcov_pipeline.core.suites.failure_modes import UNTRIED, FailureModes, failure_modes
from evalcov_pipeline.core.suites.selection import SuiteRules, select_suite


def cases(n: int, **columns: object) -> pl.DataFrame:
    made = {
        "case_id": [f"c{i:02d}" for i in range(n)],
        "seconds": [10.0] * n,
        "incident_id": pl.Series([None] * n, dtype=pl.String),
        "unfit": pl.Series([None] * n, dtype=pl.String),
    }
    return pl.DataFrame(made | columns)


def modes(detection: np.ndarray, weights: list[float] | None = None) -> FailureModes:
    m = detection.shape[1]
    return FailureModes(tuple(f"m{j}" for j in range(m)), np.array(weights or [1.0] * m), detection)


def value(detection: np.ndarray, chosen: object) -> float:
    return float(np.mean(1 - np.prod(1 - detection[list(chosen)], axis=0)))


def drawn(n: int, m: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.beta(0.4, 1.5, (n, m))


@pytest.mark.parametrize("seed", range(8))
def test_the_suite_is_nearly_as_good_as_the_best_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    detection, seconds = drawn(10, 4, seed), rng.uniform(5, 60, 10)
    rules = SuiteRules(budget_s=100, workers=1, min_gain=0.0)
    found = select_suite(cases(10, seconds=seconds), modes(detection), rules)
    best = max(
        value(detection, some)
        for size in range(1, 11)
        for some in combinations(range(10), size)
        if seconds[list(some)].sum() <= 100
    )
    assert found.expected_s <= 100
    assert found.detection_power >= 0.9 * best
    assert found.detection_power >= (1 - 1 / np.e) / 2 * best, "the guarantee"


def test_one_long_case_that_notices_everything_beats_many_short_ones_that_notice_little() -> None:
    detection = np.array([[0.95], *[[0.02]] * 9])
    found = select_suite(
        cases(10, seconds=[100.0, *[10.0] * 9]),
        modes(detection),
        SuiteRules(budget_s=100, workers=1),
    )
    assert found.picks["case_id"].to_list() == ["c00"]


def test_a_second_case_for_the_same_failure_is_worth_less_than_one_for_another() -> None:
    detection = np.array([[0.9, 0.0], [0.85, 0.0], [0.0, 0.3]])
    found = select_suite(cases(3), modes(detection), SuiteRules(max_cases=2))
    assert found.picks["case_id"].to_list() == ["c00", "c02"]
    assert found.detection_power == pytest.approx((0.9 + 0.3) / 2)


def test_weights_say_which_failures_matter() -> None:
    detection = np.array([[0.9, 0.0], [0.0, 0.3]])
    found = select_suite(cases(2), modes(detection, [1, 10]), SuiteRules(max_cases=1))
    assert found.picks["case_id"].to_list() == ["c01"]


def test_incidents_are_pinned_whatever_they_cost_and_an_overfull_budget_is_said() -> None:
    given = cases(5, incident_id=[None, "INC-7", None, None, "INC-9"], seconds=[10.0] * 4 + [999.0])
    found = select_suite(given, modes(drawn(5, 2, 1)), SuiteRules(budget_s=100, workers=1))
    assert {"c01", "c04"} == set(found.picks["case_id"])
    assert "guards incident INC-7" in found.picks["reason"].to_list()
    assert "beyond the budget" in found.notes[0]


def test_unfit_cases_stay_out_with_their_reason_and_pinned_ones_do_not_decide() -> None:
    given = cases(4, unfit=["flaky", "flaky", None, None], incident_id=["INC-1", None, None, None])
    detection = np.array([[0.9], [0.9], [0.5], [0.1]])
    found = select_suite(given, modes(detection), SuiteRules())
    picks = {row["case_id"]: row for row in found.picks.to_dicts()}
    assert set(picks) == {"c00", "c02", "c03"}
    assert [picks[name]["decides"] for name in ("c00", "c02")] == [False, True]
    assert "does not decide: flaky" in picks["c00"]["reason"]
    assert found.left_out.to_dicts() == [{"case_id": "c01", "reason": "flaky"}]
    assert found.detection_power == pytest.approx(1 - 0.5 * 0.9), (
        "what does not decide adds nothing"
    )


def test_floors_are_met_with_their_best_cases_before_anything_else() -> None:
    given = cases(
        6,
        failure_mode=["a", "a", "a", "b", "b", None],
        adversarial=[False, False, False, False, True, True],
    )
    detection = np.array([[0.9], [0.8], [0.7], [0.0], [0.1], [0.2]])
    floors = (
        Floor("failure_mode", "a", 1),
        Floor("failure_mode", "b", 1),
        Floor("adversarial", "true", 2),
    )
    found = select_suite(given, modes(detection), SuiteRules(max_cases=3, floors=floors))
    assert found.picks["case_id"].to_list() == ["c00", "c04", "c05"]
    assert found.picks["reason"][1] == "failure_mode b, 1 of at least 1"
    assert not found.notes


def test_a_floor_that_cannot_be_met_is_said() -> None:
    given = cases(3, failure_mode=["a", "b", "b"], unfit=[None, "flaky", None])
    rules = SuiteRules(floors=(Floor("failure_mode", "b", 2), Floor("failure_mode", "none", 1)))
    found = select_suite(given, modes(np.full((3, 1), 0.5)), rules)
    assert found.notes == (
        "failure_mode b has 1 of 2 cases: no other is fit to decide",
        "failure_mode none has 0 of 1 cases: no other is fit to decide",
    )
    tight = SuiteRules(floors=(Floor("failure_mode", "b", 1),), budget_s=1)
    (note,) = select_suite(given, modes(np.full((3, 1), 0.5)), tight).notes
    assert "budget" in note


def test_the_suite_takes_as_long_as_its_longest_worker() -> None:
    given = cases(5, seconds=[30.0, 20.0, 20.0, 10.0, 10.0])
    found = select_suite(given, modes(np.full((5, 1), 0.3)), SuiteRules(workers=2, budget_s=50))
    assert found.picks.height == 5
    assert found.expected_s == 50


def test_cases_that_add_nothing_are_left_out() -> None:
    detection = np.array([[0.5], [0.0], [0.0]])
    assert select_suite(cases(3), modes(detection), SuiteRules()).picks.height == 1


def test_the_choice_does_not_depend_on_the_order_of_the_cases() -> None:
    detection = drawn(40, 5, 4)
    given = cases(40)
    order = np.random.default_rng(9).permutation(40)
    rules = SuiteRules(max_cases=10)
    one = select_suite(given, modes(detection), rules)
    other = select_suite(given[order], modes(detection[order]), rules)
    assert one.picks.equals(other.picks)


def test_a_suite_stays_until_another_notices_clearly_more() -> None:
    detection = np.array([[0.5], [0.51], [0.9]])
    rules = SuiteRules(max_cases=1)
    worse = select_suite(cases(2), modes(detection[:2]), rules, present=["c00"])
    assert worse.picks["case_id"].to_list() == ["c00"], "another adds no more than .01"
    better = select_suite(cases(3), modes(detection), rules, present=["c00"])
    assert better.picks["case_id"].to_list() == ["c02"]


def test_a_suite_that_stays_loses_what_cannot_decide_and_takes_in_what_is_pinned() -> None:
    detection = np.full((5, 1), 0.8)
    given = cases(
        5,
        incident_id=[None, None, None, "INC-1", None],
        unfit=[None, "flaky", None, None, None],
        kind=["a", "a", "a", "b", "c"],
    )
    rules = SuiteRules(floors=(Floor("kind", "c", 1),))
    found = select_suite(given, modes(detection), rules, present=["c00", "c01", "gone"])
    assert set(found.picks["case_id"]) == {"c00", "c03", "c04"}
    again = select_suite(given, modes(detection), rules, present=found.picks["case_id"])
    assert set(again.picks["case_id"]) == {"c00", "c03", "c04"}


def test_a_suite_beyond_a_budget_that_was_lowered_is_chosen_anew() -> None:
    detection = np.eye(4) * 0.9
    found = select_suite(
        cases(4), modes(detection), SuiteRules(max_cases=2), present=["c00", "c01", "c02"]
    )
    assert found.picks.height == 2


def test_nothing_fit_makes_an_empty_suite() -> None:
    given = cases(2, unfit=["flaky", "fails now"])
    found = select_suite(given, modes(np.full((2, 1), 0.5)), SuiteRules())
    assert (found.picks.height, found.expected_s, found.detection_power) == (0, 0.0, 0.0)
    assert found.left_out.height == 2


def test_impossible_requests_are_refused() -> None:
    some = np.full((2, 1), 0.5)
    with pytest.raises(ValueError, match="2 cases"):
        select_suite(cases(2), modes(np.ones((3, 1))), SuiteRules())
    with pytest.raises(ValueError, match="distinct"):
        select_suite(cases(2, case_id=["a", "a"]), modes(some), SuiteRules())
    with pytest.raises(ValueError, match="probabilities"):
        select_suite(cases(2), modes(some * 3), SuiteRules())
    with pytest.raises(ValueError, match="no column"):
        select_suite(cases(2), modes(some), SuiteRules(floors=(Floor("tier", "gold", 1),)))


def test_modes_are_known_bad_variants_and_what_cases_are_filed_under() -> None:
    given = cases(3, failure_mode=["b", "a", None])
    known = pl.DataFrame(
        {"case_id": ["c00", "c02", "gone"], "variant": ["bad"] * 3, "detection": [0.8, 0.1, 0.9]}
    )
    found = failure_modes(given, known, {"a": 3.0})
    assert found.names == ("bad", "a", "b")
    assert found.weights.tolist() == [1.0, 0.75, 0.25]
    expected = [[0.8, 0.0, 0.8], [0.0, UNTRIED, 0.0], [0.1, 0.0, 0.0]]
    assert found.detection.tolist() == expected
    alone = failure_modes(given, known.clear())
    assert alone.names == ("a", "b")
    with pytest.raises(ValueError, match="no failure mode"):
        failure_modes(given.with_columns(failure_mode=pl.lit(None, pl.String)), known.clear())
