"""Shared builders. Tests never see the settings, the home or the network of whoever runs them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import orjson
import polars as pl
import pytest
from sqlalchemy import Engine, event

for name in [name for name in os.environ if name.startswith(("EVALCOV_", "DAGSTER_"))]:
    del os.environ[name]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["EVALCOV_CONFIG"] = os.devnull

from evalcov_pipeline.core.failures.signals import STRENGTHS  # noqa: E402
from evalcov_pipeline.core.traffic.weeks import week_of  # noqa: E402
from evalcov_pipeline.services.home import publish, warehouse_of  # noqa: E402
from evalcov_pipeline.services.imports.evals import ingest_evals  # noqa: E402
from evalcov_pipeline.services.imports.traces import ingest_traces  # noqa: E402
from evalcov_pipeline.services.labels.queue import enqueue  # noqa: E402
from evalcov_pipeline.settings import (  # noqa: E402
    CoverageSettings,
    EmbeddingSettings,
    FailureSettings,
    SamplingSettings,
    Settings,
    TaxonomySettings,
)
from evalcov_pipeline.storage.files import locked  # noqa: E402
from evalcov_pipeline.storage.lake import compact_day, days_pending  # noqa: E402
from evalcov_pipeline.storage.warehouse import frame  # noqa: E402

FIRST_DAY = datetime(2026, 9, 28)
"""A Monday."""


TOPICS = [
    "track parcel delivery", "cancel subscription renewal", "reset forgotten password",
    "refund damaged item", "change billing address", "upgrade storage plan",
    "invoice tax number", "export data archive", "invite team member", "connect calendar sync",
    "printer driver error", "camera firmware update",
]  # fmt: skip
ASKING = ["how do i", "please help me", "i want to", "can you", "why can't i", "need to"]
TAILS = ["", "today", "again", "for my account", "asap", "from last week", "on mobile", "at work"]


def question(topic: int, rng: np.random.Generator) -> str:
    """An invented question about a topic."""
    return f"{rng.choice(ASKING)} {TOPICS[topic]} {rng.choice(TAILS)} {rng.integers(60)}".strip()


def turns(
    *,
    weeks: int = 6,
    sessions_per_day: int = 14,
    shares: Sequence[float] | None = None,
    start: datetime = FIRST_DAY,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Generic trace rows: sessions of one to three turns about one topic each."""
    rng = np.random.default_rng(seed)
    p = np.array(shares or [1 / len(TOPICS)] * len(TOPICS))
    rows = []
    for day in range(7 * weeks):
        for number in range(sessions_per_day):
            topic = int(rng.choice(len(TOPICS), p=p / p.sum()))
            at = start + timedelta(days=day, seconds=int(rng.integers(86_000)))
            for turn in range(int(rng.integers(1, 4))):
                rows.append(
                    {
                        "trace_id": f"t-{day}-{number}-{turn}",
                        "session_id": f"s-{day}-{number}",
                        "user_id": f"u-{number}",
                        "segment": {"tier": "pro" if number % 5 == 0 else "free"},
                        "started_at": (at + timedelta(seconds=40 * turn)).isoformat() + "Z",
                        "query_text": question(topic, rng),
                        "answer_text": "Here is how.",
                        "latency_ms": float(rng.integers(200, 900)),
                        "cost_usd": 0.001,
                    }
                )
    return rows


def cases(n: int, shares: Sequence[float] | None = None, seed: int = 1) -> list[dict[str, Any]]:
    """Eval cases about the topics, in proportion to `shares`."""
    rng = np.random.default_rng(seed)
    p = np.array(shares or [1 / len(TOPICS)] * len(TOPICS))
    topics = rng.choice(len(TOPICS), n, p=p / p.sum())
    return [
        {"case_id": f"case-{i:03d}", "input": question(int(topic), rng), "category": TOPICS[topic]}
        for i, topic in enumerate(topics)
    ]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def quick_settings(home: Path, **sections: Any) -> Settings:
    """Settings for a small home: no model, no UMAP."""
    return Settings(
        home=home,
        embedding=EmbeddingSettings(model="hashing"),
        taxonomy=TaxonomySettings(method="kmeans", min_clusters=6, max_clusters=20),
        sampling=SamplingSettings(sessions=400),
        coverage=CoverageSettings(resamples=199),
        **sections,
    )


