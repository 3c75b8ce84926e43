"""Vectors without a model: hashed words, word pairs and pieces of words.

Texts that share words are near each other; texts that share only meaning are not. For tests, and
for a first look where no model can be had.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from evalcov_pipeline.core.text.normalise import TEXT_VERSION
from evalcov_pipeline.embedding import Progress

_TOKEN = re.compile(r"\w+|[^\w\s]+")
_PIECES = (3, 4)


class HashingEmbedder:
    """Signed feature hashing (Weinberger et al. 2009) of words and character n-grams.

    A pure function of each text: neither the batch nor the machine changes a vector.

    Args:
        dimension: length of a vector, >= 1.
    """

    max_tokens: int | None = None

    def __init__(self, dimension: int = 256) -> None:
        """Keep the dimension; there is nothing to load."""
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, not {dimension}")
        self.dimension = dimension
        self.fingerprint = f"hashing-1-{dimension}-t{TEXT_VERSION}"

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Embed texts; see `Embedder.embed`."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            hashes = np.array(_features(text), dtype=np.int64)
            np.add.at(vector, (hashes >> 1) % self.dimension, 1.0 - 2.0 * (hashes & 1))
        lengths = np.linalg.norm(vectors, axis=1)
        vectors[lengths == 0, 0] = 1.0
        lengths[lengths == 0] = 1.0
        if progress is not None:
            progress(len(texts), len(texts))
        vectors /= lengths[:, None]
        return vectors

    def truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """No text is ever cut."""
        return np.zeros(len(texts), dtype=np.bool_)


def _features(text: str) -> list[int]:
    words = _TOKEN.findall(text.casefold())
    features = [feature for word in words for feature in _word_features(word)]
    features += [crc32(f"{a} {b}".encode()) for a, b in pairwise(words)]
    return features


@lru_cache(maxsize=100_000)
def _word_features(word: str) -> tuple[int, ...]:
    bounded = f"<{word}>"
    pieces = [bounded[i : i + n] for n in _PIECES for i in range(len(bounded) - n + 1)]
    return tuple(crc32(piece.encode()) for piece in [word, *pieces])
