"""The report's section on whole sessions: what it says, draws and never executes."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import orjson
import polars as pl
import pytest

from evalcov_pipeline.cli import main
from evalcov_pipeline.reports.beginnings import END, MOST_STEPS, POOLED, beginnings
from evalcov_pipeline.reports.compounding import in_words
from evalcov_pipeline.reports.findings import doubts, next_steps
from evalcov_pipeline.reports.flow import flow
from evalcov_pipeline.reports.page import render, write_report
from evalcov_pipeline.reports.plots import cluster_bars, path_table
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline_tests import chromium
from evalcov_pipeline_tests.reports.test_plots import drawing
from evalcov_pipeline_tests.reports.test_report import HOSTILE, Page, assert_inert, change, content
from evalcov_pipeline_tests.session_rows import TABLES, TOOLS, paths, walks, write_sessions


@pytest.fixture(scope="module")
def snapshot(scored: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published score with invented sessions beside it."""
    path = tmp_path_factory.mktemp("sessions") / "published.duckdb"
    shutil.copyfile(scored.published, path)
    with duckdb.connect(path) as con:
        write_sessions(con)
    return path


@pytest.fixture
def sessions_home(scored: Settings, snapshot: Path, tmp_path: Path) -> Settings:
    """A home of that snapshot alone, to be changed."""
    settings = scored.model_copy(update={"home": tmp_path / "home"})
    settings.home.mkdir()
    shutil.copyfile(snapshot, settings.published)
    return settings


def page_of(settings: Settings, *statements: str) -> Page:
    return Page(render(change(settings, *statements), settings))


