"""Whole sessions end to end, on one scored home with odd traffic and odd cases."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.health import checks
from evalcov_pipeline.services.sessions.scores import TABLES
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.settings import SessionSettings, Settings
from evalcov_pipeline_tests.conftest import (
    FIRST_DAY,
    SCORES,
    TOPICS,
    copied,
    filled_once,
    import_rows,
    score_week,
)

AS_OF = FIRST_DAY + timedelta(weeks=5)
WEEK = AS_OF - timedelta(weeks=1)
WINDOW_START = AS_OF - timedelta(days=30)
KINDS: dict[str, tuple[float, list[list[str]], str]] = {
    "look up": (0.4, [["search"]], "success"),
    "book": (0.3, [["search"], ["search"], ["book"]], "success"),
    "give up": (0.15, [["search"], ["search"], ["book"], ["pay"], ["cancel"], []], "abandoned"),
    "mend": (0.15, [["diagnose"], ["restart"], ["ticket"]], "error"),
}
"""Share, tools of each turn, and outcome."""


def session(name: str, at: datetime, rng: random.Random, **fields: Any) -> list[dict[str, Any]]:
    """Trace rows of one session of a random kind."""
    kind = rng.choices(list(KINDS), [share for share, *_ in KINDS.values()])[0]
    _, plan, outcome = KINDS[kind]
    topic = rng.choice(TOPICS[:4])
    rows: list[dict[str, Any]] = [
        {
            "trace_id": f"{name}-{turn}", "session_id": name,
            "started_at": (at + timedelta(minutes=turn)).isoformat() + "Z",
            "query_text": f"{kind} {topic}, step {turn} of {rng.randrange(30)}",
            "answer_text": "Here is how.", "latency_ms": 300.0, "tool_calls": called, **fields,
        }
        for turn, called in enumerate(plan)
    ]  # fmt: skip
    rows[-1]["outcome"] = outcome
    return rows


def case(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The eval case that says what a session said, up to its last query."""
    messages = []
    for row in rows:
        messages.append({"role": "user", "content": row["query_text"]})
        answer = {"role": "assistant", "content": row["answer_text"]}
        messages.append(answer | {"tool_calls": row["tool_calls"]})
    return {
        "case_id": name, "input": messages[:-1], "outcome": rows[-1]["outcome"],
        "expected_tools": rows[-1]["tool_calls"],
    }  # fmt: skip


def said(*texts: str, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for text in texts]


