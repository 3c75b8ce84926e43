"""Who labels what right now: one seat per browser, in the memory of one server.

A task on somebody's screen is offered to nobody else for some minutes, unless more labels are
wanted. That only avoids double work: whether a label still counts is decided when it is recorded.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from evalcov_pipeline.services.labels.rating import Rating
from evalcov_pipeline.services.labels.tasks import Task

LEASE = timedelta(minutes=10)
"""How long a task stays with the browser that it was given to."""


@dataclass
class Seat:
    """One browser at work.

    Attributes:
        rater: who sits there.
        route: the queue that is worked on; None for all.
        task_id: the task on the screen; None once nothing is left.
        since: when it was given.
        skipped: tasks put off.
        labelled: tasks labelled from here, oldest first.
        drafts: what was typed about tasks that are not labelled yet.
        notice: what the last action did, for the rater.
    """

    rater: str
    route: str | None
    task_id: str | None = None
    since: datetime = datetime.min
    skipped: set[str] = field(default_factory=set)
    labelled: list[str] = field(default_factory=list)
    drafts: dict[str, Rating] = field(default_factory=dict)
    notice: str = ""


class Desk:
    """All seats of a server."""

    def __init__(self) -> None:
        """Start with no seat taken."""
        self.acting = threading.Lock()
        """Held by the one action that happens at a time."""
        self._seats: dict[str, Seat] = {}

    def sit(self, seat: Seat) -> str:
        """Take a seat; the secret name under which it is found again."""
        name = secrets.token_urlsafe(16)
        self._seats[name] = seat
        return name

    def seat(self, name: str | None) -> Seat | None:
        """The seat of this name, or None."""
        return self._seats.get(name or "")

    def leave(self, name: str | None) -> None:
        """Give a seat up."""
        self._seats.pop(name or "", None)

    def give(self, seat: Seat, task_id: str | None, at: datetime) -> None:
        """Put a task, or none, on the screen of a seat."""
        seat.task_id, seat.since = task_id, at

    def give_next(self, seat: Seat, waiting: Sequence[Task], at: datetime) -> None:
        """Give the first task that waits for this rater, was not put off and is free.

        Args:
            seat: who gets it.
            waiting: the most urgent first.
            at: now.
        """
        free = (
            task.task_id
            for task in waiting
            if task.task_id not in seat.skipped
            and self._free(
                seat, task.task_id, task.raters_wanted if task.status == "open" else 1, at
            )
        )
        self.give(seat, next(free, None), at)

    def _free(self, seat: Seat, task_id: str, wanted: int, at: datetime) -> bool:
        """Whether fewer other people have the task on their screens than labels are wanted."""
        others = [
            other.rater
            for other in self._seats.values()
            if other is not seat and other.task_id == task_id and at - other.since < LEASE
        ]
        return seat.rater not in others and len(others) < wanted
