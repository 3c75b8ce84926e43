"""The quarterly failure audit: kinds of failure in production against the cases of the suite."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.core.failures.audit import (
    ORDER,
    Assignment,
    assign_categories,
    represented,
)
from evalcov_pipeline.core.failures.batches import precision
from evalcov_pipeline.core.labels.decision import UNCATEGORISED
from evalcov_pipeline.core.traffic.turns import TRACE
from evalcov_pipeline.core.traffic.weeks import end_of_week
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.evals.suite import active_at
from evalcov_pipeline.services.failures.precision import judged_picks, judged_tasks
from evalcov_pipeline.services.traffic.turns import turns_between
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import naming_damage, traffic_span
from evalcov_pipeline.storage.warehouse import Columns, Warehouse, frame, replace_slice

_TURN = [*TRACE, "turn_index"]
_ROWS: Columns = {
    "quarter": pl.String,
    "category": pl.String,
    "rank": pl.Int64,
    "observed": pl.Int64,
    "labelled": pl.Int64,
    "assigned": pl.Int64,
    "incidents": pl.Int64,
    "rate": pl.Float64,
    "rate_low": pl.Float64,
    "rate_high": pl.Float64,
    "eval_cases": pl.Int64,
    "regression_cases": pl.Int64,
    "newest_case_at": pl.Datetime("us"),
    "last_failed_at": pl.Datetime("us"),
    "status": pl.String,
    "reason": pl.String,
    "as_of": pl.Datetime("us"),
}


@dataclass(frozen=True)
class Quarter:
    """A calendar quarter, as far as it is seen.

    Attributes:
        name: such as 2026-Q4.
        start: its first instant, UTC.
        as_of: until when it is seen, exclusive: the end of a day's week, or its own end.
        known: end of that week: what people have said until then is known.
        end_of_traffic: end of the newest week with traffic.
    """

    name: str
    start: datetime
    as_of: datetime
    known: datetime
    end_of_traffic: datetime


@dataclass(frozen=True)
class Audit:
    """The audit of a quarter.

    Attributes:
        quarter: which.
        rows: of `failure_audit`, by rank.
        assignment: how unlabelled turns with a signal got their kind.
        n_labels: labels with known probabilities that the rates rest on.
    """

    quarter: Quarter
    rows: pl.DataFrame
    assignment: Assignment
    n_labels: int


@dataclass(frozen=True)
class _Seen:
    """Turns of the quarter that show a failure, by kind, and incidents.

    Attributes:
        labelled: turns that people called bad.
        of_incidents: turns of incidents that are not among them.
        assigned: turns with a signal that have their kind from neighbours, or none.
        incidents: incidents.
        ever: kinds that labels and incidents have ever named.
    """

    labelled: Counter[str]
    of_incidents: Counter[str]
    assigned: Counter[str]
    incidents: Counter[str]
    ever: frozenset[str]


def quarter_of(settings: Settings, day: date | None) -> Quarter:
    """The quarter of a day, the newest with traffic by default.

    Raises:
        BadInput: no traffic was imported.
    """
    span = traffic_span(settings.lake)
    if span is None:
        raise BadInput(
            what="there is no production traffic to look for failures in",
            where=str(settings.lake),
            what_to_do="run `evalcov ingest traces FILES`, then `evalcov run weekly`",
        )
    instant = datetime.combine(day, time()) if day else span[1]
    first = 3 * ((instant.month - 1) // 3) + 1
    start = datetime(instant.year, first, 1)
    end = datetime(instant.year + (first == 10), (first + 2) % 12 + 1, 1)
    known = end_of_week(instant)
    return Quarter(
        name=f"{instant.year}-Q{(first + 2) // 3}",
        start=start,
        as_of=min(end, known),
        known=known,
        end_of_traffic=end_of_week(span[1]),
    )


def audit(warehouse: Warehouse, settings: Settings, day: date | None = None) -> Audit:
    """Hold the failures of a quarter against the suite; writes nothing.

    Args:
        warehouse: signals, labels, incidents, cases and results.
        settings: where traffic and vectors are.
        day: in the quarter; what its week's end did not know is left out.

    Raises:
        BadInput: no traffic was imported.
    """
    quarter = quarter_of(settings, day)
    with warehouse.reader() as con:
        judged = judged_tasks(con, quarter.known, quarter.end_of_traffic)
        picks = judged_picks(con, quarter.known, quarter.end_of_traffic)
        incidents = _incidents(con, quarter)
        traces = {*judged["trace_id"], *incidents["trace_id"]} - {None}
        here = _traces_of_quarter(settings, quarter, sorted(traces))
        judged_here = judged.join(here, on=TRACE, how="semi").unique(_TURN, maintain_order=True)
        shown = incidents.join(here, on="trace_id").join(judged_here, on=TRACE, how="anti")
        signalled = _signalled(con, quarter)
        known = _labelled_texts(con, quarter, judged.filter("bad"))
        cases = _cases(con, quarter)
    signalled = signalled.join(judged_here, on=_TURN, how="anti").join(shown, on=TRACE, how="anti")
    kinds, assignment = _assigned(settings, known, signalled)
    named = pl.col("category").fill_null(UNCATEGORISED)
    bad = judged_here.filter("bad").with_columns(category=named)
    of_quarter = incidents.filter("in_quarter").unique("incident_id")
    seen = _Seen(
        labelled=Counter(bad["category"]),
        of_incidents=Counter(shown.unique(TRACE)["category"]),
        assigned=Counter(kinds),
        incidents=Counter(of_quarter["category"]),
        ever=frozenset({*judged.filter("bad")["category"].drop_nulls(), *incidents["category"]}),
    )
    rows = _rows(quarter, seen, picks.join(here, on=TRACE, how="semi"), cases)
    n_labels = picks.join(here, on=TRACE, how="semi").height
    return Audit(quarter, rows, assignment, n_labels)


def write_audit(con: duckdb.DuckDBPyConnection, held: Audit) -> None:
    """Replace the quarter's rows of `failure_audit`."""
    replace_slice(con, "failure_audit", held.rows, quarter=held.quarter.name)


