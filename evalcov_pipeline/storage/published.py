"""The published snapshot, as readers open it: they never wait for the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage import schema

_WAREHOUSE = "warehouse.duckdb"


@contextmanager
def reading(published: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the snapshot, which stays as it is until the end.

    Raises:
        BadInput: nothing was published yet, what lies there is not such a snapshot, or it or the
            warehouse beside it is of a newer release.
    """
    if not published.exists():
        raise BadInput(
            what="nothing was published yet",
            where=str(published),
            what_to_do="run `evalcov run weekly` (or `evalcov demo` for the sample) first",
        )
    _refuse_newer(published.with_name(_WAREHOUSE))
    try:
        with duckdb.connect(published, read_only=True) as con:
            schema.version(con, published)
            yield con
    except (duckdb.IOException, duckdb.CatalogException, duckdb.BinderException) as error:
        raise BadInput(
            what=f"the snapshot cannot be read: {str(error).splitlines()[0]}",
            where=str(published),
            what_to_do="write it anew: `evalcov publish`; `evalcov run weekly` if it is older",
        ) from error


def _refuse_newer(warehouse: Path) -> None:
    """Refuse a home whose warehouse a newer release has taken on since it was published.

    A warehouse that cannot be opened now is the matter of those who need it.
    """
    if not warehouse.exists():
        return
    with suppress(duckdb.Error), duckdb.connect(warehouse, read_only=True) as con:
        schema.version(con, warehouse)
