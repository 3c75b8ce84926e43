"""The refresh loop on real input, through the command line and the sensor.

Six weeks of Banking77 traffic (see `banking77.py`) and a suite of 3 of 10 groups of intents, which
misses about 60 % of it. The fifth week is scored; the sensor `coverage_degraded` is ticked on the
home's own Dagster instance, and the run that it asks for is launched; the queue leaves as Label
Studio tasks and comes back labelled; the sixth week is scored, with the cases and, in a copy of the
home, without.

The true intent of a query plays the people: it is the category of the label. One query in five is
rejected at random. The pipeline never sees intents before that.

    before     jsd_adjusted of the fifth week
    expected   the plan's projection for the budget
    reached    jsd_adjusted of the sixth week, whose traffic the plan did not know
    without    the same without the new cases
    true       intent-level divergence of the sixth week's window, without and with the new cases
    missing    share of the sixth week's window in intents without a case, without and with them

    python benchmarks/refresh_loop.py --data ../shared/data [--seeds 4] [--cases 150] [--budget 150]
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import banking77
import click
import duckdb
import numpy as np
import polars as pl
from vectors import embedded, give

from evalcov_pipeline.core.coverage.divergence import jsd
from evalcov_pipeline.core.text.normalise import text_hash
from evalcov_pipeline.settings import Settings

OUT = Path(__file__).parent / "out"
REJECTED = 0.2
FIFTH, SIXTH = "2026-10-26", "2026-11-02"


def ticks(settings: Settings) -> list[dict]:
    """Run configurations that `coverage_degraded` asks for in one tick, each launched."""
    import dagster as dg

    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.definitions import build_definitions

    os.environ.pop("DAGSTER_HOME", None)
    sensor = build_definitions(settings).resolve_sensor_def("coverage_degraded")
    cursor = settings.home / "cursor.txt"
    with jobs.instance(settings) as instance:
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursor.read_text() if cursor.exists() else None,
            resources={"settings": settings},
        )
        found = sensor.evaluate_tick(context)
        cursor.write_text(found.cursor or "")
        for request in found.run_requests:
            jobs.run_job(settings, "refresh", instance, ops=request.run_config["ops"])
    os.environ.pop("DAGSTER_HOME", None)
    return [request.run_config for request in found.run_requests]


def label(home: Path, intent_of: dict[str, str], rng: np.random.Generator, log: Path) -> int:
    """Label the queue through Label Studio's format; how many queries it held."""
    tasks = home / "tasks.json"
    export = ("export", "queue", "--format", "labelstudio", "--out", str(tasks))
    banking77.evalcov(home, *export, log=log)
    rows = json.loads(tasks.read_text())
    for number, task in enumerate(rows):
        keep = "reject" if rng.random() < REJECTED else "keep"
        intent = intent_of.get(text_hash(task["data"]["query"]), "unknown")
        task |= {
            "id": number,
            "annotations": [
                {
                    "id": number,
                    "completed_by": {"email": "rater@example.com"},
                    "was_cancelled": False,
                    "created_at": "2026-11-03T09:00:00Z",
                    "updated_at": "2026-11-03T09:00:00Z",
                    "result": [
                        _result("keep", "choices", {"choices": [keep]}),
                        _result("passed", "choices", {"choices": ["pass"]}),
                        _result("category", "textarea", {"text": [intent]}),
                    ],
                }
            ],
        }
    done = home / "labelled.json"
    done.write_text(json.dumps(rows))
    banking77.evalcov(home, "ingest", "annotations", str(done), log=log)
    return len(rows)


def _result(name: str, kind: str, value: dict) -> dict:
    return {"id": name, "from_name": name, "to_name": "query", "type": kind, "value": value}


def score_of(home: Path, week: str) -> dict:
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        rows = con.execute(
            "SELECT * FROM coverage_scores WHERE headline AND as_of = $1::TIMESTAMP + to_days(7)",
            [week],
        ).pl()
    return rows.to_dicts()[0]


