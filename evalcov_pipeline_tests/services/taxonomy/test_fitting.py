"""Clusters of texts in a small warehouse: their labels, and the names of their fits."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from textwrap import dedent

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.taxonomy.fitting import Fit, fit_taxonomy
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline.settings import Settings, TaxonomySettings
from evalcov_pipeline.storage.vectors import embed_texts
from evalcov_pipeline.storage.warehouse import frame, insert
from evalcov_pipeline_tests.conftest import quick_settings

AS_OF = datetime(2026, 11, 9)
SUBJECTS = ("refund", "parcel", "password")
FUNCTIONS = """
    def label(keywords, exemplars):
        return f"  about {keywords[0]}\\n({len(exemplars)}) "

    def nothing(keywords, exemplars):
        return ""

    def broken(keywords, exemplars):
        raise RuntimeError("no answer")
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A window of 90 texts about three subjects, and functions that name clusters."""
    settings = quick_settings(tmp_path / "home")
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(30)]
    texts = pl.DataFrame(
        [
            {"text_hash": f"{row:04}", "text": f"{subject} {subject} {' '.join(some)}"}
            for row, subject in enumerate(SUBJECTS * 30)
            for some in [rng.choice(words, 2)]
        ]
    )
    turns = texts.select(
        "text_hash", as_of=pl.lit(AS_OF), source=pl.lit("s"), trace_id="text_hash", turn_index=0,
        session_id="text_hash", started_at=pl.lit(AS_OF), stratum=pl.lit("all"),
        inclusion_probability=1.0, traffic_weight=1 / 90, steady_weight=1 / 90,
    )  # fmt: skip
    with warehouse_of(settings).writer() as con:
        insert(con, "texts", texts)
        insert(con, "trace_sample", turns)
    embed_texts(vector_cache(settings), lambda: embedder(settings.embedding), texts)
    (tmp_path / "our_names.py").write_text(dedent(FUNCTIONS))
    monkeypatch.syspath_prepend(tmp_path)
    return settings


def fit(settings: Settings, labeller: str | None = None) -> Fit:
    rules = settings.taxonomy.model_dump() | {"min_clusters": 3, "max_clusters": 6}
    settings = settings.model_copy(
        update={"taxonomy": TaxonomySettings(**rules | {"labeller": labeller})}
    )
    warehouse, cache = warehouse_of(settings), vector_cache(settings)
    return fit_taxonomy(warehouse, settings, cache, AS_OF, AS_OF, lambda _: None)


def labels(settings: Settings, taxonomy_id: str) -> list[str]:
    query = "SELECT label FROM clusters WHERE taxonomy_id = ? ORDER BY cluster_id"
    with warehouse_of(settings).reader() as con:
        return frame(con, query, [taxonomy_id])["label"].to_list()


def test_a_function_of_the_settings_names_the_clusters(home: Settings) -> None:
    own = labels(home, fit(home, "our_names:label").taxonomy_id)
    assert len(own) >= 3
    assert all(label.startswith("about ") and "(3)" in label for label in own)
    assert {label.split()[1] for label in own} >= set(SUBJECTS)


def test_without_a_function_clusters_are_named_by_their_words_and_fits_as_ever(
    home: Settings,
) -> None:
    usual = fit(home).taxonomy_id
    assert not any("about" in label for label in labels(home, usual))
    assert usual != fit(home, "our_names:label").taxonomy_id
    assert fit(home).taxonomy_id == usual


@pytest.mark.parametrize(
    ("labeller", "what"),
    [
        ("no_such_module:label", "cannot be imported"),
        ("our_names:FUNCTIONS", "cannot be imported"),
        ("our_names:__name__", "not callable"),
        ("our_names:nothing", "not a label"),
        ("our_names:broken", "no answer"),
    ],
)
def test_a_function_that_names_nothing_ends_the_fit_with_its_name(
    home: Settings, labeller: str, what: str
) -> None:
    with pytest.raises(BadInput, match=what) as raised:
        fit(home, labeller)
    assert labeller in str(raised.value)
    with warehouse_of(home).reader() as con:
        assert frame(con, "SELECT * FROM taxonomies").is_empty()
