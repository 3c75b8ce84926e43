"""Importing eval cases and eval results into the warehouse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from evalcov_pipeline.formats import AUTO
from evalcov_pipeline.services.evals.derived import derive_evals
from evalcov_pipeline.services.evals.ledger import record_cases
from evalcov_pipeline.services.evals.suite import add_results
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.imports.files import IngestReport, latest, rows_of
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import traffic_span
from evalcov_pipeline.storage.warehouse import Columns

_RESULTS: Columns = {
    "run_id": pl.String,
    "case_id": pl.String,
    "repeat": pl.Int64,
    "passed": pl.Boolean,
    "score": pl.Float64,
    "latency_ms": pl.Float64,
    "cost_usd": pl.Float64,
    "judge_id": pl.String,
    "at": pl.Datetime("us"),
    "system_version": pl.String,
    "model": pl.String,
    "category": pl.String,
    "output": pl.String,
    "variant": pl.String,
}


def ingest_evals(
    kind: Literal["evals", "results"],
    paths: Iterable[str | Path],
    settings: Settings,
    *,
    format: str = AUTO,
    mapping: Mapping[str, str] | None = None,
    progress: Callable[[Path, int], None] | None = None,
    now: datetime | None = None,
) -> IngestReport:
    """Read eval cases into the ledger, or eval results into their table, in one transaction.

    A case that differs from its newest version becomes a new version; of several with one id in an
    import the last one counts. A result is known by run, case and repeat; one that differs from
    what is known is a correction, and replaces it. What the ledger's rules for regression cases
    refuse is rejected, the rest goes in. Personal data is taken out of cases before they are
    recorded, since the ledger is published and can never be cleaned.

    Args:
        kind: what the files hold.
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
    replaced = refused = 0
    reading = rows_of(
        kind, paths, settings, format=format, mapping=mapping, latest=latest(now), progress=progress
    )
    with reading as read:
        rows = [row for row, _ in read.rows]
        span = traffic_span(settings.lake)
        with warehouse_of(settings).writer() as con:
            if kind == "evals":
                cases = clean_cases(rows, redactor(settings.redaction))
                report = record_cases(con, cases, at=at, actor="evalcov ingest evals")
                accepted = report.imported + report.edited + report.retired
                refused = len(report.refused)
                last = {row["case_id"]: number for number, row in enumerate(rows)}
                for case_id, reason in report.refused:
                    row, place = read.rows[last[case_id]]
                    place.reject(f"{case_id} {reason}", row)
            else:
                results = without_personal_data(pl.DataFrame(rows, schema=_RESULTS), settings)
                added, replaced = add_results(con, results, at)
                accepted = added + replaced
            derive_evals(con, settings, span[0] if span else None)
        rejected = read.rejected
    publish(settings)
    return IngestReport(
        files=len(read.quarantines),
        accepted=accepted,
        duplicate=len(rows) - accepted - refused,
        rejected=rejected,
        set_aside=0,
        days=(),
        replaced=replaced,
    )


def without_personal_data(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Rows without personal data in their `output`."""
    outputs = rows["output"].drop_nulls().unique().sort()
    clean = dict(zip(outputs, redactor(settings.redaction)(outputs.to_list()), strict=True))
    return rows.with_columns(pl.col("output").replace(clean))


def clean_cases(
    cases: Sequence[dict[str, Any]], redact_all: Callable[[Sequence[str]], list[str]]
) -> list[dict[str, Any]]:
    """Cases without personal data in the contents of `input` and in `expected`."""
    texts = sorted({text for case in cases for text in _texts(case)})
    clean = dict(zip(texts, redact_all(texts), strict=True))
    return [
        case
        | {
            "input": [m | {"content": clean[m["content"]]} for m in case["input"]]
            if isinstance(case["input"], list)
            else clean[case["input"]],
            "expected": clean.get(case["expected"]),
        }
        for case in cases
    ]


def _texts(case: Mapping[str, Any]) -> list[str]:
    """What is said and expected in a case."""
    messages = case["input"]
    texts = [m["content"] for m in messages] if isinstance(messages, list) else [messages]
    return texts if case["expected"] is None else [*texts, case["expected"]]
