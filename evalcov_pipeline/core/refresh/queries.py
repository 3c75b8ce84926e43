"""Refresh draw: which production texts become the plan's cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalcov_pipeline.core.coverage.cells import PARTITIONS, centred, in_cells, random_partitions
from evalcov_pipeline.core.coverage.divergence import contributions
from evalcov_pipeline.core.refresh.candidates import Candidates
from evalcov_pipeline.core.refresh.plan import RefreshPlan
from evalcov_pipeline.core.statistics.pps import inclusion_probabilities, systematic_draw
from evalcov_pipeline.core.statistics.quotas import Floor
from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray
from evalcov_pipeline.core.statistics.similarity import Mask

CELLS = (30, 300)
"""Cells of the coarsest and of the finest partition over which picks are spread."""
SIGNAL_BONUS = 1.0
"""What a failure signal of 1 is worth, in standard deviations of the texts' values."""
_PICKS = {
    "text_hash": pl.String,
    "cluster_id": pl.Int64,
    "unit": pl.String,
    "pool": pl.String,
    "inclusion_probability": pl.Float64,
    "reason": pl.String,
    "spare": pl.Boolean,
}


@dataclass(frozen=True)
class DrawRules:
    """What a draw must honour besides the plan.

    Attributes:
        floors: met first, out of the plan's units as far as they hold such texts.
        per_session: most purposive cases from one session; None for no limit.
        per_user: most from one user; texts without a user are not limited.
        spare_share: spare picks per planned one, for cases that reviewers reject.
    """

    floors: tuple[Floor, ...] = ()
    per_session: int | None = None
    per_user: int | None = None
    spare_share: float = 0.5


@dataclass(frozen=True)
class DrawnQueries:
    """The plan's cases.

    Attributes:
        picks: one row per pick, best first, spares last: text_hash, cluster_id, unit, pool (that
            of the unit, or random), inclusion_probability (None for purposive picks), reason,
            spare.
        reasons: what could not be done as planned, one sentence each.
    """

    picks: pl.DataFrame
    reasons: tuple[str, ...]


def draw_cases(
    plan: RefreshPlan,
    candidates: Candidates,
    rules: DrawRules,
    rng: np.random.Generator,
    earlier: pl.DataFrame | None = None,
) -> DrawnQueries:
    """Choose the plan's cases.

    The random share comes first: a systematic draw over the new texts, ordered by cluster, with
    probability proportional to the weight that they stand for. Then each purposive case goes to the
    text that lowers the divergence most within the units that still lack cases, on average over
    many random partitions finer than the clusters, all cases so far counted. Limits per session
    and user hold for purposive picks only, since the random share would lose its probabilities.

    Args:
        plan: from `plan_refresh`, for what these candidates offer.
        candidates: from `find_candidates`.
        rules: floors, limits and spares.
        rng: source of the random share and of the partitions.
        earlier: session_id and user_id of what the plan asks about besides; the limits count it.

    Returns:
        The picks and what could not be done.

    Raises:
        ValueError: a floor on a column that the candidates lack, or a cluster outside the plan.
    """
    for floor in rules.floors:
        if floor.column not in candidates.rows.columns:
            raise ValueError(f"there is no column {floor.column!r} to hold a floor on")
    if plan.n_cases == 0:
        return DrawnQueries(pl.DataFrame(schema=_PICKS), ())
    drawing = _Drawing(plan, candidates, rules, rng)
    new = np.flatnonzero(drawing.open)
    if plan.n_random and len(new):
        rows = candidates.rows[new]
        probability = inclusion_probabilities(rows["weight"].to_numpy(), plan.n_random)
        by_cluster = np.lexsort((rng.permutation(len(new)), rows["cluster_id"].to_numpy()))
        for place in systematic_draw(probability, by_cluster, rng):
            drawing.take(
                int(new[place]), probability=probability[place] * rows["thinning"][int(place)]
            )
    if earlier is not None:
        drawing.count(earlier)

    quota = plan.units["cases"].to_numpy().copy()
    left = int(quota.sum())
    for floor in rules.floors:
        left -= drawing.meet(floor, quota, left)
    drawing.fill(quota, left)
    drawing.fill(np.ceil(rules.spare_share * plan.units["cases"].to_numpy()), spare=True)
    return DrawnQueries(pl.DataFrame(drawing.picks, schema=_PICKS), tuple(drawing.reasons))