def tool_paths(n_tools: int = 6, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    tools = [f"tool-{number}" for number in range(n_tools)]
    return paths("tools", walks(800, tools, rng), walks(40, tools[:3], rng, stay=0.3), {})


def test_sessions_stand_between_the_gaps_and_the_suite(sessions_home: Settings) -> None:
    html = render(content(sessions_home), sessions_home)
    titles = re.findall("<h2>(.*)</h2>", html)
    at = titles.index("Sessions")
    assert titles[at - 1 : at + 2] == ["Largest gaps", "Sessions", "The suite"]
    page = Page(html)
    assert_inert(page)
    assert not re.search(r"\bNone\b(?! of the)|\bnan\b", page.text)


def test_without_a_score_of_sessions_nothing_is_said_of_them(sessions_home: Settings) -> None:
    page = page_of(sessions_home, *(f"DELETE FROM {table}" for table in TABLES))
    assert "Sessions" not in page.texts
    assert "several turns" not in page.text


def test_figures_of_sessions_are_those_of_the_tables(sessions_home: Settings) -> None:
    scored = content(sessions_home)
    assert scored.sessions is not None
    score = scored.sessions.score
    text = Page(render(scored, sessions_home)).text
    for said in (
        score.verdict, "0.31 95 % interval 0.26 to 0.37", f"{score.covered_share:.0%}",
        f"{score.n_multi_turn} of {score.n_eval}", *score.notes,
        "diverge by 0.34 between sessions and cases. 0.11 of it is order : what",
        "search → book → cancel", "33% , 61% given up",
        "where is my order / cancel it then",
    ):  # fmt: skip
        assert said in text


def test_an_order_that_chance_explains_is_not_called_a_finding(sessions_home: Settings) -> None:
    text = page_of(sessions_home, "UPDATE sequence_scores SET order_p_value = .4").text
    assert "of it is order :" not in text
    assert "Chance may explain what of it is order (0.11), p = 0.400" in text


@pytest.mark.parametrize("n_tools", [4, 60])
def test_what_leaves_a_step_is_what_came_to_it(n_tools: int) -> None:
    found = beginnings(tool_paths(n_tools), 3)
    came = {way.steps: way.share for way in found} | {(): 1.0}
    assert max(len(way.steps) for way in found) == 3
    for steps, share in came.items():
        if len(steps) < 3 and not {END, POOLED} & set(steps):
            left = sum(way.share for way in found if way.steps[:-1] == steps)
            assert left == pytest.approx(share, abs=0.001), steps


def test_a_column_names_at_most_so_many_steps_and_pools_the_others() -> None:
    found = beginnings(tool_paths(60), 3)
    for column in (1, 2, 3):
        steps = {way.steps[-1] for way in found if len(way.steps) == column}
        assert len(steps - {END, POOLED}) <= MOST_STEPS
    assert (POOLED,) in {way.steps for way in found}


def test_a_ribbon_is_solid_only_where_a_case_goes() -> None:
    rows = tool_paths()
    drawn = flow(rows, {}, "tool call", 640)
    for way in beginnings(rows, 3):
        if way.state != "pooled":
            assert (way.state == "walked") == (way.cases > 0)
    untested = [way for way in beginnings(rows, 3) if way.state == "untested"]
    assert drawn.count('class="stripes"') == len(untested) > 0


def test_a_tool_whose_name_holds_the_joint_is_not_taken_for_two() -> None:
    rows = tool_paths().with_columns(
        ngram=pl.col("ngram").str.replace_all("tool-0", "read > write", literal=True)
    )
    steps = {step for way in beginnings(rows, 3) for step in way.steps}
    assert not {"read", "write", "read > write"} & steps
    assert sum(way.share for way in beginnings(rows, 3) if len(way.steps) == 1) == pytest.approx(1)


def test_untested_paths_are_listed_by_how_much_they_are_travelled(sessions_home: Settings) -> None:
    scored = content(sessions_home)
    assert scored.sessions is not None
    untested = scored.sessions.untested_paths
    assert untested["production_share"].is_sorted(descending=True)
    assert set(untested["eval_cases"]) == {0}
    never = untested.filter(pl.col("ngram") == "book").to_dicts()[0]
    page = Page(render(scored, sessions_home))
    assert f"{never['production_share']:.0%} book" in page.text


def test_hostile_tools_and_labels_are_shown_and_never_executed(sessions_home: Settings) -> None:
    with duckdb.connect(sessions_home.published) as con:
        write_sessions(con, tools=[*HOSTILE[:5], TOOLS[0]])
    planted = " || ".join(HOSTILE).replace("'", "''")
    page = page_of(
        sessions_home,
        *(f"UPDATE {table} SET {column} = '{planted}' || {column}" for table, column in (
            ("session_coverage", "label"), ("session_scores", "verdict"),
            ("session_compounding", "label"), ("cluster_coverage", "label"),
            ("sequence_coverage", "label"),
        )),
        "UPDATE session_clusters SET exemplars = list_transform(exemplars, x ->"
        f" '{planted}' || x)",
        f"UPDATE session_scores SET notes = ['{planted}']",
        f"UPDATE sequence_scores SET note = '{planted}'",
    )  # fmt: skip
    assert_inert(page)
    for text in HOSTILE[:-1]:
        assert text in page.said
    table = path_table(pl.DataFrame({
        "kind": "tools", "label": "<b>|\n", "status": "gap", "minimal": True, "ngram": "x",
        "production_share": 0.2, "eval_cases": 0,
    }))  # fmt: skip
    assert table.splitlines()[2:] == ["| &lt;b&gt;&#124; | tools | 20.0% | 0 |"]


def test_outcomes_that_nobody_captured_are_left_out_and_said(sessions_home: Settings) -> None:
    page = page_of(
        sessions_home,
        "UPDATE session_coverage SET success_rate = NULL, abandoned_rate = NULL",
        "UPDATE session_compounding SET observed = NULL, observed_low = NULL,"
        " observed_high = NULL, n_known = 0",
        "UPDATE session_features SET outcome = 'unknown'",
    )
    assert "No outcome of a session was captured" in page.text
    assert "given up" not in page.text
    assert "No outcome is known, so that how sessions ended is not shown" in page.text


def test_a_suite_without_cases_and_sessions_without_tools_have_a_section(
    sessions_home: Settings,
) -> None:
    undefined = ", ".join(
        f"{column} = NULL" for column in ("jsd", "jsd_adjusted", "jsd_ci_low", "jsd_ci_high")
    )
    page = page_of(
        sessions_home,
        f"UPDATE session_scores SET n_eval = 0, n_multi_turn = 0, band = NULL, {undefined}",
        "DELETE FROM case_features",
        "DELETE FROM session_taxonomies",
        "DELETE FROM sequence_coverage",
        "DELETE FROM sequence_scores WHERE kind = 'tools'",
        f"UPDATE sequence_scores SET note = 'no cases', order_adjusted = NULL, {undefined}",
        "DELETE FROM session_compounding",
        "UPDATE session_coverage SET eval_share = NULL, coverage_ratio = NULL, eval_cases = 0",
        "UPDATE session_features SET tools_known = false, tools = []",
    )
    assert_inert(page)
    assert not re.search(r"\bNone\b|\bnan\b", page.text)
    for said in ("No tool calls were recorded.", "no cases", "Tool calls were not recorded:"):
        assert said in page.text


@pytest.mark.parametrize(
    ("change_", "said"),
    [
        ("UPDATE session_scores SET n_multi_turn = 2", "2 of 60 cases have several turns"),
        ("UPDATE case_features SET tools_known = false", "100% of cases do not name all"),
        ("UPDATE session_taxonomies SET n_texts = 40", "only 40 distinct sessions"),
        ("UPDATE session_taxonomies SET stability = .3", "agrees only to 0.30"),
    ],
)
def test_doubts_follow_from_what_was_recorded(
    sessions_home: Settings, change_: str, said: str
) -> None:
    found = doubts(change(sessions_home, "UPDATE session_scores SET n_multi_turn = 30", change_))
    assert any(said in doubt for doubt in found)


def groups(**columns: list[object]) -> pl.DataFrame:
    """Ranges of turns as in `session_compounding`."""
    n = len(columns["name"])
    return pl.DataFrame(
        {
            "grouping": ["length"] * n, "label": [f"{name} turns" for name in columns["name"]],
            "step_success": [0.94] * n, "predicted": [0.61] * n, "flawless": [0.74] * n,
            "flawless_low": [0.68] * n, "flawless_high": [0.8] * n,
            **columns,
        }
    )  # fmt: skip


def test_compounding_is_said_of_the_longest_sessions_that_tell_something() -> None:
    rows = groups(
        name=["1", "5-7", "8-12", "13+"], mean_turns=[1.0, 5.8, 8.0, 15.0],
        verdict=["undecidable", "independent", "clustered", "undecidable"],
    )  # fmt: skip
    assert in_words(rows) == (
        "At 94% per turn, 8-12 turns come to 61% without a failed turn if turns failed"
        " independently; 74% (68% to 80%) were seen: failures come together."
    )
    unknown = in_words(groups(name=["1", "2"], mean_turns=[1.0, 2.0], verdict=["undecidable"] * 2))
    assert unknown is not None
    assert unknown.endswith("too few sessions to tell these apart.")
    assert in_words(groups(name=["1"], mean_turns=[1.0], verdict=["undecidable"])) is None


def test_a_good_suite_that_leaves_paths_untested_is_told_to_draw_whole_sessions(
    sessions_home: Settings,
) -> None:
    scored = content(sessions_home)
    good = replace(scored.score, degraded=False, band="good", eval_score=0.9)
    step = next_steps(good, sessions=scored.sessions)[0]
    assert (step.command, "whole sessions" in step.what) == ("evalcov refresh", True)
    assert next_steps(good)[0].command == "evalcov run weekly"
    degraded = next_steps(replace(good, degraded=True), sessions=scored.sessions)
    assert [step.command for step in degraded] == ["evalcov refresh"]


def test_status_tells_of_sessions_in_words_and_as_json(
    sessions_home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(sessions_home.home))
    said = []
    for arguments in ([], ["--json"]):
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main(["status", *arguments])
        assert ended.value.code == 0
        said.append(capsys.readouterr().out)
    get_settings.cache_clear()
    assert "sessions   divergence 0.31 (degraded);" in said[0]
    told = orjson.loads(said[1])
    assert told["session_score"]["jsd_adjusted"] == 0.31
    assert [row["kind"] for row in told["session_sequences"]] == ["queries", "tools"]
    assert {row["status"] for row in told["session_paths"]} == {"gap"}


def test_kinds_of_session_are_plotted_for_the_ui(sessions_home: Settings) -> None:
    scored = content(sessions_home)
    assert scored.sessions is not None
    for label in (pl.col("label"), pl.lit("$\\frac{$ <b>").alias("label")):
        drawn = drawing(cluster_bars(scored.sessions.clusters.with_columns(label)))
        shown = {text[:30] for text in drawn.itertext()}
        assert {name[:30] for name in scored.sessions.clusters.select(label)["label"]} <= shown
    rows = path_table(scored.sessions.paths, most=3).splitlines()[2:]
    assert [row.split("|")[2].strip() for row in rows].count("tools") == 3


@pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium is installed")
def test_a_browser_shows_ribbons_at_every_width_and_says_what_they_are(
    sessions_home: Settings, tmp_path: Path
) -> None:
    written = write_report(sessions_home)
    with chromium.page(tmp_path / "profile") as browser:
        for width in (360, 768, 1200):
            browser.resize(width)
            browser.open(written.path.resolve().as_uri())
            assert browser.run("document.documentElement.scrollWidth") <= width
            seen = (
                "[...document.querySelectorAll('.flow svg')].filter(one => one.checkVisibility())"
            )
            assert browser.run(f"{seen}.length") == 2
            told = browser.run(
                f"const ribbon = {seen}[0].querySelector('.walked');"
                "ribbon.scrollIntoView(); ribbon.dispatchEvent(new PointerEvent('pointerover',"
                " {bubbles: true, pointerType: 'mouse', clientX: 90, clientY: 90}));"
                "document.getElementById('tip').innerText"
            )
            assert re.search(r"\d% of sessions .* · \d+ case", told), told
        assert not browser.trouble
