"""Drawing a week's batch: thin the week, leave out what is asked already, draw, make tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import orjson
import polars as pl

from evalcov_pipeline.core.failures.batches import (
    Belief,
    Precision,
    beliefs,
    draw_turns,
    near_groups,
    thin,
    turn_sizes,
)
from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.core.statistics.shares import FloatArray
from evalcov_pipeline.core.statistics.similarity import Vectors, is_like
from evalcov_pipeline.core.traffic.turns import SESSION
from evalcov_pipeline.services.failures.precision import ANY, NONE
from evalcov_pipeline.services.failures.turns import with_texts
from evalcov_pipeline.services.labels.tasks import build_tasks, task_id
from evalcov_pipeline.services.taxonomy.taxonomies import applicable
from evalcov_pipeline.services.traffic.conversations import conversations
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.services.traffic.turns import TURN
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import embed_texts
from evalcov_pipeline.storage.warehouse import frame

MOST_TURNS = 2000
"""Turns whose texts are read and compared; a larger week is thinned by a draw of its own."""
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Batch:
    """A batch as it is drawn, before it is recorded.

    Attributes:
        batch_id: its name.
        as_of: end of the week.
        size: turns drawn.
        n_turns: turns of the week.
        n_signalled: of them, those with a signal.
        n_near_duplicates: of them, those that ask what is asked already, estimated.
        exploration_share: of the batch, for signals that little is known of.
        random_share: of the batch, drawn evenly.
        weights: what each signal counted for: signal, precision, labelled, weight and unknown.
        note: what could not be honoured; None where there is nothing to say.
        created_at: wall clock, naive UTC.
        picks: rows of `failure_picks`, the most suspicious first.
        tasks: rows of `annotation_queue`.
        texts: text_hash and text of the picks.
    """

    batch_id: str
    as_of: datetime
    size: int
    n_turns: int
    n_signalled: int
    n_near_duplicates: int
    exploration_share: float
    random_share: float
    weights: list[dict[str, Any]]
    note: str | None
    created_at: datetime
    picks: pl.DataFrame
    tasks: pl.DataFrame
    texts: pl.DataFrame

    def row(self) -> dict[str, Any]:
        """The row of `failure_batches`."""
        apart = ("weights", "picks", "tasks", "texts")
        columns = {name: value for name, value in vars(self).items() if name not in apart}
        return columns | {"signals": orjson.dumps(self.weights).decode()}


def batch_id(as_of: datetime) -> str:
    """Name of a week's batch; sorts by week."""
    return f"failures-{as_of:%Y%m%d}"


def draw_batch(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    as_of: datetime,
    created_at: datetime,
    turns: pl.DataFrame,
    signals: pl.DataFrame,
    measured: Mapping[str, Precision],
) -> Batch:
    """Draw a week's batch: the same from the same inputs.

    Args:
        con: a connection.
        settings: size and shares of the batch.
        as_of: end of the week.
        created_at: wall clock, naive UTC.
        turns: from `sampling_frame`, at least one.
        signals: turn (place among `turns`), signal, strength and evidence; at least one.
        measured: from `precisions`, of all these signals.
    """
    rules = settings.failures
    redact_all = redactor(settings.redaction)
    rng = np.random.default_rng([rules.seed, as_of.toordinal()])
    single = {name: one for name, one in measured.items() if name not in (ANY, NONE)}
    known = beliefs(single, measured[ANY])
    sizes = turn_sizes(
        signals, len(turns), known,
        exploration_share=rules.exploration_share, random_share=rules.random_share,
    )  # fmt: skip
    offered = with_texts(settings, _thinned(turns, sizes, rng), redact_all)
    name = batch_id(as_of)
    vectors, vectors_asked = _vectors(con, settings, offered, name)
    like = is_like(vectors, vectors_asked, rules.near)
    n_alike = round(float((1 / offered["thinning"].to_numpy()[like]).sum()))
    offered, vectors = offered.filter(~like), vectors[~like]
    session = offered.select(pl.struct(SESSION).rank("dense")).to_series()
    draw = draw_turns(
        offered["size"].to_numpy(),
        near_groups(vectors, rules.near),
        session.to_numpy(),
        rules.batch_size,
        rng,
    )
    drawn = offered[draw.rows].with_columns(
        batch_id=pl.lit(name),
        inclusion_probability=pl.lit(pl.Series(draw.probabilities)) * pl.col("thinning"),
        task_id=pl.struct(TURN).map_elements(
            lambda turn: task_id(Purpose.FAILURE, name, *(turn[column] for column in TURN)),
            pl.String,
        ),
    )
    drawn = _with_signals(drawn, signals)
    shown = conversations(settings.lake, drawn, drawn, redact_all)
    return Batch(
        batch_id=name,
        as_of=as_of,
        size=drawn.height,
        n_turns=len(turns),
        n_signalled=signals["turn"].n_unique(),
        n_near_duplicates=n_alike,
        exploration_share=rules.exploration_share,
        random_share=rules.random_share,
        weights=_weights(single, known),
        note=_note(settings, drawn.height, len(turns)) or None,
        created_at=created_at,
        picks=drawn.select(
            "batch_id", "task_id", "source", "trace_id", "turn_index", "text_hash", "signals",
            "inclusion_probability",
        ),
        tasks=_tasks(con, settings, as_of, drawn, shown, created_at),
        texts=drawn.select("text_hash", "text", first_seen_at="started_at"),
    )  # fmt: skip


