"""What a score comes to, in words: the gaps worth closing, reasons for doubt, what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from evalcov_pipeline.core.coverage.clusters import NOVEL
from evalcov_pipeline.core.coverage.score import QueryScore
from evalcov_pipeline.reports.drawing import shortened
from evalcov_pipeline.services.report.failures import FailureEvidence
from evalcov_pipeline.services.report.scored import Scored
from evalcov_pipeline.services.report.sessions import ScoredSessions

LOCAL_GAP_SHARE = 0.2
"""Share of a cluster's traffic in a local gap from which it is listed; chance marks about .03."""
LOCAL_GAP_LEAST = 0.005
"""Share of all traffic below which a local gap is an edge case."""
_EXAMPLES = 3
_LONGEST_EXAMPLE = 280
_LONGEST_TITLE = 60
WHOLE = ("liability", "gap")
"""Statuses of clusters that no case tests."""


@dataclass(frozen=True)
class Gap:
    """Traffic that no case tests: a cluster without a case, or a part of a cluster.

    Attributes:
        label: of the cluster.
        kind: liability, gap or local gap.
        share: untested share of production, 0..1.
        reason: why it is called a gap.
        examples: redacted texts of it.
        x: its middle on the map.
        y: its middle on the map.
    """

    label: str
    kind: str
    share: float
    reason: str
    examples: Sequence[str]
    x: float
    y: float


@dataclass(frozen=True)
class Step:
    """Something to do, and the command that does it."""

    what: str
    command: str

    def __str__(self) -> str:
        return f"{self.what}: `{self.command}`"


def find_gaps(scored: Scored, liability_share: float) -> list[Gap]:
    """Gaps, the largest first, liabilities before all others."""
    if scored.score.n_eval == 0:
        return []
    gaps = [
        _gap(scored, row, liability_share)
        for row in scored.clusters.filter(pl.col("cluster_id") != NOVEL).iter_rows(named=True)
        if row["status"] in WHOLE or has_local_gap(row)
    ]
    return sorted(gaps, key=lambda gap: (gap.kind != "liability", -gap.share))


def has_local_gap(cluster: Mapping[str, Any]) -> bool:
    """Whether a part of a cluster's traffic that is worth a case resembles no case."""
    share = cluster["gap_share"] or 0.0
    untested = share * cluster["production_share"]
    return share >= LOCAL_GAP_SHARE and untested >= LOCAL_GAP_LEAST


def _gap(scored: Scored, cluster: Mapping[str, Any], liability_share: float) -> Gap:
    whole = cluster["status"] in WHOLE
    texts = scored.texts.filter(
        (pl.col("cluster_id") == cluster["cluster_id"]) & (whole | pl.col("in_gap"))
    ).sort("gap_score", "text_hash", descending=[True, False])
    typical = (cluster["exemplars"] or []) if whole else []
    return Gap(
        label=cluster["label"],
        kind=cluster["status"] if whole else "local gap",
        share=cluster["production_share"] * (1 if whole else cluster["gap_share"]),
        reason=_reason(cluster, scored.score.n_eval, liability_share),
        examples=_unlike([*typical, *texts["text"]], _EXAMPLES),
        x=float(np.median(texts["map_x"].to_numpy())),
        y=float(np.median(texts["map_y"].to_numpy())),
    )


def _reason(cluster: Mapping[str, Any], n_eval: int, liability_share: float) -> str:
    share, local = cluster["production_share"], cluster["gap_share"]
    if cluster["status"] == "liability":
        return (
            f"No case tests it, and from {liability_share:.0%} of traffic on that alone makes the"
            " suite degraded."
        )
    if cluster["status"] == "gap":
        chance = (1 - share) ** n_eval
        few = f"only {chance:.1%}" if chance >= 0.001 else "fewer than 0.1%"
        return (
            f"No case tests it. {n_eval} cases drawn like traffic would hold about"
            f" {n_eval * share:.1f} of its kind; {few} of such suites would hold none."
        )
    if cluster["eval_cases"] == 0:
        return (
            f"No case tests the cluster, and {local:.0%} of its traffic resembles no case anywhere"
            " in the suite."
        )
    count = f"{cluster['eval_cases']} case{'s' * (cluster['eval_cases'] != 1)}"
    return f"The cluster has {count}, but {local:.0%} of its traffic resembles none of the suite's."


