"""Whole sessions of a refresh: what they are planned from, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import duckdb
import numpy as np
import polars as pl

from evalcov_pipeline.core.coverage.score import QueryScore, SessionScore
from evalcov_pipeline.core.coverage.week import session_weights
from evalcov_pipeline.core.refresh.plan import (
    UNDER_COVERED,
    Placement,
    RefreshInputs,
    RefreshRules,
    place_cases,
    project,
)
from evalcov_pipeline.core.refresh.sessions import (
    SessionCandidates,
    draw_sessions,
    find_sessions,
    walks,
)
from evalcov_pipeline.core.sessions.space import session_vectors
from evalcov_pipeline.core.statistics.shares import production_shares
from evalcov_pipeline.core.statistics.similarity import Mask
from evalcov_pipeline.core.traffic.turns import MOST_TURNS_BEFORE, SESSION
from evalcov_pipeline.services.coverage.scores import headline_score
from evalcov_pipeline.services.refresh.candidates import last_turns
from evalcov_pipeline.services.sessions.features import (
    WeekSessions,
    read_sessions,
    week_sessions,
    with_case_keys,
)
from evalcov_pipeline.services.sessions.taxonomy import clusters_of
from evalcov_pipeline.services.taxonomy import taxonomies
from evalcov_pipeline.services.taxonomy.assignments import keys_of_texts
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.vectors import VectorCache
from evalcov_pipeline.storage.warehouse import frame

_NONE = {name: pl.lit(None, pl.String) for name in ("session_cluster_key", "outcome")}


@dataclass(frozen=True)
class SessionsOfWeek:
    """What whole sessions are planned from.

    Attributes:
        score: of the week's sessions.
        inputs: coverage of the session clusters, production, and what traffic offers.
        candidates: sessions that may be drawn, with source, session_id and outcome.
        uncovered: whether a cluster or a path of sessions lacks cases.
    """

    score: SessionScore
    inputs: RefreshInputs
    candidates: SessionCandidates
    uncovered: bool


@dataclass(frozen=True)
class DrawnSessions:
    """Sessions of a plan.

    Attributes:
        rows: one row per session in order of the draw: columns of `asked_turns` of its last turn
            with a text, category, unit, pool, inclusion_probability, reason, session_cluster_key
            and outcome (None where unknown); steady_weight is the session's.
        placement: over the units of session clusters; None where none are drawn.
        notes: what is to be said of them.
    """

    rows: pl.DataFrame
    placement: Placement | None = None
    notes: tuple[str, ...] = ()


def sessions_of_week(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    score: QueryScore,
    turns: pl.DataFrame,
) -> SessionsOfWeek | None:
    """Read what the sessions of a scored week are planned from.

    Args:
        con: a reading connection.
        settings: policies.
        cache: vectors of the texts.
        score: the score that is answered.
        turns: from `asked_turns`, with `category`.

    Returns:
        None where the week has no score of sessions.
    """
    as_of = score.as_of
    session_score = headline_score(con, SessionScore, as_of)
    week = read_sessions(con, cache, as_of) if session_score else None
    if session_score is None or week is None:
        return None
    taxonomy_id = session_score.taxonomy_id
    clusters = frame(
        con,
        "SELECT cluster_id, cluster_key, label, status, stale FROM session_coverage"
        " WHERE as_of = ? AND taxonomy_id = ? ORDER BY cluster_id = -1, cluster_id",
        [as_of, taxonomy_id],
    )
    active = frame(con, "SELECT case_id, designed FROM eval_cases WHERE status = 'active'")
    cases = week.cases.join(active, on="case_id", how="inner", maintain_order="left")
    paths = frame(
        con,
        "SELECT kind, ngram, label, production_share FROM sequence_coverage"
        " WHERE as_of = ? AND status = 'gap' AND minimal AND (kind != 'queries' OR length > 1)"
        " ORDER BY production_share DESC, kind, ngram",
        [as_of],
    )
    space = taxonomies.load_space(settings.taxonomies, taxonomy_id)
    sessions = _placed(settings, week, week.sessions, taxonomy_id)
    cases = _placed(settings, week, cases, taxonomy_id)
    distinct = _distinct(sessions, turns)
    candidates = find_sessions(
        distinct,
        session_vectors(space, distinct, week.queries(distinct)),
        cases["session_hash"].to_list(),
        session_vectors(space, cases, week.queries(cases)),
        paths,
        _walks(con, score.taxonomy_id, distinct, paths),
    )
    counts = cases.group_by("cluster_id").agg(eval_cases=pl.len(), designed=pl.sum("designed"))
    clusters = (
        clusters.join(counts, on="cluster_id", how="left", maintain_order="left")
        .join(candidates.offered(), on="cluster_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("eval_cases", "designed", "texts").fill_null(0).cast(pl.Int64),
            pl.col("weight").fill_null(0.0),
        )
    )
    column = {cluster: index for index, cluster in enumerate(clusters["cluster_id"])}
    steady, strata = session_weights(sessions, column)
    rng = np.random.default_rng([settings.coverage.seed, as_of.toordinal()])
    lacking = clusters["status"].is_in(list(UNDER_COVERED)).any() or len(paths) > 0
    return SessionsOfWeek(
        session_score,
        RefreshInputs(
            clusters, production_shares(steady, strata, rng, settings.coverage.resamples)
        ),
        candidates,
        uncovered=bool(lacking),
    )


def draw_whole_sessions(
    week: SessionsOfWeek | None,
    settings: Settings,
    budget: int,
    rules: RefreshRules,
    turns: pl.DataFrame,
    rng: np.random.Generator,
) -> DrawnSessions:
    """Draw the share of a budget that goes to whole sessions; none where all are covered.

    Args:
        week: from `sessions_of_week`.
        settings: the share, and the limit per user.
        budget: cases asked for in all.
        rules: as for queries.
        turns: from `asked_turns`, with `category`.
        rng: source of the random share.
    """
    offered = int(week.inputs.clusters["texts"].sum()) if week and week.uncovered else 0
    wanted = min(round(settings.refresh.session_share * budget), budget - 1, offered)
    if week is None or wanted < 1:
        return DrawnSessions(turns.clear().with_columns(**_NONE))
    placement = place_cases(week.inputs, wanted, rules)
    draw = draw_sessions(
        placement,
        week.candidates,
        keep_rate=rules.keep_rate,
        per_user=settings.refresh.per_user,
        rng=rng,
    )
    n_paths = week.candidates.paths.height
    walked = f"; they walk {draw.n_walked} of the {n_paths} untested paths" if n_paths else ""
    note = f"{draw.picks.height} of {budget} cases are whole sessions{walked}."
    reasons = (f"Of sessions: {reason}" for reason in (*placement.reasons, *draw.reasons))
    keys = week.inputs.clusters.select("cluster_id", session_cluster_key="cluster_key")
    rows = (
        draw.picks.join(keys, on="cluster_id", how="left", maintain_order="left")
        .drop("cluster_id", "text_hash")
        .join(week.candidates.rows, on="session_hash", how="left", maintain_order="left")
        .select(
            *SESSION, "pool", "inclusion_probability", "reason", "session_cluster_key",
            "steady_weight",
            unit=pl.lit("session"),
            outcome=pl.when(pl.col("outcome") != "unknown").then("outcome"),
        )
        .join(last_turns(turns).drop("steady_weight"), on=SESSION, how="left",
              maintain_order="left")
    )  # fmt: skip
    return DrawnSessions(rows, placement, (note, *reasons))


def projected_session_jsd(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    cache: VectorCache,
    week: SessionsOfWeek,
    query_taxonomy: str,
    written: pl.DataFrame,
    rules: RefreshRules,
    rng: np.random.Generator,
) -> float | None:
    """`jsd_adjusted` of sessions that is expected once the plan's cases are in.

    Each case goes through the same code as it will once it is in the suite, queries and sessions
    alike, so that its session cluster is known and not guessed.

    Args:
        con: a reading connection.
        settings: policies.
        cache: vectors of the texts.
        week: from `sessions_of_week`.
        query_taxonomy: taxonomy of the queries.
        written: case_id, input, text_hashes, expected_tools and outcome of the cases to be.
        rules: the expected keep rate.
        rng: source of the reviews.
    """
    cases = with_case_keys(written)
    new = week_sessions(con, settings, cache, week.score.as_of, query_taxonomy, cases)
    assert new is not None  # the week has a score, so it has sessions
    cluster_ids = pl.Series(
        clusters_of(settings, new, new.cases, week.score.taxonomy_id).cluster_id
    )
    coming = [int((cluster_ids == cluster).sum()) for cluster in week.inputs.clusters["cluster_id"]]
    inputs = replace(week.inputs, coming=np.array(coming, np.int64))
    return project(inputs, (), 0, rules, rng)


def _placed(
    settings: Settings, week: WeekSessions, rows: pl.DataFrame, taxonomy_id: str
) -> pl.DataFrame:
    assigned = clusters_of(settings, week, rows, taxonomy_id)
    return rows.with_columns(cluster_id=pl.Series(assigned.cluster_id))


def _distinct(sessions: pl.DataFrame, turns: pl.DataFrame) -> pl.DataFrame:
    """Distinct contents with their weight, each with its newest session and what this ends with."""
    ends = last_turns(turns).select(*SESSION, "text_hash", "user_id")
    newest = sessions.sort("started_at", *SESSION, descending=True, nulls_last=True)
    return (
        newest.join(ends, on=SESSION, how="left", maintain_order="left")
        .group_by("session_hash", maintain_order=True)
        .agg(pl.all().exclude("steady_weight").first(), pl.sum("steady_weight"))
        .sort("session_hash")
    )


def _walks(
    con: duckdb.DuckDBPyConnection,
    query_taxonomy: str,
    sessions: pl.DataFrame,
    paths: pl.DataFrame,
) -> Mask:
    """(n, p) whether sessions walk paths as cases.

    A long session is cut, and what tools it called in its last turns is not known here.
    """
    clusters = keys_of_texts(con, query_taxonomy)
    keys = dict(clusters.select("text_hash", "cluster_key").iter_rows())
    shown = MOST_TURNS_BEFORE + 1
    key_rows = [
        [keys[t] for t in hashes[-shown:] if t in keys] for hashes in sessions["text_hashes"]
    ]
    walked = np.zeros((len(sessions), len(paths)), bool)
    is_cut = (sessions["n_turns"] > shown).to_numpy()
    for kind, steps in (("queries", key_rows), ("tools", sessions["tools"].to_list())):
        own = (paths["kind"] == kind).to_numpy()
        walked[:, own] = walks(steps, paths["ngram"].filter(pl.Series(own)).to_list())
    walked[np.ix_(is_cut, (paths["kind"] == "tools").to_numpy())] = False
    return walked