def against_truth(home: Path, intent_of: dict[str, str], names: list[str]) -> dict:
    """Intent-level divergence and missing share of the sixth week's window, by suite."""
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        traffic = con.execute(
            "SELECT text_hash, sum(steady_weight) AS weight FROM trace_sample"
            " WHERE as_of = ?::TIMESTAMP + INTERVAL 7 DAY GROUP BY text_hash",
            [SIXTH],
        ).fetchall()
        cases = con.execute(
            "SELECT text_hash, plan_id IS NULL FROM eval_cases WHERE status = 'active'"
        ).fetchall()
    place = {name: index for index, name in enumerate(names)}
    p = np.zeros(len(names))
    for key, weight in traffic:
        p[place[intent_of[key]]] += weight
    p /= p.sum()
    old, both = np.zeros(len(names)), np.zeros(len(names))
    for key, is_old in cases:
        both[place[intent_of[key]]] += 1
        old[place[intent_of[key]]] += is_old
    return {
        "true_without": jsd(p, old / old.sum()),
        "true_with": jsd(p, both / both.sum()),
        "missing_without": float(p[old == 0].sum()),
        "missing_with": float(p[both == 0].sum()),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--cases", default=150, show_default=True)
@click.option("--budget", default=150, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for homes and logs.")
def main(data: Path, seeds: int, cases: int, budget: int, keep: Path | None) -> None:
    root = keep or Path(tempfile.mkdtemp(prefix="refresh-loop-"))
    root.mkdir(parents=True, exist_ok=True)
    os.environ["EVALCOV_REFRESH__BUDGET"] = str(budget)
    corpus = banking77.read_corpus(data / "banking77")
    hashes, vectors = embedded("banking77", corpus.texts)
    groups = banking77.intent_groups(corpus, vectors)
    intent_of = {h: corpus.names[i] for h, i in zip(hashes, corpus.intents, strict=True)}
    rows = []
    for seed in range(seeds):
        home, log = root / f"seed-{seed}", root / f"seed-{seed}.log"
        traffic = banking77.make_traffic(corpus, seed, root / f"traffic-{seed}")
        give("banking77", home)
        p = traffic.daily[5:35].mean(axis=0)
        q = banking77.suite_distribution("severe", p, p, groups, seed)
        banking77.write_suite(corpus, q, cases, seed, home / "suite.jsonl")
        settings = Settings(home=home)
        banking77.evalcov(home, "ingest", "traces", str(root / f"traffic-{seed}"), log=log)
        banking77.evalcov(home, "ingest", "evals", str(home / "suite.jsonl"), log=log)
        banking77.evalcov(home, "run", "weekly", "--as-of", FIFTH, log=log)
        before = score_of(home, FIFTH)
        asked = [len(ticks(settings)), len(ticks(settings))]
        without = root / f"seed-{seed}-without"
        shutil.copytree(home, without)
        drawn = label(home, intent_of, np.random.default_rng([seed, 9]), log)
        for place in (home, without):
            banking77.evalcov(place, "run", "weekly", "--as-of", SIXTH, log=log)
        asked.append(len(ticks(settings)))
        with duckdb.connect(home / "published.duckdb", read_only=True) as con:
            plan = con.sql("SELECT * FROM refresh_plans").pl().to_dicts()[0]
        after = score_of(home, SIXTH)
        rows.append(
            {
                "seed": seed,
                "degraded": before["degraded"],
                "asked": "/".join(map(str, asked)),
                "drawn": drawn,
                "kept": plan["n_kept"],
                "before": before["jsd_adjusted"],
                "expected": plan["jsd_projected"],
                "reached": after["jsd_adjusted"],
                "without": score_of(without, SIXTH)["jsd_adjusted"],
                "still_degraded": after["degraded"],
                **against_truth(home, intent_of, corpus.names),
            }
        )
        click.echo(json.dumps(rows[-1], default=float), err=True)
    table = pl.DataFrame(rows, infer_schema_length=None)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, float_precision=3):
        click.echo(f"{cases} cases, {budget} asked for; one in five rejected")
        click.echo(table)
        error = (table["reached"] - table["expected"]).abs().mean()
        click.echo(f"mean absolute error of the projection: {error:.3f}")
    OUT.mkdir(exist_ok=True)
    (OUT / "refresh_loop.json").write_text(json.dumps(rows, indent=1, default=float))


if __name__ == "__main__":
    main()
