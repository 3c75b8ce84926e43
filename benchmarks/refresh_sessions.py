"""Which untested paths do the whole sessions of a refresh walk, against sessions drawn at random?

Homes: the committed sample, and Schema-Guided Dialogue as traffic with a suite of 300 single turns
of dialogues that are not in it; hashed vectors and k-means, the newest week scored. Or a scored
home of one's own, by --home, with the settings of the environment.

    untested  paths that no case walks though each of their parts is tested (status gap, minimal)
    walked    of them, those that the drawn sessions walk
    random    the same for as many sessions of several turns, drawn at random by steady weight
    on path   share of sessions that walk an untested path: before, after, after the random ones
    jsd       `jsd_adjusted` of sessions with the drawn sessions, and with the random ones

Means over the seeds of both draws; every drawn session is kept, and no query is added.

    python benchmarks/refresh_sessions.py --data ../shared/data [--seeds 8] [--home FOLDER]
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from sgd_dialogues import halves, read_dialogues, write_traffic

from evalcov_pipeline.cli.run import run_weeks
from evalcov_pipeline.core.refresh.plan import RefreshRules, place_cases, project
from evalcov_pipeline.core.refresh.sessions import draw_sessions
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.services.refresh.candidates import asked_turns
from evalcov_pipeline.services.refresh.inputs import with_categories
from evalcov_pipeline.services.refresh.sessions import SessionsOfWeek, sessions_of_week
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import EmbeddingSettings, Settings, TaxonomySettings
from evalcov_pipeline.storage.warehouse import one_row

OUT = Path(__file__).parent / "out"
SAMPLE = Path(__file__).parents[1] / "data" / "sample"
DRAWN = (5, 12, 25)
"""Sessions of a plan."""
SUITE = 300
KEPT = RefreshRules(keep_rate=1.0)


def scored(folder: Path, traces: Path, suite: Path) -> Settings:
    """A home with its newest week scored."""
    settings = Settings(
        home=folder / "home",
        embedding=EmbeddingSettings(model="hashing"),
        taxonomy=TaxonomySettings(method="kmeans"),
    )
    ingest_traces([traces], settings)
    ingest_evals("evals", [suite], settings)
    run_weeks(settings, "weekly_coverage", None)
    return settings


def homes(data: Path, folder: Path) -> Iterator[tuple[str, Settings]]:
    """Name and settings of each home."""
    yield "sample", scored(folder / "sample", SAMPLE / "traces", SAMPLE / "evals")
    dialogues = read_dialogues(data / "sgd" / "dialogues.jsonl")
    traffic, pool = halves(len(dialogues), 0)
    given = folder / "dialogues"
    write_traffic([dialogues[i] for i in traffic], 0, given / "traces")
    rng = np.random.default_rng(0)
    with (given / "suite.jsonl").open("w", encoding="utf-8") as file:
        for place in rng.choice(pool, SUITE, replace=False):
            turns = dialogues[place].turns
            turn = turns[rng.integers(len(turns))]
            case = {"input": turn.query, "expected_tools": list(turn.tools)}
            file.write(json.dumps(case | {"created_at": "2026-09-20"}) + "\n")
    yield "dialogues", scored(given, given / "traces", given / "suite.jsonl")


def week_of(settings: Settings) -> SessionsOfWeek:
    """What the sessions of the newest scored week are planned from."""
    with warehouse_of(settings).reader() as con:
        score = one_row(
            con, "SELECT * FROM coverage_scores WHERE headline ORDER BY as_of DESC LIMIT 1"
        )
        assert score is not None, "the home has no score"
        used = score["taxonomy_id"]
        turns = asked_turns(con, settings.lake, score["as_of"], used)
        turns = with_categories(con, used, turns)
        week = sessions_of_week(con, settings, vector_cache(settings), score, turns)
    assert week is not None, "the home has no score of sessions"
    return week


def worth(week: SessionsOfWeek, drawn: np.ndarray) -> tuple[float, float, float]:
    """Paths that sessions walk, share of sessions on a path that none walks, and divergence."""
    rows, walks = week.candidates.rows, week.candidates.walks
    walked = walks[drawn].any(axis=0)
    weight = rows["steady_weight"].to_numpy()
    left = weight @ walks[:, ~walked].any(axis=1)
    found = rows["cluster_id"].to_numpy()[drawn]
    coming = [int((found == cluster).sum()) for cluster in week.inputs.clusters["cluster_id"]]
    inputs = replace(week.inputs, coming=np.array(coming, np.int64))
    divergence = project(inputs, (), 0, KEPT, np.random.default_rng(0))
    return float(walked.sum()), float(left), float(divergence or 0.0)


def measured(week: SessionsOfWeek, n: int, seeds: int, per_user: int) -> dict[str, float]:
    """Means over the seeds of drawing `n` sessions, by the plan and at random."""
    rows = week.candidates.rows
    place = {name: i for i, name in enumerate(rows["session_hash"])}
    new = np.flatnonzero(rows["is_new"].to_numpy())
    chance = rows["steady_weight"].to_numpy()[new]
    placement = place_cases(week.inputs, n, RefreshRules())
    ours, random = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        picks = draw_sessions(
            placement, week.candidates, keep_rate=0.8, per_user=per_user, rng=rng
        ).picks
        ours.append(worth(week, np.array([place[name] for name in picks["session_hash"]])))
        rng = np.random.default_rng(100 + seed)
        drawn = rng.choice(new, min(n, len(new)), replace=False, p=chance / chance.sum())
        random.append(worth(week, drawn))
    mine, other = np.mean(ours, axis=0), np.mean(random, axis=0)
    return {
        "sessions": n,
        "untested": len(week.candidates.paths),
        "walked": mine[0],
        "random": other[0],
        "on_path_before": worth(week, new[:0])[1],
        "on_path": mine[1],
        "on_path_random": other[1],
        "jsd": mine[2],
        "jsd_random": other[2],
    }


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Folder of real data.")
@click.option("--home", type=click.Path(path_type=Path, exists=True), help="A scored home instead.")
@click.option("--seeds", default=8, help="Draws of each size.")
def main(data: Path | None, home: Path | None, seeds: int) -> None:
    """Print the table, and write it to benchmarks/out/refresh_sessions.json."""
    if (data is None) == (home is None):
        raise click.UsageError("give --data or --home")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        named = homes(data, Path(scratch)) if data else iter([(str(home), Settings(home=home))])
        for name, settings in named:
            week = week_of(settings)
            for n in DRAWN:
                row = measured(week, n, seeds, settings.refresh.per_user)
                found.append({"home": name, "seeds": seeds, **row})
    click.echo("home        drawn  untested  walked  random  on path            jsd")
    for row in found:
        click.echo(
            f"{row['home'][-10:]:<10} {row['sessions']:6d} {row['untested']:9d}"
            f" {row['walked']:7.1f} {row['random']:7.1f}"
            f"  {row['on_path_before']:.2f} {row['on_path']:.2f} {row['on_path_random']:.2f}"
            f"     {row['jsd']:.3f} {row['jsd_random']:.3f}"
        )
    OUT.mkdir(exist_ok=True)
    (OUT / "refresh_sessions.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
