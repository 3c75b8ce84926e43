"""Dagster's own daemon over a small home, sensors on: what do degraded scores and labels lead to?

Starts `dagster-daemon`, switches the sensors on by the command that people use, and plants what
people and weekly runs would write: a file in the inbox, degraded scores, labels that reject every
task, a score that does not exist. Counts the runs that come of it, and the messages that a local
webhook gets.

    python benchmarks/automation.py              # eight minutes or so
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import dagster as dg

from evalcov_pipeline_tests.conftest import LAST_WEEK, cases, import_rows, turns, write_jsonl

OUT = Path(__file__).parent / "out" / "automation.json"
MODULE = "evalcov_pipeline.definitions"
INTERVAL_S = 30
PATIENCE_S = 240
TAXONOMY = "planted"
QUICK = {
    "EVALCOV_EMBEDDING__MODEL": "hashing",
    "EVALCOV_TAXONOMY__METHOD": "kmeans",
    "EVALCOV_TAXONOMY__MIN_CLUSTERS": "6",
    "EVALCOV_TAXONOMY__MAX_CLUSTERS": "20",
    "EVALCOV_SAMPLING__SESSIONS": "400",
    "EVALCOV_COVERAGE__RESAMPLES": "199",
}


@dataclass
class Stage:
    """One thing that happens, and the runs that have to come of it."""

    what: str
    happen: Callable[[], None]
    runs: dict[tuple[str, str], int]
    messages: int
    seconds: float = 0.0
    got: dict[str, Any] = field(default_factory=dict)

    @property
    def as_expected(self) -> bool:
        return self.got == {"runs": self.runs, "messages": self.messages}


@click.command(help=__doc__)
@click.option("--first", type=int, help="Only so many of the things that happen.")
def main(first: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder, webhook() as (url, told):
        os.environ |= QUICK | {
            "EVALCOV_HOME": f"{folder}/home",
            "EVALCOV_CONFIG": os.devnull,
            "EVALCOV_ALERTS__WEBHOOK": url,
        }
        from evalcov_pipeline.cli import jobs
        from evalcov_pipeline.cli.run import run_weeks
        from evalcov_pipeline.settings import get_settings

        settings = get_settings()
        import_rows(settings, "traces", turns(), "traffic")
        import_rows(settings, "evals", cases(60), "suite")
        run_weeks(settings, "weekly_coverage", LAST_WEEK.date())
        with daemon(Path(folder)), jobs.instance(settings) as instance:
            before = len(instance.get_runs())
            stages = list(plan(settings, instance))[:first]
            for stage in stages:
                run_stage(stage, instance, before, told)
                before += sum(stage.runs.values())
                if not stage.as_expected:
                    break
    report(stages, told)
    sys.exit(not all(stage.as_expected for stage in stages))


def plan(settings: Any, instance: dg.DagsterInstance) -> Iterator[Stage]:
    """What happens, in order."""
    end = LAST_WEEK + timedelta(days=7)

    def score(as_of: datetime, degraded: bool) -> None:
        facts = {
            "as_of": as_of.isoformat(), "taxonomy": TAXONOMY, "degraded": degraded,
            "jsd_adjusted": 0.4 if degraded else 0.1,
        }  # fmt: skip
        instance.report_runless_asset_event(
            dg.AssetMaterialization("coverage_scores", metadata=facts)
        )

    def land() -> None:
        rows = [
            {
                "trace_id": f"landed-{day}",
                "started_at": f"{LAST_WEEK + timedelta(days=day, hours=9)}Z",
                "query_text": "how do i track parcel delivery",
            }
            for day in range(3)
        ]
        path = write_jsonl(settings.inbox / "traces" / "landed.jsonl", rows)
        path.with_name(f"{path.name}.done").touch()

    yield Stage(
        "a file of traces lands in the inbox",
        land,
        {("ingest_inbox", "SUCCESS"): 1, ("daily_traces", "SUCCESS"): 1},
        0,
    )
    refreshed = {("refresh", "SUCCESS"): 1}
    yield Stage("a degraded score", lambda: score(end, True), refreshed, 1)
    yield Stage("the same week, still degraded", lambda: score(end, True), {}, 1)
    yield Stage(
        "every task labelled; the score that follows is good",
        lambda: reject_all(settings, instance),
        {("weekly_coverage", "SUCCESS"): 1},
        2,
    )
    yield Stage("degraded again", lambda: score(end, True), refreshed, 3)

    def recover_and_fail() -> None:
        reject_all(settings, instance, decided=0)
        score(end, False)
        score(end + timedelta(days=7), True)

    yield Stage(
        "recovered, then a degraded week whose refresh cannot be planned",
        recover_and_fail,
        {("refresh", "FAILURE"): 3},
        4,
    )


def reject_all(settings: Any, instance: dg.DagsterInstance, decided: int = 1) -> None:
    """Label every task that waits, as `evalcov ingest annotations` would, and tell."""
    from evalcov_pipeline.services.home import warehouse_of
    from evalcov_pipeline.services.labels.queue import record_labels, tasks_for
    from evalcov_pipeline.services.traffic.texts import redactor

    with warehouse_of(settings).writer() as con:
        labels = [
            {"task_id": task_id, "rater": "ada", "keep": False}
            for task_id in tasks_for(con)["task_id"]
        ]
        record_labels(
            con,
            labels,
            via="benchmark",
            recorded_at=datetime.now(),
            redact_all=redactor(settings.redaction),
        )
    facts = {"tasks_decided": decided and max(len(labels), 1), "tasks_waiting": 0}
    instance.report_runless_asset_event(dg.AssetMaterialization("annotations", metadata=facts))


def run_stage(stage: Stage, instance: dg.DagsterInstance, before: int, told: list[str]) -> None:
    """Let it happen, wait for its runs, then for two more ticks, so that one too many is seen."""
    began = time.perf_counter()
    stage.happen()
    wanted = before + sum(stage.runs.values())

    def settled() -> bool:
        runs = instance.get_runs()
        return len(runs) >= wanted and all(run.is_finished for run in runs)

    while not settled() and time.perf_counter() - began < PATIENCE_S:
        time.sleep(0.5)
    stage.seconds = time.perf_counter() - began
    time.sleep(2 * INTERVAL_S + 10)
    counted: dict[tuple[str, str], int] = {}
    for run in instance.get_runs()[: len(instance.get_runs()) - before]:
        key = (run.job_name, run.status.value)
        counted[key] = counted.get(key, 0) + 1
    stage.got = {"runs": counted, "messages": len(told)}


@contextmanager
def daemon(folder: Path) -> Iterator[None]:
    """Run Dagster's daemon with every sensor on."""
    binaries = Path(sys.executable).parent
    subprocess.run(
        [binaries / "dagster", "sensor", "start", "--start-all", "-m", MODULE],
        check=True,
        capture_output=True,
    )
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "dagster-daemon", "run", "-m", MODULE], stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def webhook() -> Iterator[tuple[str, list[str]]]:
    """Listen as a chat's webhook would; its address, and what it was told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", told
    finally:
        server.shutdown()


def report(stages: list[Stage], told: list[str]) -> None:
    """Print the table and write it as JSON."""
    rows = []
    for stage in stages:
        runs = {f"{job} {status}": n for (job, status), n in stage.got.get("runs", {}).items()}
        rows.append(
            {
                "what": stage.what,
                "runs": runs,
                "messages": stage.got.get("messages"),
                "seconds": round(stage.seconds, 1),
                "as_expected": stage.as_expected,
            }
        )
        shown = ", ".join(f"{n} x {name}" for name, n in runs.items()) or "no run"
        mark = "ok" if stage.as_expected else "WRONG"
        click.echo(f"{mark:<6}{stage.seconds:6.1f} s  {stage.what}: {shown}")
    for text in told:
        click.echo(f"  told: {text}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"stages": rows, "told": told}, indent=1))


if __name__ == "__main__":
    main()
