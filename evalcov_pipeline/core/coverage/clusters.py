"""Which clusters of production the suite tests, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc

from evalcov_pipeline.core.coverage.divergence import jsd_contributions
from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray, ProductionShares

NOVEL = -1
COVERED = frozenset({"thin", "covered", "over_represented"})
_FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class ClusterCoverage:
    """Coverage per cluster, and the shares of production that it adds up to.

    Attributes:
        clusters: one row per cluster, novel included: cluster_id, production_share,
            production_share_low, production_share_high, traffic_share, eval_cases, eval_share,
            coverage_ratio, jsd_contribution, status, newest_case_at, stale. Shares are 0..1, the
            contribution is in bits; what a suite without cases leaves undefined is None.
        covered_share: steady share in named clusters that are thin, covered or over-represented.
        novel_share: steady share outside every cluster.
    """

    clusters: pl.DataFrame
    covered_share: float
    novel_share: float


def cluster_coverage(
    cluster_ids: Sequence[int],
    production: ProductionShares,
    traffic_shares: ArrayLike,
    eval_counts: ArrayLike,
    *,
    as_of: datetime,
    newest_case_at: Sequence[datetime | None],
    earlier_share_high: ArrayLike | None = None,
    liability_share: float = 0.15,
    stale_days: int = 90,
) -> ClusterCoverage:
    """Compare production and suite cluster by cluster.

    Status, the first that applies:
        novel: the row of what lies outside every cluster; never covered, whatever its cases.
        liability: no case and at least `liability_share` of production.
        gap: no case, and chance does not explain it (`significant_empties`).
        undecidable: no case, which chance may explain in a suite of this size.
        thin, over_represented: significantly fewer or more cases than its share of production:
            two-sided binomial test against the nearer end of the share's interval,
            Benjamini-Hochberg at 5 % over the named clusters.
        covered: anything else.

    A cluster is stale when its newest case is older than `stale_days` while it grows: its share's
    lower end is above `earlier_share_high`. Drift of its texts is not looked at.

    Args:
        cluster_ids: (k,) ids, -1 for novel.
        production: steady shares over the same categories.
        traffic_shares: (k,) unsteadied shares.
        eval_counts: (k,) cases per category.
        as_of: instant of the score, UTC without zone.
        newest_case_at: (k,) creation of each cluster's newest case, None where it has none.
        earlier_share_high: (k,) upper ends of the shares in an earlier window that does not overlap
            with this one; NaN for a cluster that did not exist; None if there is no such window.
        liability_share: share from which a cluster without a case is a liability.
        stale_days: age from which a newest case is old.

    Returns:
        Rows in the order of `cluster_ids`, and totals.

    Raises:
        ValueError: lengths that disagree.
    """
    ids, p = np.asarray(cluster_ids), production.shares
    counts = np.asarray(eval_counts, dtype=np.int64)
    traffic = np.asarray(traffic_shares, dtype=float)
    if not len(ids) == len(p) == len(counts) == len(traffic) == len(newest_case_at):
        raise ValueError("cluster ids, shares, counts and dates must have the same length")
    n = int(counts.sum())
    low, high = production.interval()
    named = ids != NOVEL
    status = np.full(len(ids), "novel", dtype=object)
    status[named] = statuses(p[named], low[named], high[named], counts[named], n, liability_share)

    before = np.full(len(ids), np.nan if earlier_share_high is None else earlier_share_high)
    grows = low > before
    oldest = as_of - timedelta(days=stale_days)
    old = np.array([at is not None and at < oldest for at in newest_case_at])

    q = counts / n if n else None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = None if q is None else q / p
    frame = pl.DataFrame(
        {
            "cluster_id": ids,
            "production_share": p,
            "production_share_low": low,
            "production_share_high": high,
            "traffic_share": traffic,
            "eval_cases": counts,
            "eval_share": q,
            "coverage_ratio": ratio,
            "jsd_contribution": None if q is None else jsd_contributions(p, q),
            "status": status.tolist(),
            "newest_case_at": pl.Series(newest_case_at, dtype=pl.Datetime("us")),
            "stale": old & grows,
        },
        schema_overrides=dict.fromkeys(
            ("eval_share", "coverage_ratio", "jsd_contribution"), pl.Float64
        ),
    ).with_columns(pl.when(pl.col("production_share") > 0).then("coverage_ratio"))
    return ClusterCoverage(
        clusters=frame,
        covered_share=float(p[np.isin(status.astype(str), list(COVERED))].sum()),
        novel_share=float(p[~named].sum()),
    )


def significant_empties(share_low: FloatArray, counts: IntArray, n_cases: int) -> NDArray[np.bool_]:
    """Clusters without a case whose emptiness chance does not explain.

    A proportional suite leaves cluster k empty with chance (1 - p_k)^n, taken at the lower end of
    p_k. Clusters are taken from the least to the most likely to be empty; the cut is the last point
    at which the empties expected by chance are at most 5 % of those observed. So at most 5 % of
    proportional suites show any, and of many at most 5 % are false. Source: step-up for discrete
    tests, Heyse (2011).

    Args:
        share_low: (k,) lower ends of production shares.
        counts: (k,) cases per cluster.
        n_cases: cases in the suite, novel included.

    Returns:
        (k,) mask.
    """
    chance = (1 - share_low) ** n_cases
    order = np.argsort(chance, kind="stable")
    expected, observed = np.cumsum(chance[order]), np.cumsum(counts[order] == 0)
    between = np.append(np.diff(chance[order]) > 0, True)  # clusters of equal share go together
    passing = np.flatnonzero(between & (expected <= _FALSE_ALARMS * observed))
    surprising = np.zeros(len(counts), dtype=bool)
    if len(passing):
        surprising[order[: passing[-1] + 1]] = True
    empty: NDArray[np.bool_] = surprising & (counts == 0)
    return empty


def statuses(
    p: FloatArray,
    low: FloatArray,
    high: FloatArray,
    counts: IntArray,
    n: int,
    liability_share: float,
) -> NDArray[np.object_]:
    """Statuses of clusters or paths, see `cluster_coverage`; none is novel.

    Args:
        p: (k,) production shares.
        low: (k,) lower ends of their intervals.
        high: (k,) upper ends.
        counts: (k,) cases of each.
        n: cases in the suite; a case may count in several.
        liability_share: share from which an empty one is a liability; above 1 for never.

    Returns:
        (k,) statuses.
    """
    from scipy.stats import false_discovery_control

    fewer = bdtr(counts, n, low)
    more = np.where(counts > 0, bdtrc(np.maximum(counts - 1, 0), n, high), 1.0)
    off = false_discovery_control(np.minimum(1.0, 2 * np.minimum(fewer, more))) <= _FALSE_ALARMS
    empty = counts == 0
    return np.select(
        [
            empty & (p >= liability_share),
            significant_empties(low, counts, n),
            empty,
            off & (fewer < more),
            off,
        ],
        ["liability", "gap", "undecidable", "thin", "over_represented"],
        default="covered",
    ).astype(object)
