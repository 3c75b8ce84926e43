"""Incidents: they come by `evalcov ingest incidents` and by the inbox."""

import dagster as dg

from evalcov_pipeline.defs.support.specs import row_count, table_spec
from evalcov_pipeline.services.imports.incidents import IncidentsReport

INCIDENTS = "incidents"

recorded = [
    table_spec(INCIDENTS, group="evals"),
    table_spec("incident_events", group="evals"),
    table_spec("incident_head", group="evals"),
]
"""External, without dependencies: what happened is where the graph is cut."""


def facts_of(report: IncidentsReport) -> dict[str, dg.IntMetadataValue]:
    """Metadata of incidents that came: how many there are now, and how well they are guarded."""
    counts = {status: len(names) for status, names in report.states.items()}
    facts = {status: dg.MetadataValue.int(count) for status, count in counts.items()}
    return row_count(sum(counts.values())) | facts
