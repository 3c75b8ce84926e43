"""What turns that go well come to over a whole session: a chart by length, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from evalcov_pipeline.reports.dodged import dodged

SERIES = {
    "flawless": ("seen without a failed turn", "circle", "var(--divergence)"),
    "predicted": ("expected if turns failed independently", "diamond", "var(--quality)"),
    "observed": ("ended well", "square", "var(--origin-2)"),
}
"""What is drawn: its meaning, the shape and the colour of its points."""
_VERDICTS = {
    "clustered": "failures come together",
    "spread": "failures keep apart",
    "independent": "failures look independent",
    "undecidable": "too few sessions to tell these apart",
}


def by_length(groups: pl.DataFrame) -> pl.DataFrame:
    """The groups of `session_compounding` that are ranges of turns, the shortest first."""
    return groups.filter(pl.col("grouping") == "length").sort("mean_turns")


def compounding(lengths: pl.DataFrame, width: int) -> Markup:
    """Sessions without a failed turn against what independent turns would come to, by length.

    Args:
        lengths: rows that `by_length` gave, at least one.
        width: pixels of the plot without its axis.
    """
    rows = [
        {
            "place": row["name"], "series": series, "value": row[series],
            "low": row[f"{series}_low"], "high": row[f"{series}_high"],
            "tip": _tip(row, series),
        }
        for series in SERIES
        for row in lengths.iter_rows(named=True)
        if row[series] is not None
    ]  # fmt: skip
    return dodged(
        rows, lengths["name"].to_list(), SERIES, width,
        x_title="turns", y_title="share of sessions", dashed=["predicted"],
    )  # fmt: skip


def _tip(row: Mapping[str, Any], series: str) -> str:
    sessions = row["n_known"] if series == "observed" else row["n_sessions"]
    return (
        f"{row['label']}: {row[series]:.0%}{_interval(row, series)} {SERIES[series][0]}\n"
        f"{row['step_success']:.0%} of turns go well · {sessions:,} sessions"
    )


def in_words(groups: pl.DataFrame) -> str | None:
    """Whether failures come together, for the longest sessions of which that is known.

    Args:
        groups: rows of `session_compounding`.

    Returns:
        A sentence; None without sessions of several turns.
    """
    several = by_length(groups).filter(pl.col("mean_turns") > 1)
    decided = several.filter(pl.col("verdict") != "undecidable")
    rows = (decided if len(decided) else several).tail(1).to_dicts()
    if not rows:
        return None
    (row,) = rows
    seen = f"{row['flawless']:.0%}{_interval(row, 'flawless')}"
    return (
        f"At {row['step_success']:.0%} per turn, {row['label']} come to {row['predicted']:.0%}"
        f" without a failed turn if turns failed independently; {seen} were seen:"
        f" {_VERDICTS[row['verdict']]}."
    )


def _interval(row: Mapping[str, Any], rate: str) -> str:
    low, high = row[f"{rate}_low"], row[f"{rate}_high"]
    return "" if low is None else f" ({low:.0%} to {high:.0%})"
