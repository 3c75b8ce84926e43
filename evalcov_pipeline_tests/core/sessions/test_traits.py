"""Traits of sessions: what no case has is found, and a proportional suite is left in peace."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.sessions.traits import trait_coverage


def sessions(n: int, rng: np.random.Generator, failing: float = 0.12) -> pl.DataFrame:
    turns = rng.integers(1, 21, n)
    return pl.DataFrame(
        {
            "n_turns": turns,
            "conversation_chars": turns * 200 + rng.integers(0, 100, n),
            "n_tool_calls": np.ones(n, int),
            "n_tools": rng.integers(1, 4, n),
            "tool_failures": (rng.random(n) < failing).astype(int),
            "retries": np.zeros(n, int),
            "rephrases": (rng.random(n) < 0.2).astype(int),
            "outcome": rng.choice(["success", "abandoned", "unknown"], n),
        }
    )


def covered(traffic: pl.DataFrame, cases: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    n = len(traffic)
    return trait_coverage(
        traffic, np.full(n, 1 / n), np.zeros(n), cases, np.random.default_rng(seed),
        with_outcome=True, resamples=99,
    )  # fmt: skip


def status_of(rows: pl.DataFrame) -> dict[str, str]:
    return dict(rows.select("trait", "status").iter_rows())


def test_fifty_short_cases_show_that_no_case_is_long() -> None:
    rng = np.random.default_rng(0)
    cases = sessions(200, rng).filter(pl.col("n_turns") < 10).head(50)
    rows = covered(sessions(1000, rng), cases)
    longest = rows.filter(figure="turns").row(-1, named=True)
    assert longest["trait"].startswith("more than 1")
    assert (longest["eval_cases"], longest["status"]) == (0, "gap")


def test_a_suite_in_which_nothing_fails_is_told_so() -> None:
    rng = np.random.default_rng(1)
    rows = covered(sessions(1000, rng), sessions(100, rng, failing=0.0))
    assert status_of(rows)["a failed tool call"] == "gap"
    assert rows.filter(figure="failures")["production_share"].item() == pytest.approx(
        0.12, abs=0.04
    )


def test_proportional_suites_have_false_findings_in_five_of_a_hundred_at_most() -> None:
    rng = np.random.default_rng(2)
    traffic = sessions(1000, rng)
    found = 0
    for seed in range(60):
        rows = covered(traffic, sessions(100, rng), seed)
        found += bool(set(rows["status"]) & {"gap", "thin", "over_represented"})
    assert found <= 6  # binomial(60, .05) exceeds 6 in 3 of 100


def test_quarters_are_production_s_and_every_session_is_in_one() -> None:
    rows = covered(sessions(1000, np.random.default_rng(3)), sessions(5, np.random.default_rng(4)))
    for figure in ("turns", "context", "tools"):
        of_figure = rows.filter(figure=figure)
        assert of_figure["production_share"].sum() == pytest.approx(1)
        assert of_figure["eval_cases"].sum() == 5
    assert rows.filter(figure="turns").height == 4


def test_traffic_of_single_turns_has_one_range_and_no_suite_no_share() -> None:
    traffic = sessions(100, np.random.default_rng(5)).with_columns(n_turns=pl.lit(1))
    rows = covered(traffic, traffic.clear())
    assert rows.filter(figure="turns")["trait"].to_list() == ["any number of turns"]
    assert rows["eval_share"].null_count() == len(rows)
    assert set(rows["status"]) == {"undecidable"}
    assert covered(traffic, traffic.head(1).with_columns(n_turns=pl.lit(9))).height >= rows.height


def test_traits_that_nobody_has_are_not_listed() -> None:
    traffic = sessions(100, np.random.default_rng(6), failing=0.0)
    assert "a failed tool call" not in status_of(covered(traffic, traffic.head(10)))
