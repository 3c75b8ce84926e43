"""Plots and tables for Dagster's UI, as Markdown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from evalcov_pipeline.reports.drawing import shortened
from evalcov_pipeline.reports.judges import VERDICTS, version_of
from evalcov_pipeline.services.failures.precision import ANY, NONE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST_LABEL = 60
_LONGEST_CELL = 200
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
    return _png(figure)


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
    return _table(
        ("path", "of", "share of sessions", "cases"),
        (
            (row["label"], row["kind"], f"{row['production_share']:.1%}", row["eval_cases"])
            for row in untested.iter_rows(named=True)
        ),
    )


def signal_plot(weeks: pl.DataFrame, most: int = 12) -> bytes:
    """Turns with each signal by week, a panel per signal with a scale of its own.

    Args:
        weeks: rows of `signal_precision`, or as_of, signal and n_signals (turns of the week that
            bear it); a week without a row has none.
        most: signals that are drawn, the most frequent first.

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    counts = (
        weeks.filter(~pl.col("signal").is_in([ANY, NONE]))
        .pivot("signal", index="as_of", values="n_signals", aggregate_function="sum")
        .sort("as_of")
        .fill_null(0)
    )
    names = sorted(counts.columns[1:], key=lambda name: (-counts[name].sum(), name))[:most]
    rows = max(1, -(-len(names) // 3))
    figure = Figure(figsize=(8, 1.5 * rows + 0.3), dpi=90, layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False, sharex=True).flat
    for panel, name in zip(panels, [*names, *[None] * (3 * rows - len(names))], strict=True):
        if name is None:
            panel.set_axis_off()
            continue
        panel.bar(range(len(counts)), counts[name], 0.7, color="#3f7fbf")
        panel.set_title(shortened(name, 30), fontsize=8, loc="left", parse_math=False)
        ends = sorted({0, len(counts) - 1})
        panel.set_xticks(ends, [f"{counts['as_of'][i]:%d %b}" for i in ends], fontsize=7)
        panel.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        panel.tick_params(axis="y", labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def certificates_table(certificates: pl.DataFrame) -> str:
    """What each judge may be used for, the refused ones first, as a Markdown table.

    Args:
        certificates: rows of `judge_calibration`, of one week.
    """
    if certificates.is_empty():
        return "No judge has a verdict yet: `evalcov ingest verdicts FILES`."
    order = pl.col("verdict").replace_strict(VERDICTS, default=len(VERDICTS), return_dtype=pl.Int8)
    return _table(
        ("judge", "category", "verdict", "labels", "agreement", "kappa", "TPR", "TNR", "leniency",
         "corrected pass rate", "reason", "what would change it"),
        (
            (
                version_of(row), row["category"], row["verdict"], row["n"],
                _estimate(row, "agreement", ".0%"), _estimate(row, "kappa", ".2f"),
                _estimate(row, "tpr", ".0%"), _estimate(row, "tnr", ".0%"),
                "-" if row["leniency"] is None else f"{row['leniency']:+.0%}",
                _estimate(row, "corrected", ".0%", "corrected_rate"),
                row["reason"], row["what_would_change_it"],
            )
            for row in certificates.sort(order, "judge_id", "category").iter_rows(named=True)
        ),
    )  # fmt: skip


def suite_table(cases: pl.DataFrame, most: int = 60) -> str:
    """Cases of a CI suite in the order of choice, as a Markdown table.

    Args:
        cases: rows of `ci_suite_cases`, of one suite.
        most: how many cases.
    """
    if cases.is_empty():
        return "The suite has no case."
    table = _table(
        ("#", "case", "guards", "incident", "decides", "expected s", "passes", "reason"),
        (
            (
                row["rank"], row["case_id"], row["failure_mode"], row["incident_id"],
                "yes" if row["decides"] else "no", f"{row['expected_s']:.1f}",
                f"{row['pass_rate']:.0%}", row["reason"],
            )
            for row in cases.sort("rank").head(most).iter_rows(named=True)
        ),
    )  # fmt: skip
    return table + (f"\n\nAnd {len(cases) - most} more." if len(cases) > most else "")


def frame_table(rows: pl.DataFrame) -> str:
    """Rows as a Markdown table, as they are."""
    return _table(rows.columns, rows.iter_rows())


def _estimate(row: Mapping[str, Any], name: str, style: str, value: str | None = None) -> str:
    """A figure with its interval."""
    middle, low, high = row[value or name], row[f"{name}_low"], row[f"{name}_high"]
    if middle is None:
        return "-"
    interval = "" if low is None else f" ({low:{style}} to {high:{style}})"
    return format(middle, style) + interval


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what comes from data is shown and never read as markup."""
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = escape(shortened(" ".join(str(value).split()), _LONGEST_CELL))
    return text.replace("|", "&#124;").replace("`", "&#96;").replace("[", "&#91;")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
