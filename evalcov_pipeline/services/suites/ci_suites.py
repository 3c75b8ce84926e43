"""The CI suites: chosen from the active cases by their results, kept with every reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.core.labels.decision import UNCATEGORISED
from evalcov_pipeline.core.statistics.quotas import Floor
from evalcov_pipeline.core.suites.failure_modes import failure_modes
from evalcov_pipeline.core.suites.latency import case_latency
from evalcov_pipeline.core.suites.reruns import STABLE
from evalcov_pipeline.core.suites.selection import SelectedSuite, SuiteRules, select_suite, suite_id
from evalcov_pipeline.formats.conversations import is_conversation
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.services.suites.discrimination import RefusedJudges
from evalcov_pipeline.settings import SuiteSettings
from evalcov_pipeline.storage.warehouse import frame, insert, one_row, replace_slice

_MODE, _REGRESSION, _TAG = "failure mode", "regression of", "tag"
_CASES = (
    "case_id", "version", "rank", "decides", "reason", "expected_s", "failure_mode",
    "incident_id", "pass_rate", "pass_rate_tries", "refused_judges",
)  # fmt: skip


@dataclass(frozen=True)
class CiSuite:
    """A suite as `ci_suites` holds it.

    Attributes:
        suite_id: names its cases and what is asked of them.
        created_at: when these cases were first chosen.
        chosen_at: when they were chosen last.
        n_cases: cases.
        n_deciding: of them, those that decide a gate.
        budget_s: seconds that a run may take.
        workers: cases that run at a time.
        expected_s: seconds that a run is expected to take.
        detection_power: weighted share of failure modes that a run is expected to notice.
        n_failure_modes: kinds of failure that were weighed.
        weighed_by: what they were weighed by, in words.
        left_out: case_id and reason of the cases that cannot decide (JSON).
        note: what could not be honoured; None where there is nothing to say.
    """

    suite_id: str
    created_at: datetime
    chosen_at: datetime
    n_cases: int
    n_deciding: int
    budget_s: float
    workers: int
    expected_s: float
    detection_power: float
    n_failure_modes: int
    weighed_by: str
    left_out: str
    note: str | None


@dataclass(frozen=True)
class ChosenSuite:
    """What a choice came to.

    Attributes:
        suite: what is in force now; None where no case can decide a gate, so that an earlier suite
            stays in force.
        cases: its rows of `ci_suite_cases`, in order of choice.
        left_out: case_id and reason of the cases that cannot decide.
        crowded_out: why those that can decide have no place; None where some have one, or none can.
    """

    suite: CiSuite | None
    cases: pl.DataFrame
    left_out: pl.DataFrame
    crowded_out: str | None = None

    @property
    def note(self) -> str | None:
        """What could not be honoured, or why there is no suite."""
        if self.suite:
            return self.suite.note
        if self.crowded_out:
            return (
                f"no case that can decide a gate has a place, so nothing was chosen:"
                f" {self.crowded_out}; raise suites.budget_s or suites.max_cases"
            )
        if self.left_out.is_empty():
            return "there is no active case: `evalcov ingest evals FILES`"
        case, reason = self.left_out.row(0)
        return (
            f"no case can decide a gate, so nothing was chosen ({case}: {reason}): run the cases on"
            " the product, then `evalcov ingest results FILES`"
        )


def choose_suite(
    con: duckdb.DuckDBPyConnection,
    settings: SuiteSettings,
    refused: RefusedJudges,
    chosen_at: datetime,
) -> ChosenSuite:
    """Choose the CI suite anew, and write it.

    The same cases have the same id: choosing them again brings `chosen_at` and the figures up to
    date, and leaves `created_at`.

    Args:
        con: a writing connection; `case_discrimination` and `case_detection` are up to date.
        settings: what the suite may cost and must hold.
        refused: judges that have no say.
        chosen_at: now, UTC.
    """
    candidates = _candidates(con, settings, refused)
    if not candidates["unfit"].is_null().any():
        none = frame(con, "FROM ci_suite_cases LIMIT 0")
        return ChosenSuite(None, none, candidates.select("case_id", reason="unfit"))
    weights, weighed_by = _weights(con)
    modes = failure_modes(candidates, frame(con, "FROM case_detection"), weights)
    selected = select_suite(candidates, modes, _rules(candidates, settings), _present(con))
    if not selected.picks["decides"].any():
        none = frame(con, "FROM ci_suite_cases LIMIT 0")
        why = selected.notes[0] if selected.notes else "none tells anything apart"
        return ChosenSuite(None, none, selected.left_out, why)
    cases = _suite_cases(candidates, selected)
    name = suite_id(map(_content, cases.iter_rows(named=True)))
    known = one_row(con, "SELECT created_at FROM ci_suites WHERE suite_id = ?", [name])
    suite = CiSuite(
        suite_id=name,
        created_at=known["created_at"] if known else chosen_at,
        chosen_at=chosen_at,
        n_cases=cases.height,
        n_deciding=int(cases["decides"].sum()),
        budget_s=settings.budget_s,
        workers=settings.workers,
        expected_s=selected.expected_s,
        detection_power=selected.detection_power,
        n_failure_modes=len(modes.names),
        weighed_by=weighed_by,
        left_out=orjson.dumps(selected.left_out.to_dicts()).decode(),
        note="; ".join(selected.notes) or None,
    )
    cases = cases.select(pl.lit(name).alias("suite_id"), *_CASES)
    con.execute("DELETE FROM ci_suites WHERE suite_id = ?", [name])
    insert(con, "ci_suites", pl.DataFrame([asdict(suite)]))
    replace_slice(con, "ci_suite_cases", cases, suite_id=name)
    return ChosenSuite(suite, cases, selected.left_out)


def newest_suite(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The cases of the suite in force as an exported file holds them; empty where there is none."""
    rows = frame(
        con,
        """
        SELECT case_id, v.input, v.expected, v.expected_tools, s.failure_mode, v.category, v.tags,
               s.incident_id, decides, reason, round(expected_s, 1) AS expected_s,
               round(pass_rate, 4) AS pass_rate, round(pass_rate_tries, 1) AS pass_rate_tries,
               refused_judges
        FROM ci_suite_cases s JOIN eval_case_versions v USING (case_id, version)
        WHERE suite_id = (
          SELECT suite_id FROM ci_suites ORDER BY chosen_at DESC, suite_id LIMIT 1)
        ORDER BY rank
        """,
    )
    return [row | _content(row) for row in rows.iter_rows(named=True)]


