"""What judges' verdicts may enter a score or a gate, by the stored certificates."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import duckdb
import polars as pl

from evalcov_pipeline.core.judges.admission import admissible
from evalcov_pipeline.core.judges.judged_answers import JudgeVersion, settled
from evalcov_pipeline.core.judges.rulings import Ruling
from evalcov_pipeline.core.labels.decision import UNCATEGORISED
from evalcov_pipeline.services.evals.suite import known_at
from evalcov_pipeline.services.judges.calibration import labels_before
from evalcov_pipeline.storage.warehouse import frame


@dataclass(frozen=True)
class StoredCertificate:
    """What a row of `judge_calibration` decides."""

    judge: JudgeVersion
    category: str
    ruling: Ruling


def certificates_in_force(
    con: duckdb.DuckDBPyConnection, as_of: datetime
) -> list[StoredCertificate]:
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
    held = certificates_in_force(con, as_of)
    in_use = {(JudgeVersion(one.judge.judge_id), one.category) for one in held}
    refused: defaultdict[str, set[str]] = defaultdict(set)
    for (judge, category), admission in admissible(held, in_use).items():
        if not admission.score:
            refused[category].add(judge.judge_id)
    return {category: frozenset(judges) for category, judges in sorted(refused.items())}


@dataclass(frozen=True)
class AdmittedResults:
    """What may enter the score of a run.

    Attributes:
        results: case_id and passed of first tries.
        left_out: first tries whose verdict is refused and that no person has judged.
        note: whose verdicts are refused, about what; None where none is.
    """

    results: pl.DataFrame
    left_out: int
    note: str | None


NO_RESULTS = AdmittedResults(
    pl.DataFrame(schema={"case_id": pl.String, "passed": pl.Boolean}), 0, None
)


def admitted_results(
    con: duckdb.DuckDBPyConnection, run_id: str, as_of: datetime
) -> AdmittedResults:
    """First tries of a run, without those whose verdict is refused.

    Where one is, what people settled about the answer before `as_of` stands in for it.
    """
    tries = judged_tries(con, run_id, as_of)
    verdict = pl.when("refused").then("people").otherwise("passed").alias("passed")
    admitted = tries.select("case_id", verdict).drop_nulls("passed")
    refused = tries.filter("refused")
    return AdmittedResults(
        admitted, len(tries) - len(admitted), _note(refused) if len(refused) else None
    )


def judged_tries(con: duckdb.DuckDBPyConnection, run_id: str, as_of: datetime) -> pl.DataFrame:
    """First tries of a run that have a verdict, and what may be believed of it.

    Returns:
        case_id, item_id (see `judged_items`), passed, judge_id, category (the result's, else the
        case's), has_output, refused, and people (what they settled before `as_of`, NULL where
        nothing is or the verdict is not refused); ordered by case_id.
    """
    tries = frame(
        con,
        f"""
        SELECT r.case_id, run_id || '/' || r.case_id AS item_id, r.passed, judge_id,
               coalesce(r.category, v.category, $3) AS category, output IS NOT NULL AS has_output
        FROM eval_results r LEFT JOIN eval_case_versions v
          ON v.case_id = r.case_id AND {known_at("$2")}
        WHERE run_id = $1 AND repeat = 0 AND r.passed IS NOT NULL ORDER BY r.case_id
        """,
        [run_id, as_of, UNCATEGORISED],
    )
    refusals = refused_judges(con, as_of)
    refused = [
        judge in refusals.get(category, ())
        for judge, category in tries.select("judge_id", "category").rows()
    ]
    tries = tries.with_columns(refused=pl.Series(refused, dtype=pl.Boolean))
    labels = labels_before(con, as_of).join(tries.filter("refused"), on="item_id", how="semi")
    people = settled(labels).select("item_id", "people")
    return tries.join(people, on="item_id", how="left", maintain_order="left")


def _note(refused: pl.DataFrame) -> str:
    """In words; the same as long as the same judges are refused about the same categories."""
    about = refused.group_by("judge_id").agg(pl.col("category").unique().sort()).sort("judge_id")
    said = "; ".join(f"{judge} on {', '.join(names)}" for judge, names in about.iter_rows())
    return f"Verdicts are refused, and left out where no person has judged the answer: {said}."
