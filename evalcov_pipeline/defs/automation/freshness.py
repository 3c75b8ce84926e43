"""How old tables may become, in one place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import dagster as dg

from evalcov_pipeline.settings import FreshnessSettings


def with_policy(settings: FreshnessSettings) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Give an asset its freshness policy; to be mapped over all of them."""
    days = {"coverage_scores": settings.score_days, "taxonomies": settings.taxonomy_days}

    def apply(spec: dg.AssetSpec) -> dg.AssetSpec:
        age = days.get(spec.key.to_user_string())
        if age is None:
            return spec
        policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=age))
        return dg.apply_freshness_policy(spec, policy)

    return apply
