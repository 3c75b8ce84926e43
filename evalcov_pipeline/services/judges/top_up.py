"""Answers that people are asked about for judges' sake: to certify them, and instead of them.

Who labels is never told what a judge said, neither by the reason of a task nor by their order.
"""

from __future__ import annotations

from datetime import datetime

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.judges.top_up import TopUp, top_up_plan
from evalcov_pipeline.services.evals.suite import scored_run
from evalcov_pipeline.services.judges.admission import judged_tries
from evalcov_pipeline.services.judges.calibration import Calibration
from evalcov_pipeline.services.judges.items import ASKED, item_tasks
from evalcov_pipeline.services.labels.queue import WAITING, enqueue, supersede
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import frame, insert

_TOP_UP, _INSTEAD = "judge-", "refused-"
"""What the ids of the batches begin with."""


def queue_top_up(
    con: duckdb.DuckDBPyConnection, settings: Settings, calibration: Calibration, at: datetime
) -> int:
    """Ask people about the answers that would help a week's certificates most.

    Nothing new is asked while tasks of an earlier top-up wait, nor twice for a week.

    Args:
        con: a writing connection.
        settings: how many answers, and who labels them.
        calibration: the week's certificates.
        at: wall clock, naive UTC.

    Returns:
        Answers that are new in `judge_top_up`.
    """
    batch_id = f"{_TOP_UP}{calibration.as_of:%Y%m%d}"
    if _asked(con, _TOP_UP, batch_id):
        return 0
    rng = np.random.default_rng([settings.judges.seed, calibration.as_of.toordinal(), 1])
    size = settings.judges.top_up
    plan = top_up_plan(
        calibration.certificates, calibration.labels, calibration.verdicts, rng, size
    )
    raters = dict(calibration.labels.group_by("item_id").agg(pl.first("rater")).iter_rows())
    asked = pl.DataFrame(
        [
            {
                "item_id": pick.item_id,
                "category": pick.category,
                "reason": _asks(pick, raters),
                "selection": pick.selection,
                "inclusion_probability": pick.inclusion_probability,
            }
            for pick in plan
        ],
        schema=ASKED,
    )
    tasks = item_tasks(con, settings, asked, batch_id, at)
    enqueue(con, tasks)
    task_ids = dict(tasks.select("item_id", "task_id").iter_rows())
    rows = [
        {
            "calibrated_at": calibration.as_of,
            "rank": rank,
            "item_id": pick.item_id,
            "task_id": task_ids.get(pick.item_id),
            "judge_id": pick.judge.judge_id,
            "category": pick.category,
            "ask": pick.ask,
            "selection": pick.selection,
            "inclusion_probability": pick.inclusion_probability,
            "reason": pick.reason,
        }
        for rank, pick in enumerate(plan, 1)
    ]
    return insert(con, "judge_top_up", pl.DataFrame(rows, infer_schema_length=None))


def queue_refused(
    con: duckdb.DuckDBPyConnection, settings: Settings, as_of: datetime, at: datetime
) -> int:
    """Ask people about answers of the scored run whose verdict is refused, drawn at random.

    Waiting tasks about earlier runs are closed: their answers enter no score any more.

    Args:
        con: a writing connection; the certificates of `as_of` are written.
        settings: how many answers, and who labels them.
        as_of: the week.
        at: wall clock, naive UTC.

    Returns:
        New tasks.
    """
    batch_id = f"{_INSTEAD}{as_of:%Y%m%d}"
    earlier = frame(
        con,
        "SELECT DISTINCT batch_id FROM annotation_queue"
        " WHERE starts_with(batch_id, $1) AND batch_id < $2",
        [_INSTEAD, batch_id],
    )
    supersede(con, earlier["batch_id"].to_list(), at)
    run = scored_run(con, as_of)
    if run is None or _asked(con, _INSTEAD, batch_id):
        return 0
    open_ = judged_tries(con, run.run_id, as_of).filter(
        "refused", "has_output", pl.col("people").is_null()
    )
    rng = np.random.default_rng([settings.judges.seed, as_of.toordinal(), 2])
    drawn = rng.permutation(len(open_))[: settings.judges.top_up]
    drawn_items = open_[np.sort(drawn)].select(
        "item_id",
        "category",
        reason=pl.lit("its judge is not believed here: what people say counts instead"),
        selection=pl.lit(None, pl.String),
        inclusion_probability=pl.lit(None, pl.Float64),
    )
    return enqueue(con, item_tasks(con, settings, drawn_items, batch_id, at))


def planned(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """A week's rows of `judge_top_up`."""
    return frame(con, "SELECT * FROM judge_top_up WHERE calibrated_at = ? ORDER BY rank", [as_of])


def _asked(con: duckdb.DuckDBPyConnection, kind: str, batch_id: str) -> bool:
    """Whether a batch was asked already, or tasks of another one of its kind wait."""
    known = con.execute(
        "SELECT count(*) FROM annotation_queue"
        " WHERE starts_with(batch_id, $1) AND (batch_id = $2 OR list_contains($3, status))",
        [kind, batch_id, list(WAITING)],
    ).fetchall()
    return bool(known[0][0])


def _asks(pick: TopUp, raters: dict[str, str]) -> str:
    """What a person is told, who must not lean towards the judge."""
    if pick.ask == "first":
        return "shows how far a judge can be believed"
    return f"shows how far people agree: {raters[pick.item_id]} has labelled it, somebody else may"
