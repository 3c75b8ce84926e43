"""Thin Dagster: assets, what runs them, and what both share.

An asset calls one service and says what happened. No SQL and no statistics here.
"""

import warnings

import dagster as dg

# Beta in Dagster 1.13: single-run backfills, and windows that reach before the first partition.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
