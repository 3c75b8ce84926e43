"""The cache of vectors: nothing is embedded twice, nothing is lost, nothing is half written."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from evalcov_pipeline.core.text.normalise import text_hash
from evalcov_pipeline.embedding import Progress
from evalcov_pipeline.embedding.hashing import HashingEmbedder
from evalcov_pipeline.storage import vectors as vectors_module
from evalcov_pipeline.storage.vectors import VectorCache, embed_texts


def frame(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"text_hash": [text_hash(text) for text in texts], "text": texts})


def cache_for(folder: Path, dimension: int = 256) -> VectorCache:
    return VectorCache(folder, HashingEmbedder(dimension).fingerprint, dimension)


def no_model() -> HashingEmbedder:
    raise AssertionError("the model was loaded")


class ShortWindow(HashingEmbedder):
    """A model that reads ten characters."""

    def truncated(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text) > 10 for text in texts])


class Interrupted(HashingEmbedder):
    """A model that dies in its second batch."""

    calls = 0

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().embed(texts, progress)


def test_vectors_come_back_in_the_order_asked(tmp_path: Path) -> None:
    cache, texts = cache_for(tmp_path), [f"text {i}" for i in range(50)]
    embed_texts(cache, HashingEmbedder, frame(*texts))
    asked = [texts[i] for i in (7, 3, 49, 3, 0)]
    np.testing.assert_array_equal(
        cache.get([text_hash(text) for text in asked]), HashingEmbedder().embed(asked)
    )


def test_no_model_is_loaded_when_nothing_is_missing(tmp_path: Path) -> None:
    texts = frame("one", "two")
    embed_texts(cache_for(tmp_path), HashingEmbedder, texts)
    again = embed_texts(cache_for(tmp_path), no_model, texts)
    assert (again.n_texts, again.n_new) == (2, 0)
    with pytest.raises(AssertionError, match="the model was loaded"):
        embed_texts(cache_for(tmp_path), no_model, frame("three"))


def test_only_new_texts_are_embedded_and_repeats_count_once(tmp_path: Path) -> None:
    cache = cache_for(tmp_path)
    first = embed_texts(cache, HashingEmbedder, frame("one", "two", "one"))
    second = embed_texts(cache, HashingEmbedder, frame("two", "three"))
    assert (first.n_texts, first.n_new) == (2, 2)
    assert (second.n_texts, second.n_new) == (2, 1)


def test_long_texts_are_counted_without_the_model(tmp_path: Path) -> None:
    texts = frame("short", "a rather long text", "another long text")
    cache = cache_for(tmp_path)
    assert embed_texts(cache, ShortWindow, texts).n_truncated == 2
    assert embed_texts(cache, no_model, texts).n_truncated == 2
    assert cache.truncated(texts["text_hash"].to_list()).tolist() == [False, True, True]


def test_an_interrupted_call_keeps_the_chunks_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "CHUNK", 4)
    texts = frame(*(f"text {i}" for i in range(10)))
    cache = cache_for(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(cache, Interrupted, texts)
    assert embed_texts(cache, HashingEmbedder, texts).n_new == 6


def test_progress_counts_all_new_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "CHUNK", 4)
    seen: list[tuple[int, int]] = []
    texts = frame(*(f"text {i}" for i in range(10)))
    embed_texts(cache_for(tmp_path), HashingEmbedder, texts, lambda *step: seen.append(step))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_a_text_without_a_vector_is_named(tmp_path: Path) -> None:
    cache = cache_for(tmp_path)
    with pytest.raises(KeyError, match=text_hash("one")):
        cache.get([text_hash("one")])
    embed_texts(cache, HashingEmbedder, frame("one"))
    with pytest.raises(KeyError, match=text_hash("two")):
        cache.get([text_hash(text) for text in ("one", "two", "three")])


def test_an_empty_cache_lacks_everything_once(tmp_path: Path) -> None:
    cache = cache_for(tmp_path)
    assert cache.missing(["b", "a", "b"]) == ["b", "a"]
    assert cache.get([]).shape == (0, 256)
    assert embed_texts(cache, no_model, frame().cast(pl.String)).n_texts == 0


def test_two_writers_of_the_same_texts_do_no_harm(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(200)]
    windows = [frame(*texts[i : i + 120]) for i in (0, 40, 80, 0)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda w: embed_texts(cache_for(tmp_path), HashingEmbedder, w), windows))
    cache = cache_for(tmp_path)
    np.testing.assert_array_equal(
        cache.get(frame(*texts)["text_hash"].to_list()), HashingEmbedder().embed(texts)
    )
    assert [path.name for path in cache.folder.glob(".unfinished/*")] == ["lock"]


def test_what_cannot_be_kept_leaves_no_trace(tmp_path: Path) -> None:
    cache = cache_for(tmp_path, 4)
    with pytest.raises(ValueError, match="expected"):
        cache.add(["a"], np.zeros((1, 3), np.float32), np.zeros(1, bool))
    with pytest.raises(ValueError, match="not finite"):
        cache.add(["a"], np.full((1, 4), np.nan, np.float32), np.zeros(1, bool))
    assert cache.missing(["a"]) == ["a"]


def test_vectors_of_another_space_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the cache holds vectors of"):
        embed_texts(cache_for(tmp_path, 8), HashingEmbedder, frame("one"))


def test_spaces_do_not_mix(tmp_path: Path) -> None:
    embed_texts(cache_for(tmp_path, 256), HashingEmbedder, frame("one"))
    assert cache_for(tmp_path, 8).missing([text_hash("one")]) == [text_hash("one")]


def test_duckdb_reads_the_shards(tmp_path: Path) -> None:
    cache = cache_for(tmp_path)
    embed_texts(cache, HashingEmbedder, frame("one", "two"))
    shards = str(cache.folder / "*.parquet")
    rows = duckdb.sql(f"SELECT text_hash, len(vector) AS n, truncated FROM '{shards}'").fetchall()
    assert sorted(rows) == sorted((text_hash(text), 256, False) for text in ("one", "two"))
