"""Folding spans into user turns.

A trace is a tree of spans; a user turn is one of its roots with everything below it. The fold looks
at content only, so the order of spans and the way they were spread over files cannot matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from hashlib import md5

import polars as pl

_PAIRS: pl.DataType = pl.List(pl.Struct({"key": pl.String(), "value": pl.String}))
_FEEDBACK: pl.DataType = pl.List(
    pl.Struct(
        {
            "name": pl.String(),
            "value": pl.Float64(),
            "label": pl.String(),
            "annotator_kind": pl.String,
        }
    )
)

SPANS = pl.Schema(
    {
        "source": pl.String(),
        "trace_id": pl.String(),
        "span_id": pl.String(),
        "parent_id": pl.String(),
        "kind": pl.String(),
        "started_at": pl.Datetime("us"),
        "ended_at": pl.Datetime("us"),
        "session_id": pl.String(),
        "user_id": pl.String(),
        "query_text": pl.String(),
        "answer_text": pl.String(),
        "model": pl.String(),
        "prompt_version": pl.String(),
        "release": pl.String(),
        "environment": pl.String(),
        "service": pl.String(),
        "segment": _PAIRS,
        "tool_calls": pl.List(pl.String),
        "tool_failures": pl.Int64(),
        "context_tokens": pl.Int64(),
        "input_tokens": pl.Int64(),
        "output_tokens": pl.Int64(),
        "cost_usd": pl.Float64(),
        "error_type": pl.String(),
        "finish_reason": pl.String(),
        "retrieval_count": pl.Int64(),
        "retrieval_top_score": pl.Float64(),
        "retrieval_kind": pl.String(),
        "feedback": _FEEDBACK,
        "outcome": pl.String(),
        "set_aside": pl.String(),
    }
)
"""One row per span, as `formats` reads it and staging keeps it.

`kind` is turn (an agent, chain, or a row that is a whole turn already), llm, tool, retrieval,
evaluator (a span that judges: neither it nor the calls under it are traffic), feedback
(free-standing, about the trace `trace_id` and, if known, the span `parent_id`), content (what the
span `parent_id` asked or answered, recorded apart from it) or other.
`parent_id` is NULL at a root. `set_aside` is NULL for production, 'excluded' where the span marks
its whole trace as eval or test traffic, 'outside' where it is of a service or environment that is
not production (which counts at the root only). `retrieval_count` is NULL where content was not
captured, `tool_failures` where a row that is a whole turn does not say.
"""

TURNS = pl.Schema(
    {
        "source": pl.String(),
        "trace_id": pl.String(),
        "span_id": pl.String(),
        "session_id": pl.String(),
        "session_key": pl.UInt64(),
        "user_id": pl.String(),
        "started_at": pl.Datetime("us"),
        "ended_at": pl.Datetime("us"),
        "query_text": pl.String(),
        "answer_text": pl.String(),
        "model": pl.String(),
        "prompt_version": pl.String(),
        "release": pl.String(),
        "environment": pl.String(),
        "service": pl.String(),
        "segment": _PAIRS,
        "tool_calls": pl.List(pl.String),
        "tool_failures": pl.Int64(),
        "context_tokens": pl.Int64(),
        "input_tokens": pl.Int64(),
        "output_tokens": pl.Int64(),
        "cost_usd": pl.Float64(),
        "latency_ms": pl.Float64(),
        "error_type": pl.String(),
        "finish_reason": pl.String(),
        "retrieval_count": pl.Int64(),
        "retrieval_top_score": pl.Float64(),
        "retrieval_kind": pl.String(),
        "feedback": _FEEDBACK,
        "outcome": pl.String(),
    }
)
"""One row per user turn; `span_id` is its root. `turn_index` is known only at read (see
`IN_SESSION`), since a late turn or a session across midnight changes it.

`tool_failures` is how many of its tool calls failed; NULL where nobody recorded that.

