"""The space in which sessions are compared: unit vectors whose cosine is a weighted mean of blocks.

Four blocks, each of norm one, so that none dominates by its width: what is asked (first, mean and
last query), which tools are called in which order, the shape of the session (lengths, repetitions,
failures) and its outcome. The cosine of two sessions is then the weighted mean of their cosines per
block. Scales, vocabulary and weights are frozen with the taxonomy that is fitted in the space.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.statistics.shares import FloatArray

Vectors = NDArray[np.float32]

START, END = "^", "$"
"""Stand for the start and the end of a session among its steps."""
SHAPE = ("n_turns", "n_tools", "tool_failures", "repetitions")
"""Figures of the shape block; repetitions are retries and rephrases together.

Few, and unlike each other: five figures of length would outvote one of failures.
"""
OUTCOMES = ("success", "abandoned", "error")
"""A session whose outcome is not known lies between them, as the known ones are on average."""
IMPORTANCE = {"queries": 0.5, "tools": 0.5, "shape": 2.0, "outcome": 1.0}
"""Part of each block in telling sessions apart, before its own spread is taken into account.

What is asked and what is called have scores of their own, lengths and failures do not.
"""
MOST_NGRAMS = 300
LONGEST_NGRAM = 3
LONGEST_SEQUENCE = 1000
"""Tool calls of a session that are looked at."""
_PAIRS = 20_000
_LEAST_SPREAD = 0.02
_LEAST_FIGURE_SPREAD = 0.1
"""Keeps a figure that hardly ever differs from outweighing the others."""
_LEVELS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class SessionSpace:
    """Frozen scales of the blocks.

    Attributes:
        ngrams: (v,) tool n-grams, steps joined by a space.
        rarity: (v,) inverse document frequency of each.
        quantiles: (q, f) quantiles of each figure of `SHAPE`, ascending.
        figure_weights: (f,) of the figures within their block; sum to 1.
        outcome_shares: (3,) of `OUTCOMES` among the known ones.
        weights: (4,) of queries, tools, shape and outcome; sum to 1, outcome 0 if it is left out.
        text_fingerprint: the model that made the query vectors.
    """

    ngrams: NDArray[np.str_]
    rarity: FloatArray
    quantiles: FloatArray
    figure_weights: FloatArray
    outcome_shares: FloatArray
    weights: FloatArray
    text_fingerprint: str

    @property
    def with_outcome(self) -> bool:
        """Whether outcomes enter the comparison."""
        return bool(self.weights[-1] > 0)

    @property
    def fingerprint(self) -> str:
        """Of the vectors: the text model and everything frozen here."""
        arrays, _ = self.to_arrays()
        digest = hashlib.sha256(self.text_fingerprint.encode())
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
        return f"session-space-3:{digest.hexdigest()[:24]}"

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Arrays for an `.npz` without object types, and a JSON-able rest."""
        arrays = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return arrays, {"text_fingerprint": self.text_fingerprint}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> SessionSpace:
        """Inverse of `to_arrays`.

        Raises:
            ValueError: an array or a field is missing or unknown.
        """
        try:
            return cls(**arrays, **meta)
        except TypeError as error:
            raise ValueError(f"not a session space: {error}") from None


