"""What the report shows of failures: signals over time, the newest batch, the audit, incidents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from evalcov_pipeline.core.labels.decision import UNCATEGORISED
from evalcov_pipeline.reports.marks import bars, interval
from evalcov_pipeline.services.failures.precision import ANY, NONE
from evalcov_pipeline.services.report.failures import FailureEvidence

UNREPRESENTED = "unrepresented"
_MOST_CATEGORIES, _MOST_INCIDENTS = 15, 12


def failure_content(evidence: FailureEvidence, as_of: datetime) -> dict[str, Any]:
    """Everything that the parts on signals, the audit and incidents show.

    Args:
        evidence: what is known.
        as_of: of the score that is reported; ages count from it.
    """
    signals = _signals(evidence)
    audit = _audit(evidence.audit, as_of)
    return {
        "signals": signals,
        "signals_said": _in_words(evidence.signals),
        "weeks": evidence.signals["as_of"].n_unique(),
        "silent": evidence.signals["n_signals"].null_count() > 0,
        "per_1000": _turns_known(evidence.signals),
        "batch": evidence.batch,
        "audit": audit[:_MOST_CATEGORIES],
        "more_categories": max(0, len(audit) - _MOST_CATEGORIES),
        "audit_said": _audit_in_words(evidence.audit),
        "quarter": evidence.audit["quarter"][0] if audit else None,
        "greatest_rate": _greatest(evidence.audit),
        "incidents": evidence.incidents.head(_MOST_INCIDENTS).to_dicts(),
        "more_incidents": max(0, len(evidence.incidents) - _MOST_INCIDENTS),
        "incidents_said": _incidents_in_words(evidence.incidents),
    }


def _signals(evidence: FailureEvidence) -> list[dict[str, Any]]:
    """A row per signal, all together first, turns without any last."""
    precision = {row["signal"]: row for row in evidence.precision.to_dicts()}
    totals = evidence.signals.group_by("signal").agg(pl.col("n_signals").sum())
    names = [
        name
        for name, _ in sorted(totals.iter_rows(), key=lambda row: (row[0] != ANY, -row[1], row[0]))
    ]
    names += sorted(set(precision) - set(names) - {NONE, ANY})
    names += [NONE] * (NONE in precision)
    per_1000 = _turns_known(evidence.signals)
    return [
        _counted(evidence.signals.filter(pl.col("signal") == name).to_dicts(), per_1000)
        | _labelled(precision.get(name))
        | {
            "name": {ANY: "any of them", NONE: "none of them"}.get(name, name),
            "plain": name in (ANY, NONE),
        }
        for name in names
    ]


def _counted(weeks: Sequence[Mapping[str, Any]], per_1000: bool) -> dict[str, Any]:
    if not weeks:
        return {"bars": None, "newest": None, "rate": None}
    counts = [week["n_signals"] for week in weeks]
    rates = [_per_1000(week) if per_1000 else None for week in weeks]
    tips = [
        f"Week to {week['as_of']:%Y-%m-%d}: "
        + ("silent, no threshold could be estimated" if count is None else _turns(count))
        + ("" if rate is None else f", {rate:.1f} per 1,000")
        for week, count, rate in zip(weeks, counts, rates, strict=True)
    ]
    return {
        "bars": bars(rates if per_1000 else counts, tips),
        "newest": counts[-1],
        "rate": rates[-1],
    }


def _labelled(precision: Mapping[str, Any] | None) -> dict[str, Any]:
    row = precision or {"n_labelled": 0, "n_bad": 0, "precision": None}
    return {
        "precision": row["precision"],
        "n_labelled": row["n_labelled"],
        "n_bad": row["n_bad"],
        "interval": None
        if row["precision"] is None
        else _share_interval(row, "precision", f"{row['n_labelled']} labelled turns"),
    }


def _turns_known(signals: pl.DataFrame) -> bool:
    """Whether each week's turns are known, so that weeks compare as rates."""
    return len(signals) > 0 and signals["n_turns"].null_count() == 0


