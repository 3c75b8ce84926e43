"""Texts to vectors: the `Embedder` protocol and the choice of its implementation.

An embedder's `fingerprint` names the vector space. Vectors are cached under it, and a taxonomy
refuses vectors of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evalcov_pipeline.settings import EmbeddingSettings

Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number of texts in all."""


class EmbeddingModelError(ValueError):
    """The model that the settings name cannot be used."""


class Embedder(Protocol):
    """Turns texts into unit vectors of one space."""

    @property
    def fingerprint(self) -> str:
        """Name of the vector space, usable as a folder name; cheap, loads no model."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def max_tokens(self) -> int | None:
        """Longest text that is read whole, in the model's tokens; None for no limit."""

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: n normalised texts, of any length and in any order.
            progress: told now and then how far the work is.

        Returns:
            (n, dimension) vectors of length 1, in the order of `texts`.
        """

    def truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Say which texts the model reads only in part.

        Args:
            texts: n normalised texts.

        Returns:
            (n,) true where a text is longer than `max_tokens`.
        """


def make_embedder(settings: EmbeddingSettings) -> Embedder:
    """Embedder that the settings ask for; nothing heavy is loaded before its first use.

    Args:
        settings: `model` is "hashing", "all-MiniLM-L6-v2" (bundled), a local folder or a model id.

    Returns:
        The embedder.
    """
    if settings.model == "hashing":
        from evalcov_pipeline.embedding.hashing import HashingEmbedder

        return HashingEmbedder()
    from evalcov_pipeline.embedding.sentence_transformer import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(settings)
