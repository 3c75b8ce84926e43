"""Suggested labels: what neighbours say, how sure that is, and when a cluster falls back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import orjson
import polars as pl
import pytest

from evalcov_pipeline.cli import main
from evalcov_pipeline.core.labels.suggestions import (
    Group,
    Suggestion,
    Verdict,
    agree,
    agreement,
    in_audit,
    suggest,
    vote,
)
from evalcov_pipeline.core.text.normalise import text_hash
from evalcov_pipeline.defs.assets.suggestions import suggestions
from evalcov_pipeline.defs.support.resources import warehouse_resource
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.labels.proposals import Prepared, prepare
from evalcov_pipeline.services.labels.queue import enqueue, record_labels
from evalcov_pipeline.services.labels.suggestions import SuggestionReport, record
from evalcov_pipeline.services.traffic.vectors import embedder, vector_cache
from evalcov_pipeline.settings import Settings, SuggestionSettings, get_settings
from evalcov_pipeline.storage.vectors import embed_texts
from evalcov_pipeline.storage.warehouse import frame

NOON = datetime(2026, 11, 2, 12)
PASSED, FAILED = Verdict(True, True, "billing"), Verdict(True, False, "delivery")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def two_topics(rng: np.random.Generator, n: int) -> tuple[np.ndarray, list[Verdict]]:
    """Queries around two directions; the direction decides the label."""
    topic = np.arange(n) % 2
    vectors = unit(np.eye(8)[topic] + rng.normal(0, 0.15, (n, 8)))
    return vectors, [PASSED if t == 0 else FAILED for t in topic]


def test_the_nearest_decide_and_give_their_expected_answer_only_if_very_near() -> None:
    verdicts = [replace(PASSED, expected="Pay online."), PASSED, FAILED, Verdict(False)]
    said = vote(np.array([0.97, 0.9, 0.4, 0.3]), verdicts, k=4, near=0.95)
    assert said.verdict == replace(PASSED, expected="Pay online.")
    assert said.neighbours == (0, 1, 2, 3)
    assert said.share > 0.95
    assert vote(np.array([0.94, 0.9]), verdicts[:2], k=4, near=0.95).verdict == PASSED


def test_the_answer_of_a_neighbour_that_was_outvoted_is_not_taken() -> None:
    verdicts = [replace(FAILED, expected="No."), PASSED, PASSED]
    said = vote(np.array([0.96, 0.955, 0.955]), verdicts, k=3, near=0.95)
    assert said.verdict == PASSED


def test_who_did_not_judge_the_answer_has_no_vote_on_it() -> None:
    verdicts = [Verdict(True), Verdict(True), Verdict(True, False, "billing")]
    said = vote(np.array([0.9, 0.9, 0.8]), verdicts, k=3, near=0.95)
    assert said.verdict == Verdict(True, False, "billing")
    rejected = vote(np.array([0.9, 0.9]), [Verdict(False), Verdict(False)], k=3, near=0.95)
    assert rejected.verdict == Verdict(False)


def test_people_agree_when_nothing_that_both_say_differs() -> None:
    assert agree(PASSED, Verdict(True, None, "billing"))
    assert agree(Verdict(False), Verdict(False, True, "delivery"))
    assert not agree(PASSED, Verdict(False))
    assert not agree(PASSED, Verdict(True, True, "delivery"))
    assert not agree(PASSED, Verdict(True, False, "billing"))


def test_confidence_is_high_where_labels_follow_the_vectors_and_low_where_they_do_not() -> None:
    rng = np.random.default_rng(5)
    groups, groups_right = {}, {}
    for number in range(10):
        labelled, verdicts = two_topics(rng, 30)
        waiting, truth = two_topics(rng, 40)
        if number >= 8:
            verdicts = [verdicts[i] for i in rng.permutation(30)]
        groups[f"c{number}"] = Group(labelled, verdicts, waiting)
        groups_right[f"c{number}"] = truth
    found = suggest(groups)
    sure = {key: np.mean([s.confidence for s in of]) for key, of in found.items()}
    assert min(sure[f"c{i}"] for i in range(8)) > 0.9
    assert max(sure[f"c{i}"] for i in (8, 9)) < 0.8
    assert all(
        agree(s.vote.verdict, truth)
        for i in range(8)
        for s, truth in zip(found[f"c{i}"], groups_right[f"c{i}"], strict=True)
    )


def test_a_cluster_with_few_labels_gets_no_suggestion_and_no_chance_is_certain() -> None:
    rng = np.random.default_rng(6)
    labelled, _ = two_topics(rng, 8)
    group = Group(labelled, [PASSED] * 8, labelled[:2])
    few = Group(labelled[:7], [PASSED] * 7, labelled[:2])
    found = suggest({"enough": group, "few": few}, least_labelled=8)
    assert set(found) == {"enough"}
    assert all(isinstance(s, Suggestion) and 0.8 < s.confidence < 1 for s in found["enough"])


def test_a_cluster_falls_back_on_its_rate_first_and_on_its_interval_later() -> None:
    def state(agreed: int, missed: int) -> str:
        matches = [True] * agreed + [False] * missed
        return agreement(matches, bound=0.6, enough=15).state

    assert [state(0, 0), state(0, 2), state(2, 1), state(8, 5)] == ["measuring"] * 4
    assert [state(0, 3), state(1, 2), state(5, 5)] == ["fallen_back"] * 3
    assert [state(13, 2), state(12, 3)] == ["holds", "fallen_back"]
    measured = agreement([True] * 13 + [False] * 2, bound=0.6, enough=15)
    assert measured.rate == pytest.approx(13 / 15)
    assert measured.low == pytest.approx(0.6212, abs=1e-4)  # Wilson (1927), 13 of 15
    assert measured.high == pytest.approx(0.9626, abs=1e-4)


def test_the_audit_share_is_met_and_stable() -> None:
    hidden = [in_audit(f"task-{i}", 0.2) for i in range(5000)]
    assert np.mean(hidden) == pytest.approx(0.2, abs=0.02)
    assert hidden == [in_audit(f"task-{i}", 0.2) for i in range(5000)]


class Desk:
    """A home with queued queries about two topics, and people who label them."""

    def __init__(self, home: Settings, **rules: Any) -> None:
        self.settings = home.model_copy(update={"suggestions": SuggestionSettings(**rules)})
        self.warehouse = warehouse_of(self.settings)
        self._times = count()

    def now(self) -> datetime:
        return NOON + timedelta(minutes=next(self._times))

    def queue(self, prefix: str, n: int, embed: bool = True, **fields: Any) -> list[str]:
        texts = [
            f"{prefix} {('refund my invoice', 'where is my parcel')[i % 2]} number {i}"
            for i in range(n)
        ]
        hashes = [text_hash(text) for text in texts]
        if embed:
            embed_texts(
                vector_cache(self.settings),
                lambda: embedder(self.settings.embedding),
                pl.DataFrame({"text_hash": hashes, "text": texts}),
            )
        rows = [
            {
                "task_id": f"{prefix}-{i}", "plan_id": "p", "purpose": "new_case", "text": text,
                "text_hash": name, "answer": "Here is how.", "cluster_id": 1, "cluster_key": "c1",
                "cluster_label": "orders", "reason": "gap", "designed": True, "status": "open",
                "route": "default", "priority": 1.0, "raters_wanted": 1, "created_at": NOON,
                **fields,
            }
            for i, (text, name) in enumerate(zip(texts, hashes, strict=True))
        ]  # fmt: skip
        with self.warehouse.writer() as con:
            enqueue(con, pl.DataFrame(rows))
        return [str(row["task_id"]) for row in rows]

    def label(self, *tasks: str, wrong: bool = False, rater: str = "ann", **said: Any) -> None:
        def truth(task: str) -> dict[str, Any]:
            billing = (int(task.rsplit("-", 1)[1]) % 2 == 0) != wrong
            return {"passed": billing, "category": "billing" if billing else "delivery"}

        labels = [
            {"task_id": task, "rater": rater, "keep": True, **truth(task), **said} for task in tasks
        ]
        with self.warehouse.writer() as con:
            record_labels(con, labels, via="review", recorded_at=self.now(), redact_all=list)

    def suggest(self, **rules: Any) -> tuple[Prepared, SuggestionReport]:
        changed = self.settings.suggestions.model_copy(update=rules)
        settings = self.settings.model_copy(update={"suggestions": changed})
        prepared = prepare(self.warehouse, settings)
        with self.warehouse.writer() as con:
            return prepared, record(con, prepared, settings, self.now())

    def table(self, query: str) -> list[dict[str, Any]]:
        with self.warehouse.reader() as con:
            return frame(con, query).to_dicts()

    def uses(self) -> dict[str, str]:
        return {row["task_id"]: row["use"] for row in self.table("FROM suggestions")}

    def statuses(self) -> dict[str, str]:
        return {row["task_id"]: row["status"] for row in self.table("FROM annotation_queue")}


@pytest.fixture
def desk(new_home: Settings) -> Desk:
    """Twenty labelled queries, forty that wait."""
    home = Desk(new_home)
    home.label(*home.queue("first", 20))
    home.queue("second", 40)
    return home


def test_suggestions_are_shown_except_the_audit_and_are_right(desk: Desk) -> None:
    _, report = desk.suggest()
    hidden = {f"second-{i}" for i in range(40) if in_audit(f"second-{i}", 0.2)}
    assert 0 < len(hidden) < 20
    assert report.uses == {"shown": 40 - len(hidden), "audit": len(hidden)}
    for row in desk.table("FROM annotation_queue WHERE starts_with(task_id, 'second')"):
        assert (row["suggestion"] is None) == (row["task_id"] in hidden)
        if row["suggestion"]:
            said = orjson.loads(row["suggestion"])
            even = int(row["task_id"].rsplit("-", 1)[1]) % 2 == 0
            assert (said["keep"], said["passed"], said["by"]) == (True, even, "neighbours")
            assert said["category"] == ("billing" if even else "delivery")
            assert said["confidence"] >= 0.8
            assert said["neighbours"][0]["task_id"].startswith("first-")
    assert set(desk.statuses().values()) == {"open", "kept"}


def test_a_second_run_without_new_labels_changes_nothing(desk: Desk) -> None:
    desk.suggest(mode="accept")
    tables = ("suggestions", "suggestion_agreement", "annotation_queue", "annotation_events")
    before = [desk.table(f"FROM {table} ORDER BY ALL") for table in tables]
    _, again = desk.suggest(mode="accept")
    assert (again.changed, again.accepted, again.withdrawn) == (0, 0, 0)
    assert [desk.table(f"FROM {table} ORDER BY ALL") for table in tables] == before


def test_only_open_new_case_tasks_with_a_vector_in_a_labelled_cluster_are_suggested(
    desk: Desk,
) -> None:
    desk.queue("calibrated", 6, purpose="calibration")
    desk.queue("failure", 6, purpose="regression")
    desk.queue("elsewhere", 6, cluster_key="c2")
    desk.queue("unembedded", 6, embed=False)
    prepared, _ = desk.suggest(mode="accept")
    assert {name.split("-")[0] for name in prepared.proposals} == {"second"}
    assert (prepared.without_vector, prepared.too_few_labels) == (6, 6)


def test_nothing_is_said_about_an_answer_that_was_not_captured(desk: Desk) -> None:
    desk.queue("mute", 4, answer=None)
    desk.suggest()
    rows = desk.table("FROM suggestions WHERE starts_with(task_id, 'mute')")
    assert len(rows) == 4
    assert all(row["passed"] is None and row["category"] for row in rows)


def test_accepting_labels_all_but_audits_failed_answers_and_tasks_of_two_raters(
    desk: Desk,
) -> None:
    desk.queue("pair", 10, raters_wanted=2)
    desk.suggest(mode="accept")
    statuses = desk.statuses()
    for row in desk.table("FROM suggestions"):
        single = row["task_id"].startswith("second")
        accepted = not in_audit(row["task_id"], 0.2) and row["passed"] and single
        assert (row["use"] == "accepted") == accepted
        assert statuses[row["task_id"]] == ("kept" if accepted else "open")
    said = desk.table("FROM annotations WHERE via = 'suggestion'")
    assert {row["rater"] for row in said} == {"suggestion:neighbours"}
    assert {row["category"] for row in said} == {"billing"}


def test_accepted_labels_do_not_vote_and_yield_to_people(desk: Desk) -> None:
    desk.suggest(mode="accept")
    accepted = sorted(name for name, use in desk.uses().items() if use == "accepted")
    desk.queue("third", 10)
    prepared, _ = desk.suggest(mode="accept")
    for proposal in prepared.proposals.values():
        near = orjson.loads(proposal.neighbours)
        assert all(one["task_id"].startswith("first") for one in near)
    desk.label(accepted[0], keep=False)
    assert desk.statuses()[accepted[0]] == "rejected"
    desk.label(accepted[0], withdrawn=True)
    assert desk.statuses()[accepted[0]] == "kept"


def test_agreement_counts_only_what_people_decided_unseen(desk: Desk) -> None:
    desk.suggest()
    hidden = [name for name, use in desk.uses().items() if use == "audit"]
    shown = [name for name, use in desk.uses().items() if use == "shown"]
    desk.label(*shown[:6], wrong=True)
    desk.label(*hidden[1:])
    desk.label(hidden[0], wrong=True)
    desk.suggest()
    cluster, every = desk.table("FROM suggestion_agreement ORDER BY cluster_key = '*'")
    n = len(hidden)
    assert (cluster["audited"], cluster["agreed"]) == (n, n - 1)
    assert (every["cluster_key"], every["audited"], every["state"]) == ("*", n, None)
    assert cluster["agreement_low"] < (n - 1) / n < cluster["agreement_high"]
    decided = desk.table("FROM suggestions WHERE agreed IS NOT NULL")
    assert len(decided) == n + 6


def test_a_cluster_where_people_disagree_falls_back_and_its_labels_are_withdrawn(
    desk: Desk,
) -> None:
    desk.suggest(mode="accept")
    before = desk.uses()
    hidden = [name for name, use in before.items() if use == "audit"]
    desk.label(*hidden, keep=False)
    _, report = desk.suggest(mode="accept")
    assert report.withdrawn == sum(use == "accepted" for use in before.values()) > 0
    (cluster,) = desk.table("FROM suggestion_agreement WHERE cluster_key = 'c1'")
    assert (cluster["state"], cluster["agreed"]) == ("fallen_back", 0)
    assert f"0 of {len(hidden)}" in cluster["reason"]
    queue = desk.table("FROM annotation_queue WHERE status = 'open'")
    assert {row["task_id"] for row in queue} == set(before) - set(hidden)
    assert all(row["suggestion"] is None for row in queue)
    assert desk.table("FROM annotations WHERE via = 'suggestion'") == []
    again = desk.suggest(mode="accept")[1]
    assert (again.changed, again.withdrawn) == (0, 0)


def test_a_fallen_cluster_is_measured_on_and_recovers_without_showing_an_audit(
    new_home: Settings,
) -> None:
    desk = Desk(new_home, enough_audits=3, audit_share=0.5)
    desk.label(*desk.queue("first", 20))
    desk.queue("second", 20)
    desk.suggest()
    seen = {name for name, use in desk.uses().items() if use == "shown"}
    hidden = sorted(set(desk.uses()) - seen)
    desk.label(*hidden[:3], wrong=True)
    desk.suggest()
    assert {name for name, use in desk.uses().items() if use == "withdrawn"} == seen
    fresh = desk.queue("third", 20)
    desk.suggest()
    assert {desk.uses()[name] for name in fresh} == {"audit"}
    desk.label(*fresh[:16], *hidden[3:])
    desk.suggest()
    uses = desk.uses()
    assert {uses[name] for name in fresh} == {"audit"}
    assert "shown" in {uses[name] for name in seen} <= {"shown", "withdrawn"}


def test_switching_suggestions_off_clears_the_queue_and_keeps_what_was_accepted(
    desk: Desk,
) -> None:
    desk.suggest(mode="accept")
    accepted = {name for name, use in desk.uses().items() if use == "accepted"}
    _, report = desk.suggest(mode="off")
    assert set(report.uses) == {"accepted", "withdrawn"}
    shown = desk.table("FROM annotation_queue WHERE suggestion IS NOT NULL")
    assert {row["task_id"] for row in shown} == accepted
    assert {name for name, status in desk.statuses().items() if status == "kept"} > accepted


def test_the_command_prints_agreement_merges_what_it_accepts_and_says_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "HOME": str(desk.settings.home), "EMBEDDING__MODEL": "hashing",
        "SUGGESTIONS__MODE": "accept",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"EVALCOV_{name}", value)
    get_settings.cache_clear()

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["suggest", *arguments])
        assert ended.value.code == 0
        return capsys.readouterr().out

    first = orjson.loads(run("--json"))
    assert first["accepted"] > 0
    assert {row["cluster_key"] for row in first["agreement"]} == {"c1", "*"}
    with duckdb.connect(desk.settings.published, read_only=True) as con:
        published = con.execute(
            "SELECT count(*) FROM eval_cases WHERE starts_with(case_id, 'prod-second')"
        ).fetchall()
    assert published == [(first["accepted"],)]
    printed = run()
    assert "changed 0" in printed
    assert "orders" in printed
    assert "0 of 1 clusters have fallen back" in printed
    get_settings.cache_clear()


def test_the_asset_shows_agreement_and_tells_the_sensors_of_accepted_labels(desk: Desk) -> None:
    rules = desk.settings.suggestions.model_copy(update={"mode": "accept"})
    settings = desk.settings.model_copy(update={"suggestions": rules})
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [suggestions],
            instance=instance,
            resources={"warehouse": warehouse_resource(settings), "settings": settings},
        )
        labels = instance.get_latest_materialization_event(dg.AssetKey("annotations"))
    assert labels is not None
    assert labels.asset_materialization is not None
    decided = labels.asset_materialization.metadata["tasks_decided"].value
    assert decided == sum(use == "accepted" for use in desk.uses().values()) > 0
    *_, made, measured = result.asset_materializations_for_node("suggestions")
    assert made.metadata["shown"].value == sum(use == "shown" for use in desk.uses().values()) > 0
    rows = measured.metadata["agreement"].value
    assert isinstance(rows, list)
    assert rows[0]["state"] == "measuring"
