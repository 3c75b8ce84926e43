"""What the report shows of the CI suite: what it holds and notices, is it learnt by heart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from evalcov_pipeline.core.statistics.shares import wilson
from evalcov_pipeline.reports.dodged import dodged
from evalcov_pipeline.reports.drawing import FULL, at_sizes
from evalcov_pipeline.services.report.failures import FailureEvidence

SERIES = {
    "suite": ("cases that had been run before", "circle", "var(--divergence)"),
    "fresh": ("fresh cases, on their first run", "diamond", "var(--quality)"),
}
"""The two sides of the Goodhart watch: meaning, shape and colour of their points."""
_MOST_CASES, _MOST_REVIEWS, _MOST_MODES = 12, 8, 10


def suite_content(evidence: FailureEvidence, adversarial_tag: str) -> dict[str, Any]:
    """Everything that the part on the CI suite shows.

    Args:
        evidence: what is known.
        adversarial_tag: tag of cases with adversarial phrasings.
    """
    cases, known = evidence.suite_cases, evidence.discrimination
    modes = (
        cases.group_by(pl.col("failure_mode").fill_null("no known kind"))
        .agg(pl.col("decides").sum(), pl.len().alias("cases"))
        .sort("cases", "failure_mode", descending=[True, False])
    )
    tried = known["saturated"].drop_nulls()
    reviews = known.filter(pl.col("review").is_not_null()).to_dicts()
    return {
        "suite": evidence.suite,
        "said": suite_in_words(evidence.suite),
        "modes": modes.head(_MOST_MODES).to_dicts(),
        "more_modes": max(0, len(modes) - _MOST_MODES),
        "largest_mode": modes["cases"].max(),
        "pinned": cases["incident_id"].count(),
        "adversarial": cases.filter(pl.col("tags").list.contains(adversarial_tag)).height,
        "flaky": known["flaky"].sum(),
        "saturated_share": tried.mean(),
        "tried": len(tried),
        "active": len(known),
        "cases": cases.head(_MOST_CASES).to_dicts(),
        "more": cases[_MOST_CASES:].to_dicts(),
        "reviews": reviews[:_MOST_REVIEWS],
        "more_reviews": max(0, len(reviews) - _MOST_REVIEWS),
        "goodhart": _goodhart(evidence.goodhart),
        "goodhart_said": goodhart_in_words(evidence.goodhart),
        "series": {name: meaning for name, (meaning, *_) in SERIES.items()},
    }


def suite_in_words(suite: Mapping[str, Any] | None) -> str | None:
    """What a run of the suite costs and would notice; None without a suite."""
    if suite is None:
        return None
    if suite["n_deciding"] == 0:
        return f"None of the {suite['n_cases']} cases of the suite can decide a gate."
    return (
        f"{suite['n_cases']} cases in about {suite['expected_s']:.0f} of {suite['budget_s']:.0f}"
        f" seconds; if one of {suite['n_failure_modes']} known kinds of failure comes back, a case"
        f" that decides the gate fails with a chance of {suite['detection_power']:.0%}."
    )


def goodhart_in_words(watch: pl.DataFrame) -> str | None:
    """Whether the suite's score still says what fresh cases say; None without a watch."""
    if watch.is_empty():
        return None
    row = watch.row(-1, named=True)
    mean, p = row["mean_gap"], row["gap_p_value"]
    if row["verdict"] == "insufficient" or mean is None:
        fresh = watch["fresh_cases"].sum()
        return f"Too little to tell: {fresh} result{'s' * (fresh != 1)} of fresh cases so far."
    figures = f"on average {_points(mean)} {'above' if mean >= 0 else 'below'} fresh cases"
    if row["verdict"] == "widening":
        return (
            f"The suite is being learnt by heart: its pass rate lies {figures}, and the gap grows"
            f" by {_points(row['slope'])} per 30 days (p = {row['slope_p_value']:.3f})."
        )
    if row["verdict"] == "gap":
        return (
            f"The suite's pass rate lies {figures} (p = {p:.3f}); that the gap grows is not shown."
        )
    return f"The suite's pass rate lies {figures}, which chance may explain (p = {p:.2f})."


def _points(share: float) -> str:
    return f"{abs(100 * share):.1f} percentage points"


def _goodhart(watch: pl.DataFrame) -> Any:
    rows = [
        _point(period, series) for period in watch.to_dicts() for series in SERIES
        if period[f"{series}_cases"]
    ]  # fmt: skip
    if not watch["fresh_cases"].sum():
        return None
    return at_sizes(FULL, _goodhart_chart, rows, [f"{at:%d %b %y}" for at in watch["at"]])


def _goodhart_chart(rows: list[dict[str, Any]], places: list[str], width: int) -> Any:
    return dodged(
        rows, places, SERIES, width, x_title="30 days from", y_title="pass rate", dashed=["fresh"]
    )


def _point(period: Mapping[str, Any], series: str) -> dict[str, Any]:
    passed, n = period[f"{series}_passed"], period[f"{series}_cases"]
    low, high = (float(end) for end in wilson(np.asarray(passed / n), n))
    return {
        "place": f"{period['at']:%d %b %y}", "series": series, "value": passed / n,
        "low": low, "high": high,
        "tip": f"30 days from {period['at']:%Y-%m-%d}: {passed / n:.0%} ({low:.0%} to {high:.0%})"
        f" of {n} results of {SERIES[series][0]}",
    }  # fmt: skip
