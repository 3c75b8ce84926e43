"""The same question again: sent as it was, or asked in other words."""

from __future__ import annotations

import polars as pl

from evalcov_pipeline.core.failures.phrases import objection, put_anew
from evalcov_pipeline.core.failures.rows import (
    RAISED,
    REGENERATED,
    STRENGTHS,
    feedback,
    placed,
    same_session,
    sign_rows,
)
from evalcov_pipeline.core.statistics.shares import FloatArray

REACH = 2
"""Turns after an answer that are looked at for a repeated question."""
_FARTHER = 0.75
"""Factor on strength for what the second turn after the answer tells."""
_MANY, _RARELY = 4, 0.25
"""Different texts before a stock reply, and the share of its uses that begin a session."""


def regeneration_signs(turns: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
    """Sign regeneration: the same input came again within `REACH` turns, or was declared.

    What is sent again before the turn has ended is a double click, and what many sessions say after
    many different questions ("yes, please") is no question at all.

    Args:
        turns: schema `SIGNAL_INPUT`.
        texts: (n,) normalised queries.

    Returns:
        Schema `SIGNS`, on the turn whose answer was not taken.
    """
    rows = placed(turns).with_columns(text=texts)
    rows = rows.with_columns(stock=_stock_replies(rows))
    again = []
    for back in range(1, REACH + 1):
        ended = pl.coalesce("ended_at", "started_at").shift(back)
        again.append(
            rows.filter(
                same_session(back)
                & (pl.col("text") == pl.col("text").shift(back))
                & (pl.col("started_at") >= ended)
                & ~pl.col("stock")
            ).with_columns(row=pl.col("row") - back, back=pl.lit(back))
        )
    name = pl.col("name").str.to_lowercase()
    declared = feedback(turns).filter(
        name.str.contains(REGENERATED)
        & (pl.col("annotator_kind").str.to_uppercase() != "LLM").fill_null(True)
        & (pl.coalesce("value", pl.lit(1.0)) > 0)
    )
    told = pl.format("turn {} sends the same input again", "turn_index")
    return pl.concat(
        [
            sign_rows(
                pl.concat(again),
                signal="regeneration",
                strength=_weaker("regeneration"),
                evidence=told,
            ),
            sign_rows(declared, signal="regeneration", evidence=pl.format("declared: {}", "name")),
        ]
    )


def rephrase_signs(
    turns: pl.DataFrame,
    texts: pl.Series,
    pairs: pl.DataFrame,
    similarity: FloatArray,
    cuts: pl.DataFrame,
) -> pl.DataFrame:
    """Sign rephrase: a turn within `REACH` says the same as the answered one in other words.

    Its similarity lies above what two questions of one topic have (the cut) and it is not the same
    text. A turn that opens by saying that it puts things anew ("I mean ...") needs only be as
    similar as the middle one of unrelated pairs. What follows an answer that is said to have
    succeeded is a refinement, no rephrase.

    The second turn after an answer tells of it only where the turn between is no question of its
    own: a stock reply, an objection, or one that belongs with either of them. People who come back
    to a topic after another one are no sign that anything failed. Of two turns before, the more
    similar one failed.

    Args:
        turns: schema `SIGNAL_INPUT`.
        texts: (n,) normalised queries.
        pairs: `row` of the earlier turn and `back`, how many turns later the other one comes.
        similarity: (n,) of the pairs; NaN for the same text.
        cuts: source, cut and anew; null where they cannot be estimated.

    Returns:
        Schema `SIGNS`, on the earlier turn.
    """
    rows = placed(turns).with_columns(text=texts)
    by = pl.col("annotator_kind").str.to_uppercase().fill_null("")
    happy = feedback(turns).filter(
        pl.col("value") > 0,
        ~by.is_in(["LLM", "CODE"]),
        ~pl.col("name").str.to_lowercase().str.contains(RAISED).fill_null(False),
    )
    told = rows.select(
        later="row", telling="turn_index", anew=put_anew(pl.col("query_text")), words="query_text"
    )
    near = (
        pairs.with_columns(
            later=pl.col("row") + pl.col("back").cast(pl.UInt32),
            similarity=pl.Series(similarity, dtype=pl.Float64).fill_nan(None),
        )
        .join(rows.select("row", "source", "outcome"), on="row")
        .join(cuts.rename({"anew": "anew_cut"}), on="source")
    )
    alike = (pl.col("similarity") >= pl.col("cut")) | pl.col("similarity").is_null()
    linked = near.filter(pl.col("back") == 1, alike)
    idle = rows.filter(objection(pl.col("query_text")).is_not_null() | _stock_replies(rows))
    between = pl.concat([linked["row"], linked["later"], idle["row"]]).unique()
    level = pl.when("anew").then(pl.min_horizontal("anew_cut", "cut")).otherwise("cut")
    repeats = (
        near.join(told, on="later")
        .join(happy.select("row"), on="row", how="anti")
        .with_columns(level=level)
        .filter(
            pl.col("similarity") >= pl.col("level"),
            (pl.col("outcome") != "success").fill_null(True),
            (pl.col("back") == 1) | (pl.col("row") + 1).is_in(between.implode()),
        )
        .sort("later", "similarity", "back", descending=[False, True, False])
        .unique("later", keep="first", maintain_order=True)
    )
    excess = ((pl.col("similarity") - pl.col("level")) / (1 - pl.col("level"))).clip(0, 1)
    return sign_rows(
        repeats,
        signal="rephrase",
        strength=_weaker("rephrase") * (0.6 + 0.4 * excess.fill_nan(0.0)),
        evidence=pl.format(
            "turn {} asks it in other words (similarity {}): {}",
            "telling", pl.col("similarity").round(2), "words",
        ),
        threshold=pl.col("level"),
    )  # fmt: skip


def _stock_replies(rows: pl.DataFrame) -> pl.Series:
    """Whether each text is one that people say after different texts, and rarely begin with.

    Such as "yes, please": said again it is an answer again, not the same question again.
    """
    begins = ~same_session(1)
    before = pl.when(~begins).then(pl.col("text").shift())
    use = rows.select("text", begins=begins, before=before).with_columns(
        after=pl.col("before").drop_nulls().n_unique().over("text"),
        begun=pl.col("begins").mean().over("text"),
    )
    return use.select((pl.col("after") >= _MANY) & (pl.col("begun") < _RARELY)).to_series()


def _weaker(signal: str) -> pl.Expr:
    return STRENGTHS[signal] * pl.when(pl.col("back") > 1).then(_FARTHER).otherwise(1.0)
