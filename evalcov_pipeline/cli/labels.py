"""Once labels came in: what people kept joins the suite, and everybody learns of it."""

from __future__ import annotations

from datetime import UTC, datetime

from evalcov_pipeline.errors import CheckFailed
from evalcov_pipeline.services.evals.ledger import broken_link
from evalcov_pipeline.services.home import publish, warehouse_of
from evalcov_pipeline.services.labels.merging import MergeReport, merge_and_derive
from evalcov_pipeline.settings import Settings


def merge_labels(settings: Settings, after: int) -> MergeReport:
    """Merge decided tasks into the suite, publish, and tell the sensors what came.

    Args:
        settings: of the pipeline.
        after: the newest of `annotation_events` before the labels came.

    Raises:
        CheckFailed: the ledger is broken; the labels are kept, and nothing is merged.
    """
    from evalcov_pipeline.cli import jobs
    from evalcov_pipeline.defs.support import events

    warehouse = warehouse_of(settings)
    with warehouse.writer() as con:
        if (event := broken_link(con)) is not None:
            raise CheckFailed(
                f"the labels are kept, but the ledger is broken at event {event}: nothing joined"
                " the suite; see `evalcov doctor`"
            )
        decided = con.execute(
            "SELECT count(*) FROM annotation_queue"
            " WHERE (status IN ('kept', 'rejected') OR merged_at IS NOT NULL)"
            " AND task_id IN (SELECT task_id FROM annotation_events WHERE event_id > ?)",
            [after],
        ).fetchall()[0][0]
        merged, *_ = merge_and_derive(con, settings, datetime.now(UTC).replace(tzinfo=None))
    publish(settings)
    jobs.announce(settings, events.LABELS, events.labelled(decided, merged.waiting_of_plans))
    return merged
