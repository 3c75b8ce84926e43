"""What the report shows of judges: what each version may be used for, by category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from evalcov_pipeline.reports.marks import interval
from evalcov_pipeline.services.report.failures import FailureEvidence

VERDICTS = {"REFUSED": 0, "INSUFFICIENT": 1, "TREND_ONLY": 2, "GATE": 3}
"""Verdicts on judges, those that need a look first."""
MEANINGS = {
    "REFUSED": "its verdicts enter no score and no gate; people label instead",
    "INSUFFICIENT": "too few labels to tell; agreement is shown with its interval",
    "TREND_ONLY": "good enough to watch a trend",
    "GATE": "good enough to stop a release",
}
_MOST_VERSIONS, _MOST_CATEGORIES = 3, 12


def judge_content(evidence: FailureEvidence) -> dict[str, Any]:
    """Everything that the part on judges shows."""
    order = pl.col("verdict").replace_strict(VERDICTS, default=len(VERDICTS), return_dtype=pl.Int8)
    versions: dict[str, list[dict[str, Any]]] = {}
    for row in evidence.certificates.sort(order, "category").to_dicts():
        versions.setdefault(version_of(row), []).append(row)
    return {
        "versions": [
            {
                "name": name,
                "rows": [_certificate(row) for row in rows if row["n_labelled"]],
                "unlabelled": [row["category"] for row in rows if not row["n_labelled"]],
            }
            for name, rows in list(versions.items())[:_MOST_VERSIONS]
        ],
        "more_versions": max(0, len(versions) - _MOST_VERSIONS),
        "most_categories": _MOST_CATEGORIES,
        "meanings": MEANINGS,
        "said": judges_in_words(evidence),
        "refused_results": evidence.n_refused,
        "refused_share": evidence.n_refused / evidence.n_results if evidence.n_results else None,
    }


def judges_in_words(evidence: FailureEvidence) -> str | None:
    """How many certificates refuse a judge; None where there is no certificate."""
    given = evidence.certificates
    if given.is_empty():
        return None
    counts = dict(given.group_by("verdict").len().iter_rows())
    refused_in_words = ", ".join(
        f"{counts[name]} {name.replace('_', ' ')}" for name in VERDICTS if name in counts
    )
    refused = given.filter(pl.col("verdict") == "REFUSED")
    if refused.is_empty():
        return f"No judge is refused. Certificates: {refused_in_words}."
    named = [f"{row['judge_id']} on “{row['category']}”" for row in refused.head(3).to_dicts()]
    more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
    return f"Refused: {', '.join(named)}{more}. Certificates: {refused_in_words}."


def version_of(certificate: Mapping[str, Any]) -> str:
    """The version of a judge that a row of `judge_calibration` is about."""
    parts = [certificate["judge_id"], certificate["judge_model"]]
    parts += [
        f"{name} {certificate[column]}" if certificate[column] else None
        for name, column in (("prompt", "prompt_version"), ("rubric", "rubric_version"))
    ]
    return ", ".join(part for part in parts if part)


def _certificate(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its drawing; nothing is said twice."""
    agreement, low, high = (row[f"agreement{end}"] for end in ("", "_low", "_high"))
    between = "" if low is None else f", 95 % interval {low:.0%} to {high:.0%}"
    tip = f"{agreement or 0:.0%} of {row['n']:,} labels agree{between}"
    change = row["what_would_change_it"]
    told = change is not None and all(part in change for part in row["reason"].split("; "))
    return dict(row) | {
        "drawn": interval(agreement, low, high, tip),
        "reason": None if told else row["reason"],
        "uncorrected": None
        if row["corrected_rate"] is not None or row["verdict"] in ("INSUFFICIENT", "REFUSED")
        else row["corrected_reason"],
    }
