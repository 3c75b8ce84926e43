"""Suggested labels: what they are used for, and how often people agree with them.

That depends on the cluster: as long as people agree with the suggestions that are hidden from them,
the others are shown or accepted. Once they do not, the cluster falls back to people, and every
further suggestion is hidden, so that agreement goes on being measured.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.core.labels.suggestions import (
    Agreement,
    State,
    Verdict,
    agree,
    agreement,
    in_audit,
)
from evalcov_pipeline.services.labels.proposals import (
    NEIGHBOURS,
    Decided,
    Prepared,
    Proposal,
    decided_by_people,
    waiting_tasks,
)
from evalcov_pipeline.services.labels.queue import SUGGESTED, record_labels
from evalcov_pipeline.services.labels.tasks import Task
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings, SuggestionSettings
from evalcov_pipeline.storage.warehouse import Columns, frame, insert, replace_slice

Row = dict[str, Any]
ALL_CLUSTERS = "*"
_OUTCOME = ("human_keep", "human_passed", "human_category", "agreed", "decided_at")
_ROW: Columns = {
    "task_id": pl.String,
    "cluster_key": pl.String,
    "by": pl.String,
    "use": pl.String,
    "keep": pl.Boolean,
    "passed": pl.Boolean,
    "category": pl.String,
    "expected": pl.String,
    "confidence": pl.Float64,
    "neighbours": pl.String,
    "asked": pl.String,
    "created_at": pl.Datetime("us"),
    "human_keep": pl.Boolean,
    "human_passed": pl.Boolean,
    "human_category": pl.String,
    "agreed": pl.Boolean,
    "decided_at": pl.Datetime("us"),
}
_AGREEMENT: Columns = {
    "cluster_key": pl.String,
    "by": pl.String,
    "cluster_label": pl.String,
    "labelled": pl.Int64,
    "suggested": pl.Int64,
    "audited": pl.Int64,
    "agreed": pl.Int64,
    "agreement": pl.Float64,
    "agreement_low": pl.Float64,
    "agreement_high": pl.Float64,
    "state": pl.String,
    "reason": pl.String,
}


@dataclass(frozen=True)
class SuggestionReport:
    """What recording suggestions did, and what there is now.

    Attributes:
        uses: rows of `suggestions` of tasks that people have not decided, by use.
        changed: rows that are new or different.
        accepted: suggestions that became labels.
        withdrawn: accepted suggestions that are labels no more.
        agreement: rows of `suggestion_agreement`.
    """

    uses: Mapping[str, int]
    changed: int
    accepted: int
    withdrawn: int
    agreement: pl.DataFrame


def record(
    con: duckdb.DuckDBPyConnection, prepared: Prepared, settings: Settings, at: datetime
) -> SuggestionReport:
    """Measure agreement, and use what was prepared accordingly; without news nothing changes.

    Tasks that people have labelled since `prepare` keep what they had.

    Args:
        con: a writing connection.
        prepared: of these settings.
        settings: of the pipeline.
        at: instant of the suggestions, naive UTC.
    """
    rules = settings.suggestions
    before = {row["task_id"]: row for row in frame(con, "SELECT * FROM suggestions").to_dicts()}
    decided = decided_by_people(con)
    rows = {name: _settled(row, decided.get(name)) for name, row in before.items()}
    agreements = _agreements(rows.values(), rules)
    rows = _used(rows, waiting_tasks(con), prepared, agreements, rules, at)
    accepted, withdrawn = _write(con, before, rows, settings, at)
    table = _agreement_table(con, rows.values(), agreements, decided.values())
    replace_slice(con, "suggestion_agreement", table)
    changed = [name for name in {*before, *rows} if before.get(name) != rows.get(name)]
    uses = Counter(row["use"] for row in rows.values() if row["agreed"] is None)
    return SuggestionReport(dict(uses), len(changed), accepted, withdrawn, table)


def summary(prepared: Prepared, report: SuggestionReport) -> dict[str, int | str]:
    """Counts for people, by name."""
    counts: dict[str, int | str] = {
        "shown": report.uses.get("shown", 0),
        "hidden": report.uses.get("audit", 0),
        "accepted": report.uses.get("accepted", 0),
        "withdrawn": report.uses.get("withdrawn", 0),
        "changed": report.changed,
        "unsure": prepared.unsure,
        "too_few_labels": prepared.too_few_labels,
        "without_vector": prepared.without_vector,
    }
    if answers := prepared.answers:
        counts |= {
            "requests": answers.requests,
            "tokens": answers.tokens,
            "unusable_replies": answers.unusable,
            "failed_questions": answers.failed,
            "not_asked": answers.left,
        }
        if answers.trouble:
            counts["trouble"] = answers.trouble
    return counts


def _used(
    settled: Mapping[str, Row],
    waiting: Iterable[Task],
    prepared: Prepared,
    agreements: Mapping[tuple[str, str], Agreement],
    rules: SuggestionSettings,
    at: datetime,
) -> dict[str, Row]:
    """The rows of `suggestions`, each with what it is used for from now on."""
    rows = dict(settled)
    open_tasks = {task.task_id: task for task in waiting}
    for name, task in open_tasks.items():
        row, proposal = rows.get(name), prepared.proposals.get(name)
        told = agreements.get((proposal.cluster_key, proposal.by)) if proposal else None
        use = _use(row, task, proposal, rules, told.state if told else "measuring")
        if use is None:
            rows.pop(name, None)
        elif proposal is None or use == "withdrawn":
            rows[name] = {**rows[name], "use": use}
        else:
            new = dict.fromkeys(_ROW) | vars(proposal) | {"use": use, "created_at": at}
            same = row and all(row[c] == new[c] for c in _ROW if c != "created_at")
            rows[name] = row if row and same else new
    for name, row in rows.items():
        if name in open_tasks or row["agreed"] is not None:
            continue
        told = agreements[row["cluster_key"], row["by"]]
        ends = told.state == "fallen_back" and row["use"] in ("shown", "accepted")
        if ends or (rules.mode == "off" and row["use"] == "shown"):
            rows[name] = {**row, "use": "withdrawn"}
    return rows


def _use(
    row: Row | None,
    task: Task,
    proposal: Proposal | None,
    rules: SuggestionSettings,
    state: State,
) -> str | None:
    """What the suggestion of a waiting task is used for; None if there is none.

    A suggestion that people could see is never an audit afterwards, and an audit is never shown.
    Only people say that an answer failed, and independent raters stay people.
    """
    seen = row is not None and row["use"] != "audit"
    if proposal is None or (state == "fallen_back" and seen):
        return "withdrawn" if seen else None
    if state == "fallen_back" or (not seen and (row or in_audit(task.task_id, rules.audit_share))):
        return "audit"
    sure = proposal.confidence is not None or state == "holds"
    by_people = task.raters_wanted > 1 or proposal.passed is False
    return "accepted" if rules.mode == "accept" and sure and not by_people else "shown"


def _settled(row: Row, decided: Decided | None) -> Row:
    """The row with what people decided; without it where they took their word back."""
    if decided is None:
        return {**row, **dict.fromkeys(_OUTCOME)}
    verdict = decided.verdict
    suggested = Verdict(row["keep"], row["passed"], row["category"])
    outcome = (
        verdict.keep,
        verdict.passed,
        verdict.category,
        agree(suggested, verdict),
        decided.decided_at,
    )
    return {**row, **dict(zip(_OUTCOME, outcome, strict=True))}


def _agreements(rows: Iterable[Row], rules: SuggestionSettings) -> dict[tuple[str, str], Agreement]:
    """Agreement by cluster and suggester, from audits alone."""
    matches: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        audits = matches[row["cluster_key"], row["by"]]
        if row["use"] == "audit" and row["agreed"] is not None:
            audits.append(row["agreed"])
    return {
        key: agreement(votes, bound=rules.agreement, enough=rules.enough_audits)
        for key, votes in matches.items()
    }


def _write(
    con: duckdb.DuckDBPyConnection,
    before: Mapping[str, Row],
    rows: Mapping[str, Row],
    settings: Settings,
    at: datetime,
) -> tuple[int, int]:
    """Write what is different: rows, what people are shown, and labels.

    Returns:
        How many suggestions became labels, and how many are labels no more.
    """
    different = sorted(name for name in {*before, *rows} if before.get(name) != rows.get(name))
    con.execute("DELETE FROM suggestions WHERE list_contains(?, task_id)", [different])
    new = [rows[name] for name in different if name in rows]
    insert(con, "suggestions", pl.DataFrame(new, schema=_ROW))
    labels = []
    for name in different:
        row, old = rows.get(name), before.get(name)
        visible = row is not None and row["use"] in ("shown", "accepted")
        con.execute(
            "UPDATE annotation_queue SET suggestion = ? WHERE task_id = ?",
            [_shown(row) if row and visible else None, name],
        )
        is_label = row is not None and row["use"] == "accepted"
        was_label = old is not None and old["use"] == "accepted"
        if is_label != was_label:
            shown = row or old or {}
            fields = {c: shown[c] for c in ("keep", "passed", "category", "expected")}
            rater = f"{SUGGESTED}:{shown['by']}"
            labels.append({"task_id": name, "rater": rater, "withdrawn": was_label, **fields})
    record_labels(
        con, labels, via=SUGGESTED, recorded_at=at, redact_all=redactor(settings.redaction)
    )
    withdrawn = sum(label["withdrawn"] for label in labels)
    return len(labels) - withdrawn, withdrawn


def _shown(row: Row) -> str:
    """`annotation_queue.suggestion` of a row."""
    names = ("keep", "passed", "expected", "category", "by", "confidence")
    content = {name: row[name] for name in names}
    return orjson.dumps(content | {"neighbours": orjson.loads(row["neighbours"])}).decode()


def _agreement_table(
    con: duckdb.DuckDBPyConnection,
    rows: Iterable[Row],
    agreements: Mapping[tuple[str, str], Agreement],
    decided: Collection[Decided],
) -> pl.DataFrame:
    """Rows of `suggestion_agreement`: of each cluster, then of all of them together."""
    labels = dict(
        con.execute(
            "SELECT cluster_key, arg_max(cluster_label, created_at) FROM annotation_queue"
            " WHERE cluster_key IS NOT NULL GROUP BY cluster_key"
        ).fetchall()
    )
    labelled = Counter(one.cluster_key for one in decided)
    suggested = Counter((row["cluster_key"], row["by"]) for row in rows)
    keys = sorted({*agreements, *((key, NEIGHBOURS) for key in labelled)})
    unheard = agreement([], bound=0, enough=1)
    table = [
        _agreement_row(key, labels.get(key[0]), labelled[key[0]], suggested[key], measured)
        for key in keys
        for measured in [agreements.get(key, unheard)]
    ]
    for by in sorted({by for _, by in keys}):
        of_by = [row for row in table if row["by"] == by]
        n, agreed = (sum(row[name] for row in of_by) for name in ("audited", "agreed"))
        pooled = agreement([True] * agreed + [False] * (n - agreed), bound=0, enough=1)
        fallen = sum(row["state"] == "fallen_back" for row in of_by)
        reason = f"{fallen} of {len(of_by)} clusters have fallen back"
        table.append(
            _agreement_row(
                (ALL_CLUSTERS, by), None, labelled.total(), sum(r["suggested"] for r in of_by),
                replace(pooled, reason=reason),
            ) | {"state": None}
        )  # fmt: skip
    return pl.DataFrame(table, schema=_AGREEMENT)


def _agreement_row(
    key: tuple[str, str], label: str | None, labelled: int, suggested: int, measured: Agreement
) -> Row:
    return {
        "cluster_key": key[0],
        "by": key[1],
        "cluster_label": label,
        "labelled": labelled,
        "suggested": suggested,
        "audited": measured.audited,
        "agreed": measured.agreed,
        "agreement": measured.rate,
        "agreement_low": measured.low,
        "agreement_high": measured.high,
        "state": measured.state,
        "reason": measured.reason,
    }
