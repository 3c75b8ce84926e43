"""The lake: raw turns as Parquet, one folder per day, and the staging area they are folded from.

    staging/date=D/<file>.parquet      spans that started on day D (UTC), one file per imported file
    staging/feedback/<file>.parquet    free-standing feedback, which may come long after its turn
    staging/files/<file>.json          receipt of an imported file, written last
    staging/pending/D.<token>          day D has to be compacted again
    traces/date=D/part-0.parquet       canonical turns that began on day D
    .locks/                            one import is put into place at a time, a day compacted once

Every file is written aside and moved into place, so readers never see half of one. A trace across
midnight is staged under both days; its turns belong to the day on which they began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import orjson
import polars as pl
import pyarrow.parquet as pq

from evalcov_pipeline.core.traffic.turns import (
    IN_SESSION,
    SESSION,
    SPANS,
    TRACE,
    TURNS,
    fold_turns,
)
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.files import locked, move, unfinished, write_whole

_FEEDBACK = "feedback"
_ONE_DAY = timedelta(days=1)
_WAITING_BYTES = 32 << 20
_KEY = [*TRACE, "span_id"]
_LEADING = ("source", "trace_id", "session_id", "span_id")


@dataclass(frozen=True)
class DayReport:
    """What compacting one day did.

    Attributes:
        day: the day (UTC).
        turns: turns in the lake now.
        sessions: sessions that they belong to.
        set_aside: turns of eval or test traffic, kept out.
        without_query: turns whose query text was not captured, kept out.
        duplicates: copies of spans beyond the first.
        conflicts: spans whose copies differed.
        changed: whether the day's file is different from before.
    """

    day: date
    turns: int
    sessions: int
    set_aside: int
    without_query: int
    duplicates: int
    conflicts: int
    changed: bool


class Staging:
    """Spans of one imported file on their way into the staging area.

    Nothing is visible before `commit`. Batches wait in memory, up to `_WAITING_BYTES`, since small
    writes to the files of many days cost more than reading the spans.
    """

    def __init__(self, lake: Path, file_id: str, folder: Path) -> None:
        self._lake = lake
        self._staging = lake / "staging"
        self._traces = lake / "traces"
        self._file_id = file_id
        self._file = f"{file_id}.parquet"
        self._folder = folder
        self._waiting: list[pl.DataFrame] = []
        self._waiting_bytes: float = 0
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, spans: pl.DataFrame) -> None:
        """Append a batch (schema `SPANS`)."""
        self._waiting.append(spans)
        self._waiting_bytes += spans.estimated_size()
        if self._waiting_bytes >= _WAITING_BYTES:
            self._write()

    def _write(self) -> None:
        """Append what waits to the files of its days."""
        if not self._waiting:
            return
        days = pl.format("date={}", pl.col("started_at").dt.date())
        place = pl.when(pl.col("kind") == "feedback").then(pl.lit(_FEEDBACK)).otherwise(days)
        spans = pl.concat(self._waiting).with_columns(place=place)
        self._waiting.clear()
        self._waiting_bytes = 0
        parts = spans.partition_by("place", as_dict=True, include_key=False)
        for (name,), part in parts.items():
            table = part.to_arrow()
            if name not in self._writers:
                self._writers[name] = pq.ParquetWriter(
                    self._folder / f"{name}.parquet", table.schema, compression="zstd"
                )
            self._writers[name].write_table(table)

    def close(self) -> None:
        """Finish the files under their temporary names."""
        self._write()
        for writer in self._writers.values():
            writer.close()

    def discard(self) -> None:
        """Let go of what was not committed, also where it cannot be finished on a full disk."""
        self._waiting.clear()
        for writer in self._writers.values():
            with suppress(OSError):
                writer.close()
            writer.is_open = False

    def commit(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Put the file in the place of its earlier reading, if any, and leave its receipt.

        The receipt comes last: after a crash the file can be imported again, however far it came.

        Args:
            facts: what the receipt says beside what is counted here.

        Returns:
            The receipt: `facts`, `accepted` and `duplicate` rows (those that are in the staging
            area from another file, or twice in this one), `staged` (bytes by folder); and `days` to
            compact, ascending.
        """
        self.close()
        with _lock(self._lake, "import"), naming_damage(self._lake):
            counts = [self._counts(name) for name in self._writers]
            rows, duplicate = sum(n for n, _ in counts), sum(n for _, n in counts)
            replaced = {file.parent.name for file in self._staging.glob(f"*/{self._file}")}
            touched = {_day(name) for name in {*self._writers, *replaced} if name != _FEEDBACK}
            touched |= self._neighbours(touched) | self._days_with_feedback()
            _mark_pending(self._lake, touched)  # for a crash before the files are in place
            for name in replaced - set(self._writers):
                (self._staging / name / self._file).unlink()
            staged = {}
            for name in sorted(self._writers):
                source, target = self._folder / f"{name}.parquet", self._staging / name / self._file
                staged[name] = source.stat().st_size
                move(source, target)
            _mark_pending(self._lake, touched)  # for a compaction that ran before they were
            receipt = {**facts, "accepted": rows - duplicate, "duplicate": duplicate}
            receipt |= {"staged": staged}
            write_whole(self._lake, _receipt_file(self._lake, self._file_id), orjson.dumps(receipt))
        return receipt | {"days": sorted(touched)}

    def _counts(self, name: str) -> tuple[int, int]:
        """Rows for a folder, and how many of them are duplicates."""
        new = _staged_spans([self._folder / f"{name}.parquet"]).select(_KEY)
        known = [f for f in (self._staging / name).glob("*.parquet") if f.name != self._file]
        distinct = new.unique().join(_staged_spans(known).select(_KEY), on=_KEY, how="anti")
        total, fresh = pl.collect_all([new.select(pl.len()), distinct.select(pl.len())])
        return int(total.item()), int(total.item()) - int(fresh.item())

    def _neighbours(self, days: set[date]) -> set[date]:
        """Days beside those of the file whose traces it continues."""
        neighbours = set()
        for day in days:
            own = self._folder / f"date={day}.parquet"
            for other in (day - _ONE_DAY, day + _ONE_DAY):
                if own.exists() and other not in days:
                    keys = pl.scan_parquet(own).select(TRACE)
                    beside = _scan(self._staging / f"date={other}").select(TRACE)
                    if beside.join(keys, on=TRACE, how="semi").head(1).collect().height:
                        neighbours.add(other)
        return neighbours

    def _days_with_feedback(self) -> set[date]:
        """Compacted days that hold turns which the file's feedback is about."""
        if _FEEDBACK not in self._writers or not any(self._traces.glob("date=*/*.parquet")):
            return set()
        about = pl.scan_parquet(self._folder / f"{_FEEDBACK}.parquet").select(TRACE)
        turns = pl.scan_parquet(self._traces / "date=*/*.parquet", hive_partitioning=False)
        started = turns.join(about, on=TRACE, how="semi").select(pl.col("started_at").dt.date())
        return set(started.unique().collect()["started_at"])