class _Drawing:
    """A draw under way: the picks so far, and which texts are still open."""

    def __init__(
        self, plan: RefreshPlan, candidates: Candidates, rules: DrawRules, rng: np.random.Generator
    ) -> None:
        self.rows = candidates.rows
        self.units = plan.units
        self.unit = unit_of_each(self.rows, plan.units)
        self.open: Mask = self.rows["is_new"].to_numpy().copy()
        self.limits = [
            (column, most, Counter[str]())
            for column, most in (("session_id", rules.per_session), ("user_id", rules.per_user))
            if most is not None
        ]
        self.need = _Need(candidates, plan.n_cases, rng)
        self.bonus = SIGNAL_BONUS * self.need.value.std() * self.rows["signal"].to_numpy()
        self.picked: list[int] = []
        self.picks: list[dict[str, object]] = []
        self.reasons: list[str] = []

    def take(
        self,
        text: int,
        *,
        probability: float | None = None,
        floor: Floor | None = None,
        spare: bool = False,
    ) -> None:
        """Make a text a pick; `probability` if it was drawn at random."""
        self.need.add(text)
        self.open[text] = False
        self.picked.append(text)
        self.count(self.rows[text])
        unit = self.units.row(int(self.unit[text]), named=True)
        row = self.rows.row(text, named=True)
        self.picks.append(
            {
                "text_hash": row["text_hash"],
                "cluster_id": row["cluster_id"],
                "unit": unit["unit"],
                "pool": unit["pool"] if probability is None else "random",
                "inclusion_probability": probability,
                "reason": _reason(unit, row, probability, floor),
                "spare": spare,
            }
        )

    def count(self, picks: pl.DataFrame) -> None:
        """Count picks in the limits, and close the sessions and users that have reached theirs."""
        for column, most, picked in self.limits:
            picked.update(picks[column].drop_nulls())
            full = [value for value in picks[column].drop_nulls() if picked[value] >= most]
            if full:
                self.open &= ~self.rows[column].is_in(full).fill_null(False).to_numpy()

    def best(self, allowed: Mask) -> int | None:
        """The open text among the allowed ones that is worth most."""
        able = self.open & allowed
        if not able.any():
            return None
        return int(np.where(able, self.need.value + self.bonus, -np.inf).argmax())

    def meet(self, floor: Floor, quota: IntArray, most: int) -> int:
        """Take what a floor still lacks, from units that still lack cases if they have it.

        Returns:
            Cases taken, `most` at most; `quota` is reduced by them.
        """
        column = self.rows[floor.column].cast(pl.String)
        fits = column.eq_missing(pl.Series([floor.value])).to_numpy()
        missing = max(0, floor.cases - int(fits[self.picked].sum()))
        for taken in range(missing):
            text = self.best(fits & (quota[self.unit] > 0)) if taken < most else None
            if text is None and taken < most:
                text = self.best(fits)
            if text is None:
                self.reasons.append(
                    f"{missing - taken} of {floor.cases} cases with {floor.column} {floor.value}"
                    " could not be drawn: no such text is left, or no case of the plan."
                )
                return taken
            self.take(text, floor=floor)
            quota[self.unit[text]] = max(0, quota[self.unit[text]] - 1)
        return missing

    def fill(
        self, quota: FloatArray | IntArray, most: int | None = None, *, spare: bool = False
    ) -> None:
        """Take each unit's quota, `most` texts in all; what a unit lacks comes from the others."""
        quota = quota.copy()
        most = int(quota.sum()) if most is None else most
        moved = 0
        for taken in range(most):
            text = self.best(quota[self.unit] > 0)
            if text is None and not spare:
                text = self.best(np.ones(len(self.unit), bool))
                moved += text is not None
            if text is None:
                if not spare:
                    self.reasons.append(
                        f"{most - taken} planned cases could not be drawn: no new text is left"
                        " within the limits per session and user."
                    )
                break
            self.take(text, spare=spare)
            quota[self.unit[text]] -= 1
        if moved:
            self.reasons.append(
                f"{moved} cases were drawn elsewhere: their clusters had no new text left."
            )