LAST_WEEK = FIRST_DAY + timedelta(weeks=5)
"""Start of the sixth week."""


@pytest.fixture(autouse=True)
def own_dagster_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every home have its own Dagster instance."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    yield
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture(scope="session", autouse=True)
def without_syncing() -> Iterator[None]:
    """Let Dagster's databases not wait for the disk: no test outlives a power cut."""

    def hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


def import_rows(settings: Settings, kind: Any, rows: list[dict[str, Any]], name: str) -> None:
    path = write_jsonl(settings.home.parent / f"{settings.home.name}-in" / f"{name}.jsonl", rows)
    if kind == "traces":
        ingest_traces([path], settings)
    else:
        ingest_evals(kind, [path], settings)


def results(run: str, at: datetime, rate: float = 0.8) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [
        {
            "run_id": run, "case_id": case["case_id"], "passed": bool(rng.random() < rate),
            "at": at.isoformat() + "Z", "latency_ms": 300.0, "cost_usd": 0.002, "judge_id": "j-1",
        }
        for case in cases(60)
    ]  # fmt: skip


SCORE = ("evals", "judges", "sampling", "embedding", "taxonomy", "coverage")
"""Groups of assets that the score of a week is made of."""
SCORES = (*SCORE, "sessions")
"""Those of the scores of its queries and of its whole sessions."""


def score_week(
    settings: Settings,
    week: datetime,
    until: datetime | None = None,
    *,
    groups: Sequence[str] = (),
    job: str = "weekly_coverage",
) -> None:
    """Run what a test is about of a weekly job, and publish; no report is written, nor a record.

    `run_weeks` runs all of it, as people do.

    Args:
        settings: of a home with traffic.
        week: a day of the first week.
        until: one of the last week; the first is the only one by default.
        groups: of the assets that are made; all but the report by default.
        job: which one.
    """
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.defs.automation.jobs import REFIT

    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    weeks = [week_of(day.date()) for day in (week, until or week)]
    ops = REFIT if job == "monthly_taxonomy" else None
    with dg.DagsterInstance.ephemeral() as on:
        jobs.run_job(settings, job, on, partitions=weeks, ops=ops, only=_assets(job, groups))
    publish(settings)


def _assets(job: str, groups: Sequence[str]) -> list[str]:
    from evalcov_pipeline.definitions import defs

    graph = defs.resolve_asset_graph()
    group = {
        key.to_user_string(): graph.get(key).group_name
        for key in defs.resolve_job_def(job).asset_layer.selected_asset_keys
    }
    return sorted(key for key in group if (group[key] in groups if groups else key not in LAST))


LAST = ("published", "coverage_report")
"""Assets that end every job."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of the test run fills, for all of them to read.

    Args:
        factory: of the folders of the test run.
        name: of the folder.
        make: fills it.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, made = root / name, root / f"{name}.made"
    with locked(root / f"{name}.lock", "a folder of the tests", timeout_s=250):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one who failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def filled_once(
    factory: pytest.TempPathFactory, name: str, fill: Callable[[Settings], object], **sections: Any
) -> Settings:
    """A home that one process of the test run fills, for all of them to read.

    Args:
        factory: of the folders of the test run.
        name: of the home.
        fill: fills it.
        sections: of its settings.
    """

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("DAGSTER_HOME", raising=False)
            fill(quick_settings(folder / "home", **sections))
            patch.delenv("DAGSTER_HOME", raising=False)

    return quick_settings(made_once(factory, name, make) / "home", **sections)


def copied(settings: Settings, folder: Path) -> Settings:
    """A copy of a home, to be changed."""
    shutil.copytree(settings.home, folder / "home")
    return settings.model_copy(update={"home": folder / "home"})


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home that has its tables and nothing else."""

    def fill(settings: Settings) -> None:
        with warehouse_of(settings).writer():
            pass

    return filled_once(tmp_path_factory, "empty", fill)


