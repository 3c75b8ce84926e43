"""How fast and how fat: reading traces, compaction, sampling, projection, clustering, a week's run.

    ingest   files of the sample's spans, repeated under new trace ids, through `ingest_traces`:
             hash, read, stage, count duplicates, commit; beside it `orjson.loads` of the same lines
    compact  one day of a million spans, `compact_day`
    sample   `sample_week` (no redaction) of ten million turns of 30 days; beside it, in turn, the
             bare `SELECT session_id, min(started_at) ... GROUP BY session_id` over the same files
    project  10,000 vectors of 384 dimensions onto 80 clusters; beside it the bare matrix product
    fit      `discover` and `freeze` of 4,000 and 20,000 synthetic texts in 60 topics, with numba's
             compilation and with its cache
    weekly   `evalcov run weekly` on the sample, the first time (embedding, clustering) and again

Every measurement runs in a process of its own, so that its peak memory is its own; imports are
counted in memory, not in time, but for `weekly`. Wall time is the best of the repeats. Processor
time is of all threads. Ratios compare with what stands beside.

Usage: python benchmarks/speed.py [--part ingest]... [--quick] [--scratch FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

OUT = Path(__file__).parent / "out" / "speed.json"
SAMPLE = Path(__file__).parent.parent / "data" / "sample"
PACKAGES = ("polars", "duckdb", "pyarrow", "orjson", "numpy", "umap-learn", "numba", "dagster")
SEED, DAYS, TURNS_PER_SESSION = 7, 30, 2.5
FIRST_DAY = "2026-09-01"
MARKS = {"openinference": "openinference.span.kind", "genai": "gen_ai.operation.name", "both": ""}


# What is measured: each runs in a fresh process and returns what it found, as JSON.


@contextmanager
def clock(found):
    """Adds wall and processor seconds of the block to `found`."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    found["wall_s"] = time.perf_counter() - wall
    found["cpu_s"] = time.process_time() - cpu


def write_spans(path, style, spans, one_day=False):
    """OTLP lines of the sample in one attribute style, repeated under new trace ids."""
    import gzip
    import re

    content = [gzip.decompress(file.read_bytes()) for file in (SAMPLE / "traces").glob("*.gz")]
    lines = b"".join(sorted(content)).decode().splitlines(keepends=True)
    lines = [line for line in lines if MARKS[style] in line]
    if one_day:
        start, day = 1_788_220_800 * 10**9, 86_400 * 10**9
        lines = [
            re.sub(r'UnixNano":"(\d+)', lambda m: f'UnixNano":"{start + int(m[1]) % day}', line)
            for line in lines
        ]
    trace_id, written, copy = re.compile(r'"traceId":"([0-9a-f]{4})'), 0, 0
    with Path(path).open("w") as out:
        while written < spans:
            for line in lines:
                moved = trace_id.sub(
                    lambda m, by=copy: f'"traceId":"{(int(m[1], 16) + by) % 65536:04x}', line
                )
                out.write(moved)
                written += line.count('"startTimeUnixNano"')
                if written >= spans:
                    break
            copy += 1
    return {"spans": written, "bytes": Path(path).stat().st_size}


def ingest(path, home):
    """Import a file into an empty home."""
    from evalcov_pipeline.services.imports.traces import ingest_traces
    from evalcov_pipeline.settings import Settings

    shutil.rmtree(home, ignore_errors=True)
    found = {}
    with clock(found):
        report = ingest_traces([path], Settings(home=home))
    return found | {"rows": report.accepted + report.duplicate, "rejected": report.rejected}


def parse(path):
    """Only parse the lines of a file."""
    import orjson

    found = {}
    with clock(found), Path(path).open("rb") as lines:
        for line in lines:
            orjson.loads(line)
    return found


def compact(home):
    """Compact the fullest day of a home, and count its rows."""
    from datetime import date

    from evalcov_pipeline.settings import Settings
    from evalcov_pipeline.storage.lake import compact_day

    found = {}
    with clock(found):
        report = compact_day(Settings(home=home).lake, date.fromisoformat(FIRST_DAY))
    return found | {"turns": report.turns}


