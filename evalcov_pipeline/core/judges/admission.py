"""What a judge's verdicts may enter, by the certificates in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from evalcov_pipeline.core.judges.judged_answers import JudgeVersion
from evalcov_pipeline.core.judges.rulings import Ruling

_STRICT = ["REFUSED", "INSUFFICIENT", "TREND_ONLY", "GATE"]


class Certified(Protocol):
    """What of a certificate decides about admission."""

    @property
    def judge(self) -> JudgeVersion:
        """The version."""

    @property
    def category(self) -> str:
        """Of the answers."""

    @property
    def ruling(self) -> Ruling:
        """The verdict and its reason."""


@dataclass(frozen=True)
class Admission:
    """What a judge's verdicts in one category may enter.

    Attributes:
        score: a score, reweighted or not.
        gate: a gate.
        reason: in words.
    """

    score: bool
    gate: bool
    reason: str


def admissible(
    certificates: Sequence[Certified], in_use: Iterable[tuple[JudgeVersion, str]]
) -> dict[tuple[JudgeVersion, str], Admission]:
    """What the verdicts in use may enter, by version of the judge and category.

    REFUSED enters nothing, and only GATE a gate. A certificate lapses when judge, model, prompt or
    rubric change; until the new version has its own, it may enter no gate, and no score either if
    an earlier one is REFUSED. Where the version in use says less than the certificates, the
    strictest of those that fit holds.

    Args:
        certificates: those in force, in any order; of several for one version the last counts.
        in_use: versions and categories of the verdicts at hand.
    """
    newest = {(one.judge, one.category): one for one in certificates}
    return {
        (judge, category): _admission(
            judge, [one for one in newest.values() if one.category == category]
        )
        for judge, category in in_use
    }


def _admission(judge: JudgeVersion, certificates: Sequence[Certified]) -> Admission:
    fitting = [one for one in certificates if judge.matches(one.judge)]
    if fitting:
        strictest = min(fitting, key=lambda one: _STRICT.index(one.ruling.verdict))
        verdict = strictest.ruling.verdict
        reason = f"{verdict}: {strictest.ruling.reason}"
        return Admission(verdict != "REFUSED", verdict == "GATE", reason)
    if lapsed := [one for one in certificates if one.judge.judge_id == judge.judge_id]:
        refused = any(one.ruling.verdict == "REFUSED" for one in lapsed)
        names = "; ".join(str(one.judge) for one in lapsed)
        return Admission(not refused, False, f"lapsed: certified was {names}, this is {judge}")
    return Admission(True, False, f"{judge} was never held against labels of people")