class _Need:
    """How much each text would lower the divergence, on average over random partitions.

    Attributes:
        value: (n,) fall of the divergence in bits if the text became a case.
    """

    def __init__(self, candidates: Candidates, n_new: int, rng: np.random.Generator) -> None:
        weight = candidates.rows["steady_weight"].to_numpy()
        mass = weight / weight.sum()
        self._size = len(candidates.cases) + n_new
        self._cells: list[NDArray[np.intp]] = []
        self._shares: list[FloatArray] = []
        self._cases: list[IntArray] = []
        self.value = np.zeros(len(mass))
        texts, suite = centred(mass, candidates.vectors, candidates.cases)
        for centroids in random_partitions(texts, CELLS, rng):
            _, cell = in_cells(texts, centroids)
            _, hit = in_cells(suite, centroids)
            share = np.bincount(cell, mass, minlength=len(centroids)).astype(np.float64)
            cases = np.bincount(hit, minlength=len(centroids))
            self.value += self._fall(share, cases)[cell] / PARTITIONS
            self._cells.append(cell)
            self._shares.append(share)
            self._cases.append(cases)

    def add(self, text: int) -> None:
        """Count a text as a case."""
        for cells, shares, cases in zip(self._cells, self._shares, self._cases, strict=True):
            here = cells[text]
            before = self._fall(shares[here], cases[here])
            cases[here] += 1
            self.value[cells == here] += (
                self._fall(shares[here], cases[here]) - before
            ) / PARTITIONS

    def _fall(self, share: FloatArray, cases: IntArray) -> FloatArray:
        return contributions(share, cases / self._size) - contributions(
            share, (cases + 1) / self._size
        )


def unit_of_each(rows: pl.DataFrame, units: pl.DataFrame) -> IntArray:
    """Place of each row's unit among the plan's units."""
    place = {cluster: index for index, ids in enumerate(units["cluster_ids"]) for cluster in ids}
    unknown = set(rows["cluster_id"]) - set(place)
    if unknown:
        raise ValueError(f"the plan knows no cluster {min(unknown)}")
    return np.array([place[cluster] for cluster in rows["cluster_id"]], dtype=np.int64)


def _reason(
    unit: dict[str, object],
    row: dict[str, object],
    probability: float | None,
    floor: Floor | None,
) -> str:
    """Why a text was picked, in plain words."""
    share = f"{unit['production_share']:.1%} of traffic"
    if probability is not None:
        why = f"drawn at random from all new traffic, at {probability:.2%}"
    elif unit["pool"] == "cluster":
        cases = "1 case" if unit["eval_cases"] == 1 else f"{unit['eval_cases'] or 'no'} cases"
        why = f"{unit['label']} is under-covered ({unit['status']}): {cases} for {share}"
    elif unit["pool"] == "edge":
        why = f"rare traffic: one of the small clusters that are {share} together"
    elif unit["pool"] == "novel":
        why = f"novel traffic: outside every cluster, as {share}"
    else:
        why = f"{unit['label']} is covered: watched, and kept at its share ({share})"
    if floor:
        why += f"; floor for {floor.column} {floor.value}"
    if row["signal"]:
        why += "; production failed it visibly"
    return f"{why}; gap score {row['gap_score']:.2f}"