def write_lake(home, turns):
    """Canonical turns of 30 days straight into the lake's layout."""
    from datetime import datetime, timedelta

    import numpy as np
    import polars as pl

    from evalcov_pipeline.core.traffic.turns import TURNS, with_session_keys
    from evalcov_pipeline.settings import Settings

    rng = np.random.default_rng(SEED)
    words = pl.Series(
        ["where", "is", "my", "parcel", "refund", "order", "cancel", "late", "please"]
    )
    n = turns // DAYS
    n_sessions = int(n / TURNS_PER_SESSION)

    def ids(count):
        return pl.Series(rng.integers(10**15, 10**16, count)).cast(pl.String)

    for number in range(DAYS):
        day = datetime.fromisoformat(FIRST_DAY) + timedelta(days=number)
        session = rng.integers(0, n_sessions, n)
        second = rng.integers(0, 86_000, n_sessions)[session] + rng.integers(0, 400, n)
        said = [words[rng.integers(0, len(words), n)] for _ in range(10)]
        frame = pl.select(
            source=pl.repeat("otlp", n),
            trace_id=ids(n) + ids(n),
            span_id=ids(n),
            session_id="s-" + ids(n_sessions)[session],
            started_at=pl.lit(day) + pl.duration(seconds=pl.Series(second)),
            query_text=pl.concat_str(said, separator=" "),
            answer_text=pl.concat_str(said * 3, separator=" "),
            latency_ms=pl.Series(rng.gamma(2, 900, n)),
            cost_usd=pl.Series(rng.gamma(2, 1e-4, n)),
        )
        frame = with_session_keys(frame)
        empty = [pl.lit(None, kind).alias(c) for c, kind in TURNS.items() if c not in frame.columns]
        target = Settings(home=home).lake / "traces" / f"date={day.date()}" / "part-0.parquet"
        target.parent.mkdir(parents=True)
        frame = frame.with_columns(empty).select(TURNS.names()).cast(TURNS)
        frame.sort("started_at", "trace_id").write_parquet(target, compression="zstd")
    return {"bytes": sum(file.stat().st_size for file in Path(home).rglob("*.parquet"))}


def group_by(home):
    """The least that a draw of sessions has to do."""
    from evalcov_pipeline.settings import Settings
    from evalcov_pipeline.storage.lake import lake_connection

    found = {}
    with lake_connection(Settings(home=home).lake) as lake, clock(found):
        query = "SELECT session_id, min(started_at) FROM turns GROUP BY session_id"
        found["sessions"] = lake.sql(query).pl().height
    return found


def sample(home):
    """Draw the sample of the window."""
    from datetime import datetime, timedelta

    from evalcov_pipeline.services.traffic.sampling import sample_week
    from evalcov_pipeline.settings import Settings

    as_of = datetime.fromisoformat(FIRST_DAY) + timedelta(days=DAYS)
    found = {}
    with clock(found):
        drawn = sample_week(Settings(home=home), as_of, list)
    return found | {"sessions": drawn.draw.n_available, "drawn": len(drawn.draw.sessions)}


