"""The map of traffic: what was asked in 2-D, eval cases over it, the gaps numbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from evalcov_pipeline.reports.drawing import LETTER, Spec, draw, shortened

Box = tuple[float, float, float, float]

LEVELS = ("tested", "less tested", "in a gap", "deep in a gap")
"""How well a text is covered, best first."""
MOST_POINTS = 3000
"""Texts on the map: more would make the page heavy, not clearer."""
_LONGEST_TIP = 140
_LONGEST_NOTE = 60
_WITHOUT_LABELS = 500
_EDGE = 22
_SIDES = {
    "right": ("left", 15, 0), "left": ("right", -15, 0),
    "above": ("center", 0, -24), "below": ("center", 0, 24),
}  # fmt: skip
"""Alignment and offset in pixels of a label beside its badge."""


@dataclass(frozen=True)
class Badge:
    """A numbered place on the map."""

    x: float
    y: float
    label: str


def traffic_map(
    texts: pl.DataFrame, cases: pl.DataFrame, badges: Sequence[Badge], width: int
) -> Markup:
    """Production texts by how well they are covered, eval cases over them, the gaps numbered.

    Args:
        texts: text, label, level (of `LEVELS`), map_x and map_y.
        cases: case_id, label, text, map_x, map_y.
        badges: the gaps, most important first; on a narrow map they have no label.
        width: pixels.
    """
    wide = width > _WITHOUT_LABELS
    height = round(width * (0.72 if wide else 1))
    ordered = sorted(texts.iter_rows(named=True), key=lambda row: LEVELS.index(row["level"]))
    points = [
        {
            "x": round(row["map_x"], 3), "y": round(row["map_y"], 3), "level": row["level"],
            "tip": _tip(row["text"], row["label"], row["level"]),
        }
        for row in ordered
    ]  # fmt: skip
    suite = [
        {
            "x": round(row["map_x"], 3), "y": round(row["map_y"], 3),
            "tip": _tip(row["text"] or "", row["label"], f"eval case {row['case_id']}"),
        }
        for row in cases.drop_nulls(["map_x", "map_y"]).iter_rows(named=True)
    ]  # fmt: skip
    place: Spec = {}
    frame: dict[str, tuple[float, float]] = {}
    for axis, pixels in (("x", width), ("y", height)):
        known = [row[axis] for row in (*points, *suite)]
        edge = (max(known) - min(known) or 1.0) * _EDGE / pixels
        frame[axis] = (min(known) - edge, max(known) + edge)
        place[axis] = {
            "field": axis,
            "type": "quantitative",
            "axis": None,
            "scale": {"domain": frame[axis], "nice": False, "zero": False},
        }
    named = [
        {"x": badge.x, "y": badge.y, "number": str(number), "label": badge.label, "side": side}
        for number, (badge, side) in enumerate(
            zip(badges, _label_sides(badges, frame, width, height), strict=True), 1
        )
    ]
    tip = {"description": {"field": "tip"}}
    colours = {
        "field": "level",
        "type": "ordinal",
        "legend": None,
        "scale": {
            "domain": list(LEVELS),
            "range": [f"var(--level-{i})" for i in range(len(LEVELS))],
        },
    }
    layers: list[Spec] = [
        {
            "data": {"values": points},
            "mark": {"type": "circle", "size": 26 if wide else 14, "opacity": 0.75},
            "encoding": {**place, **tip, "color": colours},
        },
        {
            "data": {"values": suite},
            "mark": {
                "type": "point", "shape": "diamond", "filled": True, "size": 58 if wide else 26,
                "fill": "var(--ink)", "stroke": "var(--page)", "strokeWidth": 1, "opacity": 1,
            },
            "encoding": {**place, **tip},
        },
        *(
            {
                "data": {"values": [row for row in named if row["side"] == side]},
                "mark": {
                    "type": "text", "align": align, "dx": dx, "dy": dy, "fontSize": 14,
                    "fontWeight": 600, "color": "var(--ink)",
                },
                "encoding": {**place, "text": {"field": "label"}},
            }
            for side, (align, dx, dy) in (_SIDES.items() if wide else ())
        ),
        {
            "data": {"values": named},
            "mark": {
                "type": "circle", "size": 440 if wide else 230, "opacity": 1, "aria": False,
                "fill": "var(--badge)", "stroke": "var(--page)", "strokeWidth": 1.5,
            },
            "encoding": place,
        },
        {
            "name": "number",
            "data": {"values": named},
            "mark": {
                "type": "text", "fontSize": 13 if wide else 11, "fontWeight": 700,
                "baseline": "middle", "color": "var(--on-badge)",
            },
            "encoding": {**place, "text": {"field": "number"}},
        },
    ]  # fmt: skip
    return draw({"width": width, "height": height, "padding": 0, "layer": layers})


def _label_sides(
    badges: Sequence[Badge], frame: Mapping[str, tuple[float, float]], width: int, height: int
) -> list[str | None]:
    """On which side of its badge each label has room; None where it has none."""
    centres = []
    for badge in badges:
        (left, right), (bottom, top) = frame["x"], frame["y"]
        centres.append(
            (width * (badge.x - left) / (right - left), height * (top - badge.y) / (top - bottom))
        )
    taken = [(x - 12, y - 12, x + 12, y + 12) for x, y in centres]
    chosen: list[str | None] = []
    for badge, (x, y) in zip(badges, centres, strict=True):
        long = LETTER * len(badge.label)
        found = None
        for side, (align, dx, dy) in _SIDES.items():
            start = x + dx - {"left": 0.0, "center": long / 2, "right": long}[align]
            box = (start, y + dy - 9, start + long, y + dy + 9)
            inside = box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found = side
                break
        chosen.append(found)
    return chosen


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _tip(text: str, *notes: str) -> str:
    short = (shortened(note, _LONGEST_NOTE) for note in notes)
    return "\n".join([shortened(text, _LONGEST_TIP), " · ".join(short)])
