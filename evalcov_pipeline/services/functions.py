"""Python functions of a team's own that settings name as "package.module:function"."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

ANY_END = (Exception, SystemExit)
"""What somebody else's function may end in: a module without a main guard exits on import."""


def imported(path: str) -> Callable[..., Any]:
    """The function that a path names.

    Raises:
        ValueError: it cannot be imported, or is not callable.
    """
    module, _, attribute = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except ANY_END as error:
        raise ValueError(f"it cannot be imported: {error!r}") from error
    if not callable(function):
        raise ValueError("it is not callable")
    return function
