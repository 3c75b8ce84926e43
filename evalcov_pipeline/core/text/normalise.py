"""One spelling and one name per text: what is hashed, embedded and compared.

Two production queries that differ only in invisible characters, width or spacing are one text; case
and punctuation are kept, since a model reads them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

import polars as pl

TEXT_VERSION = 1
"""Version of `normalise`; part of every embedding fingerprint."""

HASH_LENGTH = 32

_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # control characters that are not white space
    "\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def normalise(text: str) -> str:
    """Spell a text in its one canonical way.

    Control and other invisible characters are removed (joiners stay: scripts and emoji need them),
    lone surrogates become U+FFFD, compatibility forms are composed (NFKC), and every run of white
    space becomes one space, none at the ends. Idempotent.

    Args:
        text: any text.

    Returns:
        The normalised text; empty when nothing visible is left.
    """
    if not text.isascii():
        text = _SURROGATE.sub("\ufffd", text)
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return " ".join(text.split())


def text_hash(text: str) -> str:
    """Name of a text's content: 32 hexadecimal digits of the SHA-256 of `normalise(text)`.

    Args:
        text: any text, normalised or not.

    Returns:
        The same name for every spelling that `normalise` makes equal; case counts.
    """
    return hashlib.sha256(normalise(text).encode()).hexdigest()[:HASH_LENGTH]


def normalise_all(texts: pl.Series) -> pl.Series:
    """`normalise` over a column.

    Args:
        texts: (n,) strings; null stays null.

    Returns:
        (n,) strings under the same name.
    """
    values = [None if text is None else normalise(text) for text in texts]
    return pl.Series(texts.name, values, dtype=pl.String)


def text_hashes(texts: pl.Series) -> pl.Series:
    """`text_hash` over a column.

    Args:
        texts: (n,) strings, normalised or not; null stays null.

    Returns:
        (n,) strings named `text_hash`.
    """
    values = [None if text is None else text_hash(text) for text in texts]
    return pl.Series("text_hash", values, dtype=pl.String)
