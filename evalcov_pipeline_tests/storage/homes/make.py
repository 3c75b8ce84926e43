"""Makes the small home that a release leaves behind as a fixture: `README.md` says how to run it.

It speaks to the release through its command line alone, so it works with any release whose commands
keep their names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from datetime import timedelta
from pathlib import Path

from evalcov_pipeline_tests.conftest import FIRST_DAY, cases, results, turns, write_jsonl

SETTINGS = {
    "EVALCOV_CONFIG": os.devnull,
    "EVALCOV_EMBEDDING__MODEL": "hashing",
    "EVALCOV_TAXONOMY__METHOD": "kmeans",
    "EVALCOV_TAXONOMY__MIN_CLUSTERS": "2",
    "EVALCOV_TAXONOMY__MAX_CLUSTERS": "4",
    "EVALCOV_SESSIONS__MIN_CLUSTERS": "2",
    "EVALCOV_SESSIONS__MAX_CLUSTERS": "4",
    "EVALCOV_COVERAGE__RESAMPLES": "99",
    "HF_HUB_OFFLINE": "1",
}
"""Settings under which the home was filled; a test that goes on with it uses the same."""
WEEKS = 3


def main(target: Path) -> None:
    """Fill a home with all that a home holds, and pack it at `target`."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        _fill(home, Path(folder, "in"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(target, "w:xz", preset=9) as packed:
            for path in sorted(home.rglob("*")):
                if path.is_file() and not path.name.endswith(("-wal", "-shm", "lock")):
                    packed.add(path, str(path.relative_to(home)))
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB")


def _fill(home: Path, inputs: Path) -> None:
    """Three weeks of traffic, a suite with results, verdicts, labels, incidents and a refresh."""
    traffic = turns(weeks=WEEKS, sessions_per_day=3)
    suite = [{**case, "created_at": FIRST_DAY.isoformat()} for case in cases(20)]
    run = results("run-1", FIRST_DAY + timedelta(days=8))
    verdicts = [
        {"item_id": case["case_id"], "case_id": case["case_id"], "category": case["category"]}
        | {"judge_id": "j-1", "passed": number % 4 != 0, "at": run[0]["at"]}
        for number, case in enumerate(suite)
    ]
    labels = [
        {"item_id": verdict["item_id"], "rater": "r-1", "passed": number % 3 != 0}
        | {"at": run[0]["at"]}
        for number, verdict in enumerate(verdicts)
    ]
    incidents = [
        {"incident_id": "i-1", "title": "wrong parcel", "trace_ids": ["t-0-0-0"]},
        {"incident_id": "i-2", "title": "refund", "cases": [{"input": "hi", "expected": "ho"}]},
    ]

    def read(kind: str, rows: list[dict[str, object]]) -> None:
        _evalcov(home, "ingest", kind, str(write_jsonl(inputs / f"{kind}.jsonl", rows)))

    read("traces", traffic)
    read("evals", suite)
    read("results", run)
    last = FIRST_DAY + timedelta(weeks=WEEKS - 1)
    _evalcov(home, "run", "monthly", "--as-of", f"{last - timedelta(weeks=1):%Y-%m-%d}")
    read("verdicts", verdicts)
    read("annotations", labels)
    read("incidents", incidents)
    _evalcov(home, "run", "weekly", "--as-of", f"{last:%Y-%m-%d}")
    _evalcov(home, "refresh", "--budget", "5")
    _evalcov(home, "publish")


def _evalcov(home: Path, *arguments: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EVALCOV_", "DAGSTER"))}
    subprocess.run(
        [sys.executable, "-m", "evalcov_pipeline", *arguments],
        env={**environment, **SETTINGS, "EVALCOV_HOME": str(home)},
        check=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
