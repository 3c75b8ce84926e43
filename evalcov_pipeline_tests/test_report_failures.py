"""The report's section on failures and discrimination, and the plots of it for the UI."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from evalcov_pipeline.reports.plots import certificates_table, signal_plot, suite_table
from evalcov_pipeline_tests.failure_rows import certificates
from evalcov_pipeline_tests.test_report import HOSTILE

WEEK = datetime(2026, 11, 9)


def test_certificates_are_tabled_with_the_refused_first() -> None:
    table = certificates_table(pl.DataFrame(certificates(WEEK), infer_schema_length=None))
    heads, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    assert [row[heads.index("verdict")] for row in rows] == [
        "REFUSED", "REFUSED", "INSUFFICIENT", "TREND_ONLY", "GATE",
    ]  # fmt: skip
    best = dict(zip(heads, rows[-1], strict=True))
    assert best["judge"] == "careful-judge, some-model, prompt 7"
    assert best["agreement"] == "94% (84% to 99%)"
    assert best["kappa"] == "0.84 (0.74 to 0.89)"
    assert best["leniency"] == "+4%"
    assert best["what would change it"] == "-"
    assert "evalcov ingest verdicts" in certificates_table(
        pl.DataFrame(certificates(WEEK), infer_schema_length=None).clear()
    )


def test_a_suite_is_tabled_in_the_order_of_choice_without_markup_from_data() -> None:
    cases = pl.DataFrame(
        [
            {
                "suite_id": "s", "case_id": name, "rank": rank, "decides": rank > 1,
                "reason": "adds 3 %", "expected_s": 2.0, "failure_mode": name, "pass_rate": 0.97,
                "incident_id": None,
            }
            for rank, name in enumerate([*HOSTILE, "a|b", "![x](http://example.com/x.png)"], 1)
        ]
    ).reverse()  # fmt: skip
    table = suite_table(cases, most=12)
    heads, _, *rows = table.split("\n\n")[0].splitlines()
    assert table.endswith("And 1 more.")
    assert [row.split("|")[1].strip() for row in rows] == [str(i) for i in range(1, 13)]
    assert {row.count("|") for row in rows} == {heads.count("|")}
    assert not {"<", "[", "`"} & set(suite_table(cases, most=20))
    assert "no" in rows[0].split("|")[5]


def test_signals_are_plotted_for_the_ui() -> None:
    weeks = pl.DataFrame(
        {
            "as_of": [WEEK, WEEK, datetime(2026, 11, 2)],
            "signal": ["rephrase", "$\\frac{$ <b>", "rephrase"],
            "n_signals": [3, 0, 9],
        }
    )
    for frame in (weeks, weeks.head(1), weeks.clear()):
        assert signal_plot(frame).startswith(b"\x89PNG")