RNG = random.Random(3)
DAYS = timedelta(days=6)
SESSIONS = [
    session(f"s-{number}", AS_OF - DAYS * RNG.random() - timedelta(minutes=9), RNG)
    for number in range(200)
]
OVER_MIDNIGHT = session("midnight", AS_OF - timedelta(days=7, minutes=1), random.Random(5))
BEFORE_WINDOW = session("early", WINDOW_START - timedelta(minutes=1), random.Random(5))
SHARED_ID = [
    session("shared", AS_OF - timedelta(hours=hour), random.Random(hour), source=source)
    for hour, source in ((30, "web"), (20, "app"))
]
LONELY = [
    row | {"session_id": None, "trace_id": f"lonely-{number}"}
    for number, row in enumerate(session("x", AS_OF - timedelta(hours=9), random.Random(5)))
]
NAMELESS = [
    row | {"tool_calls": [{"function": {}}, "search"]}
    for row in session("nameless", AS_OF - timedelta(hours=8), random.Random(5))
]
ODD_CASES = {
    "system": [*said("Be kind.", role="system"), *said("track parcel delivery")],
    "in a row": said("reset forgotten password", "today", "asap"),
    "silent": [*said("refund damaged item"), *said("Why?", role="assistant"), *said("", "so?")],
    "json": '[{"refund": 1}]',
    "long": said(*(f"message {number}" for number in range(500))),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Shuffled sessions of four kinds, and a suite in proportion, the last week scored."""
    rows = [row for rows in (*SESSIONS, *SHARED_ID) for row in rows]
    rows += [*OVER_MIDNIGHT, *BEFORE_WINDOW, *LONELY, *NAMELESS]
    random.Random(1).shuffle(rows)
    suite = [case(f"case-{number}", rows) for number, rows in enumerate(SESSIONS[:60])]
    odd = [{"case_id": name, "input": content} for name, content in ODD_CASES.items()]

    def fill(settings: Settings) -> None:
        import_rows(settings, "traces", rows, "traffic")
        import_rows(settings, "evals", suite + odd, "suite")
        score_week(settings, WEEK)

    rules = SessionSettings(min_clusters=3, max_clusters=6)
    return filled_once(tmp_path_factory, "sessions", fill, sessions=rules)


@pytest.fixture
def changed(home: Settings, tmp_path: Path) -> Settings:
    """The scored home, to be changed."""
    return copied(home, tmp_path)


def query(settings: Settings, sql: str) -> pl.DataFrame:
    with duckdb.connect(settings.published, read_only=True) as con:
        return con.sql(sql).pl()


def test_a_proportional_suite_of_whole_sessions_is_not_degraded(home: Settings) -> None:
    score = query(home, "SELECT * FROM session_scores").row(0, named=True)
    assert score["n_eval"] == 65
    assert not score["degraded"]
    assert score["jsd_adjusted"] < 0.1
    assert score["jsd_ci_low"] <= score["jsd_adjusted"] <= score["jsd_ci_high"]


def test_weights_shares_and_contributions_of_sessions_add_up(home: Settings) -> None:
    for table, expected in {
        "(SELECT sum(steady_weight), sum(traffic_weight) FROM session_features)": [1, 1],
        "(SELECT sum(production_share), sum(traffic_share), sum(eval_share), sum(eval_cases)"
        " FROM session_coverage)": [1, 1, 1, 65],
        "(SELECT sum(jsd_contribution) - (SELECT jsd FROM session_scores) FROM session_coverage)": [
            0
        ],
    }.items():
        for row in query(home, f"FROM {table}").rows():
            assert row == pytest.approx(expected, abs=1e-9), table


def test_a_case_made_from_a_session_has_its_name_and_its_features(home: Settings) -> None:
    pairs = query(
        home,
        "SELECT s.* EXCLUDE (as_of), c.* EXCLUDE (as_of) FROM session_features s"
        " JOIN case_features c ON c.case_id = replace(s.session_id, 's-', 'case-')",
    )
    assert len(pairs) == 60
    for name in (
        "session_hash", "n_turns", "text_hashes", "tools", "tools_known", "n_tools", "retries",
        "rephrases", "outcome", "conversation_chars",
    ):  # fmt: skip
        assert pairs[name].to_list() == pairs[f"{name}_1"].to_list(), name


def test_a_session_is_its_source_and_its_id(home: Settings) -> None:
    found = query(
        home,
        "SELECT source, session_id, n_turns, tools FROM session_features"
        " WHERE session_id NOT LIKE 's-%' ORDER BY ALL",
    )
    turns = {(source, name): n for source, name, n, _ in found.iter_rows()}
    assert turns.pop(("generic", "midnight")) == len(OVER_MIDNIGHT)
    assert [turns.pop((source, "shared")) for source in ("web", "app")] == [
        len(rows) for rows in SHARED_ID
    ]
    assert [turns.pop(("generic", f"lonely-{n}")) for n, _ in enumerate(LONELY)] == [1] * len(
        LONELY
    )
    assert turns.pop(("generic", "nameless")) == len(NAMELESS)
    assert turns == {("generic", "early"): len(BEFORE_WINDOW) - 1}
    (tools,) = found.filter(pl.col("session_id") == "nameless")["tools"].to_list()
    assert tools == ["?", "search"] * len(NAMELESS)


def test_odd_cases_are_sessions_like_others(home: Settings) -> None:
    found = query(home, "SELECT case_id, n_turns, text_hashes FROM case_features")
    odd = {name: (n, hashes) for name, n, hashes in found.iter_rows() if name in ODD_CASES}
    assert {name: n for name, (n, _) in odd.items()} == {
        "system": 1, "in a row": 3, "silent": 3, "json": 1, "long": 500,
    }  # fmt: skip
    assert [text is None for text in odd["silent"][1]] == [False, True, False]


def test_a_lost_session_space_is_named_and_the_week_scored_again_as_it_was(
    home: Settings, changed: Settings
) -> None:
    (name,) = query(changed, "SELECT taxonomy_id FROM session_taxonomies")["taxonomy_id"]
    for file in ("space.npz", "space.json"):
        (changed.taxonomies / name / file).unlink()
        (finding,) = [check.finding for check in checks(changed) if not check.passed]
        assert finding.endswith(f"files missing or damaged: {name}")
        with pytest.raises(BadInput, match=f"taxonomy {name} cannot be read"):
            taxonomies.load_space(changed.taxonomies, name)
    score_week(changed, WEEK, groups=SCORES, job="monthly_taxonomy")
    assert taxonomies.is_intact(changed.taxonomies, name, with_space=True)
    for table in ("session_features", "case_features", "session_assignments", *TABLES):
        rows = f"SELECT * FROM {table} ORDER BY ALL"
        assert query(changed, rows).equals(query(home, rows)), table
