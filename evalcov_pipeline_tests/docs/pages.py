"""The pages that people read, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("evalcov_pipeline*/**/*.md"),
        ROOT / "data/sample/README.md",
    ]
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


def name(page: Path) -> str:
    """Path of a page below the repository's root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in one of these languages."""
    for language, body in _BLOCK.findall(page.read_text("utf-8")):
        if language in languages:
            yield body


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def code(page: Path) -> Iterator[str]:
    """What a page's prose has between backticks."""
    for words in _CODE.findall(prose(page)):
        yield words.replace(r"\|", "|")