def _unlike(texts: Sequence[str], most: int) -> list[str]:
    """The first texts that share at most half of their words with those before them."""
    chosen: list[tuple[str, set[str]]] = []
    for text in texts:
        words = set(re.findall(r"\w+", text.lower()))
        if all(2 * len(words & other) <= len(words | other) for _, other in chosen):
            chosen.append((text, words))
            if len(chosen) == most:
                break
    return [shortened(text, _LONGEST_EXAMPLE) for text, _ in chosen]


def doubts(scored: Scored) -> list[str]:
    """Reasons not to lean on these numbers that hold for this score."""
    found = list(_doubts(scored.score, scored.taxonomy, scored.run_finished_at))
    return found + (list(_session_doubts(scored.sessions)) if scored.sessions else [])


def _doubts(
    score: QueryScore, taxonomy: Mapping[str, Any], run_finished_at: datetime | None
) -> Iterator[str]:
    if score.n_eval == 0:
        yield "The suite has no case: nothing here compares it with traffic."
    elif score.n_eval < 30:
        yield f"The suite has only {score.n_eval} cases: most clusters would be empty by chance."
    if score.band == "undecidable" and score.cases_to_settle:
        yield "The interval reaches across the threshold, and chance may explain the divergence."
    if score.n_production < 500:
        yield f"Only {score.n_production} turns of traffic were sampled."
    if (score.truncated_share or 0) > 0.05:
        yield (
            f"{score.truncated_share:.0%} of traffic is longer than the embedding model reads:"
            " only its beginning was compared."
        )
    if (score.novel_share or 0) > 0.1:
        yield (
            f"{score.novel_share:.0%} of traffic lies in no cluster: cluster it anew"
            " (`evalcov run monthly`)."
        )
    if taxonomy.get("fitted_at") and (age := (score.as_of - taxonomy["fitted_at"]).days) > 45:
        yield f"The clusters are {age} days old: cluster the traffic anew (`evalcov run monthly`)."
    if taxonomy.get("stability") is not None and taxonomy["stability"] < 0.6:
        yield (
            f"Clustering the same traffic again agrees only to {taxonomy['stability']:.2f}"
            " (1 = identical): single clusters may be arbitrary."
        )
    if score.eval_score is not None and score.unmeasured_share > 0.5:
        yield (
            f"{score.unmeasured_share:.0%} of traffic has no eval result behind it: the pass"
            " rate speaks for the smaller part."
        )
    if run_finished_at is not None and (days := (score.as_of - run_finished_at).days) > 14:
        yield f"The eval run is {days} days older than the week: the pass rate may have moved on."


def _session_doubts(sessions: ScoredSessions) -> Iterator[str]:
    score, taxonomy, known = sessions.score, sessions.taxonomy, sessions.knowledge
    several = known["several_turns"] or 0.0
    outcomes, tools, case_tools = known["outcomes"], known["tools"], known["case_tools"]
    if score.n_eval and score.n_multi_turn < 10 and several > 0.1:
        yield (
            f"{score.n_multi_turn} of {score.n_eval} cases have several turns, as"
            f" {several:.0%} of sessions do: what is said of sessions and paths rests on those."
        )
    if score.n_multi_turn > 0.2 * score.n_eval:
        yield (
            f"{score.n_multi_turn} of {score.n_eval} cases are conversations, of which"
            " coverage of single queries counts the last message alone. Where that is a goodbye,"
            " what was asked before it looks untested: trust the sessions instead."
        )
    if outcomes == 0:
        yield "No outcome of a session was captured: whether sessions succeed is not compared."
    elif outcomes is not None and outcomes < 0.2:
        yield (
            f"Only {outcomes:.0%} of sessions have a known outcome: success rates speak for those"
            " alone."
        )
    if tools == 0:
        yield "Tool calls were not recorded: sessions are compared without them."
    elif tools is not None and tools < 0.9:
        yield f"Only {tools:.0%} of sessions have their tool calls recorded."
    if tools and case_tools is not None and case_tools < 0.8:
        yield (
            f"{1 - case_tools:.0%} of cases do not name all of their tool calls: the missing ones"
            " are those of the most similar production turn."
        )
    if taxonomy and taxonomy["n_texts"] < 300:
        yield f"The kinds of session were found in only {taxonomy['n_texts']} distinct sessions."
    if taxonomy.get("stability") is not None and taxonomy["stability"] < 0.6:
        yield (
            f"Grouping the same sessions again agrees only to {taxonomy['stability']:.2f}"
            " (1 = identical): single kinds of session may be arbitrary."
        )


