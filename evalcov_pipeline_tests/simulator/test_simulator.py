"""The simulated sample is what its README says, and says the same every time."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import Any

import pytest
from click.testing import CliRunner

from evalcov_pipeline.simulator import SampleFiles, personal_data, write_sample
from evalcov_pipeline.simulator.__main__ import main
from evalcov_pipeline.simulator.catalogue import BY_NAME, INTENTS
from evalcov_pipeline.simulator.evals import HOLES
from evalcov_pipeline.simulator.labels import LONG

COMMITTED = Path(__file__).parents[2] / "data/sample"
ARRIVING = {intent.name for intent in INTENTS if intent.trend == "arriving"}
START = date(2026, 8, 31)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleFiles:
    """The committed sample, made again."""
    return write_sample(tmp_path_factory.mktemp("sample"))


@cache
def rows(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.decode().splitlines()]


@cache
def spans(folder: Path) -> list[dict[str, Any]]:
    """Every span, with its attributes and those of its resource as plain dictionaries."""
    return [
        span
        | {"plain": plain(span["attributes"]), "resource": plain(item["resource"]["attributes"])}
        for path in sorted((folder / "traces").glob("*.jsonl.gz"))
        for line in rows(path)
        for item in line["resourceSpans"]
        for scope in item["scopeSpans"]
        for span in scope["spans"]
    ]


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["key"]: value(item["value"]) for item in attributes}


def value(any_value: dict[str, Any]) -> Any:
    ((kind, content),) = any_value.items()
    match kind:
        case "arrayValue":
            return [value(item) for item in content["values"]]
        case "kvlistValue":
            return plain(content["values"])
        case "intValue":
            assert isinstance(content, str)
            return int(content)
        case _:
            return content


def texts(folder: Path) -> dict[str, dict[str, str]]:
    """Query and answer per trace, read from whichever span and attribute holds them."""
    found: dict[str, dict[str, str]] = {}
    for span in spans(folder):
        a = span["plain"]
        if a.get("openinference.span.kind") in ("AGENT", "CHAIN"):
            found[span["traceId"]] = {
                "query_text": a["input.value"],
                "answer_text": a.get("output.value", ""),
            }
        elif "gen_ai.input.messages" in a:
            given, written = a["gen_ai.input.messages"], a.get("gen_ai.output.messages") or "[]"
            given = json.loads(given) if isinstance(given, str) else given
            written = json.loads(written) if isinstance(written, str) else written
            found[span["traceId"]] = {
                "query_text": given[-1]["parts"][0]["content"],
                "answer_text": written[-1]["parts"][0]["content"] if written else "",
            }
    return found


def started(span: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(span["startTimeUnixNano"]) / 1e9, UTC)


def week_of(day: date) -> int:
    return (day - START).days // 7


def test_same_seed_gives_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        write_sample(folder, seed=seed, weeks=1, sessions_per_day=4)
    a, b, c = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in folders
    )
    assert a == b
    assert a.keys() == c.keys()
    trace_files = [name for name in a if name.parts[0] == "traces"]
    assert trace_files
    assert all(a[name] != c[name] for name in trace_files)


def test_committed_sample_is_what_its_command_writes(sample: SampleFiles) -> None:
    written = {p.relative_to(sample.folder) for p in sample.folder.rglob("*") if p.is_file()}
    committed = {p.relative_to(COMMITTED) for p in COMMITTED.rglob("*") if p.is_file()}
    assert committed == written | {Path("README.md")}
    for name in written:
        assert rows(COMMITTED / name) == rows(sample.folder / name), name


def test_sample_is_large_enough_to_measure_and_small_enough_to_commit(sample: SampleFiles) -> None:
    assert sample.spans >= 15_000
    assert 6_000 <= sample.turns <= 7_500
    assert sample.bytes <= 3_000_000


def test_spans_follow_the_otlp_json_encoding(sample: SampleFiles) -> None:
    seen = spans(sample.folder)
    assert len(seen) == sample.spans
    for span in seen:
        assert re.fullmatch(r"[0-9a-f]{32}", span["traceId"])
        assert re.fullmatch(r"[0-9a-f]{16}", span["spanId"])
        assert isinstance(span["startTimeUnixNano"], str)
        assert int(span["startTimeUnixNano"]) < int(span["endTimeUnixNano"])
    ids = Counter((span["traceId"], span["spanId"]) for span in seen)
    assert max(ids.values()) == 1
    assert all((s["traceId"], s["parentSpanId"]) in ids for s in seen if "parentSpanId" in s)
    links = [link for span in seen for link in span.get("links", ())]
    assert links
    assert all((link["traceId"], link["spanId"]) in ids for link in links)


def test_both_attribute_dialects_occur_and_share_one_week(sample: SampleFiles) -> None:
    weeks: dict[str, set[int]] = {"openinference": set(), "genai": set()}
    for span in spans(sample.folder):
        if "parentSpanId" not in span and "links" not in span:
            dialect = "genai" if "gen_ai.operation.name" in span["plain"] else "openinference"
            weeks[dialect].add(week_of(started(span).date()))
    assert weeks["openinference"] == set(range(6))
    assert weeks["genai"] == set(range(5, 10))


def test_null_retrieval_is_an_empty_list_and_uncaptured_retrieval_is_missing(
    sample: SampleFiles,
) -> None:
    states = Counter()
    for span in spans(sample.folder):
        a = span["plain"]
        if a.get("openinference.span.kind") == "RETRIEVER":
            found = [v for k, v in a.items() if k.startswith("retrieval.documents")]
            states[
                "openinference", "none" if not found else "null" if found == [[]] else "some"
            ] += 1
        elif a.get("gen_ai.operation.name") == "retrieval":
            found = a.get("gen_ai.retrieval.documents")
            found = json.loads(found) if isinstance(found, str) else found
            states["genai", "none" if found is None else "some" if found else "null"] += 1
    for dialect in ("openinference", "genai"):
        total = sum(n for (d, _), n in states.items() if d == dialect)
        assert 0.01 < states[dialect, "null"] / total < 0.1
        assert 0.05 < states[dialect, "none"] / total < 0.12


def test_personal_data_lies_where_the_truth_says(sample: SampleFiles) -> None:
    seen, truth = texts(sample.folder), rows(sample.folder / "truth/pii.jsonl.gz")
    for item in truth:
        assert seen[item["trace_id"]][item["field"]][item["start"] : item["end"]] == item["value"]
    assert {item["kind"] for item in truth} == set(personal_data.KINDS)
    production = [t for t in rows(sample.folder / "truth/turns.jsonl.gz") if t["production"]]
    touched = {item["trace_id"] for item in truth if item["field"] == "query_text"}
    assert 0.04 < len(touched) / len(production) < 0.08


def test_planted_numbers_have_valid_check_digits_and_look_alikes_do_not() -> None:
    rng = Random(5)
    for _ in range(300):
        digits = re.sub(r"\D", "", personal_data.draw("card", rng))
        assert personal_data.luhn_valid(digits)
        assert personal_data.iban_valid(personal_data.draw("iban", rng))
        for number in re.findall(r"\b(?:\d{4} ?){4}\b", personal_data.look_alike(rng)):
            assert not personal_data.luhn_valid(number.replace(" ", ""))


def test_check_digits_agree_with_published_examples() -> None:
    assert personal_data.luhn_valid("4111111111111111")
    assert not personal_data.luhn_valid("4111111111111112")
    assert personal_data.iban_valid("GB82 WEST 1234 5698 7654 32")
    assert not personal_data.iban_valid("GB82 WEST 1234 5698 7654 33")


def test_sale_days_have_three_to_four_times_the_sessions_of_their_weekday(
    sample: SampleFiles,
) -> None:
    first = {
        span["plain"].get("session.id") or span["plain"]["gen_ai.conversation.id"]: started(span)
        for span in sorted(spans(sample.folder), key=started, reverse=True)
        if "parentSpanId" not in span and "links" not in span
    }
    per_day = Counter(at.date() for at in first.values())
    sale = (date(2026, 10, 8), date(2026, 10, 9))
    ordinary = [
        median(n for d, n in per_day.items() if d.weekday() == day.weekday() and d != day)
        for day in sale
    ]
    assert 3 < sum(per_day[day] for day in sale) / sum(ordinary) < 4


def test_launched_intents_are_absent_from_the_suite_and_grow_in_traffic(
    sample: SampleFiles,
) -> None:
    tested = {row["intent"] for row in rows(sample.folder / "truth/cases.jsonl.gz")}
    assert not tested & (ARRIVING | HOLES)
    intents = {t["trace_id"]: t for t in rows(sample.folder / "truth/turns.jsonl.gz")}
    weeks: dict[int, list[bool]] = {}
    for span in spans(sample.folder):
        turn = intents.get(span["traceId"])
        if turn and turn["production"] and "parentSpanId" not in span:
            weeks.setdefault(week_of(started(span).date()), []).append(turn["intent"] in ARRIVING)
    shares = [mean(weeks[week]) for week in range(10)]
    assert shares[:4] == [0, 0, 0, 0]
    assert 0 < shares[4] < shares[6] < shares[8]
    assert 0.12 < mean(shares[-2:]) < 0.22


def test_suite_has_no_text_that_a_user_typed(sample: SampleFiles) -> None:
    typed = {t["query_text"].lower().rstrip(".?!") for t in production_texts(sample).values()}
    single = [c["input"] for c in rows(sample.folder / "evals/suite.jsonl.gz")]
    single = [text for text in single if isinstance(text, str)]
    assert len(single) > 120
    assert not {text.lower().rstrip(".?!") for text in single} & typed


def production_texts(sample: SampleFiles) -> dict[str, dict[str, str]]:
    truth = {t["trace_id"]: t for t in rows(sample.folder / "truth/turns.jsonl.gz")}
    return {k: v for k, v in texts(sample.folder).items() if truth[k]["production"]}


def test_most_texts_are_distinct_and_big_intents_have_hundreds(sample: SampleFiles) -> None:
    truth = {t["trace_id"]: t for t in rows(sample.folder / "truth/turns.jsonl.gz")}
    seen = production_texts(sample)
    first = [v["query_text"] for k, v in seen.items() if truth[k]["kind"] == "first"]
    assert len(set(first)) / len(first) > 0.9
    big = {v["query_text"] for k, v in seen.items() if truth[k]["intent"] == "order_status"}
    assert len(big) > 200


def test_eval_traffic_is_marked_and_a_few_percent(sample: SampleFiles) -> None:
    truth = {t["trace_id"]: t for t in rows(sample.folder / "truth/turns.jsonl.gz")}
    marked = {
        span["traceId"]
        for span in spans(sample.folder)
        if span["resource"]["deployment.environment.name"] in ("eval", "test")
        or any(key.startswith("experiment.") for key in span["plain"])
    }
    assert marked == {k for k, t in truth.items() if not t["production"]}
    assert 0.01 < len(marked) / len(truth) < 0.06


def test_regeneration_repeats_the_query_within_a_minute(sample: SampleFiles) -> None:
    seen = texts(sample.folder)
    at = {s["traceId"]: started(s) for s in spans(sample.folder) if "parentSpanId" not in s}
    ends = {
        s["traceId"]: int(s["endTimeUnixNano"]) / 1e9
        for s in spans(sample.folder)
        if "parentSpanId" not in s
    }
    sessions: dict[str, list[dict[str, Any]]] = {}
    for turn in rows(sample.folder / "truth/turns.jsonl.gz"):
        sessions.setdefault(turn["session_id"], []).append(turn)
    repeats = 0
    for turns in sessions.values():
        for before, turn in pairwise(turns):
            if turn["is_regeneration"]:
                repeats += 1
                a, b = before["trace_id"], turn["trace_id"]
                assert seen[a]["query_text"] == seen[b]["query_text"]
                assert 0 < at[b].timestamp() - ends[a] < 60
    assert repeats > 50
    lengths = [len(turns) for turns in sessions.values()]
    assert max(lengths) == 8
    assert 1.5 < mean(lengths) < 2.0


def test_suite_passes_while_known_bad_variants_do_not(sample: SampleFiles) -> None:
    weekly = rows(sample.folder / "results/weekly.jsonl.gz")
    runs = {r["run_id"] for r in weekly}
    assert len(runs) == 10
    rates = [
        mean(r["passed"] for r in weekly if r["run_id"] == i and not r["repeat"]) for i in runs
    ]
    assert 0.85 < mean(rates) < 0.92
    bad = rows(sample.folder / "results/known_bad.jsonl.gz")
    assert all(r["variant"] == "known_bad" and r["system_version"].startswith("bad-") for r in bad)
    for version in {r["system_version"] for r in bad}:
        assert mean(r["passed"] for r in bad if r["system_version"] == version) < min(rates)


def test_a_case_has_results_only_from_its_creation_on(sample: SampleFiles) -> None:
    created = {c["case_id"]: c["created_at"] for c in rows(sample.folder / "evals/suite.jsonl.gz")}
    results = rows(sample.folder / "results/weekly.jsonl.gz")
    assert all(created[r["case_id"]] <= r["at"] for r in results)
    assert max(created.values()) > "2026-09-07"


def test_judge_is_lenient_to_long_answers_and_blind_in_one_category(sample: SampleFiles) -> None:
    failed = {t["trace_id"]: t["failed"] for t in rows(sample.folder / "truth/turns.jsonl.gz")}
    wrong = [v for v in rows(sample.folder / "verdicts.jsonl.gz") if failed[v["item_id"]]]
    returns = [v["passed"] for v in wrong if v["category"] == "returns"]
    other = [v for v in wrong if v["category"] != "returns"]
    long = [v["passed"] for v in other if len(v["output"]) > LONG]
    short = [v["passed"] for v in other if len(v["output"]) <= LONG]
    assert mean(returns) > 0.5
    assert mean(long) > 2 * mean(short)


def test_labels_cover_failures_and_some_items_have_two_raters(sample: SampleFiles) -> None:
    labels = rows(sample.folder / "annotations.jsonl.gz")
    traces = {t["trace_id"] for t in rows(sample.folder / "truth/turns.jsonl.gz")}
    assert {label["item_id"] for label in labels} <= traces
    assert sum(n == 2 for n in Counter(label["item_id"] for label in labels).values()) >= 40
    for category in ("orders", "returns", "payments"):
        of_category = [label for label in labels if label["category"] == category]
        items = {label["item_id"]: label["passed"] for label in of_category}
        assert len(items) >= 50
        assert sum(not passed for passed in items.values()) >= 15


def test_follow_ups_in_the_catalogue_lead_to_known_intents() -> None:
    for intent in INTENTS:
        assert set(intent.then) <= BY_NAME.keys()
        for template in (*intent.asks, *intent.answers, *intent.follows):
            assert template.count("[") == template.count("]")
    assert len(INTENTS) >= 45


def test_command_writes_a_sample_and_refuses_a_start_within_the_week(tmp_path: Path) -> None:
    small = ["--weeks", "1", "--sessions-per-day", "3"]
    done = CliRunner().invoke(main, ["--out", str(tmp_path), *small])
    assert done.exit_code == 0
    assert (tmp_path / "traces/week-2026-08-31.jsonl.gz").exists()
    refused = CliRunner().invoke(main, ["--out", str(tmp_path), "--start", "2026-09-01", *small])
    assert refused.exit_code == 2
    assert "Monday" in refused.output
