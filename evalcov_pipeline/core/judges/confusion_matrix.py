"""The confusion matrix of a judge: what people say of answers against what the judge says.

All metrics of a judge are functions of one 2 x 2 matrix of shares, so they cannot contradict each
other. How it is estimated depends on how the labelled answers were drawn; how sure each metric is
follows from draws of the whole matrix, rate by rate from Jeffreys posteriors, which hold their
level at the small counts (15 and more of the rarer class) where normal intervals do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evalcov_pipeline.core.statistics.shares import FloatArray, kish

BoolArray = NDArray[np.bool_]
Basis = Literal["probability", "verdict_blind", "as_labelled"]
Metric = Callable[[FloatArray], FloatArray]
DRAWS = 2000
_JEFFREYS = 0.5
_NONE = 1e-9
_TAIL = 0.025


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; all None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


UNKNOWN = Estimate(None, None, None)


@dataclass(frozen=True)
class ConfusionMatrix:
    """Shares of judged answers by people's verdict and the judge's.

    Attributes:
        shares: (2, 2) summing to 1; first index people, second the judge; 0 fails, 1 passes.
        draws: (b, 2, 2) of the same from its posterior.
    """

    shares: FloatArray
    draws: FloatArray

    def estimate(self, metric: Metric) -> Estimate:
        """A metric of the matrix with its equal-tailed 95 % interval."""
        value = float(metric(self.shares))
        if not np.isfinite(value):
            return UNKNOWN
        low, high = _ends(metric(self.draws))
        return Estimate(value, min(low, value), max(high, value))


def from_probability_sample(
    people: BoolArray,
    judge: BoolArray,
    probabilities: FloatArray,
    judged: tuple[int, int],
    rng: np.random.Generator,
) -> ConfusionMatrix:
    """Matrix of all judged answers from labels with known inclusion probabilities.

    The judge's share comes from all its verdicts, people's rate within each verdict from the
    labels weighted by 1 / probability: theta = sum_f q_f P(people pass | f). For a binary verdict
    this post-stratified mean is weighted PPI++ at its variance-minimising lambda = P(pass | judge
    passes) - P(pass | judge fails), and it stays unbiased when labels were drawn by verdict. A
    verdict without labels counts as half passing, as unsure as that is.
    Source: Angelopoulos, Duchi, Zrnic (2023), PPI++; Särndal, Swensson and Wretman (1992), 7.6.

    Args:
        people: (n,) whether people pass the answer.
        judge: (n,) whether the judge does.
        probabilities: (n,) chances of having been drawn, in (0, 1].
        judged: how many answers the judge failed and passed, labelled ones included.
        rng: source of the draws.
    """
    weights = 1 / probabilities
    passing = np.full(2, 0.5)
    passing_draws = np.empty((DRAWS, 2))
    for verdict in (0, 1):
        mine = judge == bool(verdict)
        w, n = weights[mine], 0.0
        if mine.any():
            n = kish(w)
            passing[verdict] = float(w @ people[mine] / w.sum())
        passing_draws[:, verdict] = _rate_draws(passing[verdict] * n, n, rng)
    failed, passed = judged
    accepted = _rate_draws(passed, passed + failed, rng)
    return ConfusionMatrix(
        shares=_by_judge(np.array(passed / (passed + failed)), passing),
        draws=_by_judge(accepted, passing_draws),
    )


def from_verdict_blind_sample(
    people: BoolArray, judge: BoolArray, judged: tuple[int, int], rng: np.random.Generator
) -> ConfusionMatrix:
    """Matrix of all judged answers from labels whose choice may follow the truth, not the verdict.

    TPR and TNR come from the labels, the judge's pass rate q from all its verdicts, people's rate
    from (q + TNR - 1) / (TPR + TNR - 1), kept within 0..1. Where labels were drawn by verdict this
    is biased without bound.
    Source: Rogan and Gladen (1978); intervals as Lang and Reiczigel (2014) compare them.

    Args:
        people: (n,) whether people pass the answer, both classes present.
        judge: (n,) whether the judge does.
        judged: how many answers the judge failed and passed, labelled ones included.
        rng: source of the draws.
    """
    accepted = np.empty(2)
    accepted_draws = np.empty((DRAWS, 2))
    for truth in (0, 1):
        mine = people == bool(truth)
        accepted[truth] = judge[mine].mean()
        accepted_draws[:, truth] = _rate_draws(int(judge[mine].sum()), int(mine.sum()), rng)
    failed, passed = judged
    q = _rate_draws(passed, passed + failed, rng)
    return ConfusionMatrix(
        shares=_by_people(_rogan_gladen(np.array(passed / (passed + failed)), accepted), accepted),
        draws=_by_people(_rogan_gladen(q, accepted_draws), accepted_draws),
    )


def as_labelled(people: BoolArray, judge: BoolArray, rng: np.random.Generator) -> ConfusionMatrix:
    """Matrix of the labelled answers alone, however they were chosen.

    Args:
        people: (n,) whether people pass the answer, n >= 1.
        judge: (n,) whether the judge does.
        rng: source of the draws.
    """
    counts = np.bincount(2 * people.astype(int) + judge, minlength=4)
    draws = rng.dirichlet(counts + _JEFFREYS, DRAWS)
    return ConfusionMatrix(
        shares=(counts / counts.sum()).reshape(2, 2), draws=draws.reshape(-1, 2, 2)
    )


def people_alone(
    people: BoolArray, probabilities: FloatArray, rng: np.random.Generator
) -> Estimate:
    """Pass rate from the labels without the judge's help; arguments as above."""
    weights = 1 / probabilities
    rate, n = float(weights @ people / weights.sum()), kish(weights)
    return Estimate(rate, *_ends(_rate_draws(rate * n, n, rng)))


