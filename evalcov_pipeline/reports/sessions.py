"""What the report's section on whole sessions shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.sessions.features import NAMELESS
from evalcov_pipeline.reports.beginnings import END, START, beginnings, steps_of
from evalcov_pipeline.reports.compounding import SERIES, by_length, compounding, in_words
from evalcov_pipeline.reports.drawing import FULL, at_sizes, shortened
from evalcov_pipeline.reports.findings import WHOLE
from evalcov_pipeline.reports.flow import flow
from evalcov_pipeline.reports.heat import shaded
from evalcov_pipeline.services.report.sessions import ScoredSessions

MOST_PATHS = 8
"""Untested paths of each kind that are listed."""
_SCARCE = ("gap", "thin")
_LONGEST_STEP = 34
_LONGEST_EXAMPLE = 110
_FLOW = {"phone": 320, "desktop": 640}
_STEP = {"queries": "query", "tools": "tool call"}


def session_content(sessions: ScoredSessions, clusters: pl.DataFrame) -> dict[str, Any]:
    """Everything that the section shows.

    Args:
        sessions: what is known of the week's sessions.
        clusters: query clusters: cluster_id, cluster_key, label; paths name their steps by them.
    """
    heat = [_kind_of_session(row) for row in shaded(sessions.clusters)]
    names = {
        "queries": {
            key: "in no cluster" if cluster_id == NOVEL else label
            for cluster_id, key, label in clusters.select(
                "cluster_id", "cluster_key", "label"
            ).iter_rows()
        },
        "tools": {NAMELESS: "unnamed tool"},
    }
    lengths = by_length(sessions.compounding)
    shown = [name for name in SERIES if lengths[name].count()]
    return {
        "score": sessions.score,
        "taxonomy": sessions.taxonomy,
        "orders": sessions.orders,
        "knowledge": sessions.knowledge,
        "urgent": [row for row in heat if not row["calm"]],
        "calm": [row for row in heat if row["calm"]],
        "traits": sessions.traits.filter(pl.col("status").is_in(_SCARCE)).to_dicts(),
        "kinds": {kind: _paths(sessions, kind, names[kind]) for kind in _STEP},
        "compounding": at_sizes(FULL, compounding, lengths) if len(lengths) else None,
        "series": {name: SERIES[name][0] for name in shown},
        "compounding_kinds": _by_kind(sessions.compounding),
        "compounding_said": in_words(sessions.compounding),
    }


def _kind_of_session(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the heat map with the shade of its outcome; an untested one with an example."""
    success = row["success_rate"]
    typical = (row["exemplars"] or [None])[0] if row["status"] in WHOLE else None
    return row | {
        "unsuccess_shade": None if success is None else 1 - success,
        "example": typical and shortened(typical, _LONGEST_EXAMPLE),
    }


def _by_kind(groups: pl.DataFrame) -> list[dict[str, Any]]:
    """How failures compound in each kind of session, those that tell something first."""
    order = {"clustered": 0, "spread": 0, "independent": 1}
    kinds = groups.filter((pl.col("grouping") == "cluster") & (pl.col("mean_turns") > 1))
    return kinds.sort(
        pl.col("verdict").replace_strict(order, default=2, return_dtype=pl.Int8),
        -pl.col("mean_turns"),
        "name",
    ).to_dicts()


def _paths(sessions: ScoredSessions, kind: str, names: Mapping[str, str]) -> dict[str, Any]:
    """One kind of path: the flow picture, and the most travelled paths that no case walks."""
    paths = sessions.paths.filter(pl.col("kind") == kind)
    untested = sessions.untested_paths.filter(pl.col("kind") == kind)
    step = _STEP[kind]
    return {
        "order": sessions.orders.get(kind),
        "flow": at_sizes(_FLOW, flow, paths, names, step) if beginnings(paths, 1) else None,
        "untested": [
            row | {"steps": _named(row, names, step)}
            for row in untested.head(MOST_PATHS).to_dicts()
        ],
        "more": max(0, len(untested) - MOST_PATHS),
    }


def _named(path: Mapping[str, Any], names: Mapping[str, str], what: str) -> list[str]:
    """The steps of a path in words; its label as one step where they cannot be told apart."""
    known = {**names, START: "start", END: "end"}
    steps = steps_of(path["ngram"], path["length"]) or (path["label"],)
    if steps == (START, END):
        return [f"no {what}"]
    return [shortened(known.get(step, step), _LONGEST_STEP) for step in steps]
