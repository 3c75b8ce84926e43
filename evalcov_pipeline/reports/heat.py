"""Heat maps: clusters as rows whose cells are shaded, those that need a look first."""

from __future__ import annotations

from typing import Any

import polars as pl

_FIRST = {"liability": 0, "gap": 1}
_CALM = ("covered", "over_represented")


def shaded(clusters: pl.DataFrame) -> list[dict[str, Any]]:
    """Clusters with their shades: liabilities, gaps, then by share.

    Args:
        clusters: rows of `cluster_coverage` or `session_coverage`.

    Returns:
        The rows with `calm` (covered well enough) and shades 0..1, None where there is nothing to
        shade: production_shade, eval_shade, ratio_shade (distance from 1), fail_shade.
    """
    rows = clusters.sort(
        pl.col("status").replace_strict(_FIRST, default=2, return_dtype=pl.Int8),
        -pl.col("production_share"),
        "cluster_id",
    ).to_dicts()
    largest = max(
        (max(row["production_share"], row["eval_share"] or 0.0) for row in rows), default=0
    )
    for row in rows:
        ratio = row["coverage_ratio"]
        row |= {
            "calm": row["status"] in _CALM,
            "production_shade": row["production_share"] / largest if largest else 0.0,
            "eval_shade": (row["eval_share"] or 0.0) / largest if largest else 0.0,
            "ratio_shade": None if ratio is None else min(1.0, abs(ratio - 1) / (ratio + 1)),
            "fail_shade": None if row["pass_rate"] is None else 1 - row["pass_rate"],
        }
    return rows
