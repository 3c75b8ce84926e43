"""Frozen taxonomies: arrays and JSON in a folder each, and a row each in the warehouse.

Queries and whole sessions have taxonomies of their own, in tables of the same shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import duckdb
import numpy as np
import orjson

from evalcov_pipeline.core.sessions.space import SessionSpace
from evalcov_pipeline.core.taxonomy.taxonomy import Taxonomy
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.storage.files import move, unfinished
from evalcov_pipeline.storage.warehouse import one_row


@dataclass(frozen=True)
class Family:
    """Tables of one kind of unit: its taxonomies, and the scores under them."""

    taxonomies: str
    clusters: str
    lineage: str
    scores: str
    coverage: str


QUERIES = Family(
    "taxonomies", "clusters", "taxonomy_lineage", "coverage_scores", "cluster_coverage"
)
SESSIONS = Family(
    "session_taxonomies", "session_clusters", "session_taxonomy_lineage", "session_scores",
    "session_coverage",
)  # fmt: skip


@dataclass(frozen=True)
class Applicable:
    """Taxonomies that a week is scored under.

    Attributes:
        headline: the newest fitted at or before the week's end; the first for older weeks.
        previous: its predecessor, in a week that ends with a refit, so that the trend shows its own
            break; None also where another embedding model made it.
    """

    headline: str
    previous: str | None

    @property
    def ids(self) -> list[str]:
        """Both, headline first."""
        return [self.headline] + ([self.previous] if self.previous else [])


def applicable(
    con: duckdb.DuckDBPyConnection, as_of: datetime, family: Family = QUERIES
) -> Applicable | None:
    """Which taxonomies score a week, or None before the first fit."""
    row = one_row(
        con,
        f"SELECT taxonomy_id, fitted_at, (SELECT p.taxonomy_id FROM {family.taxonomies} p"
        " WHERE p.taxonomy_id = t.previous_taxonomy_id"
        " AND p.embedding_fingerprint = t.embedding_fingerprint) AS previous"
        f" FROM {family.taxonomies} t ORDER BY (fitted_at <= $1) DESC,"
        " CASE WHEN fitted_at <= $1 THEN fitted_at END DESC, fitted_at, created_at DESC LIMIT 1",
        [as_of],
    )
    if row is None:
        return None
    refit = row["fitted_at"] == as_of
    return Applicable(row["taxonomy_id"], row["previous"] if refit else None)


def age(con: duckdb.DuckDBPyConnection, as_of: datetime) -> timedelta | None:
    """How long before an instant its taxonomy was fitted, or None if it was fitted later."""
    (fitted_at,) = con.execute(
        "SELECT max(fitted_at) FROM taxonomies WHERE fitted_at <= ?", [as_of]
    ).fetchall()[0]
    return as_of - fitted_at if fitted_at else None


def newest_model(con: duckdb.DuckDBPyConnection) -> str | None:
    """Fingerprint of the embedding model behind the newest taxonomy of queries."""
    row = one_row(
        con,
        "SELECT embedding_fingerprint FROM taxonomies"
        " ORDER BY fitted_at DESC, created_at DESC LIMIT 1",
    )
    return row["embedding_fingerprint"] if row else None


def predecessor(
    con: duckdb.DuckDBPyConnection, fitted_at: datetime, family: Family = QUERIES
) -> str | None:
    """The newest taxonomy fitted before an instant."""
    row = one_row(
        con,
        f"SELECT taxonomy_id FROM {family.taxonomies} WHERE fitted_at < ?"
        " ORDER BY fitted_at DESC, created_at DESC LIMIT 1",
        [fitted_at],
    )
    return row["taxonomy_id"] if row else None


def creation(con: duckdb.DuckDBPyConnection, clock: datetime, family: Family = QUERIES) -> datetime:
    """`created_at` of the taxonomy that becomes the newest now, also after a clock was set back."""
    newest = con.execute(f"SELECT max(created_at) FROM {family.taxonomies}").fetchall()[0][0]
    return clock if newest is None else max(clock, newest + timedelta(microseconds=1))


def taxonomy_id(fitted_at: datetime, **inputs: Any) -> str:
    """Name of a fit: sorts by time, and the same inputs give the same name."""
    content = orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)
    return f"{fitted_at:%Y%m%d}-{hashlib.sha256(content).hexdigest()[:10]}"


def save(folder: Path, name: str, taxonomy: Taxonomy, space: SessionSpace | None = None) -> None:
    """Write a taxonomy, and the space of its sessions, unless it is there.

    Its folder appears whole or not at all.
    """
    arrays, meta = taxonomy.to_arrays()
    with unfinished(folder) as scratch:
        if is_intact(folder, name, with_space=space is not None):
            return
        new = scratch / name
        new.mkdir()
        np.savez(new / "arrays.npz", allow_pickle=False, **arrays)
        (new / "taxonomy.json").write_bytes(orjson.dumps(meta, option=orjson.OPT_INDENT_2))
        if space:
            arrays, meta_of_space = space.to_arrays()
            np.savez(new / "space.npz", allow_pickle=False, **arrays)
            (new / "space.json").write_bytes(orjson.dumps(meta_of_space))
        if (folder / name).exists():
            (folder / name).rename(scratch / "damaged")
        move(new, folder / name)
    load.cache_clear()
    load_space.cache_clear()


def is_intact(folder: Path, name: str, *, with_space: bool) -> bool:
    """Whether a taxonomy can be read now; `with_space`: and the space of its sessions."""
    try:
        load.__wrapped__(folder, name)
        if with_space:
            load_space.__wrapped__(folder, name)
    except BadInput:
        return False
    return True


@lru_cache(maxsize=4)
def load(folder: Path, name: str) -> Taxonomy:
    """Read a taxonomy.

    Raises:
        BadInput: its files are missing or damaged.
    """
    with _naming_damage(folder, name):
        return Taxonomy.from_arrays(*_read(folder / name, "arrays.npz", "taxonomy.json"))


@lru_cache(maxsize=4)
def load_space(folder: Path, name: str) -> SessionSpace:
    """Read the space of a session taxonomy.

    Raises:
        BadInput: its files are missing or damaged.
    """
    with _naming_damage(folder, name):
        return SessionSpace.from_arrays(*_read(folder / name, "space.npz", "space.json"))


def _read(folder: Path, arrays: str, meta: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with (folder / arrays).open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored), orjson.loads((folder / meta).read_bytes())


@contextmanager
def _naming_damage(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        window_ends_with = datetime.strptime(name[:8], "%Y%m%d") - timedelta(days=1)
        raise BadInput(
            what=f"taxonomy {name} cannot be read: {error}",
            where=str(folder / name),
            what_to_do="restore the folder from a backup, or fit its window again:"
            f" `evalcov run monthly --as-of {window_ends_with:%Y-%m-%d}`",
        ) from error