def _share_interval(row: Mapping[str, Any], name: str, basis: str, most: float = 1.0) -> Any:
    value = row[name]
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    between = "" if low is None else f", 95 % interval {low:.1%} to {high:.1%}"
    return interval(value, low, high, f"{value:.1%}{between}; {basis}", most)


def _in_words(signals: pl.DataFrame) -> str | None:
    """How often anything went wrong of late, and whether that is more than before."""
    weeks = signals.filter(pl.col("signal") == ANY).to_dicts()
    if not weeks:
        return None
    if not weeks[-1]["n_signals"]:
        return "No turn of the newest week bore a sign of failure."
    single = signals.filter((pl.col("signal") != ANY) & (pl.col("as_of") == weeks[-1]["as_of"]))
    first = single.sort("n_signals", "signal", descending=[True, False], nulls_last=True)["signal"]
    most = f"the most frequent sign is “{first[0].replace('_', ' ')}”"
    if not _turns_known(signals):
        n = weeks[-1]["n_signals"]
        return f"{_turns(n)} of the newest week bear{'s' * (n == 1)} a sign of failure; {most}."
    *before, newest = [1000 * week["n_signals"] / week["n_turns"] for week in weeks]
    compared = (
        f", against {sum(before) / len(before):.0f} on average in the {_weeks(len(before))} before"
        if before
        else ""
    )
    return (
        f"{newest:.0f} of 1,000 turns bore a sign of failure in the newest week{compared}; {most}."
    )


def _per_1000(week: Mapping[str, Any]) -> float | None:
    return None if week["n_signals"] is None else 1000 * week["n_signals"] / week["n_turns"]


def _audit(audit: pl.DataFrame, as_of: datetime) -> list[dict[str, Any]]:
    most = _greatest(audit)
    return [
        row
        | {
            "age": max(0, (as_of - row["newest_case_at"]).days) if row["newest_case_at"] else None,
            "interval": None
            if row["rate"] is None
            else _share_interval(row, "rate", f"{row['labelled']} labelled turns", most),
        }
        for row in audit.to_dicts()
    ]


def _greatest(audit: pl.DataFrame) -> float:
    """Rate at the end of the line that intervals are drawn on: a round one."""
    known = audit.select(pl.max_horizontal("rate", "rate_high").max()).item() or 0.01
    return next(at for at in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if at >= min(known, 1.0))


def _audit_in_words(audit: pl.DataFrame) -> str | None:
    if audit.is_empty():
        return None
    named = audit.filter(pl.col("category") != UNCATEGORISED)
    if named.is_empty():
        return "Nobody has said yet what kinds of failure these turns show."
    missing = named.filter(pl.col("status") == UNREPRESENTED)["category"].to_list()
    kinds = f"{len(named)} kind{'s' * (len(named) != 1)} of failure"
    if not missing:
        return f"{kinds} occurred, and the suite has a case against each."
    first = ", ".join(f"“{name}”" for name in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"No case guards {len(missing)} of {kinds}: {first}{more}."


def _incidents_in_words(incidents: pl.DataFrame) -> str | None:
    if incidents.is_empty():
        return None
    n_open = incidents.filter(pl.col("status") == "open").height
    total = f"{len(incidents)} incident{'s' * (len(incidents) != 1)}"
    if n_open:
        return f"{n_open} of {total} {'has' if n_open == 1 else 'have'} no case yet: open."
    partial = incidents.filter(pl.col("status") == "partial").height
    if partial:
        return f"Every one of {total} has a case; {partial} want{'s' * (partial == 1)} another."
    return f"{total}, each guarded by the cases that it wants."


def _turns(n: int) -> str:
    return f"{n:,} turn{'s' * (n != 1)}"


def _weeks(n: int) -> str:
    return "week" if n == 1 else f"{n} weeks"
