"""Plots for Dagster's UI: pictures that need nothing but themselves."""

from __future__ import annotations

import base64
from collections import Counter
from datetime import datetime
from xml.etree import ElementTree

import polars as pl
import pytest

from evalcov_pipeline.reports.plots import cluster_bars, signal_plot
from evalcov_pipeline.services.failures.precision import ANY, NONE

SVG = "{http://www.w3.org/2000/svg}"
WEEKS = [datetime(2026, 11, 2), datetime(2026, 11, 9)]
HOSTILE = ["$\\frac{$ <b>", "</text><script>alert(1)</script>", "a|b](javascript:alert(1))", "返品"]
GAP, THIN, PAGE = "#d9700a", "#7fb2dd", "#ffffff"


def drawing(markdown: str) -> ElementTree.Element:
    """The picture in a Markdown image."""
    before, _, data = markdown.removesuffix(")").partition("base64,")
    assert before == "![plot](data:image/svg+xml;"
    return ElementTree.fromstring(base64.b64decode(data, validate=True))


def bars(picture: ElementTree.Element) -> list[dict[str, str]]:
    """Attributes of every bar, in the order of drawing."""
    return [
        path.attrib
        for group in picture.iter(f"{SVG}g")
        if "mark-rect role-mark" in group.get("class", "")
        for path in group.iter(f"{SVG}path")
    ]


def clusters(n: int, **columns: object) -> pl.DataFrame:
    """Gaps of falling shares."""
    rows = {
        "label": [f"cluster {i}" for i in range(n)],
        "status": ["gap"] * n,
        "production_share": [(n - i) / 1000 for i in range(n)],
        "eval_share": [0.1] * n,
    }
    return pl.DataFrame(rows | columns)


@pytest.fixture
def signals() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "as_of": [WEEKS[1], WEEKS[1], WEEKS[0], WEEKS[1], WEEKS[1]],
            "signal": ["rephrase", HOSTILE[0], "rephrase", ANY, NONE],
            "n_signals": [3, 1, 9, 12, 200],
        }
    )


def test_every_cluster_has_a_bar_of_production_and_one_of_the_suite() -> None:
    frame = clusters(3, status=["gap", "thin", "thin"], eval_share=[None, 0.2, 0.0])
    drawn = Counter(bar["fill"] for bar in bars(drawing(cluster_bars(frame))))
    assert drawn == {GAP: 1, THIN: 2, PAGE: 1}


def test_the_largest_clusters_are_drawn() -> None:
    picture = drawing(cluster_bars(clusters(30).reverse(), most=4))
    assert len(bars(picture)) == 8
    assert [text for text in picture.itertext() if text.startswith("cluster ")] == [
        "cluster 0", "cluster 1", "cluster 2", "cluster 3",
    ]  # fmt: skip


def test_clusters_of_one_name_stay_apart() -> None:
    picture = drawing(cluster_bars(clusters(3, label=["same"] * 3)))
    assert len(bars(picture)) == 6
    assert list(picture.itertext()).count("same") == 3


def test_names_are_shown_and_never_read_as_markup() -> None:
    markdown = cluster_bars(clusters(4, label=HOSTILE))
    picture = drawing(markdown)
    assert set(HOSTILE) <= set(picture.itertext())
    assert not list(picture.iter(f"{SVG}script"))
    assert markdown.count("(") == markdown.count(")") == 1


def test_a_picture_needs_no_style_sheet_and_stays_small() -> None:
    """It is kept in Dagster's event log, once a week."""
    label = [f"{i}: two or more turns, various tools, 40 % repeat a tool" for i in range(40)]
    markdown = cluster_bars(clusters(40, label=label))
    assert len(markdown) < 40_000
    text = ElementTree.tostring(drawing(markdown), encoding="unicode")
    assert "var(" not in text
    assert "<style" not in text


def test_each_signal_has_a_panel_with_its_weeks(signals: pl.DataFrame) -> None:
    picture = drawing(signal_plot(signals))
    assert len(bars(picture)) == 3
    texts = list(picture.itertext())
    assert {"rephrase", HOSTILE[0], "02 Nov", "09 Nov"} <= set(texts)
    assert not {ANY, NONE} & set(texts)
    assert texts.index("rephrase") < texts.index(HOSTILE[0])


def test_the_most_frequent_signals_are_drawn(signals: pl.DataFrame) -> None:
    picture = drawing(signal_plot(signals, most=1))
    assert len(bars(picture)) == 2
    assert HOSTILE[0] not in picture.itertext()


@pytest.mark.parametrize("rows", [0, 1])
def test_one_week_or_none_is_plotted_too(signals: pl.DataFrame, rows: int) -> None:
    assert len(bars(drawing(signal_plot(signals.head(rows))))) == rows


def test_no_cluster_is_plotted_too() -> None:
    assert bars(drawing(cluster_bars(clusters(2).clear()))) == []
