"""Content-addressed cache of text vectors: what was embedded once is never embedded again.

`lake/vectors/<fingerprint>/<shard>.parquet` holds `text_hash`, `vector` (fixed-size list of
float32) and `truncated` (the model read only a part of the text). Shards are written whole and
never changed, so any number of processes may read and write at the same time; a text that two of
them embedded lies in two shards and is read from the first by name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.files import write_whole

if TYPE_CHECKING:
    from evalcov_pipeline.embedding import Embedder, Progress

CHUNK = 2048
"""Texts per shard: what a crash can cost."""


@dataclass(frozen=True)
class EmbedReport:
    """What one call of `embed_texts` did.

    Attributes:
        n_texts: distinct texts that were asked for.
        n_new: those that had to be embedded.
        n_truncated: those, new or not, that are longer than the model's window.
        seconds: wall time.
    """

    n_texts: int
    n_new: int
    n_truncated: int
    seconds: float


class VectorCache:
    """Vectors of one space, by text hash.

    Args:
        folder: `lake/vectors`.
        fingerprint: name of the vector space.
        dimension: length of a vector.
    """

    def __init__(self, folder: Path, fingerprint: str, dimension: int) -> None:
        """Name the place; it is made at the first write."""
        self.folder = folder / fingerprint
        self.fingerprint = fingerprint
        self.dimension = dimension
        self._schema = pl.Schema(
            {
                "text_hash": pl.String(),
                "vector": pl.Array(pl.Float32, dimension),
                "truncated": pl.Boolean(),
            }
        )

    def missing(self, hashes: Sequence[str]) -> list[str]:
        """Hashes without a vector.

        Args:
            hashes: n text hashes.

        Returns:
            Those not in the cache, each once, in the order asked.
        """
        with self._naming_damage():
            known = set(self._rows("text_hash").collect().to_series())
        return [name for name in dict.fromkeys(hashes) if name not in known]

    def add(
        self,
        hashes: Sequence[str],
        vectors: NDArray[np.float32],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Write one shard; it appears whole or not at all.

        Args:
            hashes: n text hashes.
            vectors: (n, dimension) float32.
            truncated: (n,) whether the model read only a part of the text.

        Raises:
            ValueError: shapes that do not fit, or a vector that is not finite.
        """
        expected = (len(hashes), self.dimension)
        if vectors.shape != expected or truncated.shape != expected[:1]:
            raise ValueError(
                f"expected {expected} vectors and {expected[:1]} flags, "
                f"got {vectors.shape} and {truncated.shape}"
            )
        if not np.isfinite(vectors).all():
            raise ValueError("a vector is not finite; nothing was written")
        shard = pl.DataFrame(
            {"text_hash": hashes, "vector": vectors, "truncated": truncated}, schema=self._schema
        )
        name = hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:24]
        content = BytesIO()
        shard.write_parquet(content, compression="zstd", compression_level=1)
        write_whole(self.folder, self.folder / f"{name}.parquet", content.getvalue())

    def get(self, hashes: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts.

        Args:
            hashes: n text hashes; repeats are fine.

        Returns:
            (n, dimension) float32, in the order asked.

        Raises:
            KeyError: the first hash without a vector.
        """
        rows = self._lookup(hashes, "vector")
        return rows.to_numpy().reshape(len(hashes), self.dimension)

    def truncated(self, hashes: Sequence[str]) -> NDArray[np.bool_]:
        """Whether the model read only a part of each text.

        Args:
            hashes: n text hashes; repeats are fine.

        Returns:
            (n,) flags, in the order asked.

        Raises:
            KeyError: the first hash without a vector.
        """
        return self._lookup(hashes, "truncated").to_numpy()

    def _lookup(self, hashes: Sequence[str], column: str) -> pl.Series:
        wanted = pl.DataFrame({"text_hash": pl.Series(hashes, dtype=pl.String)})
        known = (
            self._rows("text_hash", column)
            .join(wanted.lazy(), on="text_hash", how="semi", maintain_order="left")
            .unique("text_hash", keep="first", maintain_order=True)
            .with_columns(known=True)
        )
        with self._naming_damage():
            rows = (
                wanted.lazy()
                .join(known, on="text_hash", how="left", maintain_order="left")
                .collect()
            )
        absent = rows.filter(pl.col("known").is_null())
        if len(absent):
            raise KeyError(absent["text_hash"][0])
        return rows[column]

    def _rows(self, *columns: str) -> pl.LazyFrame:
        shards = sorted(self.folder.glob("*.parquet"))
        rows = pl.scan_parquet(shards) if shards else pl.LazyFrame(schema=self._schema)
        return rows.select(columns)

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Say which shard is damaged where reading them failed.

        Raises:
            BadInput: with the shard; it can be deleted, since it holds nothing but vectors.
        """
        try:
            yield
        except (pl.exceptions.PolarsError, OSError) as error:
            for shard in sorted(self.folder.glob("*.parquet")):
                try:
                    pl.read_parquet(shard)
                except (pl.exceptions.PolarsError, OSError):
                    raise BadInput(
                        what="a file of text vectors is damaged",
                        where=str(shard),
                        what_to_do="delete it; the next run embeds its texts again",
                    ) from error
            raise


def embed_texts(
    cache: VectorCache,
    embedder_factory: Callable[[], Embedder],
    texts: pl.DataFrame,
    progress: Progress | None = None,
) -> EmbedReport:
    """See to it that every text has a vector, at the cost of the new ones only.

    Longest texts go first, a shard per `CHUNK`: an interrupted call keeps all but its last chunk.

    Args:
        cache: where vectors are looked up and kept.
        embedder_factory: makes the embedder of the cache's vector space; called only when a text
            is missing.
        texts: `text_hash`, `text`; repeats are fine.
        progress: told how many of the new texts are done.

    Returns:
        What was done.

    Raises:
        ValueError: the embedder's vector space is not the cache's.
    """
    began = time.perf_counter()
    texts = texts.unique("text_hash", keep="first", maintain_order=True)
    hashes = texts["text_hash"].to_list()
    new = texts.filter(pl.col("text_hash").is_in(cache.missing(hashes)))
    new = new.sort(pl.col("text").str.len_chars(), descending=True, maintain_order=True)
    if len(new):
        _embed_into(cache, embedder_factory(), new, progress)
    n_truncated = int(cache.truncated(hashes).sum())
    return EmbedReport(len(hashes), len(new), n_truncated, time.perf_counter() - began)


def _embed_into(
    cache: VectorCache, embedder: Embedder, texts: pl.DataFrame, progress: Progress | None
) -> None:
    if embedder.fingerprint != cache.fingerprint:
        raise ValueError(
            f"the cache holds vectors of {cache.fingerprint}, not of {embedder.fingerprint}"
        )
    for start in range(0, len(texts), CHUNK):
        chunk = texts.slice(start, CHUNK)
        content = chunk["text"].to_list()
        step = None if progress is None else _shifted(progress, start, len(texts))
        vectors = embedder.embed(content, step)
        cache.add(chunk["text_hash"].to_list(), vectors, embedder.truncated(content))


def _shifted(progress: Progress, done_before: int, total: int) -> Progress:
    return lambda done, _: progress(done_before + done, total)
