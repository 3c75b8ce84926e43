"""How fast, and how fat, are the features of all sessions of a month?

    bare      the turns per session, counted over the same files: the least that has to be done
    features  `session_features` of every session of the lake, one row each, and their tools
    n-grams   `tool_ngrams` of every session, counted as they stream by

Sessions of 1 + geometric turns, 3.7 in the mean, over 30 days and across midnights, in the lake's
own layout; 1.5 tool calls per turn among 40 tools. Reading the files is part of each figure, and
texts get a plain hash there: in the weekly run their names are known from the sample.

Each figure is of a process of its own, with its peak memory; wall time is the best of the repeats,
which go round the sizes in turn. Linear growth means a ratio of 1: seconds per session at the
largest size over those at the smallest.

Usage: python benchmarks/session_speed.py [--sessions 100000]... [--repeats 2] [--scratch FOLDER]
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
import pyarrow.parquet as pq
from speed import clock, machine

from evalcov_pipeline.core.sessions.features import STEPS, session_features
from evalcov_pipeline.core.sessions.space import tool_ngrams
from evalcov_pipeline.core.traffic.feedback import rejected
from evalcov_pipeline.core.traffic.turns import TURNS
from evalcov_pipeline.storage.lake import scan_turns

OUT = Path(__file__).parent / "out" / "session_speed.json"
SEED, DAYS, MEAN_TURNS, TOOLS = 11, 30, 3.7, 40
FIRST_DAY = datetime(2026, 9, 1)


def write_lake(lake: Path, sessions: int) -> dict[str, Any]:
    """Turns of `sessions` sessions, in one file per day."""
    rng = np.random.default_rng(SEED)
    length = rng.geometric(1 / MEAN_TURNS, sessions)
    session = np.repeat(np.arange(sessions), length)
    n = len(session)
    step = np.arange(n) - np.repeat(np.cumsum(length) - length, length)
    second = rng.integers(0, DAYS * 86_400, sessions)[session] + 90 * step
    calls = np.minimum(rng.poisson(1.5, n), 6)
    names = pl.Series([f"tool_{i:02}" for i in range(TOOLS)])
    tools = names[np.minimum(rng.zipf(1.3, calls.sum()) - 1, TOOLS - 1)]
    called = pl.DataFrame({"turn": np.repeat(np.arange(n), calls), "tool_calls": tools})
    last = step == length[session] - 1
    turns = (
        pl.select(
            turn=pl.Series(np.arange(n)),
            source=pl.repeat("otlp", n),
            trace_id=pl.Series(rng.permutation(n)).cast(pl.String).str.zfill(32),
            session_id="s-" + pl.Series(session).cast(pl.String),
            session_key=pl.Series(session).hash(SEED),
            started_at=pl.lit(FIRST_DAY) + pl.duration(seconds=pl.Series(second)),
            query_text="where is parcel " + pl.Series(rng.integers(0, 10**5, n)).cast(pl.String),
            answer_text=pl.repeat("It is on its way and arrives tomorrow. " * 4, n),
            context_tokens=pl.Series(200 * (step + 1) + rng.integers(0, 400, n)),
            latency_ms=pl.Series(rng.gamma(2, 900, n)),
            cost_usd=pl.Series(rng.gamma(2, 1e-4, n)),
            error_type=pl.when(pl.Series(rng.random(n) < 0.02)).then(pl.lit("timeout")),
            outcome=pl.when(pl.Series(last & (rng.random(n) < 0.6))).then(
                pl.Series(rng.choice(["success", "abandoned"], n).tolist())
            ),
            tool_failures=pl.Series((rng.random(n) < 0.05).astype(np.int64)),
        )
        .with_columns(span_id="trace_id", ended_at=pl.col("started_at") + pl.duration(seconds=2))
        .join(called.group_by("turn").agg("tool_calls"), on="turn", how="left")
        .sort("started_at", "trace_id")
    )
    schema = {**TURNS, "tool_failures": pl.Int64()}
    missing = [
        pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in turns.columns
    ]
    turns = turns.with_columns(*missing, pl.col("tool_calls").fill_null([])).cast(schema)
    for (day,), rows in turns.group_by(pl.col("started_at").dt.date(), maintain_order=True):
        target = lake / "traces" / f"date={day}" / "part-0.parquet"
        target.parent.mkdir(parents=True)
        rows.select(*schema).write_parquet(target, compression="zstd")
    return {"turns": n, "bytes": sum(file.stat().st_size for file in lake.rglob("*.parquet"))}


def bare(lake: Path) -> dict[str, Any]:
    """Turns per session."""
    found: dict[str, Any] = {}
    with clock(found):
        counted = scan_turns(lake).group_by("session_key").len().collect(engine="streaming")
    return found | {"sessions": len(counted)}


def features(lake: Path) -> dict[str, Any]:
    """Features of every session; the tools are kept for `ngrams`."""
    found: dict[str, Any] = {}
    with clock(found):
        steps = scan_turns(lake).select(
            "session_key", "started_at", "ended_at", "tool_calls", "tool_failures",
            "context_tokens", "latency_ms", "cost_usd", "error_type", "outcome",
            step=pl.col("started_at").cast(pl.Int64),
            text_hash=pl.col("query_text").hash(SEED).cast(pl.String),
            query_chars=pl.col("query_text").str.len_chars().cast(pl.Int64),
            answer_chars=pl.col("answer_text").str.len_chars().cast(pl.Int64),
            answered=pl.col("answer_text").is_not_null(),
            rejected=rejected(pl.col("feedback")),
            rephrased=pl.lit(None, pl.Boolean),
        )  # fmt: skip
        rows = session_features(steps.select(STEPS.names())).collect(engine="streaming")
    rows.select("tools").write_parquet(lake / "tools.parquet")
    return found | {"sessions": len(rows), "turns": int(rows["n_turns"].sum())}


def ngrams(lake: Path) -> dict[str, Any]:
    """n-grams of tool calls of every session."""
    found: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    with clock(found):
        for batch in pq.ParquetFile(lake / "tools.parquet").iter_batches(20_000):
            for tools in batch.column("tools").to_pylist():
                counts.update(tool_ngrams(tools))
    return found | {"ngrams": len(counts)}


def alone(task: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a task finds in a process of its own, and that process's peak memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(task, *arguments).result()
        peak = pool.submit(resource.getrusage, resource.RUSAGE_SELF).result().ru_maxrss
    return found | {"peak_mb": peak / 1024}


@click.command(help=__doc__)
@click.option("--sessions", "sizes", type=int, multiple=True, default=[100_000, 300_000, 1_000_000])
@click.option("--repeats", default=2, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path, exists=True))
def main(sizes: tuple[int, ...], repeats: int, scratch: Path | None) -> None:
    """Measure every task at every size."""
    where, load = machine(), [os.getloadavg()[0]]
    rows = []
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        lakes = {size: Path(folder) / str(size) for size in sizes}
        written = {size: alone(write_lake, lake, size) for size, lake in lakes.items()}
        click.echo(f"{where['processors']} x {where['model']}")
        for task in (bare, features, ngrams):
            runs = [{size: alone(task, lakes[size]) for size in sizes} for _ in range(repeats)]
            best = {
                size: min((run[size] for run in runs), key=lambda r: r["wall_s"]) for size in sizes
            }
            for size, row in best.items():
                rows.append({"task": task.__name__, "of": size, **row, "lake": written[size]})
                click.echo(
                    f"{task.__name__:<9} {size:>9,} sessions {row['wall_s']:>7.2f} s wall"
                    f" {row['cpu_s']:>7.2f} s CPU {row['peak_mb']:>6,.0f} MB peak"
                    f" {size / row['wall_s']:>10,.0f} sessions/s"
                )
            small, large = min(sizes), max(sizes)
            growth = {
                name: best[large][name] / best[small][name] / (large / small)
                for name in ("wall_s", "cpu_s", "peak_mb")
            }
            rows.append({"task": task.__name__, "growth": growth})
            load.append(os.getloadavg()[0])
            click.echo(
                f"{'':<9} growth {growth['wall_s']:.2f} wall, {growth['cpu_s']:.2f} CPU;"
                f" load average {load[-2]:.1f} before, {load[-1]:.1f} after"
            )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(
        json.dumps({"machine": where, "load": load, "seed": SEED, "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
