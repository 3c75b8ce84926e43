"""Importing files of any kind: found, named by content, read row by row, with a quarantine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import HOPELESS, find, nothing_read
from evalcov_pipeline.formats.lines import Reject, plain_suffix
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.files import move, unfinished

Progress = Callable[[Path, int], None]

_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"})
ID_LENGTH = 32
_NAME_LENGTH = 100
_RAW_LENGTH = 10_000
_CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True)
class IngestReport:
    """What an import did.

    Attributes:
        files: files read.
        accepted: rows that are new.
        duplicate: rows that were there already; importing a file twice makes all of its rows that.
        rejected: rows that could not be read; they lie in the quarantine.
        set_aside: rows, new or not, that are marked as eval or test traffic.
        days: days (UTC) whose turns have to be compacted for it, ascending.
        unreadable: why whole files could not be read, one line each; the others were.
        replaced: of the accepted results, those that took the place of an earlier one.
    """

    files: int
    accepted: int
    duplicate: int
    rejected: int
    set_aside: int
    days: tuple[date, ...]
    unreadable: tuple[str, ...] = ()
    replaced: int = 0


def latest(now: datetime | None = None) -> datetime:
    """Last instant (naive UTC) that an import believes: a day after it, since clocks differ."""
    return (now or datetime.now(UTC).replace(tzinfo=None)) + _CLOCK_SKEW


def input_files(paths: Iterable[str | Path]) -> list[Path]:
    """Files under the given files, folders (recursively, by known endings) and glob patterns.

    Raises:
        BadInput: a path that matches no file, a pipe or device, or a folder that may not be read.
    """
    files: dict[Path, None] = {}
    for path in paths:
        matches = _matches(Path(path)) if str(path) else []
        if not matches:
            raise _nothing_there(path)
        files.update(dict.fromkeys(matches))
    return list(files)


def file_id(path: Path) -> str:
    """Name of a file's content: 32 hexadecimal digits of its SHA-256.

    Raises:
        BadInput: a file that cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:ID_LENGTH]
    except OSError as error:
        raise BadInput(
            f"cannot read the file: {error.strerror or error}",
            str(path),
            "check the path and its permissions",
        ) from error


class Quarantine:
    """Rows that could not be read, on their way into a file of the quarantine.

    Attributes:
        count: rows so far.
        first: the first of them, None without any.
    """

    def __init__(self, root: Path, target: Path) -> None:
        self._root = root
        self._target = target
        self._open = ExitStack()
        self._kept = True
        self.count = 0
        self.first: Reject | None = None

    def add(self, reject: Reject) -> None:
        """Keep a row with its file, line and reason, and the beginning of it as it was."""
        if self.first is None:
            self.first = reject
            folder = self._open.enter_context(unfinished(self._root))
            self._stream = self._open.enter_context((folder / self._target.name).open("wb"))
        self.count += 1
        file = os.fsencode(reject.file).decode(errors="replace")
        kept = replace(reject, file=file, raw=reject.raw[:_RAW_LENGTH])
        self._stream.write(orjson.dumps(asdict(kept)) + b"\n")

    def discard(self) -> None:
        """Leave what is there from the earlier reading."""
        self._kept = False

    def close(self) -> None:
        """Move the file into place; without rows there is none."""
        with self._open:
            if self._kept and self.first is not None:
                self._stream.close()
                move(Path(self._stream.name), self._target)
            elif self._kept:
                self._target.unlink(missing_ok=True)


@contextmanager
def quarantine(settings: Settings, path: Path, name: str) -> Iterator[Quarantine]:
    """Take in the rejected rows of a file (and its `file_id`); they replace those it had before.

    What is rejected before an exception is kept too: it may be why.
    """
    readable = os.fsencode(path.name)[:_NAME_LENGTH].decode(errors="ignore")
    kept = Quarantine(settings.home, settings.quarantine / f"{readable}.{name[:12]}.jsonl")
    try:
        yield kept
    finally:
        kept.close()


@dataclass(frozen=True)
class Place:
    """Where a row was read."""

    rejects: Quarantine
    path: Path
    line: int

    def reject(self, reason: str, row: Any) -> None:
        """Put the row into the quarantine."""
        raw = orjson.dumps(row).decode()
        self.rejects.add(Reject(str(self.path), self.line, reason, raw))


@dataclass(frozen=True)
class RowsRead:
    """What files of one kind hold.

    Attributes:
        rows: those that could be read, each with its place.
        quarantines: one per file.
    """

    rows: list[tuple[dict[str, Any], Place]]
    quarantines: list[Quarantine]

    @property
    def rejected(self) -> int:
        """Rows in the quarantine so far."""
        return sum(rejects.count for rejects in self.quarantines)


@contextmanager
def rows_of(
    kind: str,
    paths: Iterable[str | Path],
    settings: Settings,
    *,
    format: str,
    mapping: Mapping[str, str] | None,
    latest: datetime,
    progress: Progress | None,
) -> Iterator[RowsRead]:
    """Read files whole; rows may be rejected until the context ends.

    Args:
        kind: what the files hold, such as evals.
        paths: files, folders or glob patterns.
        settings: where the quarantine is.
        format: name of the format, or "auto".
        mapping: canonical field -> the file's field.
        latest: last instant (naive UTC) that a time may name.
        progress: called with the file and the rows so far.

    Raises:
        BadInput: nothing to read, an unreadable file, one without a single readable row, or an
            unknown format; what was rejected is in the quarantine.
    """
    read = RowsRead([], [])
    with ExitStack() as stack:
        for path in input_files(paths):
            before = len(read.rows)
            rejects = stack.enter_context(quarantine(settings, path, file_id(path)))
            read.quarantines.append(rejects)
            for item in find(kind, path, format).read(path, mapping, latest):
                if isinstance(item, Reject):
                    rejects.add(item)
                    if len(read.rows) == before and rejects.count == HOPELESS:
                        break
                    continue
                line, row = item
                read.rows.append((row, Place(rejects, path, line)))
                if progress:
                    progress(path, len(read.rows))
            if len(read.rows) == before:
                raise nothing_read(kind, path, rejects.count, rejects.first, settings.quarantine)
        yield read


def _matches(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(
            Path(folder, name)
            for folder, _, names in os.walk(path, onerror=_unreadable_folder)
            for name in names
            if not name.startswith(".")
            and plain_suffix(Path(name)) in _SUFFIXES
            and Path(folder, name).is_file()
        )
    if path.exists():
        if not path.is_file():
            raise BadInput(
                "a pipe or device, not a file", str(path), "write it to a file, then import that"
            )
        return [path]
    base = Path(path.anchor)
    with suppress(ValueError):
        return sorted(p for p in base.glob(str(path.relative_to(base))) if p.is_file())
    return []


def _unreadable_folder(error: OSError) -> None:
    raise BadInput(
        f"cannot read the folder: {error.strerror}", str(error.filename), "check its permissions"
    )


def _nothing_there(path: str | Path) -> BadInput:
    if str(path) and Path(path).is_dir():
        endings = ", ".join(sorted(_SUFFIXES))
        return BadInput(
            f"no file with a known ending ({endings}, also with .gz or .zst)",
            str(path),
            "name the files themselves, or export some",
        )
    return BadInput("no such file", str(path) or "''", "check the path or the pattern")
