"""Files that appear whole or not at all, and locks that end with the process that holds them.

What is being written lies in `<root>/.unfinished/`, on the file system of its target, and moves
into place when it is whole. Whoever writes there holds a shared lock; who gets the exclusive one
knows that nobody writes, so that all that lies there was left by a process that died, and clears it
away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from evalcov_pipeline.errors import BadInput

_UNFINISHED = ".unfinished"
_LOCK = "lock"


@contextmanager
def locked(
    path: Path, what: str, *, shared: bool = False, timeout_s: float = 120.0
) -> Iterator[None]:
    """Hold an advisory lock; the system takes it back when the process ends, however it ends.

    Args:
        path: the lock file; made if it is not there, and left there.
        what: what is locked, for the message.
        shared: let others hold it too, as long as they share as well.
        timeout_s: seconds to wait for another process.

    Raises:
        BadInput: another process still holds it; the message names that process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with path.open("a+") as handle:
        while not _try_lock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                raise BadInput(
                    what=f"{what} is held by {_holders(path)}",
                    where=str(path.parent),
                    what_to_do="wait for that process to finish, or end it, then try again",
                )
            time.sleep(0.05)
        yield


@contextmanager
def held_by_nobody(path: Path) -> Iterator[bool]:
    """Hold a lock exclusively if nobody holds it now; whether that is so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        yield _try_lock(handle, fcntl.LOCK_EX)


@contextmanager
def unfinished(root: Path) -> Iterator[Path]:
    """An empty folder for what will be moved to a place under `root`; gone when the block ends.

    What processes that died left there before is cleared away.
    """
    with _cleared_area(root) as area:
        folder = Path(tempfile.mkdtemp(dir=area))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def move(source: Path, target: Path) -> None:
    """Put a finished file in the place of `target`, which is the old or the new one at any time.

    A folder may take the place of none. The content is on the disk before the name is, so that not
    even a power cut leaves half of it.
    """
    for path in source.iterdir() if source.is_dir() else [source]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def write_whole(root: Path, target: Path, content: bytes) -> None:
    """Write a file under `root`; readers find the old content or the new one, never half.

    The unfinished file lies in no folder of its own, so a process that dies once it has moved
    leaves nothing: a file that is never written twice may be the last to be written there.
    """
    with _cleared_area(root) as area:
        source = area / uuid.uuid4().hex
        try:
            source.write_bytes(content)
            move(source, target)
        finally:
            source.unlink(missing_ok=True)


def write_beside(target: Path, content: bytes) -> None:
    """Write a file in a folder that is not ours: whole or not at all, and nothing else stays there.

    Only a process that is killed leaves the unfinished file, hidden, beside the target.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        source.write_bytes(content)
        move(source, target)
    finally:
        source.unlink(missing_ok=True)


@contextmanager
def _cleared_area(root: Path) -> Iterator[Path]:
    """Where unfinished things of `root` lie, held against clearing until the block ends."""
    area = root / _UNFINISHED
    with held_by_nobody(area / _LOCK) as alone:
        if alone:
            _clear(area)
    with locked(area / _LOCK, "the area of unfinished files", shared=True):
        yield area


def _clear(area: Path) -> None:
    for left in area.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != _LOCK:
            left.unlink()


def _try_lock(handle: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(lock_file: Path) -> str:
    """Who holds the lock, as far as the system tells."""
    inode = f":{lock_file.stat().st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return "another process"
    pids = {
        fields[4]
        for fields in (line.split() for line in lines)
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(inode)
    } - {str(os.getpid())}
    return f"process {', '.join(sorted(pids))}" if pids else "another process"
