"""Commands that crash, for the tests of what they leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evalcov_pipeline_tests.crash.homes import Commands, commands


@pytest.fixture(scope="session")
def evalcov(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(tmp_path_factory.mktemp("library")) as running:
        yield running
