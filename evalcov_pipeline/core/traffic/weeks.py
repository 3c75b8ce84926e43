"""Weeks of traffic, from Monday 00:00 UTC: their names, and the instants that they are scored at.

A week has the name of its Monday, such as 2026-10-05, which is its partition key too. Instants are
naive UTC.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

WEEK = timedelta(weeks=1)


def week_of(day: date) -> str:
    """Name of the week that contains a day."""
    return (day - timedelta(days=day.weekday())).isoformat()


def as_of(week: str) -> datetime:
    """The instant that a week is scored at: its exclusive end, also while it is still running."""
    return datetime.fromisoformat(week) + WEEK


def end_of_week(instant: datetime) -> datetime:
    """Exclusive end of the week that contains an instant."""
    return as_of(week_of(instant.date()))
