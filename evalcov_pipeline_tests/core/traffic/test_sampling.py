"""The steady-state sample: what it draws, and what its weights stand for."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from evalcov_pipeline.core.traffic.sampling import allocate, draw_sample, steady_days
from evalcov_pipeline.core.traffic.turns import session_key

START = datetime(2026, 10, 1)
END = START + timedelta(days=30)


def traffic(per_day=100, seed=0, spikes=None, days=range(30)) -> pl.DataFrame:
    """Sessions at random times; those after noon ask about topic 1 more often and are longer."""
    rng = np.random.default_rng(seed)
    rows = []
    for day in days:
        n = per_day * (spikes or {}).get(day, 1)
        seconds = rng.integers(0, 86_400, n)
        for i, second in enumerate(seconds):
            late = bool(second >= 43_200)
            rows.append(
                {
                    "source": "app",
                    "session_id": f"{day}-{i}",
                    "started_at": START + timedelta(days=day, seconds=int(second)),
                    "n_turns": int(1 + rng.poisson(1 + late)),
                    "topic": int(rng.random() < 0.2 + 0.4 * late),
                    "tier": "pro" if rng.random() < 0.1 else None,
                }
            )
    return keyed(pl.DataFrame(rows))


def keyed(frame: pl.DataFrame) -> pl.DataFrame:
    keys = [session_key(*unit) for unit in frame.select("source", "session_id").iter_rows()]
    return frame.with_columns(session_key=pl.Series(keys, dtype=pl.UInt64))


def draw(frame, target=400, start=START, end=END, seed=0, **options):
    return draw_sample(
        frame, target=target, seed=seed, window_start=start, window_end=end, **options
    )


def share_of_topic_1(frame, drawn, weight) -> float:
    turns = pl.col("n_turns") * pl.col(weight)
    joined = drawn.sessions.join(frame.select("session_key", "topic"), on="session_key")
    return joined.select((turns * pl.col("topic")).sum()).item()


def test_weights_sum_to_1_over_the_turns_of_the_sample():
    drawn = draw(traffic(spikes={12: 8}), segments=["tier"], timezone="Asia/Kolkata")
    for weight in ("traffic_weight", "steady_weight"):
        total = (drawn.sessions["n_turns"] * drawn.sessions[weight]).sum()
        assert total == pytest.approx(1)
    assert 0 < drawn.n_eff <= len(drawn.sessions)


def test_the_sample_has_the_target_size_and_no_session_twice():
    drawn = draw(traffic())
    assert len(drawn.sessions) == 400
    assert drawn.sessions.n_unique("session_key") == 400
    assert drawn.n_available == 3000


def test_the_order_of_rows_does_not_matter():
    frame = traffic(per_day=30)
    assert_frame_equal(
        draw(frame).sessions, draw(frame.sample(fraction=1, shuffle=True, seed=1)).sessions
    )


def test_another_seed_draws_other_sessions():
    frame = traffic(per_day=30)
    first, second = (set(draw(frame, seed=seed).sessions["session_key"]) for seed in (1, 2))
    assert 0.2 < len(first & second) / 400 < 0.7


def test_weighted_shares_are_unbiased_over_many_draws():
    """The draw holds a spike day down; traffic_weight gives it its full part again."""
    frame = traffic(per_day=40, spikes={12: 20})
    spiked = pl.col("started_at").dt.date() == date(2026, 10, 13)
    frame = frame.with_columns(topic=(pl.col("topic") == 1) | (spiked & (pl.col("n_turns") > 2)))
    truth = frame.select((pl.col("topic") * pl.col("n_turns")).sum() / pl.col("n_turns").sum())
    estimates, unweighted = [], []
    for seed in range(120):
        drawn = draw(frame, target=300, seed=seed)
        estimates.append(share_of_topic_1(frame, drawn, "traffic_weight"))
        plain = drawn.sessions.with_columns(plain=1 / pl.col("n_turns").sum())
        unweighted.append(share_of_topic_1(frame, replace(drawn, sessions=plain), "plain"))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(truth.item(), abs=3 * error)
    assert error < 0.01
    assert np.mean(unweighted) < truth.item() - 0.1


def test_strata_reach_every_daypart_of_every_day():
    drawn = draw(traffic())
    strata = drawn.sessions["stratum"].value_counts()
    assert len(strata) == 120
    assert strata["count"].min() >= 2
    assert "2026-10-05/06-12h" in strata["stratum"]


def test_inclusion_probability_is_the_drawn_part_of_the_stratum():
    frame = traffic(per_day=20)
    drawn = draw(frame, dayparts=[0])
    per_day = drawn.sessions.group_by("stratum").agg(
        pl.len(), pl.col("inclusion_probability").unique()
    )
    for _, n, probabilities in per_day.iter_rows():
        assert probabilities == [pytest.approx(n / 20)]


def test_a_spike_is_seen_and_weighs_in_steady_traffic_like_a_large_usual_day():
    frame = traffic(per_day=100, spikes={12: 20})
    frame = frame.with_columns(topic=(pl.col("started_at").dt.date() == date(2026, 10, 13)))
    draws = [draw(frame, seed=seed) for seed in range(20)]
    assert draws[0].days.filter("spike")["day"].to_list() == [date(2026, 10, 13)]
    assert draws[0].days["cap"][12] == pytest.approx(130)
    traffic_share, steady_share = (
        np.mean([share_of_topic_1(frame, drawn, weight) for drawn in draws])
        for weight in ("traffic_weight", "steady_weight")
    )
    assert traffic_share == pytest.approx(2000 / 4900, abs=0.025)
    assert steady_share == pytest.approx(130 / 3030, abs=0.004)
    assert any("spike" in note for note in draws[0].notes)


def test_quiet_weekends_and_busy_weekdays_are_no_spikes():
    rng = np.random.default_rng(4)
    calendar = [START.date() + timedelta(days=i) for i in range(30)]
    usual = [60 if day.weekday() >= 5 else 900 for day in calendar]
    days = steady_days(pl.DataFrame({"day": calendar, "volume": rng.poisson(usual)}))
    excess = (days["volume"] - days["steady_volume"]).sum() / days["volume"].sum()
    assert excess < 0.002
    assert days.filter(pl.col("weekday") == 6)["cap"].max() < 120


def test_steady_growth_is_no_spike():
    calendar = [START.date() + timedelta(days=i) for i in range(30)]
    volume = [round(1000 * 1.01**i) for i in range(30)]
    assert not steady_days(pl.DataFrame({"day": calendar, "volume": volume}))["spike"].any()


def test_strata_follow_the_local_day():
    frame = traffic(per_day=1, days=[4]).with_columns(
        started_at=pl.lit(datetime(2026, 10, 5, 23, 30))
    )
    local = {
        zone: draw(frame, timezone=zone).sessions["stratum"][0]
        for zone in ("UTC", "Europe/Berlin", "America/Los_Angeles")
    }
    assert local == {
        "UTC": "2026-10-05/18-24h",
        "Europe/Berlin": "2026-10-06/00-06h",
        "America/Los_Angeles": "2026-10-05/12-18h",
    }


def test_segments_enter_the_strata_and_a_missing_one_is_named():
    strata = set(draw(traffic(), segments=["tier"]).sessions["stratum"])
    assert {"2026-10-05/06-12h/tier=pro", "2026-10-05/06-12h/tier=unknown"} <= strata


def test_a_small_window_is_drawn_whole_and_says_so():
    drawn = draw(traffic(per_day=3), target=4000)
    assert len(drawn.sessions) == 90
    assert drawn.sessions["inclusion_probability"].to_list() == [1.0] * 90
    assert "All 90 sessions are drawn; the target is 4000." in drawn.notes


def test_missing_days_and_a_lone_day_are_told():
    missing = draw(traffic(per_day=5, days=[d for d in range(30) if d not in (3, 9)]))
    assert "2 day(s) of the window have no session: 2026-10-04, 2026-10-10." in missing.notes
    lone = draw(traffic(per_day=5, days=[7]))
    assert any("one day, 2026-10-08" in note for note in lone.notes)
    assert lone.days["cap"].to_list() == [None]


def test_more_strata_than_the_target_allows_are_told():
    drawn = draw(traffic(per_day=20), target=50)
    assert len(drawn.sessions) > 50
    assert any("above the target 50" in note for note in drawn.notes)


def test_a_window_of_a_full_steady_month_has_nothing_to_tell():
    assert draw(traffic(per_day=100, seed=3)).notes == ()


def test_sessions_outside_the_window_are_not_drawn():
    drawn = draw(traffic(per_day=5), end=START + timedelta(days=7), target=1000)
    assert drawn.n_available == 35


def test_no_session_and_repeated_sessions_are_refused():
    frame = traffic(per_day=2)
    with pytest.raises(ValueError, match="no session between"):
        draw(frame, start=END, end=END + timedelta(days=30))
    with pytest.raises(ValueError, match="twice"):
        draw(pl.concat([frame, frame]))


def test_duckdb_computes_the_same_session_key():
    query = "select md5_number_lower(concat_ws(chr(31), ?, ?))"
    for unit in [("app", "ünï-1"), ("", "0"), ("a b", "x" * 300)]:
        assert duckdb.execute(query, unit).fetchone() == (session_key(*unit),)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 1000)), min_size=1, max_size=40),
    st.integers(1, 800),
)
def test_allocation_meets_target_floor_and_size(strata, target):
    available, volume = (np.array(column) for column in zip(*strata, strict=True))
    counts = allocate(volume / volume.sum(), available, target)
    floor = np.minimum(available, 2)
    assert (counts >= floor).all()
    assert (counts <= available).all()
    assert counts.sum() == np.clip(target, floor.sum(), available.sum())


def test_allocation_is_proportional_where_nothing_binds():
    counts = allocate(np.array([0.5, 0.3, 0.2]), np.array([900, 900, 900]), 101)
    assert counts.tolist() == [51, 30, 20]
