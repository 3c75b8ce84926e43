"""The vectors of a pipeline: one embedding model and one cache."""

from __future__ import annotations

from functools import lru_cache

from evalcov_pipeline.embedding import Embedder, make_embedder
from evalcov_pipeline.settings import EmbeddingSettings, Settings
from evalcov_pipeline.storage.vectors import VectorCache


@lru_cache(maxsize=2)
def embedder(settings: EmbeddingSettings) -> Embedder:
    """The embedder of these settings, made once per process; loads no model before it embeds."""
    return make_embedder(settings)


def vector_cache(settings: Settings) -> VectorCache:
    """The cache of this embedder's vectors."""
    model = embedder(settings.embedding)
    return VectorCache(settings.lake / "vectors", model.fingerprint, model.dimension)
