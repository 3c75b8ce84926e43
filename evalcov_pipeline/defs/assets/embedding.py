"""Vectors of all texts that a week's score needs."""

import dagster as dg

from evalcov_pipeline.core.traffic.weeks import as_of
from evalcov_pipeline.defs.support.partitions import WEEKLY, weeks
from evalcov_pipeline.defs.support.resources import WarehouseResource
from evalcov_pipeline.defs.support.specs import OWNERS
from evalcov_pipeline.services.traffic.texts import week_texts
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import embed_texts


@dg.asset(
    deps=["trace_sample", "texts", "eval_cases"],
    partitions_def=WEEKLY,
    group_name="embedding",
    kinds={"parquet", "huggingface"},
    owners=OWNERS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="embedding",
)
def text_vectors(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult:
    """Vectors of sampled queries and eval cases, by one model.

    Kept in the lake by the hash of the text: what was embedded once is never embedded again, and a
    week without new texts loads no model.
    """
    cache = vector_cache(settings)
    for week in weeks(context):
        with warehouse.reader() as con:
            texts = week_texts(con, as_of(week))
        report = embed_texts(
            cache,
            lambda: embedder(settings.embedding),
            texts,
            progress=lambda done, total: context.log.info(f"{done} of {total} texts embedded"),
        )
        context.add_asset_metadata(
            {
                "texts": report.n_texts,
                "new_texts": report.n_new,
                "longer_than_the_model_reads": report.n_truncated,
                "seconds": report.seconds,
                "model": cache.fingerprint,
            },
            asset_key="text_vectors",
            partition_key=week,
        )
    return dg.MaterializeResult()
