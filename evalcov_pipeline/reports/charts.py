"""The report's charts of the score over time and of the suite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
from markupsafe import Markup

from evalcov_pipeline.core.traffic.weeks import WEEK
from evalcov_pipeline.reports.drawing import LETTER, Spec, draw, shortened, week_name, weeks_axis

_LONGEST_NOTE = 60
_LONGEST_JUDGE = 24
_UPPER, _LOWER = 190, 150
_AGES = (
    (30, "under 30 days"), (90, "30–90 days"), (180, "90–180 days"), (365, "180–365 days"),
    (None, "over a year"),
)  # fmt: skip
_LINE = {"interpolate": "linear", "strokeWidth": 2}


def trend(history: pl.DataFrame, threshold: float, width: int) -> Markup:
    """Divergence above, pass rate below, over the scored weeks.

    A line connects scores under one taxonomy, so a refit week shows both scores and the step
    between them; no line of the pass rate crosses a change of judge.

    Args:
        history: rows of `coverage_scores`, oldest first.
        threshold: divergence from which a score is degraded.
        width: pixels of the plot without its axis.
    """
    headline = history.filter("headline")
    weeks = headline["as_of"].to_list()
    refits = [new["as_of"] for old, new in _steps(headline, "taxonomy_id")]
    judges = [
        (new["as_of"], new["judge_id"])
        for old, new in _steps(headline.drop_nulls("eval_score"), "judge_id")
    ]
    divergence = [
        {
            "week": _utc(row["as_of"]), "value": row["jsd_adjusted"], "low": row["jsd_ci_low"],
            "high": row["jsd_ci_high"], "line": row["taxonomy_id"], "headline": row["headline"],
            "tip": f"Week to {row['as_of']:%Y-%m-%d}: divergence {row['jsd_adjusted']:.2f}"
            f" ({row['jsd_ci_low']:.2f} to {row['jsd_ci_high']:.2f})"
            + ("" if row["headline"] else ", under the previous clusters"),
        }
        for row in history.drop_nulls("jsd_adjusted").iter_rows(named=True)
    ]  # fmt: skip
    quality = [
        {
            "week": _utc(row["as_of"]), "value": row["eval_score"], "low": row["reweighted_low"],
            "high": row["reweighted_high"],
            "line": sum(row["as_of"] >= at for at, _ in judges),
            "tip": f"Week to {row['as_of']:%Y-%m-%d}: {row['eval_score']:.0%} pass on the suite,"
            f" {row['reweighted_low']:.0%} to {row['reweighted_high']:.0%} of production"
            + (f" (judge {shortened(row['judge_id'], _LONGEST_NOTE)})" if row["judge_id"] else ""),
        }
        for row in headline.drop_nulls(["eval_score", "reweighted_low"]).iter_rows(named=True)
    ]  # fmt: skip
    margin = (weeks[-1] - weeks[0]) / 20 if len(weeks) > 1 else WEEK
    axis: Spec = {
        "field": "week",
        "type": "temporal",
        "title": None,
        "scale": {
            "type": "utc",
            "nice": False,
            "domain": [_utc(weeks[0] - margin), _utc(weeks[-1] + margin)],
        },
        "axis": {
            "values": [_utc(week) for week in _spread(weeks, max(2, width // 80))],
            "format": "%d %b",
            "grid": False,
        },
    }
    top = max([0.4, 1.2 * threshold, *(row["high"] for row in divergence)])
    upper = [
        _lines(divergence, axis, _y("divergence", [0, min(1.0, top)], ".1f"), "divergence"),
        _horizontal(threshold, f"threshold {threshold:g}"),
        *_marked([(at, "clustered anew") for at in refits], axis, width, _UPPER),
    ]
    lower = [
        _lines(quality, axis, _y("pass rate", [0, 1], "%"), "quality"),
        *_marked(
            [(at, f"judge: {shortened(name or 'unknown', _LONGEST_JUDGE)}") for at, name in judges],
            axis,
            width,
            _LOWER,
        ),
    ]
    panels = [{"width": width, "height": _UPPER, "layer": upper}]
    if quality:
        panels.append({"width": width, "height": _LOWER, "layer": lower})
    return draw({"vconcat": panels, "spacing": 12})


def ages(cases: pl.DataFrame, as_of: datetime, origins: Sequence[str], width: int) -> Markup:
    """Cases by age at `as_of`, stacked by origin.

    Args:
        cases: origin and effective_at.
        as_of: instant of the score.
        origins: names in the order of their colours.
        width: pixels of the plot without its axis.
    """
    rows = [
        {"age": _age(as_of - at), "origin": origin}
        for origin, at in cases.select("origin", "effective_at").iter_rows()
    ]
    return draw(
        {
            "width": width,
            "height": {"step": 30},
            "data": {"values": rows},
            "mark": {"type": "bar", "height": 18},
            "encoding": {
                "y": {
                    "field": "age",
                    "type": "ordinal",
                    "title": None,
                    "scale": {"domain": [name for _, name in _AGES]},
                    "axis": {"domain": False, "ticks": False, "labelLimit": 200},
                },
                "x": {
                    "aggregate": "count",
                    "title": "cases",
                    "axis": {"tickMinStep": 1, "tickCount": 4, "format": "d"},
                },
                "color": _origin_colours(origins),
                "order": {"field": "origin"},
            },
        }
    )


def suite_size(suite: pl.DataFrame, origins: Sequence[str], width: int) -> Markup:
    """Active cases by week, stacked by origin.

    Args:
        suite: as_of, origin, cases.
        origins: names in the order of their colours.
        width: pixels of the plot without its axis.
    """
    weeks = suite["as_of"].unique().sort().to_list()
    rows = [
        {"week": week_name(as_of), "origin": origin, "cases": n}
        for as_of, origin, n in suite.select("as_of", "origin", "cases").iter_rows()
    ]
    return draw(
        {
            "width": width,
            "height": 150,
            "data": {"values": rows},
            "mark": {"type": "bar", "width": {"band": 0.7}},
            "encoding": {
                "x": weeks_axis(weeks, _spread(weeks, max(2, width // 90))),
                "y": {
                    "field": "cases",
                    "type": "quantitative",
                    "title": "cases",
                    "axis": {"tickCount": 4, "format": "d"},
                },
                "color": _origin_colours(origins),
                "order": {"field": "origin"},
            },
        }
    )


def sparkline(shares: Sequence[float | None]) -> Markup:
    """A share over the weeks, from 0 to its own maximum; empty with fewer than two known."""
    rows = [{"x": i, "y": share} for i, share in enumerate(shares) if share is not None]
    if len(rows) < 2:
        return Markup("")
    place = {
        "x": {
            "field": "x", "type": "quantitative", "axis": None,
            "scale": {"domain": [0, len(shares) - 1]},
        },
        "y": {"field": "y", "type": "quantitative", "axis": None, "scale": {"zero": True}},
    }  # fmt: skip
    return draw(
        {
            "width": 72,
            "height": 18,
            "padding": 3,
            "layer": [
                {
                    "data": {"values": rows},
                    "mark": {"type": "line", "color": "var(--divergence)", "strokeWidth": 1.6},
                    "encoding": place,
                },
                {
                    "data": {"values": rows[-1:]},
                    "mark": {"type": "circle", "color": "var(--divergence)", "size": 16},
                    "encoding": place,
                },
            ],
        },
        aria=False,
    )


def _lines(rows: list[Spec], x: Spec, y: Spec, name: str) -> Spec:
    """Lines with their bands; hollow points are not the headline's."""
    colour = f"var(--{name})"
    band = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
    return {
        "data": {"values": rows},
        "encoding": {"x": x, "detail": {"field": "line"}},
        "layer": [
            {"mark": {"type": "area", "color": colour, "opacity": 0.2}, "encoding": band},
            {"mark": {"type": "rule", "color": colour, "opacity": 0.5}, "encoding": band},
            {"mark": {"type": "line", "color": colour, **_LINE}, "encoding": {"y": y}},
            {
                "mark": {"type": "point", "size": 50 if len(rows) <= 26 else 14, "opacity": 1,
                         "strokeWidth": 2, "stroke": colour},
                "encoding": {
                    "y": y,
                    "fill": {
                        "condition": {"test": "datum.headline === false", "value": "var(--page)"},
                        "value": colour,
                    },
                    "description": {"field": "tip"},
                },
            },
        ],
    }  # fmt: skip


