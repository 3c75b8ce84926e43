"""Failure signals of a week as stored: from the lake, redacted, repeatable, with own signals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.failures.signals import WeekSignals, find_signals, write_signals
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.traffic.texts import forget_unused_texts, redactor
from evalcov_pipeline.settings import FailureSettings, Settings
from evalcov_pipeline.storage.lake import compact_day, days_pending
from evalcov_pipeline.storage.warehouse import frame, insert
from evalcov_pipeline_tests.conftest import (
    FIRST_DAY,
    import_rows,
    quick_settings,
    tasks,
    turns,
)

AS_OF = FIRST_DAY + timedelta(days=14)
"""The second week ends."""
MAIL = "jo.miller@example.com"


def turn(session: str, number: int, minute: float, query: str, **fields: Any) -> dict[str, Any]:
    """A turn some minutes after noon of the second week's Wednesday."""
    at = FIRST_DAY + timedelta(days=9, hours=12, minutes=minute)
    return {
        "trace_id": f"{session}-{number}", "session_id": session, "query_text": query,
        "started_at": at.isoformat() + "Z", "answer_text": "Here is how.", "latency_ms": 900.0,
        **fields,
    }  # fmt: skip


def over_midnight(session: str, number: int, hours: float, query: str) -> dict[str, Any]:
    """A turn some hours before (negative) or after the week begins."""
    minutes = 60 * (hours - 2 * 24 - 12)
    return turn(session, number, minutes, query)


ODD = [
    turn("again", 0, 0, f"reset my password, I am {MAIL}"),
    turn("again", 1, 1, f"reset my password, I am {MAIL}"),
    turn("angry", 0, 0, "cancel my subscription"),
    turn("angry", 1, 1, "that's not what i asked"),
    turn("anew", 0, 0, "refund a damaged item"),
    turn("anew", 1, 1, "I mean, refund this damaged item of mine"),
    turn("cut", 0, 0, "export my data"),
    turn("cut", 1, 1, "export my data archive now", answer_text=None, error_type="timeout"),
    turn("praised", 0, 0, "calendar sync", feedback=[{"name": "user_feedback", "value": 0.0}]),
    over_midnight("late", 0, -0.2, "where is my parcel"),
    over_midnight("late", 1, 0.1, "where is my parcel"),
    over_midnight("late", 2, 0.2, "wrong answer"),
    over_midnight("later", 0, 0.5 + 7 * 24 - 0.6, "why is my invoice late"),
    over_midnight("later", 1, 0.5 + 7 * 24, "that is wrong"),
]
"""Sessions that went wrong, each in its own way, among ordinary ones."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with three weeks of turns in its lake, and no sample."""
    settings = quick_settings(tmp_path_factory.mktemp("signals") / "home")
    import_rows(settings, "traces", [*turns(weeks=3, sessions_per_day=20), *ODD], "traffic")
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    return settings


def found(settings: Settings, weeks: int = 2) -> WeekSignals:
    with warehouse_of(settings).reader() as con:
        as_of = FIRST_DAY + timedelta(weeks=weeks)
        week = find_signals(con, settings, as_of, redactor(settings.redaction))
    assert week is not None
    return week


@pytest.fixture(scope="module")
def week(home: Settings) -> WeekSignals:
    """The second week by the default settings."""
    return found(home)


def with_rules(settings: Settings, **rules: Any) -> Settings:
    return settings.model_copy(update={"failures": FailureSettings(**rules)})


def odd(week: WeekSignals) -> set[tuple[str, int, str]]:
    """(session, turn, signal) of the sessions that went wrong."""
    rows = week.signals.filter(pl.col("session_id").is_in([row["session_id"] for row in ODD]))
    return set(rows.select("session_id", "turn_index", "signal").iter_rows())


def test_each_sign_lies_on_the_turn_whose_answer_failed(week: WeekSignals) -> None:
    assert odd(week) - {("cut", 0, "rephrase")} == {
        ("again", 0, "regeneration"),
        ("angry", 0, "friction"),
        ("anew", 0, "rephrase"),
        ("cut", 1, "abrupt_end"),
        ("praised", 0, "negative_feedback"),
        ("late", 1, "friction"),
        ("later", 0, "friction"),
    }


def test_a_session_across_the_week_s_border_counts_its_turns_from_its_start(
    home: Settings, week: WeekSignals
) -> None:
    """What a turn of this week tells of the last one's answer is of the last week."""
    assert ("late", 0, "regeneration") in odd(found(home, 1))
    assert not any(session == "late" and turn == 0 for session, turn, _ in odd(week))


def test_nothing_that_a_user_wrote_is_stored_unredacted(week: WeekSignals) -> None:
    stored = " ".join([*week.signals["evidence"], *week.texts["text"]])
    assert "reset my password" in stored
    assert MAIL not in stored
    assert week.signals["text_hash"].null_count() == 0


