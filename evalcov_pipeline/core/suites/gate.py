"""The gate of a CI suite: told apart are what a change broke and what is flaky.

Needs the standard library alone, so that it starts at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Literal

from evalcov_pipeline.core.suites.reruns import STABLE, RerunRule, rerun_rule

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
State = Literal["passed", "flaky", "broken", "undecided", "missing", "people"]

ALPHA = 0.05
"""Level of the paired test."""


@dataclass(frozen=True)
class SuiteCase:
    """What the gate knows about a case of the suite.

    Attributes:
        case_id: case.
        failure_mode: what fails in the product when this case breaks; None where not known.
        incident_id: incident that the case guards against; None for most.
        decides: enters the verdict; a case that does not is run and shown.
        pass_rate: expected pass rate of a system in which nothing is broken.
        pass_rate_tries: tries that `pass_rate` rests on; None for a rate that is known exactly.
        refused_judges: judges whose verdicts on this case do not count.
    """

    case_id: str
    failure_mode: str | None = None
    incident_id: str | None = None
    decides: bool = True
    pass_rate: float = STABLE
    pass_rate_tries: float | None = None
    refused_judges: frozenset[str] = frozenset()

    def counts(self, one: Try) -> bool:
        """Whether the verdict on a try counts."""
        return one.judge_id not in self.refused_judges


@dataclass(frozen=True)
class Try:
    """Verdict on one try of one case; tries of a case are ordered by `repeat`."""

    case_id: str
    repeat: int
    passed: bool
    judge_id: str | None = None


@dataclass(frozen=True)
class PairedTest:
    """First tries of the run against those of the baseline (exact McNemar test, one-sided).

    Attributes:
        compared: cases with both.
        worse: passed in the baseline and fail now.
        better: the other way round.
        p_value: of so many turning worse if either way were equally likely.
    """

    compared: int
    worse: int
    better: int
    p_value: float


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one case.

    Attributes:
        case: the case.
        state: passed (the first try); flaky (failed first, cleared by reruns); broken (confirmed);
            undecided (reruns are wanted); missing (no result); people (only refused judges).
        tries: tries that count.
        failed: those of them that failed.
        wanted: tries that are still wanted, at most.
        passed_before: first try of the baseline; None without one.
    """

    case: SuiteCase
    state: State
    tries: int = 0
    failed: int = 0
    wanted: int = 0
    passed_before: bool | None = None


