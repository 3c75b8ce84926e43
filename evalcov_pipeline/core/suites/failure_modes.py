"""What can go wrong with a product, and which eval case would notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from evalcov_pipeline.core.statistics.shares import FloatArray

UNTRIED = 0.25
"""Detection of a failure mode by a case that is filed under it and was never put to the test."""


@dataclass(frozen=True)
class FailureModes:
    """What can go wrong, and which case would notice.

    Attributes:
        names: (m,) failure modes.
        weights: (m,) what noticing each is worth, non-negative, not all zero.
        detection: (n, m) probability that case i fails when mode m is there.
    """

    names: tuple[str, ...]
    weights: FloatArray
    detection: FloatArray


def failure_modes(
    cases: pl.DataFrame, detection: pl.DataFrame, weights: Mapping[str, float] | None = None
) -> FailureModes:
    """What a suite is chosen to notice: known-bad variants, and what the cases are filed under.

    Each half of the weight goes to one kind, all of it where the other is missing. A case notices
    what it is filed under as likely as the variant that it notices best, and with `UNTRIED` where
    that is less or no variant is known. A case without runs of a variant does not notice it.

    Args:
        cases: case_id, failure_mode (null for none).
        detection: case_id, variant, detection; see `known_bad_detection`.
        weights: by failure mode, such as how often each is seen in production; 1 where not given.

    Returns:
        Rows in the order of `cases`.

    Raises:
        ValueError: neither a variant nor a failure mode.
    """
    variants = sorted(detection["variant"].unique())
    filed = sorted(cases["failure_mode"].drop_nulls().unique())
    if not variants and not filed:
        raise ValueError("no variant and no failure mode to choose cases by")
    column = {variant: j for j, variant in enumerate(variants)}
    row = {case_id: i for i, case_id in enumerate(cases["case_id"])}
    by_variant = np.zeros((cases.height, len(variants)))
    chances = detection.select("case_id", "variant", "detection")
    for case_id, variant, chance in chances.iter_rows():
        if case_id in row:
            by_variant[row[case_id], column[variant]] = chance
    best = np.maximum(by_variant.max(axis=1, initial=0.0), UNTRIED)
    by_mode = np.column_stack(
        [best * (cases["failure_mode"] == mode).fill_null(value=False).to_numpy() for mode in filed]
        or [np.empty((cases.height, 0))]
    )
    wanted = np.array([(weights or {}).get(mode, 1.0) for mode in filed])
    return FailureModes(
        names=(*variants, *filed),
        weights=np.concatenate(
            [np.full(len(variants), 1 / max(len(variants), 1)), wanted / (wanted.sum() or 1)]
        ),
        detection=np.column_stack([by_variant, by_mode]),
    )
