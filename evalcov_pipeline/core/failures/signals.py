"""Signs that an answer failed: what users say and do about it, and what the system itself recorded.

A sign belongs to the turn whose answer failed. Where a later turn tells it (the user asks again, or
objects), the row is that of the answered turn, and the evidence names the turn that tells.

Strengths order the signs before anybody has labelled anything; how often each is right is measured
by labels, see `signal_precision`.
"""

from __future__ import annotations

import polars as pl

from evalcov_pipeline.core.failures.phrases import objection
from evalcov_pipeline.core.failures.rows import (
    REVIEWER,
    STRENGTHS,
    TICKET,
    feedback,
    placed,
    same_session,
    sign_rows,
)
from evalcov_pipeline.core.traffic.feedback import discontent

_REFUSED = ("content_filter", "content_filtered", "refusal", "refused", "safety", "blocked")
_UNHAPPY = ("not_helpful", "unhelpful", "wrong", "poor", "useless", "not_ok")
_UNRAISED = ("false", "no", "none", "0", "not_flagged", "ok", "good", "pass")


def explicit_signs(turns: pl.DataFrame) -> pl.DataFrame:
    """Signs that somebody gave on purpose: thumbs_down, ticket, negative_feedback, flagged.

    Verdicts of models and programs are no signs; a ticket that a program recorded is one. A flag
    counts only where a person is said to have set it.

    Args:
        turns: schema `SIGNAL_INPUT`.

    Returns:
        Schema `SIGNS`.
    """
    name, label = (pl.col(field).str.to_lowercase() for field in ("name", "label"))
    by = pl.col("annotator_kind").str.to_uppercase().fill_null("")
    raised = (
        pl.when(label.is_not_null()).then(~label.is_in(_UNRAISED)).otherwise(pl.col("value") > 0)
    ).fill_null(False)
    unhappy = discontent(pl.col("label"), pl.col("value")) | label.is_in(_UNHAPPY).fill_null(False)
    of_reviewer = name.str.contains(REVIEWER).fill_null(False)
    of_ticket = name.str.contains(TICKET).fill_null(False)
    flagging = pl.when(name.str.contains("flag")).then(raised).otherwise(unhappy)
    thumb = name.str.contains("thumb") | label.str.contains("^(?:thumbs?_?)?down$|^dislike$")
    signal = (
        pl.when(of_ticket)
        .then(pl.when(raised & (by != "LLM")).then(pl.lit("ticket")))
        .when(by.is_in(["LLM", "CODE"]))
        .then(None)
        .when(of_reviewer)
        .then(pl.when(flagging & (by == "HUMAN")).then(pl.lit("flagged")))
        .when(unhappy & thumb.fill_null(False))
        .then(pl.lit("thumbs_down"))
        .when(unhappy)
        .then(pl.lit("negative_feedback"))
    )
    told = pl.coalesce("label", pl.format("{}", pl.col("value").round(3)))
    return sign_rows(
        feedback(turns).with_columns(signal=signal).drop_nulls("signal"),
        strength=pl.col("signal").replace_strict(STRENGTHS, return_dtype=pl.Float64),
        evidence=pl.format("{}: {}", pl.col("name").fill_null("feedback"), told),
    )


def retrieval_signs(turns: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """Signs null_retrieval (captured and empty) and low_retrieval (a score below the cut).

    Args:
        turns: schema `SIGNAL_INPUT`.
        cuts: source, retrieval_kind and cut, per retriever; see `thresholds.retrieval_cuts`.

    Returns:
        Schema `SIGNS`; low_retrieval is the stronger the farther below the cut.
    """
    which = pl.col("retrieval_kind").fill_null("retrieval")
    rows = turns.lazy().with_row_index("row")
    empty = rows.filter(pl.col("retrieval_count") == 0)
    low = rows.join(cuts.lazy(), on=["source", "retrieval_kind"], nulls_equal=True).filter(
        pl.col("retrieval_top_score") < pl.col("cut")
    )
    score, cut = pl.col("retrieval_top_score"), pl.col("cut")
    depth = pl.when(cut > 0).then(((cut - score) / cut).clip(0, 1)).otherwise(0.0)
    return pl.concat(
        [
            sign_rows(
                empty.collect(),
                signal="null_retrieval",
                evidence=pl.format("{} found nothing", which),
            ),
            sign_rows(
                low.collect(),
                signal="low_retrieval",
                strength=STRENGTHS["low_retrieval"] * (0.5 + 0.5 * depth),
                evidence=pl.format(
                    "{}: best score {}, below {} of its own scores",
                    which, score.round(2), cut.round(2),
                ),
                threshold=cut,
            ),
        ]
    )  # fmt: skip


def abrupt_end_signs(turns: pl.DataFrame, guards: pl.DataFrame) -> pl.DataFrame:
    """Sign abrupt_end: a session's last turn ended in an error, was refused or has no answer.

    That nobody wrote any more is no sign by itself. Nor has a session ended whose last turn is so
    recent that its next one may be yet to come.

    Args:
        turns: schema `SIGNAL_INPUT`, all turns of their sessions from the first of them on.
        guards: source, `known_until` (newest turn that is known of the source) and `guard`
            (seconds after which its sessions hardly go on).

    Returns:
        Schema `SIGNS`.
    """
    last = ~same_session(-1)
    rows = placed(turns).filter(last).join(guards, on="source")
    ended = pl.coalesce("ended_at", "started_at")
    quiet = (pl.col("known_until") - ended).dt.total_microseconds() / 1e6
    refused = pl.col("finish_reason").str.to_lowercase().is_in(_REFUSED)
    why = (
        pl.when(pl.col("error_type").is_not_null())
        .then(pl.format("the last turn failed: {}", "error_type"))
        .when(pl.col("outcome") == "error")
        .then(pl.lit("the last turn is said to have ended in an error"))
        .when(refused)
        .then(pl.format("the last turn was refused: {}", "finish_reason"))
        .when(~pl.col("answered"))
        .then(pl.lit("the last query has no answer"))
    )
    ends = rows.filter(quiet > pl.col("guard")).with_columns(why=why).drop_nulls("why")
    return sign_rows(ends, signal="abrupt_end", evidence=pl.col("why"), threshold=pl.col("guard"))


def friction_signs(turns: pl.DataFrame) -> pl.DataFrame:
    """Sign friction: the next turn objects in words; English alone, see `phrases`.

    Args:
        turns: schema `SIGNAL_INPUT`.

    Returns:
        Schema `SIGNS`, on the turn before.
    """
    words = objection(pl.col("query_text"))
    rows = placed(turns).filter(same_session(1)).with_columns(words=words).drop_nulls("words")
    return sign_rows(
        rows.with_columns(pl.col("row") - 1),
        signal="friction",
        evidence=pl.format("turn {} says: {}", "turn_index", "words"),
    )