@contextmanager
def staging(lake: Path, file_id: str) -> Iterator[Staging]:
    """Stage one file; without a `commit` nothing of it stays."""
    with unfinished(lake) as folder:
        staged = Staging(lake, file_id, folder)
        try:
            yield staged
        finally:
            staged.discard()


def receipt(lake: Path, file_id: str) -> dict[str, Any] | None:
    """The receipt of an imported file; None for an unknown file, or one that lost staged rows."""
    try:
        record: dict[str, Any] = orjson.loads(_receipt_file(lake, file_id).read_bytes())
        staged = record["staged"].items()
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError):
        return None
    for name, size in staged:
        file = lake / "staging" / name / f"{file_id}.parquet"
        if not file.exists() or file.stat().st_size != size:
            return None
    return record


def days_pending(lake: Path) -> list[date]:
    """Days whose staged spans or feedback changed since they were compacted, ascending."""
    marks = (lake / "staging" / "pending").glob("*.*")
    return sorted({date.fromisoformat(mark.name.partition(".")[0]) for mark in marks})


def compact_day(lake: Path, day: date) -> DayReport:
    """Fold the staged spans of a day into its turns and replace the day's file.

    Spans of the day before and after are read for the day's own traces only. The same spans always
    give the same bytes, however they were spread over files. The marks that were there before are
    taken away last: what is imported meanwhile, or after a crash, is compacted again.

    Args:
        lake: folder of the lake.
        day: the day (UTC).

    Raises:
        BadInput: a staged file is damaged.
    """
    with _lock(lake, str(day)), naming_damage(lake):
        marks = list((lake / "staging" / "pending").glob(f"{day}.*"))
        fold = fold_turns(_staged(lake, day), day)
        changed = _write_day(lake, day, fold.turns)
        for mark in marks:
            mark.unlink()
    return DayReport(
        day=day,
        turns=fold.turns.height,
        sessions=fold.turns.select("source", "session_id").n_unique(),
        set_aside=fold.set_aside,
        without_query=fold.without_query,
        duplicates=fold.duplicates,
        conflicts=fold.conflicts,
        changed=changed,
    )