def _topics(n, n_topics, seed):
    """Unit vectors around topics, cosine .6 within one, and their topics."""
    import numpy as np

    centres = np.random.default_rng(SEED).normal(size=(n_topics, 384))
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, n_topics, n)
    vectors = centres[topic] + 0.8 * rng.normal(size=(n, 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), topic.astype(np.int32)


def _hashes(first, n):
    return [f"{i:064x}" for i in range(first, first + n)]


def project(n):
    """Assign new texts to 80 clusters of 25 exemplars."""
    import numpy as np

    from evalcov_pipeline.core.taxonomy.taxonomy import assign, freeze

    vectors, topics = _topics(8_000, 80, SEED + 1)
    taxonomy = freeze(
        topics, vectors, _hashes(0, 8_000), np.zeros((8_000, 2)), embedding_fingerprint="x"
    )
    new, _ = _topics(n, 80, SEED + 2)
    found = {}
    with clock(found):
        assign(taxonomy, new, _hashes(10**6, n), embedding_fingerprint="x")
    return found | {"exemplars": len(taxonomy.exemplar_vectors)}


def product(n):
    """The matrix product behind a projection."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    left, right = rng.normal(size=(n, 384)), rng.normal(size=(2_000, 384))
    found = {}
    with clock(found):
        left @ right.T
    return found


def fit(n):
    """Find and freeze clusters."""
    import numpy as np

    from evalcov_pipeline.core.taxonomy.discovery import discover
    from evalcov_pipeline.core.taxonomy.taxonomy import freeze

    vectors, _ = _topics(n, 60, SEED)
    found = {}
    with clock(found):
        clusters = discover(vectors, np.full(n, 1 / n), seed=SEED)
        freeze(
            clusters.labels,
            vectors,
            _hashes(0, n),
            clusters.coordinates,
            embedding_fingerprint="x",
            seed=SEED,
        )
    return found | {"clusters": int(clusters.labels.max()) + 1}


def import_sample(home):
    """Import the committed sample."""
    from evalcov_pipeline.services.imports.evals import ingest_evals
    from evalcov_pipeline.services.imports.traces import ingest_traces
    from evalcov_pipeline.settings import Settings

    settings = Settings(home=home)
    ingest_traces([SAMPLE / "traces"], settings)
    ingest_evals("evals", [SAMPLE / "evals"], settings)
    ingest_evals("results", [SAMPLE / "results"], settings)
    return {}


def weekly(home):
    """`evalcov run weekly`, and the seconds of every Dagster step of it."""
    found = {}
    with clock(found):
        from evalcov_pipeline.cli import jobs
        from evalcov_pipeline.cli.run import run_weeks
        from evalcov_pipeline.settings import Settings

        settings = Settings(home=home)
        with jobs.instance(settings) as instance:
            known = {run.run_id for run in instance.get_runs()}
        imported = time.perf_counter()
        run_weeks(settings, "weekly_coverage")
        ran = time.perf_counter() - imported
    found["run_s"] = ran
    steps = {}
    with jobs.instance(settings) as instance:
        runs = [run for run in instance.get_runs() if run.run_id not in known]
        for run in runs:
            for step in instance.get_run_step_stats(run.run_id):
                seconds = step.end_time - step.start_time
                steps[step.step_key] = steps.get(step.step_key, 0.0) + seconds
    return found | {"steps": steps}


TASKS = {
    task.__name__: task
    for task in (
        write_spans, ingest, parse, compact, write_lake, group_by, sample, project, product, fit,
        import_sample, weekly,
    )
}  # fmt: skip


# How it is measured.


def measured(task, *, repeats=1, environment=None, **arguments):
    """What a task found in a fresh process, with its peak memory; the best wall of the repeats."""
    runs = []
    for _ in range(repeats):
        command = [sys.executable, __file__, "--task", task, json.dumps(arguments, default=str)]
        done = subprocess.run(
            command, env=os.environ | (environment or {}), stdout=subprocess.PIPE, check=True
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return min(runs, key=lambda run: run.get("wall_s", 0.0))


def run_task(task, arguments):
    """The child's side of `measured`."""
    import resource

    found = TASKS[task](**json.loads(arguments))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found | {"peak_mb": peak}))


def table_ingest(scratch, quick):
    """Speed by attribute style, memory by size."""
    path, home = scratch / "spans.jsonl", scratch / "ingest"
    sizes = [("both", 100_000)] if quick else [("both", n) for n in (100_000, 300_000, 1_000_000)]
    for style, spans in [("openinference", 100_000), ("genai", 100_000), *sizes]:
        written = measured("write_spans", path=path, style=style, spans=spans)
        repeats = 3 if spans == 100_000 and not quick else 1
        bare = measured("parse", path=path, repeats=repeats)
        row = measured("ingest", path=path, home=home, repeats=repeats)
        path.unlink()
        yield {
            "what": f"ingest {spans:,} spans, {style}",
            **row,
            "bytes": written["bytes"],
            "rate": f"{row['rows'] / row['wall_s']:,.0f} spans/s,"
            f" {row['rows'] / row['cpu_s']:,.0f} per processor second",
            "ratio": f"{row['cpu_s'] / bare['cpu_s']:.1f} x parsing",
        }


def table_compact(scratch, quick):
    """One heavy day."""
    spans = 100_000 if quick else 1_000_000
    path, home = scratch / "day.jsonl", scratch / "compact"
    measured("write_spans", path=path, style="both", spans=spans, one_day=True)
    measured("ingest", path=path, home=home)
    path.unlink()
    row = measured("compact", home=home)
    yield {
        "what": f"compact a day of {spans:,} spans",
        **row,
        "rate": f"{row['turns'] / row['wall_s']:,.0f} turns/s",
    }


