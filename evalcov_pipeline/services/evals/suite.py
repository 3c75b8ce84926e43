"""Eval cases, results and runs: the suite as of any instant, and which run is scored beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.services.evals.ledger import read_events
from evalcov_pipeline.services.traffic.texts import add_texts, redacted
from evalcov_pipeline.storage.warehouse import Columns, frame, insert, one_row, replace_slice

_VERSIONS: Columns = {
    "case_id": pl.String,
    "version": pl.Int64,
    "input": pl.String,
    "texts": pl.List(pl.String),
    "n_turns": pl.Int64,
    "expected": pl.String,
    "expected_tools": pl.List(pl.String),
    "outcome": pl.String,
    "category": pl.String,
    "tags": pl.List(pl.String),
    "origin": pl.String,
    "source_ref": pl.String,
    "status": pl.String,
    "regression": pl.Boolean,
    "supersedes": pl.String,
    "designed": pl.Boolean,
    "plan_id": pl.String,
    "batch_id": pl.String,
    "incident_id": pl.String,
    "raters": pl.List(pl.String),
    "created_at": pl.Datetime("us"),
    "effective_at": pl.Datetime("us"),
    "imported_at": pl.Datetime("us"),
    "valid_from": pl.Datetime("us"),
    "valid_to": pl.Datetime("us"),
}
_RESULT_KEY = ["run_id", "case_id", "repeat"]
_SAME_RESULT = " AND ".join(f"eval_results.{name} = changed.{name}" for name in _RESULT_KEY)


def derive_suite(
    con: duckdb.DuckDBPyConnection,
    *,
    oldest_traffic: datetime | None,
    redact_all: Callable[[Sequence[str]], list[str]],
    with_previous_turn: bool = False,
) -> pl.DataFrame:
    """Derive `eval_case_versions` and `eval_cases` from the ledger, and register their texts.

    A case counts from its `created_at`; without one, from the oldest traffic if it came with the
    first import, else from its import. Its first version counts from then on, a later one from its
    event.

    Args:
        con: a writing connection.
        oldest_traffic: first turn of the lake, None without traffic.
        redact_all: takes personal data out of texts.
        with_previous_turn: the text of a user message has the one before it in front, as that of
            a turn has in production; else it stands alone.

    Returns:
        The rows of `eval_cases`.
    """
    versions = _versions(read_events(con), oldest_traffic, 2 if with_previous_turn else 1)
    texts = redacted(versions["texts"].explode(empty_as_null=False), redact_all)
    names = dict(texts.select("raw", "text_hash").iter_rows())
    hashes = [[names[text] for text in said] for said in versions["texts"].to_list()]
    versions = (
        versions.drop("texts")
        .with_columns(text_hashes=pl.Series(hashes, dtype=pl.List(pl.String)))
        .with_columns(text_hash=pl.col("text_hashes").list.last())
    )
    add_texts(con, texts.drop("raw"))
    replace_slice(con, "eval_case_versions", versions)
    cases = (
        versions.sort("version")
        .group_by("case_id")
        .agg(pl.all().last())
        .drop("valid_from", "valid_to")
        .sort("case_id")
    )
    replace_slice(con, "eval_cases", cases)
    return cases


def known_at(instant: str) -> str:
    """SQL condition on a row of `eval_case_versions`: the version that its case had at an instant.

    Args:
        instant: a parameter such as $1, a column or another expression.
    """
    return f"valid_from <= {instant} AND (valid_to IS NULL OR valid_to > {instant})"


def active_at(instant: str) -> str:
    """SQL condition on a row of `eval_case_versions`: that version, of a case active at an instant.

    Args:
        instant: a parameter such as $1, a column or another expression.
    """
    return f"eval_case_versions.status = 'active' AND {known_at(instant)}"


def active_cases(con: duckdb.DuckDBPyConnection, *, only_regressions: bool = False) -> pl.DataFrame:
    """The suite of today: rows of `eval_cases`, or those of them that guard a known failure."""
    return frame(
        con,
        "SELECT * FROM eval_cases WHERE status = 'active' AND (regression OR NOT $1)"
        " ORDER BY case_id",
        [only_regressions],
    )


def suite(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """The cases that were active at an instant, each in its version of then.

    Returns:
        case_id, text_hash, designed and effective_at, ordered by case_id.
    """
    return frame(
        con,
        "SELECT case_id, text_hash, designed, effective_at FROM eval_case_versions"
        f" WHERE {active_at('$1')} ORDER BY case_id",
        [as_of],
    )


def _versions(
    events: pl.DataFrame, oldest_traffic: datetime | None, n_messages: int
) -> pl.DataFrame:
    """One row per event: the case as it was from `valid_from` to `valid_to`."""
    rows: list[dict[str, Any]] = []
    newest: dict[str, dict[str, Any]] = {}
    first_import = events["at"].min()
    for event in events.iter_rows(named=True):
        case = orjson.loads(event["payload"])
        before = newest.get(event["case_id"])
        imported = before["imported_at"] if before else event["at"]
        created = _instant(case.get("created_at"))
        came_first = imported == first_import and oldest_traffic is not None
        counts_from = _instant(case.get("effective_at")) or created
        effective = counts_from or (oldest_traffic if came_first else imported)
        messages = case["input"] if isinstance(case["input"], list) else None
        queries = (
            [message.get("content") or "" for message in messages if message.get("role") == "user"]
            if messages is not None
            else [case["input"]]
        )
        row = {
            "case_id": event["case_id"],
            "version": before["version"] + 1 if before else 1,
            "input": orjson.dumps(messages).decode() if messages is not None else case["input"],
            "texts": [
                "\n".join(queries[max(0, end - n_messages) : end])
                for end in range(1, len(queries) + 1)
            ],
            "n_turns": len(queries),
            "expected": case.get("expected"),
            "expected_tools": case.get("expected_tools"),
            "outcome": case.get("outcome"),
            "category": case.get("category"),
            "tags": case.get("tags") or [],
            "origin": case.get("origin") or "hand_authored",
            "source_ref": case.get("source_ref"),
            "status": case.get("status") or "active",
            "regression": bool(case.get("regression")),
            "supersedes": case.get("supersedes"),
            "designed": bool(case.get("designed")),
            "plan_id": case.get("plan_id"),
            "batch_id": case.get("batch_id"),
            "incident_id": case.get("incident_id"),
            "raters": case.get("raters"),
            "created_at": created,
            "effective_at": effective,
            "imported_at": imported,
            "valid_from": max(effective, event["at"]) if before else effective,
            "valid_to": None,
        }
        if before:
            before["valid_to"] = row["valid_from"]
        newest[event["case_id"]] = row
        rows.append(row)
    return pl.DataFrame(rows, schema=_VERSIONS)


def add_results(
    con: duckdb.DuckDBPyConnection, results: pl.DataFrame, imported_at: datetime
) -> tuple[int, int]:
    """Add eval results, keyed by run, case and repeat; one that differs replaces what is known.

    Args:
        con: a writing connection.
        results: rows of `eval_results`; of several with one key the last counts. Without `at`
            a result counts from its first import.
        imported_at: instant of this import, UTC.

    Returns:
        How many were new, and how many replaced an earlier one.
    """
    newest = results.unique(_RESULT_KEY, keep="last", maintain_order=True)
    con.register("keys", newest.select(_RESULT_KEY).to_arrow())
    known = frame(
        con, f"SELECT * FROM eval_results SEMI JOIN keys USING ({', '.join(_RESULT_KEY)})"
    )
    con.unregister("keys")
    at = known.select(*_RESULT_KEY, first="at", known=True)
    newest = newest.join(at, on=_RESULT_KEY, how="left", maintain_order="left").with_columns(
        at=pl.coalesce("at", "first", pl.lit(imported_at, pl.Datetime("us")))
    )
    new = newest.filter(pl.col("known").is_null()).drop("first", "known")
    columns = new.columns
    changed = (
        newest.drop_nulls("known")
        .select(columns)
        .join(known.select(columns), on=columns, how="anti", nulls_equal=True)
    )
    con.register("changed", changed.select(_RESULT_KEY).to_arrow())
    con.execute(f"DELETE FROM eval_results USING changed WHERE {_SAME_RESULT}")
    con.unregister("changed")
    insert(con, "eval_results", pl.concat([new, changed]))
    return new.height, changed.height


def summarise_runs(con: duckdb.DuckDBPyConnection, complete_share: float) -> int:
    """Derive `eval_runs` from the results and the suite.

    A run is complete when it holds first tries for `complete_share` of the cases that were active
    when it finished.
    """
    runs = frame(
        con,
        f"""
        WITH runs AS (
          SELECT run_id, max("at") AS finished_at, count(*) AS n_cases,
                 avg(passed::INT) AS pass_rate,
                 median(latency_ms) AS latency_ms, avg(cost_usd) AS cost_usd,
                 string_agg(DISTINCT judge_id, ',' ORDER BY judge_id) AS judge_id,
                 max(system_version) AS system_version, max(model) AS model,
                 max(variant) AS variant
          FROM eval_results WHERE repeat = 0 GROUP BY run_id
        ), active AS (
          SELECT run_id, case_id FROM runs, eval_case_versions
          WHERE {active_at("finished_at")}
        )
        SELECT runs.*,
               (SELECT count(*) FROM active a WHERE a.run_id = runs.run_id) AS n_active,
               (SELECT count(*) FROM active a JOIN eval_results r USING (run_id, case_id)
                WHERE a.run_id = runs.run_id AND r.repeat = 0) AS n_answered
        FROM runs ORDER BY run_id
        """,
    )
    complete = (pl.col("n_active") > 0) & (
        pl.col("n_answered") >= complete_share * pl.col("n_active")
    )
    return replace_slice(con, "eval_runs", runs.with_columns(complete=complete).drop("n_answered"))


@dataclass(frozen=True)
class ScoredRun:
    """The eval run that is scored beside coverage.

    Attributes:
        run_id: its name.
        judge_id: its judge; several are joined by a comma; None where no result names one.
    """

    run_id: str
    judge_id: str | None


def scored_run(con: duckdb.DuckDBPyConnection, as_of: datetime) -> ScoredRun | None:
    """The newest complete run of the product itself at `as_of`, or None."""
    row = one_row(
        con,
        "SELECT run_id, judge_id FROM eval_runs"
        " WHERE complete AND variant IS NULL AND finished_at <= ?"
        " ORDER BY finished_at DESC, run_id DESC LIMIT 1",
        [as_of],
    )
    return ScoredRun(**row) if row else None


def _instant(value: str | None) -> datetime | None:
    """An ISO 8601 instant in UTC, naive."""
    if value is None:
        return None
    instant = datetime.fromisoformat(value)
    return instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant
