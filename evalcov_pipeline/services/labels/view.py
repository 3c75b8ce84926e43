"""A task as a rater sees it: what was said, why it is asked about, what the suite has like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats.conversations import calls_in_words
from evalcov_pipeline.formats.messages import content, parsed
from evalcov_pipeline.services.labels.merging import is_unanswered, unanswered_tasks
from evalcov_pipeline.services.labels.queue import WAITING, read_task, tasks_for
from evalcov_pipeline.services.labels.rating import Rating, labels_on
from evalcov_pipeline.services.labels.tasks import Task
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import frame, one_row

MOST_NEIGHBOURS = 5


@dataclass(frozen=True)
class ShownSuggestion:
    """A label that no person gave.

    Attributes:
        rating: what it says.
        by: what made it.
        confidence: of its maker, 0..1.
        neighbours: what it was made from.
    """

    rating: Rating
    by: str | None
    confidence: float | None
    neighbours: Sequence[str]


@dataclass(frozen=True)
class TaskView:
    """A task and what there is to know about it.

    Attributes:
        task: what is asked.
        gap_score: belief that it lies in a gap, 0..1; None where no plan drew it.
        production_share: of traffic that lies in its cluster, by the newest score; None where that
            is not known.
        cluster_status: of its cluster there, likewise.
        eval_cases: of the suite in its cluster there, likewise.
        turns: role and text of what was said before the query, and what was called, in words.
        labels: those that disagree, where the task has to be adjudicated.
        begun: what was said of a kept failure that still wants an expected answer; None for others.
        suggestion: None where there is none, and for all but new cases: people alone say what was
            right about a failure, and nothing may sway the rater of a calibration.
        neighbours: cases of the suite that are nearest to the query, nearest first; None where
            that is not known, and for calibration.
        categories: that the suite uses.
    """

    task: Task
    gap_score: float | None
    production_share: float | None
    cluster_status: str | None
    eval_cases: float | None
    turns: Sequence[tuple[str, str, str]]
    labels: Sequence[Mapping[str, Any]]
    begun: Rating | None
    suggestion: ShownSuggestion | None
    neighbours: Sequence[Mapping[str, Any]] | None
    categories: Sequence[str]

    @property
    def is_blind(self) -> bool:
        """Whether the rater may see nothing but the task itself."""
        return self.task.purpose is Purpose.CALIBRATION


def view_task(
    con: duckdb.DuckDBPyConnection, task_id: str, neighbourhood: Neighbourhood
) -> TaskView | None:
    """All that there is to know about a task, or None where there is no such task."""
    task = read_task(con, task_id)
    if task is None:
        return None
    known = one_row(
        con,
        """
        SELECT r.gap_score, c.production_share, c.status AS cluster_status, c.eval_cases
        FROM annotation_queue q
        LEFT JOIN refresh_candidates r ON r.task_id = q.task_id
        LEFT JOIN (SELECT cluster_key, production_share, status, eval_cases FROM cluster_coverage
                   SEMI JOIN (SELECT as_of, taxonomy_id FROM coverage_scores WHERE headline
                              ORDER BY as_of DESC LIMIT 1) USING (as_of, taxonomy_id)) c
          ON c.cluster_key = q.cluster_key
        WHERE q.task_id = ?
        """,
        [task_id],
    )
    assert known is not None
    labels = labels_on(con, task_id)
    return TaskView(
        task=task,
        **known,
        turns=_turns(task.context),
        labels=labels if task.status == "adjudicate" else [],
        begun=Rating.of(labels[-1]) if is_unanswered(con, task) else None,
        suggestion=_suggestion(task.suggestion) if task.purpose is Purpose.NEW_CASE else None,
        neighbours=None
        if task.purpose is Purpose.CALIBRATION
        else neighbourhood.of(con, task.text_hash),
        categories=frame(
            con,
            "SELECT DISTINCT category FROM eval_cases WHERE status = 'active'"
            " AND category IS NOT NULL ORDER BY category",
        )["category"].to_list(),
    )


def tasks_to_show(
    con: duckdb.DuckDBPyConnection, rater: str, route: str | None, done: Sequence[str]
) -> list[Task]:
    """Tasks that wait for a label of a rater, then kept failures that want an expected answer.

    Args:
        con: a connection.
        rater: who labels.
        route: only this queue; None for all.
        done: tasks that were labelled just now: what was said then is enough.
    """
    unanswered = [task for task in unanswered_tasks(con, route) if task.task_id not in done]
    return [*tasks_for(con, rater, route), *unanswered]


def read_progress(con: duckdb.DuckDBPyConnection, rater: str) -> list[dict[str, Any]]:
    """How far the queues are.

    Returns:
        One row per route: route, done (decided by people), waiting, yours (waiting for a label of
        this rater) and labelled (by this rater).
    """
    return frame(
        con,
        """
        SELECT route,
               count(*) FILTER (status IN ('kept', 'rejected')) AS done,
               count(*) FILTER (list_contains($2, status)) AS waiting,
               count(*) FILTER (list_contains($2, status) AND a.task_id IS NULL) AS yours,
               count(a.task_id) AS labelled
        FROM annotation_queue q
        LEFT JOIN (SELECT task_id FROM annotations WHERE rater = $1) a USING (task_id)
        GROUP BY route ORDER BY route
        """,
        [rater, list(WAITING)],
    ).to_dicts()


class Neighbourhood:
    """Finds the eval cases that are nearest to a query, by vectors that were computed before.

    Args:
        settings: where the vectors are; no model is loaded.
    """

    def __init__(self, settings: Settings) -> None:
        """Look nothing up yet."""
        self._settings = settings
        self._vectors: dict[str, NDArray[np.float32] | None] = {}

    def of(self, con: duckdb.DuckDBPyConnection, text_hash: str) -> list[dict[str, Any]] | None:
        """The nearest active cases.

        Returns:
            case_id, text, expected and similarity (cosine) of at most `MOST_NEIGHBOURS` cases,
            nearest first; None without a vector of the query.
        """
        suite = frame(
            con,
            "SELECT case_id, text_hash, text, expected FROM eval_cases JOIN texts USING (text_hash)"
            " WHERE status = 'active' ORDER BY case_id",
        )
        queued = frame(
            con,
            "SELECT text_hash FROM annotation_queue WHERE list_contains(?, status)",
            [list(WAITING)],
        )
        self._look_up([text_hash, *suite["text_hash"], *queued["text_hash"]])
        vector = self._vectors[text_hash]
        if vector is None:
            return None
        known = [self._vectors[name] for name in suite["text_hash"]]
        similarity = [None if other is None else float(vector @ other) for other in known]
        return (
            suite.with_columns(similarity=pl.Series(similarity, dtype=pl.Float64))
            .drop_nulls("similarity")
            .sort("similarity", descending=True, maintain_order=True)
            .head(MOST_NEIGHBOURS)
            .to_dicts()
        )

    def _look_up(self, text_hashes: Sequence[str]) -> None:
        """Remember the vectors of texts; None where there is none."""
        new = [name for name in dict.fromkeys(text_hashes) if name not in self._vectors]
        if not new:
            return
        try:
            cache: VectorCache = vector_cache(self._settings)
        except BadInput:  # without its model the page works too
            self._vectors |= dict.fromkeys(new)
            return
        absent = set(cache.missing(new))
        present = [name for name in new if name not in absent]
        self._vectors |= dict.fromkeys(absent)
        self._vectors |= dict(zip(present, cache.get(present), strict=True))


def _suggestion(recorded: str | None) -> ShownSuggestion | None:
    """The suggestion of a task; what it does not say is None."""
    suggestion = parsed(recorded)
    if not isinstance(suggestion, Mapping):
        return None
    confidence = suggestion.get("confidence")
    return ShownSuggestion(
        rating=Rating.of(suggestion),
        by=suggestion.get("by"),
        confidence=confidence if isinstance(confidence, int | float) else None,
        neighbours=[_neighbour(near) for near in suggestion.get("neighbours") or []],
    )


def _neighbour(near: Any) -> str:
    """What a suggestion was made from, in words."""
    if not isinstance(near, Mapping):
        return str(near)
    what = near.get("text") or near.get("case_id") or near.get("task_id") or "unknown"
    cosine = near.get("similarity")
    return f"{what} (cosine {cosine:.2f})" if isinstance(cosine, float) else str(what)


def _turns(context: str | None) -> list[tuple[str, str, str]]:
    """Role, text and calls in words of the messages of a task's context."""
    messages = parsed(context) if context else []
    if not isinstance(messages, list):
        return []
    shown = [
        (str(m.get("role") or "unknown"), content(m) or "", calls_in_words(m))
        for m in messages
        if isinstance(m, Mapping)
    ]
    return [(role, text, called) for role, text, called in shown if text or called]