def _ends(draws: FloatArray) -> tuple[float, float]:
    """What 2.5 % of the draws lie below, and above; draws without a value are left out."""
    ordered = np.sort(draws[np.isfinite(draws)])
    cut = int(_TAIL * len(ordered))
    return float(ordered[cut]), float(ordered[-1 - cut])


def _rate_draws(passed: float, n: float, rng: np.random.Generator) -> FloatArray:
    """(DRAWS,) of a rate from its posterior under Jeffreys' prior.

    Where none or all of n passed, Jeffreys' interval ends too soon: 0 of 50 are seen in 7 % of
    samples at a rate of .052, which it leaves out. There half of the draws lie at the bound and
    half are those of Clopper and Pearson's other end, which is the mid-P distribution: the mean is
    Jeffreys', the end is that of mid-P.
    Source: Brown, Cai and DasGupta (2001), 4.1 and 5.
    """
    failed = n - passed
    if n > 0 and min(passed, failed) < _NONE:
        seldom = rng.beta(1, n, DRAWS) * rng.integers(0, 2, DRAWS)
        return seldom if passed < failed else 1 - seldom
    return rng.beta(passed + _JEFFREYS, failed + _JEFFREYS, DRAWS)


def _rogan_gladen(q: FloatArray, accepted: FloatArray) -> FloatArray:
    """People's pass rate from the judge's (...) and its pass rates by truth (..., 2)."""
    spread = accepted[..., 1] - accepted[..., 0]
    spread = np.where(np.abs(spread) < 1e-9, 1e-9, spread)
    rate: FloatArray = np.clip((q - accepted[..., 0]) / spread, 0.0, 1.0)
    return rate


def _by_judge(accepted: FloatArray, passing: FloatArray) -> FloatArray:
    """(..., 2, 2) from the judge's pass rate (...) and people's by its verdict (..., 2)."""
    judge = np.stack([1 - accepted, accepted], axis=-1)
    return np.stack([judge * (1 - passing), judge * passing], axis=-2)


def _by_people(passing: FloatArray, accepted: FloatArray) -> FloatArray:
    """(..., 2, 2) from people's pass rate (...) and the judge's by theirs (..., 2)."""
    people = np.stack([1 - passing, passing], axis=-1)
    return np.stack([people * (1 - accepted), people * accepted], axis=-1)
