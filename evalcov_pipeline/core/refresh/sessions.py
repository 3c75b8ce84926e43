"""Whole sessions of a refresh: which of them become cases of several turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.refresh.plan import Placement
from evalcov_pipeline.core.refresh.queries import unit_of_each
from evalcov_pipeline.core.sessions.ngrams import SEPARATOR, bracketed, joined, ngrams
from evalcov_pipeline.core.statistics.pps import inclusion_probabilities, systematic_draw
from evalcov_pipeline.core.statistics.shares import FloatArray
from evalcov_pipeline.core.statistics.similarity import Mask, Vectors
from evalcov_pipeline.core.traffic.turns import MOST_TURNS_BEFORE

_PICKS = {
    "session_hash": pl.String,
    "text_hash": pl.String,
    "cluster_id": pl.Int64,
    "pool": pl.String,
    "inclusion_probability": pl.Float64,
    "reason": pl.String,
}


@dataclass(frozen=True)
class SessionCandidates:
    """Sessions of production of which some may become cases.

    Attributes:
        rows: one row per distinct content: session_hash, cluster_id, text_hash (the query that it
            ends with; None where no text is left), user_id (None where unknown), n_turns,
            steady_weight, is_new (several turns, and no case has the same content: a single turn is
            a query) and weight (steady weight, 0 where not new).
        vectors: (n, d) L2-normalised.
        cases: (m, d) vectors of the active cases.
        paths: untested paths: label and production_share (of sessions).
        walks: (n, p) whether a session walks each of them as a case, see `walks`.
    """

    rows: pl.DataFrame
    vectors: Vectors
    cases: Vectors
    paths: pl.DataFrame
    walks: Mask

    def offered(self) -> pl.DataFrame:
        """cluster_id, texts (queries that new sessions end with) and weight, for `RefreshInputs`.

        A query can end one case of a plan only.
        """
        new = self.rows.filter("is_new")
        return (
            new.group_by("cluster_id")
            .agg(texts=pl.col("text_hash").n_unique(), weight=pl.sum("weight"))
            .sort("cluster_id")
        )


@dataclass(frozen=True)
class SessionDraw:
    """The plan's sessions.

    Attributes:
        picks: one row per pick, in order: session_hash, text_hash, cluster_id, pool (that of its
            unit, or random), inclusion_probability (None for purposive picks), reason.
        n_walked: untested paths that at least one pick walks.
        reasons: what could not be done as planned, one sentence each.
    """

    picks: pl.DataFrame
    n_walked: int
    reasons: tuple[str, ...]


def find_sessions(
    sessions: pl.DataFrame,
    vectors: Vectors,
    case_hashes: Sequence[str],
    cases: Vectors,
    paths: pl.DataFrame,
    walked: Mask,
) -> SessionCandidates:
    """Tell the sessions that would be new in the suite from single turns and what a case repeats.

    Args:
        sessions: one row per distinct content, see `SessionCandidates.rows`, less is_new and
            weight.
        vectors: (n, d) L2-normalised, in the order of `sessions`.
        case_hashes: content of the active cases.
        cases: (m, d) vectors of these.
        paths: untested paths, label and production_share.
        walked: (n, p) from `walks`.

    Returns:
        The candidates, whatever the order of the rows.

    Raises:
        ValueError: shapes that disagree.
    """
    if len(vectors) != len(sessions) or walked.shape != (len(sessions), len(paths)):
        raise ValueError(
            f"{len(sessions)} sessions and {len(paths)} paths need vectors and walks that match,"
            f" got {vectors.shape} and {walked.shape}"
        )
    order = sessions["session_hash"].arg_sort().to_numpy()
    rows = sessions[order].with_columns(
        is_new=pl.col("text_hash").is_not_null()
        & (pl.col("n_turns") > 1)
        & ~pl.col("session_hash").is_in(list(case_hashes))
        & (pl.col("steady_weight") > 0)
    )
    return SessionCandidates(
        rows=rows.with_columns(weight=pl.when("is_new").then("steady_weight").otherwise(0.0)),
        vectors=np.asarray(vectors, np.float32)[order],
        cases=np.asarray(cases, np.float32),
        paths=paths,
        walks=walked[order],
    )


def walks(sessions: Sequence[Sequence[str]], paths: Sequence[str]) -> Mask:
    """Which sessions walk which paths at least once.

    Args:
        sessions: (n,) steps of each session in order, without start and end.
        paths: (p,) as `ngrams.joined` writes them, with start and end where they are part.

    Returns:
        (n, p) mask.
    """
    steps, owner, symbols = bracketed(sessions)
    place = {ngram: column for column, ngram in enumerate(paths)}
    walked = np.zeros((len(sessions), len(paths)), bool)
    for length in {len(path.split(SEPARATOR)) for path in paths}:
        if length <= len(steps):
            grams, codes, walker = ngrams(steps, owner, length)
            names = [joined([symbols[step] for step in gram]) for gram in grams.tolist()]
            column = np.array([place.get(name, -1) for name in names], np.int64)[codes]
            walked[walker[column >= 0], column[column >= 0]] = True
    return walked


def draw_sessions(
    plan: Placement,
    candidates: SessionCandidates,
    *,
    keep_rate: float,
    per_user: int | None,
    rng: np.random.Generator,
) -> SessionDraw:
    """Choose the plan's sessions.

    The random share comes first: a systematic draw over the queries that new sessions end with,
    ordered by cluster, with probability proportional to the weight of these sessions, of which one
    is drawn by weight. Then, while a path is left that neither a case nor a pick walks, each
    purposive case goes to the session that adds most to the share of sessions whose path is tested:
    a path counts by its share times the chance that reviewers reject every earlier pick that walks
    it. It is taken from a unit that still lacks cases if that costs nothing. The others go by the
    plan, unit by unit. Of equals the most typical session is taken: the one most like the sessions
    of its unit, each of these counted by how unlike every case so far it is. The limit per user
    holds for purposive picks only.

    Args:
        plan: from `place_cases`, for what these candidates offer.
        candidates: from `find_sessions`.
        keep_rate: share of the cases that reviewers are expected to keep.
        per_user: most purposive cases from one user; None for no limit.
        rng: source of the random share.

    Returns:
        The picks and what could not be done.

    Raises:
        ValueError: a cluster outside the plan.
    """
    drawing = _Drawing(plan, candidates, 1.0 - keep_rate, per_user)
    for session, probability in _random_share(candidates.rows, plan.n_random, rng):
        drawing.take(session, probability)
    drawing.fill(plan.units["cases"].to_numpy().copy())
    picks = pl.DataFrame(drawing.picks, schema=_PICKS, orient="row")
    return SessionDraw(picks, int((drawing.walked > 0).sum()), tuple(drawing.reasons))


def _random_share(rows: pl.DataFrame, n: int, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Sessions drawn at random, and the probability of each.

    Of the sessions that end with the same query one can be drawn: it is the chosen one of them with
    probability by weight, whatever the draw, so the probabilities multiply.
    """
    new = rows.with_row_index("place").filter("is_new")
    ends = (
        new.with_columns(wait=rng.exponential(size=len(new)) / new["weight"].to_numpy())
        .sort("wait")  # of several waits, each is the shortest with probability by weight
        .group_by("text_hash", maintain_order=True)
        .agg(pl.first("place", "cluster_id"), total=pl.sum("weight"), own=pl.first("weight"))
        .sort("text_hash")
    )
    if not n or ends.is_empty():
        return []
    chance = inclusion_probabilities(ends["total"].to_numpy(), n)
    order = np.lexsort((rng.permutation(len(ends)), ends["cluster_id"].to_numpy()))
    drawn = systematic_draw(chance, order, rng)
    own = (ends["own"] / ends["total"]).to_numpy()
    return [(int(ends["place"][int(i)]), float(chance[i] * own[i])) for i in drawn]


