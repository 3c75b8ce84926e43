"""Labels of clusters by a function that the settings name."""

from __future__ import annotations

from collections.abc import Sequence

from evalcov_pipeline.core.taxonomy.naming import Labeller
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.functions import ANY_END, imported


def own_labeller(path: str | None) -> Labeller | None:
    """The function of `taxonomy.labeller`; None where the setting is unset.

    Args:
        path: "package.module:function", of a function that makes a label of the keywords and the
            redacted exemplars of a cluster, both best first.

    Returns:
        The function, which raises BadInput where it fails or returns no text.

    Raises:
        BadInput: it cannot be imported.
    """
    if path is None:
        return None
    try:
        function = imported(path)
    except ValueError as error:
        raise _blamed(path, str(error)) from error

    def label(keywords: Sequence[str], exemplars: Sequence[str]) -> str:
        try:
            returned = function(list(keywords), list(exemplars))
        except ANY_END as error:
            raise _blamed(path, f"it raised {error!r}") from error
        if not isinstance(returned, str) or not returned.strip():
            raise _blamed(path, f"it returned {returned!r} and not a label")
        return " ".join(returned.split())

    return label


def _blamed(path: str, what: str) -> BadInput:
    return BadInput(
        what=f"labels of clusters: {what}",
        where=f"setting taxonomy.labeller, {path}",
        what_to_do="mend the function, or unset it for labels of keywords",
    )
