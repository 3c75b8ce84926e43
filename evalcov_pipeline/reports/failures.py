"""What the report shows of failures: signals over time, the newest batch, the audit, incidents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from evalcov_pipeline.reports.marks import bars, interval
from evalcov_pipeline.storage.report_failures import ANY, Discrimination

NO_SIGNAL = "none"
"""Stands among precisions for turns without a signal."""
UNREPRESENTED = "unrepresented"
_MOST_CATEGORIES, _MOST_INCIDENTS = 15, 12


def failure_content(found: Discrimination, as_of: datetime) -> dict[str, Any]:
    """Everything that the parts on signals, the audit and incidents show.

    Args:
        found: what is known.
        as_of: of the score that is reported; ages count from it.
    """
    signals = _signals(found)
    audit = _audit(found.audit, as_of)
    return {
        "signals": signals,
        "signals_said": _in_words(found.signals),
        "weeks": found.signals["as_of"].n_unique(),
        "per_1000": found.signals["n_turns"].count() > 0,
        "batch": found.batch,
        "audit": audit[:_MOST_CATEGORIES],
        "more_categories": max(0, len(audit) - _MOST_CATEGORIES),
        "audit_said": _audit_in_words(found.audit),
        "quarter": found.audit["quarter"][0] if audit else None,
        "greatest_rate": _greatest(found.audit),
        "incidents": found.incidents.head(_MOST_INCIDENTS).to_dicts(),
        "more_incidents": max(0, len(found.incidents) - _MOST_INCIDENTS),
        "incidents_said": _incidents_in_words(found.incidents),
    }


def _signals(found: Discrimination) -> list[dict[str, Any]]:
    """A row per signal, all together first, turns without any last."""
    precision = {row["signal"]: row for row in found.precision.to_dicts()}
    totals = found.signals.group_by("signal").agg(pl.col("n_signals").sum())
    names = [
        name
        for name, _ in sorted(totals.iter_rows(), key=lambda row: (row[0] != ANY, -row[1], row[0]))
    ]
    names += sorted(set(precision) - set(names) - {NO_SIGNAL, ANY})
    names += [NO_SIGNAL] * (NO_SIGNAL in precision)
    return [
        _signal(
            name, found.signals.filter(pl.col("signal") == name).to_dicts(), precision.get(name)
        )
        for name in names
    ]


def _signal(
    name: str, weeks: Sequence[Mapping[str, Any]], known: Mapping[str, Any] | None
) -> dict[str, Any]:
    rates = [_per_1000(week) for week in weeks]
    heights = [
        float(week["n_signals"]) if rate is None else rate
        for week, rate in zip(weeks, rates, strict=True)
    ]
    tips = [
        f"Week to {week['as_of']:%Y-%m-%d}: {_turns(week['n_signals'])}"
        + ("" if rate is None else f", {rate:.1f} per 1,000")
        for week, rate in zip(weeks, rates, strict=True)
    ]
    row = known or {"n_labelled": 0, "n_bad": 0, "precision": None}
    return {
        "name": {ANY: "any of them", NO_SIGNAL: "none of them"}.get(name, name),
        "plain": name in (ANY, NO_SIGNAL),
        "bars": bars(heights, tips) if weeks else None,
        "newest": weeks[-1]["n_signals"] if weeks else None,
        "rate": rates[-1] if weeks else None,
        "precision": row["precision"],
        "n_labelled": row["n_labelled"],
        "n_bad": row["n_bad"],
        "interval": _share_interval(row, "precision", f"{row['n_labelled']} labelled turns"),
    }


def _share_interval(row: Mapping[str, Any], name: str, basis: str, most: float = 1.0) -> Any:
    value = row[name]
    if value is None:
        return interval(None, None, None, "", most)
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    between = "" if low is None else f", 95 % interval {low:.1%} to {high:.1%}"
    return interval(value, low, high, f"{value:.1%}{between}; {basis}", most)


def _in_words(signals: pl.DataFrame) -> str | None:
    """How often anything went wrong of late, and whether that is more than before."""
    weeks = signals.filter(pl.col("signal") == ANY).to_dicts()
    if not weeks:
        return None
    *before, newest = [_per_1000(week) for week in weeks]
    if newest is None:
        return f"{_turns(weeks[-1]['n_signals'])} of the newest week bear a sign of failure."
    single = signals.filter((pl.col("signal") != ANY) & (pl.col("as_of") == weeks[-1]["as_of"]))
    first = single.sort("n_signals", "signal", descending=[True, False])["signal"][0]
    known = [rate for rate in before if rate is not None]
    usual = sum(known) / len(known) if known else None
    compared = (
        ""
        if usual is None
        else f", against {usual:.0f} on average in the {_weeks(len(known))} before"
    )
    return (
        f"{newest:.0f} of 1,000 turns bore a sign of failure in the newest week{compared}; the most"
        f" frequent sign is “{first.replace('_', ' ')}”."
    )


def _per_1000(week: Mapping[str, Any]) -> float | None:
    return 1000 * week["n_signals"] / week["n_turns"] if week["n_turns"] else None


def _audit(audit: pl.DataFrame, as_of: datetime) -> list[dict[str, Any]]:
    most = _greatest(audit)
    return [
        row
        | {
            "age": (as_of - row["newest_case_at"]).days if row["newest_case_at"] else None,
            "interval": _share_interval(row, "rate", f"{row['labelled']} labelled turns", most),
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
    missing = audit.filter(pl.col("status") == UNREPRESENTED)["category"].to_list()
    kinds = f"{len(audit)} kind{'s' * (len(audit) != 1)} of failure"
    if not missing:
        return f"{kinds} occurred, and the suite has a case against each."
    named = ", ".join(f"“{name}”" for name in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"No case guards {len(missing)} of {kinds}: {named}{more}."


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
