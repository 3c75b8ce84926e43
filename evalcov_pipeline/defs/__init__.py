"""Thin Dagster: read, call core, write, say what happened; one module per domain."""

import warnings

import dagster as dg

# Beta in Dagster 1.13: single-run backfills, and windows that reach before the first partition.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
