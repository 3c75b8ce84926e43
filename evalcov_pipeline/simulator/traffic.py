"""Sessions: what is asked, what the assistant does about it, and how people take the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from evalcov_pipeline.simulator import wording
from evalcov_pipeline.simulator.catalogue import BY_NAME, INTENTS
from evalcov_pipeline.simulator.intents import Intent
from evalcov_pipeline.simulator.personal_data import Planted, confirm, look_alike, plant
from evalcov_pipeline.simulator.rhythm import Calendar

MAX_TURNS = 8
PERSONAL_SHARE = 0.062
LOOK_ALIKE_SHARE = 0.04
ERROR_RATE = 0.016
CAPTURE_OFF = 0.08
"""Share of retrievals whose documents were not recorded."""
RELEASES: tuple[tuple[float, str, float], ...] = (
    (0.0, "1.4", 1.0), (0.3, "1.5", 0.9), (0.7, "1.6", 0.95),
)  # fmt: skip
"""From which part of the span on a release runs, its name, and its factor on failures."""


@dataclass(frozen=True)
class Document:
    """A retrieved passage."""

    id: str
    score: float
    content: str


@dataclass(frozen=True)
class Feedback:
    """A verdict on a turn; `late` ones come as a span of their own, linked to the turn."""

    name: str
    score: float
    label: str
    annotator: str
    late: bool = False


@dataclass(frozen=True)
class Turn:
    """One exchange, with its truth."""

    trace_id: str
    session_id: str
    user_id: str
    started_at: datetime
    latency_s: float
    query: str
    answer: str | None
    intent: str
    release: str
    segment: dict[str, str]
    previous: tuple[str, str] | None = None
    """Query and answer before it in the session."""
    tools: tuple[str, ...] = ()
    retrieves: str | None = None
    """Topic of its retrieval, if there is one."""
    documents: tuple[Document, ...] | None = ()
    """None where content was not captured."""
    finish_reason: str | None = "stop"
    error: str | None = None
    outcome: str | None = None
    feedback: tuple[Feedback, ...] = ()
    failed: bool = False
    kind: str = "first"
    """first | follow_up | next | rephrase | regeneration | friction"""
    environment: str = "production"
    attributes: dict[str, str] = field(default_factory=dict)
    personal_query: tuple[Planted, ...] = ()
    personal_answer: tuple[Planted, ...] = ()


def release_at(calendar: Calendar, at: datetime) -> tuple[str, float]:
    """Release that answers at an instant, and its factor on failures."""
    progress = (at.date() - calendar.start).days / (7 * calendar.weeks)
    return next((name, factor) for since, name, factor in reversed(RELEASES) if progress >= since)


def simulate_traffic(calendar: Calendar, seed: int) -> Iterator[Turn]:
    """Production turns, session by session; each day has its own random stream."""
    for day in calendar.days:
        rng = Random(f"{seed}/traffic/{day}")
        for at in calendar.session_starts(day, rng):
            yield from _Session(calendar, at, rng).turns()


class _Session:
    """One person at one sitting."""

    def __init__(self, calendar: Calendar, at: datetime, rng: Random) -> None:
        self.calendar, self.at, self.rng = calendar, at, rng
        self.memory = wording.Memory()
        self.register = wording.draw_register(rng)
        self.session_id = f"s-{rng.getrandbits(48):012x}"
        self.user_id = f"u-{rng.randrange(2600):04d}"
        self.segment = {
            "tier": rng.choices(["free", "club", "plus"], [0.62, 0.28, 0.1])[0],
            "locale": rng.choices(["en-GB", "en-US", "en-IE", "de-DE"], [0.5, 0.32, 0.1, 0.08])[0],
            "channel": rng.choices(["web", "app", "messenger"], [0.45, 0.42, 0.13])[0],
        }

    def turns(self) -> list[Turn]:
        """The whole session."""
        intent, kind = self.calendar.draw_intent(self.at, self.rng), "first"
        turns: list[Turn] = []
        while True:
            query, personal = self._query(intent, kind, turns)
            turns.append(self._answer(intent, kind, query, personal, turns))
            step = self._continue(intent, turns[-1]) if len(turns) < MAX_TURNS else None
            if step is None:
                turns[-1] = replace(turns[-1], outcome=self._outcome(turns[-1]))
                return turns
            intent, kind = step
            pause = 6 if kind == "regeneration" else 25
            self.at = turns[-1].started_at + timedelta(
                seconds=turns[-1].latency_s + self.rng.uniform(0.4, 2.5) * pause
            )

    def _query(
        self, intent: Intent, kind: str, turns: list[Turn]
    ) -> tuple[str, tuple[Planted, ...]]:
        rng, wording_of = self.rng, (intent, self.memory, self.register, self.rng)
        match kind:
            case "regeneration":
                return turns[-1].query, turns[-1].personal_query
            case "follow_up":
                text = wording.follow_up(intent, self.register, rng)
            case "rephrase":
                text = wording.rephrase(*wording_of)
            case "friction":
                text = wording.object_to(*wording_of)
            case _:
                text = wording.ask(*wording_of)
        chance = rng.random()
        if chance < PERSONAL_SHARE:
            return plant(text, rng)
        if chance < PERSONAL_SHARE + LOOK_ALIKE_SHARE:
            text = f"{text}{' ' if text[-1] in '.?!' else ', '}{look_alike(rng)}"
        return text, ()

    def _answer(
        self,
        intent: Intent,
        kind: str,
        query: str,
        personal: tuple[Planted, ...],
        turns: list[Turn],
    ) -> Turn:
        rng = self.rng
        release, factor = release_at(self.calendar, self.at)
        failed = rng.random() < intent.difficulty * factor * (1.5 if kind == "friction" else 1.0)
        tools = intent.tools[: rng.randint(1, len(intent.tools))] if intent.tools else ()
        if intent.tools and not failed and kind != "follow_up" and rng.random() < 0.7:
            tools = intent.tools
        elif kind == "follow_up" and rng.random() < 0.6:
            tools = tools[:1]
        turn = Turn(
            trace_id=f"{rng.getrandbits(128):032x}",
            session_id=self.session_id,
            user_id=self.user_id,
            started_at=self.at,
            latency_s=rng.lognormvariate(0.35, 0.45) + 0.5 * len(tools),
            query=query,
            answer=None,
            intent=intent.name,
            release=release,
            segment=self.segment,
            previous=(turns[-1].query, turns[-1].answer or "") if turns else None,
            tools=tools,
            failed=failed,
            kind=kind,
            personal_query=personal,
        )
        if intent.topic:
            turn = replace(
                turn, retrieves=intent.topic, documents=self._retrieve(intent.topic, failed)
            )
        if rng.random() < ERROR_RATE:
            error = rng.choice(
                ["timeout", "rate_limit_exceeded", "tool_error", "upstream_unavailable"]
            )
            return replace(
                turn, failed=True, error=error, finish_reason=None, latency_s=turn.latency_s + 8
            )
        answer, finish = self._bad(intent, turn) if failed else (self._good(intent), "stop")
        answer, personal_answer = confirm(answer, personal, rng)
        return replace(
            turn,
            answer=answer,
            finish_reason=finish,
            tools=tools * 2 if failed and rng.random() < 0.1 else tools,
            personal_answer=personal_answer,
            feedback=self._feedback(failed),
        )

    def _retrieve(self, topic: str, failed: bool) -> tuple[Document, ...] | None:
        rng = self.rng
        if rng.random() < CAPTURE_OFF:
            return None
        if rng.random() < (0.16 if failed else 0.01):
            return ()
        weak = rng.random() < (0.45 if failed else 0.05)
        best = rng.uniform(0.18, 0.42) if weak else rng.uniform(0.58, 0.93)
        scores = sorted(
            (best * rng.uniform(0.6, 1.0) for _ in range(rng.randint(0, 2))), reverse=True
        )
        numbers = rng.sample(range(1, 15), 1 + len(scores))
        return tuple(
            Document(f"kb-{topic}-{i:02d}", round(score, 3), f"{topic.capitalize()}, article {i}")
            for i, score in zip(numbers, (best, *scores), strict=True)
        )

    def _good(self, intent: Intent) -> str:
        text = wording.dress(
            wording.expand(self.rng.choice(intent.answers), self.memory, self.rng),
            wording.CLEAN,
            self.rng,
        )
        if self.rng.random() < 0.25:
            text += self.rng.choice(
                [" Is there anything else I can do?", " Let me know if that works for you.",
                 " You can find the details in your account as well."]
            )  # fmt: skip
        return text

    def _bad(self, intent: Intent, turn: Turn) -> tuple[str, str]:
        """A bad answer and its finish reason."""
        rng = self.rng
        if turn.documents == () and turn.retrieves:
            return f"I couldn't find anything about {turn.retrieves} in the help centre.", "stop"
        match rng.choices(["elsewhere", "vague", "cut", "refused", "wrong"], [3, 3, 0.7, 0.6, 3])[
            0
        ]:
            case "elsewhere":
                others = [i for i in INTENTS if i.family == intent.family and i is not intent]
                return self._good(rng.choice(others or list(INTENTS))), "stop"
            case "vague":
                return rng.choice(
                    ["Please have a look at the help pages, where most questions are answered.",
                     "I'm sorry, I didn't quite understand. Could you give me more details?",
                     "This depends on many things. In general, our policies apply."]
                ), "stop"  # fmt: skip
            case "cut":
                text = self._good(intent)
                return text[: len(text) // 2].rstrip(), "length"
            case "refused":
                return "I'm not able to help with that request.", "content_filter"
            case _:
                return self._good(intent), "stop"

    def _feedback(self, failed: bool) -> tuple[Feedback, ...]:
        rng, given = self.rng, []
        down, up = (0.17, 0.01) if failed else (0.01, 0.07)
        chance = rng.random()
        if chance < down:
            given.append(Feedback("user_feedback", 0.0, "thumbs_down", "HUMAN", rng.random() < 0.2))
        elif chance < down + up:
            given.append(Feedback("user_feedback", 1.0, "thumbs_up", "HUMAN", rng.random() < 0.1))
        if rng.random() < 0.05:
            good = failed == (rng.random() < 0.2)
            label = "helpful" if good else "not_helpful"
            given.append(Feedback("helpfulness", float(good), label, "LLM", rng.random() < 0.5))
        return tuple(given)

    def _continue(self, intent: Intent, turn: Turn) -> tuple[Intent, str] | None:
        rng = self.rng
        if turn.error:
            return (intent, "regeneration") if rng.random() < 0.5 else None
        if turn.failed:
            reaction = rng.choices(
                ["rephrase", "regeneration", "friction", "leave"], [34, 12, 14, 40]
            )[0]
            return None if reaction == "leave" else (intent, reaction)
        if rng.random() > 0.4:
            return None
        move = rng.random()
        if move < 0.3 and intent.follows:
            return intent, "follow_up"
        if move < 0.9 and intent.then:
            chosen = BY_NAME[rng.choice(intent.then)]
            if chosen.trend != "arriving" or self.calendar.has_launched(self.at.date()):
                return chosen, "next"
        return self.calendar.draw_intent(self.at, rng), "next"

    def _outcome(self, turn: Turn) -> str | None:
        """Outcome of a session's last turn, where the product knows it."""
        if turn.error:
            return "error"
        if turn.failed:
            return "abandoned" if self.rng.random() < 0.4 else None
        return "success" if self.rng.random() < 0.45 else None
