"""Descriptions of clusters of sessions: what a person would say sets them apart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.sessions.naming import describe_clusters, typical_sessions

BOOKING = ["search", "search", "book", "cancel"]


def sessions(n, **known):
    """n sessions of one turn without anything, but for what is given."""
    values = {
        "n_turns": 1,
        "tools": [[]] * n,
        "tools_known": True,
        "tool_failures": 0,
        "tool_repeats": 0,
        "retries": 0,
        "rephrases": 0,
        "context_last": 300.0,
        "context_estimated": False,
        "outcome": "unknown",
    } | known
    frame = pl.DataFrame(
        {name: v if isinstance(v, list) else [v] * n for name, v in values.items()},
        schema_overrides={"tools": pl.List(pl.String)},
    )
    return frame.with_columns(n_tool_calls=pl.col("tools").list.len().cast(pl.Int64))


def described(*clusters, keywords=None):
    ids = np.repeat(np.arange(len(clusters)), [len(cluster) for cluster in clusters])
    keywords = keywords or [[] for _ in clusters]
    frame = pl.concat(clusters, how="vertical_relaxed")
    return describe_clusters(frame, ids, np.full(len(ids), 0.5), keywords, len(clusters))


def test_a_long_agent_session_and_a_single_question():
    long = sessions(
        100,
        n_turns=[7, 8, 9, 11, 14] * 20,
        tools=[BOOKING] * 100,
        context_last=6400.0,
        outcome=["abandoned"] * 61 + ["success"] * 39,
    )
    short = sessions(300, outcome="success")
    assert described(long, short, keywords=[["hotel"], ["track order", "parcel"]]) == [
        "7+ turns, search -> book -> cancel, context above 6k tokens, 61 % abandoned: hotel",
        "one turn, no tools, 100 % succeed: track order, parcel",
    ]


def test_what_all_clusters_share_sets_none_apart():
    same = {"n_turns": 3, "tools": [["search"]] * 50, "context_last": 9000.0, "retries": 1}
    one, other = described(
        sessions(50, **same), sessions(50, **same), keywords=[["visa"], ["taxi"]]
    )
    assert (one, other) == ("3 turns, search: visa", "3 turns, search: taxi")


def test_the_path_is_the_one_that_others_do_not_walk():
    search = sessions(50, tools=[["login", "search"]] * 50)
    refund = sessions(50, tools=[["login", "find_order", "refund"]] * 50)
    assert described(search, refund) == [
        "one turn, login -> search",
        "one turn, login -> find_order -> refund",
    ]


def test_a_path_of_a_few_sessions_is_not_typical():
    mixed = sessions(40, tools=[["a"], ["b"], ["c"], ["d"]] * 10)
    assert described(mixed, sessions(40))[0] == "one turn, various tools"


def test_tools_that_nobody_calls_or_records_are_not_mentioned():
    assert described(sessions(20), sessions(20, n_turns=2)) == ["one turn", "2 turns"]
    silent = sessions(20, tools_known=False)
    assert described(silent, sessions(20, tools=[["pay"]] * 20))[0] == "one turn"


def test_failures_and_repetitions_are_said_where_they_are_unusual():
    poor = sessions(
        60,
        tools=[["pay", "pay"]] * 60,
        tool_failures=[1, 1, 0] * 20,
        tool_repeats=1,
        retries=[1, 0] * 30,
    )
    fine = sessions(60, tools=[["pay"]] * 60)
    assert described(poor, fine) == [
        "one turn, pay, 67 % with failed tools, 50 % ask again, 100 % repeat a tool",
        "one turn, pay",
    ]


def test_an_outcome_that_few_sessions_know_is_not_said():
    mostly_unknown = sessions(100, outcome=["abandoned"] * 30 + ["unknown"] * 70)
    other = sessions(100, n_turns=2, outcome="success")
    assert "abandoned" not in described(mostly_unknown, other)[0]


def test_a_share_of_three_sessions_is_not_sure_enough():
    few = sessions(3, outcome=["abandoned", "abandoned", "success"])
    other = sessions(100, n_turns=2, outcome=["success", "success", "abandoned", "success"] * 25)
    assert "abandoned" not in described(few, other)[0]


def test_estimated_context_is_said_to_be_about():
    long = sessions(30, n_turns=30, context_last=12_700.0, context_estimated=True)
    assert described(long, sessions(60))[0] == "30 turns, context above ~12k tokens"


def test_equal_sessions_about_equal_things_have_names_of_their_own():
    clusters = [sessions(10)] * 3
    words = ["order", "parcel", "late", "where"]
    labels = described(*clusters, keywords=[words, [*words[:3], "refund"], words])
    assert labels == [
        "one turn: order, parcel, late",
        "one turn: order, parcel, late, refund",
        "one turn: order, parcel, late, where",
    ]
    assert len(set(described(*clusters))) == 3


def test_long_names_of_tools_keep_both_ends_and_the_label_stays_short():
    names = [f"mcp__internal_service__{verb}_customer_record" for verb in ("find", "update")]
    label = described(
        sessions(50, n_turns=9, tools=[names] * 50, context_last=7000.0, outcome="abandoned"),
        sessions(50, outcome="success"),
        keywords=[["customer address", "change of name", "moving house"], ["hello"]],
    )[0]
    assert label.startswith("9 turns, mcp__intern…tomer_record -> mcp__intern…tomer_record")
    assert label.endswith(": customer address")
    assert len(label) <= 90


def test_weights_decide_what_is_typical():
    frame = pl.concat([sessions(4, n_turns=[1, 1, 1, 9]), sessions(4, n_turns=2)])
    ids, keywords = np.repeat([0, 1], 4), [[], []]
    assert describe_clusters(frame, ids, np.ones(8), keywords, 2)[0] == "1-9 turns"
    heavy = np.array([1, 1, 1, 97, 1, 1, 1, 1])
    assert describe_clusters(frame, ids, heavy, keywords, 2)[0] == "9 turns"


def test_a_cluster_without_sessions_has_a_name_too():
    frame = sessions(3)
    labels = describe_clusters(frame, np.array([0, 0, -1]), np.ones(3), [[], []], 2)
    assert labels == ["one turn", "cluster 1"]


def test_sessions_that_disagree_in_number_are_refused():
    with pytest.raises(ValueError, match="same sessions"):
        describe_clusters(sessions(3), np.zeros(2, int), np.ones(3), [[]], 1)


def test_typical_sessions_begin_with_the_medoid_and_repeat_no_content():
    angle = np.array([0.0, 0.1, -0.1, 0.5, 0.0, 2.0])
    vectors = np.column_stack([np.cos(angle), np.sin(angle)])
    contents = ["m", "a", "b", "c", "m", "far"]
    ids = np.array([0, 0, 0, 0, 0, 1])
    first, second, empty = typical_sessions(contents, ids, np.ones(6), vectors, 3, most=3)
    assert first.tolist() == [1, 0, 2]
    assert second.tolist() == [5]
    assert empty.tolist() == []
