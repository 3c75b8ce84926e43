"""What people look at: the HTML report, plots for Dagster's UI, the gate's outcome.

`page` writes the report from what `services.report` read; the other modules are its parts.
"""
