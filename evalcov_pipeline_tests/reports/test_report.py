"""The HTML report: what it says in every state, that nothing in it runs or is fetched, its size."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.cli import BAD_INPUT, main
from evalcov_pipeline.cli.status import read_status
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.reports import charts
from evalcov_pipeline.reports.findings import find_gaps, next_steps
from evalcov_pipeline.reports.page import render, write_report
from evalcov_pipeline.reports.traffic_map import MOST_POINTS
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.report.scored import Scored, read_scored
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.published import reading
from evalcov_pipeline.storage.warehouse import frame
from evalcov_pipeline_tests.conftest import LAST_WEEK, quick_settings
from evalcov_pipeline_tests.scores import query_score

MEGABYTE = 1_000_000
HOSTILE = [
    "<script>alert(1)</script>", "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>', "'onmouseover='alert(4)", "{{ 7 * 7 }}{% raw %}",
    "]]><!-- -->", ' role="', "\u202eright to left", "مرحبا بالعالم", "😀🏴‍☠️", "w" * 3000,
]  # fmt: skip
SECTIONS = [
    "Trend", "Clusters", "Map of traffic", "Largest gaps", "Sessions", "The suite",
    "Failures and discrimination", "How sure are these numbers", "What to do next",
]  # fmt: skip


class Page(HTMLParser):
    """A page as a browser takes it in: elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def said(self) -> str:
        """All text that a person may get to see: text and labels of marks."""
        labels = (value for _, attrs in self.tags for value in attrs.values() if value)
        return self.text + "\n".join(labels)


def content(settings: Settings) -> Scored:
    with reading(settings.published) as con:
        scored = read_scored(con)
    assert scored is not None
    return scored


def change(settings: Settings, *statements: str) -> Scored:
    """What the report reads after changes to the snapshot."""
    with duckdb.connect(settings.published) as con:
        for statement in statements:
            con.execute(statement)
    return content(settings)


def assert_inert(page: Page) -> None:
    """Nothing is loaded and nothing runs but the page's own script, which the policy pins."""
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        attrs["content"] or ""
        for tag, attrs in page.tags
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src ([^;]*)", policy)[1] == f"'sha256-{digest}'"  # type: ignore[index]
    names = {tag for tag, _ in page.tags}
    assert not names & {"img", "image", "iframe", "object", "embed", "base", "form", "a", "use"}
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert not {"src", "srcdoc", "xlink:href", "action", "data"} & set(attrs), (tag, attrs)
        assert attrs.get("href") in (None, "data:,")
        assert "url(" not in (attrs.get("style") or "")


def test_a_weekly_run_writes_the_report_of_the_score_that_it_published(scored: Settings) -> None:
    html = scored.report.read_text("utf-8")
    page = Page(html)
    score = read_status(scored).score
    assert score.verdict in page.text
    assert f"week to {score.as_of.day} {score.as_of:%b %Y}" in page.text
    assert re.findall("<h2>(.*)</h2>", html) == SECTIONS


def test_the_report_is_one_file_that_loads_nothing(scored: Settings) -> None:
    html = scored.report.read_text("utf-8")
    assert_inert(Page(html))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)


def test_key_figures_are_those_of_the_tables(scored: Settings) -> None:
    score = read_status(scored).score
    text = Page(scored.report.read_text("utf-8")).text
    for figure in (
        f"{score.jsd_adjusted:.2f}", f"{score.covered_share:.0%}",
        f"{score.eval_score:.0%}", f"{score.p_value:.3f}", f"{score.null_mean:.2f}",
        f"{score.attainable_jsd:.3f}", f"{score.n_production:,} sampled turns",
    ):  # fmt: skip
        assert figure in text


def test_every_active_case_is_placed_in_the_cluster_that_counts_it(scored: Settings) -> None:
    with reading(scored.published) as con:
        counted = frame(
            con,
            "SELECT as_of, cluster_id, eval_cases FROM cluster_coverage WHERE eval_cases > 0"
            " ORDER BY ALL",
        )
        placed = frame(
            con,
            "SELECT as_of, cluster_id, count(*) AS eval_cases FROM eval_coverage"
            " WHERE map_x IS NOT NULL AND map_y IS NOT NULL GROUP BY ALL ORDER BY ALL",
        )
    assert placed.equals(counted)


def test_planted_markup_is_shown_and_never_executed(copy: Settings) -> None:
    planted = " || ".join(HOSTILE).replace("'", "''")
    scored = change(
        copy,
        *(f"UPDATE {table} SET {column} = '{planted}' || {column}" for table, column in (
            ("texts", "text"), ("cluster_coverage", "label"), ("coverage_scores", "judge_id"),
            ("coverage_scores", "diagnosis_reason"), ("coverage_scores", "verdict"),
            ("eval_case_versions", "origin"), ("eval_case_versions", "case_id"),
            ("eval_coverage", "case_id"),
        )),
        "UPDATE coverage_scores SET judge_id = judge_id || as_of",
        "UPDATE clusters SET exemplars = list_transform(exemplars, x ->"
        f" '{planted}' || x), label = '{planted}' || label",
        "UPDATE cluster_coverage SET status = 'gap' WHERE cluster_id = 0",
    )  # fmt: skip
    page = Page(render(scored, copy))
    assert_inert(page)
    for text in HOSTILE[:-1]:
        assert text in page.said


