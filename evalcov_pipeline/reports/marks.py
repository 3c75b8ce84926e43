"""Small drawings for the cells of a table: bars over time, a point with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

_BARS = (156, 30)
_INTERVAL = (124, 16)
_FEWEST = 8
"""Weeks that a row of bars has room for at least, so that one week is no wall."""


def bars(values: Sequence[float | None], tips: Sequence[str]) -> Markup:
    """Bars from 0 to the greatest of the values, oldest first, each with what it stands for.

    A value that is not known gets a cross on the floor.
    """
    width, height = _BARS
    step = width / max(len(values), _FEWEST)
    top = max((value for value in values if value is not None), default=0) or 1
    drawn = Markup("")
    for i, (value, tip) in enumerate(zip(values, tips, strict=True)):
        tall = (height - 2) * (value or 0) / top
        mark = (
            Markup('<path class="unknown" d="M{x:.1f} {y}l5 5m-5 0l5 -5"/>').format(
                x=(i + 0.36) * step - 2.5, y=height - 8
            )
            if value is None
            else Markup(
                '<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{tall:.1f}"/>'
            ).format(x=i * step, y=height - 1 - tall, w=0.72 * step, tall=tall)
        )
        drawn += Markup(
            '<g aria-label="{tip}"><rect class="reach" x="{x:.1f}" width="{step:.1f}"'
            ' height="{height}"/>{mark}</g>'
        ).format(tip=tip, x=i * step, step=step, height=height, mark=mark)
    floor = Markup('<path d="M0 {y}H{width}"/>').format(y=height - 0.5, width=width)
    return _svg("bars", width, height, drawn + floor)


def interval(
    value: float | None, low: float | None, high: float | None, tip: str, most: float = 1.0
) -> Markup:
    """A point with its interval on a line from 0 to `most`; the bare line without a value."""
    width, height = _INTERVAL
    left, right, middle = 5, width - 5, height / 2

    def place(share: float) -> float:
        return left + (right - left) * min(max(share / most, 0.0), 1.0)

    ticks = Markup("").join(
        Markup('<path d="M{x:.1f} {top}v{tall}"/>').format(x=place(most * at), top=3, tall=10)
        for at in (0, 0.5, 1)
    )
    drawn = Markup('<path d="M{left} {y}H{right}"/>').format(left=left, right=right, y=middle)
    if value is not None:
        reach = (
            Markup('<path class="reaches" d="M{a:.1f} {y}H{b:.1f}"/>').format(
                a=place(low), b=max(place(high), place(low) + 1), y=middle
            )
            if low is not None and high is not None
            else Markup("")
        )
        drawn += Markup(
            '<g aria-label="{tip}"><rect class="reach" width="{width}" height="{height}"/>{reach}'
            '<circle cx="{x:.1f}" cy="{y}" r="4"/></g>'
        ).format(tip=tip, width=width, height=height, reach=reach, x=place(value), y=middle)
    return _svg("interval", width, height, ticks + drawn)


def _svg(kind: str, width: int, height: int, drawn: Markup) -> Markup:
    head = '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" aria-hidden="true">'
    return Markup(head).format(kind, width, height, width, height) + drawn + Markup("</svg>")
