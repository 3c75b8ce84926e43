"""What the README promises of `make demo` holds for the home that it left.

Of no use without that home, so pytest does not collect this file by itself: `make check-demo`
names it.

Environment:
    DEMO_HOME: the demo's home; the folder data/ of the repository without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from evalcov_pipeline.storage.schema import tables
from evalcov_pipeline_tests.docs.test_queries import QUERIES, SUM

HOME = Path(os.environ.get("DEMO_HOME", Path(__file__).parents[1] / "data"))
WEEKS = 10
NOT_FILLED = {
    "refresh_plans": "the demo plans no refresh",
    "refresh_candidates": "the demo plans no refresh",
    "suggestions": "labels are suggested for the queries of a refresh",
    "suggestion_agreement": "labels are suggested for the queries of a refresh",
}
"""Tables without a row, and why."""
WEIGHTED = ["trace_sample", "session_features"]
SCORED = [("coverage_scores", "cluster_coverage"), ("session_scores", "session_coverage")]
SHARES = ["production_share", "traffic_share", "eval_share"]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(HOME / "published.duckdb", read_only=True) as con:
        yield con


def test_only_the_tables_that_the_demo_does_not_fill_are_empty(
    con: duckdb.DuckDBPyConnection,
) -> None:
    rows = {name: len(con.table(name)) for name in tables()}
    assert {name for name, n in rows.items() if n == 0} == NOT_FILLED.keys()


@pytest.mark.parametrize("scores", [scores for scores, _ in SCORED])
def test_each_of_ten_weeks_has_one_headline(con: duckdb.DuckDBPyConnection, scores: str) -> None:
    headlines = con.sql(
        f"SELECT as_of, count(*) FILTER (headline) AS n FROM {scores} GROUP BY ALL ORDER BY as_of"
    ).pl()
    assert headlines["n"].to_list() == [1] * WEEKS
    assert set(headlines["as_of"].diff().drop_nulls()) == {timedelta(weeks=1)}


@pytest.mark.parametrize("kind", ["queries", "tools"])
def test_paths_of_each_of_ten_weeks_are_scored(con: duckdb.DuckDBPyConnection, kind: str) -> None:
    weeks = con.sql(
        "SELECT (SELECT count(*) FROM sequence_scores WHERE kind = $kind AND jsd IS NOT NULL),"
        " (SELECT count(DISTINCT as_of) FROM sequence_coverage WHERE kind = $kind)",
        params={"kind": kind},
    ).fetchone()
    assert weeks == (WEEKS, WEEKS)


@pytest.mark.parametrize("scores", [*(scores for scores, _ in SCORED), "sequence_scores"])
def test_a_divergence_lies_in_its_interval(con: duckdb.DuckDBPyConnection, scores: str) -> None:
    outside = con.sql(
        f"SELECT * FROM {scores} WHERE (0 <= jsd_ci_low AND jsd_ci_low <= jsd_adjusted"
        " AND jsd_adjusted <= jsd_ci_high AND jsd_ci_high <= 1) IS NOT true"
    )
    assert outside.fetchall() == []


@pytest.mark.parametrize("weight", ["steady_weight", "traffic_weight"])
@pytest.mark.parametrize("sample", WEIGHTED)
def test_weights_of_a_week_sum_to_one(
    con: duckdb.DuckDBPyConnection, sample: str, weight: str
) -> None:
    sums = con.sql(f"SELECT sum({weight}) AS sum FROM {sample} GROUP BY as_of").pl()["sum"]
    assert sums.to_list() == pytest.approx([1] * WEEKS)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("scores", "coverage"), SCORED)
def test_shares_of_clusters_sum_to_one(
    con: duckdb.DuckDBPyConnection, scores: str, coverage: str, share: str
) -> None:
    sums = con.sql(
        f"SELECT sum({share}) AS sum FROM {scores} LEFT JOIN {coverage} USING (as_of, taxonomy_id)"
        " GROUP BY as_of, taxonomy_id"
    ).pl()["sum"]
    assert sums.to_list() == pytest.approx([1] * len(con.table(scores)))


@pytest.mark.parametrize(("scores", "coverage"), SCORED)
def test_contributions_of_clusters_sum_to_the_divergence(
    con: duckdb.DuckDBPyConnection, scores: str, coverage: str
) -> None:
    rows = con.sql(
        f"SELECT any_value(jsd) AS jsd, sum(jsd_contribution) AS sum FROM {scores}"
        f" LEFT JOIN {coverage} USING (as_of, taxonomy_id) GROUP BY as_of, taxonomy_id"
    ).pl()
    assert rows["sum"].to_list() == pytest.approx(rows["jsd"].to_list())


def test_contributions_of_paths_are_most_of_the_divergence(con: duckdb.DuckDBPyConnection) -> None:
    """The rest belongs to rare paths, which are pooled and have no row."""
    shares = con.sql(
        "SELECT sum(jsd_contribution) / any_value(jsd) AS share FROM sequence_scores"
        " LEFT JOIN sequence_coverage USING (as_of, kind, length) GROUP BY as_of, kind"
    ).pl()["share"]
    assert len(shares) == 2 * WEEKS
    assert shares.is_between(0.8, 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("taxonomies", "scores"),
    [("taxonomies", "coverage_scores"), ("session_taxonomies", "session_scores")],
)
def test_traffic_is_clustered_twice_and_both_times_scored(
    con: duckdb.DuckDBPyConnection, taxonomies: str, scores: str
) -> None:
    """The newest week also under the clusters before, so that a refit is no change of traffic."""
    fitted = con.sql(f"SELECT taxonomy_id FROM {taxonomies}").pl()["taxonomy_id"]
    of_headlines = con.sql(f"SELECT DISTINCT taxonomy_id FROM {scores} WHERE headline").fetchall()
    of_newest = con.sql(
        f"SELECT taxonomy_id FROM {scores} WHERE as_of = (SELECT max(as_of) FROM {scores})"
    ).fetchall()
    assert len(fitted) >= 2
    assert {taxonomy for (taxonomy,) in of_headlines} == set(fitted)
    assert {taxonomy for (taxonomy,) in of_newest} == set(fitted)


def test_queries_are_clustered_by_the_default_method_and_model(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """Which no other test takes the time for."""
    fitted = con.sql("SELECT DISTINCT method, embedding_fingerprint[:3] FROM taxonomies").fetchall()
    assert fitted == [("umap_hdbscan", "st-")]


@pytest.mark.parametrize("query", QUERIES)
def test_query_of_a_page_finds_something(query: str, con: duckdb.DuckDBPyConnection) -> None:
    rows = con.sql(query).pl()
    assert len(rows) > 0
    for column in SUM.findall(query):
        assert rows[column].sum() == pytest.approx(1)


def test_the_report_is_one_file_of_about_2_megabytes(con: duckdb.DuckDBPyConnection) -> None:
    page = (HOME / "reports" / "coverage.html").read_text(encoding="utf-8")
    newest = con.sql("SELECT max(as_of) AS as_of FROM coverage_scores").pl()["as_of"][0]
    assert 1_000_000 < len(page.encode()) < 3_000_000
    assert page.rstrip().endswith("</html>")
    assert f"{newest:%Y-%m-%d}" in page
