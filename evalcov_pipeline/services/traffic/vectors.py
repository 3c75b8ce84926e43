"""The vectors of a pipeline: one embedding model and one cache."""

from __future__ import annotations

from functools import lru_cache

from evalcov_pipeline.embedding import Embedder, EmbeddingModelError, make_embedder
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import EmbeddingSettings, Settings
from evalcov_pipeline.storage.vectors import VectorCache


@lru_cache(maxsize=2)
def embedder(settings: EmbeddingSettings) -> Embedder:
    """The embedder of these settings, made once per process; loads no model before it embeds."""
    return make_embedder(settings)


def vector_cache(settings: Settings) -> VectorCache:
    """The cache of this embedder's vectors.

    Raises:
        BadInput: the model that the settings name cannot be used.
    """
    try:
        model = embedder(settings.embedding)
        return VectorCache(settings.lake / "vectors", model.fingerprint, model.dimension)
    except EmbeddingModelError as error:
        raise BadInput(
            what=str(error),
            where="setting embedding.model",
            what_to_do="name the bundled all-MiniLM-L6-v2, a local folder or a model id",
        ) from error
