"""Every query and every Python snippet of the pages runs on a scored home."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from evalcov_pipeline.settings import Settings
from evalcov_pipeline_tests.docs.pages import PAGES, blocks, code, name

QUERIES = [
    pytest.param(query, id=f"{name(page)}-{number}")
    for page in PAGES
    for number, query in enumerate(
        [*blocks(page, "sql"), *(words for words in code(page) if words.startswith("SELECT "))]
    )
]
SNIPPETS = [
    pytest.param(snippet, id=f"{name(page)}-{number}")
    for page in PAGES
    for number, snippet in enumerate(blocks(page, "python"))
]
SUM = re.compile(r"^-- (\w+) sums to 1$", re.MULTILINE)
CLUSTERED = (("coverage_scores", "cluster_coverage"), ("session_scores", "session_coverage"))


@pytest.fixture(scope="module")
def refit_home(scored: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/published.duckdb whose newest week has a second score, of a refit."""
    folder = tmp_path_factory.mktemp("docs")
    published = folder / "data" / "published.duckdb"
    published.parent.mkdir()
    published.write_bytes(scored.published.read_bytes())
    with closing(duckdb.connect(published)) as con:
        for scores, coverage in CLUSTERED:
            newest = f"WHERE as_of = (SELECT max(as_of) FROM {scores})"
            con.execute(
                f"INSERT INTO {coverage} SELECT * REPLACE ('before' AS taxonomy_id) FROM {coverage}"
                f" {newest}"
            )
            con.execute(
                f"INSERT INTO {scores} SELECT"
                " * REPLACE ('before' AS taxonomy_id, false AS headline)"
                f" FROM {scores} {newest}"
            )
    return folder


@pytest.fixture
def con(refit_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(refit_home / "data" / "published.duckdb", read_only=True) as con:
        yield con


@pytest.mark.parametrize("query", QUERIES)
def test_query_of_a_page_runs(query: str, con: duckdb.DuckDBPyConnection) -> None:
    rows = con.sql(query).pl()

    for column in SUM.findall(query):
        assert rows[column].sum() == pytest.approx(1)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet_of_a_page_runs(
    snippet: str, refit_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(refit_home)

    exec(compile(snippet, "snippet", "exec"), {})


def test_pages_have_queries_whose_shares_are_checked() -> None:
    checked = [query for query in QUERIES if SUM.search(str(query.values[0]))]

    assert len(checked) >= 2
    assert SNIPPETS
