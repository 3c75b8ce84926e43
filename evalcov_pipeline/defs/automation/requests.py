"""Runs that sensors ask for until they succeed, or have failed too often."""

from __future__ import annotations

from typing import Any, Literal

import dagster as dg
from pydantic import BaseModel

MAX_ATTEMPTS = 3
"""How often a failing run is launched before a person has to look."""

TRY_TAG = "evalcov/try"
"""Tag of a requested run: which try of its request it is, from 1."""

FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

State = Literal["wanted", "running", "done", "given_up"]


class Request(BaseModel):
    """A run that was asked for.

    A run key launches once for good, so every attempt has its own, and a tick that is repeated
    does not launch one twice.
    """

    key: str
    job: str | None = None
    partition_key: str | None = None
    ops: dict[str, Any] = {}
    tags: dict[str, str] = {}
    attempt: int = 1
    failures: int = 0

    @property
    def given_up(self) -> bool:
        """Whether it failed as often as it may."""
        return self.failures >= MAX_ATTEMPTS

    def state(self, instance: dg.DagsterInstance) -> State:
        """What became of it; a failure is counted, and the next attempt wanted."""
        if self.given_up:
            return "given_up"
        run = self._run(instance)
        if run is None:
            return "wanted"
        if run.status == dg.DagsterRunStatus.SUCCESS:
            return "done"
        if run.status not in FAILED:
            return "running"
        self.failures += 1
        if self.given_up:
            return "given_up"
        self.attempt += 1
        return "wanted"

    def past_known_runs(self, instance: dg.DagsterInstance) -> Request:
        """The same with an attempt that has no run: its key may have been asked for before."""
        while self._run(instance):
            self.attempt += 1
        return self

    def launch(self) -> dg.RunRequest:
        """What the sensor returns to have it run."""
        return dg.RunRequest(
            run_key=self._run_key,
            job_name=self.job,
            partition_key=self.partition_key,
            run_config={"ops": self.ops},
            tags=self.tags | {TRY_TAG: str(self.failures + 1)},
        )

    @property
    def _run_key(self) -> str:
        return f"{self.key}:{self.attempt}"

    def _run(self, instance: dg.DagsterInstance) -> dg.DagsterRun | None:
        filters = dg.RunsFilter(tags={"dagster/run_key": self._run_key})
        return next(iter(instance.get_runs(filters=filters, limit=1)), None)


def advance(
    current: Request | None, wanted: Request | None, instance: dg.DagsterInstance
) -> tuple[Request | None, bool]:
    """One request at a time: the current one until it ends, then what is wanted next.

    What was given up is not asked for again until something else is wanted.

    Returns:
        The request to remember, and whether to launch it now.
    """
    state = current.state(instance) if current else "done"
    if state in ("running", "wanted"):
        return current, state == "wanted"
    if wanted and not (state == "given_up" and current and current.key == wanted.key):
        return wanted.past_known_runs(instance), True
    return (current if state == "given_up" else None), False
