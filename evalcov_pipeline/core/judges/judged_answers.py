"""Answers that a judge has judged, with what people settled about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from evalcov_pipeline.core.judges.bias import model_family
from evalcov_pipeline.core.labels.decision import UNCATEGORISED, Label, resolve

Selection = Literal["random", "by_verdict", "verdict_blind"]
_BEGINNING = datetime(1, 1, 1)

_Schema = Mapping[str, pl.DataType | type[pl.DataType]]
_LABELS: _Schema = {
    "item_id": pl.String,
    "rater": pl.String,
    "passed": pl.Boolean,
    "category": pl.String,
    "at": pl.Datetime("us"),
    "first_at": pl.Datetime("us"),
    "inclusion_probability": pl.Float64,
    "selection": pl.String,
}
_VERDICTS: _Schema = {
    "item_id": pl.String,
    "judge_id": pl.String,
    "judge_model": pl.String,
    "prompt_version": pl.String,
    "rubric_version": pl.String,
    "category": pl.String,
    "passed": pl.Boolean,
    "output": pl.String,
    "model": pl.String,
    "at": pl.Datetime("us"),
}
_SETTLED: _Schema = {
    "item_id": pl.String,
    "people": pl.Boolean,
    "first": pl.Boolean,
    "second": pl.Boolean,
    "people_category": pl.String,
    "inclusion_probability": pl.Float64,
    "selection": pl.String,
}
_VERSION = ["judge_id", "judge_model", "prompt_version", "rubric_version"]


@dataclass(frozen=True, order=True)
class JudgeVersion:
    """What a certificate is for: it lapses when any of these changes.

    Attributes:
        judge_id: name of the judge.
        model: that judges; None where it was not said, as below.
        prompt: version of its prompt.
        rubric: version of the rubric.
    """

    judge_id: str
    model: str | None = None
    prompt: str | None = None
    rubric: str | None = None

    def matches(self, other: JudgeVersion) -> bool:
        """Whether nothing that both say differs."""
        mine, others = astuple(self), astuple(other)
        pairs = zip(mine[1:], others[1:], strict=True)
        return mine[0] == others[0] and all(None in pair or pair[0] == pair[1] for pair in pairs)

    def __str__(self) -> str:
        parts = (("", self.model), ("prompt ", self.prompt), ("rubric ", self.rubric))
        details = ", ".join(f"{name}{value}" for name, value in parts if value)
        return f"{self.judge_id} ({details})" if details else self.judge_id


@dataclass(frozen=True)
class JudgedAnswers:
    """Answers of one category that one version of a judge has judged.

    Attributes:
        judge: the version.
        category: of the answers.
        answers: one row per item: item_id, judge (its verdict), people (what they settled, NULL
            where nothing is), first, second (independent labels), output, same_family,
            inclusion_probability, selection.
        unjudged: labelled items of the category that this version has not judged.
    """

    judge: JudgeVersion
    category: str
    answers: pl.DataFrame
    unjudged: int

    @property
    def labelled(self) -> pl.DataFrame:
        """Answers about which people settled."""
        return self.answers.filter(pl.col("people").is_not_null())

    @property
    def disputed(self) -> int:
        """Answers that raters disagree about and nobody has adjudicated."""
        disputed = self.answers["first"].is_not_null() & self.answers["people"].is_null()
        return int(disputed.sum())


def judged_answers(
    labels: pl.DataFrame, verdicts: pl.DataFrame, undeclared: Selection | None
) -> list[JudgedAnswers]:
    """Hold labels against verdicts, by version of the judge and category.

    An item counts once per version, with the newest verdict, and once per rater, with the newest
    label. Its category is the verdict's, so that labelled and other answers are told apart alike;
    else people's, else 'uncategorised'.

    Args:
        labels: one row per item and rater: item_id, rater, passed; may have category, at,
            first_at, inclusion_probability (chance that the item was drawn from the judged answers
            of its category) and selection, which needs no probability: 'random' (every answer of
            the category was as likely), 'by_verdict' (every answer with the same verdict was) or
            'verdict_blind' (chosen without regard to any verdict).
        verdicts: item_id, judge_id, passed; may have judge_model, prompt_version, rubric_version,
            category, output, model (that answered), at.
        undeclared: how labels were drawn that have neither a probability nor a selection; None if
            nobody knows.

    Returns:
        By version and category, in their order; none without verdicts.

    Raises:
        ValueError: a column is missing, or a probability is outside (0, 1].
    """
    people = settled(labels, undeclared)
    held = (
        _shaped(verdicts, _VERDICTS, {"item_id", "judge_id", "passed"})
        .sort("at", maintain_order=True)
        .unique(["item_id", *_VERSION], keep="last", maintain_order=True)
        .join(people, on="item_id", how="left")
        .with_columns(
            pl.coalesce("category", "people_category", pl.lit(UNCATEGORISED)).alias("category"),
            pl.struct("judge_model", "model")
            .map_elements(_same_family, return_dtype=pl.Boolean)
            .alias("same_family"),
        )
        .rename({"passed": "judge"})
        .sort(*_VERSION, "category", "item_id")
    )
    return list(_partitioned(held, people))


def _partitioned(held: pl.DataFrame, people: pl.DataFrame) -> Iterator[JudgedAnswers]:
    for names, of_judge in held.partition_by(
        _VERSION, as_dict=True, include_key=True, maintain_order=True
    ).items():
        missing = people.join(of_judge, on="item_id", how="anti").select(
            pl.col("people_category").fill_null(UNCATEGORISED)
        )
        unjudged = dict(missing["people_category"].value_counts().iter_rows())
        for (category,), answers in of_judge.partition_by(
            "category", as_dict=True, maintain_order=True
        ).items():
            yield JudgedAnswers(
                judge=JudgeVersion(*names),
                category=category,
                answers=answers.select(
                    "item_id", "judge", "people", "first", "second", "output", "same_family",
                    "inclusion_probability", "selection",
                ),
                unjudged=unjudged.get(category, 0),
            )  # fmt: skip


def settled(labels: pl.DataFrame, undeclared: Selection | None = None) -> pl.DataFrame:
    """What people settled, by item; two raters who differ leave it unsettled.

    Arguments and errors as in `judged_answers`.

    Returns:
        item_id, people (NULL where unsettled), first, second (independent labels),
        people_category, inclusion_probability and selection.
    """
    labels = _shaped(labels, _LABELS, {"item_id", "rater", "passed"})
    p = labels["inclusion_probability"]
    if not (p.is_null() | ((p > 0) & (p <= 1))).all():
        raise ValueError("an inclusion probability must be above 0 and at most 1")
    rows = []
    by_item = labels.sort("at", maintain_order=True).partition_by(
        "item_id", as_dict=True, maintain_order=True
    )
    for (item,), group in by_item.items():
        ordered = _newest_of_each_rater(group)
        held = resolve(ordered, min(2, len(ordered))).label
        probability = group["inclusion_probability"].drop_nulls()
        selection = group["selection"].drop_nulls()
        categories = group["category"].drop_nulls()
        rows.append({
            "item_id": item,
            "people": held.passed if held else None,
            "first": ordered[0].passed,
            "second": ordered[1].passed if len(ordered) > 1 else None,
            "people_category": categories[-1] if len(categories) else None,
            "inclusion_probability": probability[0] if len(probability) else None,
            "selection": selection[0] if len(selection) else undeclared,
        })  # fmt: skip
    return pl.DataFrame(rows, schema=_SETTLED)


def _newest_of_each_rater(group: pl.DataFrame) -> list[Label]:
    """Labels on one answer by the time of each rater's first; their categories need not agree."""
    newest: dict[str, Label] = {}
    for rater, passed, at, first_at in group.select("rater", "passed", "at", "first_at").rows():
        at = at or _BEGINNING
        first_at = newest[rater].first_at if rater in newest else first_at or at
        newest[rater] = Label(
            rater=rater, keep=True, passed=passed, expected=None, category=None, note=None,
            first_at=first_at, at=at,
        )  # fmt: skip
    return sorted(newest.values(), key=lambda label: (label.first_at, label.rater))


def _same_family(models: dict[str, str | None]) -> bool | None:
    judge, answer = models["judge_model"], models["model"]
    return None if judge is None or answer is None else model_family(judge) == model_family(answer)


def _shaped(rows: pl.DataFrame, schema: _Schema, needed: set[str]) -> pl.DataFrame:
    """Rows with every column of `schema`, NULL where absent, without those that lack a needed."""
    if missing := needed - set(rows.columns):
        raise ValueError(f"columns are missing: {', '.join(sorted(missing))}")
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    ).drop_nulls(sorted(needed))
