"""Shares as points with their intervals, several series side by side over ordered places."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from evalcov_pipeline.reports.drawing import Spec, draw

Series = Mapping[str, tuple[str, str, str]]
"""What is drawn by name: its meaning, the shape and the colour of its points."""
_HEIGHT = 210


def dodged(
    rows: Sequence[Mapping[str, Any]], places: Sequence[str], series: Series, width: int, *,
    x_title: str | None, y_title: str, dashed: Collection[str] = (),
) -> Markup:  # fmt: skip
    """Draw the points.

    Args:
        rows: place, series, value 0..1, low and high (both None where there is no interval), tip.
        places: in order.
        series: those that may occur.
        width: pixels of the plot without its axis.
        x_title: of the places.
        y_title: of the shares.
        dashed: series whose line is dashed.
    """
    shown = [name for name in series if any(row["series"] == name for row in rows)]
    place: Spec = {
        "x": {
            "field": "place",
            "type": "ordinal",
            "title": x_title,
            "scale": {
                "type": "band",
                "domain": list(places),
                "paddingInner": 0.75,
                "paddingOuter": 0.4,
            },
            "axis": {"labelAngle": 0, "ticks": False, "grid": False, "labelOverlap": True},
        },
        "xOffset": {"field": "series", "scale": {"domain": shown}},
        "y": {
            "field": "value",
            "type": "quantitative",
            "title": y_title,
            "scale": {"domain": [0, 1]},
            "axis": {"tickCount": 4, "format": "%", "minExtent": 34},
        },
    }
    colour = _nominal(list(series), [colour for *_, colour in series.values()])
    shape = _nominal(list(series), [shape for _, shape, _ in series.values()])
    interval = {"y": {**place["y"], "field": "low"}, "y2": {"field": "high"}}
    return draw(
        {
            "width": width,
            "height": _HEIGHT,
            "data": {"values": [{**row, "dashed": row["series"] in dashed} for row in rows]},
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
                            "condition": {"test": "datum.dashed", "value": [5, 4]},
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


def _nominal(names: list[str], values: list[str]) -> Spec:
    return {
        "field": "series",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": names, "range": values},
    }
