"""Vectors from a sentence-transformers model, on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalcov_pipeline.core.text.normalise import TEXT_VERSION
from evalcov_pipeline.embedding import Progress
from evalcov_pipeline.embedding.model_files import ModelFiles, find_model
from evalcov_pipeline.settings import EmbeddingSettings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCHES_PER_STEP = 16
"""Batches between two reports of progress."""


class SentenceTransformerEmbedder:
    """Unit vectors from a sentence-transformers model.

    The model is loaded at the first text (5 to 15 s, nearly all of it imports). A text's vector
    moves by about 2e-7 with the texts it shares a batch with, because padding changes the order of
    summation; the vectors of one text under one fingerprint agree to 1e-5.

    Args:
        settings: model, batch size and device.
    """

    def __init__(self, settings: EmbeddingSettings) -> None:
        """Keep the settings; nothing is looked up or loaded yet."""
        self._settings = settings

    @property
    def fingerprint(self) -> str:
        """Name of the vector space; hashes the model's files, loads no model."""
        return f"st-{self._files.digest}-unit-t{TEXT_VERSION}"

    @cached_property
    def dimension(self) -> int:
        """Length of a vector; loads the model only where its files do not say."""
        return self._files.dimension or int(self._model.get_embedding_dimension() or 0)

    @cached_property
    def max_tokens(self) -> int | None:
        """Longest text that is read whole, special tokens included; loads the model."""
        limit = self._model.max_seq_length
        return None if limit is None or not np.isfinite(limit) else int(limit)

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Embed texts, longest first; see `Embedder.embed`."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        step = self._settings.batch_size * BATCHES_PER_STEP
        for start in range(0, len(texts), step):
            rows = order[start : start + step]
            vectors[rows] = self._model.encode(
                [texts[row] for row in rows],
                batch_size=self._settings.batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            if progress is not None:
                progress(start + len(rows), len(texts))
        return vectors

    def truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Say which texts are longer than the model's window; see `Embedder.truncated`."""
        if self.max_tokens is None or not texts:
            return np.zeros(len(texts), dtype=np.bool_)
        encoded = self._model.tokenizer(
            list(texts), truncation=False, padding=False, verbose=False, return_attention_mask=False
        )
        lengths = np.fromiter((len(ids) for ids in encoded["input_ids"]), dtype=np.int64)
        return lengths > self.max_tokens

    @cached_property
    def _files(self) -> ModelFiles:
        return find_model(self._settings.model)

    @cached_property
    def _model(self) -> SentenceTransformer:
        folder = self._files.folder
        with _quiet_loading():
            from sentence_transformers import SentenceTransformer

            return SentenceTransformer(
                str(folder), device=self._settings.device, local_files_only=True
            )


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without the library's own progress bar, which would write over ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
