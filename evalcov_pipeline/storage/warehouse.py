"""The DuckDB warehouse: one writer, free readers, a published copy.

A DuckDB file that one process holds for writing refuses every other process, readers included, and
a process that is killed while DuckDB overwrites a block of it in place leaves it unreadable. So a
transaction happens in a copy, which takes the file's place when it is whole: readers keep what they
opened, nobody waits for them, and after a crash the file is as it was. Writers follow each other
behind an advisory lock beside the file. Outsiders read `published.duckdb`, swapped in likewise.

Whoever opens a warehouse of an older version brings it to the newest first, behind a backup; what
the versions are is the matter of `storage.schema`.
"""

from __future__ import annotations

import filecmp
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from evalcov_pipeline.errors import BadInput, one_line
from evalcov_pipeline.storage import schema
from evalcov_pipeline.storage.files import locked, move, unfinished

Columns = dict[str, pl.DataType | type[pl.DataType]]
"""Types of a frame's columns by name."""
BACKUPS = "backups"
"""Folder beside the warehouse for what it was before a migration."""
_log = logging.getLogger(__name__)


class Warehouse:
    """Connections to one DuckDB file.

    Args:
        path: the DuckDB file; created with its schema by the first writer.
        lock_timeout_s: seconds to wait for another process before giving up.
    """

    def __init__(self, path: Path, lock_timeout_s: float = 120.0) -> None:
        self.path = Path(path)
        self.lock_timeout_s = lock_timeout_s

    @contextmanager
    def writer(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside one transaction; an exception leaves the file as it was.

        Raises:
            BadInput: another process writes for too long, the file is damaged or of a newer
                version, or the disk is full.
        """
        with self._locked(), unfinished(self.path.parent) as folder, _naming_trouble(self.path):
            new = self._copied(folder)
            with _attached(new) as con:
                version = schema.version(con, self.path)
                if version == 0:
                    schema.create(con)
                elif version < schema.newest():
                    self._migrate(con, version, new, folder)
                con.begin()
                with schema.explained(con, self.path):
                    yield con
                con.commit()
                con.execute("CHECKPOINT")
            move(new, self.path)

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection to the warehouse as it is now, with all tables of this version.

        Raises:
            BadInput: the file is damaged or of a newer version.
        """
        if not self.path.exists():
            self.bring_up_to_date()
        with self._opened() as con:
            if schema.version(con, self.path) == schema.newest():
                with schema.explained(con, self.path):
                    yield con
                return
        self.bring_up_to_date()
        with self._opened() as con, schema.explained(con, self.path):
            yield con

    def publish(self, target: Path) -> int:
        """Copy the warehouse to `target`, atomically, and return the size of the copy in bytes.

        The lock is held until the copy is in place, so that an older copy never replaces a newer.

        Raises:
            BadInput: as for a reader, or a table is not as it was defined: the copy of when it was
                may be the only one left.
        """
        self.bring_up_to_date()
        with self._locked(), unfinished(target.parent) as folder:
            copy = folder / target.name
            with self._opened() as con:
                schema.refuse_deviations(con, self.path)
            with _naming_trouble(self.path), duckdb.connect(":memory:") as con:
                con.execute(f"ATTACH '{_quoted(self.path)}' AS warehouse (READ_ONLY)")
                con.execute(f"ATTACH '{_quoted(copy)}' AS target")
                con.execute("COPY FROM DATABASE warehouse TO target")
                con.execute("CHECKPOINT target")
                con.execute("DETACH target")
            size = copy.stat().st_size
            move(copy, target)
        return size

    def bring_up_to_date(self) -> None:
        """Create the warehouse, or bring it to the newest version, if it is not there yet.

        Raises:
            BadInput: as for a writer, or the home cannot be written.
        """
        version = self.version()
        if version == schema.newest():
            return
        try:
            with self.writer():
                pass
        except OSError as error:
            if version == 0:
                raise
            raise BadInput(
                what=f"this home is of version {version} and is to be brought to version"
                f" {schema.newest()}, but it cannot be written: {error.strerror}",
                where=str(error.filename or self.path),
                what_to_do="free space or permit writing, then start again; nothing was changed",
            ) from error

    def version(self) -> int:
        """The version of the home; 0 where there is none yet.

        Raises:
            BadInput: the file is damaged or of a newer version.
        """
        if not self.path.exists():
            return 0
        with self._opened() as con:
            return schema.version(con, self.path)

    @contextmanager
    def rehearsal(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[str]]]:
        """The tables as this version has them, and the migration steps that the home lacks.

        The home stays as it is: the steps are taken in a copy, which is thrown away.

        Raises:
            BadInput: the migration would fail, for the reason that is said; or the file is damaged
                or of a newer version.
        """
        version = self.version()
        if version == schema.newest():
            with self._opened() as con, schema.explained(con, self.path):
                yield con, []
            return
        with (
            tempfile.TemporaryDirectory() as folder,
            _naming_trouble(self.path),
            _attached(self._copied(Path(folder), with_log=True)) as con,
        ):
            if version == 0:
                schema.create(con)
                steps = ["all tables are made"]
            else:
                steps = schema.migrate(con, version, self.path)
            yield con, steps

    def _migrate(
        self, con: duckdb.DuckDBPyConnection, version: int, new: Path, folder: Path
    ) -> None:
        """Put the migrated tables in place, after a backup of what they were."""
        backup = self._backed_up(version, folder)
        done = schema.migrate(con, version, self.path)
        con.execute("CHECKPOINT")
        migrated = folder / "migrated.duckdb"
        shutil.copyfile(new, migrated)
        move(migrated, self.path)
        _log.warning(
            "home brought from version %d to %d (%s); the warehouse of before is %s",
            version, schema.newest(), one_line("; ".join(done)), one_line(str(backup)),
        )  # fmt: skip

    def _backed_up(self, version: int, folder: Path) -> Path:
        """A copy of the warehouse that nothing overwrites later; of one state there is one."""
        day = datetime.now(UTC).date()
        for number in count(1):
            name = f"{self.path.stem}-v{version}-{day}{f'-{number}' if number > 1 else ''}"
            backup = self.path.parent / BACKUPS / f"{name}{self.path.suffix}"
            if not backup.exists():
                copy = folder / backup.name
                shutil.copyfile(self.path, copy)
                move(copy, backup)
                return backup
            if filecmp.cmp(backup, self.path, shallow=False):
                return backup
        raise AssertionError("numbers do not end")

    def _copied(self, folder: Path, *, with_log: bool = False) -> Path:
        """A copy of the file in a folder; where there is no file yet, the place of a new one.

        Args:
            folder: where to copy to.
            with_log: if another program left a log of writes beside the file, take it into the copy
                alone. Otherwise the file takes it in first, for which the lock must be held.
        """
        copy = folder / self.path.name
        if self.path.exists():
            logged = _log_of(self.path).exists()
            if logged and not with_log:
                duckdb.connect(self.path).close()
            shutil.copyfile(self.path, copy)
            if logged and with_log:
                shutil.copyfile(_log_of(self.path), _log_of(copy))
                duckdb.connect(copy).close()
        return copy

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with _naming_trouble(self.path), duckdb.connect(self.path, read_only=True) as con:
            con.execute("SET TimeZone = 'UTC'")
            yield con

    def _locked(self) -> AbstractContextManager[None]:
        return locked(
            self.path.with_suffix(".lock"), "the warehouse", timeout_s=self.lock_timeout_s
        )


