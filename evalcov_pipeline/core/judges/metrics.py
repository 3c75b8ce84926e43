"""Metrics of a judge in one category, and the pass rate corrected by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from evalcov_pipeline.core.judges.confusion_matrix import (
    UNKNOWN,
    Basis,
    BoolArray,
    Estimate,
    as_labelled,
    from_probability_sample,
    from_verdict_blind_sample,
    people_alone,
)
from evalcov_pipeline.core.statistics.shares import FloatArray, wilson


def pass_rate(shares: FloatArray) -> FloatArray:
    """Share that people pass; like every metric here (..., 2, 2) -> (...)."""
    passed: FloatArray = shares[..., 1, 0] + shares[..., 1, 1]
    return passed


def agreement(shares: FloatArray) -> FloatArray:
    """Share on which people and judge say the same."""
    agreed: FloatArray = shares[..., 0, 0] + shares[..., 1, 1]
    return agreed


def cohens_kappa(shares: FloatArray) -> FloatArray:
    """Cohen's kappa; NaN where both always say the same one thing."""
    people, judge = pass_rate(shares), shares[..., 1].sum(axis=-1)
    by_chance = people * judge + (1 - people) * (1 - judge)
    return _ratio(agreement(shares) - by_chance, 1 - by_chance)


def matthews_correlation(shares: FloatArray) -> FloatArray:
    """Matthews' correlation coefficient; NaN where one of them always says the same."""
    people, judge = pass_rate(shares), shares[..., 1].sum(axis=-1)
    spread = np.sqrt(np.maximum(people * (1 - people) * judge * (1 - judge), 0.0))
    return _ratio(shares[..., 1, 1] - people * judge, spread)


def true_positive_rate(shares: FloatArray) -> FloatArray:
    """Share that the judge passes of what people pass; NaN where they pass nothing."""
    return _ratio(shares[..., 1, 1], pass_rate(shares))


def true_negative_rate(shares: FloatArray) -> FloatArray:
    """Share that the judge fails of what people fail; NaN where they fail nothing."""
    return _ratio(shares[..., 0, 0], shares[..., 0, :].sum(axis=-1))


@dataclass(frozen=True)
class Enough:
    """Labels from which more than raw agreement is relied on.

    Attributes:
        labels: in all.
        rarer: of the class, passing or failing, that has fewer.
    """

    labels: int = 50
    rarer: int = 15


ENOUGH = Enough()


@dataclass(frozen=True)
class LabelledSample:
    """Labels held against a judge's verdicts.

    Attributes:
        people: (n,) whether people pass the answer.
        judge: (n,) whether the judge does.
        probabilities: (n,) chances of having been drawn from the judged answers, NaN if unknown.
        blind: (n,) chosen without regard to any verdict.
        judged: how many answers the judge failed and passed, labelled ones included.
    """

    people: BoolArray
    judge: BoolArray
    probabilities: FloatArray
    blind: BoolArray
    judged: tuple[int, int]

    def only(self, rows: BoolArray) -> LabelledSample:
        """The same with the labels marked in `rows` (n,)."""
        return LabelledSample(
            self.people[rows],
            self.judge[rows],
            self.probabilities[rows],
            self.blind[rows],
            self.judged,
        )

    def suffices(self, enough: Enough) -> bool:
        """Whether there are enough labels, in all and of the rarer class."""
        n, n_pass = len(self.people), int(self.people.sum())
        return n >= enough.labels and min(n_pass, n - n_pass) >= enough.rarer


@dataclass(frozen=True)
class JudgeMetrics:
    """What labels say about a judge.

    Attributes:
        basis: how the labels were drawn: 'probability' and 'verdict_blind' speak of all judged
            answers, 'as_labelled' of the labelled ones alone.
        n_pass: labels that the metrics rest on, passed by people.
        n_fail: the same, failed by people.
        n_judged: answers that the judge judged.
        agreement: share of the labels on which people and judge agree, with Wilson's interval.
        prevalence: share of answers that people fail.
        kappa: Cohen's.
        mcc: Matthews' correlation.
        tpr: share passed by the judge of what people pass.
        tnr: share failed by the judge of what people fail.
        leniency: false accepts less false rejects, as a share of the labels; None without any.
        leniency_p: McNemar's exact p-value of it.
        people_rate: pass rate of all judged answers from the labels without the judge; unknown
            unless they have known probabilities.
        corrected: pass rate of all judged answers.
        corrected_reason: how it was made, or why there is none.
    """

    basis: Basis
    n_pass: int
    n_fail: int
    n_judged: int
    agreement: Estimate = UNKNOWN
    prevalence: Estimate = UNKNOWN
    kappa: Estimate = UNKNOWN
    mcc: Estimate = UNKNOWN
    tpr: Estimate = UNKNOWN
    tnr: Estimate = UNKNOWN
    leniency: float | None = None
    leniency_p: float | None = None
    people_rate: Estimate = UNKNOWN
    corrected: Estimate = UNKNOWN
    corrected_reason: str = "nothing is labelled"

    @property
    def n(self) -> int:
        """Labels that the metrics rest on."""
        return self.n_pass + self.n_fail

    @property
    def rarer(self) -> int:
        """Labels of the class that has fewer."""
        return min(self.n_pass, self.n_fail)


