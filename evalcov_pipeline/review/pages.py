"""How pages are filled: the template environment and the words for figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evalcov_pipeline.services.labels.rating import Rating
from evalcov_pipeline.services.labels.view import TaskView

if TYPE_CHECKING:
    import jinja2

_COUNTS = ("done", "waiting", "yours", "labelled")


def environment(*, token: str, now: Callable[[], datetime]) -> jinja2.Environment:
    """The templates; everything that is put into them is escaped.

    Args:
        token: that every form carries.
        now: naive UTC.
    """
    import jinja2

    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("evalcov_pipeline.review"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.globals["token"] = token
    pages.filters |= {
        "ago": lambda instant: _ago(instant, now()),
        "percent": lambda share: f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}",
        "words": lambda name: name.replace("_", " "),
    }
    return pages


def fill(view: TaskView, which: str) -> Rating | None:
    """What a rater asked to take over into the form: `suggestion`, or a label by its number.

    Returns:
        None where nothing was asked for, or nothing may be taken over.
    """
    if view.is_blind:
        return None
    if which == "suggestion" and view.suggestion:
        return view.suggestion.rating
    offered = {str(number): label for number, label in enumerate(view.labels, 1)}
    return Rating.of(offered[which]) if which in offered else None


def progress(routes: Sequence[Mapping[str, Any]], route: str | None) -> dict[str, Any]:
    """The counts of one route or of all, and the rows that they come from."""
    mine = [row for row in routes if route in (None, row["route"])]
    return {name: sum(row[name] for row in mine) for name in _COUNTS} | {"routes": routes}


def _ago(instant: datetime, now: datetime) -> str:
    """How long ago something was."""
    minutes = max(0, int((now - instant).total_seconds() // 60))
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if count := minutes // size:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
