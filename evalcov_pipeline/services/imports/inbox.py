"""The inbox: files that other systems drop into the home, imported once they are complete.

inbox/<kind>/**           files to import, by what they hold
inbox/done/<kind>/**      what was imported
inbox/failed/<kind>/**    what could not be, each with its reason beside it in FILE.reason
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.imports.annotations import AnnotationsReport, ingest_annotations
from evalcov_pipeline.services.imports.evals import ingest_evals
from evalcov_pipeline.services.imports.files import IngestReport, file_id
from evalcov_pipeline.services.imports.incidents import IncidentsReport, ingest_incidents
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.services.imports.verdicts import VerdictsReport, ingest_verdicts
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.files import move, write_whole

Report = IngestReport | AnnotationsReport | IncidentsReport | VerdictsReport

_IMPORTS: dict[str, Callable[[Sequence[Path], Settings], Report]] = {
    "traces": ingest_traces,
    "evals": lambda paths, settings: ingest_evals("evals", paths, settings),
    "results": lambda paths, settings: ingest_evals("results", paths, settings),
    "annotations": ingest_annotations,
    "verdicts": ingest_verdicts,
    "incidents": ingest_incidents,
}
_MARK = ".done"
_NOT_INPUT = (_MARK, ".part", ".partial", ".tmp", ".crdownload")

Fingerprint = tuple[int, int]
"""Size in bytes, and time of the last change in nanoseconds."""


def waiting(inbox: Path) -> dict[str, Fingerprint]:
    """Files of the inbox by their path below it; hidden, temporary ones and marks are left out."""
    fingerprints = {}
    for kind in _IMPORTS:
        for path in sorted((inbox / kind).rglob("*")):
            name = path.relative_to(inbox)
            hidden = any(part.startswith(".") for part in name.parts)
            if not hidden and path.suffix not in _NOT_INPUT and path.is_file():
                status = path.stat()
                fingerprints[str(name)] = (status.st_size, status.st_mtime_ns)
    return fingerprints


def is_marked(inbox: Path, name: str) -> bool:
    """Whether its sender says that a file is complete, by a file FILE.done beside it."""
    return (inbox / f"{name}{_MARK}").exists()


def take(settings: Settings, name: str) -> Report | BadInput | None:
    """Import one file of the inbox and put it away; one that is gone was put away before.

    Args:
        settings: where the inbox is.
        name: path below the inbox.

    Returns:
        What the import did, or why the file could not be imported; None if it is gone.
    """
    path = settings.inbox / name
    if not path.is_file():
        return None
    outcome: Report | BadInput
    try:
        outcome = _IMPORTS[path.relative_to(settings.inbox).parts[0]]([path], settings)
    except BadInput as error:
        outcome = error
    failed = isinstance(outcome, BadInput)
    target = _place(settings.inbox / ("failed" if failed else "done") / name, path)
    if failed:
        reason = target.with_name(f"{target.name}.reason")
        write_whole(settings.home, reason, f"{outcome}\n".encode())
    move(path, target)
    path.with_name(f"{path.name}{_MARK}").unlink(missing_ok=True)
    return outcome


def _place(target: Path, path: Path) -> Path:
    """Where a file is put away; beside another one of its name, its content names it too."""
    if not target.exists():
        return target
    return target.with_name(f"{target.stem}.{file_id(path)[:12]}{target.suffix}")