def failure_findings(evidence: FailureEvidence) -> list[str]:
    """What of failures and judges belongs at the head of the page: at most three sentences."""
    findings = []
    unguarded = evidence.incidents.filter(pl.col("status") == "open")
    if len(unguarded):
        titles = _listed([shortened(title, _LONGEST_TITLE) for title in unguarded["title"]], 2)
        findings.append(f"{_count(len(unguarded), 'incident')} without a case: {titles}.")
    refused = (
        evidence.certificates.filter(pl.col("verdict") == "REFUSED")["category"].unique().sort()
    )
    if len(refused):
        sentence = f"Judges are not believed on {_listed(refused.to_list(), 3)}"
        if evidence.n_refused:
            share = evidence.n_refused / evidence.n_results
            sentence += f"; {share:.0%} of the results of the scored run are left out of the scores"
        findings.append(f"{sentence}.")
    missing = evidence.audit.filter(pl.col("status") == "unrepresented")["category"].to_list()
    if missing:
        findings.append(
            f"No case guards {_count(len(missing), 'kind')} of failure that production shows:"
            f" {_listed(missing, 3)}."
        )
    return findings


def _listed(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"“{shortened(name, _LONGEST_TITLE)}”" for name in names[:most]) + more


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def next_steps(
    score: QueryScore,
    gaps: Sequence[Gap] = (),
    *,
    waiting: int = 0,
    answers: int = 0,
    sessions: ScoredSessions | None = None,
) -> list[Step]:
    """What to do after this score, the most useful first.

    Args:
        score: of single queries.
        gaps: what `find_gaps` found.
        waiting: queries of refreshes that wait for a label.
        answers: answers that wait for people: of failure batches, incidents and judges.
        sessions: what is known of the week's sessions.
    """
    steps = []
    untested = sessions is not None and (
        sessions.score.degraded or not sessions.untested_paths.is_empty()
    )
    among = ", whole sessions among them" if untested else ""
    if waiting:
        named = "query that waits" if waiting == 1 else f"{waiting} queries that wait"
        steps.append(Step(f"label the {named}", "evalcov review"))
    elif score.n_eval == 0:
        steps.append(
            Step("import the eval suite and score again",
                 "evalcov ingest evals FILES && evalcov run weekly")
        )  # fmt: skip
    elif score.degraded:
        steps.append(Step(f"plan new cases for the gaps{among}", "evalcov refresh"))
    elif score.band == "undecidable":
        steps.append(_to_settle(score.cases_to_settle, score.n_eval))
    elif gaps:
        steps.append(Step(f"plan cases for the gaps that there are{among}", "evalcov refresh"))
    elif untested:
        steps.append(
            Step("plan whole sessions as cases, for kinds and paths that no case walks",
                 "evalcov refresh")
        )  # fmt: skip
    if score.n_eval and score.eval_score is None:
        steps.append(
            Step("import eval results and score again",
                 "evalcov ingest results FILES && evalcov run weekly")
        )  # fmt: skip
    if answers:
        judging = (
            f"judge {_count(answers, 'answer')}: signs of failure, incidents, checks of judges"
        )
        steps.append(Step(judging, "evalcov review"))
    return steps or [
        Step("nothing now; score the week that follows when it is over", "evalcov run weekly")
    ]


def _to_settle(wanted: int | None, n_eval: int) -> Step:
    """What would decide an undecidable score."""
    if wanted is None:
        return Step("import more traffic", "evalcov ingest traces FILES")
    return Step(
        f"grow the suite to about {wanted} cases to know",
        f"evalcov refresh --budget {wanted - n_eval}",
    )