def _log_of(path: Path) -> Path:
    """Where DuckDB puts writes that the file has not taken in yet."""
    return path.with_name(f"{path.name}.wal")


@contextmanager
def _attached(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that writes a file of ours alone, in place and without a log."""
    with duckdb.connect(":memory:") as con:
        con.execute(f"ATTACH '{_quoted(path)}' AS warehouse (RECOVERY_MODE NO_WAL_WRITES)")
        con.execute("USE warehouse")
        con.execute("SET TimeZone = 'UTC'")
        yield con


def replace_slice(
    con: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame, **where: Any
) -> int:
    """Replace the rows of `table` for which every column in `where` has the given value.

    Columns are matched by name. The caller's transaction makes it atomic.

    Returns:
        Number of rows written.
    """
    if where:
        condition = " AND ".join(f"{column} = ?" for column in where)
        con.execute(f"DELETE FROM {table} WHERE {condition}", list(where.values()))
    else:
        con.execute(f"DELETE FROM {table}")
    return insert(con, table, frame)


def insert(
    con: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame, *, new_only: bool = False
) -> int:
    """Insert rows by column name; with `new_only`, skip those whose primary key is known."""
    if frame.is_empty():
        return 0
    con.register("incoming", frame.to_arrow())
    try:
        prefix = "INSERT OR IGNORE" if new_only else "INSERT"
        con.execute(f"{prefix} INTO {table} BY NAME SELECT * FROM incoming")
    finally:
        con.unregister("incoming")
    return frame.height


def one_row(
    con: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> Mapping[str, Any] | None:
    """The first row of a query as a mapping, or None."""
    cursor = con.execute(query, parameters or [])
    row = cursor.fetchone()
    return dict(zip([c[0] for c in cursor.description], row, strict=True)) if row else None


def size(con: duckdb.DuckDBPyConnection, table: str) -> int:
    """Number of rows of a table."""
    return int(con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def frame(
    con: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> pl.DataFrame:
    """The result of a query as a polars frame."""
    return con.execute(query, parameters or []).pl()


def _quoted(value: object) -> str:
    return str(value).replace("'", "''")


@contextmanager
def _naming_trouble(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with the file or the disk.

    Raises:
        BadInput: the file is damaged, or cannot be read or written.
    """
    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        if "No space left" in reason or "quota" in reason:
            what_to_do = "free space on the disk, then start again"
        elif isinstance(
            error, duckdb.IOException | duckdb.FatalException | duckdb.InternalException
        ):
            what_to_do = (
                "check the disk; if the file is damaged, restore it from a backup or copy"
                " published.duckdb in its place, then start again"
            )
        else:
            raise
        raise BadInput(
            what=f"the warehouse cannot be read or written: {reason}",
            where=str(path),
            what_to_do=what_to_do,
        ) from error