def test_without_a_score_the_page_says_what_to_do(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "home")
    written = write_report(settings)
    assert written.verdict is None
    page = Page(written.path.read_text("utf-8"))
    assert_inert(page)
    assert "No score yet" in page.text
    assert "evalcov ingest traces FILES" in page.text


def test_one_week_without_a_suite_shows_what_traffic_is_about(
    without_suite: Settings,
) -> None:
    page = Page(without_suite.report.read_text("utf-8"))
    assert_inert(page)
    assert "The suite has no active case." in page.text
    assert "One week was scored so far" in page.text
    assert "evalcov ingest evals FILES" in page.text
    assert not re.search(r"\bNone\b|\bnan\b", page.text)


def test_a_suite_without_results_has_coverage_and_no_pass_rate(copy: Settings) -> None:
    scored = change(
        copy,
        "UPDATE coverage_scores SET eval_run_id = NULL, judge_id = NULL, eval_score = NULL,"
        " reweighted_score = NULL, reweighted_low = NULL, reweighted_high = NULL,"
        " unmeasured_share = 1, latency_ms = NULL, cost_usd = NULL",
        "UPDATE cluster_coverage SET pass_rate = NULL, n_results = 0",
    )
    text = Page(render(scored, copy)).text
    assert "no complete eval run" in text
    assert "evalcov ingest results FILES" in text


def test_an_undecidable_score_asks_for_the_cases_that_would_settle_it(copy: Settings) -> None:
    scored = change(
        copy, "UPDATE coverage_scores SET band = 'undecidable', cases_to_settle = 400, p_value = .2"
    )
    text = Page(render(scored, copy)).text
    assert "undecidable" in text
    assert "evalcov refresh --budget 340" in text


def test_a_liability_is_the_first_gap_and_local_gaps_are_found_inside_clusters(
    copy: Settings,
) -> None:
    local, liable = content(copy).clusters.filter(pl.col("cluster_id") >= 0)["cluster_id"][:2]
    scored = change(
        copy,
        f"UPDATE cluster_coverage SET status = 'liability', eval_cases = 0, gap_share = .9"
        f" WHERE cluster_id = {liable}",
        f"UPDATE cluster_coverage SET gap_share = .5, status = 'covered', eval_cases = 3"
        f" WHERE cluster_id = {local}",
        "UPDATE cluster_coverage SET gap_share = 0, status = 'covered'"
        f" WHERE cluster_id NOT IN ({local}, {liable})",
        f"UPDATE text_coverage SET in_gap = true WHERE cluster_id = {local}",
    )
    first, second = find_gaps(scored, 0.15)
    assert (first.kind, second.kind) == ("liability", "local gap")
    share = scored.clusters.filter(pl.col("cluster_id") == local)["production_share"].item()
    assert second.share == pytest.approx(share / 2)
    assert 1 <= len(second.examples) <= 3
    found = scored.texts.filter(pl.col("cluster_id") == local)["text"].to_list()
    assert set(second.examples) <= set(found)


def history(judges: list[str | None], taxonomies: list[str]) -> pl.DataFrame:
    """Scored weeks; a week whose taxonomy is new has a second row under the one before."""
    rows = []
    for week, (judge, taxonomy) in enumerate(zip(judges, taxonomies, strict=True)):
        row = {
            "as_of": LAST_WEEK + timedelta(weeks=week), "taxonomy_id": taxonomy, "headline": True,
            "jsd_adjusted": 0.2, "jsd_ci_low": 0.1, "jsd_ci_high": 0.3, "judge_id": judge,
            "eval_score": 0.8 if judge else None, "reweighted_low": 0.5 if judge else None,
            "reweighted_high": 0.9 if judge else None,
        }  # fmt: skip
        if week and taxonomy != taxonomies[week - 1]:
            rows.append({**row, "taxonomy_id": taxonomies[week - 1], "headline": False})
        rows.append(row)
    return pl.DataFrame(rows)


def lines(svg: str, name: str) -> int:
    """Lines drawn in a colour that connect at least two weeks."""
    return len(re.findall(rf'd="M[\d.,-]+L[^"Z]*" stroke="var\(--{name}\)" stroke-width="2"', svg))


def test_no_line_crosses_a_change_of_judge_or_of_taxonomy() -> None:
    same = charts.trend(history(["a"] * 6, ["t"] * 6), 0.25, 600)
    assert (lines(same, "quality"), lines(same, "divergence")) == (1, 1)
    changed = charts.trend(history(["a"] * 3 + ["b"] * 3, ["t"] * 4 + ["u"] * 2), 0.25, 600)
    assert (lines(changed, "quality"), lines(changed, "divergence")) == (2, 2)
    assert "judge: b" in changed
    assert "clustered anew" in changed
    hollow = r'fill="var\(--page\)" stroke="var\(--divergence\)"'
    assert len(re.findall(hollow, changed)) == 1
    assert not re.findall(hollow, same)


