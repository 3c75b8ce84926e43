"""How a table becomes an asset: key, description and columns come from its own definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dagster as dg
import polars as pl

from evalcov_pipeline.errors import CheckFailed
from evalcov_pipeline.storage.schema import tables

OWNERS = ["team:data"]


def table_spec(
    table: str,
    *,
    group: str,
    deps: Iterable[str | dg.AssetDep] = (),
    partitions_def: dg.PartitionsDefinition | None = None,
    kinds: Iterable[str] = ("duckdb",),
) -> dg.AssetSpec:
    """Spec of the asset that fills a warehouse table."""
    definition = tables()[table]
    columns = [
        dg.TableColumn(column.name, type=column.type.lower(), description=column.description)
        for column in definition.columns
    ]
    return dg.AssetSpec(
        key=table,
        description=definition.description,
        deps=list(deps),
        group_name=group,
        partitions_def=partitions_def,
        kinds=set(kinds),
        owners=OWNERS,
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "dagster/table_name": f"published.{table}",
        },
    )


def row_count(rows: int) -> dict[str, dg.IntMetadataValue]:
    """The row count that the UI draws a trend of."""
    return {"dagster/row_count": dg.MetadataValue.int(rows)}


def rows_of(frame: pl.DataFrame) -> dg.TableMetadataValue:
    """A small frame as a table that the UI shows; cells are numbers, texts or empty."""
    return dg.MetadataValue.table(
        [dg.TableRecord(row) for row in frame.iter_rows(named=True)],
        dg.TableSchema(
            [
                dg.TableColumn(name, "string" if kind == pl.String else "float")
                for name, kind in frame.schema.items()
            ]
        ),
    )


def checked(*results: dg.AssetCheckResult) -> Iterator[dg.AssetCheckResult]:
    """Record checks, and stop the step if one that stands for sound rows said no.

    An asset yields from it before it writes, so that rows which failed a check are never there: not
    for later steps, nor for a snapshot that another command publishes.

    Raises:
        CheckFailed: a check of severity ERROR did not pass.
    """
    yield from results
    failed = [
        f"{result.check_name} ({', '.join(f'{k}: {v.value}' for k, v in result.metadata.items())})"
        for result in results
        if not result.passed and result.severity == dg.AssetCheckSeverity.ERROR
    ]
    if failed:
        raise CheckFailed(f"{'; '.join(failed)} failed: the rows of before stay")
