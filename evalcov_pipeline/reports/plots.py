"""Plots and tables for Dagster's UI, as Markdown."""

from __future__ import annotations

import base64
import io
from html import escape

import polars as pl

from evalcov_pipeline.reports.drawing import shortened

_LONGEST_LABEL = 60
_COLOURS = {
    "liability": "#b3261e",
    "gap": "#e8710a",
    "undecidable": "#f2c14e",
    "thin": "#9bc1e6",
    "covered": "#3f7fbf",
    "over_represented": "#7a5ea8",
    "novel": "#9e9e9e",
}


def markdown_image(png: bytes) -> str:
    """A PNG as Markdown that carries its own data."""
    return f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})"


def cluster_bars(clusters: pl.DataFrame, most: int = 25) -> bytes:
    """Production share and suite share of the largest clusters, side by side.

    Args:
        clusters: rows of `cluster_coverage` or `session_coverage`.
        most: how many clusters.

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = clusters.sort("production_share", descending=True).head(most).reverse()
    figure = Figure(figsize=(8, 0.26 * len(rows) + 1.1), dpi=90, layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    colours = [_COLOURS[status] for status in rows["status"]]
    axes.barh([y + 0.2 for y in places], rows["production_share"], 0.38, color=colours)
    suite = rows["eval_share"].fill_null(0.0)
    axes.barh([y - 0.2 for y in places], suite, 0.38, color="white", edgecolor="black", lw=0.8)
    labels = [shortened(label, _LONGEST_LABEL) for label in rows["label"]]
    axes.set_yticks(list(places), labels, fontsize=8, parse_math=False)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    seen = [status for status in _COLOURS if status in set(rows["status"])]
    handles = [Patch(color=_COLOURS[s], label=f"production: {s}") for s in seen]
    handles.append(Patch(facecolor="white", edgecolor="black", label="eval suite"))
    axes.legend(handles=handles, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def path_table(paths: pl.DataFrame, most: int = 10) -> str:
    """The most travelled paths that no case walks, as a Markdown table.

    Args:
        paths: rows of `sequence_coverage`.
        most: how many paths of each kind.
    """
    untested = paths.filter((pl.col("status") == "gap") & pl.col("minimal"))
    if untested.is_empty():
        return "Chance may explain every path that no case walks."
    untested = (
        untested.sort("production_share", "ngram", descending=[True, False])
        .group_by("kind", maintain_order=True)
        .head(most)
    )
    lines = ["| path | of | share of sessions | cases |", "|---|---|---|---|"]
    for row in untested.iter_rows(named=True):
        label = escape(row["label"]).replace("|", "&#124;").replace("\n", " ")
        lines.append(
            f"| {label} | {row['kind']} | {row['production_share']:.1%} | {row['eval_cases']} |"
        )
    return "\n".join(lines)
