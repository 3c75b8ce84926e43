"""Certificates of judges: made from labels and verdicts, and what they admit to a score."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import duckdb

from evalcov_pipeline.core.judge_answers import JudgeVersion
from evalcov_pipeline.core.judge_rules import Ruling
from evalcov_pipeline.core.judges import admissible
from evalcov_pipeline.storage.warehouse import frame


@dataclass(frozen=True)
class StoredCertificate:
    """What a row of `judge_calibration` decides."""

    judge: JudgeVersion
    category: str
    ruling: Ruling


def certificates(con: duckdb.DuckDBPyConnection, as_of: datetime) -> list[StoredCertificate]:
    """The newest certificates at or before an instant; none before the first calibration."""
    rows = frame(
        con,
        """
        SELECT judge_id, judge_model, prompt_version, rubric_version, category, verdict, reason
        FROM judge_calibration WHERE calibrated_at = (
          SELECT max(calibrated_at) FROM judge_calibration WHERE calibrated_at <= ?)
        ORDER BY ALL
        """,
        [as_of],
    )
    return [
        StoredCertificate(JudgeVersion(*row[:4]), row[4], Ruling(row[5], row[6]))
        for row in rows.rows()
    ]


def refused_judges(con: duckdb.DuckDBPyConnection, as_of: datetime) -> dict[str, frozenset[str]]:
    """Judges whose verdicts may enter no score and no gate, by category.

    Results name their judge, not its version: the strictest certificate of any version holds.
    """
    held = certificates(con, as_of)
    in_use = {(JudgeVersion(one.judge.judge_id), one.category) for one in held}
    refused: defaultdict[str, set[str]] = defaultdict(set)
    for (judge, category), admission in admissible(held, in_use).items():
        if not admission.score:
            refused[category].add(judge.judge_id)
    return {category: frozenset(judges) for category, judges in sorted(refused.items())}