def _y(title: str, domain: list[float], style: str) -> Spec:
    return {
        "field": "value",
        "type": "quantitative",
        "title": title,
        "scale": {"domain": domain},
        "axis": {"tickCount": 4, "format": style, "minExtent": 34},
    }


def _horizontal(value: float, label: str) -> Spec:
    at = {"y": {"datum": value}}
    return {
        "data": {"values": [{}]},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [5, 4]}, "encoding": at},
            {
                "mark": {"type": "text", "align": "left", "dx": 4, "dy": -7},
                "encoding": {**at, "x": {"value": 0}, "text": {"value": label}},
            },
        ],
    }


def _marked(
    moments: Sequence[tuple[datetime, str]], x: Spec, width: int, height: int
) -> list[Spec]:
    """Vertical rules with a name on the side that has room; the newest names where all have not."""
    start, end = (datetime.fromisoformat(instant) for instant in x["scale"]["domain"])
    rows: list[Spec] = []
    free = math.inf
    for at, name in sorted(moments, reverse=True):
        place = width * ((at.replace(tzinfo=UTC) - start) / (end - start))
        side = "right" if place > width / 2 else "left"
        reach = place + (5 + LETTER * len(name)) * (side == "left")
        shown = name if reach < free else ""
        if shown:
            free = reach - (5 + LETTER * len(name))
        rows.append({"week": _utc(at), "name": shown, "side": side})
    return [
        {
            "data": {"values": [row for row in rows if row["side"] == side]},
            "encoding": {"x": x},
            "layer": [
                {"mark": {"type": "rule", "strokeDash": [2, 3]}},
                {
                    "mark": {"type": "text", "align": side, "dx": 4 if side == "left" else -4},
                    "encoding": {"y": {"value": height - 9}, "text": {"field": "name"}},
                },
            ],
        }
        for side in ("left", "right")
    ]


def _origin_colours(origins: Sequence[str]) -> Spec:
    return {
        "field": "origin",
        "type": "nominal",
        "legend": None,
        "scale": {
            "domain": list(origins),
            "range": [f"var(--origin-{i % 5})" for i in range(len(origins))],
        },
    }


def _steps(rows: pl.DataFrame, column: str) -> list[tuple[Spec, Spec]]:
    """Consecutive rows between which a column changes."""
    return [
        (old, new)
        for old, new in pairwise(rows.sort("as_of").iter_rows(named=True))
        if old[column] != new[column]
    ]


def _spread(values: Sequence[datetime], most: int) -> list[datetime]:
    """At most `most` of the values, evenly spaced, the last among them."""
    step = max(1, -(-len(values) // most))
    return list(values[::-1][::step])[::-1]


def _age(age: timedelta) -> str:
    return next(name for days, name in _AGES if days is None or age < timedelta(days=days))


def _utc(instant: datetime) -> str:
    return f"{instant.isoformat()}+00:00"
