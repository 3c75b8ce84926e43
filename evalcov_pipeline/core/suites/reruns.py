"""How a failure is confirmed: reruns tell what is broken from what is flaky.

A case that fails is run again. How often, and how many more failures confirm a break, is chosen for
a suite as a whole. Standard library alone, since the gate has to start at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import comb, prod

BREAKS_ALPHA = 0.025
"""Most confirmed breaks expected when nothing is broken, summed over the cases.

Half of the 5 % that a suite may have: pass rates are estimated, and the cases of a suite are those
that looked good; the paired test has alarms of its own.
"""
STABLE = 0.97
"""Pass rate of a case whose own is not known."""
BROKEN = 0.2
"""Pass rate of a broken case at which the power is stated."""
USUAL_RERUNS = (5, 3)
"""Reruns and failures among them of the rule that most suites come to."""
_POWER_WANTED = 0.75
"""Of the 1 - BROKEN = .8 that any rule can reach, since the first try has to fail."""
_MOST_RERUNS = 8


@dataclass(frozen=True)
class RerunRule:
    """How failures are confirmed.

    Attributes:
        reruns: reruns of a case whose first try failed, at most.
        failures: failures among them that confirm a break.
        false_alarm: expected confirmed breaks when nothing is broken, summed over the cases.
        power: probability that a case with pass rate `BROKEN` is confirmed.
    """

    reruns: int
    failures: int
    false_alarm: float
    power: float


def rerun_rule(pass_rates: Iterable[tuple[float, float | None]]) -> RerunRule:
    """Fewest reruns that keep the false alarms within `BREAKS_ALPHA`, with power.

    Where no rule within 8 reruns does both, the most powerful that keeps false alarms within it;
    where none keeps them, the one with the fewest.

    Args:
        pass_rates: of each case that decides: its pass rate when nothing is broken, and the tries
            that it rests on; None for a rate that is known exactly.
    """
    counts = Counter(pass_rates)
    rules = [
        RerunRule(
            reruns=reruns,
            failures=failures,
            false_alarm=sum(
                n * confirmation(1 - rate, tries, reruns, failures)
                for (rate, tries), n in counts.items()
            ),
            power=confirmation(1 - BROKEN, None, reruns, failures),
        )
        for reruns in range(1, _MOST_RERUNS + 1)
        for failures in range(1, reruns + 1)
    ]
    quiet = [rule for rule in rules if rule.false_alarm <= BREAKS_ALPHA]
    if not quiet:
        return min(rules, key=lambda rule: rule.false_alarm)
    strong = [rule for rule in quiet if rule.power >= _POWER_WANTED]
    if not strong:
        return max(quiet, key=lambda rule: rule.power)
    return min(strong, key=lambda rule: (rule.reruns, -rule.power))


def confirmation(fails: float, tries: float | None, reruns: int, failures: int) -> float:
    """P(first try fails and at least `failures` of `reruns` do), 0..1.

    Args:
        fails: probability that a try fails.
        tries: how many tries that probability rests on; with a number, the expectation over
            Beta(fails * tries, (1 - fails) * tries), since a rate that is not known well may be a
            bad one.
        reruns: reruns of a failure.
        failures: failures among them that confirm it.
    """
    if tries is None:
        moment = [fails ** (k + 1) * (1 - fails) ** (reruns - k) for k in range(reruns + 1)]
    else:
        a, b = max(fails * tries, 1e-6), max((1 - fails) * tries, 1e-6)
        moment = [_moment(a, b, k + 1, reruns - k) for k in range(reruns + 1)]
    return sum(comb(reruns, k) * moment[k] for k in range(failures, reruns + 1))


def _moment(a: float, b: float, fails: int, passes: int) -> float:
    """E[p^fails (1 - p)^passes] over p ~ Beta(a, b), as a product: exact for any a and b."""
    drawn = [*(a + i for i in range(fails)), *(b + i for i in range(passes))]
    return prod(weight / (a + b + i) for i, weight in enumerate(drawn))
