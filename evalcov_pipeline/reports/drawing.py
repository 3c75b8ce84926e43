"""Draws SVG that needs no script.

vl-convert (BSD-3-Clause, maintained by the Vega project, no further dependencies) draws Vega-Lite
offline while the page is written: a chart then costs its own kilobytes and prints, follows dark
mode by CSS and works where scripts are blocked. Bokeh and Altair would put 0.9 to 1.3 MB of
JavaScript into every page, plotly 4.8 MB; matplotlib has neither colours that follow the page nor
texts per point.

Colours are CSS variables of the page, in a picture apart from it those of its light mode. What a
mark stands for is its `aria-label`, which the page shows when it is pointed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from markupsafe import Markup

Spec = dict[str, Any]

LETTER = 8.4
"""Width of a letter of a label at most, in pixels."""
FULL = {"phone": 268, "tablet": 600, "desktop": 900}
"""Widths by screen of a plot as wide as the page, without its axes, in pixels."""
_CONFIG: Spec = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "labelFontSize": 12,
        "titleColor": "var(--muted)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "aria": False,
    },
    "header": {"labelColor": "var(--muted)", "labelFontSize": 12},
    "legend": {"labelColor": "var(--muted)", "labelFontSize": 12},
    "text": {"color": "var(--muted)", "fontSize": 12, "aria": False},
    "rule": {"color": "var(--muted)", "aria": False},
    "area": {"aria": False},
    "line": {"aria": False},
}


def draw(spec: Spec, *, aria: bool = True) -> Markup:
    """Draw a specification; the size on the page is left to the page.

    The text is safe to insert: vl-convert escapes what comes from data.
    """
    drawn = _svg(spec, "transparent", aria)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
    assert size is not None
    width = float(size[1])
    head = f'<svg viewBox="{size[0][9:-1]}" style="max-width:{width:.0f}px" aria-hidden="true"'
    body = re.sub(r' (?:role|aria-roledescription|aria-hidden)="[\w -]*"', "", drawn)
    return Markup(re.sub(r"^<svg [^>]*", head, body))


def picture(spec: Spec) -> str:
    """Draw a specification as an SVG file of its own, on a white ground."""
    drawn = _svg(spec, "var(--page)", aria=False)
    return re.sub(r"var\(--([\w-]+)\)", lambda name: _light_colours()[name[1]], drawn)


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def at_sizes(
    widths: Mapping[str, int], chart: Callable[..., Markup], *arguments: Any
) -> dict[str, Markup]:
    """A chart for each kind of screen, since its letters do not shrink with it."""
    return {screen: chart(*arguments, width=width) for screen, width in widths.items()}


def weeks_axis(weeks: Sequence[datetime], shown: Sequence[datetime]) -> Spec:
    """Weeks as places on the x axis, where the field `week` holds their `week_name`.

    Args:
        weeks: in order.
        shown: those with a label.
    """
    return {
        "field": "week",
        "type": "ordinal",
        "title": None,
        "scale": {"domain": [week_name(week) for week in weeks]},
        "axis": {
            "values": [week_name(week) for week in shown],
            "labelExpr": "slice(datum.label, 0, 6)",
            "labelAngle": 0,
            "ticks": False,
        },
    }


def week_name(week: datetime) -> str:
    """What a week is called in the data of `weeks_axis`."""
    return f"{week:%d %b %Y}"


def _svg(spec: Spec, background: str, aria: bool) -> str:
    import vl_convert

    config = _CONFIG if aria else {**_CONFIG, "aria": False}
    return vl_convert.vegalite_to_svg(
        {"background": background, **spec, "config": config}, allowed_base_urls=[]
    )


@cache
def _light_colours() -> dict[str, str]:
    """Colours of the page's light mode, which its style sheet states first."""
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--([\w-]+): (#\w+);", style.partition("}")[0]))
