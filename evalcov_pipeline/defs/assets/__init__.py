"""The assets, a module per domain: each fills the tables it is named after.

Every asset and spec that a module here holds is part of the pipeline; `automation/jobs.py` says
which are not of the weekly run.
"""
