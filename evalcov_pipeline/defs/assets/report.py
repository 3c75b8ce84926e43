"""The page for people who open neither the UI nor a notebook."""

import dagster as dg

from evalcov_pipeline.defs.support.specs import OWNERS
from evalcov_pipeline.settings import Settings


@dg.asset(deps=["published"], group_name="publish", kinds={"html"}, owners=OWNERS)
def coverage_report(settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """`reports/coverage.html`: the newest score as one file to open, send or print.

    It is drawn from the published snapshot, so it shows what notebooks see and waits for nobody.
    """
    from evalcov_pipeline.reports.page import write_report

    written = write_report(settings)
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(written.path.resolve())),
            "size_bytes": written.size,
            "verdict": written.verdict or "no score yet",
        }
    )
