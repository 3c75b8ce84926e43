"""Trends of divergence and pass rate: what moved, and when that cannot be said."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from evalcov_pipeline.core.coverage.diagnosis import ScorePoint, diagnose

START = datetime(2026, 9, 7)


def history(jsd, rate, n_results=300, half_width=0.03, **options) -> list[ScorePoint]:
    return [
        ScorePoint(
            as_of=START + timedelta(weeks=week),
            jsd_adjusted=j,
            jsd_ci_low=j - half_width,
            jsd_ci_high=j + half_width,
            eval_run=f"run-{week}",
            eval_score=r,
            n_results=n_results,
            judge="judge-1",
            **options,
        )
        for week, (j, r) in enumerate(zip(jsd, rate, strict=True))
    ]


def test_divergence_up_and_pass_rate_flat_is_a_widening_gap():
    found = diagnose(history([0.10, 0.14, 0.19, 0.24, 0.30, 0.36], [0.87] * 6))
    assert found.diagnosis == "coverage_gap_widening"


def test_divergence_flat_and_pass_rate_down_is_changed_quality():
    found = diagnose(history([0.12] * 6, [0.90, 0.86, 0.82, 0.78, 0.75, 0.70]))
    assert found.diagnosis == "quality_changed"


def test_both_trends_are_both_and_none_is_stable():
    up, down = [0.1, 0.15, 0.2, 0.25, 0.3, 0.36], [0.9, 0.86, 0.82, 0.78, 0.75, 0.7]
    assert diagnose(history(up, down)).diagnosis == "both"
    assert (
        diagnose(history([0.12, 0.11, 0.13, 0.12], [0.87, 0.88, 0.86, 0.87])).diagnosis == "stable"
    )
    assert diagnose(history(up[::-1], down[::-1])).diagnosis == "stable"


def test_the_order_of_the_history_does_not_matter():
    points = history([0.1, 0.2, 0.3, 0.4], [0.9] * 4)
    assert diagnose(points[::-1]) == diagnose(points)


def test_no_trend_is_drawn_across_a_change_of_judge():
    points = history([0.1, 0.15, 0.2, 0.25, 0.3, 0.35], [0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    changed = [*points[:4], *(replace(p, judge="judge-2") for p in points[4:])]
    assert diagnose(changed).diagnosis == "judge_changed"
    later = history([0.35] * 6, [0.6] * 6)
    later = [replace(p, as_of=p.as_of + timedelta(weeks=6), judge="judge-2") for p in later]
    assert diagnose([*changed, *later]).diagnosis == "stable"


def test_the_step_that_a_refit_makes_is_no_trend():
    points = history([0.10, 0.10, 0.10, 0.30, 0.30, 0.30], [0.87] * 6)
    assert diagnose(points).diagnosis == "coverage_gap_widening"
    points[3] = replace(points[3], refit_shift=0.20)
    assert diagnose(points).diagnosis == "stable"


def test_too_short_a_history_or_too_few_runs_say_so():
    assert diagnose([]).diagnosis is None
    assert "3 of 4 scores" in diagnose(history([0.1] * 3, [0.9] * 3)).reason
    same_run = [replace(p, eval_run="run-0") for p in history([0.1] * 5, [0.9] * 5)]
    assert "2 eval runs" in diagnose(same_run).reason
    unscored = [replace(p, eval_run=None, eval_score=None) for p in same_run]
    assert diagnose(unscored).diagnosis is None


def test_a_first_eval_run_is_no_change_of_judge():
    points = history([0.1] * 6, [0.9] * 6)
    points[0] = replace(points[0], eval_run=None, eval_score=None, n_results=0, judge=None)
    assert diagnose(points).diagnosis == "stable"


@pytest.mark.parametrize("weeks", [4, 8, 16])
def test_overlapping_windows_of_steady_traffic_raise_few_false_alarms(weeks):
    """Errors of daily traffic, averaged over 30 days: consecutive points share 23 of them."""
    rng = np.random.default_rng(weeks)
    alarms = []
    for _ in range(600):
        daily = rng.normal(0, 0.02 * np.sqrt(30), 7 * weeks + 30)
        jsd = [0.2 + daily[7 * w : 7 * w + 30].mean() for w in range(weeks)]
        rate = rng.binomial(200, 0.87, weeks) / 200
        found = diagnose(history(jsd, rate, n_results=200, half_width=1.96 * 0.02))
        alarms.append(found.diagnosis)
    widening = np.mean([a in ("coverage_gap_widening", "both") for a in alarms])
    worse = np.mean([a in ("quality_changed", "both") for a in alarms])
    assert widening <= 0.045
    assert worse <= 0.045
    assert widening > 0.005
