"""Invented rows of the tables of sessions, consistent with each other, for what shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.storage.warehouse import frame, insert

TABLES = (
    "session_features", "case_features", "session_taxonomies", "session_clusters",
    "session_scores", "session_coverage", "sequence_scores", "sequence_coverage",
    "session_compounding",
)  # fmt: skip
TOOLS = ("search", "open_order", "refund", "cancel", "book", "escalate")
BANDS = {"1": (1, 1), "2": (2, 2), "3-4": (3, 4), "5-7": (5, 7), "8-12": (8, 12)}
KINDS = (
    ("one turn, no tools: track, parcel, arrived", "covered", .41, .58, .88, .06, 1.0),
    ("2-4 turns, search -> open_order: address, change", "thin", .23, .12, .81, .11, 2.7),
    ("7+ turns, search -> book -> cancel, context above 6k tokens, 61 % abandoned", "liability",
     .17, 0.0, .33, .61, 8.9),
    ("3-5 turns, refund again and again, failing tools: refund, broken", "gap", .08, 0.0, .42, .35,
     4.1),
    ("2 turns, escalate at the end: complaint", "undecidable", .02, 0.0, None, None, 2.0),
    ("one turn, search: opening hours", "over_represented", .04, .27, .93, .02, 1.0),
    ("2 turns, no tools: invoice, tax", "covered", .03, .03, .9, .05, 2.0),
)  # fmt: skip


def walks(
    n: int, symbols: Sequence[str], rng: np.random.Generator, *, stay: float = 0.62
) -> list[list[str]]:
    """Sessions that go on with a chance of `stay`, mostly to the symbols after the last one."""
    popular = 1 / np.arange(1, len(symbols) + 1) ** 1.1
    sessions = []
    for _ in range(n):
        at = int(rng.choice(len(symbols), p=popular / popular.sum()))
        session = [symbols[at]]
        while rng.random() < stay and len(session) < 12:
            at = (at + int(rng.choice([0, 1, 2, 5], p=[0.2, 0.45, 0.25, 0.1]))) % len(symbols)
            session.append(symbols[at])
        sessions.append(session)
    return sessions


def paths(
    kind: str, production: Sequence[Sequence[str]], cases: Sequence[Sequence[str]],
    names: Mapping[str, str],
) -> pl.DataFrame:  # fmt: skip
    """Rows of `sequence_coverage` of sessions and cases that are equally likely."""
    walked, tested = (
        Counter(gram for steps in sessions for gram in _ngrams(steps))
        for sessions in (production, cases)
    )
    rows = []
    for gram, count in walked.items():
        share, n_cases = count / len(production), tested[gram]
        if share < 0.002:
            continue
        parts = [gram[:-1], gram[1:]]
        rows.append(
            {
                "kind": kind, "ngram": " > ".join(gram), "length": len(gram),
                "label": " -> ".join(names.get(step, step) for step in gram),
                "production_share": share, "production_share_low": max(0.0, share - 0.01),
                "production_share_high": share + 0.01, "eval_cases": n_cases,
                "eval_share": n_cases / len(cases) if cases else None, "jsd_contribution": 0.001,
                "status": "covered" if n_cases else "gap" if share > 0.01 else "undecidable",
                "minimal": not n_cases and all(tested[part] for part in parts if part),
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


def write_sessions(
    con: duckdb.DuckDBPyConnection, *, tools: Sequence[str] = TOOLS, seed: int = 0
) -> None:
    """Put sessions beside the newest headline score, in place of those that are there."""
    rng = np.random.default_rng(seed)
    as_of, taxonomy_id, n_eval = con.execute(
        "SELECT as_of, taxonomy_id, n_eval FROM coverage_scores WHERE headline"
        " ORDER BY as_of DESC LIMIT 1"
    ).fetchall()[0]
    keys = frame(
        con, "SELECT cluster_key, label FROM cluster_coverage WHERE as_of = ? AND taxonomy_id = ?"
        " ORDER BY production_share DESC", [as_of, taxonomy_id],
    )  # fmt: skip
    queries = keys["cluster_key"].to_list()
    names = dict(keys.iter_rows()) | {"^": "start", "$": "end"}
    walked = {"queries": walks(1500, queries, rng), "tools": walks(1500, tools, rng, stay=0.7)}
    for session in walked["tools"][::4]:
        session.clear()
    cases = {
        "queries": walks(n_eval, queries, rng, stay=0.15),
        "tools": walks(n_eval, tools[:4], rng, stay=0.3),
    }
    for table in TABLES:
        con.execute(f"DELETE FROM {table}")
    for kind, sessions in walked.items():
        found = paths(kind, sessions, cases[kind], names)
        _write(con, "sequence_coverage", found.with_columns(as_of=pl.lit(as_of)))
    features = [
        _features(f"s-{i}", called, len(asked))
        | {"as_of": as_of, "source": "generic", "session_id": f"s-{i}", "stratum": "all",
           "traffic_weight": 1 / 1500, "steady_weight": 1 / 1500}
        for i, (asked, called) in enumerate(zip(walked["queries"], walked["tools"], strict=True))
    ]  # fmt: skip
    _write(con, "session_features", features)
    written = [
        _features(f"c-{i}", called, len(asked)) | {"as_of": as_of, "case_id": f"c-{i}"}
        for i, (asked, called) in enumerate(zip(cases["queries"], cases["tools"], strict=True))
    ]
    _write(con, "case_features", written)
    _write(con, "session_taxonomies", [_taxonomy(as_of)])
    _write(con, "session_clusters", [_cluster(i, row[0]) for i, row in enumerate(KINDS)])
    _write(con, "session_scores", [_score(as_of, n_eval, cases["queries"])])
    _write(con, "session_coverage", [_kind(as_of, i, n_eval, *row) for i, row in enumerate(KINDS)])
    _write(con, "sequence_scores", [_order(as_of, "queries", 0.34), _order(as_of, "tools", 0.21)])
    _write(con, "session_compounding", _compounding(as_of, features))


def _ngrams(steps: Sequence[str]) -> set[tuple[str, ...]]:
    line = ["^", *steps, "$"]
    return {
        tuple(line[at : at + length])
        for length in (1, 2, 3, 4)
        for at in range(len(line) - length + 1)
    } - {("^",), ("$",)}


def _features(name: str, tools: Sequence[str], n_turns: int) -> dict[str, Any]:
    failed = int(np.random.default_rng(len(name) + n_turns).random() < 0.1)
    return {
        "session_hash": name, "n_turns": n_turns, "text_hashes": [None] * n_turns,
        "tools": list(tools), "tools_known": True, "n_tool_calls": len(tools),
        "n_tools": len(set(tools)), "tool_repeats": sum(a == b for a, b in pairwise(tools)),
        "errors": 0, "retries": 0, "failed_turns": failed, "conversation_chars": 80 * n_turns,
        "context_estimated": True, "outcome": "success" if n_turns % 2 else "abandoned",
    }  # fmt: skip


def _taxonomy(as_of: datetime) -> dict[str, Any]:
    return {
        "taxonomy_id": "sessions-1", "fitted_at": as_of, "created_at": as_of, "method": "kmeans",
        "parameters": "{}", "n_texts": 1200, "n_clusters": len(KINDS), "unclustered_share": 0.0,
        "novel_share": 0.02, "stability": 0.81, "embedding_fingerprint": "f", "with_outcome": True,
    }  # fmt: skip


def _cluster(cluster_id: int, label: str) -> dict[str, Any]:
    return {
        "taxonomy_id": "sessions-1", "cluster_id": cluster_id, "cluster_key": f"k-{cluster_id}",
        "label": label, "keywords": ["order"], "size": 100, "radius": 0.5,
        "exemplars": ["where is my order / cancel it then / is it cancelled", "hello"],
    }  # fmt: skip


def _score(as_of: datetime, n_eval: int, cases: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {
        "as_of": as_of, "taxonomy_id": "sessions-1", "headline": True,
        "window_start": as_of - timedelta(days=30), "window_end": as_of, "n_sessions": 1500,
        "n_production": 1500, "n_eff": 1200.0, "n_eval": n_eval,
        "n_multi_turn": sum(len(case) > 1 for case in cases), "n_clusters": len(KINDS),
        "jsd": 0.36, "jsd_adjusted": 0.31, "jsd_ci_low": 0.26, "jsd_ci_high": 0.37,
        "null_mean": 0.04, "null_p95": 0.06, "p_value": 0.001, "attainable_jsd": 0.002,
        "covered_share": 0.71, "unmeasured_share": 0.3, "novel_share": 0.02, "band": "divergent",
        "degraded": True, "liabilities": ["k-2"], "eval_score": 0.87, "reweighted_score": 0.71,
        "reweighted_low": 0.5, "reweighted_high": 0.8,
        "verdict": "The suite tests single questions; 29% of sessions go ways that no case goes.",
        "notes": ["Tool failures were not recorded: they are left out of the comparison."],
    }  # fmt: skip


def _kind(
    as_of: datetime, cluster_id: int, n_eval: int, label: str, status: str, share: float,
    tested: float, success: float | None, abandoned: float | None, turns: float,
) -> dict[str, Any]:  # fmt: skip
    return {
        "as_of": as_of, "taxonomy_id": "sessions-1", "cluster_id": cluster_id,
        "cluster_key": f"k-{cluster_id}", "label": label, "production_share": share,
        "production_share_low": share * 0.9, "production_share_high": share * 1.1,
        "traffic_share": share, "eval_cases": round(tested * n_eval), "eval_share": tested,
        "coverage_ratio": tested / share, "jsd_contribution": 0.04, "status": status,
        "newest_case_at": as_of - timedelta(days=40) if tested else None, "stale": False,
        "pass_rate": 0.8 if tested else None, "n_results": round(tested * n_eval),
        "success_rate": success, "abandoned_rate": abandoned, "mean_turns": turns,
    }  # fmt: skip


def _order(as_of: datetime, kind: str, jsd: float) -> dict[str, Any]:
    return {
        "as_of": as_of, "kind": kind, "taxonomy_id": None, "length": 2, "n_sessions": 1500,
        "n_eval": 60, "n_ngrams": 100, "jsd": jsd + 0.05, "jsd_adjusted": jsd,
        "jsd_ci_low": jsd - 0.05, "jsd_ci_high": jsd + 0.06, "null_mean": 0.05, "null_p95": 0.08,
        "p_value": 0.001, "order_jsd": 0.13, "order_adjusted": 0.11, "order_p_value": 0.004,
        "untested_share": 0.44,
    }  # fmt: skip


def _compounding(as_of: datetime, features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = [_group(as_of, "all", "all", "all sessions", 3.1, 0.93, 0.82, 0.84, 0.74, "clustered")]
    for number, (name, (low, high)) in enumerate(BANDS.items()):
        turns = (low + high) / 2
        inside = [row for row in features if low <= row["n_turns"] <= high]
        verdict = "undecidable" if turns < 2 else "clustered"
        seen = 0.94 ** (turns * 0.6) if turns > 1 else 0.94
        rows.append(
            _group(as_of, "length", name, f"{name} turns", turns, 0.94, 0.94**turns, seen,
                   0.9 - 0.05 * number, verdict, len(inside))
        )  # fmt: skip
    for number, (label, *_, turns) in enumerate(KINDS):
        rows.append(
            _group(as_of, "cluster", f"k-{number}", label, turns, 0.94, 0.94**turns,
                   0.94 ** (turns * 0.8), None, "independent" if turns < 3 else "clustered")
        )  # fmt: skip
    return rows


def _group(
    as_of: datetime, grouping: str, name: str, label: str, turns: float, step: float,
    predicted: float, flawless: float, observed: float | None, verdict: str, n: int = 200,
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {
        "as_of": as_of, "grouping": grouping, "name": name, "label": label, "n_sessions": n,
        "n_turns": round(n * turns), "mean_turns": turns, "n_known": n if observed else 0,
        "verdict": verdict, "observed": observed, "observed_low": None, "observed_high": None,
    }  # fmt: skip
    for column, value in (
        ("step_success", step), ("predicted", predicted), ("flawless", flawless),
        ("observed", observed),
    ):  # fmt: skip
        if value is not None:
            row |= {column: value, f"{column}_low": value - 0.04,
                    f"{column}_high": min(1.0, value + 0.04)}  # fmt: skip
    return row


def _write(con: duckdb.DuckDBPyConnection, table: str, rows: Any) -> None:
    found = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
    insert(con, table, found)
