"""Failure signals of one's own: plain functions that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import polars as pl

from evalcov_pipeline.core.failures.rows import SIGNS, STRENGTHS
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.functions import ANY_END, imported

OwnSignal = Callable[[pl.DataFrame], Any]
_DIGITS = 6
"""Of strengths: what is smaller is no sign, and nothing is divided by it."""


def own_signals(named: Mapping[str, str]) -> dict[str, OwnSignal]:
    """The functions of `failures.own`, by signal.

    Raises:
        BadInput: a name that is taken, or a function that cannot be imported.
    """
    for name, path in named.items():
        if name in STRENGTHS:
            raise _blamed(name, path, "a signal of this name exists", "choose another name")
    return {name: _imported(name, path) for name, path in named.items()}


def own_signs(
    signals: Mapping[str, OwnSignal], named: Mapping[str, str], turns: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """What the functions find.

    Args:
        signals: from `own_signals`.
        named: the settings they came from.
        turns: each is given a copy, see docs/failures.md for its columns.

    Yields:
        Schema `SIGNS`.

    Raises:
        BadInput: a function raised, or returned something else than (n,) strengths of 0..1 or a
            frame of n rows with `strength` and, if it likes, `evidence`.
    """
    for name, function in signals.items():
        try:
            returned = function(turns.clone())
        except ANY_END as error:
            raise _blamed(name, named[name], f"it raised {error!r}") from error
        try:
            rows = _signs(name, returned, turns.height)
        except ANY_END as error:
            raise _blamed(name, named[name], str(error)) from error
        yield rows


def _signs(name: str, returned: Any, n: int) -> pl.DataFrame:
    if isinstance(returned, pl.DataFrame):
        if "strength" not in returned.columns:
            raise ValueError("its frame has no column 'strength'")
        strengths = returned["strength"]
        evidence = returned["evidence"] if "evidence" in returned.columns else None
    else:
        strengths, evidence = pl.Series(returned), None
    if len(strengths) != n:
        raise ValueError(f"it returned {len(strengths)} strengths for {n} turns")
    rows = pl.DataFrame(
        {
            "row": pl.Series(range(n), dtype=SIGNS["row"]),
            "strength": strengths.cast(pl.Float64).fill_nan(None).fill_null(0.0).round(_DIGITS),
            "evidence": pl.Series([None] * n, dtype=pl.String) if evidence is None else evidence,
        }
    )
    if not rows["strength"].is_between(0, 1).all():
        raise ValueError("its strengths are not all from 0 to 1")
    return (
        rows.filter(pl.col("strength") > 0)
        .with_columns(
            signal=pl.lit(name),
            evidence=pl.col("evidence").cast(pl.String).fill_null(f"own signal {name}"),
            threshold=pl.lit(None, pl.Float64),
        )
        .select(SIGNS.names())
        .cast(SIGNS)
    )


def _imported(name: str, path: str) -> OwnSignal:
    try:
        return imported(path)
    except ValueError as error:
        raise _blamed(name, path, str(error)) from error


def _blamed(
    name: str, path: str, what: str, what_to_do: str = "mend the function, or take it out"
) -> BadInput:
    return BadInput(f"own signal {name}: {what}", f"setting failures.own, {path}", what_to_do)
