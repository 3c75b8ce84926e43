"""The failure audit on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from evalcov_pipeline.settings import Settings

_SHOWN = 12
"""Kinds of failure that are listed."""
_LONGEST = 24


def print_audit(settings: Settings, quarter: str) -> None:
    """Print the audit of a quarter, the most urgent kinds of failure first."""
    from evalcov_pipeline.services.failures.audit import read_audit
    from evalcov_pipeline.services.home import warehouse_of

    with warehouse_of(settings).reader() as con:
        rows = read_audit(con, quarter).to_dicts()
    if not rows:
        click.echo(
            f"Failure audit of {quarter}: neither people nor incidents have named a kind of failure"
            " yet; label the weekly batch with `evalcov review`"
        )
        return
    missing = sum(row["status"] == "unrepresented" for row in rows)
    click.echo(
        f"Failure audit of {quarter} until {rows[0]['as_of']:%Y-%m-%d}: {len(rows)} kinds of"
        f" failure, {missing} without a case"
    )
    click.echo(
        f"  {'kind of failure':<{_LONGEST}}  {'status':<13}  turns  (assigned)  rate of all turns"
        "   cases  newest"
    )
    for row in rows[:_SHOWN]:
        newest = f"{row['newest_case_at']:%Y-%m-%d}" if row["newest_case_at"] else "-"
        click.echo(
            f"  {_short(row['category']):<{_LONGEST}}  {row['status']:<13}  {row['observed']:5d}"
            f"  {row['assigned']:10d}  {_rate(row):<18}  {row['eval_cases']:5d}  {newest}"
        )
    if (rest := len(rows) - _SHOWN) > 0:
        click.echo(f"  and {rest} more")


def _rate(row: Mapping[str, Any]) -> str:
    if row["rate"] is None:
        return "no labels"
    return f"{row['rate']:.1%} ({row['rate_low']:.1%}-{row['rate_high']:.1%})"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