def fit_space(
    features: pl.DataFrame,
    queries: Vectors,
    weights: FloatArray,
    *,
    with_outcome: bool,
    text_fingerprint: str,
    rng: np.random.Generator,
    importance: Mapping[str, float] = IMPORTANCE,
) -> SessionSpace:
    """Fit the scales to production sessions.

    A block's weight is its importance over the spread of its cosines between pairs of sessions:
    blocks then differ between sessions as much as their importance says, whatever their width. The
    figures of a session's shape are weighted alike within their block; one that is the same for all
    sessions is left out, and so are tools that no session calls: nobody may have recorded them.

    Args:
        features: rows of `session_features`, n >= 2 sessions.
        queries: (n, 3 d) from `pool_queries`.
        weights: (n,) steady weights, not all zero.
        with_outcome: whether outcomes are known on both sides often enough to compare.
        text_fingerprint: the model that made the query vectors.
        rng: source of the pairs.
        importance: by block.

    Returns:
        The space.
    """
    left, right = rng.choice(len(features), (2, _PAIRS), p=weights / weights.sum())

    def spread(block: FloatArray) -> float:
        return float(np.einsum("ij,ij->i", block[left], block[right]).std())

    figures = _figures(features)
    quantiles = _quantiles(figures, weights)
    spreads = np.array([spread(turn) for turn in _angles(figures, quantiles)])
    of_figures = np.where(spreads > 0, 1.0 / np.maximum(spreads, _LEAST_FIGURE_SPREAD), 0.0)
    if not of_figures.any():
        of_figures[:] = 1.0
    of_figures /= of_figures.sum()
    ngrams, rarity = _vocabulary([tool_ngrams(tools) for tools in features["tools"]], weights)
    ended = (_outcomes(features) * weights[:, None]).sum(axis=0)
    shares = ended / ended.sum() if ended.any() else np.full(len(OUTCOMES), 1 / len(OUTCOMES))
    space = SessionSpace(
        ngrams, rarity, quantiles, of_figures, shares, np.full(4, 0.25), text_fingerprint
    )
    blocks = [spread(block) for block in _blocks(space, features, queries)]
    wanted = np.array(list(importance.values())) / np.maximum(blocks, _LEAST_SPREAD)
    if not features["n_tool_calls"].sum():
        wanted[1] = 0.0
    if not with_outcome:
        wanted[-1] = 0.0
    return replace(space, weights=wanted / wanted.sum())


def session_vectors(space: SessionSpace, features: pl.DataFrame, queries: Vectors) -> Vectors:
    """Unit vectors of sessions or cases.

    Args:
        space: frozen scales.
        features: (n) rows of `session_features` or `case_features`.
        queries: (n, 3 d) from `pool_queries`.

    Returns:
        (n, D) float32, L2-normalised.
    """
    blocks = _blocks(space, features, queries)
    parts = [np.sqrt(w) * block for w, block in zip(space.weights, blocks, strict=True)]
    return _unit(np.concatenate(parts, axis=1))


