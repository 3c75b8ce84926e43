"""Whether a judge may be believed: human labels against its verdicts, by category."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from evalcov_pipeline.core.judges import confusion as tables
from evalcov_pipeline.core.judges.answers import (
    JudgedAnswers,
    JudgeVersion,
    Selection,
    judged_answers,
)
from evalcov_pipeline.core.judges.bias import Biases, biases
from evalcov_pipeline.core.judges.confusion import UNKNOWN, Estimate
from evalcov_pipeline.core.judges.figures import Figures, Sample, measure, rate
from evalcov_pipeline.core.judges.rules import RULES, Rules, Ruling, rule


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
class Certificate:
    """What one version of a judge is worth in one category.

    Attributes:
        judge: the version; the certificate says nothing of any other.
        category: of the answers.
        ruling: the verdict, its reason and what would change it.
        figures: that it rests on.
        biases: slopes of length, hedging and family.
        n_labelled: judged answers with a settled label.
        n_disputed: left out because raters disagree and nobody has adjudicated.
        n_unjudged: labelled items of the category that this version has not judged.
        n_double: answers that two people labelled independently.
        human_agreement: of their first labels, with Wilson's interval.
        human_kappa: of the same.
    """

    judge: JudgeVersion
    category: str
    ruling: Ruling
    figures: Figures
    biases: Biases
    n_labelled: int
    n_disputed: int
    n_unjudged: int
    n_double: int
    human_agreement: Estimate
    human_kappa: Estimate

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, in words."""
        notes = []
        if self.n_disputed:
            notes.append(f"raters disagree about {self.n_disputed} answers, nobody adjudicated")
        if self.n_unjudged:
            notes.append(f"{self.n_unjudged} labelled items have no verdict of this judge")
        if unused := self.n_labelled - self.figures.n:
            notes.append(f"{unused} labels are not used: how they were drawn is not known")
        return tuple(notes)

    def row(self) -> dict[str, object]:
        """The certificate as one flat row."""
        f = self.figures
        estimates = {
            "agreement": f.agreement,
            "prevalence": f.prevalence,
            "kappa": f.kappa,
            "mcc": f.mcc,
            "tpr": f.tpr,
            "tnr": f.tnr,
            "human_agreement": self.human_agreement,
            "human_kappa": self.human_kappa,
            "people_rate": f.people_rate,
        }
        flat: dict[str, object] = {
            "judge_id": self.judge.judge_id,
            "judge_model": self.judge.model,
            "prompt_version": self.judge.prompt,
            "rubric_version": self.judge.rubric,
            "category": self.category,
            "verdict": self.ruling.verdict,
            "reason": self.ruling.reason,
            "what_would_change_it": "; ".join(map(str, self.ruling.changes)) or None,
            "notes": "; ".join(self.notes) or None,
            "basis": f.basis,
            "n_judged": f.n_judged,
            "n_labelled": self.n_labelled,
            "n": f.n,
            "n_pass": f.n_pass,
            "n_fail": f.n_fail,
            "n_disputed": self.n_disputed,
            "n_unjudged": self.n_unjudged,
            "n_double": self.n_double,
            "leniency": f.leniency,
            "leniency_p": f.leniency_p,
            "corrected_rate": f.corrected.value,
            "corrected_low": f.corrected.low,
            "corrected_high": f.corrected.high,
            "corrected_reason": f.corrected_reason,
        }
        for name, estimate in estimates.items():
            flat |= {name: estimate.value, f"{name}_low": estimate.low}
            flat |= {f"{name}_high": estimate.high}
        for name, slope in vars(self.biases).items():
            flat |= {f"{name}_slope": slope.value, f"{name}_slope_low": slope.low}
            flat |= {f"{name}_slope_high": slope.high, f"{name}_slope_reason": slope.reason}
        return flat


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


def calibrate(
    labels: pl.DataFrame,
    verdicts: pl.DataFrame,
    rng: np.random.Generator,
    *,
    undeclared: Selection | None = None,
    rules: Rules = RULES,
) -> list[Certificate]:
    """Hold human labels against the verdicts of every judge, category by category.

    Args:
        labels: see `judged_answers`.
        verdicts: see `judged_answers`.
        rng: source of the draws behind the intervals.
        undeclared: how labels were drawn that do not say so; None if nobody knows.
        rules: what the verdicts ask for.

    Returns:
        One certificate per version of a judge and category that it has judged.

    Raises:
        ValueError: a column is missing, or a probability is outside (0, 1].
    """
    held = judged_answers(labels, verdicts, undeclared)
    return [_certificate(answers, rng, rules) for answers in held]


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


_STRICT = ["REFUSED", "INSUFFICIENT", "TREND_ONLY", "GATE"]


def _certificate(held: JudgedAnswers, rng: np.random.Generator, rules: Rules) -> Certificate:
    labelled = held.labelled
    people, judge = (labelled[name].to_numpy().astype(bool) for name in ("people", "judge"))
    figures = measure(_sample(held), rng, rules.enough)
    slopes = biases(people, judge, labelled["output"].to_list(), labelled["same_family"].to_list())
    double = held.answers.drop_nulls(["first", "second"])
    ruling = rule(figures, slopes, len(double), rules)
    if ruling.verdict == "REFUSED":
        figures = replace(figures, corrected=UNKNOWN, corrected_reason="the judge is refused")
    first, second = (double[name].to_numpy().astype(bool) for name in ("first", "second"))
    return Certificate(
        judge=held.judge,
        category=held.category,
        ruling=ruling,
        figures=figures,
        biases=slopes,
        n_labelled=len(labelled),
        n_disputed=held.disputed,
        n_unjudged=held.unjudged,
        n_double=len(double),
        human_agreement=rate(int(np.sum(first == second)), len(double)),
        human_kappa=(
            tables.as_labelled(first, second, rng).estimate(tables.kappa)
            if len(double)
            else UNKNOWN
        ),
    )


def _sample(held: JudgedAnswers) -> Sample:
    """Labels of one category for `measure`.

    Answers with the same verdict that were drawn at random, in however many rounds, are one simple
    random sample of such answers: their probability is the share of them that was drawn.
    """
    labelled = held.labelled
    people, judge = (labelled[name].to_numpy().astype(bool) for name in ("people", "judge"))
    selection = labelled["selection"].to_numpy()
    probabilities = labelled["inclusion_probability"].to_numpy().astype(float)
    passed = int(held.answers["judge"].sum())
    judged = (len(held.answers) - passed, passed)
    for verdict in (False, True):
        alike = np.isin(selection, ["random", "by_verdict"]) & (judge == verdict)
        probabilities[alike] = alike.sum() / max(1, judged[verdict])
    return Sample(
        people=people,
        judge=judge,
        probabilities=probabilities,
        blind=np.isin(selection, ["random", "verdict_blind"]),
        judged=judged,
    )