def test_thresholds_are_those_of_the_source_and_say_why(week: WeekSignals) -> None:
    cuts = {row["signal"]: row for row in week.thresholds.to_dicts()}
    assert set(cuts) == {"abrupt_end", "low_retrieval", "rephrase"}
    assert cuts["low_retrieval"]["threshold"] is None
    assert cuts["low_retrieval"]["reason"].startswith("silent")
    assert 0 < cuts["rephrase"]["threshold"] <= 1


def test_a_week_written_twice_is_as_written_once(home: Settings) -> None:
    warehouse = warehouse_of(home)
    kept = []
    for _ in range(2):
        for weeks in (1, 2):
            with warehouse.writer() as con:
                write_signals(con, FIRST_DAY + timedelta(weeks=weeks), found(home, weeks))
        with warehouse.reader() as con:
            kept.append(frame(con, "SELECT * FROM failure_signals ORDER BY ALL"))
    assert kept[0].equals(kept[1])
    assert kept[0]["as_of"].n_unique() == 2


def test_texts_of_signals_picks_and_tasks_are_kept(home: Settings, week: WeekSignals) -> None:
    warehouse = warehouse_of(home)
    pick = {
        "batch_id": "b", "task_id": "t", "source": "s", "trace_id": "x", "turn_index": 0,
        "text_hash": "picked", "signals": ["friction"], "inclusion_probability": 0.5,
    }  # fmt: skip
    with warehouse.writer() as con:
        write_signals(con, AS_OF, week)
        before = set(frame(con, "SELECT DISTINCT text_hash FROM failure_signals").to_series())
        for name in ("picked", "queued", "idle"):
            con.execute("INSERT INTO texts VALUES (?, 'text', NULL)", [name])
        insert(con, "failure_picks", pl.DataFrame([pick]))
        insert(con, "annotation_queue", tasks([{"text": "text", "text_hash": "queued"}]))
        forget_unused_texts(con)
        left = set(frame(con, "SELECT text_hash FROM texts").to_series())
        con.execute("DELETE FROM failure_picks; DELETE FROM annotation_queue")
    assert {*before, "picked", "queued"} <= left
    assert "idle" not in left


def test_a_signal_is_switched_off_by_its_name(home: Settings) -> None:
    off = found(with_rules(home, off=("friction", "rephrase")))
    assert {"friction", "rephrase"}.isdisjoint(off.signals["signal"])
    assert "rephrase" not in set(off.thresholds["signal"])
    with pytest.raises(BadInput, match="no signal is called grumbling"):
        found(with_rules(home, off=("grumbling",)))


def test_no_more_texts_are_compared_than_the_settings_allow(home: Settings) -> None:
    few = found(with_rules(home, max_new_texts=10))
    assert 0 < few.n_compared < few.n_pairs
    assert few.texts.height <= 10
    assert found(with_rules(home, max_new_texts=0)).n_compared == 0


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], dict[str, str]]:
    """Names a function as the own signal `slow`."""

    def named(function: Callable) -> dict[str, str]:
        module = ModuleType("our_signals")
        module.slow = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "our_signals", module)
        return {"slow": "our_signals:slow"}

    return named


def test_an_own_signal_is_a_function_of_the_turns(home: Settings, own: Callable) -> None:
    def slow(frame: pl.DataFrame) -> pl.Series:
        return (frame["latency_ms"] > 850).cast(pl.Float64) * (frame["session_id"] == "angry")

    rows = found(with_rules(home, own=own(slow))).signals.filter(signal="slow")
    assert rows["turn_index"].to_list() == [0, 1]
    assert rows["strength"].to_list() == [1.0, 1.0]


def test_an_own_signal_may_bring_evidence_which_is_redacted(home: Settings, own: Callable) -> None:
    def told(frame: pl.DataFrame) -> pl.DataFrame:
        strength = pl.when(pl.col("session_id") == "again").then(0.5)
        return frame.select(strength=strength, evidence=pl.lit(f"asked by {MAIL}"))

    rows = found(with_rules(home, own=own(told))).signals.filter(signal="slow")
    assert len(rows) == 2
    assert MAIL not in rows["evidence"][0]
    assert rows["evidence"][0].startswith("asked by")