@dataclass(frozen=True)
class GateOutcome:
    """The verdict and what it rests on.

    Attributes:
        verdict: PASS, FAIL or INCONCLUSIVE.
        reasons: why, one sentence each.
        cases: one outcome per case of the suite, in its order.
        rule: how failures are confirmed.
        unknown: ids with results that the suite does not hold.
        paired: the comparison with the baseline; None without one.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    cases: tuple[CaseOutcome, ...]
    rule: RerunRule
    unknown: tuple[str, ...] = ()
    paired: PairedTest | None = None

    def those(self, state: State) -> list[CaseOutcome]:
        """Outcomes in a state, of the cases that decide."""
        return [outcome for outcome in self.cases if outcome.state == state and _decides(outcome)]

    @property
    def to_run(self) -> list[CaseOutcome]:
        """Outcomes of the deciding cases that want more tries."""
        return [*self.those("missing"), *self.those("undecided")]


def judge_gate(
    suite: Sequence[SuiteCase], tries: Iterable[Try], baseline: Iterable[Try] | None = None
) -> GateOutcome:
    """Judge a run of a suite.

    FAIL: a case is confirmed broken, or, of a run without missing cases, significantly more first
    tries turned from pass to fail than the other way round against the baseline. INCONCLUSIVE:
    reruns or results are missing, or there are results of cases that the suite does not hold.
    Otherwise PASS. A break that is confirmed stays one whatever else is missing.

    Args:
        suite: its cases, ids distinct, at least one that decides.
        tries: results of the run; at most one per case and repeat.
        baseline: results of the run to compare with.

    Raises:
        ValueError: repeated ids, or no case that decides.
    """
    known = {case.case_id: case for case in suite}
    if len(known) < len(suite) or not any(case.decides for case in suite):
        raise ValueError("a suite needs distinct cases, and one that decides")
    rule = rerun_rule((case.pass_rate, case.pass_rate_tries) for case in suite if case.decides)
    verdicts = _by_case(tries, known)
    before = None if baseline is None else _by_case(baseline, known)
    unknown = tuple(sorted(verdicts.keys() - known.keys()))
    cases = tuple(
        _case_outcome(case, verdicts.get(case.case_id), (before or {}).get(case.case_id), rule)
        for case in suite
    )
    paired = None if before is None else _paired(cases, verdicts)
    outcome = GateOutcome("PASS", (), cases, rule, unknown, paired)
    fails, opens = _failures(outcome), _open_questions(outcome)
    return replace(
        outcome,
        verdict="FAIL" if fails else "INCONCLUSIVE" if opens else "PASS",
        reasons=(*fails, *opens) or ("no case is confirmed broken",),
    )


def paired_p_value(worse: int, better: int) -> float:
    """One-sided exact McNemar test: P(at least `worse` of the changes are for the worse).

    Args:
        worse: changes for the worse, >= 0.
        better: changes for the better, >= 0.
    """
    changed = worse + better
    return sum(comb(changed, k) for k in range(worse, changed + 1)) / (1 << changed)


def _by_case(tries: Iterable[Try], known: Mapping[str, SuiteCase]) -> dict[str, tuple[bool, ...]]:
    """Verdicts that count, in order, of every case whose first try is there."""
    by_case: dict[str, list[Try]] = defaultdict(list)
    for one in sorted(tries, key=lambda one: one.repeat):
        by_case[one.case_id].append(one)
    first = min((of_case[0].repeat for of_case in by_case.values()), default=0)
    return {
        case_id: tuple(
            one.passed for one in of_case if case_id not in known or known[case_id].counts(one)
        )
        for case_id, of_case in by_case.items()
        if of_case[0].repeat == first
    }


def _case_outcome(
    case: SuiteCase,
    verdicts: tuple[bool, ...] | None,
    before: tuple[bool, ...] | None,
    rule: RerunRule,
) -> CaseOutcome:
    passed_before = before[0] if before else None
    if verdicts is None:
        return CaseOutcome(case, "missing", wanted=1, passed_before=passed_before)
    if not verdicts:
        return CaseOutcome(case, "people", passed_before=passed_before)
    counted = verdicts[: 1 + rule.reruns]
    reruns = counted[1:]
    state: State
    if counted[0]:
        state = "passed"
    elif reruns.count(False) >= rule.failures:
        state = "broken"
    elif reruns.count(True) > rule.reruns - rule.failures:
        state = "flaky"
    else:
        state = "undecided"
    return CaseOutcome(
        case=case,
        state=state,
        tries=len(counted),
        failed=counted.count(False),
        wanted=rule.reruns - len(reruns) if state == "undecided" else 0,
        passed_before=passed_before,
    )


def _paired(cases: Iterable[CaseOutcome], verdicts: Mapping[str, tuple[bool, ...]]) -> PairedTest:
    pairs = [
        (outcome.passed_before, verdicts[outcome.case.case_id][0])
        for outcome in cases
        if outcome.tries and outcome.passed_before is not None and _decides(outcome)
    ]
    worse, better = pairs.count((True, False)), pairs.count((False, True))
    return PairedTest(len(pairs), worse, better, paired_p_value(worse, better))


def _decides(outcome: CaseOutcome) -> bool:
    return outcome.case.decides


def _failures(outcome: GateOutcome) -> list[str]:
    reasons = []
    if broken := outcome.those("broken"):
        reasons.append(f"{_cases(len(broken))} confirmed broken")
    paired = outcome.paired
    if paired and paired.p_value < ALPHA and not outcome.those("missing"):
        reasons.append(
            f"{_cases(paired.worse)} turned from pass to fail and {paired.better} the other way"
            f" round since the baseline (p = {paired.p_value:.2g})"
        )
    return reasons


def _open_questions(outcome: GateOutcome) -> list[str]:
    reasons = []
    if missing := outcome.those("missing"):
        reasons.append(f"{_cases(len(missing))} without a result: run them")
    if undecided := outcome.those("undecided"):
        reasons.append(
            f"{_cases(len(undecided))} failed and wait for reruns, up to"
            f" {outcome.rule.reruns} each, as `repeat` 1, 2, ... of the same run"
        )
    if outcome.unknown:
        reasons.append(
            f"{_cases(len(outcome.unknown))} with results that the suite does not hold: was"
            " another suite run?"
        )
    deciding = [one for one in outcome.cases if _decides(one) and one.tries]
    if len(deciding) > 1 and all(one.failed for one in deciding) and undecided:
        reasons.append("every case failed: is the system reachable, are its keys set?")
    if not deciding and not missing:
        reasons.append("no case has a verdict of a judge that counts")
    return reasons


def _cases(n: int) -> str:
    return "1 case" if n == 1 else f"{n} cases"
