"""Judges held against people: figures, verdicts, what they may enter, what to label next."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from evalcov_pipeline.core.judges.admission import admissible
from evalcov_pipeline.core.judges.bias import biases, firth_slopes, model_family
from evalcov_pipeline.core.judges.calibration import Certificate, calibrate
from evalcov_pipeline.core.judges.confusion_matrix import UNKNOWN, people_alone
from evalcov_pipeline.core.judges.judged_answers import JudgeVersion
from evalcov_pipeline.core.judges.metrics import (
    LabelledSample,
    agreement,
    cohens_kappa,
    matthews_correlation,
    measure,
    true_negative_rate,
    true_positive_rate,
)
from evalcov_pipeline.core.judges.top_up import TopUp, top_up_plan
from evalcov_pipeline.core.text.hedging import hedges

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
NOON = datetime(2026, 11, 2, 12)
V1, V2 = JudgeVersion("judge", prompt="v1"), JudgeVersion("judge", prompt="v2")


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def planted(
    n: int, failing: float, tpr: float, tnr: float, seed: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """What people and a judge say about n answers."""
    draw = np.random.default_rng(seed)
    people = draw.random(n) >= failing
    return people, draw.random(n) < np.where(people, tpr, 1 - tnr)


def label_rows(
    people: np.ndarray, raters: tuple[str, ...] = ("ada",), **more: object
) -> pl.DataFrame:
    rows = [
        {"item_id": f"a{i}", "rater": rater, "passed": bool(passed), "at": NOON, **more}
        for i, passed in enumerate(people)
        for rater in raters
    ]
    return pl.DataFrame(rows, schema_overrides={"passed": pl.Boolean})


def verdict_rows(judge: np.ndarray, category: str = "billing", **more: object) -> pl.DataFrame:
    rows = [
        {"item_id": f"a{i}", "judge_id": "judge", "passed": bool(passed), "category": category}
        | {"at": NOON, "prompt_version": "v1", **more}
        for i, passed in enumerate(judge)
    ]
    return pl.DataFrame(rows)


def certified(labels: pl.DataFrame, verdicts: pl.DataFrame) -> Certificate:
    (certificate,) = calibrate(labels, verdicts, rng(), undeclared="random")
    return certificate


def judged_as(failing: float, tpr: float, tnr: float, n: int = 400, of: int = 1500) -> Certificate:
    people, judge = planted(of, failing, tpr, tnr)
    return certified(label_rows(people[:n], ("ada", "bo")), verdict_rows(judge))


def test_figures_of_a_known_table() -> None:
    shares = np.array([[15, 10], [5, 20]]) / 50
    assert cohens_kappa(shares) == pytest.approx(0.4)
    assert agreement(shares) == pytest.approx(0.7)
    assert matthews_correlation(shares) == pytest.approx(
        (20 * 15 - 10 * 5) / (25 * 25 * 30 * 20) ** 0.5
    )
    assert (true_positive_rate(shares), true_negative_rate(shares)) == (
        pytest.approx(0.8),
        pytest.approx(0.6),
    )


def test_a_figure_that_a_table_does_not_define_is_unknown() -> None:
    everything_passes = np.ones(60, dtype=bool)
    metrics = measure(sample(everything_passes, everything_passes), rng())
    assert metrics.tnr == metrics.kappa == UNKNOWN
    assert metrics.corrected.value is None
    assert "rarer class" in metrics.corrected_reason


def sample(
    people: np.ndarray, judge: np.ndarray, p: float = np.nan, more: int = 0
) -> LabelledSample:
    """Labels, with `more` answers judged alike and not labelled."""
    n = len(people)
    passed = round(judge.mean() * (n + more))
    return LabelledSample(
        people, judge, np.full(n, p), np.zeros(n, bool), (n + more - passed, passed)
    )


def test_the_corrected_rate_is_ppi_at_its_best_lambda() -> None:
    people, judge = planted(300, 0.3, 0.9, 0.8)
    labelled = LabelledSample(people, judge, np.full(300, 0.1), np.zeros(300, bool), (1200, 1800))
    best = people[judge].mean() - people[~judge].mean()
    ppi = best * 0.6 + (people - best * judge).mean()
    assert measure(labelled, rng()).corrected.value == pytest.approx(ppi)


def test_labels_drawn_by_verdict_mislead_unless_their_probability_is_known() -> None:
    people, judge = planted(20_000, 0.15, 0.9, 0.8)
    passes, fails = np.flatnonzero(judge)[:300], np.flatnonzero(~judge)[:300]
    picked = np.concatenate([passes, fails])
    p = np.where(judge, 300 / judge.sum(), 300 / (~judge).sum())[picked]
    counts = int((~judge).sum()), int(judge.sum())
    true = people.mean()
    known = LabelledSample(people[picked], judge[picked], p, np.zeros(600, bool), counts)
    assert measure(known, rng()).corrected.value == pytest.approx(true, abs=0.03)
    unknown = LabelledSample(
        people[picked], judge[picked], np.full(600, np.nan), known.blind, counts
    )
    assert measure(unknown, rng()).corrected.value is None
    as_if_blind = LabelledSample(
        people[picked], judge[picked], unknown.probabilities, ~known.blind, counts
    )
    assert measure(as_if_blind, rng()).corrected.value > true + 0.08


def test_labels_of_a_random_audit_and_of_a_plan_by_verdict_add_up() -> None:
    people, judge = planted(2000, 0.2, 0.9, 0.8)
    fails = np.flatnonzero(~judge)
    picked = np.unique(np.concatenate([np.arange(100), fails[:120]]))
    labels = label_rows(people).filter(pl.col("item_id").is_in([f"a{i}" for i in picked]))
    selection = pl.when(pl.col("item_id").is_in([f"a{i}" for i in range(100)]))
    labels = labels.with_columns(
        selection=selection.then(pl.lit("random")).otherwise(pl.lit("by_verdict"))
    )
    metrics = certified(labels, verdict_rows(judge)).metrics
    by_hand = sum(
        (judge == verdict).mean() * people[picked][judge[picked] == verdict].mean()
        for verdict in (False, True)
    )
    assert metrics.corrected.value == pytest.approx(by_hand)
    alone = certified(label_rows(people[:100], selection="random"), verdict_rows(judge)).metrics
    assert metrics.tnr.high - metrics.tnr.low < alone.tnr.high - alone.tnr.low


def test_labels_chosen_by_the_truth_are_corrected_by_rogan_gladen() -> None:
    people, judge = planted(20_000, 0.1, 0.9, 0.8)
    picked = np.concatenate([np.flatnonzero(people)[:200], np.flatnonzero(~people)[:200]])
    counts = int((~judge).sum()), int(judge.sum())
    blind = np.ones(400, bool)
    metrics = measure(
        LabelledSample(people[picked], judge[picked], np.full(400, np.nan), blind, counts), rng()
    )
    assert metrics.corrected.low < 0.9 < metrics.corrected.high
    assert metrics.prevalence.value == pytest.approx(0.1, abs=0.06)
    true_kappa = cohens_kappa(np.array([[0.08, 0.02], [0.09, 0.81]]))
    assert metrics.kappa.low < true_kappa < metrics.kappa.high


def test_no_failure_among_n_labels_leaves_what_mid_p_leaves() -> None:
    rate = people_alone(np.ones(50, dtype=bool), np.full(50, 0.1), rng())
    assert (rate.value, rate.high) == (1, 1)
    assert rate.low == pytest.approx(0.05 ** (1 / 50), abs=0.01)


def test_a_good_judge_narrows_the_interval_of_people() -> None:
    people, judge = planted(100, 0.3, 0.97, 0.95)
    metrics = measure(sample(people, judge, 0.02, 4900), rng())
    alone = metrics.people_rate.high - metrics.people_rate.low
    assert metrics.corrected.high - metrics.corrected.low < 0.6 * alone


def test_leniency_is_mcnemar() -> None:
    people = np.repeat([False, True, True, False], [9, 1, 40, 20])
    judge = np.repeat([True, False, True, False], [9, 1, 40, 20])
    metrics = measure(sample(people, judge), rng())
    assert metrics.leniency == pytest.approx(8 / 70)
    assert metrics.leniency_p == pytest.approx(binomtest(9, 10).pvalue)


def test_a_slope_of_one_factor_is_the_log_odds_with_half_a_case_more_in_each_cell() -> None:
    factor = np.repeat([0.0, 0.0, 1.0, 1.0], [12, 0, 3, 9])
    outcome = np.repeat([False, True, False, True], [12, 0, 3, 9])
    (slope,) = firth_slopes(factor[:, None], outcome)
    assert slope.value == pytest.approx(log(9.5 * 12.5 / (0.5 * 3.5)), abs=1e-4)
    assert slope.low > 0
    assert np.isfinite(slope.high)


def test_verbosity_and_family_are_found_and_told_apart() -> None:
    draw = rng()
    people = draw.random(600) < 0.6
    doublings, same = draw.normal(size=600), draw.random(600) < 0.5
    odds = np.where(people, 2.0, -2.0) + 1.2 * doublings + 1.5 * same
    judge = draw.random(600) < 1 / (1 + np.exp(-odds))
    texts = ["x" * int(2 ** (8 + d)) for d in doublings]
    found = biases(people, judge, texts, same.tolist())
    assert found.verbosity.low < 1.2 < found.verbosity.high
    assert found.same_family.low < 1.5 < found.same_family.high
    assert found.verbosity.shown_beyond(log(1.25))
    assert found.hedging.value is None
    assert found.hedging.reason == "either all answers hedge or none does"


@pytest.mark.parametrize("says", [True, False])
def test_a_judge_that_always_says_the_same_has_no_slopes(says: bool) -> None:
    texts: list[str | None] = ["short", "a good deal longer"] * 30
    found = biases(np.tile([True, False], 30), np.full(60, says), texts, [None] * 60)
    assert found.verbosity.value is None
    assert "fewer than" in (found.verbosity.reason or "")
    assert "not known" in (found.same_family.reason or "")


def test_hedges_and_families() -> None:
    assert hedges("It seems the parcel is late.")
    assert not hedges("Your parcel arrives on the first of May.")
    names = ["openai/gpt-4o", "gpt-4.1-mini", "us.anthropic.claude-3-5", "claude-opus"]
    assert [model_family(name) for name in names] == ["gpt", "gpt", "claude", "claude"]


def test_a_judge_that_knows_nothing_is_refused() -> None:
    certificate = judged_as(0.3, 0.5, 0.5)
    assert certificate.ruling.verdict == "REFUSED"
    assert certificate.ruling.changes[0].labels is None
    assert certificate.metrics.corrected.value is None


def test_a_judge_that_people_can_rely_on_may_gate() -> None:
    certificate = judged_as(0.3, 0.98, 0.96)
    assert certificate.ruling.verdict == "GATE"
    assert certificate.ruling.changes == ()
    assert certificate.human_agreement.value == 1


def test_a_judge_that_misses_failures_only_shows_a_trend_and_says_why() -> None:
    certificate = judged_as(0.2, 0.99, 0.68, n=600)
    assert certificate.ruling.verdict == "TREND_ONLY"
    assert "TNR" in certificate.ruling.reason


def test_without_a_second_rater_or_a_known_draw_no_judge_may_gate() -> None:
    people, judge = planted(400, 0.4, 0.99, 0.98)
    once = certified(label_rows(people), verdict_rows(judge))
    assert [change.wanted for change in once.ruling.changes] == ["second"]
    (unknown,) = calibrate(label_rows(people, ("ada", "bo")), verdict_rows(judge), rng())
    assert [change.wanted for change in unknown.ruling.changes] == ["drawn"]


def test_a_judge_swayed_by_length_may_not_gate() -> None:
    draw = rng()
    people = draw.random(1000) < 0.6
    long = draw.random(1000) < 0.5
    judge = np.where(people, draw.random(1000) < 0.99, long & (draw.random(1000) < 0.2))
    verdicts = verdict_rows(judge).with_columns(
        output=pl.Series(["x" * (400 if is_long else 100) for is_long in long])
    )
    certificate = certified(label_rows(people, ("ada", "bo")), verdicts)
    assert certificate.ruling.verdict == "TREND_ONLY"
    assert "twice the length multiplies" in certificate.ruling.reason


def test_a_20_label_audit_shows_raw_agreement_and_what_is_missing() -> None:
    people = np.array([True] * 16 + [False] * 4)
    judge = np.append(people, np.ones(80, dtype=bool))
    certificate = certified(label_rows(people), verdict_rows(judge))
    observed = certificate.metrics.agreement
    assert certificate.ruling.verdict == "INSUFFICIENT"
    assert (observed.value, observed.high) == (1, 1)
    assert observed.low == pytest.approx(20 / (20 + 1.96**2), abs=1e-3)
    missing = {change.wanted: change.labels for change in certificate.ruling.changes}
    assert missing == {"any": 30, "failing": 11}


def test_too_few_labels_to_tell_a_poor_judge_from_a_good_one_are_no_refusal() -> None:
    people = np.repeat([True, False], [25, 25])
    judge = np.repeat([True, False, True, False], [20, 5, 5, 20])
    certificate = certified(label_rows(people), verdict_rows(np.append(judge, judge)))
    assert certificate.metrics.kappa.low < 0.4
    assert certificate.ruling.verdict == "INSUFFICIENT"
    assert certificate.ruling.changes[0].labels > 0


def test_nothing_counts_twice() -> None:
    people, judge = planted(120, 0.4, 0.9, 0.9)
    labels, verdicts = label_rows(people), verdict_rows(judge)
    once = certified(labels, verdicts)
    assert certified(pl.concat([labels, labels]), pl.concat([verdicts, verdicts])) == once


def test_the_newest_label_and_the_newest_verdict_count() -> None:
    later = {"at": NOON + timedelta(days=1)}
    right, wrong = np.array([True, False] * 30), np.array([False, True] * 30)
    labels = pl.concat([label_rows(right, **later), label_rows(wrong)])
    verdicts = pl.concat([verdict_rows(right, **later), verdict_rows(wrong)])
    assert certified(labels, verdicts).metrics.agreement.value == 1


def test_raters_who_disagree_leave_an_answer_out_until_a_third_decides() -> None:
    people = np.array([True, False] * 30)
    disagreement = pl.DataFrame(
        {"item_id": ["a0"], "rater": ["bo"], "passed": [False], "at": [NOON]}
    )
    adjudication = disagreement.with_columns(
        rater=pl.lit("cy"), at=pl.lit(NOON + timedelta(hours=1)).cast(pl.Datetime("us"))
    )
    labels = pl.concat([label_rows(people), disagreement])
    open_ = certified(labels, verdict_rows(people))
    assert (open_.n_disputed, open_.metrics.n, open_.n_double) == (1, 59, 1)
    assert "nobody adjudicated" in open_.notes[0]
    settled = certified(pl.concat([labels, adjudication]), verdict_rows(people))
    assert (settled.n_disputed, settled.metrics.n) == (0, 60)
    assert settled.metrics.agreement.value == pytest.approx(59 / 60)


def test_three_judges_on_one_case_have_a_certificate_each() -> None:
    people, judge = planted(80, 0.4, 0.9, 0.9)
    verdicts = pl.concat(
        verdict_rows(judge, judge_id=name, prompt_version=None) for name in ("a", "b", "c")
    )
    found = calibrate(label_rows(people), verdicts, rng())
    assert [one.judge.judge_id for one in found] == ["a", "b", "c"]
    assert {one.metrics.n for one in found} == {80}


def test_labels_without_verdicts_and_verdicts_without_labels_are_named() -> None:
    people = np.array([True, False] * 30)
    labels = label_rows(people, category="billing")
    assert calibrate(labels, verdict_rows(people).clear(), rng()) == []
    unlabelled = certified(labels.clear(), verdict_rows(people))
    assert unlabelled.ruling.reason == "nothing is labelled"
    half = certified(labels, verdict_rows(people[:20]))
    assert half.notes == ("40 labelled items have no verdict of this judge",)


@pytest.mark.parametrize("says", [True, False])
def test_all_pass_and_all_fail_are_insufficient(says: bool) -> None:
    same = np.full(200, says)
    certificate = certified(label_rows(same), verdict_rows(same))
    assert certificate.ruling.verdict == "INSUFFICIENT"
    assert certificate.metrics.agreement.value == 1
    assert certificate.row()["kappa"] is None


def test_a_category_seen_once_gets_a_certificate_of_its_own() -> None:
    people, judge = planted(80, 0.4, 0.9, 0.9)
    verdicts = verdict_rows(judge).with_columns(
        category=pl.when(pl.col("item_id") == "a0").then(pl.lit("rare")).otherwise("category")
    )
    found = {one.category: one for one in calibrate(label_rows(people), verdicts, rng())}
    assert (found["rare"].metrics.n, found["billing"].metrics.n) == (1, 79)
    assert found["rare"].ruling.verdict == "INSUFFICIENT"


def test_a_probability_out_of_range_is_refused() -> None:
    people = np.array([True, False])
    with pytest.raises(ValueError, match="probability"):
        certified(label_rows(people, inclusion_probability=1.5), verdict_rows(people))


def test_a_refused_judge_enters_nothing_and_only_a_gate_gates() -> None:
    refused, gate = judged_as(0.3, 0.5, 0.5), judged_as(0.3, 0.98, 0.96)
    use = (V1, "billing")
    assert _may(admissible([refused], [use])[use]) == (False, False)
    assert _may(admissible([gate], [use])[use]) == (True, True)


def _may(admission: object) -> tuple[bool, bool]:
    return admission.score, admission.gate


def test_a_certificate_lapses_with_the_prompt_and_a_lapse_admits_nothing_new() -> None:
    refused, gate = judged_as(0.3, 0.5, 0.5), judged_as(0.3, 0.98, 0.96)
    use = (V2, "billing")
    assert _may(admissible([gate], [use])[use]) == (True, False)
    assert "lapsed" in admissible([gate], [use])[use].reason
    assert _may(admissible([refused], [use])[use]) == (False, False)
    assert _may(admissible([], [use])[use]) == (True, False)


def test_where_the_version_in_use_is_not_known_the_strictest_certificate_holds() -> None:
    gate, judge = judged_as(0.3, 0.98, 0.96), np.random.default_rng(1).random(400) < 0.5
    people, _ = planted(400, 0.3, 1, 1)
    refused = certified(label_rows(people), verdict_rows(judge, prompt_version="v2"))
    use = (JudgeVersion("judge"), "billing")
    assert _may(admissible([gate, refused], [use])[use]) == (False, False)


def plan_for(people: np.ndarray, judge: np.ndarray, n: int) -> list[TopUp]:
    labels, verdicts = label_rows(people[:n]), verdict_rows(judge)
    return top_up_plan(calibrate(labels, verdicts, rng()), labels, verdicts, rng())


def test_a_plan_asks_for_20_unlabelled_answers_rich_in_the_class_that_is_short() -> None:
    people, judge = planted(1000, 0.15, 0.9, 0.8)
    plan = plan_for(people, judge, 30)
    items = [int(pick.item_id[1:]) for pick in plan]
    assert len(set(items)) == 20
    assert min(items) >= 30
    assert (~people[items]).sum() > 2 * 20 * 0.15
    assert 5 <= judge[items].sum() <= 15
    assert all(0 < pick.inclusion_probability <= 1 for pick in plan)


def test_a_plan_asks_second_raters_where_only_they_are_missing() -> None:
    people, judge = planted(400, 0.4, 0.99, 0.98)
    labels, verdicts = label_rows(people), verdict_rows(judge)
    certificates = [certified(labels, verdicts)]
    plan = top_up_plan(certificates, labels, verdicts, rng())
    assert {pick.ask for pick in plan} == {"second"}
    assert len(plan) == 10


def test_a_plan_draws_at_random_where_only_that_is_missing() -> None:
    people, judge = planted(900, 0.4, 0.99, 0.98)
    labels, verdicts = label_rows(people[:400], ("ada", "bo")), verdict_rows(judge)
    certificates = calibrate(labels, verdicts, rng())
    assert [change.wanted for change in certificates[0].ruling.changes] == ["drawn"]
    plan = top_up_plan(certificates, labels, verdicts, rng())
    assert len(plan) == 20
    assert {pick.selection for pick in plan} == {"by_verdict"}


def test_no_labels_are_asked_for_where_the_judge_must_change() -> None:
    people, judge = planted(600, 0.4, 0.5, 0.5)
    assert plan_for(people, judge, 300) == []


def test_the_judge_of_the_sample_is_refused_where_it_misreads_the_rubric() -> None:
    labels, verdicts = (
        pl.read_ndjson(gzip.decompress((SAMPLE / name).read_bytes())).with_columns(
            pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
        )
        for name in ("annotations.jsonl.gz", "verdicts.jsonl.gz")
    )
    found = {one.category: one for one in calibrate(labels, verdicts, rng())}
    assert found["returns"].ruling.verdict == "REFUSED"
    assert found["orders"].ruling.verdict == "TREND_ONLY"
    assert found["orders"].biases.verbosity.shown_beyond(log(1.25))
    assert found["delivery"].ruling.verdict == "INSUFFICIENT"
    assert found["delivery"].metrics.agreement.value is not None
