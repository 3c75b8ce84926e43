"""The report's section on failures and discrimination, and the plots of it for the UI."""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.reports.failures import failure_content
from evalcov_pipeline.reports.findings import failure_findings, next_steps
from evalcov_pipeline.reports.marks import bars, interval
from evalcov_pipeline.reports.page import render, write_report
from evalcov_pipeline.reports.plots import certificates_table, suite_table
from evalcov_pipeline.reports.suites import goodhart_in_words
from evalcov_pipeline.services.failures.precision import ANY
from evalcov_pipeline.services.report.scored import Scored
from evalcov_pipeline.settings import Settings
from evalcov_pipeline_tests import chromium
from evalcov_pipeline_tests.failure_rows import SIGNALS, TABLES, certificates, write_failures
from evalcov_pipeline_tests.reports.test_report import HOSTILE, Page, assert_inert, change, content

WEEK = datetime(2026, 11, 9)
HINTS = (
    "evalcov run weekly", "evalcov run quarterly", "evalcov ingest incidents FILES",
    "evalcov ingest verdicts FILES", "evalcov ingest results FILES", "evalcov refresh",
)  # fmt: skip


@pytest.fixture(scope="module")
def snapshot(scored: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published score with invented failures, judges and a CI suite beside it."""
    path = tmp_path_factory.mktemp("failures") / "published.duckdb"
    shutil.copyfile(scored.published, path)
    with duckdb.connect(path) as con:
        write_failures(con)
    return path


@pytest.fixture
def failing(scored: Settings, snapshot: Path, tmp_path: Path) -> Settings:
    """A home of that snapshot alone, to be changed."""
    settings = scored.model_copy(update={"home": tmp_path / "home"})
    settings.home.mkdir()
    shutil.copyfile(snapshot, settings.published)
    return settings


def told(scored: Scored) -> str:
    """What the bars of the signals stand for."""
    rows = failure_content(scored.failures, scored.score.as_of)["signals"]
    return "".join(row["bars"] or "" for row in rows)


def page_of(settings: Settings, *statements: str) -> Page:
    page = Page(render(change(settings, *statements), settings))
    assert_inert(page)
    return page


def test_figures_of_failures_are_those_of_the_tables(failing: Settings) -> None:
    text = page_of(failing).text
    for said in (
        "15 turns to look at; 9 wait, 6 labelled, 4 of them bad",
        "rephrase", "14 bad", "78%", "not labelled", "none of them",
        "No case guards 2 of 5 kinds of failure: “wrong_policy”, “lost_parcel”.",
        "6 labelled, 34 assigned", "1.2% 0.4–3.0%", "0/2", "1/2", "2/2",
        "1 of 3 incidents has no case yet",
        "Refused: careful-judge on “returns”, quick-judge on “payments”.",
        "Insufficient, since nothing is labelled yet: warranty .", "TREND ONLY",
        "94% 84–99%", "0.84 0.74 to 0.89",
        "24 cases in about 212 of 300 seconds", "83%",
        "guards incident INC-2 does not decide",
        "on average 13.0 percentage points above fresh cases, and the gap grows",
        "Judge 9 answers: signs of failure, incidents, checks of judges",
    ):  # fmt: skip
        assert said in text
    assert not re.search(r"\bNone\b|\bnan\b", text)


def test_without_failures_the_page_says_how_to_come_by_them(failing: Settings) -> None:
    emptied = change(failing, *(f"DELETE FROM {table}" for table in TABLES))
    page = Page(render(emptied, failing))
    assert_inert(page)
    part = page.text.split("Failures and discrimination")[1]
    for hint in HINTS:
        assert hint in part
    assert not re.search(r"\bNone\b|\bnan\b", part)
    assert failure_findings(emptied.failures) == []


def test_tables_that_know_only_some_things_leave_the_rest_blank(failing: Settings) -> None:
    """No labels, no certificate with figures, a suite without deciding cases or known latencies."""
    text = page_of(
        failing,
        "DELETE FROM signal_precision", "DELETE FROM failure_batches", "DELETE FROM trace_sample",
        "UPDATE failure_audit SET rate = NULL, rate_low = NULL, rate_high = NULL",
        "UPDATE judge_calibration SET verdict = 'INSUFFICIENT', agreement = NULL, kappa = NULL,"
        " agreement_low = NULL, agreement_high = NULL, tpr = NULL, tnr = NULL, leniency = NULL,"
        " leniency_p = NULL, corrected_rate = NULL, verbosity_slope = NULL, n = 0",
        "UPDATE ci_suites SET n_deciding = 0, expected_s = 0, detection_power = 0",
        "UPDATE ci_suite_cases SET decides = false, failure_mode = NULL",
        "UPDATE case_discrimination SET saturated = NULL",
        "UPDATE incidents SET \"at\" = NULL, category = NULL, severity = NULL, status = 'guarded'",
        "UPDATE goodhart_watch SET verdict = 'insufficient', mean_gap = NULL, fresh_cases = 0,"
        " fresh_passed = 0, gap = NULL",
    ).text  # fmt: skip
    assert "turns of the newest week bear a sign of failure; the most frequent" in text
    assert "None of the 24 cases of the suite can decide a gate." in text
    assert "Too little to tell: 0 results of fresh cases so far" in text
    assert "No judge is refused. Certificates: 6 INSUFFICIENT." in text
    assert not re.search(r"\bNone\b(?! of the)|\bnan\b", text)


def test_a_week_without_a_signal_counts_as_none_of_it(failing: Settings) -> None:
    found = change(
        failing, "DELETE FROM failure_signals WHERE signal = 'rephrase' AND as_of ="
        " (SELECT max(as_of) FROM failure_signals)"
    ).failures.signals  # fmt: skip
    assert found.height == 10 * (len(SIGNALS) + 1)
    assert found["signal"].n_unique() == len(SIGNALS) + 1
    newest = found.filter(pl.col("signal") == "rephrase").tail(1)
    assert newest["n_signals"].item() == 0


def test_turns_with_several_signals_count_once_among_any(failing: Settings) -> None:
    found = change(
        failing,
        "INSERT INTO failure_signals BY NAME SELECT * REPLACE ('own' AS signal)"
        " FROM failure_signals WHERE signal = 'rephrase'",
    ).failures.signals
    totals = dict(found.group_by("signal").agg(pl.col("n_signals").sum()).iter_rows())
    assert totals["own"] == totals["rephrase"]
    assert totals[ANY] == sum(n for name, n in totals.items() if name not in ("own", ANY))


def test_a_signal_without_a_threshold_is_silent_and_not_absent(failing: Settings) -> None:
    silence = """
        INSERT INTO signal_thresholds
        SELECT as_of, source, 'rephrase', CASE WHEN source = 'b' THEN {} END, 9, 'too few turns'
        FROM (SELECT max(as_of) AS as_of FROM failure_signals), (VALUES ('a'), ('b')) t(source)"""
    gone = "DELETE FROM failure_signals WHERE signal = 'rephrase' AND as_of = (SELECT max(as_of)"
    for cut, known in (("NULL", None), ("0.5", 0)):
        found = change(
            failing, "DELETE FROM signal_thresholds", silence.format(cut),
            f"{gone} FROM failure_signals)",
        )  # fmt: skip
        newest = found.failures.signals.filter(pl.col("signal") == "rephrase").tail(1)
        assert newest["n_signals"].item() == known
        assert ("silent, no threshold" in told(found)) == (known is None)


def test_weeks_compare_as_rates_where_the_turns_of_each_are_known(failing: Settings) -> None:
    found = content(failing)
    assert found.failures.signals["n_turns"].unique().to_list() == [4000]
    assert "per 1,000" in told(found)
    unknown = change(
        failing,
        "DELETE FROM signal_precision WHERE as_of = (SELECT min(as_of) FROM signal_precision)",
    )
    assert "per 1,000" not in told(unknown)


def test_results_of_refused_judges_are_named_with_their_share(failing: Settings) -> None:
    found = change(
        failing,
        "UPDATE coverage_scores SET refused_results = 15, judge_note = 'Verdicts are refused: <i>'",
    )
    assert (found.failures.n_refused, found.failures.n_results) == (15, 60)
    share = "25% of the results of the scored run are left out of the scores"
    assert share in failure_findings(found.failures)[1]
    text = Page(render(found, failing)).text
    assert "25% of the results of the scored eval run (15)" in text
    assert "Verdicts are refused: <i>." in text


def test_findings_are_three_sentences_at_most_and_none_where_all_is_well(failing: Settings) -> None:
    found = content(failing).failures
    assert [len(re.findall(r"\.$", said)) for said in failure_findings(found)] == [1, 1, 1]
    well = change(
        failing,
        "UPDATE incidents SET status = 'guarded'", "UPDATE judge_calibration SET verdict = 'GATE'",
        "UPDATE failure_audit SET status = 'represented'",
        "UPDATE annotation_queue SET status = 'kept'",
    )  # fmt: skip
    assert failure_findings(well.failures) == []
    assert "findings" not in [attrs.get("class") for _, attrs in Page(render(well, failing)).tags]
    steps = next_steps(well.score, answers=well.answers)
    assert not [step for step in steps if "signs of failure" in step.what]


def test_names_and_texts_of_failures_are_shown_and_never_executed(failing: Settings) -> None:
    planted = " || ".join(HOSTILE[:-1]).replace("'", "''")
    page = page_of(
        failing,
        *(f"UPDATE {table} SET {column} = '{planted}'" for table, column in (
            ("failure_batches", "note"), ("failure_audit", "reason"), ("incidents", "title"),
            ("incidents", "severity"), ("incidents", "category"),
            ("judge_calibration", "reason"), ("judge_calibration", "what_would_change_it"),
            ("judge_calibration", "judge_model"), ("judge_calibration", "notes"),
            ("ci_suites", "note"), ("ci_suite_cases", "reason"),
            ("ci_suite_cases", "failure_mode"), ("case_discrimination", "review"),
            ("texts", "text"), ("failure_audit", "quarter"),
        )),
        *(f"UPDATE {table} SET {column} = '{planted}' || {column}" for table, column in (
            ("failure_signals", "signal"), ("signal_precision", "signal"),
            ("failure_audit", "category"), ("incidents", "incident_id"),
            ("judge_calibration", "judge_id"), ("judge_calibration", "category"),
            ("ci_suite_cases", "incident_id"),
        )),
    )  # fmt: skip
    for text in HOSTILE[:-1]:
        assert text in page.said


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("widening", "learnt by heart"), ("gap", "that the gap grows is not shown"),
        ("none", "which chance may explain"), ("insufficient", "Too little to tell: 12 results"),
    ],
)  # fmt: skip
def test_the_goodhart_watch_says_what_its_tests_say(verdict: str, said: str) -> None:
    watch = pl.DataFrame(
        {
            "verdict": [verdict], "mean_gap": [-0.04], "gap_p_value": [0.31], "slope": [0.02],
            "slope_p_value": [0.01], "fresh_cases": [12],
        }
    )  # fmt: skip
    told = goodhart_in_words(watch)
    assert told is not None
    assert said in told
    if verdict != "insufficient":
        assert "4.0 percentage points below fresh cases" in told


def test_bars_are_as_tall_as_their_values() -> None:
    drawn = bars([0.0, 2.0, 4.0], ["a", "<b>", "c"])
    tall = [float(height) for height in re.findall(r'height="([\d.]+)"/></g>', drawn)]
    assert tall == pytest.approx([0, max(tall) / 2, max(tall)])
    assert "&lt;b&gt;" in drawn
    assert 'height="0.0"' in bars([0.0], ["nothing"])
    assert "unknown" in bars([None, 1.0], ["silent", "one"])


def test_an_interval_stays_on_its_line() -> None:
    for value, low, high in ((0.01, 0.0, 0.2), (0.1, 0.02, 0.4)):
        drawn = interval(value, low, high, "a share", most=0.1)
        (middle,) = re.findall(r'cx="([\d.]+)"', drawn)
        ((start, end),) = re.findall(r'reaches" d="M([\d.]+) [\d.]+H([\d.]+)"', drawn)
        assert 5 <= float(start) <= float(middle) <= float(end) <= 119
    assert "circle" not in interval(None, None, None, "")


@pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium is installed")
def test_a_browser_shows_failures_at_every_width_and_says_what_a_bar_is(
    failing: Settings, tmp_path: Path
) -> None:
    with duckdb.connect(failing.published) as con:
        long = "'" + "w" * 300 + "'"
        con.execute(f"UPDATE incidents SET title = {long}, severity = {long}")
        con.execute(f"UPDATE failure_audit SET category = category || {long}")
        con.execute(f"UPDATE ci_suite_cases SET reason = {long}, failure_mode = {long}")
        con.execute(f"UPDATE judge_calibration SET judge_id = {long}, reason = {long}")
    written = write_report(failing)
    with chromium.page(tmp_path / "profile") as browser:
        for width in (360, 768, 1200):
            browser.resize(width)
            browser.open(written.path.resolve().as_uri())
            assert browser.run("document.documentElement.scrollWidth") <= width
            said = browser.run(
                "const bar = document.querySelector('.bars g');"
                "bar.scrollIntoView(); bar.dispatchEvent(new PointerEvent('pointerover',"
                " {bubbles: true, pointerType: 'mouse', clientX: 90, clientY: 90}));"
                "document.getElementById('tip').innerText"
            )
            assert re.fullmatch(r"Week to \S+: \d+ turns, [\d.]+ per 1,000", said), said
        assert not browser.trouble


def test_certificates_are_tabled_with_the_refused_first() -> None:
    table = certificates_table(pl.DataFrame(certificates(WEEK), infer_schema_length=None))
    heads, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    assert [row[heads.index("verdict")] for row in rows] == [
        "REFUSED", "REFUSED", "INSUFFICIENT", "INSUFFICIENT", "TREND_ONLY", "GATE",
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
