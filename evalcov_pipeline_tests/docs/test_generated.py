"""The pages that are made from the code are what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from evalcov_pipeline.settings import Section, Settings

DOCS = Path(__file__).parents[2] / "docs"
GENERATOR = runpy.run_path(str(DOCS / "generate.py"))
SECTIONS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


@pytest.mark.parametrize("page", ["settings.md", "tables.md"])
def test_committed_page_is_what_the_generator_makes(page: str) -> None:
    made = GENERATOR["pages"]()[page]

    assert (DOCS / page).read_text("utf-8") == made, "run `make docs`"


@pytest.mark.parametrize("section", [Settings, *SECTIONS.values()], ids=lambda kind: kind.__name__)
def test_every_setting_says_what_it_means(section: type[Section]) -> None:
    names = section.model_fields.keys() - (SECTIONS if section is Settings else {})

    assert not names - GENERATOR["meanings"](section).keys()
