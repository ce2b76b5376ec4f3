"""How fast a job goes, and how long it may still take."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState

if TYPE_CHECKING:
    from cascade_batch.engine.outlook import Outlook

Status = Mapping[str, Any]
"""As `job_status` gives it and `status JOB --json` prints it."""

WINDOW_S = 30.0
LEAST_S = 3.0
LEAST_CALLS = 10
"""Fewer say nothing about the others."""
_KEPT = 5000
STEADY_S = 10.0
"""Of what was told before, a third is left after so long."""
_FEW_S = 10.0


class _Look(NamedTuple):
    at_s: float
    rows: int
    calls: Mapping[str, int]


@dataclass(slots=True)
class Pace:
    """What was seen of a job in the last half minute; longer where too little happened in it.

    Attributes:
        seen: Looks, the first of the time that counts to the last.
        moved_s: When a tier's calls were last seen to have become more.
    """

    seen: deque[_Look] = field(default_factory=lambda: deque(maxlen=_KEPT))
    moved_s: dict[str, float] = field(default_factory=dict)
    _told: tuple[float, float] | None = None
    """When time left was told last, and how much, in seconds."""

    def note(self, status: Status, now_s: float) -> None:
        """Take note of a status."""
        rows = status["rows"]
        calls = {name: tier["calls"] for name, tier in status["tiers"].items()}
        before = self.seen[-1].calls if self.seen else {}
        for name, count in calls.items():
            if name not in self.moved_s or count > before.get(name, 0):
                self.moved_s[name] = now_s
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

        None where too little was seen of a tier that has work, or where it stalls: a guess would be worse
        than nothing. What was told before runs down, and moves to what is seen now by and by: a wave that
        ends, or a tier that begins, is no reason to jump.
        """
        times_s = self._times_s(status, outlook)
        left_s = (
            None if times_s is None or self.stalls(status, outlook) else max(times_s, default=None)
        )
        return None if left_s is None else self._steadied(left_s)

    def _steadied(self, left_s: float) -> float:
        now_s = self.seen[-1].at_s
        if self._told is not None:
            passed_s = now_s - self._told[0]
            expected_s = self._told[1] - passed_s
            # As a factor, so that a long time and a short one are followed alike.
            if expected_s > 1.0 and left_s > 0.0:
                kept = math.exp(-passed_s / STEADY_S)
                left_s *= (expected_s / left_s) ** kept
        self._told = (now_s, left_s)
        return left_s

    def stalls(self, status: Status, outlook: Outlook | None) -> bool:
        """Whether the pace so far says nothing of what is left: the calls of a tier take longer than all of
        them should, or are the last ones, each of which takes the time that it takes."""
        times_s = self._times_s(status, outlook)
        if outlook is None or times_s is None:
            return False
        at_work = {name: tier for name, tier in outlook.tiers.items() if tier.open}
        now_s = self.seen[-1].at_s
        for name, tier in at_work.items():
            expected_s = tier.open / self._per_s(self._calls(name))
            if now_s - self.moved_s[name] > max(expected_s, LEAST_S):
                return True
        are_last = all(tier.in_flight >= tier.open for tier in at_work.values())
        longest_ms = max(
            (status["tiers"][name]["latency_ms_p95"] or 0.0 for name in at_work), default=0.0
        )
        return (
            bool(at_work)
            and are_last
            and not _to_release(status, outlook)
            and max(times_s, default=0.0) < max(longest_ms / 1000, LEAST_S)
        )

    def _times_s(self, status: Status, outlook: Outlook | None) -> list[float] | None:
        """Seconds for the calls of each tier, and for those to come, at the pace so far; None: not known."""
        if len(self.seen) < 2 or self.seen[-1].at_s - self.seen[0].at_s < LEAST_S:
            return None
        times_s = []
        for name, tier in (outlook.tiers if outlook else {}).items():
            if tier.open:
                if self._calls(name) < LEAST_CALLS:
                    return None
                times_s.append(tier.open / self._per_s(self._calls(name)))
        # Rows that nothing was released for yet: their calls come, at the pace of all calls so far.
        if _to_release(status, outlook):
            if not self.calls_per_s:
                return None
            times_s.append(_to_ask(status) / self.calls_per_s)
        return times_s


def _to_ask(status: Status) -> int:
    """Rows without an answer, but for those that get another row's when the job finishes."""
    return max(int(status["rows"]["pending"]) - int(status.get("rows_duplicate", 0)), 0)


def _to_release(status: Status, outlook: Outlook | None) -> int:
    released = sum(tier.open for tier in outlook.tiers.values()) if outlook else 0
    return max(_to_ask(status) - released, 0)


def left_text(status: Status, outlook: Outlook | None, pace: Pace) -> str:
    """How long a job may still take, in words that do not promise more than is known."""
    left_s = pace.left_s(status, outlook)
    if left_s is not None:
        return left_words(left_s)
    calls = sum(tier.in_flight for tier in outlook.tiers.values()) if outlook else 0
    if calls and pace.stalls(status, outlook):
        return f"waits for {counted(calls, 'call')} under way"
    return "time left unknown"


def left_words(left_s: float) -> str:
    """Time left in words: no more exact than the guess is."""
    if left_s < _FEW_S:
        return "a few seconds left for what is planned"
    if left_s < 60.0:
        left_s = min(math.ceil(left_s / _FEW_S) * _FEW_S, 60.0)
    return f"about {format_duration(left_s)} left for what is planned"


def phase_text(status: Status, outlook: Outlook | None) -> str | None:
    """What a job is at beside its rows: it reads more, or goes on although all have answers; else None."""
    rows = status["rows"]
    if outlook is not None and outlook.reading:
        return "more rows are being read"
    if status["status"] != JobState.RUNNING or not rows["total"] or _to_ask(status):
        return None
    if status["reading"]:
        return "all rows so far asked; its data set is being read"
    done = "all rows answered" if rows["answered"] == rows["total"] else "all rows asked"
    if outlook is not None and not any(tier.open for tier in outlook.tiers.values()):
        return f"{done}; the planner decides whether to buy better answers"
    return f"{done}; better answers are being bought"


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
