"""The registry of texts: nothing that a user wrote enters the warehouse before redaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import duckdb
import polars as pl

from evalcov_pipeline.core.text.normalise import normalise_all, text_hashes
from evalcov_pipeline.core.text.redaction import Redactor
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.settings import RedactionSettings
from evalcov_pipeline.storage.warehouse import Columns, frame

_SCHEMA: Columns = {"text_hash": pl.String, "text": pl.String, "first_seen_at": pl.Datetime("us")}
_REFERRING = {
    "trace_sample": "text_hash",
    "eval_case_versions": "unnest(text_hashes)",
    "failure_signals": "text_hash",
    "failure_picks": "text_hash",
    "annotation_queue": "text_hash",
}
"""Tables that refer to texts, and how."""


def redactor(settings: RedactionSettings) -> Callable[[Sequence[str]], list[str]]:
    """What takes personal data out of texts.

    Raises:
        BadInput: a pattern or a callable of the settings cannot be used; the callable, also when
            it is used.
    """
    with _settings_blamed():
        redact_all = Redactor(
            settings.patterns,
            settings.function,
            names=settings.names,
            default_region=settings.default_region,
        ).redact_all

    def blaming(texts: Sequence[str]) -> list[str]:
        with _settings_blamed():
            return redact_all(texts)

    return blaming


@contextmanager
def _settings_blamed() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadInput(
            what=str(error),
            where="settings redaction.patterns, redaction.function, redaction.default_region",
            what_to_do="correct them in evalcov.toml",
        ) from error


def redacted(texts: pl.Series, redact_all: Callable[[Sequence[str]], list[str]]) -> pl.DataFrame:
    """Normalise, redact and name texts, each distinct one once.

    Args:
        texts: (n,) raw texts; null and blank ones stay without a hash.
        redact_all: takes personal data out of texts.

    Returns:
        raw, text (redacted) and text_hash: one row per distinct raw text.
    """
    raw = texts.drop_nulls().unique().sort()
    spelled = normalise_all(raw).to_list()
    frame = pl.DataFrame({"raw": raw, "text": pl.Series(redact_all(spelled), dtype=pl.String)})
    return frame.with_columns(
        text_hash=pl.when(pl.col("text").str.strip_chars() != "").then(text_hashes(frame["text"]))
    )


def add_texts(con: duckdb.DuckDBPyConnection, texts: pl.DataFrame) -> None:
    """Register redacted texts (text_hash, text and, if known, first_seen_at).

    The earliest sighting is kept.
    """
    if "first_seen_at" not in texts.columns:
        texts = texts.with_columns(first_seen_at=pl.lit(None, pl.Datetime("us")))
    texts = (
        texts.drop_nulls("text_hash")
        .group_by("text_hash")
        .agg(pl.min("text"), pl.min("first_seen_at"))
        .sort("text_hash")
        .cast(pl.Schema(_SCHEMA))
    )
    con.register("incoming", texts.to_arrow())
    con.execute(
        "INSERT INTO texts BY NAME SELECT * FROM incoming ON CONFLICT (text_hash) DO UPDATE SET"
        " first_seen_at = least(texts.first_seen_at, excluded.first_seen_at)"
    )
    con.unregister("incoming")


def week_texts(con: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """text_hash and text of a week's sampled turns and of every user message of every eval case."""
    return frame(
        con,
        "SELECT text_hash, text FROM texts WHERE text_hash IN ("
        "SELECT text_hash FROM trace_sample WHERE as_of = ? UNION ALL"
        " SELECT unnest(text_hashes) FROM eval_case_versions) ORDER BY text_hash",
        [as_of],
    )


def forget_unused_texts(con: duckdb.DuckDBPyConnection) -> None:
    """Delete texts that no sample, eval case, failure signal, pick or task refers to any more."""
    used = " UNION ALL ".join(f"SELECT {of} AS text_hash FROM {t}" for t, of in _REFERRING.items())
    con.execute(
        f"DELETE FROM texts WHERE NOT EXISTS (SELECT 1 FROM ({used}) u"
        " WHERE u.text_hash = texts.text_hash)"
    )
