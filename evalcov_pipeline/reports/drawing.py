"""Draws SVG that needs no script.

vl-convert (BSD-3-Clause, maintained by the Vega project, no further dependencies) draws Vega-Lite
offline while the page is written: a chart then costs its own kilobytes and prints, follows dark
mode by CSS and works where scripts are blocked. Bokeh and Altair would put 0.9 to 1.3 MB of
JavaScript into every page, plotly 4.8 MB; matplotlib has neither colours that follow the page nor
texts per point.

Colours are CSS variables of the page. What a mark stands for is its `aria-label`, which the page
shows when it is pointed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
    "text": {"color": "var(--muted)", "fontSize": 12, "aria": False},
    "rule": {"color": "var(--muted)", "aria": False},
    "area": {"aria": False},
    "line": {"aria": False},
}


def draw(spec: Spec, *, aria: bool = True) -> Markup:
    """Draw a specification; the size on the page is left to the page.

    The text is safe to insert: vl-convert escapes what comes from data.
    """
    import vl_convert

    config = _CONFIG if aria else {**_CONFIG, "aria": False}
    drawn = vl_convert.vegalite_to_svg(
        {"background": "transparent", **spec, "config": config}, allowed_base_urls=[]
    )
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
    assert size is not None
    width = float(size[1])
    head = f'<svg viewBox="{size[0][9:-1]}" style="max-width:{width:.0f}px" aria-hidden="true"'
    body = re.sub(r' (?:role|aria-roledescription|aria-hidden)="[\w -]*"', "", drawn)
    return Markup(re.sub(r"^<svg [^>]*", head, body))


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def at_sizes(
    widths: Mapping[str, int], chart: Callable[..., Markup], *arguments: Any
) -> dict[str, Markup]:
    """A chart for each kind of screen, since its letters do not shrink with it."""
    return {screen: chart(*arguments, width=width) for screen, width in widths.items()}
