"""Whole sessions through the command line: one fresh home per suite, and what its tables say.

Traffic and suites are those of `sgd.py`, in five weeks of OTLP traces and as multi-turn cases.

    python benchmarks/sgd_home.py --data ../shared/data [--cases 200] [--modes none,failure]
"""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path

import click
import duckdb
import numpy as np
import polars as pl
from banking77 import evalcov
from sgd_dialogues import (
    START,
    Dialogue,
    halves,
    read_dialogues,
    reordered,
    write_suite,
    write_traffic,
)
from vectors import embedded, give

MODES = ("none", "failure", "reordered")
OUT = Path(__file__).parent / "out" / "sgd_home.json"
SCORES = """
    SELECT 'single queries' AS score, jsd_adjusted, p_value, degraded, NULL AS order_p_value
    FROM coverage_scores WHERE headline AND as_of = (SELECT max(as_of) FROM coverage_scores)
    UNION ALL BY NAME
    SELECT 'sessions' AS score, jsd_adjusted, p_value, degraded
    FROM session_scores WHERE headline AND as_of = (SELECT max(as_of) FROM session_scores)
    UNION ALL BY NAME
    SELECT 'order of ' || kind AS score, jsd_adjusted, p_value, order_p_value
    FROM sequence_scores WHERE as_of = (SELECT max(as_of) FROM sequence_scores)
"""
LISTED = """
    FROM (
    SELECT 'session' AS kind, status, production_share AS share, eval_cases AS cases, label
    FROM session_coverage WHERE as_of = (SELECT max(as_of) FROM session_scores)
    AND status IN ('gap', 'liability', 'thin')
    UNION ALL BY NAME
    SELECT kind, status, production_share AS share, eval_cases AS cases, label
    FROM sequence_coverage WHERE as_of = (SELECT max(as_of) FROM session_scores)
    AND status = 'gap' AND minimal
    ) ORDER BY kind = 'session' DESC, kind, share DESC
"""


def suite_of(mode: str, pool: list[Dialogue], cases: int, seed: int) -> list[Dialogue]:
    """Cases of a mode, see `sgd.py`."""
    rng = np.random.default_rng([seed, 22])
    kept = [dialogue for dialogue in pool if mode not in dialogue.kinds]
    drawn = [kept[i] for i in rng.choice(len(kept), cases, replace=False)]
    return [reordered(dialogue, rng) for dialogue in drawn] if mode == "reordered" else drawn


def run_home(home: Path, traffic: list[Dialogue], suite: list[Dialogue], seed: int) -> dict:
    """Fill a home, run it, and read its tables."""
    log = home.with_suffix(".log")
    give("sgd", home)
    write_traffic(traffic, seed, home / "export")
    write_suite(suite, home / "suite.jsonl")
    since = f"{START + timedelta(weeks=2):%Y-%m-%d}"
    seconds = [
        evalcov(home, *command, log=log)
        for command in (
            ("ingest", "traces", str(home / "export")),
            ("ingest", "evals", str(home / "suite.jsonl")),
            ("run", "weekly", "--since", since),
            ("status",),
            ("report",),
        )
    ]
    with duckdb.connect(home / "published.duckdb", read_only=True) as con:
        return {
            "scores": con.sql(SCORES).pl().to_dicts(),
            "listed": con.sql(LISTED).pl().to_dicts(),
            "seconds": sum(seconds),
        }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--cases", default=200, show_default=True)
@click.option("--modes", default=",".join(MODES), show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for homes and logs.")
def main(data: Path, cases: int, modes: str, seed: int, keep: Path | None) -> None:
    root = keep or Path(tempfile.mkdtemp(prefix="sgd-"))
    root.mkdir(parents=True, exist_ok=True)
    dialogues = read_dialogues(data / "sgd" / "dialogues.jsonl")
    embedded("sgd", sorted({turn.query for dialogue in dialogues for turn in dialogue.turns}))
    traffic, pool = ([dialogues[i] for i in places] for places in halves(len(dialogues), seed))
    found = {}
    for mode in modes.split(","):
        suite = suite_of(mode, pool, cases, seed)
        found[mode] = run_home(root / mode, traffic, suite, seed)
        report(mode, found[mode])
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"cases": cases, "seed": seed, **found}, indent=1))


def report(mode: str, found: dict) -> None:
    """Scores, and up to five of what each kind lists."""
    shown = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 200, "float_precision": 3}
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**shown, **plain, tbl_formatting="MARKDOWN", fmt_str_lengths=120):
        click.echo(f"{mode}, {found['seconds']:.0f} s")
        click.echo(pl.DataFrame(found["scores"]))
        if found["listed"]:
            listed = pl.DataFrame(found["listed"])
            click.echo(listed.group_by("kind", maintain_order=True).head(5))


if __name__ == "__main__":
    main()
