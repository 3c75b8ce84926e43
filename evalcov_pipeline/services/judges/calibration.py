"""Calibration of judges: certificates made from stored labels and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.judges.calibration import Certificate, calibrate
from evalcov_pipeline.services.labels.queue import JUDGED_BY_PEOPLE
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import frame, replace_slice


@dataclass(frozen=True)
class Calibration:
    """Judges held against people, as of an instant.

    Attributes:
        as_of: labels and verdicts before it were seen.
        labels: see `core.judges.judged_answers.judged_answers`.
        verdicts: likewise.
        certificates: one per version of a judge and category.
    """

    as_of: datetime
    labels: pl.DataFrame
    verdicts: pl.DataFrame
    certificates: Sequence[Certificate]

    @property
    def rows(self) -> pl.DataFrame:
        """Rows of `judge_calibration`."""
        rows = [one.row() | {"calibrated_at": self.as_of} for one in self.certificates]
        return pl.DataFrame(rows, infer_schema_length=None)

    def of(self, verdict: str) -> list[Certificate]:
        """Certificates with a verdict."""
        return [one for one in self.certificates if one.ruling.verdict == verdict]


def calibrate_judges(
    con: duckdb.DuckDBPyConnection, settings: Settings, as_of: datetime
) -> Calibration:
    """Hold every judge against people, from what was said before `as_of`.

    Args:
        con: a connection.
        settings: seed, and how labels were drawn that do not say so.
        as_of: exclusive end of the week; the same tables give the same certificates.
    """
    labels, verdicts = labels_before(con, as_of), _verdicts(con, as_of)
    certificates = calibrate(
        labels,
        verdicts,
        np.random.default_rng([settings.judges.seed, as_of.toordinal()]),
        undeclared=settings.judges.undeclared_labels,
    )
    return Calibration(as_of, labels, verdicts, certificates)


def write_certificates(con: duckdb.DuckDBPyConnection, calibration: Calibration) -> int:
    """Replace a week's rows of `judge_calibration`; how many there are."""
    return replace_slice(
        con, "judge_calibration", calibration.rows, calibrated_at=calibration.as_of
    )


def is_newest(con: duckdb.DuckDBPyConnection, as_of: datetime) -> bool:
    """Whether no later week has certificates."""
    later = "SELECT count(*) FROM judge_calibration WHERE calibrated_at > ?"
    return con.execute(later, [as_of]).fetchall() == [(0,)]


def labels_before(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """What people had said about answers before `as_of`, by item."""
    return frame(
        con,
        f"""
        SELECT coalesce(q.item_id, q.trace_id) AS item_id, rater, said.passed, said.category,
               said."at", first_at, selection, inclusion_probability
        FROM ({JUDGED_BY_PEOPLE}) said JOIN annotation_queue q USING (task_id)
        WHERE coalesce(q.item_id, q.trace_id) IS NOT NULL
        ORDER BY 1, rater, said."at", task_id
        """,
        [as_of],
    )


def _verdicts(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """What judges had said before `as_of`."""
    return frame(
        con,
        """
        SELECT * REPLACE (nullif(judge_model, '') AS judge_model,
                          nullif(prompt_version, '') AS prompt_version,
                          nullif(rubric_version, '') AS rubric_version)
        FROM judge_verdicts WHERE "at" < ? ORDER BY ALL
        """,
        [as_of],
    )
