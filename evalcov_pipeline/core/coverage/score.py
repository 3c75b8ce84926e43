"""The score of a week under one taxonomy: one definition of its fields, those of its table's row.

Queries and whole sessions share `Score`; `QueryScore` and `SessionScore` add what only one has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evalcov_pipeline.core.coverage.assessment import Band
from evalcov_pipeline.core.coverage.diagnosis import Diagnosis


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well the suite of a week's end covers the traffic of its window, and what it passes.

    Divergences are in bits, 0..1; shares and rates 0..1; instants naive UTC. What cannot be
    computed is None.

    Attributes:
        as_of: exclusive end of the scored week.
        taxonomy_id: taxonomy that the score was computed under.
        headline: whether it is the score of the week; a refit week has another one beside it, under
            the taxonomy before.
        window_start: start of the traffic window.
        window_end: end of the window, exclusive.
        n_sessions: sessions in the sample.
        n_production: units in the sample: turns, or sessions.
        n_eff: Kish effective sample size, in sessions.
        n_eval: cases active at `as_of`.
        n_clusters: named clusters of the taxonomy.
        jsd: plug-in Jensen-Shannon divergence of production and suite; inflated for small suites.
        jsd_adjusted: the same less its estimated bias: the headline figure.
        jsd_ci_low: lower end of its 95 % interval.
        jsd_ci_high: upper end.
        null_mean: mean plug-in divergence of suites drawn perfectly from production.
        null_p95: their 95th percentile.
        p_value: chance that such a suite diverges at least this much.
        attainable_jsd: least plug-in divergence that any suite of this size can reach.
        covered_share: steady traffic in named clusters that the suite tests.
        novel_share: steady traffic outside every cluster.
        unmeasured_share: steady traffic without admitted eval results.
        band: None for a suite without cases.
        degraded: whether the suite needs a refresh.
        liabilities: cluster keys with much traffic and no case, the largest first.
        cases_to_settle: of an undecidable score: size of suite that would settle its band.
        verdict: the result in one sentence.
        eval_run_id: newest complete eval run at `as_of`.
        judge_id: its judge.
        judge_note: which of its judge's verdicts are refused; None where none is.
        refused_results: first tries left out for that; None in rows of before it was recorded.
        eval_score: unweighted pass rate of the run, of the first tries that are not left out.
        reweighted_score: pass rate of the measured share, weighted like production.
        reweighted_low: lower bound for all traffic, what is unmeasured counted as failing.
        reweighted_high: upper bound, what is unmeasured counted as passing.
        diagnosis: what moved; None while there is too little history.
        diagnosis_reason: the tests behind the diagnosis, or what is missing for one.
    """

    as_of: datetime
    taxonomy_id: str
    headline: bool
    window_start: datetime
    window_end: datetime
    n_sessions: int
    n_production: int
    n_eff: float | None
    n_eval: int
    n_clusters: int
    jsd: float | None
    jsd_adjusted: float | None
    jsd_ci_low: float | None
    jsd_ci_high: float | None
    null_mean: float | None
    null_p95: float | None
    p_value: float | None
    attainable_jsd: float | None
    covered_share: float
    novel_share: float
    unmeasured_share: float
    band: Band | None
    degraded: bool
    liabilities: Sequence[str]
    cases_to_settle: int | None
    verdict: str
    eval_run_id: str | None
    judge_id: str | None
    judge_note: str | None
    refused_results: int | None
    eval_score: float | None
    reweighted_score: float | None
    reweighted_low: float | None
    reweighted_high: float | None
    diagnosis: Diagnosis | None
    diagnosis_reason: str | None


@dataclass(frozen=True, kw_only=True)
class QueryScore(Score):
    """The score of single queries: a row of `coverage_scores`.

    Attributes:
        n_unassigned: turns and cases whose text has no assignment: 0 unless something went wrong.
        truncated_share: steady traffic longer than the embedding model reads, 0..1.
        latency_ms: median response time of the eval run, milliseconds.
        cost_usd: mean cost per case of the eval run, US dollars.
        production_latency_ms: median response time of the sampled turns, milliseconds.
        production_cost_usd: mean cost per sampled turn, US dollars.
    """

    n_unassigned: int
    truncated_share: float | None
    latency_ms: float | None
    cost_usd: float | None
    production_latency_ms: float | None
    production_cost_usd: float | None


@dataclass(frozen=True, kw_only=True)
class SessionScore(Score):
    """The score of whole sessions: a row of `session_scores`; its units are sessions.

    Attributes:
        n_multi_turn: cases of more than one turn.
        notes: what the comparison leaves out, such as outcomes that nobody recorded.
    """

    n_multi_turn: int
    notes: Sequence[str]
