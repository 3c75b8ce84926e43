"""What every reader of traces shares: its options, what counts as production, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import translate
from functools import cached_property
from re import compile as regex
from typing import Any

import polars as pl
import pyarrow as pa

from evalcov_pipeline.core.traffic.turns import SPANS
from evalcov_pipeline.formats.lines import Reject
from evalcov_pipeline.formats.vocabulary import remembered
from evalcov_pipeline.settings import ProductionSettings

Cells = tuple[Any, ...]
BATCH_ROWS = 2_000  # more rows at once cost more than they save: they leave the processor's cache
_NAMES = tuple(SPANS.names())
_ARROW = SPANS.to_frame().to_arrow().schema


@dataclass(frozen=True)
class TraceOptions:
    """How a file of traces is to be read.

    Attributes:
        source: name of the system that the traces come from; None takes the format's own.
        mapping: canonical column -> the file's column, for the generic format.
        production: what counts as production.
        latest: last instant (naive UTC) at which a span may start or end; later is a mistake.
    """

    source: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    production: ProductionSettings = field(default_factory=ProductionSettings)
    latest: datetime = datetime(2262, 1, 1)

    @cached_property
    def latest_ns(self) -> int:
        """`latest` in nanoseconds since 1970."""
        return int(self.latest.replace(tzinfo=UTC).timestamp()) * 10**9

    @cached_property
    def _excluding(self) -> Callable[[tuple[str, ...]], bool]:
        patterns = "|".join(translate(p) for p in self.production.excluded_attributes)
        match = regex(patterns or r"(?!)").match
        return remembered(lambda names: any(map(match, names)))

    def excludes(self, attributes: Mapping[str, Any]) -> bool:
        """Whether an attribute marks eval or test traffic."""
        return self._excluding(tuple(attributes))

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


def cells(row: Mapping[str, Any]) -> Cells:
    """A row by column name as its values in the order of `SPANS`; absent columns are None."""
    return tuple(map(row.get, _NAMES))


def batches(items: Iterable[Cells | Reject]) -> Iterator[pl.DataFrame | Reject]:
    """Rows as frames of schema `SPANS`, and the rejects between them.

    The first good rows come before the first reject after them, so that whoever has seen rejects
    only knows that nothing good came before.
    """
    rows: list[Cells] = []
    first = True
    for item in items:
        if isinstance(item, Reject):
            if rows and first:
                yield _frame(rows)
                rows, first = [], False
            yield item
            continue
        rows.append(item)
        if len(rows) >= BATCH_ROWS:
            yield _frame(rows)
            rows, first = [], False
    if rows:
        yield _frame(rows)


def _frame(rows: list[Cells]) -> pl.DataFrame:
    columns = zip(zip(*rows, strict=True), _ARROW.types, strict=True)
    arrays = [pa.array(column, type) for column, type in columns]
    return pl.DataFrame(pa.table(arrays, schema=_ARROW))
