"""How alike the questions of a session are, and how alike they would be if nothing had failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.failures.repeated_questions import REACH
from evalcov_pipeline.core.failures.thresholds import (
    RephraseCut,
    rephrase_cut,
    unrelated_similarities,
)
from evalcov_pipeline.core.statistics.shares import FloatArray
from evalcov_pipeline.embedding import Progress
from evalcov_pipeline.services.traffic.texts import redacted
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import embed_texts

_MOST_UNRELATED = 4000


@dataclass(frozen=True)
class Repetition:
    """Pairs of turns of one session, a few turns apart.

    Attributes:
        pairs: row (the earlier turn) and back (turns between, 1 for the next).
        similarity: (n,) of the pairs.
        cuts: by source.
        n_pairs: pairs of the week, looked at or not.
    """

    pairs: pl.DataFrame
    similarity: FloatArray
    cuts: dict[str, RephraseCut]
    n_pairs: int


def repetition(
    turns: pl.DataFrame,
    settings: Settings,
    as_of: datetime,
    redact_all: Callable[[Sequence[str]], list[str]],
    progress: Progress | None = None,
) -> Repetition:
    """Compare the questions of the week's sessions, of as many as the settings allow.

    Args:
        turns: ordered as `core.signal_rows.TURNS`, with `session_key`, `text` (the query,
            normalised) and `in_week`.
        settings: of the pipeline; `failures.max_new_texts` is how many turns are compared.
        as_of: exclusive end of the week; cuts are estimated from what was said before.
        redact_all: takes personal data out of texts; only redacted ones are embedded.
        progress: told how many new texts are embedded.
    """
    session = turns["session_key"].to_numpy()
    pairs = _pairs(turns, session)
    drawn = _drawn(session, pairs, settings)
    kept = pairs.filter(pl.Series(np.isin(session[pairs["row"]], drawn)))
    rows = np.unique(np.concatenate([_earlier(kept), _later(kept)]))
    spelt = redacted(turns["text"].gather(rows), redact_all)
    texts = pl.DataFrame({"raw": turns["text"].gather(rows)}).join(
        spelt, on="raw", how="left", maintain_order="left"
    )
    worded = texts["text_hash"].is_not_null().to_numpy()
    rows, texts = rows[worded], texts.filter(pl.Series(worded))
    both = pl.Series(np.isin(_earlier(kept), rows) & np.isin(_later(kept), rows))
    kept = kept.filter(both) if len(kept) else kept
    vectors = _vectors(texts.select("text_hash", "text"), settings, progress)
    earlier, later = (np.searchsorted(rows, found(kept)) for found in (_earlier, _later))
    similarity = np.einsum("ij,ij->i", vectors[earlier], vectors[later], dtype=np.float64)
    resent = texts["raw"].gather(earlier).to_numpy() == texts["raw"].gather(later).to_numpy()
    known = (turns["started_at"].gather(_later(kept)) < as_of).to_numpy() & ~resent
    known &= (kept["back"] == 1).to_numpy()
    sources = turns["source"].gather(rows).to_numpy()
    rng = np.random.default_rng(settings.failures.seed)
    cuts = {}
    for source in turns["source"].unique().sort():
        own = np.flatnonzero((sources[later] == source) & known)
        if len(own) > _MOST_UNRELATED:
            own = np.sort(rng.choice(own, _MOST_UNRELATED, replace=False))
        here = np.flatnonzero(sources == source)
        place = [np.searchsorted(here, at[own]) for at in (earlier, later)]
        own_sessions = session[rows[here]].astype(np.int64, casting="unsafe")
        cuts[source] = rephrase_cut(unrelated_similarities(vectors[here], own_sessions, *place))
    return Repetition(kept, np.where(resent, np.nan, similarity), cuts, len(pairs))


def _pairs(turns: pl.DataFrame, session: NDArray[np.uint64]) -> pl.DataFrame:
    """Pairs of which the earlier turn is of the week."""
    in_week = turns["in_week"].to_numpy()
    frames = []
    for back in range(1, REACH + 1):
        rows = np.flatnonzero((session[:-back] == session[back:]) & in_week[:-back])
        frames.append(
            pl.DataFrame({"row": rows.astype(np.uint32), "back": np.full(len(rows), back)})
        )
    return pl.concat(frames)


def _drawn(
    session: NDArray[np.uint64], pairs: pl.DataFrame, settings: Settings
) -> NDArray[np.uint64]:
    """Sessions in a seeded order, as many as have no more turns than may be embedded."""
    keys, turns = np.unique(
        session[np.unique(np.concatenate([_earlier(pairs), _later(pairs)]))], return_counts=True
    )
    order = np.random.default_rng(settings.failures.seed).permutation(len(keys))
    within = np.cumsum(turns[order]) <= settings.failures.max_new_texts
    return keys[order[within]]


def _vectors(
    texts: pl.DataFrame, settings: Settings, progress: Progress | None
) -> NDArray[np.float32]:
    """(n, d) of texts (text_hash, text); those that were never embedded are embedded now."""
    cache = vector_cache(settings)
    embed_texts(cache, lambda: embedder(settings.embedding), texts, progress)
    return cache.get(texts["text_hash"].to_list())


def _earlier(pairs: pl.DataFrame) -> NDArray[np.int64]:
    return pairs["row"].to_numpy().astype(np.int64)


def _later(pairs: pl.DataFrame) -> NDArray[np.int64]:
    return _earlier(pairs) + pairs["back"].to_numpy()
