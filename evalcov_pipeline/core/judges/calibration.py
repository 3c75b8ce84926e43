"""Calibration of judges: human labels against their verdicts, a certificate for each category."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from evalcov_pipeline.core.judges.bias import Biases, biases
from evalcov_pipeline.core.judges.confusion_matrix import UNKNOWN, Estimate, as_labelled
from evalcov_pipeline.core.judges.judged_answers import (
    JudgedAnswers,
    JudgeVersion,
    Selection,
    judged_answers,
)
from evalcov_pipeline.core.judges.metrics import (
    JudgeMetrics,
    LabelledSample,
    cohens_kappa,
    measure,
    rate,
)
from evalcov_pipeline.core.judges.rulings import RULES, Rules, Ruling, rule


@dataclass(frozen=True)
class Certificate:
    """What one version of a judge is worth in one category.

    Attributes:
        judge: the version; the certificate says nothing of any other.
        category: of the answers.
        ruling: the verdict, its reason and what would change it.
        metrics: that it rests on.
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
    metrics: JudgeMetrics
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
        if unused := self.n_labelled - self.metrics.n:
            notes.append(f"{unused} labels are not used: how they were drawn is not known")
        return tuple(notes)

    def row(self) -> dict[str, object]:
        """The certificate as one flat row."""
        m = self.metrics
        estimates = {
            "agreement": m.agreement,
            "prevalence": m.prevalence,
            "kappa": m.kappa,
            "mcc": m.mcc,
            "tpr": m.tpr,
            "tnr": m.tnr,
            "human_agreement": self.human_agreement,
            "human_kappa": self.human_kappa,
            "people_rate": m.people_rate,
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
            "basis": m.basis,
            "n_judged": m.n_judged,
            "n_labelled": self.n_labelled,
            "n": m.n,
            "n_pass": m.n_pass,
            "n_fail": m.n_fail,
            "n_disputed": self.n_disputed,
            "n_unjudged": self.n_unjudged,
            "n_double": self.n_double,
            "leniency": m.leniency,
            "leniency_p": m.leniency_p,
            "corrected_rate": m.corrected.value,
            "corrected_low": m.corrected.low,
            "corrected_high": m.corrected.high,
            "corrected_reason": m.corrected_reason,
        }
        for name, estimate in estimates.items():
            flat |= {name: estimate.value, f"{name}_low": estimate.low}
            flat |= {f"{name}_high": estimate.high}
        for name, slope in vars(self.biases).items():
            flat |= {f"{name}_slope": slope.value, f"{name}_slope_low": slope.low}
            flat |= {f"{name}_slope_high": slope.high, f"{name}_slope_reason": slope.reason}
        return flat


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


def _certificate(held: JudgedAnswers, rng: np.random.Generator, rules: Rules) -> Certificate:
    labelled = held.labelled
    people, judge = (labelled[name].to_numpy().astype(bool) for name in ("people", "judge"))
    metrics = measure(_sample(held), rng, rules.enough)
    slopes = biases(people, judge, labelled["output"].to_list(), labelled["same_family"].to_list())
    double = held.answers.drop_nulls(["first", "second"])
    ruling = rule(metrics, slopes, len(double), rules)
    if ruling.verdict == "REFUSED":
        metrics = replace(metrics, corrected=UNKNOWN, corrected_reason="the judge is refused")
    first, second = (double[name].to_numpy().astype(bool) for name in ("first", "second"))
    return Certificate(
        judge=held.judge,
        category=held.category,
        ruling=ruling,
        metrics=metrics,
        biases=slopes,
        n_labelled=len(labelled),
        n_disputed=held.disputed,
        n_unjudged=held.unjudged,
        n_double=len(double),
        human_agreement=rate(int(np.sum(first == second)), len(double)),
        human_kappa=(
            as_labelled(first, second, rng).estimate(cohens_kappa) if len(double) else UNKNOWN
        ),
    )


def _sample(held: JudgedAnswers) -> LabelledSample:
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
    return LabelledSample(
        people=people,
        judge=judge,
        probabilities=probabilities,
        blind=np.isin(selection, ["random", "verdict_blind"]),
        judged=judged,
    )
