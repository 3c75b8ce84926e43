"""The eval suite over time: what became of a case, and what the suite was made of on any day."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.evals.suite import active_at
from evalcov_pipeline.storage.warehouse import frame

AGES = {"up to 30 days": 30, "31 to 90 days": 90, "91 to 180 days": 180, "181 to 365 days": 365}
"""Age buckets by their last day; what is older is in `OLDER`."""
OLDER = "over a year"
NOT_SCORED = "not scored yet"
"""Cluster of cases that no score has placed."""


@dataclass(frozen=True)
class Composition:
    """What a suite is made of, each as a frame of a name and its number of cases.

    Attributes:
        origins: origin and cases, most first.
        ages: age and cases, youngest first.
        clusters: cluster and cases, most first.
        months: month (its first day), origin and cases at the end of it, oldest first.
    """

    origins: pl.DataFrame
    ages: pl.DataFrame
    clusters: pl.DataFrame
    months: pl.DataFrame


def case_history(con: duckdb.DuckDBPyConnection, case_id: str) -> list[dict[str, Any]]:
    """Every version of a case, oldest first.

    Returns:
        version, event, at, actor, plan_id, incident_id, raters and `changed`: a mapping of the
        fields that differ from the version before to {before, after}.

    Raises:
        BadInput: no such case.
    """
    events = frame(
        con, "SELECT * FROM eval_case_events WHERE case_id = ? ORDER BY event_id", [case_id]
    )
    if events.is_empty():
        known = [name for (name,) in con.execute("SELECT case_id FROM eval_cases").fetchall()]
        near = get_close_matches(case_id, known, n=3, cutoff=0.5)
        raise BadInput(
            what=f"no case {case_id!r}",
            where="eval_cases",
            what_to_do=f"did you mean {', '.join(near)}?"
            if near
            else "`evalcov evals list` names them all",
        )
    versions: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    for event in events.iter_rows(named=True):
        case = orjson.loads(event["payload"])
        case.pop("case_id", None)
        names = [name for name in {**before, **case} if before.get(name) != case.get(name)]
        versions.append(
            {
                "version": len(versions) + 1,
                **{name: event[name] for name in ("event", "at", "actor")},
                "plan_id": case.get("plan_id"),
                "incident_id": case.get("incident_id"),
                "raters": case.get("raters"),
                "changed": {
                    name: {"before": before.get(name), "after": case.get(name)} for name in names
                },
            }
        )
        before = case
    return versions


def suite_on(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """The cases that were active at an instant, each in its version of then.

    Returns:
        Rows of `eval_case_versions` and `cluster`, the label that the newest score up to then gave
        the case; ordered by case_id.
    """
    return frame(
        con,
        f"""
        SELECT eval_case_versions.*, coalesce(c.label, $2) AS cluster
        FROM eval_case_versions
        LEFT JOIN (
          SELECT case_id, arg_max(label, e.as_of) AS label
          FROM eval_coverage e
          JOIN coverage_scores s ON s.as_of = e.as_of AND s.headline
          JOIN cluster_coverage k ON k.as_of = e.as_of AND k.taxonomy_id = s.taxonomy_id
            AND k.cluster_id = e.cluster_id
          WHERE e.as_of <= $1 GROUP BY case_id
        ) c USING (case_id)
        WHERE {active_at("$1")} ORDER BY case_id
        """,
        [as_of, NOT_SCORED],
    )


def composition(con: duckdb.DuckDBPyConnection, as_of: datetime) -> Composition:
    """What the suite of an instant was made of, and how it came to that."""
    cases = suite_on(con, as_of)
    ages = Counter(_age(as_of - since) for since in cases["effective_at"])

    def count(by: str) -> pl.DataFrame:
        return cases.group_by(by).agg(cases=pl.len()).sort(["cases", by], descending=[True, False])

    months = frame(
        con,
        f"""
        SELECT month::DATE AS month, origin, count(*) AS cases
        FROM (SELECT unnest(generate_series(date_trunc('month', min(valid_from)), $1,
                                            INTERVAL 1 MONTH)) AS month
              FROM eval_case_versions)
        JOIN eval_case_versions ON {active_at("least($1, month + INTERVAL 1 MONTH)")}
        GROUP BY ALL ORDER BY month, origin
        """,
        [as_of],
    )
    return Composition(
        origins=count("origin"),
        ages=pl.DataFrame(
            [(name, ages[name]) for name in (*AGES, OLDER) if name in ages],
            schema={"age": pl.String, "cases": pl.UInt32},
            orient="row",
        ),
        clusters=count("cluster"),
        months=months,
    )


def _age(age: timedelta) -> str:
    return next((name for name, days in AGES.items() if age.days <= days), OLDER)
