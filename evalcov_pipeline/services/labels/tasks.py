"""Tasks for people out of drawn queries: what is shown, in which queue, how urgent."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def conversation(context: str | None, query: str) -> list[dict[str, Any]]:
    """Messages of a task: what was said before, and the query."""
    before = orjson.loads(context) if context else []
    return [*before, {"role": "user", "content": query}]


def task_id(asking: str, key: str) -> str:
    """Name of the task of a plan, a batch or a purpose about one text or item.

    No spreadsheet takes it for a number, as it would 12 digits or 1234567e8901.
    """
    digest = hashlib.sha256(f"{asking}\n{key}".encode()).hexdigest()
    return f"q{digest[:12]}"
