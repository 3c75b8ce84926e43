"""Importing files of traces into the lake's staging area."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.formats import AUTO, HOPELESS, Format, find, nothing_read
from evalcov_pipeline.formats.lines import Reject
from evalcov_pipeline.formats.traces import TraceOptions
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.files import (
    ID_LENGTH,
    IngestReport,
    Progress,
    file_id,
    input_files,
    latest,
    quarantine,
)
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.lake import receipt, staging


def ingest_traces(
    paths: Iterable[str | Path],
    settings: Settings,
    *,
    format: str = AUTO,
    source: str | None = None,
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> IngestReport:
    """Stream files of traces into the staging area, each once.

    A file is known by its content: a second import changes nothing, whatever its name. Imported
    again with other options (format, source, mapping, what counts as production), it replaces its
    earlier reading. A file that is still being written may be imported now and again when it has
    grown: a line that is cut off is rejected now and read then, and rows that were there already
    are duplicates.

    Args:
        paths: files, folders or glob patterns.
        settings: where the lake is, and what counts as production.
        format: name of the format, or "auto".
        source: name of the system that the traces come from; default: the format's.
        mapping: canonical column -> the file's column (generic format).
        progress: called with the file and its rows so far.
        now: the instant of the import (naive UTC), default the clock's; rows more than a day
            later are rejected.

    Raises:
        BadInput: nothing to read, or not one of the files can be; or the home is of a newer
            version.
    """
    options = TraceOptions(source, mapping or {}, settings.production, latest(now))
    receipts, failures = [], []
    files = input_files(paths)
    warehouse_of(settings).version()  # refuses a home of a newer version
    for path in files:
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


def _ingest_file(
    path: Path,
    reader: Format,
    options: TraceOptions,
    settings: Settings,
    progress: Progress | None,
) -> dict[str, Any]:
    """Stage one file and leave a receipt; for a file known under the same options, only report.

    A known file with rejected rows is read again, since a row may have been ahead of its time.
    """
    name = file_id(path)
    stamp = _stamp(reader, options)
    with staging(settings.lake, name) as staged:
        earlier = receipt(settings.lake, name) or {}
        same = earlier.get("options") == stamp
        known = earlier["accepted"] + earlier["duplicate"] if same else 0
        nothing_new = earlier | {"accepted": 0, "duplicate": known, "days": []}
        if same and not earlier["rejected"]:
            return nothing_new
        rows = set_aside = 0
        with quarantine(settings, path, name) as rejects:
            for item in reader.read(path, options):
                if isinstance(item, Reject):
                    rejects.add(item)
                    if not rows and rejects.count == HOPELESS:
                        break
                    continue
                staged.add(item)
                rows += item.height
                set_aside += item["set_aside"].count()
                if progress:
                    progress(path, rows)
            if same and rows == known:
                rejects.discard()
                return nothing_new
            if not rows:
                raise nothing_read(
                    "traces", path, rejects.count, rejects.first, settings.quarantine
                )
        warehouse_of(settings).bring_up_to_date()  # it states the version of the lake, too
        return staged.commit(
            {
                "file": os.fsencode(path.absolute()).decode(errors="replace"),
                "options": stamp,
                "rejected": rejects.count,
                "set_aside": set_aside,
            }
        )


def _stamp(reader: Format, options: TraceOptions) -> str:
    """Everything but the file that decides how it is read."""
    content = [
        reader.name,
        options.source,
        sorted(options.mapping.items()),
        options.production.model_dump(),
    ]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()[:ID_LENGTH]
