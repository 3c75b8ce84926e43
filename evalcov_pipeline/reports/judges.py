"""What the report shows of judges: what each version may be used for, by category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERDICTS = {"REFUSED": 0, "INSUFFICIENT": 1, "TREND_ONLY": 2, "GATE": 3}
"""Verdicts on judges, those that need a look first."""


def version_of(certificate: Mapping[str, Any]) -> str:
    """The version of a judge that a row of `judge_calibration` is about."""
    parts = [certificate["judge_id"], certificate["judge_model"]]
    parts += [
        f"{name} {certificate[column]}" if certificate[column] else None
        for name, column in (("prompt", "prompt_version"), ("rubric", "rubric_version"))
    ]
    return ", ".join(part for part in parts if part)