def _candidates(
    con: duckdb.DuckDBPyConnection, settings: SuiteSettings, refused: RefusedJudges
) -> pl.DataFrame:
    """The active cases: what `select_suite` asks of them, and what the gate needs to know."""
    cases = frame(
        con,
        f"""
        SELECT case_id, c.version, input, expected, incident_id,
               coalesce(category, '{UNCATEGORISED}') AS failure_mode,
               CASE WHEN regression THEN failure_mode END AS "{_REGRESSION}",
               CASE WHEN list_contains(tags, $1) THEN $1 END AS "{_TAG}",
               coalesce(pass_rate, {STABLE}) AS pass_rate, pass_rate_tries,
               d.unfit, judge_id
        FROM eval_cases c LEFT JOIN case_discrimination d USING (case_id)
        LEFT JOIN (
          SELECT case_id, arg_max(judge_id, "at") AS judge_id FROM eval_results
          WHERE variant IS NULL AND repeat = 0 GROUP BY case_id
        ) USING (case_id)
        WHERE c.status = 'active' ORDER BY case_id
        """,
        [settings.adversarial_tag],
    )
    latencies = frame(
        con,
        "SELECT case_id, latency_ms / 1000 AS seconds FROM eval_results"
        " WHERE variant IS NULL AND latency_ms > 0",
    )
    refused_of = [sorted(refused.get(mode, ())) for mode in cases["failure_mode"]]
    cases = cases.with_columns(refused_judges=pl.Series(refused_of, dtype=pl.List(pl.String)))
    by_refused = pl.col("refused_judges").list.contains(pl.col("judge_id"))
    return (
        cases.join(case_latency(latencies), on="case_id", how="left", maintain_order="left")
        .with_columns(pl.col("seconds").fill_null(settings.default_latency_s))
        .with_columns(
            pl.col("failure_mode").alias(_MODE),
            unfit=pl.when(by_refused.fill_null(value=False))
            .then(pl.format("its judge is refused for {}: people decide", "failure_mode"))
            .when(pl.col("pass_rate_tries").is_null())
            .then(pl.lit("never run"))
            .otherwise("unfit"),
        )
    )


def _rules(candidates: pl.DataFrame, settings: SuiteSettings) -> SuiteRules:
    """Budget and floors; of a failure mode its regression cases come first."""
    modes = {
        column: sorted(candidates[column].drop_nulls().unique()) for column in (_REGRESSION, _MODE)
    }
    floors = [
        Floor(column, mode, settings.per_failure_mode)
        for column, found in modes.items()
        for mode in found
    ]
    return SuiteRules(
        budget_s=settings.budget_s,
        workers=settings.workers,
        max_cases=settings.max_cases,
        floors=(*floors, Floor(_TAG, settings.adversarial_tag, settings.adversarial)),
    )


def _weights(con: duckdb.DuckDBPyConnection) -> tuple[dict[str, float], str]:
    """What failure modes weigh, and by what: failures of the newest audited quarter, plus one."""
    observed = con.execute(
        "SELECT category, observed::DOUBLE + 1 FROM failure_audit"
        " WHERE quarter = (SELECT max(quarter) FROM failure_audit)"
    ).fetchall()
    if not observed:
        return {}, "evenly: no quarter of failures was audited"
    ((quarter,),) = con.execute("SELECT max(quarter) FROM failure_audit").fetchall()
    return dict(observed), f"failures seen in production in {quarter}"


def _present(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Ids of the suite in force, in order of choice."""
    return [case["case_id"] for case in newest_suite(con)]


def _suite_cases(candidates: pl.DataFrame, selected: SelectedSuite) -> pl.DataFrame:
    """The chosen cases in order of choice, with their contents."""
    picks = selected.picks.with_row_index("rank", offset=1)
    return picks.join(candidates, on="case_id", how="left", maintain_order="left")


def _content(case: Mapping[str, Any]) -> dict[str, Any]:
    """What the suite's id hashes of a case, messages as a list."""
    messages = parsed(case["input"])
    content = messages if is_conversation(messages) else case["input"]
    names = ("case_id", "expected", "failure_mode", "incident_id", "decides")
    return {name: case[name] for name in names} | {"input": content}
