"""What assets are given: connections to the warehouse, and the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource

from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Warehouse


class WarehouseResource(DuckDBResource):
    """The DuckDB warehouse behind its lock.

    `DuckDBResource` retries for long and silently while another process holds the file; this one
    waits on a lock, says who holds it, closes in every case and wraps a writer in a transaction.
    """

    lock_timeout_s: float = 120.0

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse itself."""
        return Warehouse(Path(self.database), self.lock_timeout_s)

    def reader(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A read-only connection."""
        return self.warehouse.reader()

    def writer(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A writing connection inside one transaction."""
        return self.warehouse.writer()

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The same as `writer`, under the name that dagster-duckdb gives it."""
        with self.writer() as con:
            yield con


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """The warehouse of these settings."""
    return WarehouseResource(
        database=str(settings.warehouse), lock_timeout_s=settings.lock_timeout_s
    )
