"""Suggested labels for the tasks that wait, from what people decided about similar queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import duckdb
import orjson

from evalcov_pipeline.core.labels.decision import Label, Purpose, resolve
from evalcov_pipeline.core.labels.suggestions import Group, Suggestion, Verdict, suggest
from evalcov_pipeline.llm.endpoint import Answers, ask
from evalcov_pipeline.llm.prompt import Example, Question, digest, prompt
from evalcov_pipeline.services.labels.queue import SUGGESTED
from evalcov_pipeline.services.labels.tasks import Task
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.services.traffic.vectors import vector_cache
from evalcov_pipeline.settings import Settings
from evalcov_pipeline.storage.warehouse import Warehouse, frame

NEIGHBOURS = "neighbours"


@dataclass(frozen=True)
class Decided:
    """A task as people decided it; `category` is the task's hint where they gave none."""

    task_id: str
    cluster_key: str
    text_hash: str
    text: str
    verdict: Verdict
    decided_at: datetime


@dataclass(frozen=True)
class Proposal:
    """What is suggested for a task, before it is known what that is used for.

    Attributes:
        task_id: the task.
        cluster_key: its cluster.
        by: what suggests.
        keep: as in a label.
        passed: likewise; None where production's answer was not captured.
        category: likewise.
        expected: likewise.
        confidence: chance that people would say the same, 0..1; None where nothing measures it.
        neighbours: JSON list of {task_id, text, similarity}, the nearest first.
        asked: digest of what an endpoint was asked; None for neighbours.
    """

    task_id: str
    cluster_key: str
    by: str
    keep: bool
    passed: bool | None
    category: str | None
    expected: str | None
    confidence: float | None
    neighbours: str
    asked: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Proposal:
        """The proposal in a row of `suggestions`."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Prepared:
    """Suggestions for the tasks that wait, before it is known what they are used for.

    Attributes:
        proposals: by task.
        too_few_labels: waiting tasks of clusters with too few labels.
        without_vector: waiting tasks whose text was not embedded.
        unsure: waiting tasks on which no suggestion is confident enough.
        answers: what came of asking the endpoint; None if there is none.
    """

    proposals: Mapping[str, Proposal] = field(default_factory=dict)
    too_few_labels: int = 0
    without_vector: int = 0
    unsure: int = 0
    answers: Answers | None = None


def prepare(warehouse: Warehouse, settings: Settings) -> Prepared:
    """Vote on every waiting task, and ask the endpoint about those that the vote leaves open.

    Reads vectors by text hash and loads no model. Changes nothing.
    """
    rules = settings.suggestions
    if rules.mode == "off":
        return Prepared()
    with warehouse.reader() as con:
        decided = decided_by_people(con)
        waiting = waiting_tasks(con)
        known = [
            Proposal.of(row)
            for row in frame(con, "SELECT * FROM suggestions").iter_rows(named=True)
        ]
        fallen = set(
            con.execute(
                "SELECT cluster_key, \"by\" FROM suggestion_agreement WHERE state = 'fallen_back'"
            ).fetchall()
        )
    cache = vector_cache(settings)
    missing = set(cache.missing([task.text_hash for task in waiting]))
    missing |= set(cache.missing([one.text_hash for one in decided.values()]))
    labelled: dict[str, list[Decided]] = defaultdict(list)
    for one in decided.values():
        if one.text_hash not in missing:
            labelled[one.cluster_key].append(one)
    tasks_of: dict[str | None, list[Task]] = defaultdict(list)
    for task in waiting:
        if task.text_hash not in missing:
            tasks_of[task.cluster_key].append(task)
    suggestions_of = suggest(
        {
            key: Group(
                cache.get([one.text_hash for one in members]),
                [one.verdict for one in members],
                cache.get([task.text_hash for task in tasks_of[key]]),
            )
            for key, members in labelled.items()
        },
        k=rules.neighbours,
        least_labelled=rules.least_labelled,
        near=rules.near,
    )
    proposals: dict[str, Proposal] = {}
    open_questions = []
    for key, suggestions in suggestions_of.items():
        for task, suggestion in zip(tasks_of[key], suggestions, strict=True):
            proposal = _proposal(task, key, suggestion, labelled[key])
            if (proposal.confidence or 0) >= rules.confidence:
                proposals[task.task_id] = proposal
            else:
                open_questions.append((task, proposal, labelled[key]))
    answers = None
    if rules.endpoint:
        by = f"endpoint:{rules.model}"
        told, answers = _asked(
            [unsure for unsure in open_questions if (unsure[1].cluster_key, by) not in fallen],
            known,
            settings,
        )
        proposals |= told
    return Prepared(
        proposals=proposals,
        too_few_labels=sum(
            len(tasks) for key, tasks in tasks_of.items() if key not in suggestions_of
        ),
        without_vector=sum(task.text_hash in missing for task in waiting),
        unsure=sum(len(votes) for votes in suggestions_of.values()) - len(proposals),
        answers=answers,
    )


def decided_by_people(con: duckdb.DuckDBPyConnection) -> dict[str, Decided]:
    """New-case tasks by id that labels of people, without suggested ones, decide."""
    labels_on: dict[str, list[Label]] = defaultdict(list)
    tasks: dict[str, dict[str, Any]] = {}
    for row in frame(
        con,
        """
        SELECT q.task_id, cluster_key, text_hash, text, q.category AS hint, raters_wanted,
               rater, keep, passed, expected, a.category, note, first_at, "at"
        FROM annotation_queue q JOIN annotations a USING (task_id)
        WHERE purpose = ? AND cluster_key IS NOT NULL AND via != ?
        ORDER BY q.task_id, rater
        """,
        [Purpose.NEW_CASE.value, SUGGESTED],
    ).to_dicts():
        tasks[row["task_id"]] = row
        labels_on[row["task_id"]].append(
            Label(**{name: row[name] for name in Label.__annotations__})
        )
    decided = {}
    for name, task in tasks.items():
        outcome = resolve(labels_on[name], task["raters_wanted"])
        if (label := outcome.label) and outcome.decided_at:
            verdict = Verdict(label.keep, label.passed, label.category, label.expected)
            if verdict.keep and verdict.category is None:
                verdict = Verdict(True, label.passed, task["hint"], label.expected)
            decided[name] = Decided(
                name, task["cluster_key"], task["text_hash"], task["text"], verdict,
                outcome.decided_at,
            )  # fmt: skip
    return decided


def waiting_tasks(con: duckdb.DuckDBPyConnection) -> list[Task]:
    """New-case tasks of single queries that nobody has labelled, the most urgent first.

    A whole session is more than the query that it ends with: neighbours of that say nothing of it.
    """
    rows = frame(
        con,
        """
        SELECT * FROM annotation_queue q
        WHERE purpose = ? AND status = 'open' AND cluster_key IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM annotations a WHERE a.task_id = q.task_id)
          AND NOT EXISTS (
            SELECT 1 FROM refresh_candidates c WHERE c.task_id = q.task_id AND c.unit = 'session')
        ORDER BY priority DESC, created_at, task_id
        """,
        [Purpose.NEW_CASE.value],
    )
    return [Task.of(row) for row in rows.iter_rows(named=True)]


def _proposal(
    task: Task, cluster_key: str, suggestion: Suggestion, labelled: Sequence[Decided]
) -> Proposal:
    """What the neighbours say about a task; nothing about an answer that was not captured."""
    vote = suggestion.vote
    near = [
        {"task_id": labelled[i].task_id, "text": labelled[i].text, "similarity": round(cosine, 4)}
        for i, cosine in zip(vote.neighbours, vote.similarities, strict=True)
    ]
    return Proposal(
        task_id=task.task_id,
        cluster_key=cluster_key,
        by=NEIGHBOURS,
        keep=vote.verdict.keep,
        passed=None if task.answer is None else vote.verdict.passed,
        category=vote.verdict.category,
        expected=vote.verdict.expected,
        confidence=round(suggestion.confidence, 4),
        neighbours=orjson.dumps(near).decode(),
        asked=None,
    )


def _asked(
    unsure: Sequence[tuple[Task, Proposal, Sequence[Decided]]],
    known: Collection[Proposal],
    settings: Settings,
) -> tuple[dict[str, Proposal], Answers]:
    """Proposals of the endpoint, by task.

    What was answered before is asked again only if the prompt is another now, and holds where no
    usable reply comes.

    Args:
        unsure: tasks, their proposals by neighbours, and the labelled tasks of their cluster.
        known: what was suggested before.
        settings: with an endpoint.
    """
    rules = settings.suggestions
    by, redact_all = f"endpoint:{rules.model}", redactor(settings.redaction)
    answered = {proposal.task_id: proposal for proposal in known if proposal.by == by}
    replies: dict[str, Proposal] = {}
    drafts: dict[str, Proposal] = {}
    questions = []
    for task, proposal, labelled in unsure:
        question = _question(task, proposal, labelled)
        message = prompt(question, redact_all)
        draft = replace(proposal, by=by, confidence=None, asked=digest(message, str(rules.model)))
        before = answered.get(task.task_id)
        if before and before.asked == draft.asked:
            replies[task.task_id] = before
        else:
            drafts[task.task_id] = draft
            questions.append((question, message))
    answers = ask(questions, rules)
    for name in drafts.keys() & answered.keys():
        replies[name] = answered[name]
    for name, verdict in answers.verdicts.items():
        expected = redact_all([verdict.expected])[0] if verdict.expected else None
        replies[name] = replace(
            drafts[name], keep=verdict.keep, passed=verdict.passed, category=verdict.category,
            expected=expected,
        )  # fmt: skip
    return replies, answers


def _question(task: Task, proposal: Proposal, labelled: Sequence[Decided]) -> Question:
    by_id = {one.task_id: one for one in labelled}
    near = [by_id[one["task_id"]] for one in orjson.loads(proposal.neighbours)]
    named = {one.verdict.category for one in labelled} | {task.category}
    return Question(
        task_id=task.task_id,
        text=task.text,
        context=orjson.loads(task.context) if task.context else [],
        answer=task.answer,
        cluster=task.cluster_label,
        categories=sorted(name for name in named if name),
        examples=[Example(one.text, one.verdict) for one in near],
    )