def test_evidence_is_shortened_only_after_it_was_redacted(home: Settings, own: Callable) -> None:
    def told(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(strength=0.5, evidence=pl.lit(f"{'asked again ' * 16}by {MAIL}"))

    rows = found(with_rules(home, own=own(told))).signals.filter(signal="slow")
    assert rows["evidence"].str.len_chars().max() == 200
    assert not any(MAIL.split("@")[0] in evidence for evidence in rows["evidence"])


def test_a_strength_that_rounds_to_nothing_is_no_sign(home: Settings, own: Callable) -> None:
    signals = found(with_rules(home, own=own(lambda turns: [5e-324] * len(turns)))).signals
    assert signals.filter(signal="slow").is_empty()


class _Unwilling:
    """Strengths that fail when they are read."""

    def __iter__(self) -> Iterator[float]:
        raise RuntimeError("cannot be walked")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda turns: [1.0], "returned 1 strengths"),
        (lambda turns: [2.0] * len(turns), "from 0 to 1"),
        (lambda turns: ["x"] * len(turns), "own signal slow"),
        (lambda turns: 1 / 0, "ZeroDivisionError"),
        (lambda turns: turns.select("source"), "no column 'strength'"),
        (lambda turns: None, "own signal slow"),
        (lambda turns: sys.exit(0), "SystemExit"),
        (lambda turns: _Unwilling(), "cannot be walked"),
    ],
)
def test_an_own_signal_that_cannot_be_used_is_named_in_one_line(
    home: Settings, own: Callable, function: Callable, said: str
) -> None:
    with pytest.raises(BadInput, match="own signal slow") as error:
        found(with_rules(home, own=own(function)))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_own_signal_cannot_spoil_the_turns_of_another(home: Settings, own: Callable) -> None:
    def emptied(turns: pl.DataFrame) -> list[float]:
        turns.drop_in_place("in_week")
        return [0.1] * len(turns)

    twice = own(emptied) | {"slower": "our_signals:slow"}
    signals = found(with_rules(home, own=twice)).signals
    assert signals.filter(signal="slow").height == signals.filter(signal="slower").height > 0


def test_a_module_that_exits_on_import_is_named(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_main_guard.py").write_text("raise SystemExit(2)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match="cannot be imported: SystemExit"):
        found(with_rules(home, own={"slow": "no_main_guard:slow"}))


def test_own_signals_must_exist_under_a_name_of_their_own(home: Settings) -> None:
    with pytest.raises(BadInput, match="cannot be imported"):
        found(with_rules(home, own={"slow": "no_such_module:slow"}))
    with pytest.raises(BadInput, match="choose another name"):
        found(with_rules(home, own={"friction": "builtins:len"}))


def label(con: Any, number: int, rater: str, passed: bool | None, at: Any, **more: Any) -> None:
    event = {
        "event_id": number, "task_id": "task-0", "rater": rater, "withdrawn": False, "keep": True,
        "passed": passed, "at": at, "recorded_at": at, "via": "review", **more,
    }  # fmt: skip
    insert(con, "annotation_events", pl.DataFrame([event], schema_overrides={"passed": pl.Boolean}))


@pytest.mark.parametrize(
    ("answer", "at", "expected"),
    [
        ("It arrives on Monday.", AS_OF - timedelta(days=1), True),
        ("I think it might arrive on Monday.", AS_OF - timedelta(days=1), False),
        ("It arrives on Monday.", AS_OF + timedelta(days=1), False),
    ],
)
def test_an_answer_is_confident_but_wrong_once_people_have_said_so(
    home: Settings, week: WeekSignals, tmp_path: Path, answer: str, at: Any, expected: bool
) -> None:
    (task,) = week.signals.filter(session_id="angry").to_dicts()
    asked = {"text": "text", "text_hash": "h", "answer": answer}
    place = {name: task[name] for name in ("source", "trace_id", "turn_index")}
    settings = home.model_copy(update={"home": tmp_path / "home"})
    (tmp_path / "home").mkdir()
    settings.lake.symlink_to(home.lake)
    with warehouse_of(settings).writer() as con:
        insert(con, "annotation_queue", tasks([asked | place]))
        label(con, 1, "anna", False, at)
    assert (("angry", 0, "confident_but_wrong") in odd(found(settings))) is expected


@pytest.mark.parametrize(
    "later",
    [
        {"rater": "anna", "passed": None, "withdrawn": True},
        {"rater": "anna", "passed": None},
        {"rater": "suggestion:neighbours", "passed": False, "via": "suggestion", "first": False},
    ],
    ids=["withdrawn", "not judged after all", "suggested"],
)
def test_only_what_people_say_now_makes_an_answer_wrong(
    home: Settings, week: WeekSignals, tmp_path: Path, later: dict[str, Any]
) -> None:
    settings = home.model_copy(update={"home": tmp_path / "home"})
    (tmp_path / "home").mkdir()
    settings.lake.symlink_to(home.lake)
    (task,) = week.signals.filter(session_id="angry").to_dicts()
    place = {name: task[name] for name in ("source", "trace_id", "turn_index")}
    with warehouse_of(settings).writer() as con:
        insert(con, "annotation_queue", tasks([{"text": "text", "text_hash": "h"} | place]))
        if later.pop("first", True):
            label(con, 1, "anna", False, AS_OF - timedelta(hours=2))
        label(con, 2, at=AS_OF - timedelta(hours=1), **later)
    assert ("angry", 0, "confident_but_wrong") not in odd(found(settings))


def test_a_week_without_turns_has_no_signals(home: Settings) -> None:
    with warehouse_of(home).reader() as con:
        empty = find_signals(con, home, AS_OF + timedelta(weeks=9), redactor(home.redaction))
    assert empty is None