def table_sample(scratch, quick):
    """The draw beside a bare GROUP BY, in turn, files warm."""
    turns = 1_000_000 if quick else 10_000_000
    home = scratch / "sample"
    measured("write_lake", home=home, turns=turns)
    measured("group_by", home=home)
    pairs = [(measured("group_by", home=home), measured("sample", home=home)) for _ in range(3)]
    bare, row = (min(runs, key=lambda run: run["wall_s"]) for runs in zip(*pairs, strict=True))
    yield {"what": f"GROUP BY session of {turns:,} turns", **bare}
    yield {
        "what": f"sample {turns:,} turns",
        **row,
        "ratio": f"{row['wall_s'] / bare['wall_s']:.1f} x GROUP BY in wall time,"
        f" {row['cpu_s'] / bare['cpu_s']:.1f} x in processor time",
    }


def table_project(scratch, quick):
    """Weekly assignment."""
    n = 10_000
    bare = measured("product", n=n, repeats=3)
    row = measured("project", n=n, repeats=3)
    yield {
        "what": f"project {n:,} vectors onto 80 clusters",
        **row,
        "rate": f"{n / row['wall_s']:,.0f} vectors/s",
        "ratio": f"{row['cpu_s'] / bare['cpu_s']:.1f} x the matrix product",
    }


def table_fit(scratch, quick):
    """Clustering, compiled anew and from the cache."""
    for n in (4_000,) if quick else (4_000, 20_000):
        cache = {"NUMBA_CACHE_DIR": str(scratch / f"numba-{n}")}
        for state in ("compiling", "compiled"):
            row = measured("fit", n=n, environment=cache)
            yield {"what": f"fit {n:,} texts, {state}", **row}


def table_weekly(scratch, quick):
    """The whole run, by step."""
    home = scratch / "weekly"
    measured("import_sample", home=home)
    cache = {"NUMBA_CACHE_DIR": str(scratch / "numba-weekly")}
    for state in ("first", "again"):
        row = measured("weekly", home=home, environment=cache)
        steps = sum(row["steps"].values())
        yield {"what": f"run weekly, {state}", **row, "rate": f"{steps:.1f} s in steps"}
        yield {
            "what": "  imports, settings, Dagster's storage",
            "wall_s": row["wall_s"] - row["run_s"],
        }
        yield {"what": "  Dagster around the steps", "wall_s": row["run_s"] - steps}
        for name, seconds in sorted(row["steps"].items(), key=lambda item: -item[1]):
            yield {"what": f"  {name}", "wall_s": seconds}


PARTS = {
    "ingest": table_ingest,
    "compact": table_compact,
    "sample": table_sample,
    "project": table_project,
    "fit": table_fit,
    "weekly": table_weekly,
}


def machine():
    """Where the figures come from."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return {
        "processors": os.cpu_count(),
        "model": ", ".join(sorted(models)) or platform.processor(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "load_average": os.getloadavg(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer repeats")
    parser.add_argument("--scratch", type=Path, help="folder for what is generated")
    parser.add_argument("--task", nargs=2, metavar=("NAME", "ARGUMENTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        run_task(*options.task)
        return
    found = {"machine": machine(), "quick": options.quick, "parts": {}}
    print(f"{found['machine']['processors']} x {found['machine']['model']}")
    print(f"{'':<44} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}")
    for part in options.part or PARTS:
        scratch = Path(tempfile.mkdtemp(prefix=f"speed-{part}-", dir=options.scratch))
        rows = found["parts"][part] = []
        load = os.getloadavg()[0]
        try:
            for row in PARTS[part](scratch, options.quick):
                rows.append(row | {"load_before": load, "load_after": os.getloadavg()[0]})
                figures = [row.get("wall_s"), row.get("cpu_s"), row.get("peak_mb")]
                cells = ["" if figure is None else f"{figure:.2f}" for figure in figures[:2]]
                cells.append("" if figures[2] is None else f"{figures[2]:.0f}")
                said = "; ".join(row[key] for key in ("rate", "ratio") if key in row)
                print(
                    f"{row['what']:<44}", *(f"{cell:>8}" for cell in cells), f" {said}", flush=True
                )
        finally:
            shutil.rmtree(scratch)
        print(f"{'':<44} load average {load:.1f} before, {os.getloadavg()[0]:.1f} after")
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
