"""Importing what judges said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl

from evalcov_pipeline.formats import AUTO
from evalcov_pipeline.formats.verdicts import VERSION
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.imports.evals import without_personal_data
from evalcov_pipeline.services.imports.files import latest, rows_of
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Columns, frame, insert

_KEY = ["item_id", "judge_id", *VERSION]
_CONTENT = ["case_id", "category", "passed", "output", "model"]
_VERDICTS: Columns = {
    **dict.fromkeys((*_KEY, *_CONTENT), pl.String),
    "passed": pl.Boolean,
    "at": pl.Datetime("us"),
}


@dataclass(frozen=True)
class VerdictsReport:
    """What an import of verdicts did, by number of rows.

    Attributes:
        files: files read.
        new: first verdicts of a version of a judge on an answer.
        replaced: verdicts that took the place of an earlier, different one.
        outdated: verdicts older than a different one of the same version on the same answer.
        duplicate: verdicts that were known already.
        rejected: rows that could not be read; they lie in the quarantine.
    """

    files: int
    new: int
    replaced: int
    outdated: int
    duplicate: int
    rejected: int


def ingest_verdicts(
    paths: Iterable[str | Path],
    settings: Settings,
    *,
    format: str = AUTO,
    mapping: Mapping[str, str] | None = None,
    progress: Callable[[Path, int], None] | None = None,
    now: datetime | None = None,
) -> VerdictsReport:
    """Read verdicts into `judge_verdicts`, in one transaction.

    A verdict is known by its answer and the version of its judge; the newest counts, of several of
    one time the last. Without `at` it counts from its first import. Importing a file twice changes
    nothing.

    Args:
        paths: files, folders or glob patterns.
        settings: where the warehouse and the quarantine are.
        format: name of the format, or "auto".
        mapping: canonical field -> the file's field.
        progress: called with the file and its rows so far.
        now: the instant of the import (naive UTC), default the clock's; a time more than a day
            later is rejected.

    Raises:
        BadInput: nothing to read, an unreadable file, one without a single readable row, or an
            unknown format; nothing but the quarantine is written.
    """
    at = now or datetime.now(UTC).replace(tzinfo=None)
    reading = rows_of(
        "verdicts", paths, settings, format=format, mapping=mapping, latest=latest(at),
        progress=progress,
    )  # fmt: skip
    with reading as read:
        rows = [row for row, _ in read.rows]
    verdicts = without_personal_data(pl.DataFrame(rows, schema=_VERDICTS), settings)
    warehouse = warehouse_of(settings)
    with warehouse.writer() as con:
        counts = _record(con, verdicts, at)
    publish(settings)
    return VerdictsReport(files=len(read.quarantines), **counts, rejected=read.rejected)


def _record(
    con: duckdb.DuckDBPyConnection, verdicts: pl.DataFrame, imported_at: datetime
) -> dict[str, int]:
    """Record verdicts (schema `_VERDICTS`); how many rows were what."""
    dated = verdicts.with_columns(pl.col("at").fill_null(pl.lit(imported_at, pl.Datetime("us"))))
    newest = dated.sort("at", maintain_order=True).unique(_KEY, keep="last", maintain_order=True)
    con.register("newest", newest.to_arrow())
    known = frame(con, f"SELECT * FROM judge_verdicts SEMI JOIN newest USING ({', '.join(_KEY)})")
    held = newest.join(known.select(*_KEY, known_at="at"), on=_KEY, how="left")
    differing = held.join(known, on=[*_KEY, *_CONTENT], how="anti", nulls_equal=True)
    new = differing.filter(pl.col("known_at").is_null())
    replacing = differing.filter(pl.col("at") >= pl.col("known_at"))
    con.register("replacing", replacing.select(_KEY).to_arrow())
    same = " AND ".join(f"judge_verdicts.{name} = replacing.{name}" for name in _KEY)
    con.execute(f"DELETE FROM judge_verdicts USING replacing WHERE {same}")
    con.unregister("newest")
    con.unregister("replacing")
    insert(con, "judge_verdicts", pl.concat([new, replacing]).drop("known_at"))
    repeated = dated.join(newest, on=[*_KEY, *_CONTENT], how="semi", nulls_equal=True).height
    outdated = len(dated) - repeated + len(differing) - len(new) - len(replacing)
    return {
        "new": len(new),
        "replaced": len(replacing),
        "outdated": outdated,
        "duplicate": len(dated) - len(new) - len(replacing) - outdated,
    }
