"""`evalcov doctor`: is the environment sound, is the data?"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from evalcov_pipeline.cli import CHECK_FAILED
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import Settings, get_settings

_LEAST_FREE_GB = 1.0


@click.command("doctor")
def command() -> int:
    """Check the environment and the data; exits with 1 if a check says no."""
    failed = False
    for name, passed, found in _checks(get_settings()):
        failed |= not passed
        click.echo(f"{'ok  ' if passed else 'FAIL'}  {name:<22} {found}")
    return CHECK_FAILED if failed else 0


def _checks(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    """Name, verdict and finding of each check."""
    from importlib.metadata import version

    from evalcov_pipeline.embedding import EmbeddingModelError
    from evalcov_pipeline.services.evals.incidents import INCIDENTS, lost_incident
    from evalcov_pipeline.services.evals.ledger import broken_link, head, regression_cases
    from evalcov_pipeline.services.home import warehouse_of
    from evalcov_pipeline.services.taxonomy.taxonomies import is_intact
    from evalcov_pipeline.services.traffic.texts import redactor
    from evalcov_pipeline.services.traffic.vectors import embedder
    from evalcov_pipeline.storage import schema
    from evalcov_pipeline.storage.lake import days_pending
    from evalcov_pipeline.storage.warehouse import BACKUPS, one_row

    yield "python", sys.version_info >= (3, 11), sys.version.split()[0]
    yield "duckdb", version("duckdb") < "2", f"{version('duckdb')} (below 2 is supported)"
    yield "dagster", True, version("dagster")
    writable, found = _home(settings.home.absolute())
    yield "home", writable, found
    try:
        redactor(settings.redaction)(["Mail eve@example.com"])
        yield "redaction", True, f"{len(settings.redaction.patterns)} own patterns"
    except BadInput as error:
        yield "redaction", False, str(error)
    model = None
    try:
        model = embedder(settings.embedding).fingerprint
        yield "embedding model", True, model
    except EmbeddingModelError as error:
        yield "embedding model", False, str(error)
    if not writable:
        return
    pending = days_pending(settings.lake)
    yield "traces", True, f"{len(pending)} imported days wait for `evalcov run`"
    if not settings.warehouse.exists():
        yield "warehouse", True, "none yet: `evalcov ingest` or `evalcov demo` makes it"
        return
    warehouse = warehouse_of(settings)
    try:
        with warehouse.rehearsal() as (con, steps):
            home_version, deviating = warehouse.version(), schema.deviations(con)
            broken, ends = broken_link(con), head(con)
            regression = regression_cases(con)
            lost, incidents_end = lost_incident(con), INCIDENTS.head(con)
            counts = one_row(
                con,
                "SELECT (SELECT count(*) FROM eval_case_events) AS events,"
                " (SELECT count(*) FROM incidents) AS incidents,"
                " (SELECT count(*) FROM coverage_scores WHERE headline) AS weeks,"
                " (SELECT list(taxonomy_id) FROM taxonomies) AS of_queries,"
                " (SELECT list(taxonomy_id) FROM session_taxonomies) AS of_sessions,"
                " (SELECT arg_max(embedding_fingerprint, fitted_at) FROM taxonomies) AS model",
            )
    except BadInput as error:
        yield "warehouse", False, str(error)
        return
    assert counts is not None
    finding = f"the home's is {home_version}, the code's is {schema.newest()}"
    if steps:
        finding += (
            f"; the next command that opens the home copies the warehouse to {BACKUPS}/ and"
            f" migrates it ({'; '.join(steps)}); checked below as it would then be"
        )
    yield "version", True, finding
    if deviating:
        finding = "; ".join(map(str, deviating)) + ": restore the warehouse from a backup"
    else:
        finding = f"{settings.warehouse}, {counts['weeks']} weeks scored"
    yield "warehouse", not deviating, finding
    found = f"{counts['events']} events, chain intact"
    if ends:
        found += f", newest {ends[1][:16]}"
    if broken is not None:
        found = f"the chain breaks at event {broken}: restore the warehouse from a backup"
    yield "eval case ledger", broken is None, found
    found = f"{len(regression.active)} active, none was lost"
    if regression.superseded:
        found += f", stricter ones took the place of {len(regression.superseded)}"
    yield "regression cases", regression.lost is None, regression.lost or found
    found = f"{counts['incidents']} in {incidents_end[0]} versions" if incidents_end else "none yet"
    if incidents_end:
        found += f", chain intact, newest {incidents_end[1][:16]}"
    yield "incidents", lost is None, lost or found
    of_sessions = counts["of_sessions"] or []
    names = (counts["of_queries"] or []) + of_sessions
    damaged = [
        name
        for name in names
        if not is_intact(settings.taxonomies, name, with_space=name in of_sessions)
    ]
    foreign = model is not None and counts["model"] not in (None, model)
    found = f"{len(names)} frozen"
    if damaged:
        found += f", files missing or damaged: {', '.join(damaged)}"
    elif foreign:
        found += f", the newest with the model {counts['model']}: run `evalcov run monthly`"
    yield "taxonomies", not damaged and not foreign, found
    yield "published", settings.published.exists(), str(settings.published)


def _home(home: Path) -> tuple[bool, str]:
    """Whether the home can be written, and what there is to say about it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        free = shutil.disk_usage(home).free / 1e9
    except OSError as error:
        return False, f"{home} cannot be written: {error.strerror}"
    return free > _LEAST_FREE_GB, f"{home}, {free:.1f} GB free"
