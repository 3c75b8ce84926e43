"""Plain traits of sessions, one by one: is there any case as long, as troubled, as successful?

A divergence over many clusters needs hundreds of cases before it shows that one trait is missing;
the trait by itself shows it with fifty. Traits overlap and say nothing of combinations: those are
what clusters of sessions are for.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from evalcov_pipeline.core.coverage.clusters import statuses
from evalcov_pipeline.core.sessions.features import CHARACTERS_PER_TOKEN
from evalcov_pipeline.core.statistics.shares import (
    FloatArray,
    IntArray,
    kish,
    replicated_means,
    share_interval,
    unit_weights,
)

_NEVER = 2.0
"""A share that no trait reaches: traits overlap, so none is a liability by itself."""
_QUARTERS = (0.25, 0.5, 0.75)
_MOST_TOOLS = 3
_ONE_TURN = {"up to 1 turns": "one turn", "more than 1 turns": "more than one turn"}
_COLUMNS = pl.Schema(
    {
        "figure": pl.String(),
        "trait": pl.String(),
        "production_share": pl.Float64(),
        "production_share_low": pl.Float64(),
        "production_share_high": pl.Float64(),
        "eval_cases": pl.Int64(),
        "eval_share": pl.Float64(),
        "status": pl.String(),
    }
)


def trait_coverage(
    sessions: pl.DataFrame,
    weights: ArrayLike,
    strata: ArrayLike,
    cases: pl.DataFrame,
    rng: np.random.Generator,
    *,
    with_outcome: bool,
    resamples: int = 999,
) -> pl.DataFrame:
    """Compare how many sessions and how many cases have each trait.

    Traits: the quarter of production's sessions by turns, and by context said so far; the number of
    distinct tools; a failed tool call; something sent or said again; the outcome. Statuses as of
    clusters (`coverage.statuses`), but for liability, over all traits together.

    Args:
        sessions: s rows of `session_features`.
        weights: (s,) steady weights, non-negative, not all zero.
        strata: (s,) strata that the sessions were drawn from.
        cases: rows of `case_features`.
        rng: source of the resamples behind the intervals.
        with_outcome: whether outcomes are known on both sides often enough to compare.
        resamples: number of replicates, >= 1.

    Returns:
        One row per trait that production or the suite has: figure, trait (in words),
        production_share, production_share_low, production_share_high, eval_cases, eval_share (None
        for an empty suite), status. Shares are of sessions and cases, 0..1.

    Raises:
        ValueError: lengths that disagree, or bad weights.
    """
    w, n = unit_weights(weights, strata, len(sessions)), len(cases)
    if sessions.is_empty():
        return pl.DataFrame(schema=_COLUMNS)
    names, having = _traits(sessions, cases, w, with_outcome)
    share, count = w @ having[: len(w)], having[len(w) :].sum(axis=0).astype(np.int64)
    seen = (share > 0) | (count > 0)
    having, share, count = having[: len(w), seen], share[seen], count[seen]
    replicates = replicated_means(csr_array(having), w, strata, rng, resamples)
    low, high = share_interval(share, replicates, kish(w))
    return pl.DataFrame(
        {
            "figure": [name for (name, _), kept in zip(names, seen, strict=True) if kept],
            "trait": [words for (_, words), kept in zip(names, seen, strict=True) if kept],
            "production_share": np.clip(share, 0.0, 1.0),
            "production_share_low": low,
            "production_share_high": high,
            "eval_cases": count,
            "eval_share": count / n if n else None,
            "status": statuses(share, low, high, count, n, _NEVER).tolist(),
        },
        schema=_COLUMNS,
    )


def _traits(
    sessions: pl.DataFrame, cases: pl.DataFrame, weights: FloatArray, with_outcome: bool
) -> tuple[list[tuple[str, str]], FloatArray]:
    """Figure and words of each trait, and (sessions + cases, traits) who has it."""
    rows = pl.concat([sessions, cases], how="diagonal")
    of_production = slice(0, len(sessions))
    names: list[tuple[str, str]] = []
    having: list[NDArray[np.bool_]] = []

    def add(figure: str, words: str, mask: NDArray[np.bool_]) -> None:
        names.append((figure, words))
        having.append(mask)

    context = rows["conversation_chars"].to_numpy() / CHARACTERS_PER_TOKEN
    for figure, unit, values in (
        ("turns", "turns", rows["n_turns"].to_numpy()),
        ("context", "tokens of context", context.round(-1)),
    ):
        whole = values.astype(np.int64)
        cuts = _quarters(whole[of_production], weights)
        for first, last in zip([None, *(cuts + 1)], [*cuts, None], strict=True):
            inside = (whole >= (first or 0)) & (whole <= (np.inf if last is None else last))
            words = f"{_range(first, last)} {unit}"
            add(figure, _ONE_TURN.get(words, words), inside)
    if sessions["n_tool_calls"].sum():
        tools = rows["n_tools"].to_numpy()
        for number in range(_MOST_TOOLS):
            add("tools", f"{number or 'no'} tool{'s' * (number > 1)}", tools == number)
        add("tools", f"{_MOST_TOOLS} tools or more", tools >= _MOST_TOOLS)
        add("failures", "a failed tool call", (rows["tool_failures"].fill_null(0) > 0).to_numpy())
    again = rows["retries"] + rows["rephrases"].fill_null(0)
    add("repetitions", "something sent or said again", (again > 0).to_numpy())
    if with_outcome:
        for outcome in ("success", "abandoned", "error"):
            add("outcome", f"outcome {outcome}", (rows["outcome"] == outcome).to_numpy())
    return names, np.stack(having, axis=1).astype(float)


def _quarters(values: IntArray, weights: FloatArray) -> IntArray:
    """Distinct weighted quartiles, the largest value left out: it ends the last range."""
    order = np.argsort(values, kind="stable")
    place = np.searchsorted(np.cumsum(weights[order]), _QUARTERS).clip(max=len(values) - 1)
    cuts: IntArray = np.setdiff1d(values[order][place], values.max())
    return cuts


def _range(first: int | None, last: int | None) -> str:
    if first is None and last is None:
        return "any number of"
    if first is None:
        return f"up to {last}"
    if last is None:
        return f"more than {first - 1}"
    return f"{first}" if first == last else f"{first} to {last}"
