"""The one way from settings to the warehouse of a home."""

from __future__ import annotations

from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Warehouse


def warehouse_of(settings: Settings) -> Warehouse:
    """The warehouse that these settings name, and how long to wait for another writer of it."""
    return Warehouse(settings.warehouse, settings.lock_timeout_s)


def publish(settings: Settings) -> int:
    """Replace the copy that readers open, and return its size in bytes."""
    return warehouse_of(settings).publish(settings.published)
