"""Importing files of traces into the lake's staging area."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import AUTO, Format, find
from evalcov_pipeline.formats.lines import Reject, plain_suffix
from evalcov_pipeline.formats.traces import TraceOptions
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import staging

Progress = Callable[[Path, int], None]

_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".parquet"})
_HASH_LENGTH = 32


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
    """

    files: int
    accepted: int
    duplicate: int
    rejected: int
    set_aside: int
    days: tuple[date, ...]
    unreadable: tuple[str, ...] = ()


def ingest_traces(
    paths: Iterable[str | Path],
    settings: Settings,
    *,
    format: str = AUTO,
    source: str | None = None,
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Stream files of traces into the staging area, each once.

    A file is known by its content: a second import changes nothing, whatever its name. Imported
    again with other options (format, source, mapping, what counts as production), it replaces its
    earlier reading.

    Args:
        paths: files, folders or glob patterns.
        settings: where the lake is, and what counts as production.
        format: name of the format, or "auto".
        source: name of the system that the traces come from; default: the format's.
        mapping: canonical column -> the file's column (generic format).
        progress: called with the file and its rows so far.

    Raises:
        BadInput: nothing to read, or not one of the files can be.
    """
    options = TraceOptions(source, mapping or {}, settings.production)
    receipts, failures = [], []
    for path in input_files(paths):
        try:
            reader = find("traces", path, format)
            receipts.append(_ingest_file(path, reader, options, settings, progress))
        except BadInput as error:
            failures.append(error)
    if failures and not receipts:
        raise failures[0]
    return IngestReport(
        files=len(receipts),
        accepted=sum(r["accepted"] for r in receipts),
        duplicate=sum(r["duplicate"] for r in receipts),
        rejected=sum(r["rejected"] for r in receipts),
        set_aside=sum(r["set_aside"] for r in receipts),
        days=tuple(sorted({day for r in receipts for day in r["days"]})),
        unreadable=tuple(map(str, failures)),
    )


def input_files(paths: Iterable[str | Path]) -> list[Path]:
    """Files under the given files, folders (recursively, by known endings) and glob patterns.

    Raises:
        BadInput: a path that matches no file.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        matches = _matches(path)
        if not matches:
            raise BadInput("no such file", str(path), "check the path or the pattern")
        found.update(dict.fromkeys(matches))
    return list(found)


def file_id(path: Path) -> str:
    """Name of a file's content: 32 hexadecimal digits of its SHA-256.

    Raises:
        BadInput: a file that cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:_HASH_LENGTH]
    except OSError as error:
        raise BadInput(f"cannot read the file: {error}", str(path), "check the path") from error


def quarantine(folder: Path, name: str, rejects: Sequence[Reject]) -> None:
    """Keep rejected rows as `<name>.jsonl` with file, line, reason and raw; none leave no file."""
    target = folder / f"{name}.jsonl"
    if not rejects:
        target.unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rejects))
    partial.replace(target)


def _matches(path: Path) -> list[Path]:
    if path.is_dir():
        inside = (p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        return sorted(p for p in inside if plain_suffix(p) in _SUFFIXES)
    if path.exists():
        return [path]
    base = Path(path.anchor)
    with suppress(ValueError):
        return sorted(p for p in base.glob(str(path.relative_to(base))) if p.is_file())
    return []


def _ingest_file(
    path: Path,
    reader: Format,
    options: TraceOptions,
    settings: Settings,
    progress: Progress | None,
) -> dict[str, Any]:
    """Stage one file and leave a receipt; for a file known under the same options, only report."""
    name = file_id(path)
    receipt_file = settings.lake / "staging" / "files" / f"{name}.json"
    stamp = _stamp(reader, options)
    earlier = orjson.loads(receipt_file.read_bytes()) if receipt_file.exists() else {}
    if earlier.get("options") == stamp:
        known = earlier["accepted"] + earlier["duplicate"]
        return earlier | {"accepted": 0, "duplicate": known, "days": []}
    rejects: list[Reject] = []
    rows = set_aside = 0
    with staging(settings.lake, name) as staged:
        for item in reader.read(path, options):
            if isinstance(item, Reject):
                rejects.append(item)
                continue
            staged.add(item)
            rows += item.height
            set_aside += item["set_aside"].count()
            if progress:
                progress(path, rows)
        staged.close()
        duplicate = staged.duplicates()
        days = staged.commit(replaced=earlier.get("places", ()))
        places = staged.places
    quarantine(settings.quarantine, f"{path.name}.{name[:12]}", rejects)
    receipt = {
        "file": str(path),
        "options": stamp,
        "accepted": rows - duplicate,
        "duplicate": duplicate,
        "rejected": len(rejects),
        "set_aside": set_aside,
        "places": places,
    }
    receipt_file.parent.mkdir(parents=True, exist_ok=True)
    partial = receipt_file.with_suffix(".partial")
    partial.write_bytes(orjson.dumps(receipt))
    partial.replace(receipt_file)
    return receipt | {"days": days}


def _stamp(reader: Format, options: TraceOptions) -> str:
    """Everything but the file that decides how it is read."""
    content = [
        reader.name,
        options.source,
        sorted(options.mapping.items()),
        options.production.model_dump(),
    ]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()[:_HASH_LENGTH]
