"""Folding spans into turns."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from evalcov_pipeline.core.traffic.turns import SPANS, TURNS, Fold, fold_turns

NOON = datetime(2026, 9, 1, 12)


def span(span_id: str, kind: str = "turn", at: float = 0.0, **columns: Any) -> dict[str, Any]:
    """A span of trace t that starts `at` seconds after noon and lasts one."""
    start = NOON + timedelta(seconds=at)
    known = {"source": "x", "trace_id": "t", "span_id": span_id, "kind": kind}
    times = {"started_at": start, "ended_at": start + timedelta(seconds=1)}
    return dict.fromkeys(SPANS) | known | times | columns


def fold(*spans: dict[str, Any]) -> Fold:
    return fold_turns(pl.DataFrame(spans, schema=SPANS))


def turn(*spans: dict[str, Any]) -> dict[str, Any]:
    """The only turn of the spans."""
    (row,) = fold(*spans).turns.to_dicts()
    return row


ROOT = span("a", query_text="q", answer_text="r")


def test_no_spans_give_no_turns() -> None:
    assert fold().turns.schema == TURNS
    assert fold().turns.is_empty()


def test_the_root_tells_query_and_answer_before_its_model_calls_do() -> None:
    call = span("b", "llm", 1, parent_id="a", query_text="prompt", answer_text="draft")
    assert turn(call, ROOT)["query_text"] == "q"
    assert turn(call, ROOT)["answer_text"] == "r"


def test_a_silent_root_takes_the_first_query_and_the_last_answer() -> None:
    row = turn(
        span("a"),
        span("c", "llm", 2, parent_id="a", query_text="q2", answer_text="r2"),
        span("b", "llm", 1, parent_id="a", query_text="q1", answer_text="r1"),
        span("d", "llm", 3, parent_id="a", finish_reason="stop"),
    )
    assert (row["query_text"], row["answer_text"]) == ("q1", "r2")


def test_a_failed_last_call_leaves_the_turn_unanswered() -> None:
    row = turn(
        span("a", query_text="q"),
        span("b", "llm", 1, parent_id="a", answer_text="let me look"),
        span("c", "llm", 2, parent_id="a", error_type="timeout"),
    )
    assert row["answer_text"] is None
    assert (row["error_type"], row["outcome"]) == ("timeout", "error")


def test_a_recovered_error_is_not_the_turns() -> None:
    failed = span("b", "llm", 1, parent_id="a", error_type="timeout")
    broken_tool = span("c", "tool", 2, parent_id="a", error_type="404", tool_calls=["x"])
    row = turn(ROOT, failed, broken_tool)
    assert (row["error_type"], row["outcome"], row["tool_failures"]) == (None, None, 1)
    assert turn(ROOT | {"error_type": "crash"})["outcome"] == "error"


def test_tokens_and_cost_are_summed_over_model_calls_once() -> None:
    row = turn(
        ROOT | {"input_tokens": 30, "cost_usd": 9.0},
        span("b", "llm", 1, parent_id="a", input_tokens=10, cost_usd=0.5),
        span("c", "llm", 1, parent_id="b", input_tokens=10, cost_usd=0.5),
        span("d", "llm", 2, parent_id="a", input_tokens=20, cost_usd=0.25),
    )
    assert (row["input_tokens"], row["cost_usd"], row["context_tokens"]) == (30, 0.75, 20)
    assert row["output_tokens"] is None
    assert turn(ROOT | {"input_tokens": 30})["input_tokens"] == 30


def test_tools_are_listed_in_order_of_start() -> None:
    tools = [span(n, "tool", at, parent_id="a", tool_calls=[n]) for n, at in [("z", 1), ("b", 2)]]
    assert turn(*reversed(tools), ROOT)["tool_calls"] == ["z", "b"]
    assert turn(ROOT)["tool_calls"] == []


def test_failed_tools_are_counted_and_unknown_where_nobody_recorded_tools() -> None:
    tools = [
        span(n, "tool", 1, parent_id="a", tool_calls=["x"], error_type=error)
        for n, error in [("b", "404"), ("c", None), ("d", "timeout")]
    ]
    assert turn(ROOT, *tools)["tool_failures"] == 2
    assert turn(ROOT, tools[1])["tool_failures"] == 0
    assert turn(ROOT)["tool_failures"] is None
    assert turn(ROOT | {"tool_calls": ["x", "y"], "tool_failures": 1})["tool_failures"] == 1
    of_each_root = fold(ROOT, tools[0], span("e", at=5, query_text="next"), tools[2]).turns
    assert of_each_root["tool_failures"].to_list() == [2, None]


@pytest.mark.parametrize(
    ("counts", "expected"), [([], None), ([None], None), ([0], 0), ([None, 2], 2), ([0, 2, 3], 5)]
)
def test_retrieval_that_was_not_captured_is_unknown(
    counts: list[int | None], expected: int | None
) -> None:
    found = [
        span(f"r{i}", "retrieval", i, parent_id="a", retrieval_count=n)
        for i, n in enumerate(counts)
    ]
    assert turn(ROOT, *found)["retrieval_count"] == expected


def test_the_best_score_names_its_retriever() -> None:
    def found(kind: str, score: float | None) -> dict[str, Any]:
        return span(
            kind, "retrieval", parent_id="a", retrieval_kind=kind, retrieval_top_score=score
        )

    row = turn(ROOT, found("bm25", 0.2), found("dense", 0.9), found("web", None))
    assert (row["retrieval_top_score"], row["retrieval_kind"]) == (0.9, "dense")
    assert turn(ROOT, found("web", None))["retrieval_kind"] == "web"


def test_every_root_of_a_trace_is_a_turn_with_its_own_spans() -> None:
    rows = fold(
        ROOT,
        span("b", at=10, query_text="next", session_id="s"),
        span("c", "other", 11, parent_id="b"),
        span("d", "other", 12, parent_id="c"),
        span("e", "tool", 13, parent_id="d", tool_calls=["deep"]),
        span("f", "tool", 14, parent_id="lost", tool_calls=["stray"]),
    ).turns.to_dicts()
    assert [(r["query_text"], r["tool_calls"]) for r in rows] == [
        ("q", ["stray"]),
        ("next", ["deep"]),
    ]
    assert {r["session_id"] for r in rows} == {"s"}


def test_a_circle_of_parents_belongs_to_the_first_root() -> None:
    circle = [span("x", "tool", 1, parent_id="y", tool_calls=["x"]), span("y", parent_id="x")]
    rows = fold(ROOT, span("b", at=5, query_text="next"), *circle).turns.to_dicts()
    assert [r["tool_calls"] for r in rows] == [["x"], []]


def test_a_trace_without_its_root_is_led_by_its_earliest_span() -> None:
    row = turn(
        span("c", "tool", 2, parent_id="a", tool_calls=["x"]),
        span("b", "llm", 1, parent_id="a", query_text="q", answer_text="r"),
    )
    assert (row["span_id"], row["session_id"], row["tool_calls"]) == ("b", "t", ["x"])
    assert row["latency_ms"] == 2000


def test_set_aside_spreads_over_the_trace_and_is_counted() -> None:
    marked = span("b", "llm", 1, parent_id="a", set_aside="excluded")
    assert fold(ROOT, marked).turns.is_empty()
    assert fold(ROOT, marked).set_aside == 1
    assert fold(ROOT, marked, span("c", query_text="another root")).set_aside == 2
    foreign = span("b", "retrieval", 1, parent_id="a", set_aside="outside")
    assert fold(ROOT, foreign).set_aside == 0
    assert fold(ROOT | {"set_aside": "outside"}, foreign).set_aside == 1


def test_a_turn_without_captured_text_is_counted_only() -> None:
    result = fold(ROOT | {"query_text": None})
    assert result.turns.is_empty()
    assert (result.without_query, result.set_aside) == (1, 0)


def test_what_an_evaluator_calls_is_not_traffic() -> None:
    judge = span("e", "evaluator", 5, parent_id="a")
    judging = span("f", "llm", 6, parent_id="e", answer_text="pass", input_tokens=99)
    silent = span("a", query_text="q")
    row = turn(silent, judge, judging)
    assert (row["answer_text"], row["input_tokens"]) == (None, None)
    assert fold(span("e", "evaluator"), judging | {"query_text": "judge"}).turns.is_empty()


def test_feedback_goes_to_the_turn_it_names() -> None:
    def item(name: str) -> list[dict[str, Any]]:
        return [{"name": name, "value": 1.0, "label": None, "annotator_kind": "HUMAN"}]

    rows = fold(
        ROOT | {"feedback": item("own")},
        span("b", at=10, query_text="next"),
        span("c", "llm", 11, parent_id="b"),
        span("f1", "feedback", 99999, parent_id="c", feedback=item("of b")),
        span("f2", "feedback", 99999, feedback=item("of trace")),
        span("f3", "feedback", 99999, feedback=item("own")),
        span("f4", "feedback", trace_id="unknown", feedback=item("lost")),
    ).turns
    names = [[f["name"] for f in row] for row in rows["feedback"]]
    assert names == [["of trace", "own"], ["of b"]]


def test_of_different_copies_the_most_complete_is_kept() -> None:
    partial = ROOT | {"answer_text": None}
    for copies in ([partial, ROOT, ROOT], [ROOT, partial, ROOT]):
        result = fold(*copies)
        assert result.turns["answer_text"].to_list() == ["r"]
        assert (result.duplicates, result.conflicts) == (2, 1)
    rivals = [ROOT | {"answer_text": "no"}, ROOT | {"answer_text": "yes"}]
    assert_frame_equal(fold(*rivals).turns, fold(*reversed(rivals)).turns)
    assert fold(ROOT, ROOT).conflicts == 0


def test_one_trace_id_in_two_sources_is_two_turns() -> None:
    assert fold(ROOT, ROOT | {"source": "y"}).turns.height == 2


def test_a_day_keeps_and_counts_its_own_turns_only() -> None:
    late = span("b", at=86400, query_text="q", set_aside="excluded", trace_id="u")
    spans = pl.DataFrame([ROOT, late], schema=SPANS)
    first, second = (fold_turns(spans, date(2026, 9, day)) for day in (1, 2))
    assert (first.turns.height, first.set_aside) == (1, 0)
    assert (second.turns.height, second.set_aside) == (0, 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_spans_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = ["turn", "llm", "tool", "retrieval", "feedback", "evaluator", "other"]
    spans = [
        span(
            str(rng.integers(8)),
            str(rng.choice(kinds)),
            float(rng.integers(3)),
            trace_id=str(rng.integers(3)),
            parent_id=str(rng.integers(8)) if rng.random() < 0.7 else None,
            query_text=str(rng.choice(["p", "q"])),
            answer_text=str(rng.choice(["r", "s"])) if rng.random() < 0.5 else None,
            tool_calls=["x"] if rng.random() < 0.5 else None,
            cost_usd=float(rng.choice([0.1, 0.2, 0.3])),
            retrieval_top_score=float(rng.integers(2)),
            retrieval_kind=str(rng.integers(3)),
            set_aside="excluded" if rng.random() < 0.02 else None,
        )
        for _ in range(12)
    ]
    one = fold(*spans)
    other = fold(*(spans[i] for i in rng.permutation(len(spans))))
    assert_frame_equal(one.turns, other.turns, check_exact=True)
    assert (one.set_aside, one.conflicts) == (other.set_aside, other.conflicts)
