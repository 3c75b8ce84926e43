"""Planted judges: do the intervals hold, and are verdicts right?

A judge passes what people pass with its TPR and fails what they fail with its TNR; a biased one is
also swayed by length and by its own family, on the log-odds scale, so that TPR and TNR hold on
average. Prevalence is the share that people fail. 2,000 answers are judged, n of them labelled:

    random         every answer is as likely
    by_verdict     half of the labels among the judge's fails, known probabilities
    by_length      probability proportional to length, known
    by_truth       half of the labels among answers that people fail, verdict-blind
    undeclared     like by_truth, but nobody says so

Tables:

    rates       how often the interval of the corrected rate holds the true one, in settings where
                at least 90 % of draws publish one
    verdicts    GATE for a judge that does not deserve it (true kappa < .6, TPR < .7 or TNR < .7),
                REFUSED for one of kappa >= .75 and for one that knows nothing, where 90 % of draws
                have enough labels; beside them the plain rule: REFUSED wherever the lower end of
                kappa is below .4, GATE however the labels were drawn; slopes are not looked at,
                which can only grant more
    slopes      intervals and power of the three slopes; a tolerable judge that is denied GATE
    top_up      20 labels of the plan against 20 at random: labels of the rarer class

A setting with a figure near its bound (see `near_a_bound`) is drawn afresh, eight times as often,
and the second figures are the ones that count. What is known so far is written as it comes.

    python benchmarks/judges.py [--draws 250] [--quick] [--workers 2]
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import expit

from evalcov_pipeline.core.judges.bias import Biases, Slope, biases
from evalcov_pipeline.core.judges.calibration import calibrate
from evalcov_pipeline.core.judges.metrics import LabelledSample, agreement, cohens_kappa, measure
from evalcov_pipeline.core.judges.rulings import RULES, rule
from evalcov_pipeline.core.judges.top_up import top_up_plan

OUT = Path(__file__).parent / "out" / "judges.json"
JUDGED = 2000
LABELS = (20, 50, 100, 200, 400, 1000)
PREVALENCES = (0.05, 0.15, 0.3, 0.5)
DESIGNS = ("random", "by_verdict", "by_length", "by_truth", "undeclared")
UNBIASED = Biases(*[Slope(None, None, None, "not looked at")] * 3)
DOUBLE = 20
NORMAL = np.quantile(np.random.default_rng(0).normal(size=100_000), np.linspace(0.005, 0.995, 100))


@dataclass(frozen=True)
class Judge:
    """A planted judge; slopes are log odds per doubling of length and for its own family."""

    name: str
    tpr: float
    tnr: float
    verbosity: float = 0.0
    family: float = 0.0

    def table(self, prevalence: float) -> np.ndarray:
        p = 1 - prevalence
        return np.array([
            [prevalence * self.tnr, prevalence * (1 - self.tnr)],
            [p * (1 - self.tpr), p * self.tpr],
        ])  # fmt: skip

    def kappa(self, prevalence: float) -> float:
        return float(cohens_kappa(self.table(prevalence)))

    def undeserving(self, prevalence: float) -> bool:
        return self.kappa(prevalence) < 0.6 - 1e-9 or min(self.tpr, self.tnr) < 0.7 - 1e-9

    def base(self, rate: float) -> float:
        """Log odds at which lengths and families average to `rate`."""
        sway = np.add.outer(self.verbosity * NORMAL, self.family * np.array([-0.5, 0.5]))
        return float(brentq(lambda b: expit(b + sway).mean() - rate, -30, 30))


@dataclass(frozen=True)
class Answers:
    """What people and the judge say about all judged answers."""

    people: np.ndarray
    judge: np.ndarray
    doublings: np.ndarray
    family: np.ndarray


def answered(judge: Judge, bases: tuple[float, float], prevalence: float, rng) -> Answers:
    people = rng.random(JUDGED) >= prevalence
    doublings = rng.normal(size=JUDGED)
    family = rng.random(JUDGED) < 0.5
    sway = judge.verbosity * doublings + judge.family * (family - 0.5)
    chance = expit(np.where(people, bases[1], bases[0]) + sway)
    return Answers(people, rng.random(JUDGED) < chance, doublings, family)


def labelled(answers: Answers, design: str, n: int, rng) -> tuple[np.ndarray, LabelledSample]:
    """Positions of the labels, and the sample."""
    probabilities = np.full(JUDGED, np.nan)
    if design == "random":
        picked = rng.choice(JUDGED, n, replace=False)
        probabilities[:] = n / JUDGED
    elif design == "by_length":
        size = np.exp2(answers.doublings / 2)
        probabilities = np.minimum(n * size / size.sum(), 1.0)
        picked = np.flatnonzero(rng.random(JUDGED) < probabilities)
    else:
        split = answers.judge if design == "by_verdict" else answers.people
        fails, passes = np.flatnonzero(~split), np.flatnonzero(split)
        n_fails = int(np.clip(n // 2, n - min(n, len(passes)), min(n, len(fails))))
        picked = np.concatenate([
            rng.choice(fails, n_fails, replace=False),
            rng.choice(passes, n - n_fails, replace=False),
        ])  # fmt: skip
        if design == "by_verdict":
            probabilities[fails] = n_fails / max(1, len(fails))
            probabilities[passes] = (n - n_fails) / max(1, len(passes))
    passed = int(answers.judge.sum())
    sample = LabelledSample(
        people=answers.people[picked],
        judge=answers.judge[picked],
        probabilities=probabilities[picked],
        blind=np.full(len(picked), design in ("random", "by_truth")),
        judged=(JUDGED - passed, passed),
    )
    return picked, sample


def asked(judge: Judge, prevalence: float, design: str, n: int) -> bool:
    """Whether a setting can show something: enough labels, and judges that the design is about."""
    if n < RULES.enough.labels:
        return design == "random"
    if design == "undeclared":
        return judge.undeserving(prevalence)
    if design == "by_length" and judge.name not in ("good", "lenient", "lenient, swayed"):
        return False
    failing = n * (0.5 if design == "by_truth" else prevalence)
    return failing >= 10 or design == "by_verdict"


def with_kappa(name: str, wanted: float, prevalence: float, lenient: float) -> Judge:
    """A judge of this kappa; misses of failing answers are `lenient` times those of passing."""

    def made(x: float) -> Judge:
        worst = max(1.0, lenient)
        return Judge(name, 1 - x / worst, 1 - x * lenient / worst)

    return made(brentq(lambda x: made(x).kappa(prevalence) - wanted, 1e-6, 0.5))


def judges_at(prevalence: float) -> list[Judge]:
    return [
        Judge("good", 0.97, 0.92),
        Judge("lenient", 0.97, 0.60),
        Judge("useless", 0.50, 0.50),
        Judge("passes most", 0.90, 0.10),
        Judge("swayed", 0.92, 0.85, verbosity=1.0, family=0.7),
        Judge("lenient, swayed", 0.95, 0.60, verbosity=1.0, family=1.0),
        with_kappa("kappa .75", 0.75, prevalence, 1.0),
        with_kappa("kappa .75 lenient", 0.75, prevalence, 6.0),
        with_kappa("kappa .59", 0.59, prevalence, 1.0),
        Judge("TNR .69", 0.995, 0.69),
        Judge("TPR .69", 0.69, 0.995),
    ]


def setting(judge: Judge, prevalence: float, design: str, n: int, draws: int, seed: list) -> dict:
    """Rates and verdicts over `draws` samples."""
    rng = np.random.default_rng(seed)
    bases = judge.base(1 - judge.tnr), judge.base(judge.tpr)
    true_agreement = float(agreement(judge.table(prevalence)))
    agreed = []
    verdicts, plain, missed, widths, alone = Counter(), Counter(), [], [], []
    for _ in range(draws):
        answers = answered(judge, bases, prevalence, rng)
        _, sample = labelled(answers, design, n, rng)
        figures = measure(sample, rng)
        verdict = rule(figures, UNBIASED, DOUBLE).verdict
        verdicts[verdict] += 1
        plain[plain_verdict(figures)] += 1
        agreed.append(figures.agreement.low <= true_agreement <= figures.agreement.high)
        if figures.corrected.value is not None:
            low, high = figures.corrected.low, figures.corrected.high
            missed.append((1 - prevalence < low, 1 - prevalence > high))
            widths.append(high - low)
            if figures.people_rate.value is not None:
                alone.append(figures.people_rate.high - figures.people_rate.low)
    below, above = np.mean(missed, axis=0) if missed else (None, None)
    return {
        "judge": judge.name, "swayed": judge.verbosity > 0, "prevalence": prevalence,
        "design": design, "labels": n, "draws": draws, "kappa": judge.kappa(prevalence),
        "tpr": judge.tpr, "tnr": judge.tnr, "undeserving": judge.undeserving(prevalence),
        "published": len(missed) / draws, "covered": 1 - below - above if missed else None,
        "below": below, "above": above, "width": float(np.mean(widths)) if widths else None,
        "width_alone": float(np.mean(alone)) if alone else None,
        "agreement_held": float(np.mean(agreed)),
        "enough": 1 - plain["INSUFFICIENT"] / draws,
        **{name: verdicts[name] / draws for name in ("INSUFFICIENT", "REFUSED", "GATE")},
        **{f"plain {name}": plain[name] / draws for name in ("REFUSED", "GATE")},
    }  # fmt: skip


def near_a_bound(row: dict) -> bool:
    """Whether a figure of a setting is so near its bound, or beyond, that it needs more draws."""
    useless = abs(row["kappa"]) < 1e-6 and row["labels"] >= 200 and row["prevalence"] >= 0.15
    declared = row["design"] != "undeclared"
    return (
        (row["published"] >= 0.9 and row["covered"] < 0.94)
        or (row["undeserving"] and row["GATE"] > 0.03)
        or (declared and row["kappa"] >= 0.75 - 1e-6 and row["REFUSED"] > 0.07)
        or (declared and useless and row["REFUSED"] < 0.94)
    )


def plain_verdict(figures) -> str:
    """The rule without undecided kappas and without asking how labels were drawn."""
    if figures.n < RULES.enough.labels or figures.rarer < RULES.enough.rarer:
        return "INSUFFICIENT"
    if figures.kappa.low < RULES.refuse_below:
        return "REFUSED"
    rates = figures.tpr.low >= RULES.gate_rate_low and figures.tnr.low >= RULES.gate_rate_low
    kappa = figures.kappa.value >= RULES.gate_kappa and figures.kappa.low >= RULES.gate_kappa_low
    return "GATE" if rates and kappa else "TREND_ONLY"


def slopes(judge: Judge, prevalence: float, n: int, draws: int, seed: list) -> dict:
    """Intervals of the slopes, shown biases, and GATE with and without looking at them."""
    rng = np.random.default_rng(seed)
    bases = judge.base(1 - judge.tnr), judge.base(judge.tpr)
    planted = {"verbosity": judge.verbosity, "hedging": 0.0, "same_family": judge.family}
    held, shown, told, gates = Counter(), Counter(), Counter(), Counter()
    for _ in range(draws):
        answers = answered(judge, bases, prevalence, rng)
        picked, sample = labelled(answers, "random", n, rng)
        lengths = np.round(np.exp2(7 + answers.doublings[picked])).astype(int)
        hedging = rng.random(len(picked)) < 0.3
        texts = [
            ("maybe " if hedge else "plain ").ljust(length, "x")
            for hedge, length in zip(hedging, lengths, strict=True)
        ]
        found = biases(sample.people, sample.judge, texts, answers.family[picked].tolist())
        for name, slope in vars(found).items():
            told[name] += slope.value is not None
            held[name] += slope.value is not None and slope.low <= planted[name] <= slope.high
            shown[name] += slope.shown_beyond(RULES.tolerated_bias)
        figures = measure(sample, rng)
        gates["without"] += rule(figures, UNBIASED, DOUBLE).verdict == "GATE"
        gates["with"] += rule(figures, found, DOUBLE).verdict == "GATE"
    return {
        "judge": judge.name, "prevalence": prevalence, "labels": n, "draws": draws,
        **{f"{name} held": held[name] / max(1, told[name]) for name in planted},
        **{f"{name} shown": shown[name] / draws for name in planted},
        "GATE without": gates["without"] / draws, "GATE": gates["with"] / draws,
    }  # fmt: skip


def top_up(prevalence: float, draws: int, seed: list) -> dict:
    """After 20 labels at random, 20 more: by plan and at random."""
    rng = np.random.default_rng(seed)
    judge = Judge("fair", 0.90, 0.80)
    bases = judge.base(1 - judge.tnr), judge.base(judge.tpr)
    rarer = []
    for _ in range(draws):
        answers = answered(judge, bases, prevalence, rng)
        first = rng.choice(JUDGED, 20, replace=False)
        items = np.array([f"a{i}" for i in range(JUDGED)])
        verdicts = pl.DataFrame({"item_id": items, "judge_id": "j", "passed": answers.judge})
        labels = pl.DataFrame(
            {"item_id": items[first], "rater": "r", "passed": answers.people[first]}
        )
        certificates = calibrate(labels, verdicts, rng, undeclared="random")
        plan = top_up_plan(certificates, labels, verdicts, rng)
        planned = [int(pick.item_id[1:]) for pick in plan if pick.ask == "first"]
        others = np.setdiff1d(np.arange(JUDGED), first)
        at_random = rng.choice(others, len(planned), replace=False)
        rarer.append((len(planned), *(sum(~answers.people[x]) for x in (planned, at_random))))
    labels_asked, by_plan, random = np.mean(rarer, axis=0)
    return {
        "prevalence": prevalence, "draws": draws, "labels": labels_asked,
        "failing by plan": by_plan, "failing at random": random,
    }  # fmt: skip


@click.command(help=__doc__)
@click.option("--draws", default=250, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--quick", is_flag=True, help="60 draws, fewer settings.")
def main(draws: int, workers: int, quick: bool) -> None:
    """Print the tables and write them as JSON."""
    draws = 60 if quick else draws
    labels = (50, 200) if quick else LABELS
    prevalences = (0.15, 0.5) if quick else PREVALENCES
    settings = [
        partial(setting, judge, prevalence, design, n)
        for prevalence in prevalences
        for judge in judges_at(prevalence)
        for design in DESIGNS
        for n in labels
        if asked(judge, prevalence, design, n)
    ]
    swayed = [
        Judge("unbiased", 0.97, 0.92),
        Judge("swayed", 0.95, 0.90, verbosity=1.0, family=1.0),
        Judge("never wrong", 1 - 1e-9, 1 - 1e-9),
    ]
    bent = [
        partial(slopes, judge, prevalence, n, max(20, draws // 4), [3, i, n])
        for i, judge in enumerate(swayed)
        for prevalence in (0.15, 0.3, 0.5)
        for n in labels
        if n * prevalence >= 15
    ]
    more = [partial(top_up, prevalence, max(20, draws // 4), [4]) for prevalence in prevalences]
    found: dict[str, list] = {"settings": [], "slopes": [], "top_up": []}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        first = [pool.submit(job, draws, [1, i]) for i, job in enumerate(settings)]
        others = {
            name: [pool.submit(job) for job in jobs]
            for name, jobs in (("slopes", bent), ("top_up", more))
        }
        again = {}
        for i, future in enumerate(first):
            found["settings"].append(future.result())
            if near_a_bound(found["settings"][i]):
                again[i] = pool.submit(settings[i], 8 * draws, [2, i])
            write(found)
        for name, futures in others.items():
            found[name] = [future.result() for future in futures]
        for i, future in again.items():
            found["settings"][i] = future.result()
            write(found)
    report(found)
    click.echo(f"written to {OUT}")


def write(found: dict) -> None:
    OUT.parent.mkdir(exist_ok=True)
    whole = OUT.with_suffix(".part")
    whole.write_text(json.dumps({"judged": JUDGED, "rules": asdict(RULES)} | found, indent=1))
    whole.replace(OUT)


def report(found: dict) -> None:
    """The tables."""
    rows = pl.DataFrame(found["settings"], infer_schema_length=None)
    published = rows.filter(pl.col("published") >= 0.9)
    randomly = rows.filter(pl.col("design") == "random")
    decided = rows.filter(pl.col("enough") >= 0.9)
    declared = pl.col("design") != "undeclared"
    able, useless = pl.col("kappa") >= 0.75 - 1e-6, pl.col("kappa").abs() < 1e-6
    tell("rates", published.group_by("design").agg(
        settings=pl.len(), covered=pl.mean("covered"), least=pl.min("covered"),
        below_93=(pl.col("covered") < 0.93).sum(), width=pl.mean("width"),
        width_alone=pl.mean("width_alone"),
    ).sort("design"))  # fmt: skip
    tell("rates, least covered", published.sort("covered").head(8).select(
        "design", "judge", "prevalence", "labels", "published", "covered", "below", "above"
    ))  # fmt: skip
    tell("raw agreement, labels drawn at random", randomly.group_by("labels").agg(
        settings=pl.len(), held=pl.mean("agreement_held"), published=pl.mean("published"),
        insufficient=pl.mean("INSUFFICIENT"),
    ).sort("labels"))  # fmt: skip
    tell("GATE, undeserving judges", rows.filter("undeserving").group_by("design").agg(
        settings=pl.len(), worst=pl.max("GATE"), worst_plain=pl.max("plain GATE")
    ).sort("design"))  # fmt: skip
    tell("GATE, by judge, labels drawn at random, prevalence .15 and .3", randomly.filter(
        pl.col("prevalence").is_in([0.15, 0.3])
    ).pivot("labels", index=["judge", "prevalence", "kappa"], values="GATE"))  # fmt: skip
    tell("REFUSED, judges of kappa >= .75", decided.filter(able, declared).group_by("design").agg(
        settings=pl.len(), worst=pl.max("REFUSED"), worst_plain=pl.max("plain REFUSED")
    ).sort("design"))  # fmt: skip
    tell("REFUSED, useless judges, 200 labels, prevalence >= .15", rows.filter(
        useless, declared, pl.col("labels") == 200, pl.col("prevalence") >= 0.15
    ).group_by("design").agg(
        settings=pl.len(), least=pl.min("REFUSED")
    ).sort("design"))  # fmt: skip
    tell("REFUSED, useless judges, labels drawn at random", randomly.filter(useless).pivot(
        "labels", index=["judge", "prevalence"], values="REFUSED"
    ))  # fmt: skip
    tell("slopes", pl.DataFrame(found["slopes"], infer_schema_length=None))
    tell("top_up", pl.DataFrame(found["top_up"]))


def tell(title: str, table: pl.DataFrame) -> None:
    shown = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": 250, "float_precision": 3}
    plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
    with pl.Config(**shown, **plain, tbl_formatting="MARKDOWN"):
        click.echo(f"\n{title}\n{table}")


if __name__ == "__main__":
    main()