class _Drawing:
    """A draw under way: the picks so far, and which sessions are still open."""

    def __init__(
        self, plan: Placement, candidates: SessionCandidates, doubt: float, per_user: int | None
    ) -> None:
        self.rows = candidates.rows
        self.units = plan.units
        self.unit = unit_of_each(self.rows, plan.units)
        self.open: Mask = self.rows["is_new"].to_numpy().copy()
        self.paths = candidates.paths
        self.walks = candidates.walks
        self.doubt = doubt
        self.per_user = per_user
        self.walked = np.zeros(len(self.paths), np.int64)
        self.of_user: Counter[str] = Counter()
        self.vectors = candidates.vectors
        self.likeness: FloatArray = np.zeros(len(self.rows))
        if len(candidates.cases):
            self.likeness = (self.vectors @ candidates.cases.T).max(axis=1).astype(np.float64)
        self.picks: list[tuple[object, ...]] = []
        self.reasons: list[str] = []

    @property
    def worth(self) -> FloatArray:
        """(p,) share of each path, times the chance that it is still untested after review."""
        worth: FloatArray = self.paths["production_share"].to_numpy() * self.doubt**self.walked
        return worth

    def take(self, session: int, probability: float | None = None) -> None:
        """Make a session a pick; `probability` if it was drawn at random."""
        row = self.rows.row(session, named=True)
        unit = self.units.row(int(self.unit[session]), named=True)
        worth = self.worth * self.walks[session]
        path = None
        if len(worth) and worth.max() > 0:
            path = self.paths.row(int(worth.argmax()), named=True)
        self.picks.append(
            (
                row["session_hash"], row["text_hash"], row["cluster_id"],
                unit["pool"] if probability is None else "random", probability,
                _reason(unit, row, path, probability),
            )
        )  # fmt: skip
        self.walked += self.walks[session]
        self.likeness = np.maximum(self.likeness, self.vectors @ self.vectors[session])
        self.open &= (self.rows["text_hash"] != row["text_hash"]).fill_null(False).to_numpy()
        if row["user_id"] is not None:
            self.of_user[row["user_id"]] += 1

    def fill(self, quota: NDArray[np.int64]) -> None:
        """Take as many sessions as the units' quotas are together."""
        if self.per_user is not None:
            full = [user for user, picked in self.of_user.items() if picked >= self.per_user]
            self._close_users(full)
        planned = int(quota.sum())
        for taken in range(planned):
            session = self._best(quota[self.unit] > 0)
            if session is None:
                self.reasons.append(
                    f"{planned - taken} planned sessions could not be drawn: none is left that is"
                    " new, ends with a query of its own and keeps the limit per user."
                )
                break
            self.take(session)
            quota[self.unit[session]] = max(0, quota[self.unit[session]] - 1)
            user = self.rows["user_id"][session]
            if self.per_user is not None and self.of_user[user] >= self.per_user:
                self._close_users([user])

    def _close_users(self, users: Sequence[str]) -> None:
        self.open &= ~self.rows["user_id"].is_in(list(users)).fill_null(False).to_numpy()

    def _best(self, lacking: Mask) -> int | None:
        """The open session that is worth most, where units still lack cases as far as it goes."""
        fresh = self.walks @ (self.walked == 0) > 0
        for able in (self.open & fresh, self.open & lacking, self.open):
            if able.any():
                break
        else:
            return None
        gain = np.where(able, self.walks @ self.worth, -1.0)
        best = able & (gain >= gain.max() * (1 - 1e-9))
        equals = np.flatnonzero(best & lacking if (best & lacking).any() else best)
        return int(equals[self._typical(equals).argmax()])

    def _typical(self, sessions: NDArray[np.intp]) -> FloatArray:
        """(s,) likeness of sessions to those of their unit that are unlike every case so far."""
        weight = self.rows["steady_weight"].to_numpy() * np.clip(1 - self.likeness, 0, None)
        typical = np.zeros(len(sessions))
        for unit in np.unique(self.unit[sessions]):
            here = self.unit == unit
            centre = weight[here] @ self.vectors[here]
            mine = self.unit[sessions] == unit
            typical[mine] = self.vectors[sessions[mine]] @ centre
        return typical


