"""How long a case takes at worst, from few results."""

from __future__ import annotations

import numpy as np
import polars as pl

QUANTILE = 0.9
"""Quantile of a case's latency that a suite is planned with."""
_PRIOR_RESULTS = 2.0


def case_latency(latencies: pl.DataFrame) -> pl.DataFrame:
    """90th percentile of each case's latency.

    Two results of a case say where its latency lies, not how it scatters. So its log mean is
    shrunk toward that of all cases, worth `_PRIOR_RESULTS` results, and the scatter around it is
    taken from all cases together; where none has two results, from that between the cases.

    Args:
        latencies: case_id; seconds, > 0; one row per result.

    Returns:
        case_id, seconds, ordered by case_id.
    """
    logs = latencies.sort("case_id", "seconds").with_columns(log=pl.col("seconds").log())
    per_case = logs.group_by("case_id", maintain_order=True).agg(
        n=pl.len(), mean=pl.col("log").mean()
    )
    around = (
        logs.join(per_case.filter(pl.col("n") > 1), on="case_id")
        .select((pl.col("log") - pl.col("mean")) * (pl.col("n") / (pl.col("n") - 1)).sqrt())
        .to_series()
        .to_numpy()
    )
    if not len(around):
        around = (logs["log"] - logs["log"].mean()).to_numpy()
    above = float(np.quantile(around, QUANTILE)) if len(around) else 0.0
    prior = pl.col("mean").mean() * _PRIOR_RESULTS
    shrunk = (pl.col("n") * pl.col("mean") + prior) / (pl.col("n") + _PRIOR_RESULTS)
    return per_case.select("case_id", seconds=(shrunk + above).exp())
