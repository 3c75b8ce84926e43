"""Failure signals of a week: read from all its turns, with what was said before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.failures.repeated_questions import regeneration_signs, rephrase_signs
from evalcov_pipeline.core.failures.rows import SIGNS, STRENGTHS, strongest
from evalcov_pipeline.core.failures.signals import (
    abrupt_end_signs,
    explicit_signs,
    friction_signs,
    retrieval_signs,
)
from evalcov_pipeline.core.failures.thresholds import (
    Threshold,
    low_share,
    quiet_guard,
    retrieval_cuts,
)
from evalcov_pipeline.core.text.hedging import hedges
from evalcov_pipeline.core.text.normalise import normalise_all
from evalcov_pipeline.core.traffic.feedback import rejected
from evalcov_pipeline.core.traffic.weeks import WEEK
from evalcov_pipeline.embedding import Progress
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.failures.own_signals import own_signals, own_signs
from evalcov_pipeline.services.failures.repetition import Repetition, repetition
from evalcov_pipeline.services.labels.queue import JUDGED_BY_PEOPLE
from evalcov_pipeline.services.traffic.texts import add_texts, redacted
from evalcov_pipeline.services.traffic.turns import turns_between, turns_of_sessions
from evalcov_pipeline.settings import LINEAGE_DAYS, FailureSettings, Settings
from evalcov_pipeline.storage.lake import naming_damage
from evalcov_pipeline.storage.warehouse import Columns, frame, insert, replace_slice

_DAY = timedelta(days=1)
_READ = (
    "session_key", "ended_at", "query_text", "error_type", "finish_reason", "retrieval_count",
    "retrieval_top_score", "retrieval_kind", "feedback", "outcome",
)  # fmt: skip
_FOR_OWN = (
    "answer_text", "user_id", "model", "prompt_version", "release", "tool_calls", "tool_failures",
    "latency_ms", "cost_usd",
)  # fmt: skip
_HIDDEN = ("span_id", "session_key", "text")
_LONGEST_EVIDENCE = 200
_THRESHOLDS: Columns = {
    "source": pl.String, "signal": pl.String, "threshold": pl.Float64, "n": pl.Int64,
    "reason": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class WeekSignals:
    """What was found in a week.

    Attributes:
        signals: rows of `failure_signals`, less `as_of`.
        thresholds: rows of `signal_thresholds`, less `as_of`.
        texts: text_hash and text of the signalled turns, as many as are read.
        n_turns: turns of the week.
        n_pairs: pairs of turns that could be a question and its rephrase.
        n_compared: of them, those whose texts were compared.
    """

    signals: pl.DataFrame
    thresholds: pl.DataFrame
    texts: pl.DataFrame
    n_turns: int
    n_pairs: int
    n_compared: int


def find_signals(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    as_of: datetime,
    redact_all: Callable[[Sequence[str]], list[str]],
    progress: Progress | None = None,
) -> WeekSignals | None:
    """Look for signs of failure in all turns of a week.

    Args:
        con: a reading connection, for what people say about answers.
        settings: of the pipeline.
        as_of: exclusive end of the week.
        redact_all: takes personal data out of texts.
        progress: told how many new texts are embedded.

    Returns:
        The signs; None for a week without turns.

    Raises:
        BadInput: an own signal that cannot be used, or a signal to switch off that nobody knows.
    """
    rules = settings.failures
    own = own_signals(rules.own)
    _known_names(rules)
    turns = turns_around_week(settings.lake, as_of, with_answers=bool(own))
    if turns is None:
        return None
    scores = _scores(settings.lake, as_of)
    shares = {s: low_share(scores.filter(source=s)) for s in turns["source"].unique()}
    guards = _guards(turns, as_of)
    again = None
    if "rephrase" not in rules.off:
        again = repetition(turns, settings, as_of, redact_all, progress)
    retrieval = retrieval_signs(turns, _cuts(scores, shares))
    signs = strongest(
        [
            explicit_signs(turns),
            retrieval,
            regeneration_signs(turns, turns["text"]),
            abrupt_end_signs(turns, _guard_frame(turns, guards)),
            friction_signs(turns),
            _wrong_by_people(con, turns, retrieval, as_of),
            *([_rephrased(turns, again)] if again else []),
            *own_signs(own, rules.own, turns.drop(_HIDDEN, strict=False)),
        ]
    )
    of_week = turns.with_row_index("row").filter("in_week")
    signs = signs.filter(~pl.col("signal").is_in(rules.off)).join(
        of_week, on="row", maintain_order="left"
    )
    texts = _read_texts(signs, redact_all, rules)
    evidence = redacted(signs["evidence"], redact_all)
    signals = (
        signs.rename({"evidence": "raw"})
        .join(evidence.select("raw", evidence="text"), on="raw", how="left", maintain_order="left")
        .join(texts.select("row", "text_hash"), on="row", how="left", maintain_order="left")
        .with_columns(pl.col("evidence").str.slice(0, _LONGEST_EVIDENCE))
        .select(
            "source", "trace_id", "turn_index", "signal", "session_id", "started_at", "strength",
            "evidence", "threshold", "text_hash",
        )
        .unique(["source", "trace_id", "turn_index", "signal"], keep="first", maintain_order=True)
    )  # fmt: skip
    cuts: dict[str, dict[str, Threshold]] = {"low_retrieval": shares, "abrupt_end": guards}
    if again:
        cuts |= {"rephrase": dict(again.cuts)}
    return WeekSignals(
        signals,
        _threshold_rows({name: cut for name, cut in cuts.items() if name not in rules.off}),
        texts.select("text_hash", "text", first_seen_at="started_at"),
        n_turns=int(turns["in_week"].sum()),
        n_pairs=again.n_pairs if again else 0,
        n_compared=len(again.pairs) if again else 0,
    )


def write_signals(
    con: duckdb.DuckDBPyConnection, as_of: datetime, week: WeekSignals | None
) -> dict[str, int]:
    """Replace a week's rows of `failure_signals` and `signal_thresholds`; how many each has.

    A turn of a trace that another week holds already keeps its row there.
    """
    con.execute("DELETE FROM failure_signals WHERE as_of = ?", [as_of])
    if week is None:
        replace_slice(con, "signal_thresholds", pl.DataFrame(), as_of=as_of)
        return {"failure_signals": 0, "signal_thresholds": 0}
    add_texts(con, week.texts)
    stamp = pl.lit(as_of, pl.Datetime("us")).alias("as_of")
    insert(con, "failure_signals", week.signals.with_columns(stamp), new_only=True)
    return {
        "failure_signals": week.signals.height,
        "signal_thresholds": replace_slice(
            con, "signal_thresholds", week.thresholds.with_columns(stamp), as_of=as_of
        ),
    }


def _known_names(rules: FailureSettings) -> None:
    known = {*STRENGTHS, *rules.own}
    if unknown := sorted(set(rules.off) - known):
        raise BadInput(
            what=f"no signal is called {', '.join(unknown)}",
            where="setting failures.off",
            what_to_do=f"choose from {', '.join(sorted(known))}",
        )


def turns_around_week(lake: Path, as_of: datetime, *, with_answers: bool) -> pl.DataFrame | None:
    """Turns of the week's sessions from a day before the week to a day after it, in order.

    Args:
        lake: folder of the lake.
        as_of: exclusive end of the week.
        with_answers: read what own signals are given, too.

    Returns:
        What is read, turn_index, answered (None where its source never captures answers), in_week,
        known_until (newest turn of the source that is known) and text (the query, normalised);
        None for a week without turns.

    Raises:
        BadInput: a file of the lake is damaged.
    """
    start, end = as_of - WEEK - _DAY, as_of + _DAY
    within = pl.col("started_at").is_between(as_of - WEEK, as_of, closed="left")
    answered = pl.col("answer_text").is_not_null().alias("answered")
    around = turns_between(lake, start, end)
    with naming_damage(lake):
        sessions, sources = pl.collect_all([
            around.filter(within).select("session_key").unique(),
            around.group_by("source").agg(
                known_until=pl.max("started_at"), captured=answered.any()
            ),
        ])  # fmt: skip
    if sessions.is_empty():
        return None
    columns = [*_READ, *(_FOR_OWN if with_answers else ()), answered]
    turns = turns_of_sessions(lake, sessions, columns, start=start, end=end)
    return (
        turns.join(sources, on="source", maintain_order="left")
        .with_columns(
            answered=pl.when("captured").then("answered"),
            in_week=within,
            text=normalise_all(turns["query_text"]),
        )
        .drop("captured")
    )


def _scores(lake: Path, as_of: datetime) -> pl.DataFrame:
    """source, session, retrieval_kind, score and bad of the retrievals of five weeks."""
    people = pl.col("feedback").list.filter(
        ~pl.element().struct.field("annotator_kind").str.to_uppercase().fill_null("")
        .is_in(["LLM", "CODE"])
    )  # fmt: skip
    bad = (
        rejected(people)
        | pl.col("error_type").is_not_null()
        | pl.col("outcome").is_in(["error", "abandoned"]).fill_null(False)
    )
    start = as_of - timedelta(days=LINEAGE_DAYS)
    scores = (
        turns_between(lake, start, as_of)
        .filter(pl.col("retrieval_top_score").is_not_null())
        .select(
            "source", "retrieval_kind", session="session_key", score="retrieval_top_score", bad=bad
        )
    )
    with naming_damage(lake):
        return scores.collect(engine="streaming")


def _cuts(scores: pl.DataFrame, shares: dict[str, Threshold]) -> pl.DataFrame:
    """source, retrieval_kind and cut of the retrievers that have one."""
    schema = {"source": pl.String, "retrieval_kind": pl.String, "cut": pl.Float64}
    frames = [
        retrieval_cuts(scores.filter(source=source), share.value).select(
            pl.lit(source).alias("source"), "retrieval_kind", "cut"
        )
        for source, share in shares.items()
        if share.value is not None
    ]
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _guards(turns: pl.DataFrame, as_of: datetime) -> dict[str, Threshold]:
    """After how many quiet seconds the sessions of each source have ended."""
    session = ["source", "session_id"]
    waited = pl.col("started_at") - pl.coalesce("ended_at", "started_at").shift().over(session)
    gaps = turns.filter(pl.col("started_at") < as_of).select(
        "source", gap=(waited.dt.total_microseconds() / 1e6).clip(lower_bound=0)
    )
    return {
        source: quiet_guard(gaps.filter(source=source)["gap"].drop_nulls().to_numpy())
        for source in turns["source"].unique()
    }


def _guard_frame(turns: pl.DataFrame, guards: dict[str, Threshold]) -> pl.DataFrame:
    known = turns.group_by("source").agg(pl.max("known_until"))
    values = {source: guard.value for source, guard in guards.items()}
    return known.with_columns(guard=pl.col("source").replace_strict(values))


def _rephrased(turns: pl.DataFrame, again: Repetition) -> pl.DataFrame:
    cuts = pl.DataFrame(
        [(source, cut.value, cut.anew) for source, cut in again.cuts.items()],
        schema={"source": pl.String, "cut": pl.Float64, "anew": pl.Float64},
        orient="row",
    )
    return rephrase_signs(turns, turns["text"], again.pairs, again.similarity, cuts)


def _wrong_by_people(
    con: duckdb.DuckDBPyConnection, turns: pl.DataFrame, retrieval: pl.DataFrame, as_of: datetime
) -> pl.DataFrame:
    """Sign confident_but_wrong: people call an answer wrong that sounds sure and had its sources.

    Of each rater the last label before `as_of` counts; most of them have to say so.
    """
    judged = frame(
        con,
        "SELECT q.source, q.trace_id, q.turn_index, any_value(q.answer) AS answer"
        f" FROM annotation_queue q JOIN ({JUDGED_BY_PEOPLE}) said USING (task_id)"
        " WHERE q.answer IS NOT NULL"
        " GROUP BY q.source, q.trace_id, q.turn_index HAVING avg(said.passed::INT) < 0.5",
        [as_of],
    )
    sure = [not hedges(answer) for answer in judged["answer"]]
    wrong = judged.filter(pl.Series(sure, dtype=pl.Boolean)).drop("answer")
    rows = (
        turns.with_row_index("row")
        .join(wrong, on=["source", "trace_id", "turn_index"], how="semi")
        .join(retrieval, on="row", how="anti")
    )
    return rows.select(
        "row",
        signal=pl.lit("confident_but_wrong"),
        strength=pl.lit(STRENGTHS["confident_but_wrong"]),
        evidence=pl.lit("people call the answer wrong, and it does not hedge"),
        threshold=pl.lit(None, pl.Float64),
    ).cast(SIGNS)


def _read_texts(
    signs: pl.DataFrame, redact_all: Callable[[Sequence[str]], list[str]], rules: FailureSettings
) -> pl.DataFrame:
    """row, text_hash, text and started_at of signalled turns, evenly drawn where there are many."""
    turns = signs.select("row", "started_at", "text").unique("row", maintain_order=True)
    if turns.height > rules.max_new_texts:
        rng = np.random.default_rng(rules.seed)
        turns = turns[np.sort(rng.choice(turns.height, rules.max_new_texts, replace=False))]
    spelt = redacted(turns["text"], redact_all)
    return (
        turns.rename({"text": "raw"})
        .join(spelt, on="raw", how="inner", maintain_order="left")
        .drop_nulls("text_hash")
    )


def _threshold_rows(cuts: dict[str, dict[str, Threshold]]) -> pl.DataFrame:
    return pl.DataFrame(list(_named(cuts)), schema=_THRESHOLDS, orient="row").sort(
        "source", "signal"
    )


def _named(cuts: dict[str, dict[str, Threshold]]) -> Iterator[tuple[object, ...]]:
    for signal, by_source in cuts.items():
        for source, cut in by_source.items():
            yield source, signal, cut.value, cut.n, cut.reason
