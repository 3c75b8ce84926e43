"""The flow picture: sessions as ribbons from step to step, as wide as their share.

A library's Sankey diagram (plotly, ECharts) would put megabytes of script into the page, and
Vega-Lite has none. Ribbons are strokes along a curve: dashes make stripes across the ways that no
case goes, so that colour is not all that tells them apart.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from markupsafe import Markup

from evalcov_pipeline.reports.beginnings import END, POOLED, Beginning, beginnings
from evalcov_pipeline.reports.drawing import shortened

_NARROW = 480
_HEAD, _LABEL, _GAP, _BAR, _STUB, _CUT = 30, 17, 9, 6, 24, 36
"""Pixels: head of the columns, line of a label, room between steps, bar of a step, loose end, most
for the pooled first steps, which lead nowhere."""
_LETTER = 6.6
_LONGEST_NAME = 60
_ORDINALS = ("1st", "2nd", "3rd", "4th", "5th")


@dataclass
class _Node:
    """A step in a column: its bar, and where the next ribbon comes in and goes out."""

    x: float
    y: float
    share: float
    height: float
    incoming: float = field(init=False)
    outgoing: float = field(init=False)

    def __post_init__(self) -> None:
        self.incoming = self.outgoing = self.y


Nodes = dict[tuple[int, str], _Node]


def flow(paths: pl.DataFrame, names: Mapping[str, str], step: str, width: int) -> Markup:
    """The first three steps of sessions, two in a narrow picture.

    Args:
        paths: rows of `sequence_coverage` of one kind, at least one from the start of a session.
        names: steps in words; a step without an entry is its own name.
        step: what a step is, such as "query".
        width: pixels.
    """
    depth, room = (2, 260.0) if width < _NARROW else (3, 340.0)
    ways = beginnings(paths, depth)
    pooled = sum(way.share for way in ways if way.steps == (POOLED,))
    scale = room / max(0.05, 1 - pooled)
    named = {END: f"no {step}", POOLED: "other", **names}
    columns = max(len(way.steps) for way in ways)
    pitch = (width - _STUB) / columns
    nodes = _nodes(ways, pitch, scale)
    height = max(node.y + node.height for node in nodes.values()) + _GAP
    letters = [
        *_heads(columns, step, pitch),
        *(
            _label(node, "other, drawn smaller", pitch)
            if node.height < node.share * scale - 1
            else _label(node, named.get(name, name), pitch)
            for (_, name), node in nodes.items()
        ),
    ]
    drawn = Markup("").join(
        [
            *_ribbons(ways, nodes, named, scale),
            *(_bar(node, name) for (_, name), node in nodes.items()),
        ]
    )
    return Markup(
        '<svg viewBox="0 0 {} {:.0f}" style="max-width:{}px" aria-hidden="true">{}{}</svg>'
    ).format(width, height, width, drawn, Markup("").join(letters))


def _nodes(ways: Sequence[Beginning], pitch: float, scale: float) -> Nodes:
    """The steps of each column: the first by share, the later ones by where they come from."""
    nodes: Nodes = {}
    for column in range(max(len(way.steps) for way in ways)):
        shares: defaultdict[str, float] = defaultdict(float)
        heights: defaultdict[str, float] = defaultdict(float)
        origins: defaultdict[str, float] = defaultdict(float)
        for way in ways:
            if len(way.steps) == column + 1 and not _is_loose(way):
                source = nodes[column - 1, way.steps[-2]].y if column else -way.share
                shares[way.steps[-1]] += way.share
                heights[way.steps[-1]] += _thickness(way, scale)
                origins[way.steps[-1]] += way.share * source
        y = float(_HEAD)
        for name in sorted(shares, key=lambda name: (name == POOLED, origins[name] / shares[name])):
            height = max(2.0, heights[name])
            nodes[column, name] = _Node(_STUB + column * pitch, y + _LABEL, shares[name], height)
            y += _LABEL + height + _GAP
    return nodes


def _thickness(way: Beginning, scale: float) -> float:
    thick = way.share * scale
    return min(_CUT, thick) if way.steps == (POOLED,) else thick


def _is_loose(way: Beginning) -> bool:
    """Whether a session ends after some step: a ribbon that leads nowhere."""
    return way.steps[-1] == END and len(way.steps) > 1


def _ribbons(
    ways: Sequence[Beginning], nodes: Nodes, names: Mapping[str, str], scale: float
) -> Iterator[Markup]:
    """Ribbons, packed at both ends in the order of the other end, loose ones last."""

    def source(way: Beginning) -> float:
        return nodes[len(way.steps) - 2, way.steps[-2]].y if len(way.steps) > 1 else 0.0

    def target(way: Beginning) -> float:
        return float("inf") if _is_loose(way) else nodes[len(way.steps) - 1, way.steps[-1]].y

    leaves: dict[Beginning, tuple[float, float]] = {}
    for way in sorted(ways, key=target):
        if len(way.steps) > 1:
            node = nodes[len(way.steps) - 2, way.steps[-2]]
            leaves[way] = (node.x + _BAR, node.outgoing + _thickness(way, scale) / 2)
            node.outgoing += _thickness(way, scale)
    for way in sorted(ways, key=source):
        thick = _thickness(way, scale)
        if _is_loose(way):
            x, y = leaves[way]
            yield _ribbon(way, names, thick, f"M{x:.1f} {y:.1f}h{_STUB - _BAR}")
            continue
        node = nodes[len(way.steps) - 1, way.steps[-1]]
        at = node.incoming + thick / 2
        node.incoming += thick
        x, y = leaves.get(way, (0.0, at))
        middle = (x + node.x) / 2
        curve = f"M{x:.1f} {y:.1f}C{middle:.1f} {y:.1f} {middle:.1f} {at:.1f} {node.x:.1f} {at:.1f}"
        yield _ribbon(way, names, thick, curve)


def _ribbon(way: Beginning, names: Mapping[str, str], thick: float, line: str) -> Markup:
    ends = " loose" if _is_loose(way) else ""
    return Markup(
        '<g class="{}{}" aria-label="{}" stroke-width="{:.1f}"><path d="{}"/>{}</g>'
    ).format(
        way.state, ends, _tip(way, names), max(1.0, thick), line,
        Markup('<path class="stripes" d="{}"/>').format(line) if way.state == "untested" else "",
    )  # fmt: skip


def _tip(way: Beginning, names: Mapping[str, str]) -> str:
    known = {**names, END: "end of the session"} if _is_loose(way) else names
    steps_in_words = " → ".join(
        shortened(known.get(step, step), _LONGEST_NAME) for step in way.steps
    )
    share = f"{way.share:.1%} of sessions"
    if way.low is not None:
        share += f" ({way.low:.1%} to {way.high:.1%})"
    cases = {
        "pooled": "",
        "untested": " · no case",
        "unsure": " · no case, which may be chance",
        "walked": f" · {way.cases} case{'s' * (way.cases != 1)}",
    }[way.state]
    return f"{steps_in_words}\n{share}{cases}"


def _bar(node: _Node, name: str) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{}" height="{:.1f}"/>').format(
        "rest" if name == POOLED else "step", node.x, node.y, _BAR, node.height
    )


def _label(node: _Node, name: str, pitch: float) -> Markup:
    share = f"{node.share:.0%}" if node.share >= 0.1 else f"{node.share:.1%}"
    room = pitch - _LETTER * (len(share) + 2)
    return Markup(
        '<text x="{:.1f}" y="{:.1f}" aria-label="{}"><tspan class="share">{}</tspan> {}</text>'
    ).format(node.x, node.y - 5, f"{name}\n{share} of sessions", share, _fitting(name, room))


def _fitting(text: str, room: float) -> str:
    """As much of a text as fits into so many pixels."""
    for taken, letter in enumerate(text):
        room -= _LETTER * (2 if unicodedata.east_asian_width(letter) in "WF" else 1)
        if room < 0:
            return shortened(text, taken)
    return text


def _heads(columns: int, step: str, pitch: float) -> Iterator[Markup]:
    for column in range(columns):
        yield Markup('<text class="head" x="{:.1f}" y="12">{} {}</text>').format(
            _STUB + column * pitch, _ORDINALS[column], step
        )
