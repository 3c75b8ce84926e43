"""What people call clusters of sessions: how long they are, what they call, how they went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray, kish, wilson
from evalcov_pipeline.core.taxonomy.naming import nearest_to_medoid, unique_label

Path = tuple[str, ...]

ARROW = " -> "
_MOST_CHARACTERS = 90
_PATH_CHARACTERS = 56
_LONGEST_NAME = 24
_LONGEST_PATH = 4
_LONGEST_SEQUENCE = 1000
_LIKE_THE_BEST = 1.5
_NOTABLE = 0.2
_LEAST_CONTEXT = 1000


def describe_clusters(
    features: pl.DataFrame,
    cluster_ids: NDArray[np.integer],
    weights: NDArray[np.floating],
    keywords: Sequence[Sequence[str]],
    n_clusters: int,
) -> list[str]:
    """Describe clusters of sessions by what sets them apart from the other sessions.

    In this order, as far as some 90 characters reach: the turns that four in five of its sessions
    have; the path through the tools (a repeated call counts once) that most of its sessions walk
    and others least; context where three in four sessions have more than three in four others;
    outcomes, failures and repetitions, as a share of the sessions that know theirs, where that is
    surely higher than among the others, by 20 points at least; up to three keywords.

    Args:
        features: n rows of `session_features`.
        cluster_ids: (n,) cluster of each session; -1 is in none.
        weights: (n,) non-negative weights.
        keywords: of each cluster, best first.
        n_clusters: k.

    Returns:
        (k,) distinct descriptions; a cluster without sessions is "cluster <id>".

    Raises:
        ValueError: lengths that do not agree.
    """
    ids, mass = np.asarray(cluster_ids), np.asarray(weights, dtype=np.float64)
    if not len(features) == len(ids) == len(mass) or len(keywords) != n_clusters:
        raise ValueError("features, cluster_ids and weights must describe the same sessions")
    counted = mass > 0
    features, ids, mass = features.filter(counted), ids[counted], mass[counted]
    paths = [_paths(tools) for tools in features["tools"].to_list()]
    labels: list[str] = []
    for cluster in range(n_clusters):
        inside = ids == cluster
        if inside.any():
            facts = [
                _turns(features["n_turns"].to_numpy(), inside, mass),
                *_tools(features, paths, inside, mass),
                *_context(features, inside, mass),
                *_traits(features, inside, mass),
            ]
            label, shown = _sentence(facts, keywords[cluster])
        else:
            label, shown = f"cluster {cluster}", 0
        labels.append(unique_label(label, keywords[cluster][shown:], labels))
    return labels


def typical_sessions(
    contents: Sequence[str],
    cluster_ids: NDArray[np.integer],
    weights: NDArray[np.floating],
    vectors: NDArray[np.floating],
    n_clusters: int,
    most: int = 5,
) -> list[IntArray]:
    """Sessions that stand for each cluster: the medoid first, then what is nearest to it.

    Args:
        contents: (n,) `session_hash`; of sessions with equal content one is enough.
        cluster_ids: (n,) cluster of each session; -1 is in none.
        weights: (n,) non-negative weights.
        vectors: (n, d) L2-normalised vectors.
        n_clusters: k.
        most: sessions per cluster.

    Returns:
        (k,) arrays of at most `most` rows; empty for a cluster without sessions.
    """
    typical: list[IntArray] = []
    for cluster in range(n_clusters):
        rows = nearest_to_medoid(np.flatnonzero(cluster_ids == cluster), weights, vectors)
        distinct: dict[str, int] = {}
        for row in rows.tolist():
            distinct.setdefault(contents[row], row)
        typical.append(np.array(list(distinct.values())[:most], dtype=np.int64))
    return typical


def _sentence(facts: Sequence[str], keywords: Sequence[str]) -> tuple[str, int]:
    """Facts and keywords as far as there is room, and the number of keywords shown."""
    room = _MOST_CHARACTERS - (len(keywords[0]) + 2 if keywords else 0)
    sentence = ""
    for fact in facts:
        longer = f"{sentence}, {fact}" if sentence else fact
        sentence = longer if len(longer) <= room or not sentence else sentence
    shown = 0
    for keyword in keywords[:3]:
        longer = f"{sentence}{', ' if shown else ': '}{keyword}"
        if shown and len(longer) > _MOST_CHARACTERS:
            break
        sentence, shown = longer, shown + 1
    return sentence, shown


def _turns(turns: IntArray, inside: NDArray[np.bool_], weights: FloatArray) -> str:
    low, high = _quantiles(turns[inside], weights[inside], 0.1, 0.9)
    middle, long = _quantiles(turns, weights, 0.5, 0.9)
    if low == high:
        return "one turn" if low == 1 else f"{low:.0f} turns"
    if low > middle and high >= long:
        return f"{low:.0f}+ turns"
    return f"{low:.0f}-{high:.0f} turns"


def _tools(
    features: pl.DataFrame,
    paths: Sequence[set[Path]],
    inside: NDArray[np.bool_],
    weights: FloatArray,
) -> list[str]:
    """The path that is typical of a cluster; nothing where tools are not known or never called."""
    known = features["tools_known"].to_numpy() | (features["n_tool_calls"].to_numpy() > 0)
    mine, others = inside & known, ~inside & known
    if not any(paths) or weights[mine].sum() < weights[inside].sum() / 2:
        return []
    share = _shares(paths, mine, weights)
    typical = {path: walked for path, walked in share.items() if walked >= 0.5}
    if not typical:
        idle = features["n_tool_calls"].to_numpy() == 0
        return ["no tools" if _mean(idle, mine, weights) >= 0.5 else "various tools"]
    elsewhere = _shares(paths, others, weights)
    lift = {path: walked / (elsewhere.get(path, 0.0) + 0.01) for path, walked in typical.items()}
    best = max(lift.values())
    path = min(
        (path for path in lift if lift[path] * _LIKE_THE_BEST >= best),
        key=lambda path: (-len(path), -round(typical[path], 9), path),
    )
    return [ARROW.join(_shortened(path))]


def _paths(tools: Sequence[str]) -> set[Path]:
    """Stretches of one to four calls, a repeated call once."""
    names = [name for name, _ in groupby(tools[:_LONGEST_SEQUENCE])]
    return {
        tuple(names[start : start + length])
        for length in range(1, _LONGEST_PATH + 1)
        for start in range(len(names) - length + 1)
    }


def _shares(
    paths: Sequence[set[Path]], rows: NDArray[np.bool_], weights: FloatArray
) -> dict[Path, float]:
    """Share of the sessions that walk each path."""
    mass: dict[Path, float] = defaultdict(float)
    total = weights[rows].sum()
    for row in np.flatnonzero(rows).tolist():
        for path in paths[row]:
            mass[path] += weights[row] / total
    return mass


def _shortened(path: Path) -> list[str]:
    """Names of tools, the middles of the longest left out as far as room demands."""
    names = [" ".join(name.split()) for name in path]
    most = _LONGEST_NAME
    while sum(min(len(name), most) for name in names) > _PATH_CHARACTERS:
        most -= 1
    return [
        name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[most // 2 - most :]}"
        for name in names
    ]


def _context(features: pl.DataFrame, inside: NDArray[np.bool_], weights: FloatArray) -> list[str]:
    tokens = features["context_last"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    mine, others = (rows & ~np.isnan(tokens) for rows in (inside, ~inside))
    if not others.any() or weights[mine].sum() < weights[inside].sum() / 2:
        return []
    (low,) = _quantiles(tokens[mine], weights[mine], 0.25)
    (usual,) = _quantiles(tokens[others], weights[others], 0.75)
    if low <= usual or low < _LEAST_CONTEXT:
        return []
    about = "~" if _mean(features["context_estimated"].to_numpy(), mine, weights) > 0.5 else ""
    return [f"context above {about}{low // 1000:.0f}k tokens"]


def _traits(features: pl.DataFrame, inside: NDArray[np.bool_], weights: FloatArray) -> list[str]:
    """Outcomes, failures and repetitions that set a cluster apart."""
    outcome = pl.when(pl.col("outcome") != "unknown").then("outcome")
    called = pl.col("n_tool_calls") > 0
    traits = features.select(
        (outcome == "abandoned").alias("abandoned"),
        (outcome == "error").alias("end in an error"),
        (outcome == "success").alias("succeed"),
        (pl.col("tool_failures") > 0).alias("with failed tools"),
        (pl.col("rephrases") > 0).alias("rephrase"),
        (pl.col("retries") > 0).alias("ask again"),
        pl.when(called).then(pl.col("tool_repeats") > 0).alias("repeat a tool"),
    )
    said = []
    for trait in traits:
        known, has = trait.is_not_null().to_numpy(), trait.fill_null(False).to_numpy()
        mine, others = inside & known, ~inside & known
        if not others.any() or weights[mine].sum() < weights[inside].sum() / 2:
            continue
        share, usual = _mean(has, mine, weights), _mean(has, others, weights)
        low, _ = wilson(np.array([share]), kish(weights[mine]))
        if share >= usual + _NOTABLE and low[0] > usual:
            said.append(f"{100 * share:.0f} % {trait.name}")
    return said


def _mean(values: NDArray[np.bool_], rows: NDArray[np.bool_], weights: FloatArray) -> float:
    return float(values[rows] @ weights[rows] / weights[rows].sum())


def _quantiles(values: NDArray[np.number], weights: FloatArray, *at: float) -> list[float]:
    """Weighted quantiles, each of them one of the values."""
    quantiles = np.quantile(values.astype(float), at, weights=weights, method="inverted_cdf")
    return [float(value) for value in quantiles]
