"""Scores as rows of their tables: written from the dataclass, read back into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import TypeVar

import duckdb
import polars as pl

from evalcov_pipeline.core.coverage.score import QueryScore, Score, SessionScore
from evalcov_pipeline.services.taxonomy.taxonomies import QUERIES, SESSIONS
from evalcov_pipeline.storage.warehouse import one_row

AnyScore = TypeVar("AnyScore", bound=Score)
_TABLES: dict[type[Score], str] = {QueryScore: QUERIES.scores, SessionScore: SESSIONS.scores}
_LISTS = {"liabilities": pl.List(pl.String), "notes": pl.List(pl.String)}


def headline_score(
    con: duckdb.DuckDBPyConnection, kind: type[AnyScore], as_of: datetime | None = None
) -> AnyScore | None:
    """The headline score of a week.

    Args:
        con: a reading connection.
        kind: `QueryScore` or `SessionScore`.
        as_of: exclusive end of the week; the newest scored one by default.

    Returns:
        The score, or None where there is none.
    """
    columns = ", ".join(field.name for field in fields(kind))
    row = one_row(
        con,
        f"SELECT {columns} FROM {_TABLES[kind]} WHERE headline AND ($1 IS NULL OR as_of = $1)"
        " ORDER BY as_of DESC LIMIT 1",
        [as_of],
    )
    return kind(**row) if row else None


def score_rows(scores: Sequence[Score]) -> pl.DataFrame:
    """Rows of the scores' table, one a score; no columns without scores."""
    rows = [asdict(score) for score in scores]
    types = {name: kind for name, kind in _LISTS.items() if rows and name in rows[0]}
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=types)