def test_a_page_of_80_clusters_and_long_foreign_texts_stays_under_5_megabytes(
    scored: Settings,
) -> None:
    small = content(scored)
    n = 20_000
    texts = pl.concat([small.texts] * (n // len(small.texts) + 1)).head(n)
    texts = texts.with_columns(text=pl.lit("漢字 & 😀 " * 60), label=pl.lit("w" * 3000))
    clusters = pl.concat([small.clusters] * 80).head(80)
    assert n > MOST_POINTS
    html = render(replace(small, texts=texts, clusters=clusters), scored)
    assert len(html.encode()) < 5 * MEGABYTE
    assert f"{MOST_POINTS:,} of 20,000 texts are drawn" in html


def test_a_report_waits_for_nobody_who_holds_the_warehouse(copy: Settings) -> None:
    with warehouse_of(copy).writer():
        assert write_report(copy).size > 0


def test_a_report_that_cannot_be_written_leaves_the_old_one(copy: Settings) -> None:
    before = copy.report.read_bytes()
    copy.published.write_bytes(b"no database")
    with pytest.raises(BadInput, match="evalcov run weekly"):
        write_report(copy)
    assert copy.report.read_bytes() == before
    assert [path.name for path in copy.report.parent.iterdir()] == ["coverage.html"]


def test_the_command_writes_where_it_is_told_and_says_so(
    scored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("EVALCOV_HOME", str(scored.home))
    get_settings.cache_clear()
    out = tmp_path / "new" / "page.html"
    for arguments, code in ((["--out", str(out)], 0), (["--out", str(tmp_path)], BAD_INPUT)):
        with pytest.raises(SystemExit) as ended:
            main(["report", *arguments])
        assert ended.value.code == code
    get_settings.cache_clear()
    assert str(out) in capsys.readouterr().out
    assert out.read_bytes() == scored.report.read_bytes()


def test_a_home_of_an_older_version_is_told_to_run_again(copy: Settings) -> None:
    with duckdb.connect(copy.published) as con:
        con.execute("DROP TABLE eval_coverage")
    with pytest.raises(BadInput, match="evalcov run weekly"):
        write_report(copy)


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        ({"n_eval": 0}, "evalcov ingest evals FILES"),
        ({"degraded": True}, "evalcov refresh"),
        ({"band": "undecidable", "cases_to_settle": None}, "evalcov ingest traces FILES"),
        ({"eval_score": None}, "evalcov ingest results FILES"),
        ({}, "evalcov run weekly"),
    ],
)
def test_what_to_do_next_follows_from_the_score(facts: dict[str, object], command: str) -> None:
    assert next_steps(query_score(**facts))[0].command.startswith(command)


def luminance(colour: tuple[float, float, float]) -> float:
    """WCAG 2 relative luminance of sRGB 0..255."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str, mixed: float = 1.0, into: str = "#ffffff") -> float:
    """Contrast of `one` against `other`, of which a share is mixed into a third colour."""

    def rgb(name: str) -> tuple[int, ...]:
        return tuple(bytes.fromhex(name[1:]))

    ground = [mixed * a + (1 - mixed) * b for a, b in zip(rgb(other), rgb(into), strict=True)]
    light, dark = sorted((luminance(rgb(one)), luminance(tuple(ground))), reverse=True)  # type: ignore[arg-type]
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_is_readable_on_every_ground(mode: str) -> None:
    css = resources.files("evalcov_pipeline.reports").joinpath("report.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", light + (dark if mode == "dark" else "")))
    for text in ("ink", "muted"):
        for ground in ("page", "card"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for band in ("good", "watch", "divergent", "severe", "plain"):
        assert contrast("#ffffff", colours[band]) >= 4.5, band
    for hue in ("traffic", "suite", "under", "over", "age"):
        assert contrast(colours["ink"], colours[hue], 0.6, colours["page"]) >= 4.5, hue
    assert contrast(colours["on-badge"], colours["badge"]) >= 4.5
    for mark in ("divergence", "quality", "level-1", "level-2", "level-3"):
        assert contrast(colours[mark], colours["page"]) >= (2.4 if mark == "level-2" else 3), mark


def test_examples_of_a_gap_are_unlike_each_other(scored: Settings) -> None:
    small = content(scored)
    repeated = small.clusters.with_columns(
        status=pl.lit("gap"),
        exemplars=pl.Series(
            [["Where is it?", "where is it", "cancel my plan"]] * len(small.clusters)
        ),
    )
    for gap in find_gaps(replace(small, clusters=repeated), 0.15):
        assert gap.examples[:2] == ["Where is it?", "cancel my plan"]
