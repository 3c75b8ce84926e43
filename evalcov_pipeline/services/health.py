"""Is the environment sound, and is the data? Each check has a verdict and says what it found."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import duckdb

from evalcov_pipeline.embedding import EmbeddingModelError
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.services.evals.incidents import INCIDENTS, lost_incident
from evalcov_pipeline.services.evals.ledger import broken_link, head, regression_cases
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.taxonomy.taxonomies import is_intact, newest_model
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.services.traffic.vectors import embedder
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage import schema
from evalcov_pipeline.storage.lake import days_pending
from evalcov_pipeline.storage.warehouse import BACKUPS

_LEAST_FREE_GB = 1.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        passed: whether it is sound.
        finding: what was found, in a line.
    """

    name: str
    passed: bool
    finding: str


def checks(settings: Settings) -> Iterator[Check]:
    """All checks of a home, the environment first; what cannot be looked at has none."""
    yield Check("python", sys.version_info >= (3, 11), sys.version.split()[0])
    yield Check("duckdb", duckdb.__version__ < "2", f"{duckdb.__version__} (below 2 is supported)")
    yield Check("dagster", True, version("dagster"))
    home = _home(settings.home.absolute())
    yield home
    yield _redaction(settings)
    model = _model(settings)
    yield model
    if not home.passed:
        return
    pending = len(days_pending(settings.lake))
    yield Check("traces", True, f"{pending} imported days wait for `evalcov run`")
    if not settings.warehouse.exists():
        missing = "none yet: `evalcov ingest` or `evalcov demo` makes it"
        yield Check("warehouse", True, missing)
        return
    warehouse = warehouse_of(settings)
    try:
        with warehouse.rehearsal() as (con, steps):
            of_data = [_version(warehouse.version(), steps), _tables(con, settings)]
            if of_data[-1].passed:
                of_data += [
                    _ledger(con),
                    _regression_cases(con),
                    _incidents(con),
                    _taxonomies(con, settings, model.finding if model.passed else None),
                ]
    except BadInput as error:
        yield Check("warehouse", False, str(error))
        return
    yield from of_data
    yield Check("published", settings.published.exists(), str(settings.published))


def _home(home: Path) -> Check:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        free = shutil.disk_usage(home).free / 1e9
    except OSError as error:
        return Check("home", False, f"{home} cannot be written: {error.strerror}")
    return Check("home", free > _LEAST_FREE_GB, f"{home}, {free:.1f} GB free")


def _redaction(settings: Settings) -> Check:
    try:
        redactor(settings.redaction)(["Mail eve@example.com"])
    except BadInput as error:
        return Check("redaction", False, str(error))
    return Check("redaction", True, f"{len(settings.redaction.patterns)} own patterns")


def _model(settings: Settings) -> Check:
    """Whether texts can be embedded; the finding is the model's fingerprint."""
    try:
        return Check("embedding model", True, embedder(settings.embedding).fingerprint)
    except EmbeddingModelError as error:
        return Check("embedding model", False, str(error))


def _version(of_home: int, steps: list[str]) -> Check:
    finding = f"the home's is {of_home}, the code's is {schema.newest()}"
    if of_home == 0:
        finding = f"the warehouse is empty yet, the code's is {schema.newest()}"
    elif steps:
        finding += (
            f"; the next command that opens the home copies the warehouse to {BACKUPS}/ and"
            f" migrates it ({'; '.join(steps)}); checked below as it would then be"
        )
    return Check("version", True, finding)


def _tables(con: duckdb.DuckDBPyConnection, settings: Settings) -> Check:
    if deviating := schema.deviations(con):
        what = "; ".join(map(str, deviating))
        return Check("warehouse", False, f"{what}: restore the warehouse from a backup")
    (weeks,) = con.execute("SELECT count(*) FROM coverage_scores WHERE headline").fetchall()[0]
    return Check("warehouse", True, f"{settings.warehouse}, {weeks} weeks scored")


def _ledger(con: duckdb.DuckDBPyConnection) -> Check:
    if (event := broken_link(con)) is not None:
        broken = f"the chain breaks at event {event}: restore the warehouse from a backup"
        return Check("eval case ledger", False, broken)
    (events,) = con.execute("SELECT count(*) FROM eval_case_events").fetchall()[0]
    finding = f"{events} events, chain intact"
    if end := head(con):
        finding += f", newest {end[1][:16]}"
    return Check("eval case ledger", True, finding)


def _regression_cases(con: duckdb.DuckDBPyConnection) -> Check:
    cases = regression_cases(con)
    if cases.lost is not None:
        return Check("regression cases", False, cases.lost)
    finding = f"{len(cases.active)} active, none was lost"
    if cases.superseded:
        finding += f", stricter ones took the place of {len(cases.superseded)}"
    return Check("regression cases", True, finding)


def _incidents(con: duckdb.DuckDBPyConnection) -> Check:
    if (lost := lost_incident(con)) is not None:
        return Check("incidents", False, lost)
    if (end := INCIDENTS.head(con)) is None:
        return Check("incidents", True, "none yet")
    (incidents,) = con.execute("SELECT count(*) FROM incidents").fetchall()[0]
    finding = f"{incidents} in {end[0]} versions, chain intact, newest {end[1][:16]}"
    return Check("incidents", True, finding)


def _taxonomies(con: duckdb.DuckDBPyConnection, settings: Settings, model: str | None) -> Check:
    """Whether all can be read, and the newest is of the model that texts are embedded with."""
    made_by = newest_model(con)
    of_queries, of_sessions = con.execute(
        "SELECT (SELECT coalesce(list(taxonomy_id), []) FROM taxonomies),"
        " (SELECT coalesce(list(taxonomy_id), []) FROM session_taxonomies)"
    ).fetchall()[0]
    damaged = [
        name
        for name in of_queries + of_sessions
        if not is_intact(settings.taxonomies, name, with_space=name in of_sessions)
    ]
    foreign = model is not None and made_by not in (None, model)
    finding = f"{len(of_queries + of_sessions)} frozen"
    if damaged:
        finding += f", files missing or damaged: {', '.join(damaged)}"
    elif foreign:
        finding += f", the newest with the model {made_by}: run `evalcov run monthly`"
    return Check("taxonomies", not damaged and not foreign, finding)