def traces_view_sql(lake: Path) -> str:
    """Query of the view `traces`: every turn of the lake with its place in its session.

    Works on an empty lake too.
    """
    columns = ", ".join(
        "map_from_entries(segment) AS segment" if name == "segment" else name
        for name in TURNS.names()
        if name not in _LEADING
    )
    return f"""
        SELECT source, trace_id, session_id,
               row_number() OVER (PARTITION BY {", ".join(SESSION)}
                                  ORDER BY {", ".join(IN_SESSION)}) - 1 AS turn_index,
               {columns}, span_id
        FROM ({_turns_sql(lake)})"""


def create_traces_view(con: duckdb.DuckDBPyConnection, lake: Path) -> None:
    """Create the view `traces` for this connection only; it is never stored in a database."""
    con.execute(f"CREATE OR REPLACE TEMP VIEW traces AS {traces_view_sql(lake)}")


def scan_turns(lake: Path) -> pl.LazyFrame:
    """The rows of a lake, as they lie there (schema `TURNS`).

    Looking a few sessions up costs less here than through DuckDB: other sessions' texts are
    skipped, not read. Collect it under `naming_damage`.
    """
    if not any((lake / "traces").glob("date=*/*.parquet")):
        return pl.LazyFrame(schema=TURNS)
    return pl.scan_parquet(lake / "traces" / "date=*" / "*.parquet", hive_partitioning=False)


def holds_turns(lake: Path) -> bool:
    """Whether the lake holds any turn."""
    return any((lake / "traces").glob("date=*/*.parquet"))


def _turns_sql(lake: Path) -> str:
    files = lake / "traces" / "date=*" / "*.parquet"
    if holds_turns(lake):
        path = str(files.absolute()).replace("'", "''")
        return f"SELECT * FROM read_parquet('{path}', hive_partitioning = true)"
    with duckdb.connect() as con:
        empty = con.from_arrow(TURNS.to_frame().to_arrow())
        columns = zip(empty.columns, empty.types, strict=True)
        nulls = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns)
    return f"SELECT {nulls}, NULL::DATE AS date WHERE false"


def _staged(lake: Path, day: date) -> pl.DataFrame:
    """Spans of a day, with what the days beside it and all feedback say about the same traces."""
    own = _scan(lake / "staging" / f"date={day}").collect()
    keys = own.lazy().select(TRACE).unique()
    places = (f"date={day - _ONE_DAY}", f"date={day + _ONE_DAY}", _FEEDBACK)
    others = [_scan(lake / "staging" / place).join(keys, on=TRACE, how="semi") for place in places]
    return pl.concat([own, *pl.collect_all(others)])


def _scan(folder: Path) -> pl.LazyFrame:
    """All staged spans of a folder."""
    return _staged_spans(sorted(folder.glob("*.parquet")))


def _staged_spans(files: list[Path]) -> pl.LazyFrame:
    """Spans of staged files; what an older version did not know to stage is NULL in them."""
    if not files:
        return pl.LazyFrame(schema=SPANS)
    return pl.scan_parquet(files, schema=SPANS, missing_columns="insert", hive_partitioning=False)


