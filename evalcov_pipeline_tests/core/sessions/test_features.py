"""Whole sessions: what a row of features says of their turns, and when two sessions are alike."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.sessions.features import (
    STEPS,
    rephrases,
    session_features,
    session_hashes,
    topic_level,
)
from evalcov_pipeline.core.sessions.space import (
    SessionSpace,
    borrowed_tools,
    fit_space,
    pool_queries,
    session_vectors,
    tool_ngrams,
)

START = datetime(2026, 3, 2, 23, 59)


def step(key: int, place: int, **facts: Any) -> dict[str, Any]:
    """A turn that went well; texts differ unless they are given."""
    return (
        dict.fromkeys(STEPS.names())
        | {
            "session_key": key,
            "step": place,
            "text_hash": f"text {key} {place}",
            "query_chars": 40,
            "answer_chars": 80,
            "answered": True,
            "tool_calls": [],
        }
        | facts
    )


def features(*steps: dict[str, Any]) -> pl.DataFrame:
    return session_features(pl.DataFrame(steps, schema=STEPS).lazy()).collect()


def only(*steps: dict[str, Any]) -> dict[str, Any]:
    return features(*steps).row(0, named=True)


def test_turns_are_taken_in_their_order_whatever_the_order_of_rows() -> None:
    turns = [
        step(1, place, tool_calls=tools, context_tokens=100 * (place + 1))
        for place, tools in enumerate([["search"], ["search", "book"], ["cancel"]])
    ]
    found = only(*turns)
    assert found["tools"] == ["search", "search", "book", "cancel"]
    assert (found["n_tool_calls"], found["n_tools"], found["tool_repeats"]) == (4, 3, 1)
    assert (found["context_first"], found["context_last"], found["context_max"]) == (100, 300, 300)
    assert found["context_slope"] == pytest.approx(100)
    assert features(*turns[::-1]).equals(features(*turns))


def test_context_that_was_not_recorded_is_estimated_from_what_was_said() -> None:
    found = only(step(1, 0), step(1, 1))
    assert found["context_estimated"]
    assert (found["context_first"], found["context_last"]) == (10, 40)  # 40 and 160 characters
    assert found["conversation_chars"] == 160  # the last answer comes after the last query


def test_a_session_across_midnight_is_one_session() -> None:
    found = only(
        step(1, 0, started_at=START, ended_at=START + timedelta(seconds=5)),
        step(1, 1, started_at=START + timedelta(minutes=3), ended_at=START + timedelta(minutes=4)),
    )
    assert (found["n_turns"], found["started_at"], found["duration_s"]) == (2, START, 240.0)


@pytest.mark.parametrize(
    ("last", "outcome", "evidence"),
    [
        ({"error_type": "timeout", "outcome": "error"}, "error", "the last turn failed: timeout"),
        ({"outcome": "success"}, "success", "declared"),
        ({"outcome": "abandoned"}, "abandoned", "declared"),
        ({"answered": False}, "abandoned", "the last query has no answer"),
        ({"answered": None}, "unknown", None),
        ({}, "unknown", None),
    ],
)
def test_an_outcome_has_evidence(last: dict[str, Any], outcome: str, evidence: str | None) -> None:
    found = only(step(1, 0), step(1, 1, **last))
    assert (found["outcome"], found["outcome_evidence"]) == (outcome, evidence)


def test_a_declared_outcome_holds_when_people_say_thank_you_afterwards() -> None:
    assert only(step(1, 0, outcome="success"), step(1, 1))["outcome"] == "success"
    assert only(step(1, 0, outcome="error", error_type="x"), step(1, 1))["outcome"] == "unknown"


def test_a_turn_failed_by_any_evidence_and_once_only() -> None:
    found = only(
        step(1, 0, text_hash="a"),  # sent again by the next turn
        step(1, 1, text_hash="a", tool_calls=["book"], tool_failures=1, rejected=True),
        step(1, 2),
        step(1, 3, rephrased=True),
        step(1, 4, answered=False),
    )
    assert (found["retries"], found["rephrases"], found["tool_failures"]) == (1, 1, 1)
    assert found["failed_turns"] == 4  # 0, 1, 2 (said again by 3) and 4


def test_what_is_not_known_is_not_zero() -> None:
    found = only(step(1, 0, tool_calls=None))
    assert not found["tools_known"]
    assert found["tool_failures"] is found["rephrases"] is found["latency_ms"] is None
    assert found["context_slope"] is None


def test_sessions_do_not_touch_each_other() -> None:
    """The same text at the end of one session and the start of the next is no retry."""
    found = features(step(1, 0, text_hash="a"), step(2, 0, text_hash="a"))
    assert found["retries"].to_list() == [0, 0]
    assert found["failed_turns"].to_list() == [0, 0]


def test_ten_thousand_turns_are_a_session_too() -> None:
    found = only(*(step(1, place, tool_calls=["search"]) for place in range(10_000)))
    assert (found["n_turns"], found["tool_repeats"]) == (10_000, 9_999)
    assert found["context_slope"] == pytest.approx(30)  # (40 + 80) characters a turn
    assert len(tool_ngrams(found["tools"])) == 7  # no more kinds of n-grams than there are


def test_equal_content_has_equal_names() -> None:
    found = features(
        step(1, 0, text_hash="a", tool_calls=["x"]),
        step(2, 0, text_hash="a", tool_calls=["x"], latency_ms=5.0),
        step(3, 0, text_hash="a", tool_calls=["y"]),
    )
    names = session_hashes(found).to_list()
    assert names[0] == names[1] != names[2]


def test_a_rephrase_is_closer_than_the_topic_but_not_the_same_nor_after_success() -> None:
    steps = pl.DataFrame(
        [
            step(1, 0),
            step(1, 1),
            step(1, 2, text_hash="text 1 1", outcome="success"),
            step(1, 3),
            step(2, 0),
            step(2, 1),
            step(2, 2, text_hash=None),
        ],
        schema=STEPS,
    )
    cosines = np.array([np.nan, 0.9, 1.0, 0.9, 0.9, 0.7, np.nan])
    said_again = rephrases(steps, cosines, 0.8).to_list()
    assert said_again == [False, True, False, False, False, False, None]


def test_the_level_of_a_rephrase_is_that_of_the_traffic() -> None:
    rng = np.random.default_rng(3)

    def level(noise: float) -> float:
        centres = rng.normal(size=(10, 32))
        topics = np.repeat(np.arange(10), 40)
        vectors = centres[topics] + noise * rng.normal(size=(400, 32))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return topic_level(vectors.astype(np.float32), topics, rng)

    assert level(0.3) > level(1.0) > 0.4
    alone = topic_level(np.eye(5, dtype=np.float32), np.arange(5), rng)
    assert alone == 0.8


def simulated(n: int, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.Series]:
    """Short sessions that search, long ones that search and book."""
    steps = []
    for key in range(n):
        long = key % 2
        for place in range(int(rng.integers(5, 9) if long else rng.integers(1, 3))):
            tools = ["search", "book"] if long and place else ["search"]
            steps.append(step(key, place, tool_calls=tools, text_hash=f"t{rng.integers(50)}"))
    found = features(*steps)
    return found, found["text_hashes"]


@pytest.fixture(scope="module")
def space() -> tuple[SessionSpace, pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    rows, hashes = simulated(200, rng)
    texts = [f"t{i}" for i in range(50)]
    vectors = rng.normal(size=(50, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = pool_queries(hashes, texts, vectors)
    found = fit_space(
        rows, queries, np.full(200, 1 / 200), with_outcome=False, text_fingerprint="m", rng=rng
    )
    return found, rows, queries


def test_sessions_of_one_kind_are_closer_than_of_two(space: Any) -> None:
    frozen, rows, queries = space
    vectors = session_vectors(frozen, rows, queries)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    cosines = vectors @ vectors.T
    same = np.equal.outer(np.arange(200) % 2, np.arange(200) % 2)
    assert cosines[same].mean() > cosines[~same].mean() + 0.1


def test_no_block_dominates_by_its_width(space: Any) -> None:
    """Each block spreads the cosines as much as the others, whatever its number of columns."""
    frozen, rows, queries = space
    assert frozen.weights.sum() == pytest.approx(1)
    assert not frozen.with_outcome
    wide = np.concatenate([queries, np.zeros((200, 1000), np.float32)], axis=1)
    again = fit_space(
        rows, wide, np.full(200, 1 / 200), with_outcome=False, text_fingerprint="m",
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert again.weights == pytest.approx(frozen.weights, rel=0.1)


def test_lengths_are_compared_by_rank_whatever_their_scale(space: Any) -> None:
    frozen, rows, queries = space
    weights = np.full(200, 1 / 200)
    longer = rows.with_columns(pl.col("n_turns") ** 2 * 10)
    rng = np.random.default_rng(0)
    again = fit_space(longer, queries, weights, with_outcome=False, text_fingerprint="m", rng=rng)
    same, of_longer = (
        session_vectors(found, table, queries) for found, table in ((frozen, rows), (again, longer))
    )
    assert np.sum(same * of_longer, axis=1) == pytest.approx(1, abs=1e-3)


def test_a_rare_failure_sets_sessions_apart_as_much_as_their_length(space: Any) -> None:
    _, rows, queries = space
    weights, rng = np.full(200, 1 / 200), np.random.default_rng(0)
    failures = pl.Series("tool_failures", np.arange(200) < 10).cast(pl.Int64)
    told = rows.with_columns(failures)
    found = fit_space(told, queries, weights, with_outcome=False, text_fingerprint="m", rng=rng)
    well = session_vectors(found, told.with_columns(tool_failures=pl.lit(0)), queries)[:10]
    badly = session_vectors(found, told, queries)[:10]
    assert np.sum(well * badly, axis=1).max() < 0.9


def test_a_space_survives_its_file_and_names_what_it_is(space: Any) -> None:
    frozen, rows, queries = space
    again = SessionSpace.from_arrays(*frozen.to_arrays())
    assert again.fingerprint == frozen.fingerprint
    assert np.array_equal(
        session_vectors(again, rows, queries), session_vectors(frozen, rows, queries)
    )
    other = SessionSpace(**vars(frozen) | {"weights": frozen.weights[::-1]})
    assert other.fingerprint != frozen.fingerprint
    with pytest.raises(ValueError, match="not a session space"):
        SessionSpace.from_arrays({}, {})


def test_outcomes_count_only_where_they_are_known(space: Any) -> None:
    _, rows, queries = space
    told = rows.with_columns(outcome=pl.Series(["success", "abandoned"] * 100))
    weights = np.full(200, 1 / 200)
    rng = np.random.default_rng(0)
    known = fit_space(told, queries, weights, with_outcome=True, text_fingerprint="m", rng=rng)
    assert known.with_outcome
    left = fit_space(told, queries, weights, with_outcome=False, text_fingerprint="m", rng=rng)
    assert np.array_equal(
        session_vectors(left, told, queries), session_vectors(left, rows, queries)
    )


def test_a_case_that_does_not_say_how_it_went_lies_near_what_is_usual(space: Any) -> None:
    _, rows, queries = space
    weights, rng = np.full(200, 1 / 200), np.random.default_rng(0)
    usual = pl.Series(["abandoned" if i % 10 == 0 else "success" for i in range(200)])
    told = rows.with_columns(outcome=usual)
    found = fit_space(told, queries, weights, with_outcome=True, text_fingerprint="m", rng=rng)
    silent, success, abandoned = (
        session_vectors(found, rows.with_columns(outcome=pl.lit(outcome)), queries)
        for outcome in ("unknown", "success", "abandoned")
    )
    assert np.sum(silent * success, axis=1).min() > 0.99
    assert np.all(np.sum(silent * success, axis=1) > np.sum(silent * abandoned, axis=1))


def test_tools_that_production_does_not_record_set_no_case_apart(space: Any) -> None:
    _, rows, queries = space
    weights, rng = np.full(200, 1 / 200), np.random.default_rng(0)
    none = pl.lit([], pl.List(pl.String))
    unseen = rows.with_columns(tools=none, n_tool_calls=pl.lit(0), n_tools=pl.lit(0))
    found = fit_space(unseen, queries, weights, with_outcome=False, text_fingerprint="m", rng=rng)
    assert np.array_equal(
        session_vectors(found, unseen, queries), session_vectors(found, rows, queries)
    )


def test_a_session_without_any_text_still_has_a_place(space: Any) -> None:
    frozen, _, _ = space
    row = features(step(1, 0, text_hash=None, tool_calls=["search"]))
    queries = pool_queries(row["text_hashes"], ["t0"], np.ones((1, 16), np.float32))
    assert not queries.any()
    assert np.linalg.norm(session_vectors(frozen, row, queries)) == pytest.approx(1, abs=1e-5)


def test_pooled_queries_are_first_mean_and_last() -> None:
    texts, vectors = ["a", "b"], np.eye(2, dtype=np.float32)
    lists = pl.Series([["a", None, "b"], ["b"], []], dtype=pl.List(pl.String))
    pooled = pool_queries(lists, texts, vectors).reshape(3, 3, 2) * np.sqrt(3)
    assert pooled[0] == pytest.approx(np.array([[1, 0], [0.5**0.5, 0.5**0.5], [0, 1]]), abs=1e-6)
    assert pooled[1] == pytest.approx(np.array([[0, 1]] * 3), abs=1e-6)
    assert not pooled[2].any()


def test_tools_that_a_case_does_not_name_are_those_of_the_most_similar_turn() -> None:
    texts = np.eye(2, dtype=np.float32)
    asked = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    assert borrowed_tools(asked, texts, [["search"], []]) == [["search"], []]


def test_tool_ngrams_know_start_and_end() -> None:
    found = tool_ngrams(["look up", "book"])
    assert found == {
        "look_up": 1, "book": 1, "^ look_up": 1, "look_up book": 1, "book $": 1,
        "^ look_up book": 1, "look_up book $": 1,
    }  # fmt: skip
    assert tool_ngrams([]) == {"^ $": 1}
