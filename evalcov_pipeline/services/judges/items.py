"""What labels about judges are about: traces and judged answers, and the tasks that ask about them.

An item is named by the id of its trace, by any id that verdicts use, or, for the result of an eval
run, by `run_id/case_id`. Whoever labels one sees what was asked and answered, and never a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import duckdb
import orjson
import polars as pl

from evalcov_pipeline.core.labels.decision import Purpose
from evalcov_pipeline.core.text.normalise import text_hashes
from evalcov_pipeline.formats.conversations import is_conversation
from evalcov_pipeline.formats.messages import parsed
from evalcov_pipeline.services.labels.queue import enqueue
from evalcov_pipeline.services.labels.tasks import build_tasks, task_id
from evalcov_pipeline.services.traffic.conversations import conversations
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.services.traffic.turns import last_turns_of_traces
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Columns, frame

UNASKED = "labelled unasked"
ASKED: Columns = {
    "item_id": pl.String,
    "category": pl.String,
    "reason": pl.String,
    "selection": pl.String,
    "inclusion_probability": pl.Float64,
}
"""What `item_tasks` needs to know of an item."""


def tasks_of_labels(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    labels: Iterable[Mapping[str, Any]],
    at: datetime,
) -> dict[str, str]:
    """Task by id, for labels whose `task_id` is no task but an item; new items get one.

    Args:
        con: a writing connection.
        settings: where the lake is, and who labels for judges.
        labels: task_id, and selection and inclusion_probability, which count for new items.
        at: instant of the import, naive UTC.

    Returns:
        Nothing for ids that nobody knows.
    """
    label_of = {label["task_id"]: label for label in labels}
    known = frame(con, "SELECT task_id FROM annotation_queue")["task_id"]
    items = sorted(label_of.keys() - set(known))
    if not items:
        return {}
    earlier = frame(
        con,
        "SELECT item_id, arg_min(task_id, (created_at, task_id)) AS task_id FROM annotation_queue"
        " WHERE purpose = ? AND item_id IS NOT NULL GROUP BY item_id",
        [Purpose.CALIBRATION.value],
    )
    task_of = {item: task for item, task in earlier.iter_rows() if item in label_of}
    new = [
        {"item_id": item, "reason": UNASKED}
        | {name: label_of[item].get(name) for name in ("selection", "inclusion_probability")}
        for item in items
        if item not in task_of
    ]
    tasks = item_tasks(con, settings, pl.DataFrame(new, schema=ASKED), None, at)
    enqueue(con, tasks)
    return task_of | dict(tasks.select("item_id", "task_id").iter_rows())


def item_tasks(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    asked: pl.DataFrame,
    batch_id: str | None,
    created_at: datetime,
) -> pl.DataFrame:
    """Tasks (rows of `annotation_queue`) about items; none is more urgent than another.

    Args:
        con: a connection.
        settings: where the lake is, and who labels for judges.
        asked: item_id, category, reason, selection and inclusion_probability, each item once.
        batch_id: what asks; None where nobody did.
        created_at: wall clock, naive UTC.

    Returns:
        One row per item that is a trace of the lake, a judged answer or a result.
    """
    shown = _shown(con, settings, asked["item_id"])
    asker = batch_id or Purpose.CALIBRATION.value
    rows = asked.join(shown, on="item_id", how="inner", maintain_order="left").with_columns(
        batch_id=pl.lit(batch_id, pl.String),
        task_id=pl.col("item_id").map_elements(
            lambda item: task_id(Purpose.CALIBRATION, asker, item), pl.String
        ),
        text_hash=pl.col("text").map_batches(text_hashes, pl.String),
        designed=pl.lit(False),
        route=pl.lit(settings.judges.route),
        priority=pl.lit(1.0),
    )
    return build_tasks(
        rows, Purpose.CALIBRATION, raters_wanted=settings.judges.raters, created_at=created_at
    )


def _shown(con: duckdb.DuckDBPyConnection, settings: Settings, items: pl.Series) -> pl.DataFrame:
    """item_id, text, context, answer, tools, source, trace_id, turn_index of items that are known.

    The text is that of the trace's last turn in the lake; else of the case; else the item's id.
    """
    con.register("asked", items.to_frame("item_id").to_arrow())
    judged = frame(
        con,
        """
        WITH judged AS (
          SELECT item_id, case_id, output FROM judge_verdicts SEMI JOIN asked USING (item_id)
          UNION ALL
          SELECT item_id, case_id, output
          FROM (SELECT *, run_id || '/' || case_id AS item_id FROM eval_results WHERE repeat = 0)
          SEMI JOIN asked USING (item_id))
        SELECT item_id, min(output) AS output, any_value(input) AS input
        FROM judged LEFT JOIN eval_cases USING (case_id) GROUP BY item_id
        """,
    )
    con.unregister("asked")
    in_lake = _in_lake(settings, items)
    known = pl.concat([judged["item_id"], in_lake["item_id"]]).unique().to_frame()
    cases = pl.DataFrame(
        [(item, *_asked_in(input_)) for item, input_ in judged.select("item_id", "input").rows()],
        schema={"item_id": pl.String, "case_text": pl.String, "case_context": pl.String},
        orient="row",
    )
    return (
        known.join(in_lake, on="item_id", how="left")
        .join(judged.select("item_id", "output"), on="item_id", how="left")
        .join(cases, on="item_id", how="left")
        .select(
            "item_id", "tools", "source", "trace_id", "turn_index",
            text=pl.coalesce("query", "case_text", "item_id"),
            context=pl.coalesce("context", "case_context"),
            answer=pl.coalesce("answer", "output"),
        )
    )  # fmt: skip


def _in_lake(settings: Settings, items: pl.Series) -> pl.DataFrame:
    """Items that are traces, by their last turn: what was said, and where."""
    turns = last_turns_of_traces(settings.lake, items)
    without_hashes = turns.with_columns(text_hash=pl.lit(None, pl.String))
    shown = conversations(settings.lake, turns, without_hashes, redactor(settings.redaction))
    return shown.join(turns, on=["source", "trace_id", "started_at"]).select(
        "query", "context", "answer", "tools", "source", "trace_id", "turn_index",
        item_id="trace_id",
    )  # fmt: skip


def _asked_in(input_: str | None) -> tuple[str | None, str | None]:
    """The last user message of a case, and what was said before it (JSON messages)."""
    messages: Any = parsed(input_) if input_ else None
    if not is_conversation(messages):
        return input_, None
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    context = orjson.dumps(messages[:last]).decode() if last else None
    return messages[last]["content"], context
