"""Which taxonomy applies, also where several were fitted to the same day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.services.taxonomy.taxonomies import applicable, newest_model
from evalcov_pipeline.storage.warehouse import Warehouse, insert

FIRST = datetime(2026, 10, 5)
REFIT = datetime(2026, 11, 9)
DAY = timedelta(days=1)


def taxonomy(name: str, fitted_at: datetime, created_at: datetime, model: str) -> dict[str, Any]:
    return {
        "taxonomy_id": name, "fitted_at": fitted_at, "created_at": created_at, "method": "kmeans",
        "parameters": "{}", "n_texts": 9, "n_clusters": 1, "unclustered_share": 0.0,
        "novel_share": 0.0, "embedding_fingerprint": model,
    }  # fmt: skip


TAXONOMIES = [
    taxonomy("20261005-9", FIRST, REFIT, "a"),
    taxonomy("20261109-f", REFIT, REFIT + DAY, "b"),
    taxonomy("20261109-0", REFIT, REFIT + 2 * DAY, "c"),
]


@pytest.fixture(params=list(permutations(range(3))), ids=str)
def con(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse with the taxonomies, recorded in any order."""
    with Warehouse(tmp_path / "warehouse.duckdb").writer() as con:
        insert(con, "taxonomies", pl.DataFrame([TAXONOMIES[place] for place in request.param]))
        yield con


def test_of_two_fits_to_one_day_the_one_that_was_made_later_applies(
    con: duckdb.DuckDBPyConnection,
) -> None:
    for as_of, name in (
        (FIRST - 7 * DAY, "20261005-9"),
        (REFIT - DAY, "20261005-9"),
        (REFIT, "20261109-0"),
        (REFIT + 7 * DAY, "20261109-0"),
    ):
        used = applicable(con, as_of)
        assert used is not None
        assert used.headline == name
    assert newest_model(con) == "c"
