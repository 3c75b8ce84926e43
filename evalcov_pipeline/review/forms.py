"""What a rater typed into the form of a task."""

from __future__ import annotations

from collections.abc import Mapping

from evalcov_pipeline.services.labels.rating import Rating

_DECISIONS = {"keep": True, "reject": False}
_VERDICTS = {"pass": True, "fail": False}


def rating_typed(form: Mapping[str, str]) -> Rating:
    """The rating in a form; fields that are missing or left empty say nothing."""
    return Rating(
        keep=_DECISIONS.get(form.get("keep", "")),
        passed=_VERDICTS.get(form.get("passed", "")),
        expected=_typed(form, "expected"),
        category=_typed(form, "category"),
        note=_typed(form, "note"),
    )


def _typed(form: Mapping[str, str], name: str) -> str | None:
    """A text as a browser sends it, with the line ends of everybody else; None for a blank one."""
    return form.get(name, "").replace("\r\n", "\n").strip() or None