def pool_queries(text_hashes: pl.Series, known_hashes: Sequence[str], vectors: Vectors) -> Vectors:
    """First, mean and last query of each session, side by side.

    Args:
        text_hashes: (n,) lists of text hashes in order; nulls within are skipped.
        known_hashes: (t,) distinct hashes of the vectors.
        vectors: (t, d) L2-normalised vectors.

    Returns:
        (n, 3 d) float32 of norm 1; zero for a session without any text.
    """
    n, width = len(text_hashes), vectors.shape[1]
    places = pl.DataFrame(
        {"text_hash": known_hashes, "place": np.arange(len(known_hashes))},
        schema={"text_hash": pl.String, "place": pl.Int64},
    )
    turns = (
        pl.DataFrame({"session": np.arange(n), "text_hash": text_hashes})
        .explode("text_hash", empty_as_null=True)
        .join(places, on="text_hash", how="inner", maintain_order="left")
    )
    session, place = turns["session"].to_numpy(), turns["place"].to_numpy()
    pooled = np.zeros((3, n, width), np.float32)
    if len(session):
        starts = np.flatnonzero(np.diff(session, prepend=-1))
        present = session[starts]
        ends = np.append(starts[1:], len(session)) - 1
        pooled[0, present] = vectors[place[starts]]
        pooled[2, present] = vectors[place[ends]]
        total = np.zeros((n, width))
        for block in np.array_split(np.arange(len(session)), len(session) // 50_000 + 1):
            np.add.at(total, session[block], vectors[place[block]])
        pooled[1] = _unit(total)
    return _unit(np.concatenate(list(pooled), axis=1))


def tool_ngrams(tools: Sequence[str]) -> Counter[str]:
    """n-grams of one to three tool calls with start and end, joined by a space.

    Spaces inside of a tool's name are written as underscores.
    """
    names = [name.replace(" ", "_") for name in tools[:LONGEST_SEQUENCE]]
    steps = [START, *names, END]
    counts = Counter(names)
    for length in range(2, LONGEST_NGRAM + 1):
        counts.update(" ".join(steps[i : i + length]) for i in range(len(steps) - length + 1))
    return counts


def borrowed_tools(
    queries: Vectors, texts: Vectors, tools: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Tools of the most similar production turn, for turns of cases that do not name theirs.

    A case ends with a query that is yet to be answered, so what the answer calls is not written
    down; it is what production calls when it is asked the same.

    Args:
        queries: (n, d) vectors of the queries.
        texts: (t, d) vectors of production's distinct texts, t >= 1.
        tools: (t,) what a typical turn with that text calls.

    Returns:
        (n,) lists of tool names.
    """
    borrowed: list[list[str]] = []
    for start in range(0, len(queries), 1024):
        nearest = (queries[start : start + 1024] @ texts.T).argmax(axis=1)
        borrowed += [list(tools[i]) for i in nearest]
    return borrowed


def _blocks(space: SessionSpace, features: pl.DataFrame, queries: Vectors) -> list[FloatArray]:
    """Queries, tools, shape and outcome, each (n, width) of norm 1 (or 0 where there is none)."""
    places = {name: place for place, name in enumerate(space.ngrams.tolist())}
    tools = np.zeros((len(features), len(places) + 1))
    for row, names in enumerate(features["tools"]):
        for name, count in tool_ngrams(names).items():
            place = places.get(name, -1)
            tools[row, place] += np.log1p(count) * (space.rarity[place] if place >= 0 else 1.0)
    turns = _angles(_figures(features), space.quantiles)
    shape = np.concatenate(np.sqrt(space.figure_weights)[:, None, None] * turns, axis=1)
    outcome = _outcomes(features)
    outcome[~outcome.any(axis=1)] = space.outcome_shares
    outcome /= np.linalg.norm(outcome, axis=1, keepdims=True)
    return [queries.astype(np.float64), _unit(tools).astype(np.float64), shape, outcome]


def _outcomes(features: pl.DataFrame) -> FloatArray:
    """(n, 3) 1 at the outcome; 0 throughout where it is not known."""
    known: FloatArray = (
        features["outcome"].to_numpy()[:, None] == np.array(OUTCOMES)[None, :]
    ).astype(np.float64)
    return known


def _figures(features: pl.DataFrame) -> FloatArray:
    """(n, f) figures of the shape block; what is not known counts as none."""
    repetitions = pl.col("retries") + pl.col("rephrases").fill_null(0)
    table = features.with_columns(repetitions=repetitions).select(SHAPE).fill_null(0)
    return table.cast(pl.Float64).to_numpy()


def _vocabulary(
    counts: Sequence[Counter[str]], weights: FloatArray
) -> tuple[NDArray[np.str_], FloatArray]:
    """The n-grams that most sessions have, and their inverse document frequencies."""
    share: Counter[str] = Counter()
    for counted, weight in zip(counts, weights / weights.sum(), strict=True):
        for name in counted:
            share[name] += weight
    kept = sorted(share.items(), key=lambda item: (-item[1], item[0]))[:MOST_NGRAMS]
    rarity = np.array([1.0 + np.log(1.0 / max(s, 1e-9)) for _, s in kept])
    return np.array([name for name, _ in kept], dtype=np.str_), rarity


def _angles(figures: FloatArray, quantiles: FloatArray) -> FloatArray:
    """(f, n, 2) each figure as a direction: a right angle from its least to its largest value.

    In between the angle follows the rank among production's sessions: alike figures have cosine 1,
    and neither scale nor outliers matter.
    """
    turns = np.empty((figures.shape[1], len(figures), 2))
    for turn, values, known in zip(turns, figures.T, quantiles.T, strict=True):
        below, upto = (
            np.searchsorted(known, [*values, known[0], known[-1]], side)
            for side in ("left", "right")
        )
        *rank, least, most = below + upto
        share = (np.array(rank) - least) / max(most - least, 1)
        angle = np.pi / 2 * np.clip(share, 0.0, 1.0)
        turn[:] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return turns


def _quantiles(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(q, f) weighted quantiles of each column, from the least to the largest value."""
    order = np.argsort(values, axis=0, kind="stable")
    mass = np.cumsum(weights[order], axis=0) / weights.sum()
    columns = [
        column[rows][np.searchsorted(total, _LEVELS).clip(max=len(values) - 1)]
        for column, rows, total in zip(values.T, order.T, mass.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def _unit(rows: NDArray[np.floating]) -> Vectors:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Vectors = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0).astype(
        np.float32
    )
    return unit
