"""English phrases by which an answer says that it is not sure."""

from __future__ import annotations

import re

_HEDGES = re.compile(
    r"\b(?:i (?:think|believe|guess|suppose)|seems|appears|maybe|may (?:be|have|not|need|take|vary)"
    r"|might|perhaps|possibly|probably|presumably|likely|could be|as far as i know"
    r"|not (?:entirely |quite |completely )?(?:sure|certain))\b",
    re.IGNORECASE,
)


def hedges(text: str) -> bool:
    """Whether an English answer hedges: 'I think', 'might', 'not sure' and the like."""
    return _HEDGES.search(text) is not None
