"""Weeks begin on Monday and have its name; they are scored at their exclusive end."""

from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evalcov_pipeline.core.traffic.weeks import as_of, end_of_week, week_of


def test_a_week_runs_from_monday_to_sunday() -> None:
    monday = date(2026, 10, 5)
    assert {week_of(monday + timedelta(days=day)) for day in range(7)} == {"2026-10-05"}
    assert week_of(monday - timedelta(days=1)) == "2026-09-28"
    assert as_of("2026-10-05") == datetime(2026, 10, 12)


def test_the_first_instant_of_a_week_does_not_belong_to_the_one_before() -> None:
    assert end_of_week(datetime(2026, 10, 11, 23, 59, 59)) == datetime(2026, 10, 12)
    assert end_of_week(datetime(2026, 10, 12)) == datetime(2026, 10, 19)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))
def test_the_end_of_a_week_is_the_next_midnight_of_a_monday(instant: datetime) -> None:
    end = end_of_week(instant)
    assert end.weekday() == 0
    assert (end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0)
    assert timedelta() < end - instant <= timedelta(weeks=1)