def read_audit(con: duckdb.DuckDBPyConnection, quarter: str) -> pl.DataFrame:
    """Rows of `failure_audit` of a quarter, such as 2026-Q4, the most urgent first."""
    return frame(con, "SELECT * FROM failure_audit WHERE quarter = ? ORDER BY rank", [quarter])


def _rows(quarter: Quarter, seen: _Seen, picks: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """Rows of `failure_audit`, the most urgent first."""
    suite = {row["category"]: row for row in cases.to_dicts()}
    kinds = seen.ever | {*seen.labelled, *seen.of_incidents, *seen.assigned, *seen.incidents}
    chances = picks["inclusion_probability"].to_numpy()
    rows: list[dict[str, Any]] = []
    for kind in sorted(kinds):
        of_kind = picks["bad"] & (picks["category"].fill_null(UNCATEGORISED) == kind)
        rate = precision(of_kind.to_numpy(), chances)
        case = suite.get(kind, {})
        representation = represented(
            kind, case.get("eval_cases", 0), case.get("last_failed_at"),
            ever_run=bool(case.get("runs")),
        )  # fmt: skip
        reason = representation.reason
        if rate.rate is None:
            reason += "; no rate, since no turn of the quarter's batches has a label yet"
        rows.append(
            {
                "quarter": quarter.name,
                "category": kind,
                "observed": seen.labelled[kind] + seen.of_incidents[kind] + seen.assigned[kind],
                "labelled": seen.labelled[kind],
                "assigned": seen.assigned[kind],
                "incidents": seen.incidents[kind],
                "rate": rate.rate,
                "rate_low": rate.low,
                "rate_high": rate.high,
                "eval_cases": case.get("eval_cases", 0),
                "regression_cases": case.get("regression_cases", 0),
                "newest_case_at": case.get("newest_case_at"),
                "last_failed_at": case.get("last_failed_at"),
                "status": representation.status,
                "reason": reason,
                "as_of": quarter.as_of,
            }
        )
    rows.sort(key=lambda row: (ORDER.index(row["status"]), -row["observed"], row["category"]))
    ranked = [row | {"rank": rank} for rank, row in enumerate(rows, 1)]
    return pl.DataFrame(ranked, schema=_ROWS)


def _assigned(
    settings: Settings, known: pl.DataFrame, signalled: pl.DataFrame
) -> tuple[list[str], Assignment]:
    """Kinds of turns with a signal, by labelled texts: what has no vector has no kind."""
    cache = vector_cache(settings)
    missing = set(cache.missing([*known["text_hash"], *signalled["text_hash"].drop_nulls()]))
    known = known.filter(~pl.col("text_hash").is_in(missing))
    near = signalled.filter(~pl.col("text_hash").is_in(missing))
    assignment = assign_categories(
        cache.get(known["text_hash"].to_list()),
        known["category"].to_list(),
        cache.get(near["text_hash"].to_list()),
    )
    kinds = [kind or UNCATEGORISED for kind in assignment.categories]
    return kinds + [UNCATEGORISED] * (signalled.height - near.height), assignment


def _incidents(con: duckdb.DuckDBPyConnection, quarter: Quarter) -> pl.DataFrame:
    """incident_id, category, trace_id (one row per trace, or none) and in_quarter, until as_of."""
    return frame(
        con,
        """
        SELECT incident_id, coalesce(category, $3) AS category, trace_id,
               happened >= $1 AS in_quarter
        FROM (SELECT *, least(coalesce("at", first_recorded_at), $4) AS happened FROM incidents) i
        LEFT JOIN LATERAL (SELECT unnest(i.trace_ids) AS trace_id) ON true
        WHERE happened <= $2 ORDER BY incident_id, trace_id
        """,
        [quarter.start, quarter.known, UNCATEGORISED, quarter.end_of_traffic],
    )


def _traces_of_quarter(settings: Settings, quarter: Quarter, traces: list[str]) -> pl.DataFrame:
    """Keys of those traces that have a turn in the quarter: source and trace_id."""
    with naming_damage(settings.lake):
        return (
            turns_between(settings.lake, quarter.start, quarter.as_of)
            .filter(pl.col("trace_id").is_in(traces))
            .select(TRACE)
            .unique()
            .collect(engine="streaming")
        )


def _signalled(con: duckdb.DuckDBPyConnection, quarter: Quarter) -> pl.DataFrame:
    """source, trace_id, turn_index and text_hash of the quarter's turns with a signal."""
    return frame(
        con,
        "SELECT source, trace_id, turn_index, min(text_hash) AS text_hash FROM failure_signals"
        " WHERE started_at >= $1 AND started_at < $2 GROUP BY ALL ORDER BY ALL",
        [quarter.start, quarter.as_of],
    )


def _labelled_texts(
    con: duckdb.DuckDBPyConnection, quarter: Quarter, bad: pl.DataFrame
) -> pl.DataFrame:
    """text_hash and category of turns that people called bad, and of regression cases."""
    guards = frame(
        con,
        "SELECT text_hash, category FROM eval_case_versions"
        f" WHERE regression AND text_hash IS NOT NULL AND {active_at('$1')} ORDER BY case_id",
        [quarter.known],
    )
    named = pl.concat([bad.select("text_hash", "category"), guards]).drop_nulls()
    return named.unique("text_hash", keep="first", maintain_order=True)


def _cases(con: duckdb.DuckDBPyConnection, quarter: Quarter) -> pl.DataFrame:
    """category, eval_cases, regression_cases, newest_case_at, runs and last_failed_at."""
    return frame(
        con,
        f"""
        WITH suite AS (
          SELECT case_id, category, regression, effective_at FROM eval_case_versions
          WHERE category IS NOT NULL AND {active_at("$1")}
        ), tries AS (
          SELECT case_id, count(*) AS runs, max("at") FILTER (NOT passed) AS failed_at
          FROM eval_results
          WHERE repeat = 0 AND variant IS NULL AND passed IS NOT NULL AND "at" <= $1
          GROUP BY case_id
        )
        SELECT category, count(*) AS eval_cases, count(*) FILTER (regression) AS regression_cases,
               max(effective_at) AS newest_case_at, coalesce(sum(runs), 0)::BIGINT AS runs,
               max(failed_at) AS last_failed_at
        FROM suite LEFT JOIN tries USING (case_id) GROUP BY category
        """,
        [quarter.known],
    )
