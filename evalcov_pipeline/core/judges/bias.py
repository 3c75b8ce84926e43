"""What moves a judge's verdict besides the truth: length, hedging, and its own family of models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalcov_pipeline.core.judges.confusion_matrix import BoolArray
from evalcov_pipeline.core.statistics.shares import Z95, FloatArray
from evalcov_pipeline.core.text.hedging import hedges

LEAST_VERDICTS = 5
"""Passes, and fails, of the judge below which no slope is looked for."""
_FARTHEST = 20.0
_RIDGE = 1e-9
_FAMILY = re.compile(r"(?:.*[/.:](?=[a-z]))?([a-z]+)")


@dataclass(frozen=True)
class Slope:
    """Change of the log odds that the judge passes an answer, people's verdict held fixed.

    Attributes:
        value: per unit; None where it cannot be estimated.
        low: lower end of its 95 % interval.
        high: upper end.
        reason: why there is no value; None where there is one.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def shown_beyond(self, tolerated: float) -> bool:
        """Whether the whole interval is farther from 0 than `tolerated`."""
        return (self.low is not None and self.low > tolerated) or (
            self.high is not None and self.high < -tolerated
        )


@dataclass(frozen=True)
class Biases:
    """Slopes of one judge.

    Attributes:
        verbosity: per doubling of the answer's length in characters.
        hedging: of an answer that hedges; below 0 the judge favours confident answers.
        same_family: of an answer by a model of the judge's own family.
    """

    verbosity: Slope
    hedging: Slope
    same_family: Slope


def model_family(model: str) -> str:
    """Family of a model by its name: 'openai/gpt-4o' and 'gpt-4.1-mini' are both 'gpt'."""
    name = _FAMILY.match(model.lower())
    return name[1] if name else model.lower()


def biases(
    people: BoolArray,
    judge: BoolArray,
    answers: Sequence[str | None],
    same_family: Sequence[bool | None],
) -> Biases:
    """Slopes from one model: judge passes ~ people pass + log2 length + hedging + same family.

    Logistic regression with Firth's penalty, intervals from its profile, both finite where the
    factors separate the verdicts. Answers without what one factor needs are left out of that model;
    a factor that most answers lack, or that is the same everywhere, is left out itself. How labels
    were drawn does not matter as long as it was by verdict or by truth: that moves the intercept.
    Source: Firth (1993); Heinze and Schemper (2002).

    Args:
        people: (n,) whether people pass the answer.
        judge: (n,) whether the judge does.
        answers: n texts, None where not captured.
        same_family: n, whether the model that answered is of the judge's family; None if unknown.
    """
    columns = {
        "verbosity": [None if text is None else float(np.log2(1 + len(text))) for text in answers],
        "hedging": [None if text is None else float(hedges(text)) for text in answers],
        "same_family": [None if same is None else float(same) for same in same_family],
    }
    lacking = {
        "verbosity": "the answers were not captured",
        "hedging": "the answers were not captured",
        "same_family": "the judge's or the answers' model is not known",
    }
    alike = {
        "verbosity": "all answers are equally long",
        "hedging": "either all answers hedge or none does",
        "same_family": "either all answers are by models of the judge's family or none is",
    }
    x = {name: np.array(column, dtype=float) for name, column in columns.items()}
    reasons = {
        name: lacking[name]
        for name, column in x.items()
        if 2 * np.isfinite(column).sum() <= len(column)
    }
    used = [name for name in x if name not in reasons]
    rows = np.all([np.isfinite(x[name]) for name in used], axis=0) if used else np.zeros(0, bool)
    reasons |= {name: alike[name] for name in used if not _varies(x[name][rows])}
    used = [name for name in used if name not in reasons]
    if used and min(np.sum(judge[rows]), np.sum(~judge[rows])) < LEAST_VERDICTS:
        reasons |= dict.fromkeys(used, f"the judge passed or failed fewer than {LEAST_VERDICTS}")
        used = []
    slopes = {name: Slope(None, None, None, reason) for name, reason in reasons.items()}
    if used:
        factors = [x[name][rows] for name in used]
        factors += [people[rows].astype(float)] if _varies(people[rows]) else []
        estimated = firth_slopes(np.column_stack(factors), judge[rows])
        slopes |= dict(zip(used, estimated, strict=False))
    return Biases(**slopes)


