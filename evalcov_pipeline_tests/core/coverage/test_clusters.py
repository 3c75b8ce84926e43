"""Coverage per cluster: statuses that chance does not produce."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from scipy.stats import binom

from evalcov_pipeline.core.coverage.clusters import NOVEL, cluster_coverage, significant_empties
from evalcov_pipeline.core.statistics.shares import ProductionShares, production_shares

AS_OF = datetime(2026, 11, 2)


def known(shares, n_eff=4000.0) -> ProductionShares:
    """Production estimated from `n_eff` independent turns."""
    shares = np.asarray(shares, float)
    rng = np.random.default_rng(0)
    replicates = rng.multinomial(int(n_eff), shares, size=400) / int(n_eff)
    return ProductionShares(shares, replicates, int(n_eff), n_eff)


def coverage(shares, counts, ids=None, **options):
    k = len(shares)
    options.setdefault("newest_case_at", [None] * k)
    ids = list(range(k)) if ids is None else ids
    return cluster_coverage(ids, known(shares), shares, counts, as_of=AS_OF, **options)


def test_each_status_has_its_case():
    shares = [0.20, 0.10, 0.001, 0.20, 0.199, 0.10, 0.10, 0.10]
    counts = [0, 0, 0, 12, 46, 90, 22, 30]
    ids = [0, 1, 2, 3, 4, 5, 6, NOVEL]
    result = coverage(shares, counts, ids)
    assert result.clusters["status"].to_list() == [
        "liability", "gap", "undecidable", "thin", "covered", "over_represented", "covered",
        "novel",
    ]  # fmt: skip
    assert result.covered_share == pytest.approx(0.599)
    assert result.novel_share == pytest.approx(0.10)


def test_shares_ratios_and_contributions_add_up():
    frame = coverage([0.5, 0.3, 0.2], [5, 5, 0], ids=[7, 3, NOVEL]).clusters
    assert frame["cluster_id"].to_list() == [7, 3, NOVEL]
    assert frame["eval_share"].to_list() == [0.5, 0.5, 0.0]
    assert frame["coverage_ratio"].to_list() == pytest.approx([1.0, 5 / 3, 0.0])
    assert (frame["production_share_low"] <= frame["production_share"]).all()
    assert (frame["production_share"] <= frame["production_share_high"]).all()
    assert frame["jsd_contribution"].sum() == pytest.approx(
        0.5 * (0.3 * np.log2(0.3 / 0.4) + 0.2) + 0.25 * np.log2(0.5 / 0.4)
    )


def test_a_ratio_to_no_production_is_none():
    frame = coverage([1.0, 0.0, 0.0], [5, 5, 0]).clusters
    assert frame["coverage_ratio"].to_list() == [0.5, None, None]
    assert frame["status"].to_list() == ["thin", "over_represented", "undecidable"]
    assert frame["production_share_high"][1] > 0


def test_a_suite_without_cases_covers_nothing():
    result = coverage([0.5, 0.1, 0.4], [0, 0, 0], ids=[0, 1, NOVEL])
    assert result.clusters["status"].to_list() == ["liability", "undecidable", "novel"]
    assert result.covered_share == 0
    assert result.clusters["eval_share"].null_count() == 3
    assert result.clusters["jsd_contribution"].null_count() == 3


def test_novel_traffic_with_cases_is_still_not_covered():
    result = coverage([0.5, 0.5], [5, 5], ids=[0, NOVEL])
    assert result.covered_share == pytest.approx(0.5)


def test_old_cases_are_stale_only_where_the_cluster_grows():
    dates = [datetime(2026, 1, 1)] * 4 + [datetime(2026, 10, 30), None]
    frame = coverage(
        [0.2, 0.2, 0.2, 0.2, 0.1, 0.1],
        [5, 5, 5, 5, 5, 0],
        newest_case_at=dates,
        earlier_share_high=[0.1, 0.25, 0.25, np.nan, 0.01, 0.01],
    ).clusters
    assert frame["stale"].to_list() == [True, False, False, False, False, False]


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="same length"):
        coverage([0.5, 0.5], [1, 2, 3])


def test_many_empties_are_evidence_where_one_is_not():
    """A suite of 160 leaves .7 of 40 flat clusters empty by chance: one says nothing."""
    low = np.full(40, 1 / 40)
    one, twenty = np.full(40, 4), np.full(40, 8)
    one[0], twenty[:20] = 0, 0
    assert not significant_empties(low, one, 160).any()
    assert significant_empties(low, twenty, 160).sum() == 20


def test_empties_are_only_named_where_the_suite_is_large_enough():
    low = np.array([0.3, 0.1, 0.02])
    counts = np.array([0, 0, 0])
    assert significant_empties(low, counts, 10).tolist() == [True, False, False]
    assert significant_empties(low, counts, 60).tolist() == [True, True, False]


@pytest.mark.parametrize("k", [20, 40, 80])
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "zipf"])
def test_proportional_suites_show_false_statuses_in_at_most_5_percent(k, flat):
    truth = np.full(k, 1 / k) if flat else 1 / np.arange(1, k + 1)
    truth = truth / truth.sum()
    rng = np.random.default_rng(k)
    productions = [
        production_shares(rng.multinomial(2, truth, size=1000), rng.integers(0, 20, 1000), rng, 99)
        for _ in range(20)
    ]
    for n in (30, 100, 300):
        empties, tilted = [], []
        for production in productions:
            for _ in range(10):
                frame = cluster_coverage(
                    range(k), production, truth, rng.multinomial(n, truth),
                    as_of=AS_OF, newest_case_at=[None] * k,
                ).clusters  # fmt: skip
                seen = set(frame["status"])
                empties.append(bool(seen & {"gap", "liability"}))
                tilted.append(bool(seen & {"thin", "over_represented"}))
        allowed = binom.ppf(0.99, 200, 0.05) / 200
        assert np.mean(empties) <= allowed
        assert np.mean(tilted) <= allowed


def test_a_forgotten_quarter_of_clusters_is_mostly_found_at_300_cases():
    rng = np.random.default_rng(1)
    truth = 1 / np.arange(1, 41)
    truth /= truth.sum()
    found = []
    for _ in range(50):
        forgotten = rng.permutation(40) < 10
        cases = np.where(forgotten, 0, truth)
        frame = coverage(truth, rng.multinomial(300, cases / cases.sum())).clusters
        named = frame["status"].is_in(["gap", "liability"]).to_numpy()
        found.append(truth[named & forgotten].sum() / truth[forgotten].sum())
    assert np.mean(found) >= 0.65
