"""Certificates of judges: made from labels and verdicts, and what they admit to a score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.judges.answers import UNCATEGORISED, JudgeVersion, settled
from evalcov_pipeline.core.judges.certificates import Certificate, admissible, calibrate
from evalcov_pipeline.core.judges.rules import Ruling
from evalcov_pipeline.services.evals.suite import known_at
from evalcov_pipeline.services.labels.queue import JUDGED_BY_PEOPLE
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import frame, replace_slice


@dataclass(frozen=True)
class Calibration:
    """Judges held against people, as of an instant.

    Attributes:
        as_of: labels and verdicts before it were seen.
        labels: see `core.judge_answers.judged_answers`.
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


def calibration(con: duckdb.DuckDBPyConnection, settings: Settings, as_of: datetime) -> Calibration:
    """Hold every judge against people, from what was said before `as_of`.

    Args:
        con: a connection.
        settings: seed, and how labels were drawn that do not say so.
        as_of: exclusive end of the week; the same tables give the same certificates.
    """
    labels, verdicts = _labels(con, as_of), _verdicts(con, as_of)
    certificates = calibrate(
        labels,
        verdicts,
        generator(settings, as_of),
        undeclared=settings.judges.undeclared_labels,
    )
    return Calibration(as_of, labels, verdicts, certificates)


def generator(settings: Settings, as_of: datetime) -> np.random.Generator:
    """Random numbers of a week's certificates."""
    return np.random.default_rng([settings.judges.seed, as_of.toordinal()])


def write_certificates(con: duckdb.DuckDBPyConnection, found: Calibration) -> int:
    """Replace a week's rows of `judge_calibration`; how many there are."""
    return replace_slice(con, "judge_calibration", found.rows, calibrated_at=found.as_of)


def is_newest(con: duckdb.DuckDBPyConnection, as_of: datetime) -> bool:
    """Whether no later week has certificates."""
    later = "SELECT count(*) FROM judge_calibration WHERE calibrated_at > ?"
    return con.execute(later, [as_of]).fetchall() == [(0,)]


def _labels(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
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
    labels = _labels(con, as_of).join(tries.filter("refused"), on="item_id", how="semi")
    people = settled(labels).select("item_id", "people")
    return tries.join(people, on="item_id", how="left", maintain_order="left")


def _note(refused: pl.DataFrame) -> str:
    """In words; the same as long as the same judges are refused about the same categories."""
    about = refused.group_by("judge_id").agg(pl.col("category").unique().sort()).sort("judge_id")
    said = "; ".join(f"{judge} on {', '.join(names)}" for judge, names in about.iter_rows())
    return f"Verdicts are refused, and left out where no person has judged the answer: {said}."
