"""Signs that an answer failed: what users say and do about it, and what the system itself recorded.

A sign belongs to the turn whose answer failed. Where a later turn tells it (the user asks again, or
objects), the row is that of the answered turn, and the evidence names the turn that tells.

Strengths order the signs before anybody has labelled anything; how often each is right is measured
by labels, see `signal_precision`.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from evalcov_pipeline.core import turns as lake
from evalcov_pipeline.core.phrases import objection, put_anew
from evalcov_pipeline.core.sessions import discontent
from evalcov_pipeline.core.shares import FloatArray

_RECORDED = (
    "started_at", "ended_at", "query_text", "error_type", "finish_reason", "retrieval_count",
    "retrieval_top_score", "retrieval_kind", "feedback", "outcome",
)  # fmt: skip
TURNS = pl.Schema(
    {
        "source": pl.String(),
        "session_id": pl.String(),
        "turn_index": pl.Int64(),
        "answered": pl.Boolean(),
        **{name: lake.TURNS[name] for name in _RECORDED},
    }
)
"""What signs are read from: one row per turn, ordered by source, session_id and turn_index.

`answered` is NULL where the source records no answers.
"""

FOUND = pl.Schema(
    {
        "row": pl.UInt32(),
        "signal": pl.String(),
        "strength": pl.Float64(),
        "evidence": pl.String(),
        "threshold": pl.Float64(),
    }
)
"""Signs: `row` is the place of the failed turn among the turns, `evidence` is not redacted yet."""

STRENGTHS = {
    "ticket": 1.0,
    "flagged": 1.0,
    "confident_but_wrong": 1.0,
    "thumbs_down": 0.9,
    "negative_feedback": 0.8,
    "friction": 0.8,
    "abrupt_end": 0.8,
    "regeneration": 0.7,
    "rephrase": 0.6,
    "null_retrieval": 0.5,
    "low_retrieval": 0.4,
}
"""Every signal, with the strength of its clearest instance."""
REACH = 2
"""Turns after an answer that are looked at for a repeated question."""
_FARTHER = 0.75
"""Factor on strength for what the second turn after the answer tells."""
_MANY, _RARELY = 4, 0.25
"""Different texts before a stock reply, and the share of its uses that begin a session."""
_REFUSED = ("content_filter", "content_filtered", "refusal", "refused", "safety", "blocked")
_UNHAPPY = ("not_helpful", "unhelpful", "wrong", "poor", "useless", "not_ok")
_UNRAISED = ("false", "no", "none", "0", "not_flagged", "ok", "good", "pass")
_TICKET, _REVIEWER, _REGENERATED = (
    "ticket|escalat|complaint", "flag|review|audit|annotat", "regenerat|retry|retried",
)  # fmt: skip
"""Names by which feedback tells of tickets, of reviewers and of regenerated answers."""
_RAISED_NAMES = f"{_TICKET}|flag|{_REGENERATED}"
_SESSION = ("source", "session_id")


def explicit(turns: pl.DataFrame) -> pl.DataFrame:
    """Signs that somebody gave on purpose: thumbs_down, ticket, negative_feedback, flagged.

    Verdicts of models and programs are no signs; a ticket that a program recorded is one. A flag
    counts only where a person is said to have set it.

    Args:
        turns: schema `TURNS`.

    Returns:
        Schema `FOUND`.
    """
    name, label = (pl.col(field).str.to_lowercase() for field in ("name", "label"))
    by = pl.col("annotator_kind").str.to_uppercase().fill_null("")
    raised = (
        pl.when(label.is_not_null()).then(~label.is_in(_UNRAISED)).otherwise(pl.col("value") > 0)
    ).fill_null(False)
    unhappy = discontent(pl.col("label"), pl.col("value")) | label.is_in(_UNHAPPY).fill_null(False)
    of_reviewer = name.str.contains(_REVIEWER).fill_null(False)
    of_ticket = name.str.contains(_TICKET).fill_null(False)
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
    said = pl.coalesce("label", pl.format("{}", pl.col("value").round(3)))
    return _found(
        _feedback(turns).with_columns(signal=signal).drop_nulls("signal"),
        strength=pl.col("signal").replace_strict(STRENGTHS, return_dtype=pl.Float64),
        evidence=pl.format("{}: {}", pl.col("name").fill_null("feedback"), said),
    )


def poor_retrieval(turns: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """Signs null_retrieval (captured and empty) and low_retrieval (a score below the cut).

    Args:
        turns: schema `TURNS`.
        cuts: source, retrieval_kind and cut, per retriever; see `thresholds.retrieval_cuts`.

    Returns:
        Schema `FOUND`; low_retrieval is the stronger the farther below the cut.
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
            _found(
                empty.collect(),
                signal="null_retrieval",
                evidence=pl.format("{} found nothing", which),
            ),
            _found(
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


def regenerations(turns: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
    """Sign regeneration: the same input came again within `REACH` turns, or was declared.

    What is sent again before the turn has ended is a double click, and what many sessions say after
    many different questions ("yes, please") is no question at all.

    Args:
        turns: schema `TURNS`.
        texts: (n,) normalised queries.

    Returns:
        Schema `FOUND`, on the turn whose answer was not taken.
    """
    rows = _placed(turns).with_columns(text=texts)
    rows = rows.with_columns(stock=_stock_replies(rows))
    again = []
    for back in range(1, REACH + 1):
        ended = pl.coalesce("ended_at", "started_at").shift(back)
        again.append(
            rows.filter(
                _same_session(back)
                & (pl.col("text") == pl.col("text").shift(back))
                & (pl.col("started_at") >= ended)
                & ~pl.col("stock")
            ).with_columns(row=pl.col("row") - back, back=pl.lit(back))
        )
    name = pl.col("name").str.to_lowercase()
    declared = _feedback(turns).filter(
        name.str.contains(_REGENERATED)
        & (pl.col("annotator_kind").str.to_uppercase() != "LLM").fill_null(True)
        & (pl.coalesce("value", pl.lit(1.0)) > 0)
    )
    told = pl.format("turn {} sends the same input again", "turn_index")
    return pl.concat(
        [
            _found(
                pl.concat(again),
                signal="regeneration",
                strength=_weaker("regeneration"),
                evidence=told,
            ),
            _found(declared, signal="regeneration", evidence=pl.format("declared: {}", "name")),
        ]
    )


def abrupt_ends(turns: pl.DataFrame, guards: pl.DataFrame) -> pl.DataFrame:
    """Sign abrupt_end: a session's last turn ended in an error, was refused or has no answer.

    That nobody wrote any more is no sign by itself. Nor has a session ended whose last turn is so
    recent that its next one may be yet to come.

    Args:
        turns: schema `TURNS`, all turns of their sessions from the first of them on.
        guards: source, `known_until` (newest turn that is known of the source) and `guard`
            (seconds after which its sessions hardly go on).

    Returns:
        Schema `FOUND`.
    """
    last = ~_same_session(-1)
    rows = _placed(turns).filter(last).join(guards, on="source")
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
    return _found(ends, signal="abrupt_end", evidence=pl.col("why"), threshold=pl.col("guard"))


def friction(turns: pl.DataFrame) -> pl.DataFrame:
    """Sign friction: the next turn objects in words; English alone, see `phrases`.

    Args:
        turns: schema `TURNS`.

    Returns:
        Schema `FOUND`, on the turn before.
    """
    said = objection(pl.col("query_text"))
    rows = _placed(turns).filter(_same_session(1)).with_columns(said=said).drop_nulls("said")
    return _found(
        rows.with_columns(pl.col("row") - 1),
        signal="friction",
        evidence=pl.format("turn {} says: {}", "turn_index", "said"),
    )


def rephrases(
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
        turns: schema `TURNS`.
        texts: (n,) normalised queries.
        pairs: `row` of the earlier turn and `back`, how many turns later the other one comes.
        similarity: (n,) of the pairs; NaN for the same text.
        cuts: source, cut and anew; null where they cannot be estimated.

    Returns:
        Schema `FOUND`, on the earlier turn.
    """
    rows = _placed(turns).with_columns(text=texts)
    by = pl.col("annotator_kind").str.to_uppercase().fill_null("")
    happy = _feedback(turns).filter(
        pl.col("value") > 0,
        ~by.is_in(["LLM", "CODE"]),
        ~pl.col("name").str.to_lowercase().str.contains(_RAISED_NAMES).fill_null(False),
    )
    told = rows.select(
        later="row", telling="turn_index", anew=put_anew(pl.col("query_text")), said="query_text"
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
    found = (
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
    return _found(
        found,
        signal="rephrase",
        strength=_weaker("rephrase") * (0.6 + 0.4 * excess.fill_nan(0.0)),
        evidence=pl.format(
            "turn {} asks it in other words (similarity {}): {}",
            "telling", pl.col("similarity").round(2), "said",
        ),
        threshold=pl.col("level"),
    )  # fmt: skip


def strongest(found: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """One row per turn and signal: the strongest sign, of equal ones the first in evidence."""
    signs = pl.concat(found, how="vertical")
    order = ["row", "signal", "strength", "evidence"]
    return signs.sort(order, descending=[False, False, True, False]).unique(
        ["row", "signal"], keep="first", maintain_order=True
    )


def _placed(turns: pl.DataFrame) -> pl.DataFrame:
    return turns.with_row_index("row")


def _feedback(turns: pl.DataFrame) -> pl.DataFrame:
    """`row` and the fields of each piece of feedback."""
    given = _placed(turns).select("row", "feedback").filter(pl.col("feedback").list.len() > 0)
    return given.explode("feedback").unnest("feedback")


def _stock_replies(rows: pl.DataFrame) -> pl.Series:
    """Whether each text is one that people say after different texts, and rarely begin with.

    Such as "yes, please": said again it is an answer again, not the same question again.
    """
    begins = ~_same_session(1)
    before = pl.when(~begins).then(pl.col("text").shift())
    use = rows.select("text", begins=begins, before=before).with_columns(
        after=pl.col("before").drop_nulls().n_unique().over("text"),
        begun=pl.col("begins").mean().over("text"),
    )
    return use.select((pl.col("after") >= _MANY) & (pl.col("begun") < _RARELY)).to_series()


def _same_session(back: int) -> pl.Expr:
    """Whether a turn and the one so many rows before it (after, if negative) share a session."""
    same = [pl.col(name) == pl.col(name).shift(back) for name in _SESSION]
    return pl.all_horizontal(same).fill_null(False)


def _weaker(signal: str) -> pl.Expr:
    return STRENGTHS[signal] * pl.when(pl.col("back") > 1).then(_FARTHER).otherwise(1.0)


def _found(
    rows: pl.DataFrame,
    *,
    evidence: pl.Expr,
    signal: str | None = None,
    strength: pl.Expr | float | None = None,
    threshold: pl.Expr | None = None,
) -> pl.DataFrame:
    """Rows in schema `FOUND`; without `signal` they bring their own."""
    columns = {
        "row": pl.col("row"),
        "signal": pl.lit(signal) if signal else pl.col("signal"),
        "strength": pl.lit(STRENGTHS[signal]) if strength is None and signal else strength,
        "evidence": evidence,
        "threshold": pl.lit(None) if threshold is None else threshold,
    }
    return rows.select(**columns).cast(FOUND)
