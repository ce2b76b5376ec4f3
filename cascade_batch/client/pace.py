"""How fast a job goes, and how long it may still take."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cascade_batch.engine.outlook import Outlook

Status = Mapping[str, Any]
"""As `job_status` gives it and `status JOB --json` prints it."""

WINDOW_S = 30.0
LEAST_S = 3.0
LEAST_CALLS = 10
"""Fewer say nothing about the others."""
_KEPT = 5000


class _Look(NamedTuple):
    at_s: float
    rows: int
    calls: Mapping[str, int]


@dataclass(slots=True)
class Pace:
    """What was seen of a job in the last half minute; longer where too little happened in it."""

    seen: deque[_Look] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def note(self, status: Status, now_s: float) -> None:
        """Take note of a status."""
        rows = status["rows"]
        calls = {name: tier["calls"] for name, tier in status["tiers"].items()}
        self.seen.append(_Look(now_s, rows["answered"] + rows["failed"], calls))
        while len(self.seen) > 2 and self._is_enough(self.seen[1]):
            self.seen.popleft()

    def _is_enough(self, first: _Look) -> bool:
        last = self.seen[-1]
        calls = sum(last.calls.values()) - sum(first.calls.values())
        return last.at_s - first.at_s > WINDOW_S and calls >= LEAST_CALLS

    @property
    def rows_per_s(self) -> float:
        """Rows that got an answer (or failed), per second."""
        return self._per_s(self.seen[-1].rows - self.seen[0].rows) if self.seen else 0.0

    @property
    def calls_per_s(self) -> float:
        """Calls that ended, per second."""
        return (
            self._per_s(sum(self._calls(name) for name in self.seen[-1].calls))
            if self.seen
            else 0.0
        )

    def _per_s(self, count: int) -> float:
        passed_s = self.seen[-1].at_s - self.seen[0].at_s
        return max(count, 0) / passed_s if passed_s > 0 else 0.0

    def _calls(self, tier: str) -> int:
        return self.seen[-1].calls.get(tier, 0) - self.seen[0].calls.get(tier, 0)

    def left_s(self, status: Status, outlook: Outlook | None) -> float | None:
        """Seconds for what is known to be ahead: calls that were released, and rows without an answer.

        None where too little was seen of a tier that has work: a guess would be worse than nothing.
        """
        if len(self.seen) < 2 or self.seen[-1].at_s - self.seen[0].at_s < LEAST_S:
            return None
        released = {name: tier.open for name, tier in (outlook.tiers if outlook else {}).items()}
        times_s = []
        for name, calls in released.items():
            if calls:
                if self._calls(name) < LEAST_CALLS:
                    return None
                times_s.append(calls / self._per_s(self._calls(name)))
        # Rows that nothing was released for yet: their calls come, at the pace of all calls so far.
        to_release = status["rows"]["pending"] - sum(released.values())
        if to_release > 0:
            if not self.calls_per_s:
                return None
            times_s.append(status["rows"]["pending"] / self.calls_per_s)
        return max(times_s, default=None)


def left_text(status: Status, outlook: Outlook | None, pace: Pace) -> str:
    """How long a job may still take, in words that do not promise more than is known."""
    left_s = pace.left_s(status, outlook)
    if left_s is None:
        return "time left unknown"
    return f"about {format_duration(left_s)} left for what is planned"


def rate_text(per_s: float) -> str:
    """A rate as people read it: `1,234`, `12`, `0.4`."""
    return f"{per_s:,.0f}" if per_s >= 9.95 else f"{per_s:.1f}"


def format_duration(seconds: float) -> str:
    """`8 s`, `4 min`, `2 h 05 min`, `3 d`: as exact as a guess deserves."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{round(hours / 24)} d"