`session_key` stands for (source, session_id), see `session_key`: a number is cheaper to group, to
draw and to look up than two texts.
"""

TRACE = ["source", "trace_id"]
SESSION = ["source", "session_id"]
IN_SESSION = ["started_at", "trace_id", "span_id"]
"""Order of the turns of a session: `turn_index` counts from 0 along it."""
MOST_TURNS_BEFORE = 20
"""Turns of a session that people, and a case, are given before its last query; earlier ones are cut
off."""
_SPAN = [*TRACE, "span_id"]
_TURN = [*TRACE, "root_id"]
_MAX_DEPTH_DOUBLINGS = 16


@dataclass(frozen=True)
class Fold:
    """Turns, and what did not become one.

    Attributes:
        turns: canonical rows (schema `TURNS`), ordered by start, source, trace and root.
        set_aside: turns of eval or test traffic.
        without_query: turns whose query text was not captured.
        duplicates: spans that were there more than once, copies beyond the first.
        conflicts: spans whose copies differed; the most complete copy was kept.
    """

    turns: pl.DataFrame
    set_aside: int
    without_query: int
    duplicates: int
    conflicts: int


def fold_turns(spans: pl.DataFrame, day: date | None = None) -> Fold:
    """Build one canonical row per user turn.

    The query is the root's input, else that of the first agent or chain, else that of the first
    model call. The answer is the root's output, else that of the last model call that answered or
    failed. Tokens and cost are summed over model calls; tools are listed in order of start, and
    those that ended in an error are counted. A trace with several roots gives several turns; a
    trace whose root is missing is led by its earliest span. A session that was not named is the
    trace itself.

    Args:
        spans: schema `SPANS`, of whole traces, in any order.
        day: keep and count only turns that began on this day (UTC); None keeps all.

    Returns:
        The turns with `query_text`, and counts of the rest.
    """
    distinct, conflicts = _distinct(spans)
    rooted = _with_roots(_with_content(distinct))
    turns = _aggregate(rooted).join(_feedback(rooted), on=_TURN, how="left")
    if day is not None:
        turns = turns.filter(pl.col("started_at").dt.date() == day)
    aside = pl.col("set_aside")
    is_query = pl.col("query_text").is_not_null()
    kept = (
        turns.filter(~aside, is_query)
        .with_columns(pl.col("feedback").fill_null([]))
        .rename({"root_id": "span_id"})
        .pipe(with_session_keys)
        .select(TURNS.names())
        .sort("started_at", *_SPAN)
    )
    return Fold(
        turns=kept.cast(TURNS),
        set_aside=turns.filter(aside).height,
        without_query=turns.filter(~aside, ~is_query).height,
        duplicates=spans.height - distinct.height,
        conflicts=conflicts,
    )


def session_key(source: str, session_id: str) -> int:
    """A number for a session: uniform over sessions, the same in any engine and version.

    In DuckDB: `md5_number_lower(concat_ws(chr(31), source, session_id))`. Two of a million sessions
    share theirs with a chance of 3e-8; such a pair is drawn together.

    Args:
        source: where the session was recorded.
        session_id: its id within the source.

    Returns:
        Unsigned 64-bit number.
    """
    text = f"{source}\x1f{session_id}"
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[8:], "little")


def with_session_keys(turns: pl.DataFrame) -> pl.DataFrame:
    """Add `session_key` to turns with `source` and `session_id`."""
    sessions = turns.select(SESSION).unique()
    keys = [session_key(*session) for session in sessions.iter_rows()]
    sessions = sessions.with_columns(session_key=pl.Series(keys, dtype=pl.UInt64))
    return turns.join(sessions, on=SESSION, how="left")


def _distinct(spans: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """One copy per span, the most complete; and the number of spans whose copies differed."""
    repeated = pl.struct(_SPAN).is_duplicated()
    content = pl.struct(pl.exclude(_SPAN)).struct.json_encode()
    filled = pl.sum_horizontal(pl.all().is_not_null())
    copies = (
        spans.filter(repeated)
        .with_columns(_content=content, _filled=filled)
        .sort("_filled", "_content", descending=[True, False])
    )
    conflicts = copies.group_by(_SPAN).agg(pl.n_unique("_content")).filter(pl.col("_content") > 1)
    first = copies.unique(_SPAN, keep="first", maintain_order=True).drop("_content", "_filled")
    return pl.concat([spans.filter(~repeated), first]), conflicts.height


def _with_content(spans: pl.DataFrame) -> pl.DataFrame:
    """Give spans what was recorded apart from them; the last of several messages counts."""
    apart = pl.col("kind") == "content"
    content = spans.filter(apart)
    if content.is_empty():
        return spans
    told = ("query_text", "answer_text", "session_id")
    said = (
        content.sort("started_at", "span_id")
        .group_by(*TRACE, span_id="parent_id")
        .agg(pl.col(name).drop_nulls().last().alias(f"{name}_said") for name in told)
    )
    return (
        spans.filter(~apart)
        .join(said, on=_SPAN, how="left")
        .with_columns(pl.coalesce(name, f"{name}_said").alias(name) for name in told)
        .select(spans.columns)
    )


def _with_roots(spans: pl.DataFrame) -> pl.DataFrame:
    """Add `root_id`, the root above each span, and drop what no turn can own.

    Dropped are model calls made by an evaluator, model calls inside a model call (two
    instrumentations saw the same call), and feedback whose trace is not there.
    """
    parents = spans.select(*TRACE, parent_id="span_id", above="kind")
    echo = (pl.col("above") == "evaluator") | (
        (pl.col("above") == "llm") & (pl.col("kind") == "llm")
    )
    spans = (
        spans.join(parents, on=[*TRACE, "parent_id"], how="left")
        .filter(~echo.fill_null(False))
        .drop("above")
    )
    top = pl.col("parent_id").is_null()
    in_order = spans.filter(pl.col("kind") != "feedback").sort("started_at", "span_id")
    earliest = pl.int_range(pl.len()).over(TRACE) == 0
    roots = in_order.filter(top | (earliest & ~top.any().over(TRACE))).select(
        *TRACE, root_id="span_id"
    )
    rooted = spans.join(
        roots.unique(TRACE, keep="first", maintain_order=True), on=TRACE, how="inner"
    )
    crowded = roots.filter(pl.len().over(TRACE) > 1)
    if crowded.is_empty():
        return rooted
    single = rooted.join(crowded, on=TRACE, how="anti")
    return pl.concat([single, _climb(rooted.join(crowded, on=TRACE, how="semi"), crowded)])


def _climb(spans: pl.DataFrame, roots: pl.DataFrame) -> pl.DataFrame:
    """Replace `root_id`, the trace's first root, by the root above each span where there is one.

    Pointer doubling: after i rounds `up` is the ancestor 2**i levels above, or the root.
    """
    is_root = roots.select(*TRACE, up="root_id", found=pl.lit(True))
    up = spans.select(*_SPAN, up=pl.coalesce("parent_id", "span_id"))
    for _ in range(_MAX_DEPTH_DOUBLINGS):
        above = up.select(*TRACE, up="span_id", higher="up")
        climbed = up.join(above, on=[*TRACE, "up"], how="left").select(
            *_SPAN, up=pl.coalesce("higher", "up")
        )
        if climbed.equals(up):
            break
        up = climbed
    found = up.join(is_root, on=[*TRACE, "up"], how="inner").select(*_SPAN, found="up")
    return (
        spans.join(found, on=_SPAN, how="left")
        .with_columns(root_id=pl.coalesce("found", "root_id"))
        .drop("found")
    )


def _aggregate(spans: pl.DataFrame) -> pl.DataFrame:
    """One row per root with all canonical columns but feedback, and `set_aside`."""
    at_root = pl.col("span_id") == pl.col("root_id")
    called, tool = pl.col("kind") == "llm", pl.col("kind") == "tool"
    replied = called & (pl.col("answer_text").is_not_null() | pl.col("error_type").is_not_null())
    named = pl.col("retrieval_kind").is_not_null()

    def root(name: str) -> pl.Expr:
        return pl.col(name).filter(at_root).first()

    def first(name: str, where: pl.Expr | None = None) -> pl.Expr:
        known = pl.col(name).is_not_null()
        return pl.col(name).filter(known if where is None else known & where).first()

    def last(name: str, where: pl.Expr) -> pl.Expr:
        return pl.col(name).filter(where & pl.col(name).is_not_null()).last()

    def total(name: str) -> pl.Expr:
        """Sum over model calls, or the root's own figure; NULL where neither is known."""
        values = pl.col(name).filter(called)
        return pl.when(values.count() > 0).then(values.sum()).otherwise(root(name))

    counts = pl.col("retrieval_count")
    root_answer, root_error = root("answer_text"), root("error_type")
    reply = pl.col("answer_text").filter(replied).last()
    reply_error = pl.col("error_type").filter(replied).last()
    error = pl.coalesce(root_error, pl.when(root_answer.is_null()).then(reply_error))
    segments = pl.col("segment").filter(pl.col("segment").list.len() > 0)
    best = pl.col("retrieval_top_score")
    return (
        spans.filter(pl.col("kind") != "feedback")
        .sort(*TRACE, "started_at", "span_id")
        .group_by(_TURN, maintain_order=True)
        .agg(
            root("kind").alias("root_kind"),
            pl.coalesce(root("session_id"), first("session_id")).alias("session_id"),
            pl.coalesce(root("user_id"), first("user_id")).alias("user_id"),
            root("started_at").alias("started_at"),
            pl.when(root("parent_id").is_null())
            .then(root("ended_at"))
            .otherwise(pl.max("ended_at"))
            .alias("ended_at"),
            pl.coalesce(
                root("query_text"),
                first("query_text", pl.col("kind") == "turn"),
                first("query_text", called),
            ).alias("query_text"),
            pl.coalesce(root_answer, reply).alias("answer_text"),
            pl.coalesce(last("model", called), root("model")).alias("model"),
            *(
                pl.coalesce(root(name), first(name)).alias(name)
                for name in ("prompt_version", "release", "environment", "service", "outcome")
            ),
            pl.coalesce(
                pl.col("segment").filter(at_root & (pl.col("segment").list.len() > 0)).first(),
                segments.first(),
            ).alias("segment"),
            pl.col("tool_calls").list.explode(keep_nulls=False, empty_as_null=False),
            pl.coalesce(
                root("tool_failures"),
                pl.when(tool.any()).then(pl.col("error_type").filter(tool).count()).cast(pl.Int64),
            ).alias("tool_failures"),
            pl.coalesce(root("context_tokens"), pl.col("input_tokens").filter(called).max()).alias(
                "context_tokens"
            ),
            *(total(n).alias(n) for n in ("input_tokens", "output_tokens", "cost_usd")),
            error.alias("error_type"),
            pl.coalesce(last("finish_reason", called), root("finish_reason")).alias(
                "finish_reason"
            ),
            pl.when(counts.count() > 0).then(counts.sum()).alias("retrieval_count"),
            best.max().alias("retrieval_top_score"),
            pl.coalesce(
                pl.col("retrieval_kind").filter(named & (best == best.max())).first(),
                first("retrieval_kind"),
            ).alias("retrieval_kind"),
            (pl.col("set_aside") == "excluded").any().alias("excluded"),
            root("set_aside").is_not_null().alias("outside"),
        )
        .filter(pl.col("root_kind") != "evaluator")
        .with_columns(
            pl.coalesce(
                "session_id", pl.col("session_id").drop_nulls().first().over(TRACE), "trace_id"
            ),
            pl.col("segment").fill_null([]),
            set_aside=pl.col("excluded").any().over(TRACE) | pl.col("outside"),
            outcome=pl.coalesce(
                "outcome", pl.when(pl.col("error_type").is_not_null()).then(pl.lit("error"))
            ),
            latency_ms=(pl.col("ended_at") - pl.col("started_at")).dt.total_microseconds() / 1000,
        )
    )


def _feedback(spans: pl.DataFrame) -> pl.DataFrame:
    """Distinct feedback per root, in a fixed order."""
    return (
        spans.select(*_TURN, "feedback")
        .explode("feedback")
        .drop_nulls("feedback")
        .unique()
        .sort(*_TURN, pl.col("feedback").struct.json_encode())
        .group_by(_TURN, maintain_order=True)
        .agg("feedback")
    )
