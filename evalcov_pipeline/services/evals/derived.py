"""What follows from the ledger and the results: the suite, the runs, what guards each incident."""

from __future__ import annotations

from datetime import datetime

import duckdb
import polars as pl

from evalcov_pipeline.services.evals.incidents import derive_incidents
from evalcov_pipeline.services.evals.suite import derive_suite, summarise_runs
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings


def derive_evals(
    con: duckdb.DuckDBPyConnection, settings: Settings, oldest_traffic: datetime | None
) -> tuple[pl.DataFrame, int]:
    """Derive the suite from the ledger, the runs from the results, and what guards each incident.

    Returns:
        The rows of `eval_cases`, and the number of runs.
    """
    cases = derive_suite(
        con,
        oldest_traffic=oldest_traffic,
        redact_all=redactor(settings.redaction),
        with_previous_turn=settings.embedding.text == "query_with_previous_turn",
    )
    derive_incidents(con, settings.failures.incident_cases)
    return cases, summarise_runs(con, settings.evals.complete_share)
