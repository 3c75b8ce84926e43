"""Labels that people gave: they come by `evalcov review` and `evalcov ingest annotations`."""

from evalcov_pipeline.defs.support.specs import table_spec

recorded = [
    table_spec("annotations", group="refresh"),
    table_spec("annotation_events", group="refresh"),
]
"""External, without dependencies: what people decide is where the graph is cut."""
