"""Other ways to cluster whole sessions: what would the session score find?

Suites as in `sgd.py`. Kinds of dialogues measure, and were looked at when the default was chosen.

    python benchmarks/sgd_spaces.py --data ../shared/data [--seeds 4]
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import polars as pl
from sgd import ClusterScore, measured
from sgd_dialogues import KINDS, read_dialogues
from sgd_grounds import Ground, corpus_of, ground, session_clusters

from evalcov_pipeline.core.sessions.space import IMPORTANCE
from evalcov_pipeline.settings import SessionSettings

OUT = Path(__file__).parent / "out" / "sgd_spaces.json"
SIZES = (50, 100, 200)
VARIANTS: dict[str, tuple[dict[str, float], dict]] = {
    "default": ({}, {}),
    "blocks alike": ({"queries": 1.0, "tools": 1.0, "shape": 1.0, "outcome": 1.0}, {}),
    "less of queries and tools": ({"queries": 0.25, "tools": 0.25}, {}),
    "without queries and tools": ({"queries": 0.0, "tools": 0.0}, {}),
    "40 clusters": ({}, {"min_clusters": 40, "max_clusters": 40}),
    "UMAP and HDBSCAN": ({}, {"method": "umap_hdbscan"}),
}


def rows_of(home: Ground, clusters: np.ndarray, suites: int, null_suites: int) -> list[dict]:
    """What the session score says under one clustering."""
    traffic = np.arange(len(home.traffic))
    score = ClusterScore(traffic, clusters[home.traffic], clusters.max() + 1, 299)
    rows = []
    for n in SIZES:
        for number, mode in enumerate(("none", *KINDS)):
            is_kind = home.corpus.kinds[mode] if mode in KINDS else np.zeros(len(clusters), bool)
            pool = home.pool[~is_kind[home.pool]]
            for i in range(suites if mode in KINDS else null_suites):
                rng = np.random.default_rng([home.seed, n, number, i, 30])
                found = score.found(clusters[rng.choice(pool, n, replace=False)], rng)
                kind = is_kind[home.traffic] if mode in KINDS else None
                rows.append({"mode": mode, "cases": n} | measured(found, kind))
    return rows


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default=4, show_default=True)
@click.option("--suites", default=8, show_default=True, help="Suites per seed, kind and size.")
@click.option("--null-suites", default=50, show_default=True, help="Per seed and size.")
def main(data: Path, seeds: int, suites: int, null_suites: int) -> None:
    corpus = corpus_of(read_dialogues(data / "sgd" / "dialogues.jsonl"))
    rows = []
    for seed in range(seeds):
        home = ground(corpus, seed)
        for name, (weights, rules) in VARIANTS.items():
            clusters = session_clusters(
                corpus,
                home.traffic,
                home.features,
                SessionSettings(**rules),
                IMPORTANCE | weights,
            )
            k = int(clusters.max()) + 1
            found = rows_of(home, clusters, suites, null_suites)
            rows += [{"variant": name, "clusters": k, **row} for row in found]
            click.echo(f"{name}, seed {seed}: {k} clusters", err=True)
    table = (
        pl.DataFrame(rows, infer_schema_length=None)
        .group_by("variant", "mode", "cases", maintain_order=True)
        .agg(
            pl.len().alias("suites"),
            pl.col("clusters", "flagged", "listed", "auc").cast(pl.Float64).mean(),
        )
    )
    shown = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 200, "float_precision": 2}
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**shown, **plain, tbl_formatting="MARKDOWN", fmt_str_lengths=60):
        for measure in ("flagged", "listed", "auc"):
            click.echo(measure)
            cells = table.with_columns(of=pl.format("{} {}", "mode", "cases"))
            click.echo(cells.pivot("of", index="variant", values=measure))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"seeds": seeds, "table": table.to_dicts()}, indent=1))


if __name__ == "__main__":
    main()