def _reason(
    unit: dict[str, object],
    row: dict[str, object],
    path: dict[str, object] | None,
    probability: float | None,
) -> str:
    """Why a session was picked, in plain words."""
    share = f"{unit['production_share']:.1%} of sessions"
    if probability is not None:
        why = f"a whole session, drawn at random from all new ones, at {probability:.2%}"
    elif path is not None:
        why = f"{path['production_share']:.1%} of sessions go {path['label']}, which no case walks"
    elif unit["pool"] == "cluster":
        cases = "1 case" if unit["eval_cases"] == 1 else f"{unit['eval_cases'] or 'no'} cases"
        why = f"sessions like this are under-covered ({unit['status']}): {cases} for {share}"
        why += f" ({unit['label']})"
    elif unit["pool"] == "edge":
        why = f"a rare kind of session: one of the small clusters that are {share} together"
    elif unit["pool"] == "novel":
        why = f"a novel kind of session: outside every cluster, as {share}"
    else:
        why = f"sessions like this are covered, and kept at their share: {share} ({unit['label']})"
    turns = row["n_turns"]
    assert isinstance(turns, int)
    if turns > MOST_TURNS_BEFORE + 1:
        why += f"; of its {turns} turns the last {MOST_TURNS_BEFORE + 1} are shown"
    return why