def _thinned(turns: pl.DataFrame, sizes: FloatArray, rng: np.random.Generator) -> pl.DataFrame:
    """At most `MOST_TURNS` of the turns, with turn (their place), thinning and size."""
    possible = np.flatnonzero(sizes > 0)
    kept = thin(sizes[possible], MOST_TURNS, rng)
    rows = possible[kept.rows]
    return turns[rows].with_columns(
        turn=pl.Series(rows, dtype=pl.UInt32),
        thinning=kept.probabilities,
        size=sizes[rows] / kept.probabilities,
    )


def _with_signals(drawn: pl.DataFrame, signals: pl.DataFrame) -> pl.DataFrame:
    """Drawn turns with the signals that they bear, and their evidence, the strongest first."""
    borne = (
        signals.sort("strength", descending=True, maintain_order=True)
        .group_by("turn")
        .agg(pl.col("signal").sort().alias("signals"), "evidence")
    )
    return drawn.join(borne, on="turn", how="left", maintain_order="left").with_columns(
        pl.col("signals").fill_null([])
    )


def _vectors(
    con: duckdb.DuckDBPyConnection, settings: Settings, offered: pl.DataFrame, name: str
) -> tuple[Vectors, Vectors]:
    """Vectors of the offered turns, and of what is asked already: active cases and queued tasks."""
    asked_texts = frame(
        con,
        "SELECT DISTINCT text_hash, text FROM eval_cases JOIN texts USING (text_hash)"
        " WHERE status = 'active' UNION SELECT text_hash, text FROM annotation_queue"
        " WHERE batch_id IS DISTINCT FROM ? ORDER BY text_hash",
        [name],
    )
    cache = vector_cache(settings)
    texts = pl.concat([offered.select("text_hash", "text"), asked_texts])
    embed_texts(cache, lambda: embedder(settings.embedding), texts)
    vectors = cache.get(texts["text_hash"].to_list())
    return vectors[: len(offered)], vectors[len(offered) :]


def _tasks(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    as_of: datetime,
    drawn: pl.DataFrame,
    shown: pl.DataFrame,
    created_at: datetime,
) -> pl.DataFrame:
    """Rows of `annotation_queue`, the most suspicious first."""
    taxonomy = applicable(con, as_of)
    clusters = frame(
        con,
        "SELECT text_hash, cluster_id, cluster_key, label AS cluster_label"
        " FROM cluster_assignments LEFT JOIN clusters USING (taxonomy_id, cluster_id)"
        " WHERE taxonomy_id = ? AND list_contains(?, text_hash)",
        [taxonomy and taxonomy.headline, drawn["text_hash"].to_list()],
    )
    tasks = (
        drawn.drop("text")
        .join(shown.drop("text_hashes"), on=TURN, how="inner", maintain_order="left")
        .join(clusters, on="text_hash", how="left", maintain_order="left")
        .select(
            "task_id", "batch_id", "text_hash", "context", "answer", "tools", "cluster_id",
            "cluster_key", "cluster_label", "source", "trace_id", "turn_index",
            "inclusion_probability",
            text="query",
            selection=pl.lit("verdict_blind"),
            reason=pl.col("evidence").map_elements(_reason, pl.String, skip_nulls=False),
            designed=pl.lit(True),
            route=pl.lit(settings.failures.route),
            priority=1 + pl.int_range(pl.len(), 0, -1) / pl.len(),
        )
    )  # fmt: skip
    return build_tasks(
        tasks, Purpose.FAILURE, raters_wanted=settings.failures.raters, created_at=created_at
    )


def _reason(evidence: pl.Series | None) -> str:
    if evidence is None or not len(evidence):
        return "drawn evenly from all turns of the week: nothing speaks of a failure"
    reason = "; ".join(dict.fromkeys(evidence))
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def _weights(single: Mapping[str, Precision], known: Mapping[str, Belief]) -> list[dict[str, Any]]:
    """What each signal counted for, for `failure_batches.signals`."""
    return [
        {
            "signal": name,
            "precision": one.rate,
            "labelled": one.n_labelled,
            "weight": round(known[name].precision, 4),
            "unknown": round(known[name].unknown, 4),
        }
        for name, one in single.items()
    ]


def _note(settings: Settings, size: int, n_turns: int) -> str:
    """What could not be honoured, in sentences."""
    rules, sentences = settings.failures, []
    if size < rules.batch_size:
        sentences.append(
            f"{size} turns instead of {rules.batch_size}: the others ask nearly the same."
        )
    if not rules.random_share:
        sentences.append(
            "Without failures.random_share nothing is known of turns without a signal."
        )
    if n_turns > MOST_TURNS:
        sentences.append(f"{MOST_TURNS:,} of {n_turns:,} turns were drawn first, to be compared.")
    return " ".join(sentences)
