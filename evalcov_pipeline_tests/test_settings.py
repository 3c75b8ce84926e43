"""Settings: defaults, then the TOML file, then the environment; mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from evalcov_pipeline.settings import Settings


def test_the_environment_overrides_the_file_which_overrides_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "evalcov.toml"
    config.write_text("[coverage]\nthreshold = 0.2\nstale_days = 30\n")
    monkeypatch.setenv("EVALCOV_CONFIG", str(config))
    monkeypatch.setenv("EVALCOV_COVERAGE__STALE_DAYS", "45")
    settings = Settings()
    assert (settings.coverage.threshold, settings.coverage.stale_days) == (0.2, 45)
    assert settings.coverage.liability_share == 0.15


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[coverage]\nthreshhold = 0.2\n", "threshhold"),
        ("timezone = 'Europe/Atlantis'\n", "timezone"),
        ("[taxonomy]\nmin_clusters = 90\n", "min_clusters"),
        ("[taxonomy]\nlabeller = 'label'\n", "package.module:function"),
        ("[sampling]\ndayparts = [6, 0]\n", "dayparts"),
        ("[coverage]\nthreshold = 1.5\n", "threshold"),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, named: str
) -> None:
    config = tmp_path / "evalcov.toml"
    config.write_text(content)
    monkeypatch.setenv("EVALCOV_CONFIG", str(config))
    with pytest.raises(ValidationError, match=named):
        Settings()
