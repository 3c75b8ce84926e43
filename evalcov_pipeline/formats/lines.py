"""Reading files line by line, plain or compressed, and setting bad rows apart.

However large a file is, and whatever it unpacks to, no more than one line of `LONGEST_LINE` bytes
is in memory.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from evalcov_pipeline.errors import BadInput

LONGEST_LINE = 64 << 20
"""Longest line, or JSON document that spans lines, in bytes; what is longer is rejected unread."""
_HEAD_BYTES = 65_536
_BUFFER_BYTES = 1 << 20
_CODECS = {".gz": "gzip", ".zst": "zstd"}
_BOMB_BYTES, _BOMB_RATIO = 64 << 20, 200
_BOM = codecs.BOM_UTF8
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Reject:
    """A row that could not be read.

    Attributes:
        file: path of its file.
        line: line (or row of a Parquet file or of a JSON array), from 1.
        reason: what is wrong with it, in words for a user.
        raw: the row as it was.
    """

    file: str
    line: int
    reason: str
    raw: str


class Unreadable(ValueError):
    """Why a row or a part of it cannot be read, in words for a user."""


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a plain, `.gz` or `.zst` file for reading.

    Raises:
        BadInput: a file that cannot be opened, that is UTF-16, whose compression is broken or cut
            off, or that unpacks to more than any export would; also midway.
    """
    codec = _CODECS.get(path.suffix.lower())
    try:
        with path.open("rb") as packed:
            raw = packed
            if codec:
                import pyarrow as pa

                unpacked = _Unpacked(packed, pa.CompressedInputStream(packed, codec), path)
                raw = io.BufferedReader(cast(Any, unpacked), _BUFFER_BYTES)
            if raw.peek(2)[:2] in _UTF16:
                raise BadInput(
                    "the file is UTF-16",
                    str(path),
                    "save it as UTF-8, e.g. iconv -f UTF-16 -t UTF-8",
                )
            yield cast(BinaryIO, raw)
    except OSError as error:
        raise BadInput(
            f"cannot read the file: {error.strerror or error}",
            str(path),
            "check the path and its permissions, or export it again",
        ) from error


class _Unpacked(io.RawIOBase):
    """What a compressed stream unpacks to, refused once it outgrows the file beyond all reason."""

    def __init__(self, packed: BinaryIO, stream: Any, path: Path) -> None:
        super().__init__()
        self._packed = packed
        self._stream = stream
        self._path = path
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = int(self._stream.readinto(buffer))
        self._size += read
        if self._size > max(_BOMB_BYTES, _BOMB_RATIO * self._packed.tell()):
            raise BadInput(
                f"unpacks to more than {_BOMB_RATIO} times its size",
                str(self._path),
                "if it is no decompression bomb, unpack it and import the plain file",
            )
        return read


def head(path: Path) -> bytes:
    """The first bytes of a file, decompressed, without a byte order mark."""
    with open_bytes(path) as stream:
        return stream.read(_HEAD_BYTES).removeprefix(_BOM)


def plain_suffix(path: Path) -> str:
    """Suffix of the file under its compression, in lower case: `.jsonl` for `a.jsonl.gz`."""
    name = Path(path.stem) if path.suffix.lower() in _CODECS else path
    return name.suffix.lower()


def lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes] | Reject]:
    """Lines with their numbers and their ends; those above `LONGEST_LINE` as a `Reject`."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) <= LONGEST_LINE:
            yield number, line
            continue
        start = line[:200].decode(errors="replace")
        while not line.endswith(b"\n") and (line := stream.readline(_BUFFER_BYTES)):
            pass
        yield Reject(str(path), number, f"longer than {LONGEST_LINE >> 20} MiB", start)


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Reject]:
    """Objects of a JSON Lines file with their line numbers; blank lines are skipped.

    A file that is one JSON document over several lines is read too: the objects of an array,
    numbered from 1, or the one object.
    """
    with open_bytes(path) as stream:
        document = _document(stream, path)
    if document is not None:
        for number, row in enumerate(document, 1):
            if isinstance(row, dict):
                yield number, row
            else:
                yield Reject(str(path), number, "not a JSON object", orjson.dumps(row).decode())
        return
    with open_bytes(path) as stream:
        for item in lines(stream, path):
            if isinstance(item, Reject):
                yield item
                continue
            number, line = item
            text = line.strip()
            if not text:
                continue
            try:
                row = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                reason = _why_not_json(text, error)
            else:
                if isinstance(row, dict):
                    yield number, row
                    continue
                reason = "not a JSON object"
            yield Reject(str(path), number, reason, text.decode(errors="replace"))


def _document(stream: BinaryIO, path: Path) -> list[Any] | None:
    """Rows of a file that is one JSON document; None for JSON Lines."""
    first = stream.readline(LONGEST_LINE).removeprefix(_BOM).strip()
    if first[:1] not in (b"{", b"[") or (first[:1] == b"{" and first[-1:] == b"}"):
        return None
    text = first + b"\n" + stream.read(LONGEST_LINE)
    if len(text) > LONGEST_LINE:
        if len(first) > 1:
            return None
        raise BadInput(
            f"one JSON document of more than {LONGEST_LINE >> 20} MiB",
            str(path),
            "write one object per line, e.g. jq -c '.[]' for an array",
        )
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return [document] if isinstance(document, dict) else document


def _why_not_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8 from byte {wrong.start + 1} on: save the file as UTF-8"
    if text.startswith((b"{", b"[")) and "end of data" in error.msg:
        return "not JSON: the line is cut off"
    half = ", half of a character (a lone surrogate)" if "surrogate" in error.msg else ""
    return f"not JSON at character {error.pos + 1}{half}"
