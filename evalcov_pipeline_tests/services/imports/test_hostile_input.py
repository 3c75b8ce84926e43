"""Files, settings and folders as they come: every mistake is said in words, and costs only itself.

A row that cannot be read lies in the quarantine with its line and a reason; a file that cannot is
one line on the terminal and exit code 3; what was there before stays as it was.
"""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from evalcov_pipeline.cli import BAD_INPUT, CHECK_FAILED, main
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import find
from evalcov_pipeline.formats.lines import LONGEST_LINE, Reject, lines, open_bytes
from evalcov_pipeline.formats.rows import inert, read_rows
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.settings import Settings, get_settings
from evalcov_pipeline.storage.lake import compact_day, traffic_span
from evalcov_pipeline.storage.warehouse import Warehouse
from evalcov_pipeline_tests.conftest import cases, write_jsonl
from evalcov_pipeline_tests.otlp_lines import line, span, turn

NOW = datetime(2026, 11, 1)
TURN = {"started_at": "2026-09-01T12:00:00Z", "query_text": "where is my parcel"}
RESULT = {"run_id": "r", "case_id": "c", "passed": True}
GOOD = json.dumps(TURN).encode() + b"\n"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVALCOV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVALCOV_EMBEDDING__MODEL", "hashing")
    monkeypatch.setenv("EVALCOV_TAXONOMY__METHOD", "kmeans")
    get_settings.cache_clear()
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def forget_settings() -> object:
    yield
    get_settings.cache_clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; its exit code and all that it printed."""

    def run_command(*arguments: str | Path) -> tuple[int, str]:
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out + printed.err

    return run_command


def file(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(kind: str, path: Path, *more: Any) -> tuple[list[Any], list[Reject]]:
    """What the reader of a kind yields: good items, without their lines, and rejects."""
    from evalcov_pipeline.formats.traces import TraceOptions

    options = (TraceOptions(latest=NOW),) if kind == "traces" else (None, NOW)
    items = list(find(kind, path).read(path, *options))
    good = [i[1] if isinstance(i, tuple) else i for i in items if not isinstance(i, Reject)]
    return good, [i for i in items if isinstance(i, Reject)]


def reason(kind: str, path: Path, row: dict[str, Any]) -> str | None:
    """Why a row is rejected; None if it is read."""
    _, rejects = read(kind, write_jsonl(path, [row]))
    return rejects[0].reason if rejects else None


# Bytes


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.csv", b"\n  \n", "the file is empty"),
        ("utf16.jsonl", GOOD.decode().encode("utf-16"), "save it as UTF-8"),
        ("utf16.csv.gz", gzip.compress("a,b\n1,2\n".encode("utf-16"), mtime=0), "save it as UTF-8"),
        ("cut.jsonl.gz", gzip.compress(GOOD * 99, mtime=0)[:-9], "Truncated"),
        ("cut.jsonl.zst", zstandard.ZstdCompressor().compress(GOOD * 99)[:-9], "Truncated"),
        ("junk.jsonl.gz", b"not gzip at all", "cannot read the file"),
        ("prose.txt", b"Dear all,\n", "no known format of traces"),
        ("page.html", b"<script>alert(1)</script>", "no known format of traces"),
        ("cut.parquet", b"PAR1" + bytes(99) + b"PAR1", "not a Parquet file"),
        ("header.csv", b"started_at,query_text\n", "holds no traces"),
        ("twice.csv", b"started_at,a,a\n1,2,3\n", "column 'a' is there twice"),
        ("cr.csv", b"started_at,query_text\r2026-09-01,hi\r", "no header row"),
        ("none.csv", b"2026-09-01,hi\n2026-09-01,ho\n", "its fields are 2026-09-01, hi"),
        ("latin.csv", b"started_at,query_text\n2026-09-01,caf\xe9\n", "not UTF-8"),
        ("other.jsonl", b'{"question": "hi"}\n', "say which is which with --map"),
        ("suite.jsonl", b'{"input": "hi"}\n', "try `evalcov ingest evals`"),
        ("results.csv", b"run_id,case_id,passed\nr,c,1\n", "try `evalcov ingest results`"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_leaves_nothing(
    home: Path, run: Run, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = file(tmp_path / name, content)
    code, printed = run("ingest", "traces", path)
    assert code == BAD_INPUT
    assert said in printed
    assert name in printed
    assert printed.count("\n") == 1
    assert not any((home / "lake").rglob("*.parquet"))
    assert not any((home / "lake").rglob("*.json"))


@pytest.mark.parametrize("kind", ["evals", "results"])
def test_traces_are_not_taken_for_evals(home: Path, run: Run, tmp_path: Path, kind: str) -> None:
    path = file(tmp_path / "otlp.jsonl", line(turn(1)))
    code, printed = run("ingest", kind, path)
    assert code == BAD_INPUT
    assert "it looks like traces: try `evalcov ingest traces`" in printed


def test_an_empty_results_file_is_bad_input(home: Path, run: Run, tmp_path: Path) -> None:
    code, printed = run("ingest", "results", file(tmp_path / "r.csv", "run_id,case_id,passed\n"))
    assert code == BAD_INPUT
    assert "holds no results" in printed


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (GOOD[:40], "cut off"),
        (b'{"started_at": "2026-09-01", "query_text": "caf\xe9"}', "not UTF-8 from byte 48"),
        (b"\x00\x00\x00", "not JSON at character 1"),
        (b'{"query_text": "\\ud83d"}', "half of a character"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"query_text": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", "not JSON at character"),
        (b'{"started_at": 1, "x": ' + b"[" * 900 + b"]" * 900 + b"}", "started_at = '1' is not a"),
    ],
)
def test_a_bad_line_costs_only_itself(tmp_path: Path, bad: bytes, why: str) -> None:
    frames, rejects = read("traces", file(tmp_path / "t.jsonl", GOOD + bad + b"\n" + GOOD))
    assert sum(frame.height for frame in frames) == 2
    assert [(reject.line, why in reject.reason) for reject in rejects] == [(2, True)]


def test_a_line_without_end_is_rejected_without_being_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with path.open("wb") as stream:
        stream.write(GOOD + b'{"query_text": "')
        for _ in range(100):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n' + GOOD)
    tracemalloc.start()
    frames, rejects = read("traces", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(frame.height for frame in frames) == 2
    assert [(r.line, r.reason, len(r.raw)) for r in rejects] == [(2, "longer than 64 MiB", 200)]
    assert peak < 2.2 * LONGEST_LINE


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_decompression_bomb_is_refused(tmp_path: Path, suffix: str) -> None:
    chunk = bytes(16 << 20)
    pack = {".gz": lambda: gzip.compress(chunk, 1), ".zst": lambda: zstandard.compress(chunk)}
    path = file(tmp_path / f"bomb.jsonl{suffix}", pack[suffix]() * 64)
    with open_bytes(path) as stream, pytest.raises(BadInput, match="200 times its size"):
        list(lines(stream, path))


def test_a_text_of_a_megabyte_is_a_text(settings: Settings, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [TURN | {"query_text": "parcel " * 150_000}])
    report = ingest_traces([path], settings)
    assert report.accepted == 1
    assert compact_day(settings.lake, report.days[0]).turns == 1


# Rows


@pytest.mark.parametrize("bad", [[], {}, ["a"], {"a": [1]}, True, -1, 1e300, "x\x00y", "\ud7ff"])
@pytest.mark.parametrize(
    "field",
    ["started_at", "ended_at", "query_text", "session_id", "model", "segment", "tool_calls",
     "input_tokens", "cost_usd", "latency_ms", "retrieval_count", "feedback", "outcome"],
)  # fmt: skip
def test_any_type_in_any_field_is_read_or_rejected(tmp_path: Path, field: str, bad: Any) -> None:
    frames, rejects = read("traces", write_jsonl(tmp_path / "t.jsonl", [TURN | {field: bad}]))
    assert sum(frame.height for frame in frames) + len(rejects) == 1
    assert all(field in reject.reason for reject in rejects)


@pytest.mark.parametrize(
    ("kind", "row", "why"),
    [
        ("traces", {"query_text": "hi"}, "started_at is missing"),
        ("traces", TURN | {"started_at": "1989-12-31"}, "lies before 1990"),
        ("traces", TURN | {"started_at": 86_400}, "is not a time"),
        ("traces", TURN | {"started_at": "0001-01-01T00:00:00+02:00"}, "that a calendar holds"),
        ("traces", TURN | {"started_at": "2026-11-02T00:00:01Z"}, "lies in the future"),
        ("traces", TURN | {"ended_at": "2031-01-01"}, "ended_at = '2031-01-01' lies in the future"),
        ("traces", TURN | {"query_text": " \u200b\ufeff "}, "query_text is missing"),
        ("traces", TURN | {"session_id": "s" * 1_001}, "longer than 1,000 characters"),
        ("traces", TURN | {"cost_usd": -0.1}, "is negative"),
        ("traces", TURN | {"latency_ms": "inf"}, "is not a finite number"),
        ("evals", {"input": " \u200b "}, "is blank"),
        ("evals", {"input": "x" * 2_000_001}, "longer than 2,000,000 characters"),
        ("evals", {"input": "x", "case_id": "c" * 1_001}, "case_id"),
        ("evals", {"input": "x", "category": ["a"]}, "category = '[\"a\"]' is not a text"),
        ("evals", {"input": "x", "created_at": "2062-01-01"}, "lies in the future"),
        ("evals", {"input": [{"role": "assistant", "content": "x"}]}, "has no user message"),
        ("evals", {"input": {"a": 1}}, "is neither text nor a list of {role, content}"),
        ("results", RESULT | {"latency_ms": -1}, "is negative"),
        ("results", RESULT | {"cost_usd": "NaN"}, "is not a finite number"),
        ("results", RESULT | {"score": 87}, "is not between 0 and 1"),
        ("results", RESULT | {"repeat": -1}, "is not a whole number"),
        ("results", RESULT | {"repeat": "1" * 400}, "is not a finite number"),
        ("results", RESULT | {"at": "2031-01-01"}, "lies in the future"),
        ("results", RESULT | {"passed": "maybe"}, "is neither true nor false"),
    ],
)
def test_a_row_is_rejected_for_what_is_wrong_with_it(
    tmp_path: Path, kind: str, row: dict[str, Any], why: str
) -> None:
    said = reason(kind, tmp_path / "x.jsonl", row)
    assert said is not None
    assert why in said
    assert "Error" not in said


SPAN = span(1, {})
HUGE = {"key": "k", "value": {"intValue": "1" * 5_000}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"startTimeUnixNano": "631151999000000000"}, "lies before 1990, or is not in nanoseconds"),
        ({"startTimeUnixNano": "1798761600000000000"}, "lies in the future"),
        ({"endTimeUnixNano": "4102444800000000000"}, "endTimeUnixNano lies in the future"),
        ({"startTimeUnixNano": "noon"}, "is not a number of nanoseconds"),
        ({"startTimeUnixNano": None}, "startTimeUnixNano is missing"),
        ({"traceId": "../../etc/passwd"}, "traceId is not 32 hexadecimal digits"),
        ({"attributes": [{"value": {}}]}, 'attribute {"value":{}} is not a key and a value'),
        ({"attributes": [HUGE]}, "is not a key and a value"),
        ({"attributes": 3}, "not laid out as OTLP JSON"),
        ({"events": ["x"]}, "not laid out as OTLP JSON"),
        ({"status": "failed"}, "not laid out as OTLP JSON"),
    ],
)
def test_a_span_is_rejected_for_what_is_wrong_with_it(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    path = file(tmp_path / "t.jsonl", line([SPAN | change, SPAN]))
    (frame,), (reject,) = read("traces", path)
    assert frame.height == 1
    assert why in reject.reason


def test_a_day_of_clock_skew_is_believed(tmp_path: Path) -> None:
    assert (
        reason("traces", tmp_path / "t.jsonl", TURN | {"started_at": "2026-10-31T23:59Z"}) is None
    )


def test_a_row_ahead_of_its_time_is_read_when_its_time_has_come(
    settings: Settings, tmp_path: Path
) -> None:
    ahead = TURN | {"started_at": "2026-11-03T00:00:00Z", "query_text": "and mine"}
    path = write_jsonl(tmp_path / "t.jsonl", [TURN, ahead])
    first = ingest_traces([path], settings, now=NOW)
    again = ingest_traces([path], settings, now=NOW)
    later = ingest_traces([path], settings, now=datetime(2026, 11, 3))
    counts = [(r.accepted, r.duplicate, r.rejected) for r in (first, again, later)]
    assert counts == [(1, 0, 1), (0, 1, 1), (2, 0, 0)]
    assert [compact_day(settings.lake, day).turns for day in later.days] == [1, 1]
    assert not any(settings.quarantine.glob("*.jsonl"))


def test_content_in_parts_is_read(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "on this photo?"},
    ]
    chat = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "user", "content": parts},
    ]
    ((case,), rejects) = read("evals", write_jsonl(tmp_path / "e.jsonl", [{"input": chat}]))
    assert not rejects
    assert [m["content"] for m in case["input"]] == ["hello", "", "what is\non this photo?"]


# Layouts


def test_a_json_array_and_an_indented_document_are_read(tmp_path: Path) -> None:
    array = file(tmp_path / "a.json", json.dumps([{"input": "a"}, 7, {"input": "b"}], indent=2))
    found, rejects = read("evals", array)
    assert [case["input"] for case in found] == ["a", "b"]
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, "not a JSON object")]
    document = file(tmp_path / "t.json", json.dumps(json.loads(line(turn(1))), indent=1))
    (frame,), rejects = read("traces", document)
    assert (frame.height, rejects) == (3, [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_tells_its_delimiter_by_its_header(tmp_path: Path, delimiter: str) -> None:
    text = delimiter.join(["case_id", "input"]) + "\n" + delimiter.join(["c", '"one, two; three"'])
    assert list(read_rows(file(tmp_path / "e.csv", text))) == [
        (2, {"case_id": "c", "input": "one, two; three"})
    ]


def test_a_broken_row_of_a_csv_costs_only_itself(tmp_path: Path) -> None:
    text = b'input,category\n"a ""quoted""\ntext",x\nb\nc,x,y\n"d"d,x\n\xff,x\ne\x00,x\n"open,x\n'
    found = list(read_rows(file(tmp_path / "e.csv", text)))
    good = [item[1]["input"] for item in found if not isinstance(item, Reject)]
    assert good == ['a "quoted"\ntext', "b", "e\x00"]
    assert [(r.line, r.reason.split(",")[0]) for r in found if isinstance(r, Reject)] == [
        (5, "more cells than the header has columns (2)"),
        (6, "text behind a closing quote: double the quotes inside a cell"),
        (7, "not UTF-8: save the file as UTF-8"),
        (9, "a quote is opened and never closed"),
    ]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=4))
def test_no_cell_is_a_formula_and_every_cell_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    import csv
    import io

    texts = [*texts, *(f"{sign}1" for sign in "=+-@\t\r\n＝"), "'=1", "''=1", "'quoted'"]
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(["input"])
    writer.writerows([[inert(text)] for text in texts])
    assert not any(inert(text)[0] in "=+-@\t\r\n＝＋－＠" for text in texts)
    path = file(tmp_path_factory.mktemp("csv") / "e.csv", written.getvalue())
    assert [item[1]["input"] for item in read_rows(path) if not isinstance(item, Reject)] == texts


def test_an_odd_parquet_file_is_rejected_row_by_row(tmp_path: Path) -> None:
    odd = pl.DataFrame({"run_id": [b"\xff"], "case_id": [["c"]], "passed": [True]})
    odd.write_parquet(tmp_path / "r.parquet")
    found, rejects = read("results", tmp_path / "r.parquet")
    assert not found
    assert [reject.line for reject in rejects] == [1]


# Imports


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_growing_file_is_picked_up_where_it_broke_off(
    settings: Settings, tmp_path: Path, suffix: str
) -> None:
    rows = [{"query_text": f"question {i}", "started_at": "2026-09-01T12:00:00Z"} for i in range(4)]
    lines = [json.dumps(row) if suffix == ".jsonl" else ",".join(row.values()) for row in rows]
    header = "" if suffix == ".jsonl" else "query_text,started_at\n"
    whole = header + "\n".join(lines) + "\n"
    path = file(tmp_path / f"t{suffix}", whole[: whole.index("question 2") + 5])
    first = ingest_traces([path], settings)
    assert (first.accepted, first.rejected) == (2, 1)
    compact_day(settings.lake, first.days[0])
    path.write_text(whole)
    second = ingest_traces([path], settings)
    assert (second.accepted, second.duplicate, second.rejected) == (2, 2, 0)
    assert compact_day(settings.lake, second.days[0]).turns == 4


def test_a_mapping_that_reads_nothing_leaves_the_earlier_reading(
    settings: Settings, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [TURN])
    (day,) = ingest_traces([path], settings).days
    with pytest.raises(BadInput, match="none of its 1 rows"):
        ingest_traces([path], settings, mapping={"query_text": "nowhere"})
    assert compact_day(settings.lake, day).turns == 1


def test_a_file_without_a_single_good_row_is_given_up(settings: Settings, tmp_path: Path) -> None:
    path = file(tmp_path / "t.jsonl", b'{"a": 1}\n' * 12_000)
    with pytest.raises(BadInput, match="none of its first 10,000 rows"):
        ingest_traces([path], settings)
    (kept,) = settings.quarantine.glob("*.jsonl")
    assert kept.read_bytes().count(b"\n") == 10_000
    file(path, GOOD + path.read_bytes() + GOOD)
    assert ingest_traces([path], settings).rejected == 12_000


def results_of(settings: Settings) -> list[tuple[Any, ...]]:
    with warehouse_of(settings).reader() as con:
        return con.sql('SELECT case_id, passed, "at" FROM eval_results ORDER BY ALL').fetchall()


def test_a_corrected_result_replaces_the_first_and_is_counted(
    settings: Settings, tmp_path: Path
) -> None:
    first = [RESULT, RESULT | {"case_id": "d"}]
    corrected = [RESULT | {"passed": False}, RESULT | {"case_id": "d"}, RESULT | {"case_id": "e"}]
    ingest_evals("results", [write_jsonl(tmp_path / "a.jsonl", first)], settings, now=NOW)
    path = write_jsonl(tmp_path / "b.jsonl", corrected)
    later = datetime(2026, 11, 5)
    report = ingest_evals("results", [path], settings, now=later)
    assert (report.accepted, report.replaced, report.duplicate) == (2, 1, 1)
    assert results_of(settings) == [("c", False, NOW), ("d", True, NOW), ("e", True, later)]
    again = ingest_evals("results", [path], settings, now=datetime(2026, 12, 1))
    assert (again.accepted, again.duplicate) == (0, 3)


def test_of_several_cases_with_one_id_the_last_counts(settings: Settings, tmp_path: Path) -> None:
    both = [{"case_id": "c", "input": "one"}, {"case_id": "c", "input": "two"}]
    report = ingest_evals("evals", [write_jsonl(tmp_path / "e.jsonl", both)], settings)
    assert (report.accepted, report.duplicate) == (1, 1)
    with warehouse_of(settings).reader() as con:
        assert con.sql("SELECT input FROM eval_cases").fetchall() == [("two",)]


@pytest.mark.parametrize(
    "name", ["a" * 240 + ".jsonl", "[x]'\"*.jsonl", "..jsonl", "é\udcff.jsonl"]
)
def test_a_file_s_name_cannot_hurt(settings: Settings, tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes(GOOD + b"{broken\n")
    assert ingest_traces([path], settings).rejected == 1
    (kept,) = settings.home.glob("quarantine/*.jsonl")
    assert json.loads(kept.read_text())["line"] == 2


def test_ids_that_look_like_paths_stay_ids(settings: Settings, tmp_path: Path) -> None:
    before = {p for p in tmp_path.rglob("*") if settings.home not in p.parents}
    climbing = "../../../../tmp/x"
    path = write_jsonl(tmp_path / "e.jsonl", [{"input": "hi", "case_id": climbing}])
    ingest_evals("evals", [path], settings)
    turns = [TURN | {"trace_id": climbing, "session_id": climbing, "source": climbing}]
    report = ingest_traces([write_jsonl(tmp_path / "t.jsonl", turns)], settings)
    compact_day(settings.lake, report.days[0])
    after = {p for p in tmp_path.rglob("*") if settings.home not in p.parents}
    assert after - before == {path, tmp_path / "t.jsonl", settings.home}


# Paths


def test_a_pipe_is_refused_and_not_waited_for(home: Path, run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    code, printed = run("ingest", "traces", tmp_path / "pipe.jsonl")
    assert code == BAD_INPUT
    assert "a pipe or device" in printed


@pytest.mark.parametrize(
    ("path", "said"),
    [("", "no such file ('')"), ("folder", "no file with a known ending"), ("loop", "no such file"),
     ("x" * 300, "name too long"), ("nothing-*.jsonl", "no such file")],
)  # fmt: skip
def test_a_path_without_files_is_one_line(
    home: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    code, printed = run("ingest", "traces", path)
    assert code == BAD_INPUT
    assert said in printed


def test_upper_case_endings_and_links_are_followed(settings: Settings, tmp_path: Path) -> None:
    original = file(tmp_path / "elsewhere" / "T.JSONL.GZ", gzip.compress(GOOD))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.JSONL.GZ").symlink_to(original)
    (tmp_path / "in" / "dangling.jsonl").symlink_to(tmp_path / "gone")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    assert ingest_traces([tmp_path / "in"], settings).accepted == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_one_line(home: Path, run: Run, tmp_path: Path) -> None:
    locked = tmp_path / "in" / "locked"
    locked.mkdir(parents=True)
    locked.chmod(0)
    code, printed = run("ingest", "traces", tmp_path / "in")
    locked.chmod(0o700)
    assert code == BAD_INPUT
    assert "cannot read the folder" in printed


def test_a_home_may_have_any_name_that_is_no_pattern(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / 'it\'s "my" höme #1 — 家 😀; $x')
    report = ingest_traces([write_jsonl(tmp_path / "t.jsonl", [TURN])], settings)
    compact_day(settings.lake, report.days[0])
    ingest_evals("evals", [write_jsonl(tmp_path / "e.jsonl", cases(3))], settings)
    assert traffic_span(settings.lake) is not None
    with Warehouse(settings.published).reader() as con:
        assert con.sql("SELECT count(*) FROM eval_cases").fetchone() == (3,)


# Settings


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("EVALCOV_FOO", "1", "no such setting"),
        ("EVALCOV_COVERGE__THRESHOLD", "0.2", "did you mean EVALCOV_COVERAGE?"),
        ("EVALCOV_COVERAGE__TRESHOLD", "0.2", "coverage.treshold"),
        ("EVALCOV_COVERAGE__REARM_MARGIN", "0.25", "rearm_margin must be below"),
        ("EVALCOV_SAMPLING__WINDOW_DAYS", "36", "less than or equal to 35"),
        ("EVALCOV_TAXONOMY__MIN_CLUSTERS", "81", "min_clusters must not exceed"),
        ("EVALCOV_SAMPLING__SEGMENTS", '["a", "a"]', "distinct names"),
        ("EVALCOV_CONFIG", "/nowhere/evalcov.toml", "no such file"),
        ("EVALCOV_HOME", "/tmp/[x]", "holds [ ], which mean more than themselves"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    code, printed = run("status")
    assert code == BAD_INPUT
    assert said in printed


@pytest.mark.parametrize("content", [b"[coverage", b"\xff\xfe", b"[coverage]\nthreshold = 'x'\n"])
def test_a_broken_configuration_file_is_one_line(
    home: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("EVALCOV_CONFIG", str(file(tmp_path / "evalcov.toml", content)))
    assert run("status")[0] == BAD_INPUT


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALCOV_HOME", "")
    assert Settings().home == Path("data")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EVALCOV_REDACTION__PATTERNS", '{"ORDER": "("}'),
        ("EVALCOV_REDACTION__FUNCTION", "os:no_such_function"),
        ("EVALCOV_REDACTION__FUNCTION", "os:getpid"),
        ("EVALCOV_REDACTION__DEFAULT_REGION", "XX"),
        ("EVALCOV_EMBEDDING__MODEL", "./no-model"),
    ],
)
def test_doctor_says_what_a_run_would_fail_on(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    code, printed = run("doctor")
    assert code == CHECK_FAILED
    assert printed.count("FAIL") == 1


def test_doctor_outlives_a_home_that_cannot_be_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(file(tmp_path / "file", "")))
    code, printed = run("doctor")
    assert code == CHECK_FAILED
    assert "cannot be written" in printed


def test_doctor_finds_a_damaged_warehouse(home: Path, run: Run, tmp_path: Path) -> None:
    file(home / "warehouse.duckdb", b"junk" * 5_000)
    code, printed = run("doctor")
    assert code == CHECK_FAILED
    assert "backup" in printed


def test_doctor_says_that_the_clusters_are_of_another_model(
    copy: Settings, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALCOV_HOME", str(copy.home))
    assert run("doctor")[0] == 0
    monkeypatch.setenv("EVALCOV_EMBEDDING__MODEL", "all-MiniLM-L6-v2")
    code, printed = run("doctor")
    assert code == CHECK_FAILED
    assert "run `evalcov run monthly`" in printed


def test_a_message_is_one_line_whatever_a_file_holds() -> None:
    error = BadInput("field 'a\x1b[2J\nb'", "x\ty.jsonl", "look\r\nthere")
    assert str(error) == "field 'a [2J b' (x y.jsonl): look there"


# Exports


@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_texts_that_look_like_something_else_survive_an_export(
    home: Path, run: Run, tmp_path: Path, extension: str
) -> None:
    texts = ['["role"]', "[1]", '[{"role": "x"}]', "{}", "[]", "'=1+1", "<script>alert(1)</script>"]
    suite = [{"case_id": f"c{i}", "input": text} for i, text in enumerate(texts)]
    run("ingest", "evals", write_jsonl(tmp_path / "e.jsonl", suite))
    out = tmp_path / f"out.{extension}"
    assert run("export", "evals", "--format", extension, "--out", out)[0] == 0
    assert "0 accepted, 7 duplicate, 0 rejected" in run("ingest", "evals", out)[1]


def test_an_export_into_nowhere_is_one_line(home: Path, run: Run, tmp_path: Path) -> None:
    run("ingest", "evals", write_jsonl(tmp_path / "e.jsonl", cases(1)))
    code, printed = run("export", "evals", "--out", tmp_path / "no" / "where.jsonl")
    assert code == BAD_INPUT
    assert "no such folder" in printed


def test_a_source_for_evals_is_refused(home: Path, run: Run, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "e.jsonl", cases(1))
    code, printed = run("ingest", "evals", path, "--source", "desk")
    assert code == BAD_INPUT
    assert "--source" in printed


@pytest.mark.parametrize("kind", ["evals", "results", "traces"])
def test_a_mapping_of_an_unknown_field_is_refused(
    home: Path, run: Run, tmp_path: Path, kind: str
) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [TURN | RESULT | {"input": "x"}])
    code, printed = run("ingest", kind, path, "--map", "nonsense=input")
    assert code == BAD_INPUT
    assert "unknown canonical field 'nonsense'" in printed