@pytest.fixture
def new_home(empty: Settings, tmp_path: Path) -> Settings:
    """That home, to be filled: its tables take a quarter of a second to make."""
    return copied(empty, tmp_path)


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Six weeks of traffic, a proportional suite with results, the last two weeks scored.

    Nothing speaks of failures there, so nobody is asked about any.
    """
    from evalcov_pipeline.cli.run import run_weeks

    def fill(settings: Settings) -> None:
        import_rows(settings, "traces", turns(), "traffic")
        import_rows(settings, "evals", cases(60), "suite")
        import_rows(settings, "results", results("run-1", LAST_WEEK), "results")
        run_weeks(settings, "weekly_coverage", (LAST_WEEK - timedelta(days=7)).date())
        run_weeks(settings, "weekly_coverage", LAST_WEEK.date())

    silent = FailureSettings(off=tuple(STRENGTHS))
    return filled_once(tmp_path_factory, "scored", fill, failures=silent)


@pytest.fixture(scope="session")
def without_suite(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A week of traffic, scored without a suite."""
    from evalcov_pipeline.cli.run import run_weeks

    def fill(settings: Settings) -> None:
        import_rows(settings, "traces", turns(weeks=1), "traffic")
        run_weeks(settings, "weekly_coverage")

    return filled_once(tmp_path_factory, "without-suite", fill)


@pytest.fixture
def copy(scored: Settings, tmp_path: Path) -> Settings:
    """The scored home, to be changed."""
    return copied(scored, tmp_path)


def tasks(questions: Sequence[Mapping[str, Any]], **fields: Any) -> pl.DataFrame:
    """Rows of `annotation_queue` named task-0, task-1 ...; `fields` hold for all of them.

    Args:
        questions: at least text and text_hash of each task.
        fields: columns that differ from the usual ones.
    """
    usual = {
        "plan_id": "plan-1", "batch_id": None, "purpose": "new_case", "context": None,
        "answer": "Here is how.", "cluster_id": 0, "cluster_key": "c-0",
        "cluster_label": "parcels", "category": None, "reason": "largest gap", "source": "generic",
        "trace_id": None, "turn_index": 0, "designed": True, "status": "open", "route": "default",
        "priority": 1.0, "raters_wanted": 1, "suggestion": None, "case_id": None,
        "created_at": LAST_WEEK + timedelta(days=8), "resolved_at": None,
    }  # fmt: skip
    return pl.DataFrame(
        [
            usual | {"task_id": f"task-{number}"} | fields | dict(question)
            for number, question in enumerate(questions)
        ],
        infer_schema_length=None,
    )


CONTEXT = orjson.dumps(
    [
        {"role": "user", "content": "Hello, I have a question."},
        {"role": "assistant", "content": "How can I help?"},
    ]
).decode()
"""What was said before a queued query: JSON as in `annotation_queue.context`."""


@pytest.fixture(scope="session")
def queued(scored: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A scored home that asks about six sampled queries, task-0 to task-5.

    task-1 has a context, task-2 wants two raters, task-3 lies on the route payments, task-4 is for
    calibration, and task-5 carries a suggestion.
    """
    special: list[dict[str, Any]] = [
        {},
        {"context": CONTEXT, "turn_index": 1},
        {"raters_wanted": 2},
        {"route": "payments", "priority": 2.0},
        {"purpose": "calibration", "plan_id": None, "batch_id": "batch-1", "designed": False},
        {"suggestion": orjson.dumps({"keep": True, "category": "parcels", "by": "near"}).decode()},
    ]

    def fill(settings: Settings) -> None:
        shutil.copytree(scored.home, settings.home)
        with warehouse_of(settings).writer() as con:
            queries = frame(
                con,
                "SELECT text, text_hash, arg_min(trace_id, started_at) AS trace_id"
                " FROM trace_sample JOIN texts USING (text_hash)"
                " GROUP BY text, text_hash ORDER BY text_hash LIMIT ?",
                [len(special)],
            ).to_dicts()
            enqueue(con, tasks([a | b for a, b in zip(queries, special, strict=True)]))
        publish(settings)

    return filled_once(tmp_path_factory, "queued", fill, failures=scored.failures)


@pytest.fixture
def queued_home(queued: Settings, tmp_path: Path) -> Settings:
    """That home, to be changed."""
    return copied(queued, tmp_path)
