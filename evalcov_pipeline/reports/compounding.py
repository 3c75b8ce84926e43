"""What turns that go well come to over a whole session: a chart by length, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from evalcov_pipeline.reports.drawing import Spec, draw

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
_HEIGHT = 210


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
            "turns": row["name"], "series": series, "value": row[series],
            "low": row[f"{series}_low"], "high": row[f"{series}_high"],
            "tip": _tip(row, series),
        }
        for series in SERIES
        for row in lengths.iter_rows(named=True)
        if row[series] is not None
    ]  # fmt: skip
    shown = [series for series in SERIES if any(row["series"] == series for row in rows)]
    place: Spec = {
        "x": {
            "field": "turns",
            "type": "ordinal",
            "title": "turns",
            "scale": {
                "type": "band",
                "domain": lengths["name"].to_list(),
                "paddingInner": 0.75,
                "paddingOuter": 0.4,
            },
            "axis": {"labelAngle": 0, "ticks": False, "grid": False},
        },
        "xOffset": {"field": "series", "scale": {"domain": shown}},
        "y": {
            "field": "value",
            "type": "quantitative",
            "title": "share of sessions",
            "scale": {"domain": [0, 1]},
            "axis": {"tickCount": 4, "format": "%", "minExtent": 34},
        },
    }
    colour: Spec = {
        "field": "series",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(SERIES), "range": [colour for *_, colour in SERIES.values()]},
    }
    shape: Spec = {
        "field": "series",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(SERIES), "range": [shape for _, shape, _ in SERIES.values()]},
    }
    interval = {"y": {**place["y"], "field": "low"}, "y2": {"field": "high"}}
    return draw(
        {
            "width": width,
            "height": _HEIGHT,
            "data": {"values": rows},
            "encoding": place,
            "layer": [
                {
                    "transform": [{"filter": "datum.low !== null"}],
                    "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.55},
                    "encoding": {**interval, "color": colour},
                },
                {
                    "mark": {"type": "line", "strokeWidth": 1.5, "opacity": 0.6},
                    "encoding": {
                        "color": colour,
                        "strokeDash": {
                            "condition": {"test": "datum.series === 'predicted'", "value": [5, 4]},
                            "value": [1, 0],
                        },
                    },
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                    "encoding": {
                        "color": colour, "shape": shape, "description": {"field": "tip"},
                    },
                },
            ],
        }
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
