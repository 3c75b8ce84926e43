"""Weeks of traffic: from Monday, 00:00 UTC."""

from __future__ import annotations

from datetime import datetime, time, timedelta


def end_of_week(instant: datetime) -> datetime:
    """Exclusive end of the week (from Monday) of an instant."""
    day = instant.date()
    monday = day - timedelta(days=day.weekday())
    return datetime.combine(monday + timedelta(days=7), time())
