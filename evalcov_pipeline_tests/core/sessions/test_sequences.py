"""Sequences of steps: order against marginals, calibration on whole sessions, untested paths."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from evalcov_pipeline.core.coverage.divergence import jsd
from evalcov_pipeline.core.sessions.ngrams import bracketed, ngrams, permuted
from evalcov_pipeline.core.sessions.paths import path_coverage
from evalcov_pipeline.core.sessions.sequences import sequence_score

SYMBOLS = [f"s{i}" for i in range(8)]
steps = st.lists(st.sampled_from(["search", "book", "cancel"]), max_size=6)


def score(production, cases, *, designed=None, seed=0, **settings):
    designed = np.zeros(len(cases), bool) if designed is None else designed
    plain = {"resamples": 199, **settings}
    return sequence_score(
        production, np.ones(len(production)), np.arange(len(production)) % 20, cases, designed,
        np.random.default_rng(seed), **plain,
    )  # fmt: skip


def paths(production, cases, **settings):
    plain = {"resamples": 99, **settings}
    return path_coverage(
        production, np.ones(len(production)), np.arange(len(production)) % 20, cases,
        np.random.default_rng(0), **plain,
    )  # fmt: skip


def row(found, ngram):
    return found.paths.row(by_predicate=pl.col("ngram") == ngram, named=True)


def ordered_sessions(n, rng):
    """Sessions of one to eight steps in which each step mostly leads to the next of a circle."""
    sessions = []
    for length in rng.integers(1, 9, n):
        session = [int(rng.integers(8))]
        while len(session) < length:
            onward = (session[-1] + 1) % 8
            session.append(onward if rng.random() < 0.8 else int(rng.integers(8)))
        sessions.append([SYMBOLS[i] for i in session])
    return sessions


def shuffled(sessions, rng):
    return [list(rng.permutation(session)) for session in sessions]


@settings(deadline=None, max_examples=50)
@given(st.lists(steps, min_size=1, max_size=5), st.integers(1, 8))
def test_ngrams_are_the_runs_of_each_sequence_between_its_start_and_end(sequences, length):
    numbers, owner, symbols = bracketed(sequences)
    grams, codes, whose = ngrams(numbers, owner, length)
    found = sorted(
        (int(i), *(symbols[j] for j in grams[code]))
        for i, code in zip(whose, codes, strict=True)
    )  # fmt: skip
    expected = []
    for i, sequence in enumerate(sequences):
        walk = ["^", *sequence, "$"]
        expected += [(i, *walk[j : j + length]) for j in range(len(walk) - length + 1)]
    assert found == sorted(expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(steps, min_size=1, max_size=5), st.integers(0, 5))
def test_permuting_keeps_each_sequences_steps_and_its_start_and_end(sequences, seed):
    numbers, owner, _ = bracketed(sequences)
    moved = permuted(numbers, owner, np.random.default_rng(seed))
    for i in range(len(sequences)):
        before, after = numbers[owner == i], moved[owner == i]
        assert sorted(before) == sorted(after)
        assert (after[0], after[-1]) == (before[0], before[-1])


def test_divergence_is_that_of_transitions_with_each_session_counting_once():
    production = [["a", "b"], ["a"]]
    cases = [["a"], ["b", "b", "b"]]
    found = score(production, cases)
    # ^>a, a>b, b>b, b>$, a>$, ^>b; two symbols are three transitions, one is two
    p = np.array([1 / 3 + 1 / 2, 1 / 3, 0, 1 / 3, 1 / 2, 0]) / 2
    q = np.array([1 / 2, 0, 2 / 4, 1 / 4, 1 / 2, 1 / 4]) / 2
    assert found.jsd == pytest.approx(jsd(p, q))
    pooled = q[2] / 2  # production's steps never make b>b, in whatever order
    assert found.contributions["jsd_contribution"].sum() == pytest.approx(found.jsd - pooled)


def test_weights_count_sessions():
    rng = np.random.default_rng(0)
    production, cases = [["a"], ["b"], ["b"]], [["a"], ["b"]]
    even = sequence_score(
        production, [2.0, 1.0, 1.0], [0, 0, 0], cases, [False, False], rng, resamples=9
    )
    assert even.jsd == pytest.approx(0, abs=1e-12)


def test_one_session_of_ten_thousand_turns_changes_little_and_takes_seconds():
    rng = np.random.default_rng(1)
    production = ordered_sessions(500, rng)
    cases = ordered_sessions(100, rng)
    long = [SYMBOLS[i] for i in rng.integers(0, 8, 10_000)]
    began = time.perf_counter()
    with_long = score([*production, long], cases)
    covered = paths([*production, long], [*cases, long])
    assert time.perf_counter() - began < 10
    assert with_long.jsd == pytest.approx(score(production, cases).jsd, abs=0.01)
    assert row(covered, "s0 > s1")["eval_cases"] <= 101


@pytest.mark.parametrize("n", [40, 150])
def test_suites_of_whole_sessions_are_rarely_called_divergent(n):
    rng = np.random.default_rng(n)
    found = []
    for _ in range(40):
        everyone = ordered_sessions(300 + n, rng)
        result = score(everyone[n:], everyone[:n], seed=rng, resamples=99)
        found.append((result.p_value < 0.05, result.order_p_value < 0.05))
    assert (np.sum(found, axis=0) <= binom.ppf(0.995, 40, 0.05)).all()


def test_a_suite_that_shuffles_the_steps_differs_in_order_and_in_nothing_else():
    rng = np.random.default_rng(2)
    everyone = ordered_sessions(1500, rng)
    result = score(everyone[100:], shuffled(everyone[:100], rng))
    assert result.p_value < 0.05
    assert result.order_p_value < 0.05
    assert result.order_adjusted > 0.5 * result.jsd_adjusted > 0.05


def test_a_suite_of_other_symbols_hardly_differs_in_order_where_there_is_none():
    rng = np.random.default_rng(3)
    production = shuffled(ordered_sessions(1500, rng), rng)
    liked = np.array([np.mean([s in SYMBOLS[:4] for s in session]) for session in production])
    chances = np.exp(3 * liked)
    picked = rng.choice(len(production), 150, p=chances / chances.sum(), replace=False)
    result = score(production, [production[i] for i in picked])
    assert result.p_value < 0.05
    assert result.jsd_adjusted > 0.05
    assert result.order_adjusted < 0.01


def test_a_suite_of_single_turns_is_divergent_and_its_blindness_is_named():
    rng = np.random.default_rng(4)
    production = ordered_sessions(1000, rng)
    cases = [session[:1] for session in ordered_sessions(150, rng)]
    result, found = score(production, cases), paths(production, cases)
    assert result.jsd_adjusted > 0.25
    assert result.p_value < 0.05
    onward = {f"s{i} > s{(i + 1) % 8}" for i in range(8)}
    gaps = found.paths.filter((pl.col("status") == "gap") & pl.col("minimal"))
    assert set(gaps["ngram"][:8]) == onward
    takes = [bool({f"{a} > {b}" for a, b in pairwise(s)} & {*gaps["ngram"]}) for s in production]
    assert found.untested_share >= np.mean(takes) - 1e-9


def test_a_fully_designed_suite_has_no_bias_to_take_off():
    rng = np.random.default_rng(5)
    production, cases = ordered_sessions(1000, rng), ordered_sessions(40, rng)
    fixed = score(production, cases, designed=np.ones(40, bool))
    drawn = score(production, cases)
    assert fixed.jsd == pytest.approx(drawn.jsd)
    assert fixed.jsd_adjusted == pytest.approx(fixed.jsd, abs=0.02)
    assert drawn.jsd_adjusted < 0.5 * drawn.jsd
    assert fixed.jsd_ci_low <= fixed.jsd_adjusted <= fixed.jsd_ci_high


@pytest.mark.parametrize(
    ("production", "cases", "reason"),
    [([["a"]], [], "no case"), ([], [["a"]], "no session")],
)
def test_what_cannot_be_compared_is_none_with_a_reason(production, cases, reason):
    result = score(production, cases)
    assert result.jsd is None
    assert result.order_adjusted is None
    assert reason in result.note
    assert paths(production, cases).untested_share is None


def test_sessions_without_any_step_are_equal():
    result = score([[]] * 10, [[]] * 3)
    assert result.jsd == pytest.approx(0)
    assert result.p_value == 1
    assert row(paths([[]] * 10, [[]] * 3), "^ > $")["eval_share"] == 1
    assert paths([[]] * 10, [[]] * 3, lengths=(1, 4)).paths.is_empty()


def test_mismatched_inputs_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="weights"):
        sequence_score([["a"]], [1.0, 1.0], [0], [], [], rng)
    with pytest.raises(ValueError, match="designed"):
        sequence_score([["a"]], [1.0], [0], [["a"]], [], rng)
    with pytest.raises(ValueError, match="not all zero"):
        path_coverage([["a"]], [0.0], [0], [["a"]], rng, resamples=9)


def test_a_path_counts_once_per_session_and_the_shortest_name_of_a_gap_is_minimal():
    production = [["a", "b", "a", "b"]] * 60 + [["a"]] * 40
    found = paths(production, [["a"], ["b"]] * 50)
    ab = row(found, "a > b")
    assert ab["production_share"] == pytest.approx(0.6)
    assert ab["production_share_low"] < 0.6 < ab["production_share_high"]
    assert (ab["eval_cases"], ab["status"], ab["minimal"]) == (0, "gap", True)
    longer = row(found, "^ > a > b")
    assert (longer["status"], longer["minimal"]) == ("gap", False)
    assert row(found, "a")["eval_share"] == 0.5
    assert found.untested_share == pytest.approx(0.6)


def test_an_untested_step_names_the_gap_and_not_every_path_through_it():
    production = [["a", "b", "c"]] * 50 + [["a", "c"]] * 50
    found = paths(production, [["a", "c"]] * 80)
    minimal = found.paths.filter((pl.col("status") == "gap") & pl.col("minimal"))
    assert minimal["ngram"].to_list() == ["b"]


def test_an_empty_suite_leaves_every_path_undecidable():
    found = paths([["a", "b"]] * 30, [])
    assert set(found.paths["status"]) == {"undecidable"}
    assert found.paths["eval_share"].null_count() == len(found.paths)
    assert not found.paths["minimal"].any()


def test_paths_have_unlike_names_whatever_the_symbols_are_called():
    awkward = [["a > b"], ["a", "b"], [">"], ["a >", "b"], ["^"], ["$", "a"]]
    found = paths(awkward * 5, awkward, least_share=0.0)
    assert found.paths["ngram"].is_unique().all()
    again = paths(awkward * 5, awkward, least_share=0.0, lengths=(2,))
    assert set(again.paths["length"]) == {2}


def test_proportional_suites_rarely_show_a_gap():
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(60):
        everyone = ordered_sessions(600, rng)
        found = paths(everyone[100:], everyone[:100], least_share=0.01)
        alarms += "gap" in set(found.paths["status"])
    assert alarms <= binom.ppf(0.995, 60, 0.05)
