"""The examples of docs/formats.md are read, every row of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evalcov_pipeline.formats import FORMATS, detect
from evalcov_pipeline.formats.annotations import LabelRow
from evalcov_pipeline.formats.traces import TraceOptions
from evalcov_pipeline_tests.docs.pages import ROOT

NAMES = {"Eval cases": "evals", "Eval results": "results"}
EXAMPLES = {
    NAMES.get(heading, heading.lower()): example
    for section in (ROOT / "docs/formats.md").read_text("utf-8").split("\n## ")
    for heading, example in re.findall(r"\A(.+)\n[\s\S]*?```json\n([\s\S]*?)```", section)
}


def test_every_kind_has_an_example() -> None:
    assert EXAMPLES.keys() == FORMATS.keys()


@pytest.mark.parametrize("kind", FORMATS)
def test_example_is_read_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "example.jsonl"
    path.write_text(EXAMPLES[kind], "utf-8")
    options: Any = TraceOptions() if kind == "traces" else None

    read = list(detect(kind, path).read(path, options))

    rows = sum(len(item) if kind == "traces" else 1 for item in read)
    assert rows == EXAMPLES[kind].count("\n")
    for item in read:
        assert isinstance(item, pl.DataFrame if kind == "traces" else tuple | LabelRow), item
