"""What a judge may be used for, why, and what would change that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from evalcov_pipeline.core.judges.bias import Biases
from evalcov_pipeline.core.judges.confusion_matrix import Estimate
from evalcov_pipeline.core.judges.metrics import ENOUGH, Enough, JudgeMetrics

RulingVerdict = Literal["INSUFFICIENT", "REFUSED", "TREND_ONLY", "GATE"]
RULING_VERDICTS: tuple[RulingVerdict, ...] = get_args(RulingVerdict)
Wanted = Literal["any", "passing", "failing", "drawn", "second", "better_judge"]


@dataclass(frozen=True)
class Rules:
    """What the verdicts ask for.

    Attributes:
        enough: labels below which the verdict is INSUFFICIENT.
        refuse_below: least lower end of kappa.
        gate_kappa: least kappa for GATE,
        gate_kappa_low: least lower end of it,
        gate_rate_low: least lower ends of TPR and TNR.
        double: answers that two people labelled independently, for GATE.
        tolerated_bias: log odds beyond which no slope may be shown to lie, for GATE.
    """

    enough: Enough = ENOUGH
    refuse_below: float = 0.4
    gate_kappa: float = 0.7
    gate_kappa_low: float = 0.6
    gate_rate_low: float = 0.7
    double: int = 10
    tolerated_bias: float = math.log(1.25)


RULES = Rules()


@dataclass(frozen=True)
class Change:
    """One thing that would lift a verdict.

    Attributes:
        wanted: labels of any, of passing or of failing answers, answers drawn at random, second
            labels of labelled answers, or a better judge.
        labels: how many more; None for a better judge.
        why: what falls short, in words.
    """

    wanted: Wanted
    labels: int | None
    why: str

    def __str__(self) -> str:
        if self.labels is None:
            return f"{self.why}: {_ASKS[self.wanted]}"
        return f"{self.why}: {self.labels} {_ASKS[self.wanted]}"


_ASKS: dict[Wanted, str] = {
    "any": "more labels",
    "passing": "more labels of answers that people pass",
    "failing": "more labels of answers that people fail",
    "drawn": "labels of answers drawn at random",
    "second": "answers labelled by a second person",
    "better_judge": "labels will not help, the judge, its prompt or the rubric must change",
}


@dataclass(frozen=True)
class Ruling:
    """A verdict.

    Attributes:
        verdict: INSUFFICIENT: too early to tell. REFUSED: its verdicts enter nothing. TREND_ONLY:
            they may enter a score. GATE: they may also decide a gate.
        reason: in words.
        changes: what would lift it; empty for GATE.
    """

    verdict: RulingVerdict
    reason: str
    changes: tuple[Change, ...] = ()


def rule(metrics: JudgeMetrics, biases: Biases, n_double: int, rules: Rules = RULES) -> Ruling:
    """Decide what a judge may be used for in one category.

    INSUFFICIENT: too few labels, or too few of the rarer class; or so few that the interval of
    kappa reaches from below `refuse_below` up to `gate_kappa`.
    REFUSED: the lower end of kappa is below `refuse_below` (TPR + TNR - 1 has the sign of kappa, so
    this includes a judge that may know nothing), or the corrected rate is no surer than people's
    labels alone, though at least as many answers are judged and not labelled.
    GATE: kappa, TPR and TNR reach what `rules` ask, how the labels were drawn is known, two people
    labelled some answers each, and no bias is shown. Else TREND_ONLY.

    Args:
        metrics: of the judge.
        biases: its slopes.
        n_double: answers that two people labelled independently.
        rules: what is asked for.
    """
    if lacking := tuple(_lacking(metrics, rules.enough)):
        return Ruling("INSUFFICIENT", _reasons(lacking), lacking)
    kappa = metrics.kappa
    _, low, high = _ends(kappa)
    if low < rules.refuse_below:
        why = f"kappa is {_shown(kappa)}, its lower end below {rules.refuse_below}"
        more = _surer(metrics, "kappa", kappa, rules.refuse_below, "any", metrics.n)
        if high >= rules.gate_kappa:
            more = more if more.labels else Change("any", metrics.n, why)
            return Ruling("INSUFFICIENT", f"{why}, its upper end that of a good judge", (more,))
        return Ruling("REFUSED", why, (more,))
    if _useless(metrics):
        why = "the pass rate corrected by the judge is no surer than people's labels alone"
        return Ruling("REFUSED", why, (Change("better_judge", None, why),))
    if missing := tuple(_short_of_gate(metrics, biases, n_double, rules)):
        return Ruling("TREND_ONLY", _reasons(missing), missing)
    rates = f"TPR {_shown(metrics.tpr)}, TNR {_shown(metrics.tnr)}"
    return Ruling("GATE", f"kappa {_shown(kappa)}, {rates} on {metrics.n} labels")


def _lacking(metrics: JudgeMetrics, enough: Enough) -> Iterator[Change]:
    if metrics.n == 0:
        yield Change("any", enough.labels, "nothing is labelled")
        return
    if metrics.n < enough.labels:
        why = f"{metrics.n} of {enough.labels} labels"
        yield Change("any", enough.labels - metrics.n, why)
    if metrics.rarer < enough.rarer:
        rarer: Wanted = "failing" if metrics.n_fail <= metrics.n_pass else "passing"
        named = "failed" if rarer == "failing" else "passed"
        why = f"people {named} {metrics.rarer} of the {enough.rarer} answers it takes"
        yield Change(rarer, enough.rarer - metrics.rarer, why)


def _useless(metrics: JudgeMetrics) -> bool:
    if metrics.corrected.value is None or metrics.people_rate.value is None:
        return False
    _, low, high = _ends(metrics.corrected)
    _, low_alone, high_alone = _ends(metrics.people_rate)
    return metrics.n_judged >= 2 * metrics.n and high - low >= high_alone - low_alone


def _short_of_gate(
    metrics: JudgeMetrics, biases: Biases, n_double: int, rules: Rules
) -> Iterator[Change]:
    value, low, _ = _ends(metrics.kappa)
    if value < rules.gate_kappa:
        why = f"kappa is {_shown(metrics.kappa)}, not {rules.gate_kappa}"
        yield Change("better_judge", None, why)
    elif low < rules.gate_kappa_low:
        yield _surer(metrics, "kappa", metrics.kappa, rules.gate_kappa_low, "any", metrics.n)
    of_class: tuple[tuple[str, Estimate, Wanted, int], ...] = (
        ("TPR", metrics.tpr, "passing", metrics.n_pass),
        ("TNR", metrics.tnr, "failing", metrics.n_fail),
    )
    for name, estimate, wanted, n in of_class:
        if _ends(estimate)[1] < rules.gate_rate_low:
            yield _surer(metrics, name, estimate, rules.gate_rate_low, wanted, n)
    if metrics.basis == "as_labelled":
        why = "nobody knows how the labelled answers were chosen"
        yield Change("drawn", rules.enough.labels, why)
    if n_double < rules.double:
        why = f"{n_double} of {rules.double} answers are labelled by two people"
        yield Change("second", rules.double - n_double, why)
    for name, slope in vars(biases).items():
        if slope.shown_beyond(rules.tolerated_bias):
            does = "multiplies" if slope.value > 0 else "divides"
            factor = math.exp(abs(slope.value))
            why = f"{_BIAS[name]} {does} the judge's odds of a pass by {factor:.1f}"
            yield Change("better_judge", None, why)


_BIAS = {
    "verbosity": "twice the length",
    "hedging": "hedging",
    "same_family": "being of the judge's family",
}


def _surer(
    metrics: JudgeMetrics, name: str, estimate: Estimate, bound: float, wanted: Wanted, n: int
) -> Change:
    """Labels after which the lower end would reach `bound` if the figure stayed as it is."""
    value, low, _ = _ends(estimate)
    why = f"{name} is {_shown(estimate)}, its lower end below {bound}"
    if value <= bound:
        return Change("better_judge", None, why)
    more = n * ((value - low) / (value - bound)) ** 2 - n
    return Change(wanted, max(1, math.ceil(more)), why)


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    """Value and ends; a figure that is not defined shows nothing and hides nothing: (0, -1, 1)."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return 0.0, -1.0, 1.0
    return estimate.value, estimate.low, estimate.high


def _reasons(changes: tuple[Change, ...]) -> str:
    return "; ".join(change.why for change in changes)


def _shown(estimate: Estimate) -> str:
    value, low, high = _ends(estimate)
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
