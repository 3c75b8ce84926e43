"""The score of whole sessions in a week: clusters, paths and compounding, computed and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.coverage.score import SessionScore
from evalcov_pipeline.core.coverage.week import score_week
from evalcov_pipeline.core.sessions.compounding import compounding
from evalcov_pipeline.core.sessions.paths import path_coverage
from evalcov_pipeline.core.sessions.sequences import SequenceFigures, SequenceRow, sequence_score
from evalcov_pipeline.core.sessions.traits import trait_coverage
from evalcov_pipeline.services.coverage.scores import score_rows
from evalcov_pipeline.services.coverage.week import ScoredWeek, week_inputs, week_rules
from evalcov_pipeline.services.evals.suite import active_at
from evalcov_pipeline.services.labels.merging import record_after
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.taxonomy.assignments import keys_of_texts
from evalcov_pipeline.services.taxonomy.taxonomies import SESSIONS
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Warehouse, frame, one_row, replace_slice

TABLES = (
    "session_scores", "session_coverage", "session_traits", "sequence_scores",
    "sequence_coverage", "session_compounding",
)  # fmt: skip
"""Tables of a week's session score."""
LENGTH = 2
"""Steps of the n-grams whose divergence is the sequence score: transitions."""


@dataclass(frozen=True)
class SessionReport(ScoredWeek[SessionScore]):
    """Rows that a week has in `TABLES`."""

    traits: pl.DataFrame
    sequences: Sequence[SequenceRow]
    paths: pl.DataFrame
    compounding: pl.DataFrame


def session_report(
    con: duckdb.DuckDBPyConnection, settings: Settings, as_of: datetime
) -> SessionReport | None:
    """Score the sessions of one week under every session taxonomy that applies to it.

    Args:
        con: a reading connection.
        settings: thresholds.
        as_of: exclusive end of the week; its features and assignments are written.

    Returns:
        Its rows; None for a week without sampled sessions or before any session taxonomy.
    """
    used = taxonomies.applicable(con, as_of, SESSIONS)
    sessions = frame(
        con, "SELECT * FROM session_features WHERE as_of = ? ORDER BY source, session_id", [as_of]
    )
    if used is None or sessions.is_empty():
        return None
    cases = frame(
        con,
        "SELECT f.*, designed, effective_at FROM case_features f JOIN eval_case_versions"
        f" USING (case_id) WHERE as_of = $1 AND {active_at('$1')} ORDER BY case_id",
        [as_of],
    )
    scores: list[SessionScore] = []
    clusters: list[pl.DataFrame] = []
    for name in reversed(used.ids):
        placed = _assigned(con, as_of, name, sessions)
        inputs = week_inputs(
            con,
            SESSIONS,
            as_of,
            name,
            placed.select(
                "source", "session_id", "stratum", "traffic_weight", "steady_weight", "cluster_id",
                text_hash="session_hash",
            ),
            _assigned(con, as_of, name, cases).select(
                "case_id", "cluster_id", "designed", "effective_at"
            ),
            headline=name == used.headline,
            window_days=settings.sampling.window_days,
            refit_shift_from=scores[0].jsd_adjusted if scores else None,
        )  # fmt: skip
        week = score_week(inputs, week_rules(settings, units="sessions"))
        scores.append(
            SessionScore(
                **vars(week.score),
                n_multi_turn=cases.filter(pl.col("n_turns") > 1).height,
                notes=_notes(con, name, sessions, cases),
            )
        )
        clusters.append(
            week.clusters.join(
                _outcomes(placed), on="cluster_id", how="left", maintain_order="left"
            ).with_columns(taxonomy_id=pl.lit(name))
        )
    placed = _assigned(con, as_of, used.headline, sessions)
    sequences, paths = _sequences(con, settings, as_of, sessions, cases)
    return SessionReport(
        scores[::-1],
        pl.concat(clusters[::-1], how="diagonal"),
        _traits(con, settings, as_of, used.headline, sessions, cases),
        sequences,
        paths,
        _compounding(settings, as_of, placed, clusters[-1]),
    )


def write_session_report(
    warehouse: Warehouse, as_of: datetime, report: SessionReport | None
) -> None:
    """Replace a week's rows of `TABLES`; without a report they are deleted."""
    none = pl.DataFrame()
    rows = dict.fromkeys(TABLES, none)
    if report:
        scores = score_rows(report.scores)
        sequences = pl.DataFrame(list(map(asdict, report.sequences)), infer_schema_length=None)
        frames = (
            scores, report.clusters, report.traits, sequences, report.paths, report.compounding,
        )  # fmt: skip
        rows = dict(zip(TABLES, frames, strict=True))
    stamp = pl.lit(as_of, pl.Datetime("us")).alias("as_of")
    with warehouse.writer() as con:
        for table, table_rows in rows.items():
            replace_slice(
                con,
                table,
                table_rows.with_columns(stamp) if len(table_rows) else table_rows,
                as_of=as_of,
            )
        if report:
            record_after(con, as_of, report.headline.jsd_adjusted, of_sessions=True)


def _assigned(
    con: duckdb.DuckDBPyConnection, as_of: datetime, taxonomy_id: str, rows: pl.DataFrame
) -> pl.DataFrame:
    """Sessions or cases with their clusters under a session taxonomy."""
    assigned = frame(
        con,
        "SELECT session_hash, cluster_id FROM session_assignments"
        " WHERE as_of = ? AND taxonomy_id = ?",
        [as_of, taxonomy_id],
    )
    return rows.join(assigned, on="session_hash", how="left", maintain_order="left").with_columns(
        pl.col("cluster_id").fill_null(-1)
    )


