"""Importing labels that people gave, by whatever tool."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import AUTO, HOPELESS, find, nothing_read
from evalcov_pipeline.formats.annotations import LabelRow
from evalcov_pipeline.formats.fields import EARLIEST
from evalcov_pipeline.formats.lines import Reject
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.imports.files import (
    Quarantine,
    file_id,
    input_files,
    latest,
    quarantine,
)
from evalcov_pipeline.services.judges.items import tasks_of_labels
from evalcov_pipeline.services.labels.arrival import labels_arrived
from evalcov_pipeline.services.labels.merging import MergeReport
from evalcov_pipeline.services.labels.queue import LabelReport, record_labels
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import Settings

_NO_ITEM = (
    "and no trace in the lake, verdict or result has this id: import that first"
    " (traces are there once `evalcov run` has taken them in)"
)


@dataclass(frozen=True)
class AnnotationsReport:
    """What an import of labels did, by number of rows; see `LabelReport`.

    Attributes:
        files: files read.
        new: first labels of a rater on a task.
        changed: labels that replaced an earlier one of the same rater.
        unchanged: labels that were known already.
        outdated: labels older than what the same rater said since.
        decided: tasks whose decision is new, changed or taken back.
        empty: rows and annotations on which nobody has said anything.
        rejected: rows that could not be read or taken; they lie in the quarantine.
        merged: what became of the suite.
    """

    files: int
    new: int
    changed: int
    unchanged: int
    outdated: int
    decided: int
    empty: int
    rejected: int
    merged: MergeReport


@dataclass(frozen=True)
class _File:
    """A file that was read.

    Attributes:
        path: where it is.
        via: name of its format.
        labels: rows with a label.
        empty: rows on which nobody has said anything.
        rejects: its rows in the quarantine.
    """

    path: Path
    via: str
    labels: list[LabelRow]
    empty: int
    rejects: Quarantine

    def reject(self, row: LabelRow, reason: str) -> None:
        self.rejects.add(Reject(str(self.path), row.line, reason, row.raw))


def ingest_annotations(
    paths: Iterable[str | Path],
    settings: Settings,
    *,
    format: str = AUTO,
    rater: str | None = None,
    mapping: Mapping[str, str] | None = None,
    progress: Callable[[Path, int], None] | None = None,
    now: datetime | None = None,
) -> AnnotationsReport:
    """Record labels, and bring queue and suite up to date with them, in one transaction.

    A label is about a task or an item (`services.judges.items`); an item without a task gets one.
    A label counts from its `at`; without one, from when its file was last written. So a file can be
    imported again, alone or after it was edited, and an old one never undoes what was said since.
    Where a rater says two things about a task at the same time, neither is taken.

    Args:
        paths: files, folders or glob patterns.
        settings: where the warehouse and the quarantine are.
        format: name of the format, or "auto".
        rater: who labelled, where a row does not say.
        mapping: canonical field -> the file's field.
        progress: called with the file and its labels so far.
        now: the instant of the import (naive UTC), default the clock's; a time more than a day
            later is rejected.

    Raises:
        BadInput: nothing to read, an unreadable file, an unknown format, or not one label that can
            be taken; nothing but the quarantine is written.
    """
    at = now or datetime.now(UTC).replace(tzinfo=None)
    counts = dict.fromkeys(("new", "changed", "unchanged", "outdated", "decided"), 0)
    with ExitStack() as quarantines:
        files = []
        for path in input_files(paths):
            rejects = quarantines.enter_context(quarantine(settings, path, file_id(path)))
            reader = find("annotations", path, format)
            rows = reader.read(path, mapping, latest(at), rater)
            file = _read(path, reader.name, rows, rejects, at, progress)
            if not file.empty and not file.labels:
                raise nothing_read(
                    "annotations", path, rejects.count, rejects.first, settings.quarantine
                )
            files.append(file)
        empty = sum(file.empty for file in files)
        contradicting = _contradictions(files)
        with warehouse_of(settings).writer() as con:
            for file in files:
                report = _record(con, settings, file, contradicting, at)
                for name in counts:
                    counts[name] += getattr(report, name)
            rejected = sum(file.rejects.count for file in files)
            if rejected and not any(counts.values()) and not empty:
                raise _nothing_taken(files, rejected, settings)
            merged = labels_arrived(con, settings, at).merged
        publish(settings)
    return AnnotationsReport(
        files=len(files), **counts, empty=empty, rejected=rejected, merged=merged
    )


def _read(
    path: Path,
    via: str,
    rows: Iterable[LabelRow | Reject],
    rejects: Quarantine,
    at: datetime,
    progress: Callable[[Path, int], None] | None,
) -> _File:
    """Read a file, or the beginning of one in which nothing can be read."""
    labels: list[LabelRow] = []
    empty = 0
    for row in rows:
        if isinstance(row, Reject):
            rejects.add(row)
            if not empty and not labels and rejects.count == HOPELESS:
                break
        elif row.label is None:
            empty += 1
        else:
            row.label["at"] = row.label["at"] or _written(path, at)
            labels.append(row)
            if progress:
                progress(path, len(labels))
    return _File(path, via, labels, empty, rejects)


def _record(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    file: _File,
    contradicting: Mapping[tuple[Any, ...], str],
    at: datetime,
) -> LabelReport:
    """Record the labels of a file; those that cannot be taken go into the quarantine."""
    taken = []
    for row in file.labels:
        if reason := contradicting.get(_said_when(row)):
            file.reject(row, reason)
        else:
            taken.append(row)
    labels = [row.label or {} for row in taken]
    tasks = tasks_of_labels(con, settings, labels, at)
    report = record_labels(
        con,
        [label | {"task_id": tasks.get(label["task_id"], label["task_id"])} for label in labels],
        via=file.via,
        recorded_at=at,
        redact_all=redactor(settings.redaction),
    )
    for number, task_id in report.unknown:
        file.reject(taken[number], f"no task {task_id!r} is in the queue, {_NO_ITEM}")
    for number, task_id in report.refused:
        reason = f"what is right for {task_id} comes from people, not from suggestions"
        file.reject(taken[number], reason)
    return report


def _written(path: Path, now: datetime) -> datetime:
    """When a file was last written, naive UTC; `now` where its date cannot be right."""
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
    return written if EARLIEST <= written <= now else now


def _said_when(row: LabelRow) -> tuple[Any, ...]:
    """Task, rater and time of a label."""
    assert row.label is not None
    return row.label["task_id"], row.label["rater"], row.label["at"]


def _contradictions(files: Iterable[_File]) -> dict[tuple[Any, ...], str]:
    """Why labels with this task, rater and time cannot be taken."""
    labels: dict[tuple[Any, ...], list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for file in files:
        for row in file.labels:
            place = f"{file.path.name}, line {row.line}"
            labels[_said_when(row)].append((place, row.label or {}))
    return {
        key: f"{key[1]} says different things about {key[0]} at the same time"
        f" ({'; '.join(place for place, _ in places)}): leave one of them"
        for key, places in labels.items()
        if any(label != places[0][1] for _, label in places)
    }


def _nothing_taken(files: Iterable[_File], rejected: int, settings: Settings) -> BadInput:
    first = next(file.rejects.first for file in files if file.rejects.first)
    return BadInput(
        f"none of {rejected:,} labels can be taken; the first: {first.reason}",
        f"{first.file}, line {first.line}",
        f"check that EVALCOV_HOME is the home that the queue was exported from; all of them, with"
        f" reasons, are in {settings.quarantine}",
    )
