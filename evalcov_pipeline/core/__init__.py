"""The mathematics and the rules: pure functions over arrays and frames.

Nothing here knows Dagster, DuckDB, a file, the clock or the settings: randomness comes in as a
generator, time and thresholds as arguments. A package per domain; each knows those below it only:
suites, judges, failures, refresh, labels, sessions, coverage, taxonomy, traffic, text, statistics.
"""
