"""Reading files line by line, plain or compressed, and setting bad rows apart."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import zstandard

from evalcov_pipeline.errors import BadInput

_HEAD_BYTES = 65_536
_UNREADABLE = (OSError, EOFError, zstandard.ZstdError)


@dataclass(frozen=True)
class Reject:
    """A row that could not be read.

    Attributes:
        file: path of its file.
        line: line (or row of a Parquet file), from 1.
        reason: what is wrong with it, in words for a user.
        raw: the row as it was.
    """

    file: str
    line: int
    reason: str
    raw: str


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a plain, `.gz` or `.zst` file for reading.

    Raises:
        BadInput: a file that cannot be opened, or whose compression is broken, also midway.
    """
    try:
        with path.open("rb") as raw:
            if path.suffix == ".gz":
                with gzip.open(raw) as unpacked:
                    yield cast(BinaryIO, unpacked)
            elif path.suffix == ".zst":
                with zstandard.ZstdDecompressor().stream_reader(
                    raw, read_across_frames=True
                ) as stream:
                    yield cast(BinaryIO, io.BufferedReader(cast(Any, stream), 1 << 20))
            else:
                yield raw
    except _UNREADABLE as error:
        raise BadInput(
            f"cannot read the file: {error}", str(path), "check the path, or export it again"
        ) from error


def head(path: Path) -> bytes:
    """The first bytes of a file, decompressed, without a byte order mark."""
    with open_bytes(path) as stream:
        return stream.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")


def plain_suffix(path: Path) -> str:
    """Suffix of the file under its compression, in lower case: `.jsonl` for `a.jsonl.gz`."""
    name = Path(path.stem) if path.suffix in {".gz", ".zst"} else path
    return name.suffix.lower()


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Reject]:
    """Objects of a JSON Lines file with their line numbers; blank lines are skipped."""
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, 1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                row = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                reason = f"not JSON: {error}"
            else:
                if isinstance(row, dict):
                    yield number, row
                    continue
                reason = "not a JSON object"
            yield Reject(str(path), number, reason, text.decode(errors="replace"))
