"""Which labels would help a judge's certificates most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from evalcov_pipeline.core.judges.calibration import Certificate
from evalcov_pipeline.core.judges.judged_answers import (
    JudgedAnswers,
    JudgeVersion,
    Selection,
    judged_answers,
)
from evalcov_pipeline.core.judges.rulings import Change
from evalcov_pipeline.core.statistics.shares import FloatArray, IntArray

Ask = Literal["first", "second"]
_LEAST_SHARE = 0.25
"""Least share of first labels that either verdict of the judge gets."""


@dataclass(frozen=True)
class TopUp:
    """An answer that is worth a label.

    Attributes:
        item_id: the answer.
        judge: version whose certificate it serves.
        category: of the answer.
        ask: for a first label, or for a second person's.
        inclusion_probability: chance with which it was drawn from the unlabelled answers with the
            same verdict; None for a second label.
        selection: how it was drawn, for the label that comes of it; None for a second label.
        reason: in words.
    """

    item_id: str
    judge: JudgeVersion
    category: str
    ask: Ask
    inclusion_probability: float | None
    selection: Selection | None
    reason: str


def top_up_plan(
    certificates: Sequence[Certificate],
    labels: pl.DataFrame,
    verdicts: pl.DataFrame,
    rng: np.random.Generator,
    size: int = 20,
) -> list[TopUp]:
    """The answers to label next, so that most traffic gets a better verdict soonest.

    Certificates that labels can lift come in order of judged answers per label still wanted; each
    gets what it wants until the plan is full. Its first labels are split between the judge's passes
    and fails: where one class is short, by how likely such an answer is of that class, otherwise by
    how little the verdict tells (the standard deviation of people's); at least a quarter on either
    side, since false accepts hide among passes and false rejects among fails. Within a verdict they
    are drawn at random, and the probability is kept.

    Args:
        certificates: of these labels and verdicts.
        labels: see `judged_answers`.
        verdicts: see `judged_answers`.
        rng: source of the draw.
        size: most answers in the plan.

    Returns:
        No item twice; fewer than `size` where less is wanted or there.
    """
    held = {(one.judge, one.category): one for one in judged_answers(labels, verdicts, None)}
    plan: list[TopUp] = []
    for certificate in sorted(certificates, key=_gain, reverse=True):
        key = (certificate.judge, certificate.category)
        taken = {pick.item_id for pick in plan}
        if key in held and (left := size - len(plan)) > 0:
            plan += _picks(certificate, held[key], taken, left, rng)
    return plan


def _gain(certificate: Certificate) -> float:
    """Judged answers per label that the verdict still wants; 0 where labels cannot lift it."""
    changes = certificate.ruling.changes
    wanted = [change.labels for change in changes if change.labels is not None]
    if not wanted or len(wanted) < len(changes):
        return 0.0
    return certificate.metrics.n_judged / max(wanted)


def _picks(
    certificate: Certificate,
    held: JudgedAnswers,
    taken: set[str],
    left: int,
    rng: np.random.Generator,
) -> list[TopUp]:
    if _gain(certificate) == 0:
        return []
    firsts = [c for c in certificate.ruling.changes if c.labels and c.wanted != "second"]
    seconds = [c for c in certificate.ruling.changes if c.labels and c.wanted == "second"]
    free = held.answers.filter(~pl.col("item_id").is_in(list(taken)))
    picks: list[TopUp] = []
    for change in seconds:
        once = free.filter(pl.col("first").is_not_null() & pl.col("second").is_null())["item_id"]
        n = min(change.labels or 0, left if not firsts else left // 4, len(once))
        picks += [
            TopUp(str(item), held.judge, held.category, "second", None, None, str(change))
            for item in rng.choice(once.to_numpy(), n, replace=False)
        ]
    if firsts:
        of_class = [change for change in firsts if change.wanted in ("passing", "failing")]
        least = max(change.labels or 0 for change in firsts)
        picks += _first_labels((of_class or firsts)[0], held, free, least, left - len(picks), rng)
    return picks


def _first_labels(
    change: Change,
    held: JudgedAnswers,
    free: pl.DataFrame,
    least: int,
    left: int,
    rng: np.random.Generator,
) -> list[TopUp]:
    """At least `least` answers, more where only some turn out to be of the class that is short."""
    unlabelled = free.filter(pl.col("first").is_null())
    by_verdict = [unlabelled.filter(pl.col("judge") == bool(verdict)) for verdict in (0, 1)]
    available = np.array([len(part) for part in by_verdict])
    passing = _passing(held)
    if change.wanted in ("passing", "failing"):
        wish = passing if change.wanted == "passing" else 1 - passing
        least = max(least, math.ceil((change.labels or 0) / float(_shares(wish) @ wish)))
    else:
        wish = np.sqrt(passing * (1 - passing))
    picks = []
    for verdict, (part, drawn) in enumerate(
        zip(by_verdict, _split(min(left, least), _shares(wish), available), strict=True)
    ):
        judged = "the judge passed it" if verdict else "the judge failed it"
        share = f"people pass {passing[verdict]:.0%} of such answers so far"
        picks += [
            TopUp(
                str(item), held.judge, held.category, "first", float(drawn / len(part)),
                "by_verdict", f"{change}; {judged}, {share}",
            )
            for item in rng.choice(part["item_id"].to_numpy(), drawn, replace=False)
        ]  # fmt: skip
    return picks


def _passing(held: JudgedAnswers) -> FloatArray:
    """(2,) share that people pass of what the judge fails and passes, by Jeffreys' mean."""
    counts: Mapping[tuple[object, ...], int] = {
        row[:2]: row[2] for row in held.labelled.group_by("judge", "people").len().rows()
    }
    return np.array([
        (counts.get((verdict, True), 0) + 0.5)
        / (counts.get((verdict, True), 0) + counts.get((verdict, False), 0) + 1)
        for verdict in (False, True)
    ])  # fmt: skip


def _shares(wish: FloatArray) -> FloatArray:
    """(2,) shares of the labels for the judge's fails and passes, a quarter at least each."""
    fails = np.clip(wish[0] / wish.sum(), _LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.array([fails, 1 - fails])


def _split(n: int, shares: FloatArray, available: IntArray) -> list[int]:
    """Labels for the judge's fails and passes; what one lacks the other gives."""
    n = min(n, int(available.sum()))
    fails = int(np.clip(round(n * shares[0]), n - available[1], available[0]))
    return [fails, n - fails]
