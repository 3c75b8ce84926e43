"""What runs together."""

import dagster as dg

from evalcov_pipeline.defs.assets.failure_audit import failure_audit
from evalcov_pipeline.defs.assets.publish import published
from evalcov_pipeline.defs.assets.refresh import refresh_plans
from evalcov_pipeline.defs.assets.report import coverage_report
from evalcov_pipeline.defs.assets.sessions import SESSION_TAXONOMY_OP
from evalcov_pipeline.defs.assets.taxonomy import TAXONOMY_OP
from evalcov_pipeline.defs.assets.traces import traces

_DAILY = dg.AssetSelection.assets(traces)
_AUDIT = dg.AssetSelection.assets(failure_audit)
_PLANS = dg.AssetSelection.assets(refresh_plans)
_REFRESH = _PLANS | dg.AssetSelection.assets(published, coverage_report)
_WEEKLY = dg.AssetSelection.all().materializable() - _DAILY - _AUDIT - _PLANS
"""Whatever no other job is for: a new asset runs every week."""

REFIT = {op: {"config": {"refit": True}} for op in (TAXONOMY_OP, SESSION_TAXONOMY_OP)}
"""Configuration by op that makes a weekly run cluster the traffic anew."""
QUARTERLY = {"refresh_plans": {"config": {"trigger": "schedule"}}}
"""Configuration by op of a refresh that nobody asked for by hand."""

daily_traces = dg.define_asset_job(
    "daily_traces",
    selection=_DAILY,
    description="Turn the day's imported trace files into the lake's turns.",
)
weekly_coverage = dg.define_asset_job(
    "weekly_coverage",
    selection=_WEEKLY,
    executor_def=dg.in_process_executor,
    description="Sample the 30 days before the week's end, and score the eval suite against them. "
    "Fits a taxonomy only if there is none yet.",
)
monthly_taxonomy = dg.define_asset_job(
    "monthly_taxonomy",
    selection=_WEEKLY,
    executor_def=dg.in_process_executor,
    config={"ops": REFIT},
    description="Cluster the week's window of traffic anew, match the clusters to the ones before, "
    "and score the suite under both.",
)
quarterly_refresh = dg.define_asset_job(
    "quarterly_refresh",
    selection=_REFRESH | _AUDIT,
    executor_def=dg.in_process_executor,
    config={"ops": QUARTERLY},
    description="Hold the quarter's failures against the suite, and ask people about production "
    "queries whether or not the score is degraded.",
)
refresh = dg.define_asset_job(
    "refresh",
    selection=_REFRESH,
    executor_def=dg.in_process_executor,
    description="Plan which clusters need new eval cases, and how many.",
)