def firth_slopes(factors: FloatArray, outcome: BoolArray) -> list[Slope]:
    """Slopes of a logistic regression with Firth's penalty, with profile intervals.

    Args:
        factors: (n, k), without an intercept.
        outcome: (n,) both values present.
    """
    scale = factors.std(axis=0)
    standardised = (factors - factors.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    model = _Firth(np.column_stack([np.ones(len(factors)), standardised]), outcome.astype(float))
    if np.linalg.matrix_rank(model.x) < model.x.shape[1]:
        return [Slope(None, None, None, "the factors always go together")] * factors.shape[1]
    best = model.fit(np.zeros(model.x.shape[1]))
    return [model.slope(best, j, scale[j - 1]) for j in range(1, model.x.shape[1])]


@dataclass(frozen=True)
class _Firth:
    """Penalised likelihood of `y` (n,) given `x` (n, k)."""

    x: FloatArray
    y: FloatArray

    def likelihood(self, b: FloatArray) -> float:
        eta = self.x @ b
        _, logdet = np.linalg.slogdet(self.information(b))
        return float(self.y @ eta - np.logaddexp(0, eta).sum() + logdet / 2)

    def information(self, b: FloatArray) -> FloatArray:
        p = _chance(self.x @ b)
        information: FloatArray = (self.x * (p * (1 - p))[:, None]).T @ self.x
        return information + _RIDGE * np.eye(len(b))

    def fit(self, start: FloatArray, fixed: int | None = None) -> FloatArray:
        """(k,) maximum by Newton's method; coefficient `fixed` stays where it starts."""
        free = np.array([j for j in range(len(start)) if j != fixed])
        b, now = start, self.likelihood(start)
        for _ in range(60):
            p = _chance(self.x @ b)
            information = self.information(b)
            leverage = p * (1 - p) * np.sum(self.x @ np.linalg.inv(information) * self.x, axis=1)
            score = self.x.T @ (self.y - p + leverage * (0.5 - p))
            step = np.zeros_like(b)
            step[free] = np.linalg.solve(information[np.ix_(free, free)], score[free])
            step /= max(1.0, np.abs(step).max() / 3)
            while (then := self.likelihood(b + step)) < now and np.abs(step).max() > 1e-8:
                step /= 2
            b, gained, now = b + step, then - now, then
            if abs(gained) < 1e-7:
                break
        return b

    def slope(self, best: FloatArray, j: int, scale: float) -> Slope:
        """Coefficient j with the values at which the profile falls by Z95^2 / 2."""
        from scipy.optimize import brentq

        top = self.likelihood(best)

        def short_of_end(value: float) -> float:
            start = best.copy()
            start[j] = value
            return self.likelihood(self.fit(start, j)) - top + Z95**2 / 2

        ends = []
        width = float(np.sqrt(np.linalg.inv(self.information(best))[j, j]))
        for direction in (-1, 1):
            far = best[j] + direction * Z95 * width
            while short_of_end(far) > 0:
                far += direction * width
                if abs(far) > _FARTHEST:
                    return Slope(None, None, None, "the verdicts do not bound it")
            ends.append(float(brentq(short_of_end, best[j], far, xtol=1e-3)) / scale)
        return Slope(float(best[j]) / scale, ends[0], ends[1])


def _chance(eta: FloatArray) -> FloatArray:
    chance: FloatArray = 1 / (1 + np.exp(-np.clip(eta, -30, 30)))
    return chance


def _varies(values: FloatArray | BoolArray) -> bool:
    return len(values) > 0 and bool(np.ptp(values.astype(float)) > 0)
