"""When people write, and about what: days, dayparts, drift, a promotion, a launch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random

from evalcov_pipeline.simulator.catalogue import INTENTS
from evalcov_pipeline.simulator.intents import Intent

WEEKDAY_VOLUME = (1.15, 1.1, 1.05, 1.05, 1.0, 0.8, 0.75)
"""Sessions relative to the average day, Monday first."""
DAYPARTS: dict[str, tuple[int, float, float]] = {
    "night": (0, 0.06, 0.1),
    "morning": (6, 0.32, 0.24),
    "day": (12, 0.36, 0.35),
    "evening": (18, 0.26, 0.31),
}
"""First hour, and share of a weekday's and of a weekend day's sessions."""
PEAK = 2.4
"""How much more often an intent comes up at its peak."""
LAUNCH_WEEK = 4
"""Week (from 0) in which the new features go live."""
LAUNCHED_SHARE = 0.22
"""Share of sessions that begin with a new feature, once it is established."""
SPIKE_WEEK, SPIKE_WEEKDAYS, SPIKE_VOLUME = 5, (3, 4), 3.2
"""The promotion: week (from 0), days of the week, times the ordinary volume."""
SPIKE_PULL = 16.0
"""How much more often promotional intents come up during the promotion."""


@dataclass(frozen=True)
class Calendar:
    """The simulated span: whole weeks from a Monday on."""

    start: date
    weeks: int
    sessions_per_day: float

    @property
    def days(self) -> list[date]:
        """Every simulated day."""
        return [self.start + timedelta(days=i) for i in range(7 * self.weeks)]

    def week(self, day: date) -> int:
        """Week of a day, from 0."""
        return (day - self.start).days // 7

    def is_spike(self, day: date) -> bool:
        """Whether the promotion runs on a day."""
        return self.week(day) == SPIKE_WEEK and day.weekday() in SPIKE_WEEKDAYS

    def has_launched(self, day: date) -> bool:
        """Whether the new features exist on a day."""
        return self.week(day) >= LAUNCH_WEEK

    def session_starts(self, day: date, rng: Random) -> list[datetime]:
        """Instants at which the sessions of a day begin, in order."""
        growth = 1 + 0.15 * self._progress(day)
        mean = self.sessions_per_day * WEEKDAY_VOLUME[day.weekday()] * growth
        mean *= SPIKE_VOLUME if self.is_spike(day) else 1.0
        count = max(0, round(rng.gauss(mean, math.sqrt(mean))))
        shares = [part[2 if day.weekday() >= 5 else 1] for part in DAYPARTS.values()]
        first_hours = [part[0] for part in DAYPARTS.values()]
        midnight = datetime.combine(day, time(), UTC)
        hours = rng.choices(first_hours, shares, k=count)
        return sorted(
            midnight + timedelta(hours=h, seconds=rng.uniform(0, 6 * 3600)) for h in hours
        )

    def draw_intent(self, at: datetime, rng: Random) -> Intent:
        """Reason for which a session begins."""
        weights = [self._weight(intent, at) for intent in INTENTS]
        arriving = [intent.trend == "arriving" for intent in INTENTS]
        share = self._launched_share(at)
        new = sum(w for w, a in zip(weights, arriving, strict=True) if a)
        old = sum(weights) - new
        scaled = [
            w * (share / new if a else (1 - share) / old)
            for w, a in zip(weights, arriving, strict=True)
        ]
        return rng.choices(INTENTS, scaled)[0]

    def _progress(self, day: date) -> float:
        return (day - self.start).days / (7 * self.weeks)

    def _launched_share(self, at: datetime) -> float:
        weeks = (at.date() - self.start).days / 7 - LAUNCH_WEEK
        if weeks < 0:
            return 0.0
        share = LAUNCHED_SHARE * (1 - math.exp(-(((weeks + 0.3) / 2.3) ** 1.5)))
        return share / 3 if self.is_spike(at.date()) else share

    def _weight(self, intent: Intent, at: datetime) -> float:
        progress = self._progress(at.date())
        weight = intent.weight
        match intent.trend:
            case "growing":
                weight *= 0.2 + 2.2 * progress
            case "fading":
                weight *= min(1.0, max(0.03, (0.6 - progress) / 0.3))
            case "promotion" if self.is_spike(at.date()):
                weight *= SPIKE_PULL
        daypart = [name for name, (hour, *_) in DAYPARTS.items() if hour <= at.hour][-1]
        week_part = "weekend" if at.weekday() >= 5 else "weekday"
        return weight * (PEAK if intent.peak in (daypart, week_part) else 1.0)
