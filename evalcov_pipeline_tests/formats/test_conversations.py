"""Conversations of eval cases, with the tool calls in them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalcov_pipeline.cli import main
from evalcov_pipeline.formats.conversations import (
    calls_in_words,
    is_conversation,
    read_conversation,
)
from evalcov_pipeline.formats.generic_evals import read_cases
from evalcov_pipeline.formats.lines import Reject, Unreadable
from evalcov_pipeline.services.evals.ledger import record_cases
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.traffic.texts import week_texts
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.warehouse import frame

Message = dict[str, Any]


def user(content: Any) -> Message:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


def tool(content: Any, **more: Any) -> Message:
    return {"role": "tool", "content": content, **more}


BOOKED = [
    user("a table for two"),
    assistant("", tool_calls=["search", "book"]),
    tool("3 found"),
    tool("no such day", failed=True),
    assistant("That day is closed."),
]
"""What every spelling below says."""

SPELLINGS = {
    "openai": [
        BOOKED[0],
        assistant(
            None,
            tool_calls=[
                {"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}},
                {"id": "2", "type": "function", "function": {"name": "book", "arguments": "{}"}},
            ],
        ),
        tool("3 found", tool_call_id="1"),
        tool("no such day", tool_call_id="2", status="error"),
        BOOKED[4],
    ],
    "langchain": [
        BOOKED[0],
        assistant(
            [{"type": "tool_use", "name": "search"}, {"type": "tool_use", "name": "book"}],
            tool_calls=[{"name": "search", "args": {}}, {"name": "book", "args": {}}],
        ),
        tool("3 found", name="search", status="success"),
        tool("no such day", name="book", status="error"),
        BOOKED[4],
    ],
    "anthropic": [
        BOOKED[0],
        assistant(
            [
                {"type": "tool_use", "id": "1", "name": "search", "input": {}},
                {"type": "tool_use", "id": "2", "name": "book", "input": {}},
            ]
        ),
        user(
            [
                {"type": "tool_result", "tool_use_id": "1", "content": "3 found"},
                {
                    "type": "tool_result",
                    "tool_use_id": "2",
                    "content": [{"type": "text", "text": "no such day"}],
                    "is_error": True,
                },
            ]
        ),
        assistant([{"type": "text", "text": "That day is closed."}]),
    ],
    "otel": [
        {"role": "user", "parts": [{"type": "text", "content": "a table for two"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "tool_call", "id": "1", "name": "search", "arguments": {}},
                {"type": "tool_call", "id": "2", "name": "book", "arguments": {}},
            ],
        },
        {
            "role": "tool",
            "parts": [
                {"type": "tool_call_response", "id": "1", "response": "3 found"},
                {
                    "type": "tool_call_response",
                    "id": "2",
                    "result": "no such day",
                    "is_error": True,
                },
            ],
        },
        {"role": "assistant", "parts": [{"type": "text", "content": "That day is closed."}]},
    ],
    "names": [
        BOOKED[0],
        {"role": "assistant", "tool_calls": ["search", "book"]},
        *BOOKED[2:],
    ],
    "legacy functions": [
        BOOKED[0],
        assistant(None, tool_calls=["search"]),
        {"role": "function", "name": "search", "content": "3 found"},
        assistant(None, function_call={"name": "book", "arguments": "{}"}),
        {"role": "function", "name": "book", "content": "no such day", "status": "error"},
        BOOKED[4],
    ],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_tool_calls_says_the_same(spelling: str) -> None:
    said = read_conversation(SPELLINGS[spelling])
    assert [name for m in said for name in m.get("tool_calls", [])] == ["search", "book"]
    assert [m["content"] for m in said if m["role"] == "tool"] == ["3 found", "no such day"]
    assert [m.get("failed") for m in said if m["role"] == "tool"] == [None, True]
    assert (said[0], said[-1]) == (BOOKED[0], BOOKED[4])
    if spelling != "legacy functions":
        assert said == BOOKED


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_canonical_stays_as_it_is(spelling: str) -> None:
    said = read_conversation(SPELLINGS[spelling])
    assert read_conversation(said) == said


@pytest.mark.parametrize(
    ("calls", "names"),
    [
        ([{"function": {"arguments": "{}"}}, {"name": ""}, None, " ", {}], ["?"] * 5),
        ('["a", null]', ["a", "?"]),
        ([], None),
        (None, None),
    ],
)
def test_a_call_without_a_name_is_still_a_call(calls: Any, names: list[str] | None) -> None:
    said = read_conversation([user("hi"), assistant("ok", tool_calls=calls)])
    assert said[1].get("tool_calls") == names


def test_a_result_that_nobody_called_for_is_a_call() -> None:
    said = read_conversation(
        [user("hi"), tool("3 found", name="search"), tool("?"), assistant("ok"), user("and"),
         assistant("", tool_calls=["book"]), tool("done", name="book"), tool("done", name="pay")]
    )  # fmt: skip
    assert [m.get("tool_calls") for m in said] == [
        None, ["search"], ["?"], None, None, ["book"], None, ["pay"]
    ]  # fmt: skip
    assert read_conversation(said) == said


def test_a_user_who_speaks_beside_a_result_has_a_turn_and_one_who_does_not_has_none() -> None:
    result = {"type": "tool_result", "content": {"hits": 3}}
    said = read_conversation(
        [user("a"), user([result]), user([result, {"type": "text", "text": "b"}])]
    )
    assert [(m["role"], m["content"]) for m in said] == [
        ("user", "a"), ("tool", ""), ("tool", ""), ("user", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("calls", [7, {"name": "search"}, "[1", [["search"]], [{"name": {}}]])
def test_what_is_no_tool_call_is_refused_with_the_reason(tmp_path: Path, calls: Any) -> None:
    with pytest.raises(Unreadable):
        read_conversation([user("hi"), assistant("ok", tool_calls=calls)])
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps({"input": [user("hi"), assistant("ok", tool_calls=calls)]}))
    (reject,) = read_cases(path)
    assert isinstance(reject, Reject)
    assert "tool_calls" in reject.reason or "not a text" in reject.reason


@pytest.mark.parametrize(
    "value",
    [
        "text",
        [],
        ["text"],
        [{"a": 1}],
        [{"role": "user"}],
        [{"content": "a"}],
        [{"role": 1, "content": ""}],
    ],
)
def test_what_is_no_conversation_is_a_text(value: Any) -> None:
    assert not is_conversation(value)


_WORDS = st.sampled_from(["", " ", "a", "[", "error"])
_ODD = st.none() | st.integers(0, 1) | st.lists(_WORDS, max_size=1)
_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "tool_use", "tool_result", "tool_call_response"]) | _ODD,
        "text": _WORDS | _ODD,
        "content": _WORDS | _ODD,
        "name": _WORDS | _ODD,
        "is_error": st.booleans(),
        "response": _WORDS | _ODD,
    },
)
_MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "function"])},
    optional={
        "content": _WORDS | st.none() | st.lists(_PARTS | _WORDS | _ODD, max_size=3),
        "parts": st.lists(_PARTS, max_size=3),
        "tool_calls": st.lists(_PARTS | _WORDS | _ODD, max_size=3) | _ODD,
        "function_call": _PARTS | _ODD,
        "name": _WORDS,
        "status": _WORDS,
        "message": _PARTS,
    },
)


@settings(deadline=None, max_examples=200)
@given(st.lists(_MESSAGES, max_size=4))
def test_any_messages_become_canonical_once_or_are_refused(messages: list[Message]) -> None:
    try:
        said = read_conversation(messages)
    except Unreadable:
        return
    for message in said:
        assert isinstance(message["content"], str)
        assert message.keys() <= {"role", "content", "tool_calls", "failed"}
        assert all(isinstance(name, str) and name for name in message.get("tool_calls", ["?"]))
    if said:
        assert read_conversation(said) == said


def test_a_blank_result_of_a_tool_is_an_empty_one() -> None:
    blank = {"type": "tool_result", "content": "", "response": " "}
    read = read_conversation([{"role": "user", "parts": [blank]}])
    assert [message["content"] for message in read] == [""]
    assert read_conversation(read) == read


def test_calls_are_told_in_words() -> None:
    assert [calls_in_words(m) for m in BOOKED] == ["", "called: search, book", "", "failed", ""]


MAIL = "eve@example.com"


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def suite(home: Settings, *cases: Message) -> Path:
    path = home.home / "suite.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return path


def test_a_case_keeps_its_tools_its_outcome_and_the_text_of_every_turn(home: Settings) -> None:
    messages = [*SPELLINGS["openai"], user(f"write to {MAIL}"), assistant("sent to " + MAIL),
                user(" "), user("thanks")]  # fmt: skip
    case = {"case_id": "c", "input": messages, "expected_tools": ["rate", None], "outcome": "error"}
    ingest_evals("evals", [suite(home, case, {"case_id": "d", "input": "hi"})], home)
    with warehouse_of(home).reader() as con:
        c, d = frame(con, "SELECT * FROM eval_cases ORDER BY case_id").to_dicts()
        texts = dict(con.execute("SELECT text_hash, text FROM texts").fetchall())
        known = week_texts(con, c["effective_at"])
    said = json.loads(c["input"])
    assert said[:5] == BOOKED
    assert MAIL not in c["input"]
    assert (c["expected_tools"], c["outcome"], c["n_turns"]) == (["rate", "?"], "error", 4)
    assert (d["expected_tools"], d["outcome"], d["n_turns"]) == (None, None, 1)
    assert [texts.get(name) for name in c["text_hashes"]] == [
        "a table for two", "write to <EMAIL>", None, "thanks"
    ]  # fmt: skip
    assert c["text_hashes"][-1] == c["text_hash"]
    assert d["text_hashes"] == [d["text_hash"]]
    assert set(known["text"]) == set(texts.values())


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_an_export_of_such_cases_comes_back_unchanged(
    home: Settings, format_: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(home.home))
    get_settings.cache_clear()
    cases = [
        {"case_id": name, "input": messages, "expected_tools": tools, "outcome": "success"}
        for (name, messages), tools in zip(SPELLINGS.items(), [[], ["a"], None] * 2, strict=True)
    ]
    path = suite(home, *cases, {"case_id": "plain", "input": "hi"})
    assert ingest_evals("evals", [path], home).accepted == len(cases) + 1
    assert ingest_evals("evals", [path], home).accepted == 0
    out = tmp_path / f"out.{format_}"
    with pytest.raises(SystemExit, match="0"):
        main(["export", "evals", "--format", format_, "--out", str(out)])
    again = ingest_evals("evals", [out], home)
    assert (again.accepted, again.duplicate, again.rejected) == (0, len(cases) + 1, 0)


def test_a_suite_without_tool_calls_is_known_as_it_is(home: Settings) -> None:
    messages = [user("hi"), assistant("hello"), {"role": "system", "content": "be kind"}, user("x")]
    plain = {"case_id": "a", "input": "hi", "origin": "hand_authored", "tags": ["t"]}
    chat = {"case_id": "b", "input": messages, "origin": "hand_authored", "expected": "bye"}
    with warehouse_of(home).writer() as con:
        record_cases(con, [plain, chat], at=datetime(2026, 3, 1), actor="an older version")
    assert ingest_evals("evals", [suite(home, plain, chat)], home).accepted == 0
    stated = plain | {"expected_tools": []}
    assert ingest_evals("evals", [suite(home, stated, chat)], home).accepted == 1
    with warehouse_of(home).reader() as con:
        tools = con.execute("SELECT expected_tools FROM eval_cases ORDER BY case_id").fetchall()
    assert tools == [([],), (None,)]
