"""Which cases make the CI suite: those that together notice most, within a time budget."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl

from evalcov_pipeline.core.statistics.quotas import Floor
from evalcov_pipeline.core.statistics.shares import FloatArray
from evalcov_pipeline.core.suites.failure_modes import FailureModes

_ID_LENGTH = 16
_PICKS = {
    "case_id": pl.String,
    "decides": pl.Boolean,
    "reason": pl.String,
    "expected_s": pl.Float64,
}
_LEFT_OUT = {"case_id": pl.String, "reason": pl.String}


@dataclass(frozen=True)
class SuiteRules:
    """What a suite must honour.

    Attributes:
        budget_s: seconds that the suite may take.
        workers: cases that run at the same time.
        max_cases: most cases; None for as many as the budget holds.
        floors: met before anything else but pins; their columns are of the cases.
        min_gain: least detection power, 0..1, that a case has to add.
        min_change: least detection power, 0..1, that a new suite has to add to the present one.
    """

    budget_s: float = 300.0
    workers: int = 4
    max_cases: int | None = None
    floors: tuple[Floor, ...] = ()
    min_gain: float = 1e-3
    min_change: float = 0.02


@dataclass(frozen=True)
class SelectedSuite:
    """The suite.

    Attributes:
        picks: one row per case, in order of choice: case_id, decides (enters the gate's verdict),
            reason, expected_s (90th percentile of its latency).
        left_out: case_id and reason of those that cannot decide a gate.
        expected_s: seconds the suite takes if every case takes its `expected_s`.
        detection_power: chance that a deciding case fails when a failure mode, drawn by weight, is
            there.
        notes: what could not be honoured, one sentence each.
    """

    picks: pl.DataFrame
    left_out: pl.DataFrame
    expected_s: float
    detection_power: float
    notes: tuple[str, ...]


def select_suite(
    cases: pl.DataFrame, modes: FailureModes, rules: SuiteRules, present: Iterable[str] = ()
) -> SelectedSuite:
    """Choose a suite that maximises sum_m w_m (1 - prod_i (1 - d_im)) under the budget.

    Pins come first, then floors, each filled by the case that adds most. On what is left of the
    budget: lazy greedy by gain, which begins with the best single case, and by gain per second, the
    better of the two. Without pins and floors that is at least (1 - 1/e) / 2 of the best suite
    (Leskovec et al., 2007, CELF); pins and floors void the guarantee. The order of `cases` does not
    matter.

    The present suite stays, less its cases that cannot decide any more and with what pins and
    floors now want besides, unless that breaks a rule which the new choice keeps, or the new choice
    adds `min_change` to it: a suite that changes with every week of results has no baseline.

    Args:
        cases: case_id, distinct; seconds (90th percentile of its latency, > 0); incident_id (it is
            pinned; null for most); unfit (why it cannot decide a gate: flaky, broken, its judge is
            refused ...; null if it can); and the columns of the floors. Unfit cases stay out;
            a pinned one is run and shown, and does not decide.
        modes: rows of `detection` are those of `cases`.
        rules: budget and floors.
        present: ids of the suite in force; none for a first choice.

    Raises:
        ValueError: shapes that disagree, repeated ids, values out of range, a floor on a column
            that is not there.
    """
    _check(cases, modes, rules)
    order = np.argsort(cases["case_id"].to_numpy(), kind="stable")
    cases = cases[order]
    fit = cases["unfit"].is_null().to_numpy()
    search = _Search(
        seconds=cases["seconds"].cast(pl.Float64).to_numpy(),
        detection=np.where(fit[:, None], modes.detection[order], 0.0),
        weights=np.asarray(modes.weights, dtype=float) / np.sum(modes.weights),
        rules=rules,
    )
    chosen, notes = _base(search, cases, modes.names, [])
    candidates = [i for i in np.flatnonzero(fit).tolist() if i not in chosen]
    _add(search, modes.names, chosen, _greedy(search, list(chosen), candidates))
    rows = {case_id: i for i, case_id in enumerate(cases["case_id"])}
    stay = [i for i in map(rows.get, present) if i is not None and fit[i]]
    if stay:
        kept, kept_notes = _base(search, cases, modes.names, stay)
        least = search.value(chosen) - rules.min_change
        as_good = len(kept_notes) <= len(notes) and search.value(kept) > least
        if as_good and search.fits(list(kept)):
            chosen, notes = kept, kept_notes
    picks = list(chosen)
    return SelectedSuite(
        picks=pl.DataFrame(
            {
                "case_id": cases["case_id"].gather(picks),
                "decides": fit[picks],
                "reason": list(chosen.values()),
                "expected_s": search.seconds[picks],
            },
            schema=_PICKS,
        ),
        left_out=cases.filter(
            pl.col("unfit").is_not_null() & pl.col("incident_id").is_null()
        ).select("case_id", reason="unfit")
        if not fit.all()
        else pl.DataFrame(schema=_LEFT_OUT),
        expected_s=search.makespan(picks),
        detection_power=search.value(picks),
        notes=tuple(notes),
    )


def suite_id(cases: Iterable[Mapping[str, Any]]) -> str:
    """Name of a suite: the same for the same cases in any order, another once one is edited.

    What a run of the suite decides goes in: `case_id`, `input`, `expected`, `failure_mode`,
    `incident_id` and `decides` of every case. Reasons and rates do not, since they change with
    every week of results.

    Args:
        cases: rows; messages in `input` as a list.

    Returns:
        16 hexadecimal digits.
    """
    contents = sorted(
        orjson.dumps(
            [
                case["case_id"],
                case.get("input"),
                case.get("expected"),
                case.get("failure_mode"),
                case.get("incident_id"),
                case.get("decides") is not False,
            ],
            option=orjson.OPT_SORT_KEYS,
        )
        for case in cases
    )
    return hashlib.sha256(b"\n".join(contents)).hexdigest()[:_ID_LENGTH]


@dataclass(frozen=True)
class _Search:
    """Values and costs of sets of cases, which are lists of row numbers.

    Attributes:
        seconds: (n,) latencies.
        detection: (n, m) as in `FailureModes`; 0 for cases that do not decide.
        weights: (m,) summing to 1.
        rules: budget.
    """

    seconds: FloatArray
    detection: FloatArray
    weights: FloatArray
    rules: SuiteRules

    def missed(self, cases: Iterable[int]) -> FloatArray:
        """(m,) chance that none of the cases notices each mode."""
        missed: FloatArray = np.prod(1 - self.detection[list(cases)], axis=0)
        return missed

    def value(self, cases: Iterable[int]) -> float:
        """Detection power of a set of cases."""
        return float(self.weights @ (1 - self.missed(cases)))

    def best_mode(self, case: int, before: Iterable[int]) -> int:
        """The mode that a case adds most to."""
        return int(np.argmax(self.weights * self.missed(before) * self.detection[case]))

    def makespan(self, cases: Iterable[int]) -> float:
        """Seconds of a run: every free worker takes the longest case that waits."""
        free = [0.0] * self.rules.workers
        for seconds in sorted((float(self.seconds[i]) for i in cases), reverse=True):
            heapq.heapreplace(free, free[0] + seconds)
        return max(free)

    def fits(self, cases: Sequence[int]) -> bool:
        """Whether a set of cases keeps the budget."""
        most = self.rules.max_cases
        return (most is None or len(cases) <= most) and self.makespan(cases) <= self.rules.budget_s


def _base(
    search: _Search, cases: pl.DataFrame, modes: Sequence[str], stay: Sequence[int]
) -> tuple[dict[int, str], list[str]]:
    """Pins, floors and cases that stay, each with its reason; and what could not be honoured."""
    chosen: dict[int, str] = {}
    for i, incident in enumerate(cases["incident_id"]):
        if incident is not None:
            unfit = cases["unfit"][i]
            note = f"; does not decide: {unfit}" if unfit else ""
            chosen[i] = f"guards incident {incident}{note}"
    notes = _too_much(search, chosen)
    fit = cases["unfit"].is_null()
    holders = []
    for floor in search.rules.floors:
        holds = (cases[floor.column].cast(pl.String) == floor.value).fill_null(value=False)
        holders.append((floor, np.flatnonzero((holds & fit).to_numpy()).tolist()))
    for floor, able in holders:
        _fill_floor(search, floor, [i for i in able if i in stay], chosen)
    _add(search, modes, chosen, [i for i in stay if i not in chosen])
    for floor, able in holders:
        notes += _fill_floor(search, floor, able, chosen)
    return chosen, notes


def _add(
    search: _Search, modes: Sequence[str], chosen: dict[int, str], cases: Iterable[int]
) -> None:
    """Add cases in order, each with what it adds to those before."""
    for i in cases:
        gain, mode = _gain(search, search.missed(chosen), i), modes[search.best_mode(i, chosen)]
        chosen[i] = f"adds {gain:.1%} detection, most of {mode}"


def _too_much(search: _Search, chosen: Mapping[int, str]) -> list[str]:
    if search.fits(list(chosen)):
        return []
    return [
        f"the {len(chosen)} pinned cases alone take {search.makespan(chosen):.0f} s, beyond the"
        f" budget: pins are never left out"
    ]


def _fill_floor(
    search: _Search, floor: Floor, holds: Sequence[int], chosen: dict[int, str]
) -> list[str]:
    """Add the cases that a floor lacks; what kept it from being met, if anything did."""
    have = sum(i in chosen for i in holds)
    while have < floor.cases:
        waiting = [i for i in holds if i not in chosen]
        able = [i for i in waiting if search.fits([*chosen, i])]
        if not able:
            why = "the budget holds no other" if waiting else "no other is fit to decide"
            return [f"{floor.column} {floor.value} has {have} of {floor.cases} cases: {why}"]
        missed = search.missed(chosen)
        have += 1
        best = max(able, key=lambda i: (_gain(search, missed, i), -search.seconds[i], -i))
        chosen[best] = f"{floor.column} {floor.value}, {have} of at least {floor.cases}"
    return []


def _greedy(search: _Search, taken: list[int], candidates: Sequence[int]) -> list[int]:
    """Further cases: by gain, beginning with the best one, or by its price."""
    ways = [_lazy(search, taken, candidates, by_second=priced) for priced in (False, True)]
    return max(ways, key=lambda added: (search.value([*taken, *added]), -len(added)))


def _lazy(
    search: _Search, taken: list[int], candidates: Sequence[int], *, by_second: bool
) -> list[int]:
    """Lazy greedy (Minoux, 1978): gains only fall, so an old one is an upper bound."""
    missed = search.missed(taken)
    added: list[int] = []

    def entry(i: int) -> tuple[float, int, float, int]:
        gain = _gain(search, missed, i)
        return -gain / float(search.seconds[i] if by_second else 1.0), i, gain, len(added)

    heap = [entry(i) for i in candidates]
    heapq.heapify(heap)
    while heap:
        _, i, gain, known_at = heapq.heappop(heap)
        if known_at < len(added):
            heapq.heappush(heap, entry(i))
        elif gain >= search.rules.min_gain and search.fits([*taken, *added, i]):
            added.append(i)
            missed = missed * (1 - search.detection[i])
    return added


def _gain(search: _Search, missed: FloatArray, case: int) -> float:
    return float((search.weights * missed) @ search.detection[case])


def _check(cases: pl.DataFrame, modes: FailureModes, rules: SuiteRules) -> None:
    n, m = cases.height, len(modes.names)
    if modes.detection.shape != (n, m) or np.shape(modes.weights) != (m,):
        raise ValueError(f"{n} cases and {m} modes, but {modes.detection.shape} detections")
    if cases["case_id"].n_unique() < n or not (cases["seconds"] > 0).all():
        raise ValueError("cases need distinct ids and positive seconds")
    weights = np.asarray(modes.weights, dtype=float)
    if not (weights >= 0).all() or weights.sum() <= 0:
        raise ValueError("weights of modes must be non-negative and not all zero")
    if not ((modes.detection >= 0) & (modes.detection <= 1)).all():
        raise ValueError("detections are probabilities")
    if rules.budget_s <= 0 or rules.workers < 1:
        raise ValueError("need a budget and a worker")
    for floor in rules.floors:
        if floor.column not in cases.columns:
            raise ValueError(f"there is no column {floor.column!r} to hold a floor on")
