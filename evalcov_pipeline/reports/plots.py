"""Plots and tables for Dagster's UI, as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import polars as pl

from evalcov_pipeline.reports.drawing import Spec, picture, shortened, week_name, weeks_axis
from evalcov_pipeline.reports.judges import VERDICTS, version_of
from evalcov_pipeline.services.failures.precision import ANY, NONE

_LABEL_WIDTH = 360
_LONGEST_CELL = 200
_STATUSES = (
    "liability", "gap", "undecidable", "thin", "covered", "over_represented", "novel",
)  # fmt: skip
_SUITE = "eval suite"


def cluster_bars(clusters: pl.DataFrame, most: int = 25) -> str:
    """Production share and suite share of the largest clusters, as a Markdown image.

    Args:
        clusters: rows of `cluster_coverage` or `session_coverage`.
        most: how many clusters.
    """
    largest = clusters.sort("production_share", descending=True).head(most)
    rows = [
        {
            "place": place, "label": row["label"], "status": f"production: {row['status']}",
            "production": row["production_share"], "suite": row["eval_share"] or None,
        }
        for place, row in enumerate(largest.iter_rows(named=True))
    ]  # fmt: skip
    colours = {
        f"production: {status}": f"var(--{status})"
        for status in _STATUSES
        if status in largest["status"]
    }
    scale = {"domain": [*colours, _SUITE], "range": [*colours.values(), "var(--page)"]}
    legend = {"title": None, "orient": "top", "columns": 3}
    fill = {"type": "nominal", "scale": scale, "legend": legend}
    stroke = {**fill, "scale": {**scale, "range": [*colours.values(), "var(--ink)"]}}
    bar = {"type": "bar", "height": 9, "strokeWidth": 0.8}
    share = {
        "type": "quantitative",
        "title": None,
        "stack": None,
        "axis": {"tickCount": 6, "format": "%"},
    }
    return _image(
        {
            "width": 420,
            "height": {"step": 24},
            "data": {"values": rows},
            "encoding": {"y": {"field": "place", "type": "ordinal", "axis": None}},
            "layer": [
                {
                    "mark": {**bar, "yOffset": -5},
                    "encoding": {
                        "x": {**share, "field": "production"},
                        "fill": {**fill, "field": "status"},
                        "stroke": {**stroke, "field": "status"},
                    },
                },
                {
                    "mark": {**bar, "yOffset": 5},
                    "encoding": {
                        "x": {**share, "field": "suite"},
                        "fill": {**fill, "datum": _SUITE},
                        "stroke": {**stroke, "datum": _SUITE},
                    },
                },
                {
                    "mark": {"type": "text", "align": "right", "dx": -6, "limit": _LABEL_WIDTH},
                    "encoding": {"x": {"value": 0}, "text": {"field": "label"}},
                },
            ],
        }
    )


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


def signal_plot(weeks: pl.DataFrame, most: int = 12) -> str:
    """Turns with each signal by week, a panel per signal with a scale of its own.

    Args:
        weeks: rows of `signal_precision`, or as_of, signal and n_signals (turns of the week that
            bear it); a week without a row has none.
        most: signals that are drawn, the most frequent first.

    Returns:
        A Markdown image.
    """
    signals = weeks.filter(~pl.col("signal").is_in([ANY, NONE]))
    names = (
        signals.group_by("signal")
        .agg(pl.col("n_signals").sum())
        .sort("n_signals", "signal", descending=[True, False])["signal"]
        .head(most)
        .to_list()
    )
    instants = signals["as_of"].unique().sort().to_list()
    counts = [
        {"signal": row["signal"], "week": week_name(row["as_of"]), "turns": row["n_signals"]}
        for row in signals.filter(pl.col("signal").is_in(names)).iter_rows(named=True)
    ]
    return _image(
        {
            "data": {"values": counts},
            "columns": 3,
            "spacing": 18,
            "facet": {
                "field": "signal",
                "type": "nominal",
                "sort": names,
                "header": {"title": None, "labelAnchor": "start", "labelLimit": 200},
            },
            "resolve": {"scale": {"y": "independent"}},
            "spec": {
                "width": 200,
                "height": 90,
                "mark": {"type": "bar", "width": {"band": 0.7}, "color": "var(--divergence)"},
                "encoding": {
                    "x": weeks_axis(instants, instants[:: len(instants) - 1 or 1]),
                    "y": {
                        "field": "turns",
                        "type": "quantitative",
                        "title": None,
                        "axis": {"tickCount": 3, "tickMinStep": 1, "format": "d", "minExtent": 28},
                    },
                },
            },
        }
    )


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


def _image(spec: Spec) -> str:
    """A drawn specification as Markdown that carries its own data."""
    data = base64.b64encode(picture(spec).encode()).decode()
    return f"![plot](data:image/svg+xml;base64,{data})"
