"""Signs of failure: what counts as one, on which turn it lies, and where its cut comes from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.failures.phrases import objection, put_anew
from evalcov_pipeline.core.failures.repeated_questions import regeneration_signs, rephrase_signs
from evalcov_pipeline.core.failures.rows import SIGNAL_INPUT, STRENGTHS, strongest
from evalcov_pipeline.core.failures.signals import (
    abrupt_end_signs,
    explicit_signs,
    friction_signs,
    retrieval_signs,
)
from evalcov_pipeline.core.failures.thresholds import (
    DAY,
    FALSE_ALARMS,
    low_share,
    quiet_guard,
    rephrase_cut,
    retrieval_cuts,
    unrelated_similarities,
)

NOON = datetime(2026, 9, 28, 12)
QUIET = pl.DataFrame(
    {"source": ["shop"], "known_until": [NOON + timedelta(days=2)], "guard": 600.0}
)


def session(*turns: dict[str, Any], name: str = "s", source: str = "shop") -> pl.DataFrame:
    """Turns a minute apart that were answered well, but for what is said of them."""
    usual = {
        "source": source, "session_id": name, "answered": True, "query_text": "where is it",
        "error_type": None, "finish_reason": "stop", "retrieval_count": None,
        "retrieval_top_score": None, "retrieval_kind": None, "feedback": [], "outcome": None,
    }  # fmt: skip
    rows = []
    for number, turn in enumerate(turns):
        at = NOON + timedelta(minutes=number)
        timed = {"started_at": at, "ended_at": at + timedelta(seconds=5), "turn_index": number}
        rows.append(usual | timed | turn)
    return pl.DataFrame(rows, schema=SIGNAL_INPUT)


def said(name: str, value: float | None, label: str | None, by: str | None) -> dict[str, Any]:
    return {"feedback": [{"name": name, "value": value, "label": label, "annotator_kind": by}]}


def found(frame: pl.DataFrame) -> list[tuple[int, str]]:
    return list(frame.select("row", "signal").iter_rows())


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        (said("user_feedback", 0.0, "thumbs_down", "HUMAN"), "thumbs_down"),
        (said("thumbs", 0.0, None, None), "thumbs_down"),
        (said("user-feedback", 0.0, None, None), "negative_feedback"),
        (said("user_feedback", 1.0, "thumbs_up", "HUMAN"), None),
        (said("support_ticket", 1.0, None, "CODE"), "ticket"),
        (said("support_ticket", 0.0, None, "CODE"), None),
        (said("ticket", None, "T-1289", None), "ticket"),
        (said("ticket", 1.0, None, "LLM"), None),
        (said("flag", 1.0, None, "HUMAN"), "flagged"),
        (said("flag", 0.0, None, "HUMAN"), None),
        (said("flag", 1.0, None, None), None),
        (said("review", None, "incorrect", "HUMAN"), "flagged"),
        (said("helpfulness", 0.0, "not_helpful", "LLM"), None),
        (said("helpfulness", 0.0, "not_helpful", "HUMAN"), "negative_feedback"),
        (said("groundedness", 0.0, None, "CODE"), None),
    ],
)
def test_people_complain_and_flag_and_machines_do_not(feedback: dict, expected: str | None) -> None:
    signs = explicit_signs(session(feedback))
    assert found(signs) == ([(0, expected)] if expected else [])


def test_nothing_captured_is_not_nothing_found() -> None:
    turns = session({"retrieval_count": None}, {"retrieval_count": 0}, {"retrieval_count": 2})
    no_cuts = pl.DataFrame(
        schema={"source": pl.String, "retrieval_kind": pl.String, "cut": pl.Float64}
    )
    assert found(retrieval_signs(turns, no_cuts)) == [(1, "null_retrieval")]


def test_a_score_is_low_among_its_own_retriever_s_alone() -> None:
    turns = session(
        {"retrieval_count": 1, "retrieval_kind": "bm25", "retrieval_top_score": 9.0},
        {"retrieval_count": 1, "retrieval_kind": "dense", "retrieval_top_score": 0.9},
        {"retrieval_count": 1, "retrieval_kind": "dense", "retrieval_top_score": 0.1},
    )
    cuts = pl.DataFrame(
        {"source": ["shop"] * 2, "retrieval_kind": ["bm25", "dense"], "cut": [10.0, 0.4]}
    )
    signs = retrieval_signs(turns, cuts)
    assert found(signs) == [(0, "low_retrieval"), (2, "low_retrieval")]
    assert signs["strength"][1] > signs["strength"][0]
    assert signs["threshold"].to_list() == [10.0, 0.4]


def regenerated(turns: pl.DataFrame) -> list[tuple[int, str]]:
    return found(regeneration_signs(turns, turns["query_text"]))


def test_the_same_input_again_means_that_the_answer_before_was_not_taken() -> None:
    again = session({"query_text": "a"}, {"query_text": "b"}, {"query_text": "b"})
    assert regenerated(again) == [(1, "regeneration")]
    over_one = session({"query_text": "a"}, {"query_text": "b"}, {"query_text": "a"})
    assert regenerated(over_one) == [(0, "regeneration")]
    far = session(*({"query_text": text} for text in "abca"))
    assert regenerated(far) == []


def test_a_double_click_is_no_regeneration() -> None:
    slow = {"query_text": "a", "ended_at": NOON + timedelta(minutes=3)}
    assert regenerated(session(slow, {"query_text": "a"})) == []


def test_another_session_s_same_question_is_no_regeneration() -> None:
    turns = pl.concat([session({}, name="a"), session({}, name="b")])
    assert regenerated(turns) == []


def test_saying_yes_twice_is_no_regeneration() -> None:
    turns = pl.concat(
        session(
            {"query_text": f"book {name}"}, {"query_text": "yes"}, {"query_text": "yes"}, name=name
        )
        for name in "abcd"
    )
    assert regenerated(turns) == []


def test_an_answer_may_be_declared_regenerated() -> None:
    declared = said("regenerated", 1.0, None, "CODE")
    assert regenerated(session(declared)) == [(0, "regeneration")]


@pytest.mark.parametrize(
    ("last", "ends"),
    [
        ({"error_type": "timeout", "answered": False}, True),
        ({"finish_reason": "content_filter"}, True),
        ({"answered": False}, True),
        ({"answered": None}, False),
        ({"outcome": "abandoned"}, False),
        ({}, False),
    ],
)
def test_a_session_ends_abruptly_by_what_became_of_its_last_turn(last: dict, ends: bool) -> None:
    turns = session({}, last)
    expected = [(1, "abrupt_end")] if ends else []
    assert found(abrupt_end_signs(turns, QUIET)) == expected


def test_an_error_that_was_got_over_is_no_abrupt_end() -> None:
    assert found(abrupt_end_signs(session({"error_type": "timeout"}, {}), QUIET)) == []


def test_a_session_that_may_go_on_has_not_ended() -> None:
    soon = QUIET.with_columns(known_until=pl.lit(NOON + timedelta(minutes=5)))
    assert found(abrupt_end_signs(session({"error_type": "timeout"}), soon)) == []


def test_an_objection_lies_on_the_answer_before_it() -> None:
    turns = session({}, {"query_text": "That\u2019s NOT what I asked"})
    signs = friction_signs(turns)
    assert found(signs) == [(0, "friction")]
    assert signs["evidence"][0] == "turn 1 says: that's not what i asked"


def test_nobody_objects_to_an_answer_that_was_not_given_yet() -> None:
    assert found(friction_signs(session({"query_text": "this is useless, my order is late"}))) == []


@pytest.mark.parametrize(
    "text",
    [
        "you already said that", "No, I meant the blue one", "this is useless", "wrong answer!",
        "You didn't answer my question", "that's wrong", "that did not help",
    ],
)  # fmt: skip
def test_objections_are_known_by_their_words(text: str) -> None:
    assert pl.select(objection(pl.lit(text))).item() is not None


@pytest.mark.parametrize(
    "text",
    [
        "No, I want to pay by card.", "can you help me", "is it useless to wait?", "no thanks",
        "what is wrong with my router", "I asked for a refund", "that was helpful, thanks",
    ],
)  # fmt: skip
def test_other_words_are_no_objection(text: str) -> None:
    assert pl.select(objection(pl.lit(text))).item() is None


def test_an_opening_announces_that_things_are_put_anew() -> None:
    texts = pl.DataFrame(
        {"t": ["I mean, where is it", "Sorry, let me rephrase: where", "I am mean"]}
    )
    assert texts.select(put_anew(pl.col("t"))).to_series().to_list() == [True, True, False]


CUTS = pl.DataFrame({"source": ["shop"], "cut": [0.6], "anew": [0.2]})


def rephrased(turns: pl.DataFrame, similarity: Sequence[tuple[int, int, float]]) -> list:
    pairs = pl.DataFrame(
        [(row, back) for row, back, _ in similarity], schema={"row": pl.UInt32, "back": pl.Int64},
        orient="row",
    )  # fmt: skip
    values = np.array([value for *_, value in similarity])
    return found(rephrase_signs(turns, turns["query_text"], pairs, values, CUTS))


def test_a_rephrase_lies_on_the_answered_turn_that_it_resembles_most() -> None:
    turns = session({}, {"query_text": "you already said that"}, {})
    assert rephrased(turns, [(0, 1, 0.1), (1, 1, 0.7), (0, 2, 0.9)]) == [(0, "rephrase")]
    assert rephrased(turns, [(0, 1, 0.1), (1, 1, 0.9), (0, 2, 0.7)]) == [(1, "rephrase")]


def test_coming_back_to_a_topic_after_another_one_is_no_rephrase() -> None:
    turns = session({}, {"query_text": "do you sell ladders"}, {})
    assert rephrased(turns, [(0, 1, 0.1), (1, 1, 0.1), (0, 2, 0.9)]) == []


def test_an_announced_rephrase_needs_less_similarity() -> None:
    plain, announced = {"query_text": "order late"}, {"query_text": "I mean, my order is late"}
    assert rephrased(session({}, plain), [(0, 1, 0.4)]) == []
    assert rephrased(session({}, announced), [(0, 1, 0.4)]) == [(0, "rephrase")]
    assert rephrased(session({}, announced), [(0, 1, 0.1)]) == []


@pytest.mark.parametrize(
    "content", [{"outcome": "success"}, said("user_feedback", 1.0, "thumbs_up", "HUMAN")]
)
def test_what_follows_success_is_a_refinement(content: dict) -> None:
    assert rephrased(session(content, {}), [(0, 1, 0.9)]) == []


def test_pairs_without_texts_and_sources_without_a_cut_are_silent() -> None:
    assert rephrased(session({}, {}), [(0, 1, np.nan)]) == []
    turns = session({}, {}, source="other")
    assert rephrased(turns, [(0, 1, 0.9)]) == []


def test_the_strongest_of_several_signs_of_a_kind_is_kept() -> None:
    turns = session({"query_text": "a"}, {"query_text": "a"}, {"query_text": "a"})
    one = regeneration_signs(turns, turns["query_text"])
    kept = strongest([one, one])
    assert found(kept) == [(0, "regeneration"), (1, "regeneration")]
    assert kept["strength"].to_list() == [STRENGTHS["regeneration"]] * 2


def test_the_cut_of_rephrase_leaves_the_stated_share_of_unrelated_pairs_above_it() -> None:
    values = np.random.default_rng(5).uniform(size=2000)
    cut = rephrase_cut(values)
    assert cut.value is not None
    assert np.mean(values > cut.value) == pytest.approx(FALSE_ALARMS, abs=0.001)
    assert cut.anew == pytest.approx(0.5, abs=0.05)
    assert rephrase_cut(values[:99]).value is None


def test_unrelated_pairs_are_of_different_sessions() -> None:
    """A next message is held against the question that is nearest to the one it follows."""
    question, other = np.eye(2, dtype=np.float32)
    both = (question + other) / np.float32(np.sqrt(2))
    vectors = np.stack([question, both, other, question, question, other])
    sessions = np.array([0, 0, 1, 1, 2, 2])
    places = np.array([0, 2, 4]), np.array([1, 3, 5])
    expected = pytest.approx([np.sqrt(0.5), 0, 0], abs=1e-6)
    assert unrelated_similarities(vectors, sessions, *places) == expected
    alone = unrelated_similarities(vectors[:2], sessions[:2], places[0][:1], places[1][:1])
    assert len(alone) == 0


def scores(n: int, weak: float, bad_if_weak: float, bad_else: float, seed: int) -> pl.DataFrame:
    """Two retrievers on scales of their own; a share of their scores is weak."""
    rng = np.random.default_rng(seed)
    is_weak = rng.random(n) < weak
    score = np.where(is_weak, rng.uniform(0, 0.3, n), rng.uniform(0.5, 1, n))
    dense = rng.random(n) < 0.5
    return pl.DataFrame(
        {
            "retrieval_kind": np.where(dense, "dense", "bm25"),
            "session": np.arange(n),
            "score": np.where(dense, score, 40 * score),
            "bad": rng.random(n) < np.where(is_weak, bad_if_weak, bad_else),
        }
    )


def test_the_low_share_is_found_where_low_scores_end_badly() -> None:
    known = scores(2000, weak=0.1, bad_if_weak=0.5, bad_else=0.05, seed=1)
    share = low_share(known)
    assert share.value == pytest.approx(0.1, abs=0.03)
    cuts = dict(retrieval_cuts(known, share.value or 0).iter_rows())
    assert 0.2 < cuts["dense"] < 0.6
    assert cuts["bm25"] == pytest.approx(40 * cuts["dense"], rel=0.6)


def test_scores_that_say_nothing_about_outcomes_give_no_cut() -> None:
    silent = [
        low_share(scores(2000, weak=0.1, bad_if_weak=0.1, bad_else=0.1, seed=seed)).value is None
        for seed in range(20)
    ]
    assert sum(silent) >= 19


def test_three_bad_endings_below_the_cut_make_none() -> None:
    bad = np.isin(np.arange(1000), [2, 8, 14, *range(300, 900, 40)])
    known = pl.DataFrame(
        {"retrieval_kind": "dense", "session": range(1000), "score": range(1000), "bad": bad}
    )
    assert low_share(known).value is None


def test_sessions_that_end_badly_as_a_whole_make_no_cut_by_chance() -> None:
    rng = np.random.default_rng(1)
    found = [
        low_share(
            pl.DataFrame(
                {
                    "retrieval_kind": "dense",
                    "session": np.repeat(np.arange(200), 6),
                    "score": np.repeat(rng.random(200), 6),
                    "bad": np.repeat(rng.random(200) < 0.1, 6),
                }
            )
        ).value
        for _ in range(60)
    ]
    assert sum(share is not None for share in found) <= 4


def test_too_little_traffic_gives_no_cut_and_a_reason() -> None:
    few = low_share(scores(30, weak=0.1, bad_if_weak=1, bad_else=0, seed=1))
    assert few.value is None
    assert few.reason.startswith("silent")
    unknown = quiet_guard(np.array([3.0, 4.0]))
    assert (unknown.value, unknown.n) == (DAY, 2)


def test_a_session_has_ended_once_hardly_any_ever_went_on_after_so_long() -> None:
    gaps = np.linspace(0, 1000, 101)
    assert quiet_guard(gaps).value == pytest.approx(990)
    assert quiet_guard(gaps * 1e6).value == DAY