def _write_day(lake: Path, day: date, turns: pl.DataFrame) -> bool:
    """Replace the file of a day; an empty day has none. Returns whether anything changed."""
    target = lake / "traces" / f"date={day}" / "part-0.parquet"
    if turns.is_empty():
        existed = target.exists()
        target.unlink(missing_ok=True)
        with suppress(OSError):
            target.parent.rmdir()
        return existed
    buffer = BytesIO()
    turns.write_parquet(buffer, compression="zstd")
    content = buffer.getvalue()
    if target.exists() and target.read_bytes() == content:
        return False
    write_whole(lake, target, content)
    return True


def _mark_pending(lake: Path, days: set[date]) -> None:
    folder = lake / "staging" / "pending"
    folder.mkdir(parents=True, exist_ok=True)
    for day in sorted(days):
        (folder / f"{day}.{uuid4().hex}").touch()


def _receipt_file(lake: Path, file_id: str) -> Path:
    return lake / "staging" / "files" / f"{file_id}.json"


def _lock(lake: Path, name: str) -> AbstractContextManager[None]:
    return locked(lake / ".locks" / name, f"the lake ({name})")


@contextmanager
def naming_damage(lake: Path) -> Iterator[None]:
    """Say which file of the lake is damaged where reading it failed.

    Raises:
        BadInput: with the file, and how to get it back.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, duckdb.Error, OSError) as error:
        files = sorted((lake / "traces").glob("date=*/*.parquet"))
        if stale := [file for file in files if not _holds_turns(file)]:
            _mark_pending(lake, {_day(file.parent.name) for file in stale})
            days = "the day is" if len(stale) == 1 else f"{len(stale)} such days are"
            raise BadInput(
                what="a day of the lake is damaged, or was written by another version",
                where=str(stale[0]),
                what_to_do=f"start `evalcov run` again: {days} compacted anew",
            ) from error
        for file in sorted((lake / "staging").glob("*/*.parquet")):
            if not _holds_spans(file):
                raise BadInput(
                    what="a staged file is damaged, or was written by another version",
                    where=str(file),
                    what_to_do=f"delete it, then import {_original(lake, file.stem)} again",
                ) from error
        raise


def _holds_turns(file: Path) -> bool:
    try:
        return pl.read_parquet(file).schema == TURNS
    except (pl.exceptions.PolarsError, OSError):
        return False


def _holds_spans(file: Path) -> bool:
    try:
        _staged_spans([file]).collect()
    except (pl.exceptions.PolarsError, OSError):
        return False
    return True


def _original(lake: Path, file_id: str) -> str:
    """Path of the imported file that a staged one was read from, as far as its receipt tells."""
    try:
        return str(orjson.loads(_receipt_file(lake, file_id).read_bytes())["file"])
    except (OSError, orjson.JSONDecodeError, KeyError):
        return "its original"


def _day(place: str) -> date:
    return date.fromisoformat(place.removeprefix("date="))


@contextmanager
def lake_connection(lake: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own with the views `traces` and `turns`.

    `turns` are the rows as they lie in the lake, with their partition's `date`: cheaper than
    `traces` where the place of a turn in its session does not matter.

    Raises:
        BadInput: a file of the lake is damaged.
    """
    with naming_damage(lake), duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"CREATE TEMP VIEW turns AS {_turns_sql(lake)}")
        create_traces_view(con, lake)
        yield con


def traffic_span(lake: Path) -> tuple[datetime, datetime] | None:
    """Start of the oldest and of the newest production turn, or None for an empty lake."""
    with lake_connection(lake) as con:
        oldest, newest = con.execute(
            "SELECT min(started_at), max(started_at) FROM turns"
        ).fetchall()[0]
    return None if oldest is None else (oldest, newest)


def newest_query(lake: Path) -> datetime | None:
    """Start of the newest production query that was imported, its day compacted or not.

    None where there is none on the last two days with spans.
    """
    days = sorted((lake / "staging").glob("date=*"))[-2:]  # what is said of a trace may come later
    with naming_damage(lake):
        newest: datetime | None = (
            _staged_spans([file for day in days for file in sorted(day.glob("*.parquet"))])
            .filter(pl.col("query_text").is_not_null(), pl.col("set_aside").is_null())
            .select(pl.max("started_at"))
            .collect()
            .item()
        )
    return newest