def _notes(
    con: duckdb.DuckDBPyConnection, taxonomy_id: str, sessions: pl.DataFrame, cases: pl.DataFrame
) -> list[str]:
    """What the comparison leaves out, or rests on."""
    row = one_row(con, "SELECT note FROM session_taxonomies WHERE taxonomy_id = ?", [taxonomy_id])
    notes = [row["note"]] if row and row["note"] else []
    if sessions["n_turns"].max() == 1:
        notes.append(
            "Every session of production has one turn; a trace without session id is its own."
        )
    if sessions["n_tool_calls"].sum() == 0:
        notes.append("No session of production has a tool call: tools are not compared.")
    else:
        guessed = cases.filter(~pl.col("tools_known")).height
        if guessed:
            notes.append(
                f"{guessed} of {len(cases)} cases do not say which tools their answers call: these"
                " are taken from the most similar production turns."
            )
    return notes


def _traits(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    as_of: datetime,
    taxonomy_id: str,
    sessions: pl.DataFrame,
    cases: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of `session_traits`; outcomes where the taxonomy compares them too."""
    row = one_row(
        con, "SELECT with_outcome FROM session_taxonomies WHERE taxonomy_id = ?", [taxonomy_id]
    )
    return trait_coverage(
        sessions,
        sessions["steady_weight"].to_numpy(),
        sessions["stratum"].to_numpy(),
        cases,
        np.random.default_rng([settings.coverage.seed, as_of.toordinal()]),
        with_outcome=bool(row and row["with_outcome"]),
        resamples=settings.coverage.resamples,
    )


def _outcomes(sessions: pl.DataFrame) -> pl.DataFrame:
    """cluster_id, success_rate, abandoned_rate and mean_turns, weighted like steady traffic."""
    weight = pl.col("steady_weight")
    known = pl.col("outcome") != "unknown"
    total = (weight * known).sum()

    def rate(outcome: str) -> pl.Expr:
        return pl.when(total > 0).then((weight * (pl.col("outcome") == outcome)).sum() / total)

    return sessions.group_by("cluster_id").agg(
        success_rate=rate("success"),
        abandoned_rate=rate("abandoned"),
        mean_turns=(weight * pl.col("n_turns")).sum() / weight.sum(),
    )


def _sequences(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    as_of: datetime,
    sessions: pl.DataFrame,
    cases: pl.DataFrame,
) -> tuple[list[SequenceRow], pl.DataFrame]:
    """Rows of `sequence_scores` and `sequence_coverage`."""
    queries = taxonomies.applicable(con, as_of)
    assert queries is not None  # sessions are compared under clusters of queries
    clusters = keys_of_texts(con, queries.headline)
    keys = dict(clusters.select("text_hash", "cluster_key").iter_rows())
    labels = dict(clusters.drop_nulls("label").select("cluster_key", "label").iter_rows())

    def asked(rows: pl.DataFrame) -> list[list[str]]:
        return [[keys[name] for name in names if name in keys] for names in rows["text_hashes"]]

    weights, strata = sessions["steady_weight"].to_numpy(), sessions["stratum"].to_numpy()
    scores, paths = [], []
    kinds: list[tuple[str, str | None, list[list[str]], list[list[str]]]] = [
        ("queries", queries.headline, asked(sessions), asked(cases))
    ]
    if sessions["n_tool_calls"].sum():
        kinds.append(("tools", None, sessions["tools"].to_list(), cases["tools"].to_list()))
    for kind, taxonomy_id, walked, covered in kinds:
        rng = np.random.default_rng([settings.coverage.seed, as_of.toordinal()])
        score = sequence_score(
            walked, weights, strata, covered, cases["designed"].to_numpy(), rng,
            length=LENGTH, resamples=settings.coverage.resamples,
        )  # fmt: skip
        paths_walked = path_coverage(
            walked, weights, strata, covered, rng, resamples=settings.coverage.resamples
        )
        scores.append(
            SequenceRow(
                **{field.name: getattr(score, field.name) for field in fields(SequenceFigures)},
                as_of=as_of,
                kind=kind,
                taxonomy_id=taxonomy_id,
                untested_share=paths_walked.untested_share,
            )
        )
        names = labels if kind == "queries" else {}
        paths.append(
            paths_walked.paths.join(
                score.contributions, on="ngram", how="left", maintain_order="left"
            )
            .with_columns(
                kind=pl.lit(kind),
                label=pl.Series(
                    [_in_words(steps, names) for steps in paths_walked.paths["symbols"]],
                    dtype=pl.String,
                ),
            )
            .drop("symbols")
        )
    return scores, pl.concat(paths)


def _in_words(steps: Sequence[str], labels: dict[str, str]) -> str:
    ends = {"^": "start", "$": "end"}
    return " → ".join(ends.get(step) or labels.get(step, step) for step in steps)


def _compounding(
    settings: Settings, as_of: datetime, sessions: pl.DataFrame, clusters: pl.DataFrame
) -> pl.DataFrame:
    rng = np.random.default_rng([settings.coverage.seed, as_of.toordinal()])
    named = sessions.join(
        clusters.select("cluster_id", "cluster_key", "label"),
        on="cluster_id",
        maintain_order="left",
    )
    return compounding(named, rng, settings.coverage.resamples)
