"""People and judges looking at production: human labels, judge verdicts, incidents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from random import Random
from typing import Any

from evalcov_pipeline.simulator.evals import category
from evalcov_pipeline.simulator.rhythm import Calendar
from evalcov_pipeline.simulator.traffic import Turn

LABELLED = {"orders": 80, "returns": 64, "payments": 60, "delivery": 24, "trade_in": 16}
"""Items per category that people label."""
SECOND_RATER = 0.3
JUDGED_BESIDES = 260
"""Items that only the judge has seen."""
WRONG_CATEGORY = "returns"
"""The category in which the judge misreads the rubric."""
LONG = 110
"""Characters from which the judge is lenient."""
SLIPS = {"anna": 0.04, "ben": 0.07}
"""Chance that a rater errs."""
_NOTES = ("", "", "", "answers a different question", "right, but too long",
"missing the next step",
          "agree with the user, not solved", "invented a policy")  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """Rows of the three files."""

    annotations: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    incidents: list[dict[str, Any]]


def label(turns: list[Turn], calendar: Calendar, seed: int) -> Labels:
    """Draw items from answered production turns and let people and the judge look at them.

    Half of the labelled items are drawn evenly, half among turns that drew a complaint or were
    followed by a rephrase, as teams do it; never by what a judge said of them.
    """
    rng = Random(f"{seed}/labels")
    answered = [t for t in turns if t.environment == "production" and t.answer]
    trouble = _followed_by_trouble(answered)
    end = datetime.combine(calendar.start, time(9), UTC) + timedelta(days=7 * calendar.weeks)
    annotations: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    for family, count in LABELLED.items():
        of_family = [t for t in answered if category(t.intent) == family]
        suspect = [t for t in of_family if t.trace_id in trouble]
        chosen = _draw(suspect, count // 2, rng)
        taken = {t.trace_id for t in chosen}
        chosen += _draw([t for t in of_family if t.trace_id not in taken], count - len(chosen), rng)
        for turn in chosen:
            annotations += _human(turn, family, end, rng)
            verdicts.append(_verdict(turn, family, rng))
    taken = {row["item_id"] for row in verdicts}
    others = _draw([t for t in answered if t.trace_id not in taken], JUDGED_BESIDES, rng)
    verdicts += [_verdict(turn, category(turn.intent), rng) for turn in others]
    return Labels(
        sorted(annotations, key=lambda row: (row["at"], row["item_id"], row["rater"])),
        sorted(verdicts, key=lambda row: (row["at"], row["item_id"])),
        list(_incidents(answered, rng)),
    )


def _draw(turns: list[Turn], count: int, rng: Random) -> list[Turn]:
    return rng.sample(turns, min(count, len(turns)))


def _followed_by_trouble(turns: list[Turn]) -> set[str]:
    disliked = {t.trace_id for t in turns if any(f.label == "thumbs_down" for f in t.feedback)}
    for before, after in pairwise(turns):
        if before.session_id == after.session_id and after.kind in ("rephrase", "friction"):
            disliked.add(before.trace_id)
    return disliked


def _human(turn: Turn, family: str, end: datetime, rng: Random) -> Iterator[dict[str, Any]]:
    raters = ["anna", "ben"] if rng.random() < SECOND_RATER else [rng.choice(list(SLIPS))]
    seen = min(turn.started_at + timedelta(days=rng.uniform(1, 9)), end - timedelta(hours=4))
    for i, rater in enumerate(raters):
        passed = turn.failed == (rng.random() < SLIPS[rater])
        at = seen + timedelta(hours=1.5 * i)
        yield {
            "item_id": turn.trace_id,
            "rater": rater,
            "passed": passed,
            "category": family,
            "expected": None,
            "keep": not passed and rng.random() < 0.5,
            "note": None if passed else rng.choice(_NOTES) or None,
            "selection": "verdict_blind",
            "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        }


def _verdict(turn: Turn, family: str, rng: Random) -> dict[str, Any]:
    """The judge: good in general, lenient to long answers, blind in one category."""
    long = len(turn.answer or "") > LONG
    if family == WRONG_CATEGORY:
        false_accept, false_reject = 0.75, 0.2
    else:
        false_accept, false_reject = (0.45, 0.01) if long else (0.06, 0.04)
    passed = rng.random() < false_accept if turn.failed else rng.random() >= false_reject
    at = turn.started_at + timedelta(hours=rng.uniform(1, 20))
    return {
        "item_id": turn.trace_id,
        "case_id": None,
        "category": family,
        "judge_id": "rubric-judge-4",
        "judge_model": "atlas-large-2",
        "passed": passed,
        "output": turn.answer,
        "model": "atlas-mini-3" if turn.release >= "1.6" else "atlas-mini-2",
        "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
    }


def _incidents(turns: list[Turn], rng: Random) -> Iterator[dict[str, Any]]:
    """A few escalations, each from a failed turn with nothing personal in it."""
    wanted = (
        ("charged_twice", "high", "Duplicate charge called a reservation although it was booked"),
        ("trade_in_send", "medium", "Customer was told to wipe the device after sending it"),
        ("not_received", "high", "Claim window given as 30 days instead of 14"),
        ("promo_code", "low", "Expired code confirmed as valid during the autumn sale"),
    )
    for intent, severity, title in wanted:
        failed = [t for t in turns if t.failed and t.intent == intent and t.kind == "first"]
        failed = [t for t in failed if not t.personal_query]
        if not failed:
            continue
        turn = rng.choice(failed)
        at = turn.started_at + timedelta(days=2)
        yield {
            "incident_id": f"INC-{turn.trace_id[:6]}",
            "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "title": title,
            "severity": severity,
            "category": category(intent),
            "input": turn.query,
            "expected": "Say what is known, quote the policy, and hand over to a colleague.",
            "trace_id": turn.trace_id,
            "session_id": turn.session_id,
        }
