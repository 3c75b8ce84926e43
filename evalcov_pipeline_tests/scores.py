"""Invented scores."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from evalcov_pipeline.core.coverage.score import QueryScore

_AS_OF = datetime(2026, 11, 9)
_GOOD = QueryScore(
    as_of=_AS_OF, taxonomy_id="20261109-0", headline=True, window_start=_AS_OF - timedelta(days=28),
    window_end=_AS_OF, n_sessions=800, n_production=1000, n_eff=700.0, n_eval=60, n_clusters=8,
    jsd=0.1, jsd_adjusted=0.05, jsd_ci_low=0.02, jsd_ci_high=0.09, null_mean=0.05, null_p95=0.08,
    p_value=0.04, attainable_jsd=0.001, covered_share=0.9, novel_share=0.02, unmeasured_share=0.1,
    band="good", degraded=False, liabilities=[], cases_to_settle=None, verdict="Good.",
    eval_run_id="run", judge_id="judge", judge_note=None, refused_results=0, eval_score=0.9,
    reweighted_score=0.88, reweighted_low=0.7, reweighted_high=0.95, diagnosis=None,
    diagnosis_reason=None, n_unassigned=0, truncated_share=0.0, latency_ms=None, cost_usd=None,
    production_latency_ms=None, production_cost_usd=None,
)  # fmt: skip


def query_score(**facts: Any) -> QueryScore:
    """A good score, but for what is given."""
    return replace(_GOOD, **facts)
