"""What every reader of traces shares: its options, what counts as production, and its batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from re import compile as regex
from typing import Any

import polars as pl
import pyarrow as pa

from evalcov_pipeline.core.turns import SPANS
from evalcov_pipeline.settings import ProductionSettings

BATCH_ROWS = 20_000
_ARROW = SPANS.to_frame().to_arrow().schema


@dataclass(frozen=True)
class TraceOptions:
    """How a file of traces is to be read.

    Attributes:
        source: name of the system that the traces come from; None takes the format's own.
        mapping: canonical column -> the file's column, for the generic format.
        production: what counts as production.
    """

    source: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    production: ProductionSettings = field(default_factory=ProductionSettings)

    @cached_property
    def _excluding(self) -> Any:
        patterns = "|".join(translate(p) for p in self.production.excluded_attributes)
        return regex(patterns or r"(?!)").match

    @cached_property
    def _names_seen(self) -> dict[str, bool]:
        return {}

    def excludes(self, attributes: Mapping[str, Any]) -> bool:
        """Whether an attribute marks eval or test traffic."""
        seen = self._names_seen
        for name in attributes:
            hit = seen.get(name)
            if hit is None:
                hit = seen[name] = self._excluding(name) is not None
            if hit:
                return True
        return False

    def set_aside(
        self, service: str | None, environment: str | None, attributes: Mapping[str, Any]
    ) -> str | None:
        """Why a span is not production, in the words of `core.turns.SPANS`; None if it is."""
        rules = self.production
        if (environment or "").lower() in rules.excluded_environments and environment not in (
            rules.environments
        ):
            return "excluded"
        if self.excludes(attributes):
            return "excluded"
        if rules.services and service not in rules.services:
            return "outside"
        if rules.environments and environment not in rules.environments:
            return "outside"
        return None


def span_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows by column name as a frame of schema `SPANS`; absent columns are NULL."""
    return pl.DataFrame(pa.Table.from_pylist(rows, schema=_ARROW))
