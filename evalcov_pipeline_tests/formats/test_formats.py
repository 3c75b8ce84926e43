"""Reading outside formats."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from evalcov_pipeline.core.traffic.turns import SPANS, fold_turns, session_key
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import find, generic_evals
from evalcov_pipeline.formats.fields import instant
from evalcov_pipeline.formats.lines import Reject
from evalcov_pipeline.formats.messages import answered, asked
from evalcov_pipeline.formats.traces import TraceOptions
from evalcov_pipeline.settings import ProductionSettings
from evalcov_pipeline_tests.otlp_lines import (
    ANSWER,
    NOON,
    QUERY,
    VOCABULARIES,
    attributes,
    conversation,
    line,
    nanos,
    span,
    trace,
    turn,
    value,
    write,
)


def read(
    path: Path, name: str = "auto", options: TraceOptions | None = None
) -> tuple[pl.DataFrame, list[Reject]]:
    items = list(find("traces", path, name).read(path, options or TraceOptions()))
    frames = [item for item in items if isinstance(item, pl.DataFrame)]
    rejects = [item for item in items if isinstance(item, Reject)]
    return pl.concat([SPANS.to_frame(), *frames]), rejects


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_vocabulary_tells_the_same_turn(tmp_path: Path, vocabulary: str) -> None:
    spans, rejects = read(write(tmp_path / "t.jsonl", line(conversation(vocabulary))))
    (turn_row,) = fold_turns(spans).turns.to_dicts()
    assert not rejects
    assert turn_row == {
        "source": "otlp",
        "trace_id": trace(1),
        "span_id": f"{1:016x}",
        "session_id": "s",
        "session_key": session_key("otlp", "s"),
        "user_id": "u1",
        "started_at": NOON,
        "ended_at": datetime(2026, 9, 1, 12, 0, 9),
        "query_text": QUERY,
        "answer_text": ANSWER,
        "model": "m-1",
        "prompt_version": None,
        "release": None,
        "environment": "production",
        "service": "shop",
        "segment": [{"key": "tier", "value": "pro"}],
        "tool_calls": ["track"],
        "tool_failures": 0,
        "context_tokens": 100,
        "input_tokens": 200,
        "output_tokens": 40,
        "cost_usd": None,
        "latency_ms": 9000.0,
        "error_type": None,
        "finish_reason": "stop",
        "retrieval_count": 2,
        "retrieval_top_score": 0.75,
        "retrieval_kind": "kb",
        "feedback": [],
        "outcome": None,
    }


@pytest.mark.parametrize(
    ("own", "count"),
    [
        ({"openinference.span.kind": "RETRIEVER"}, None),
        ({"openinference.span.kind": "RETRIEVER", "retrieval.documents": []}, 0),
        ({"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.id": "a"}, 1),
        ({"gen_ai.operation.name": "retrieval"}, None),
        ({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": "[]"}, 0),
        ({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": []}, 0),
    ],
)
def test_a_missing_retrieval_is_not_an_empty_one(
    tmp_path: Path, own: dict[str, object], count: int | None
) -> None:
    spans, _ = read(write(tmp_path / "t.jsonl", line([span(1, own)])))
    assert spans["retrieval_count"].to_list() == [count]


def test_ids_are_lower_case_and_nanoseconds_may_be_strings_or_numbers(tmp_path: Path) -> None:
    upper = span(0xABC, {}, of=0xDEF)
    upper |= {"traceId": upper["traceId"].upper(), "spanId": upper["spanId"].upper()}
    number = span(2, {}) | {"startTimeUnixNano": int(nanos(NOON))}
    spans, rejects = read(write(tmp_path / "t.jsonl", line([upper, number])))
    assert not rejects
    assert spans["trace_id"][0] == trace(0xDEF)
    assert spans["span_id"][0] == f"{0xABC:016x}"
    assert spans["started_at"].to_list() == [NOON, NOON]


def test_a_bad_line_or_span_costs_only_itself(tmp_path: Path) -> None:
    base64_ids = span(2, {}) | {"traceId": "W47/95gDgQPSabYzgT/GDA=="}
    seconds = span(3, {}) | {"startTimeUnixNano": "1788264000"}
    path = write(
        tmp_path / "t.jsonl",
        line([span(1, {})]),
        '{"resourceSpans": [',
        line([base64_ids, seconds, span(4, {})]),
        "[1, 2]",
        '{"resourceSpans": 7}',
        '{"something": "else"}',
    )
    spans, rejects = read(path)
    assert spans["span_id"].to_list() == [f"{1:016x}", f"{4:016x}"]
    assert [(r.file, r.line) for r in rejects] == [(str(path), n) for n in (2, 3, 3, 4, 5, 6)]
    assert "not JSON" in rejects[0].reason
    assert "32 hexadecimal" in rejects[1].reason
    assert "nanoseconds" in rejects[2].reason
    assert json.loads(rejects[1].raw)["traceId"] == base64_ids["traceId"]


def test_names_that_are_no_text_and_attributes_without_a_value_cost_nothing(
    tmp_path: Path,
) -> None:
    retriever = {"openinference.span.kind": "RETRIEVER"}
    odd = span(1, retriever, name="kb") | {"name": {"a": 1}}
    empty = span(2, {"session.id": "s"})
    empty["attributes"].insert(0, {"key": "langfuse.session.id", "value": {}})
    empty["attributes"].append({"key": "experiment.id", "value": {"stringValue": None}})
    spans, rejects = read(write(tmp_path / "t.jsonl", line([odd, empty])))
    assert not rejects
    assert spans["retrieval_kind"].to_list() == ["{'a': 1}", None]
    assert spans["session_id"].to_list() == [None, "s"]
    assert spans["set_aside"].to_list() == [None, None]


def test_a_message_may_be_json_or_come_in_parts(tmp_path: Path) -> None:
    parts = "llm.input_messages.1.message.contents"
    own = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.10.message.role": "assistant",
        "llm.input_messages.10.message.content": "no",
        "llm.input_messages.1.message.role": "user",
        f"{parts}.0.message_content.text": "a",
        f"{parts}.1.message_content.text": "b",
    }
    legacy = {
        "llm.request.type": "chat",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": '[{"type": "text", "text": "c"}]',
    }
    spans, _ = read(write(tmp_path / "t.jsonl", line([span(1, own), span(2, legacy)])))
    assert spans["query_text"].to_list() == ["a\nb", "c"]


@settings(deadline=None)
@given(st.binary(max_size=60), st.dictionaries(st.text(max_size=4), st.integers(), max_size=3))
def test_no_line_can_stop_a_file(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, wrong: dict[str, int]
) -> None:
    path = tmp_path_factory.mktemp("junk") / "t.jsonl"
    nested = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [wrong, 3]}]}]})
    path.write_bytes(junk.replace(b"\n", b" ") + f"\n{nested}\n{line([span(1, {})])}\n".encode())
    spans, rejects = read(path, "otlp")
    assert spans.height == 1
    assert len(rejects) >= 2


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compression_does_not_matter(tmp_path: Path, suffix: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    path = tmp_path / f"t.jsonl{suffix}"
    path.write_bytes(pack[suffix](f"{line(turn(1))}\n\n".encode()))
    assert read(path)[0].height == 3


def test_an_unreadable_or_unknown_file_says_what_to_do(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(line(turn(1)).encode())[:-20])
    prose = write(tmp_path / "prose.jsonl", "Dear all,")
    parquet = write(tmp_path / "no.parquet", "PAR?")
    for path in (cut, prose, parquet, tmp_path / "absent.jsonl"):
        with pytest.raises(BadInput) as caught:
            read(path)
        assert caught.value.where == str(path)
        assert caught.value.what_to_do
    with pytest.raises(BadInput, match="use auto or otlp, generic"):
        find("traces", prose, "nonsense")


def test_errors_come_from_the_attribute_the_exception_or_the_status(tmp_path: Path) -> None:
    exception = {"name": "exception", "attributes": attributes({"exception.type": "Timeout"})}
    failed = {"status": {"code": 2}}
    spans, _ = read(
        write(
            tmp_path / "t.jsonl",
            line(
                [
                    span(1, {"error.type": "rate_limit"}, **failed),
                    span(2, {}, events=[exception], **failed),
                    span(3, {}, **failed),
                    span(4, {}, status={"code": 1}),
                ]
            ),
        )
    )
    assert spans["error_type"].to_list() == ["rate_limit", "Timeout", "error", None]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_a_failed_tool_counts_in_every_vocabulary_and_is_not_the_turns_error(
    tmp_path: Path, vocabulary: str
) -> None:
    spans = conversation(vocabulary)
    spans[3]["status"] = {"code": 2}
    (row,) = fold_turns(read(write(tmp_path / "t.jsonl", line(spans)))[0]).turns.to_dicts()
    assert (row["tool_calls"], row["tool_failures"]) == (["track"], 1)
    assert row["error_type"] is None


@pytest.mark.parametrize(
    ("own", "name", "called"),
    [
        ({"openinference.span.kind": "TOOL", "tool.name": " "}, "step", "?"),
        ({"openinference.span.kind": "TOOL", "tool.name": ""}, "track", "track"),
        ({"openinference.span.kind": "TOOL"}, "", "?"),
        ({"gen_ai.operation.name": "execute_tool"}, "execute_tool ", "?"),
        ({"gen_ai.operation.name": "execute_tool"}, "execute_tool track", "track"),
        ({"traceloop.span.kind": "tool"}, "", "?"),
    ],
)
def test_a_tool_call_without_a_name_survives(
    tmp_path: Path, own: dict[str, str], name: str, called: str
) -> None:
    spans = [span(1, {"input.value": QUERY}), span(2, own, under=1, name=name)]
    (row,) = fold_turns(read(write(tmp_path / "t.jsonl", line(spans)))[0]).turns.to_dicts()
    assert row["tool_calls"] == [called]


def test_feedback_comes_from_annotations_events_evaluators_and_logs(tmp_path: Path) -> None:
    note = {
        "annotations.0.annotation.name": "thumbs",
        "annotations.0.annotation.score": 1.0,
        "annotations.0.annotation.annotator_kind": "HUMAN",
    }
    result = {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.label": "rude"}
    event = {"name": "gen_ai.evaluation.result", "attributes": attributes(result)}
    agent = {"openinference.span.kind": "AGENT", "input.value": "hi"} | note
    judge = {
        "openinference.span.kind": "EVALUATOR",
        "evaluations.0.evaluation.name": "correct",
        "evaluations.0.evaluation.score": 0.0,
    }
    record = {
        "timeUnixNano": nanos(NOON),
        "eventName": "gen_ai.evaluation.result",
        "traceId": trace(1),
        "attributes": attributes({"gen_ai.evaluation.name": "length"}),
    }
    orphan = record | {"traceId": ""}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record, orphan]}]}]}
    link = {"links": [{"traceId": trace(1), "spanId": f"{1:016x}"}]}
    judging = {"openinference.span.kind": "LLM", "input.value": "is this correct?"}
    spans, rejects = read(
        write(
            tmp_path / "t.jsonl",
            line([span(1, agent, events=[event])]),
            line([span(1, judge, of=2, at=999, **link), span(2, judging, of=2, under=1)]),
            json.dumps(logs),
        )
    )
    (only,) = fold_turns(spans).turns.to_dicts()
    assert only["trace_id"] == trace(1)
    assert [(f["name"], f["value"], f["label"]) for f in only["feedback"]] == [
        ("correct", 0.0, None),
        ("length", None, None),
        ("thumbs", 1.0, None),
        ("tone", None, "rude"),
    ]
    assert ["without a traceId" in r.reason for r in rejects] == [True]


@pytest.mark.parametrize("spelling", ["attributes", "bodies"])
def test_messages_in_log_events_belong_to_their_span(tmp_path: Path, spelling: str) -> None:
    def record(at: float, name: str, own: dict[str, object], body: object = None) -> object:
        return {
            "timeUnixNano": nanos(NOON + timedelta(seconds=at)),
            "eventName": name,
            "traceId": trace(1),
            "spanId": f"{2:016x}",
            "attributes": attributes(own),
            "body": value(body),
        }

    if spelling == "attributes":
        said = {
            "gen_ai.conversation.id": "s",
            "gen_ai.input.messages": json.dumps([{"role": "user", "content": QUERY}]),
            "gen_ai.output.messages": json.dumps([{"role": "assistant", "content": ANSWER}]),
        }
        records = [record(2, "gen_ai.client.inference.operation.details", said)]
    else:
        reply = {"role": "assistant", "content": ANSWER}
        records = [
            record(1, "gen_ai.user.message", {}, {"role": "user", "content": "hello"}),
            record(2, "gen_ai.user.message", {}, {"content": QUERY}),
            record(3, "gen_ai.choice", {}, {"index": 0, "message": reply}),
        ]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    agent, call = {"openinference.span.kind": "AGENT"}, {"gen_ai.operation.name": "chat"}
    path = write(
        tmp_path / "t.jsonl", line([span(1, agent), span(2, call, under=1)]), json.dumps(logs)
    )
    spans, rejects = read(path)
    (only,) = fold_turns(spans).turns.to_dicts()
    assert not rejects
    assert (only["query_text"], only["answer_text"]) == (QUERY, ANSWER)
    assert only["session_id"] == ("s" if spelling == "attributes" else trace(1))


def test_production_is_told_by_environment_attribute_and_service(tmp_path: Path) -> None:
    rules = ProductionSettings(services=("shop",))
    path = write(
        tmp_path / "t.jsonl",
        line([span(1, {}), span(2, {"experiment.id": "x"})]),
        line([span(3, {})], {"service.name": "shop", "deployment.environment": "Eval"}),
        line([span(4, {})], {"service.name": "search"}),
    )
    spans, _ = read(path, options=TraceOptions(production=rules))
    assert spans["set_aside"].to_list() == [None, "excluded", "excluded", "outside"]


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        ("plain words", "plain words"),
        ("{not json", "{not json"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}', "b"),
        ('[{"type": "human", "content": "a"}, {"type": "ai", "content": "b"}]', "a"),
        ('{"input": "a", "chat_history": []}', "a"),
        ({"messages": [[{"kwargs": {"type": "human", "content": "a"}}]]}, "a"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}],
            "a",
        ),
        ([{"role": "user", "parts": [{"type": "tool_call_response", "response": "a"}]}], None),
        ([{"role": "assistant", "content": "a"}], None),
        ('{"city": "Paris"}', None),
        ("   ", None),
    ],
)
def test_the_last_user_message_is_found(recorded: object, text: str | None) -> None:
    assert asked(recorded) == text


def test_the_last_assistant_message_is_found() -> None:
    choices = {"choices": [{"message": {"role": "assistant", "content": "a"}}]}
    assert answered(choices) == "a"
    assert answered([{"role": "assistant", "tool_calls": [{"id": 1}]}]) is None
    assert answered({"output": "a"}) == "a"


ROW = {"started_at": "2026-09-01T14:00:00+02:00", "query_text": "hi", "latency_ms": 1500}


def test_generic_rows_are_whole_turns(tmp_path: Path) -> None:
    full = ROW | {
        "trace_id": "t",
        "session_id": "s",
        "tool_calls": ["a", None, {"function": {"name": "b"}}, {"name": " "}],
        "tool_failures": 1,
        "segment": {"tier": "pro"},
        "segment.locale": "de",
        "feedback": [{"name": "thumbs", "value": 1}],
        "retrieval_count": 0,
        "outcome": "success",
    }
    bad = [
        ROW | wrong
        for wrong in (
            {"query_text": " "},
            {"started_at": "soon"},
            {"outcome": "fine"},
            {"tool_calls": {"a": 1}},
            {"tool_failures": -1},
        )
    ]
    path = write(tmp_path / "t.jsonl", *map(json.dumps, [full, ROW, *bad]))
    spans, rejects = read(path)
    first, second = fold_turns(spans).turns.sort("trace_id", descending=True).to_dicts()
    assert first["started_at"] == NOON
    assert first["latency_ms"] == 1500
    assert (first["tool_calls"], first["tool_failures"]) == (["a", "?", "b", "?"], 1)
    assert (second["tool_calls"], second["tool_failures"]) == ([], None)
    assert first["segment"] == [{"key": "locale", "value": "de"}, {"key": "tier", "value": "pro"}]
    assert first["feedback"][0]["name"] == "thumbs"
    assert (first["retrieval_count"], first["outcome"], first["source"]) == (
        0,
        "success",
        "generic",
    )
    assert second["session_id"] == second["trace_id"]
    assert second["retrieval_count"] is None
    assert [(r.line, r.reason.split()[0]) for r in rejects] == [
        (3, "query_text"),
        (4, "started_at"),
        (5, "outcome"),
        (6, "tool_calls"),
        (7, "tool_failures"),
    ]


def test_csv_parquet_and_jsonl_with_own_column_names_read_alike(tmp_path: Path) -> None:
    mapping = {
        "query_text": "question",
        "started_at": "when",
        "session_id": "chat",
        "segment.tier": "plan",
        "tool_calls": "tools",
        "retrieval_count": "hits",
    }
    csv = write(
        tmp_path / "t.csv",
        "question,when,chat,plan,tools,hits",
        '"one, two\nthree",1788264000,c,pro,a||b,0',
        "four,2026-09-01 12:00:01,c,,,",
        "five,later,c,,,",
        "six,2026-09-01,c,,,,,too many",
    )
    own = [
        {"question": "one, two\nthree", "when": 1788264000000, "chat": "c", "plan": "pro",
         "tools": ["a", "", "b"], "hits": 0},
        {"question": "four", "when": 1788264001000, "chat": "c"},
    ]  # fmt: skip
    jsonl = write(tmp_path / "t.jsonl", *map(json.dumps, own))
    pl.DataFrame(own, infer_schema_length=None).write_parquet(tmp_path / "t.parquet")
    options = TraceOptions(mapping=mapping, source="desk")
    from_csv, rejects = read(csv, options=options)
    assert [(r.line, r.reason.split()[0]) for r in rejects] == [(5, "started_at"), (6, "more")]
    assert from_csv["query_text"].to_list() == ["one, two\nthree", "four"]
    assert from_csv["retrieval_count"].to_list() == [0, None]
    assert from_csv["tool_calls"].to_list() == [["a", "?", "b"], None]
    for path in (jsonl, tmp_path / "t.parquet"):
        assert_frame_equal(read(path, options=options)[0], from_csv)


def test_mapping_an_unknown_column_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a", "1")
    with pytest.raises(BadInput, match="unknown canonical field 'query'"):
        read(path, options=TraceOptions(mapping={"query": "a"}))


@pytest.mark.parametrize(
    "written",
    ["2026-09-01T12:00:00Z", "2026-09-01T12:00:00", "2026-09-01T14:00:00+02:00", 1788264000,
     "1788264000.0", 1788264000000, 1788264000000000, "1788264000000000000"],
)  # fmt: skip
def test_instants_are_utc_in_any_spelling(written: object) -> None:
    assert instant(written) == NOON


@pytest.mark.parametrize("written", ["20261120", "yesterday", 12, True, "NaN", 10**30])
def test_what_is_no_instant_is_refused_or_read_as_a_date(written: object) -> None:
    if written == "20261120":
        assert instant(written) == datetime(2026, 11, 20)
    else:
        with pytest.raises(ValueError, match="not a time"):
            instant(written)


def test_eval_cases_need_only_an_input(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    given_rows = [
        {"input": "hi"},
        {"input": chat, "case_id": "c", "tags": ["x"], "created_at": "2026-08-01T00:00:00+02:00"},
        {"input": [{"role": "assistant", "content": "b"}]},
        {"expected": "hi"},
        {"input": "hi", "origin": "heaven"},
    ]
    path = write(tmp_path / "e.jsonl", *map(json.dumps, given_rows))
    first, second, *bad = generic_evals.read_cases(path)
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert (first[0], second[0]) == (1, 2)
    first, second = first[1], second[1]
    assert first["case_id"]
    assert second["input"] == chat
    assert second["created_at"] == "2026-07-31T22:00:00Z"
    assert [r.line for r in bad if isinstance(r, Reject)] == [3, 4, 5]
    again = next(iter(generic_evals.read_cases(write(tmp_path / "e.csv", "question", "hi"),
                                               {"input": "question"})))  # fmt: skip
    assert again == (2, first)


def test_eval_results_need_a_run_a_case_and_a_verdict(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.csv",
        "run_id,case_id,passed,score,at,repeat",
        "r,a,true,,2026-09-01T12:00:00Z,",
        "r,b,,0.4,,1",
        "r,c,,,,",
        ",d,true,,,",
        "r,e,maybe,,,",
        "r,f,,87,,",
    )
    first, second, *bad = generic_evals.read_results(path)
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    first, second = first[1], second[1]
    assert (first["passed"], first["at"], first["repeat"]) == (True, NOON, 0)
    assert (second["passed"], second["at"], second["repeat"]) == (False, None, 1)
    reasons = [r.reason for r in bad if isinstance(r, Reject)]
    assert reasons == [
        "neither passed nor score is given",
        "run_id is missing",
        "passed = 'maybe' is neither true nor false",
        "score = '87' is not between 0 and 1",
    ]