def measure(
    sample: LabelledSample, rng: np.random.Generator, enough: Enough = ENOUGH
) -> JudgeMetrics:
    """Metrics on the best basis that the labels allow.

    Labels of known probability come first, then those chosen blindly, each if they are enough by
    themselves or all there is; else every label counts and the metrics are those of the labels.

    Args:
        sample: n labels, n >= 0.
        rng: source of the draws behind the intervals.
        enough: labels from which a corrected rate is published.
    """
    ways: tuple[tuple[Basis, BoolArray], ...] = (
        ("probability", np.isfinite(sample.probabilities)),
        ("verdict_blind", sample.blind),
    )
    basis: Basis = "as_labelled"
    for way, rows in ways:
        if rows.any() and (rows.all() or sample.only(rows).suffices(enough)):
            basis, sample = way, sample.only(rows)
            break
    n, n_pass = len(sample.people), int(sample.people.sum())
    n_judged = sum(sample.judged)
    if n == 0:
        return JudgeMetrics(basis, 0, 0, n_judged)
    if basis == "verdict_blind" and 0 < n_pass < n:
        matrix = from_verdict_blind_sample(sample.people, sample.judge, sample.judged, rng)
    elif basis == "probability":
        matrix = from_probability_sample(
            sample.people, sample.judge, sample.probabilities, sample.judged, rng
        )
    else:
        matrix = as_labelled(sample.people, sample.judge, rng)
    corrected, why = UNKNOWN, _WHY[basis]
    if not sample.suffices(enough):
        why = f"it takes {enough.labels} labels, {enough.rarer} of them of the rarer class"
    elif basis != "as_labelled":
        corrected = matrix.estimate(pass_rate)
    accepts = int(np.sum(sample.judge & ~sample.people))
    rejects = int(np.sum(~sample.judge & sample.people))
    return JudgeMetrics(
        basis=basis,
        n_pass=n_pass,
        n_fail=n - n_pass,
        n_judged=n_judged,
        agreement=rate(int(np.sum(sample.people == sample.judge)), n),
        prevalence=matrix.estimate(lambda shares: 1 - pass_rate(shares)),
        kappa=matrix.estimate(cohens_kappa),
        mcc=matrix.estimate(matthews_correlation),
        tpr=matrix.estimate(true_positive_rate),
        tnr=matrix.estimate(true_negative_rate),
        leniency=(accepts - rejects) / n,
        leniency_p=_mcnemar(accepts, rejects),
        people_rate=(
            people_alone(sample.people, sample.probabilities, rng)
            if basis == "probability"
            else UNKNOWN
        ),
        corrected=corrected,
        corrected_reason=why,
    )


_WHY: dict[Basis, str] = {
    "probability": "PPI++: the judge's verdicts on all answers, corrected by labels of known "
    "probability",
    "verdict_blind": "Rogan-Gladen: the judge's pass rate, corrected by its TPR and TNR on labels "
    "chosen without regard to its verdict",
    "as_labelled": "nobody knows how the labelled answers were chosen, so they say nothing about "
    "the others",
}


def rate(count: int, n: int) -> Estimate:
    """Share `count` / n with Wilson's interval; unknown for n = 0."""
    if n == 0:
        return UNKNOWN
    low, high = wilson(np.array([count / n]), n)
    return Estimate(count / n, float(low[0]), float(high[0]))


def _mcnemar(accepts: int, rejects: int) -> float:
    """Two-sided exact p-value: either kind of error is as likely."""
    return float(min(1.0, 2 * bdtr(min(accepts, rejects), accepts + rejects, 0.5)))


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    ratio = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=ratio, where=np.abs(whole) > 1e-12)
    return ratio
