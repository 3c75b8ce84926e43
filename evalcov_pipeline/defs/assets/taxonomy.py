"""Clusters of production traffic, and which cluster every text belongs to."""

from datetime import timedelta

import dagster as dg

from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.support.partitions import WEEKLY, now, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import row_count, table_spec
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.taxonomy.assignments import assign_week
from evalcov_pipeline.services.taxonomy.fitting import Fit, fit_taxonomy
from evalcov_pipeline.services.traffic.sampling import has_traffic
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import size

TAXONOMY_OP = "taxonomy"
TABLES = ("taxonomies", "clusters", "taxonomy_lineage")


class TaxonomyRun(dg.Config):
    """Whether the traffic is clustered anew."""

    refit: bool = False
    """Fit a new taxonomy for the week; otherwise only if there is none at all."""


@dg.multi_asset(
    name=TAXONOMY_OP,
    specs=[
        table_spec(table, group="taxonomy", deps=["text_vectors"], partitions_def=WEEKLY,
                   kinds=("duckdb", "scikitlearn"))
        for table in TABLES
    ],
    check_specs=[dg.AssetCheckSpec("clusters_are_recent", asset="taxonomies")],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="taxonomy",
)  # fmt: skip
def taxonomy(
    context: dg.AssetExecutionContext,
    config: TaxonomyRun,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
):
    """Cluster the week's window of traffic, freeze the clusters, match them to the ones before.

    Without `refit` (the default, and what the weekly job does) a taxonomy is fitted only if there
    is none at all; the monthly job refits. Of several weeks the newest is fitted.
    """
    with warehouse.reader() as con:
        known = taxonomies.applicable(con, as_of(weeks(context)[-1]))
        busy = [week for week in weeks(context) if has_traffic(con, as_of(week))]
    fitted = busy[-1] if busy and (config.refit or known is None) else None
    for week in weeks(context):
        facts: dict[str, object] = {"fitted": week == fitted}
        if week == fitted:
            fit = fit_taxonomy(
                warehouse.warehouse, settings, vector_cache(settings), as_of(week), now(),
                context.log.info,
            )  # fmt: skip
            facts |= fit_facts(fit)
        context.add_asset_metadata(facts, asset_key="taxonomies", partition_key=week)
    with warehouse.reader() as con:
        rows = {table: size(con, table) for table in TABLES}
        age = taxonomies.age(con, as_of(weeks(context)[-1])) or timedelta()
    yield dg.AssetCheckResult(
        check_name="clusters_are_recent",
        asset_key="taxonomies",
        passed=age <= timedelta(days=settings.freshness.taxonomy_days),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"age_days": age.days},
    )
    for table, count in rows.items():
        yield dg.MaterializeResult(asset_key=table, metadata=row_count(count))


def fit_facts(fit: Fit) -> dict[str, object]:
    """What the UI shows of a fit."""
    facts: dict[str, object] = {"taxonomy": fit.taxonomy_id}
    if fit.discovery:
        facts |= {
            "clusters": fit.discovery.n_clusters,
            "unclustered_share": fit.discovery.unclustered_share,
            "stability": fit.discovery.stability or 0.0,
            "method": fit.discovery.method,
            "notes": dg.MetadataValue.md(
                "\n".join(f"- {note}" for note in fit.discovery.notes) or "-"
            ),
        }
    if fit.lineage:
        relations = [row.relation for row in fit.lineage.rows]
        facts["lineage"] = {relation: relations.count(relation) for relation in set(relations)}
    return facts


@dg.multi_asset(
    name="assignment",
    specs=[
        table_spec(
            "cluster_assignments",
            group="taxonomy",
            deps=["taxonomies", "clusters", "text_vectors"],
            partitions_def=WEEKLY,
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse",
)
def assignment(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult:
    """Put every text of the week, production and eval alike, into a cluster by one frozen rule."""
    for week in weeks(context):
        with warehouse.writer() as con:
            used = taxonomies.applicable(con, as_of(week))
            new = 0
            for name in used.ids if used else []:
                new += assign_week(
                    con, settings.taxonomies, name, vector_cache(settings), as_of(week)
                )
        context.add_asset_metadata(
            {**row_count(new), "taxonomies": used.ids if used else []},
            asset_key="cluster_assignments",
            partition_key=week,
        )
    return dg.MaterializeResult(asset_key="cluster_assignments")
