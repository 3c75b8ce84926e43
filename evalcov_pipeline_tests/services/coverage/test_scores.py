"""A score is a row of its table, column for field, and comes back from it as it was."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from evalcov_pipeline.core.coverage.score import QueryScore, Score, SessionScore
from evalcov_pipeline.core.sessions.sequences import SequenceRow
from evalcov_pipeline.services.coverage.scores import headline_score, score_rows
from evalcov_pipeline.storage.schema import tables
from evalcov_pipeline.storage.warehouse import Warehouse, insert
from evalcov_pipeline_tests.scores import query_score

SESSION_SCORE = SessionScore(
    **{field.name: getattr(query_score(), field.name) for field in fields(Score)},
    n_multi_turn=3,
    notes=["no tools"],
)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (QueryScore, "coverage_scores"),
        (SessionScore, "session_scores"),
        (SequenceRow, "sequence_scores"),
    ],
)
def test_a_score_has_the_columns_of_its_table(kind: type[Any], table: str) -> None:
    columns = {column.name for column in tables()[table].columns}
    assert {field.name for field in fields(kind)} == columns


def test_a_score_comes_back_from_its_table_as_it_was(tmp_path: Path) -> None:
    score = query_score(liabilities=["a", "b"], jsd=None, band=None)
    with Warehouse(tmp_path / "warehouse.duckdb").writer() as con:
        insert(con, "coverage_scores", score_rows([score]))
        insert(con, "session_scores", score_rows([SESSION_SCORE]))
        assert headline_score(con, QueryScore) == score
        assert headline_score(con, SessionScore) == SESSION_SCORE


def test_the_headline_score_is_that_of_the_week_or_the_newest(tmp_path: Path) -> None:
    older = query_score()
    newer = replace(older, as_of=older.as_of + timedelta(weeks=1), n_eval=70)
    other = replace(newer, taxonomy_id="before the refit", headline=False)
    with Warehouse(tmp_path / "warehouse.duckdb").writer() as con:
        assert headline_score(con, QueryScore) is None
        insert(con, "coverage_scores", score_rows([older, newer, other]))
        assert headline_score(con, QueryScore) == newer
        assert headline_score(con, QueryScore, older.as_of) == older
        assert headline_score(con, QueryScore, older.as_of - timedelta(weeks=1)) is None
