"""Vectors of the benchmarks' texts, kept in out/vectors, so that scripts share them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from evalcov_pipeline.core.text.normalise import text_hash
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import embed_texts

OUT = Path(__file__).parent / "out" / "vectors"


def embedded(corpus: str, texts: list[str]) -> tuple[list[str], np.ndarray]:
    """Hashes of texts, and their vectors (n, dimension) by the default model."""
    settings = Settings(home=OUT / corpus)
    cache = vector_cache(settings)
    hashes = [text_hash(text) for text in texts]
    frame = pl.DataFrame({"text_hash": hashes, "text": texts})
    embed_texts(cache, lambda: embedder(settings.embedding), frame)
    return hashes, cache.get(hashes)


def give(corpus: str, home: Path) -> None:
    """Let a home that is not there yet begin with the vectors of a corpus."""
    shutil.copytree(
        Settings(home=OUT / corpus).lake / "vectors", Settings(home=home).lake / "vectors"
    )
