"""What the outcomes of calls say of a tier: how much it takes, and whether it takes anything now."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused
from cascade_batch.providers.limits.backoff import Backoff
from cascade_batch.providers.limits.breaker import PROBES, Breaker, BreakerState
from cascade_batch.providers.limits.coordination import Clock, Grant
from cascade_batch.providers.limits.waiting import Permit
from cascade_batch.providers.limits.window import CallWindow
from cascade_batch.providers.retry_after import MAX_WAIT_S

logger = logging.getLogger(__name__)


class Health:
    """Window, pause and breaker of a tier, as this process knows them.

    Attributes:
        window: How many calls may be in flight.
        breaker: Whether the server is there.
        has_news: Something happened that the other workers should hear of at once.
    """

    def __init__(
        self, name: str, clock: Clock, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self.window = CallWindow()
        self.breaker = Breaker()
        self.has_news = False
        self._name = name
        self._clock = clock
        self._backoff = Backoff(uniform)
        self._paused_until = 0.0
        self._untold_pause_until = 0.0

    def learn(self, permit: Permit, outcome: Outcome, in_flight: int) -> None:
        """Take in what came of a call; `in_flight` calls (it included) were under way until now."""
        if isinstance(outcome, Answered):
            self.window.succeeded(in_flight)
            self.breaker.succeeded()
            if permit.window_epoch == self.window.epoch:
                self._backoff.reset()
        elif isinstance(outcome, Refused):
            self._learn_refusal(permit, outcome)
        elif outcome.reason == "timeout":
            self.window.timed_out(permit.window_epoch)
            self._count_failure(permit)
        else:
            self.window.failed(permit.window_epoch)
            self._count_failure(permit)

    def hear(self, grant: Grant, told_pause_s: float, told_at: float, changes: int) -> None:
        """Take in what the other workers say.

        Args:
            told_pause_s: What they were told of a pause, at `told_at`.
            changes: The breaker's `changes` at that time: an agreement from before a change here is
                out of date, and the next one will do.
        """
        now = self._clock()
        if grant.pause_s > 0.0:
            self._paused_until = max(self._paused_until, now + grant.pause_s)
        if told_at + told_pause_s >= self._untold_pause_until:
            self._untold_pause_until = 0.0
        if changes == self.breaker.changes and self.breaker.agree(grant.breaker, now):
            self.window.restart()
        if changes != self.breaker.changes:
            self.has_news = True

    def hear_nothing(self) -> None:
        """The other workers can't be reached: time alone decides."""
        self.breaker.agree(None, self._clock())

    @property
    def is_stopped(self) -> bool:
        """Whether calls may not just pass: there is a pause, or the breaker is not closed."""
        return self.breaker.state is not BreakerState.CLOSED or self.is_paused

    @property
    def is_paused(self) -> bool:
        """Whether the provider asked to be left alone."""
        if not self._paused_until:
            return False
        if self._clock() < self._paused_until:
            return True
        self._paused_until = 0.0
        return False

    @property
    def paused_for_s(self) -> float:
        """Rest of the pause; 0: none."""
        return max(0.0, self._paused_until - self._clock())

    @property
    def untold_pause_s(self) -> float:
        """Rest of a pause that the other workers don't know of; 0: none."""
        return max(0.0, self._untold_pause_until - self._clock())

    @property
    def open_for_s(self) -> float:
        """Rest of the time that the breaker is open; 0: closed, or probes may be made."""
        if self.breaker.state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, self.breaker.open_until - self._clock())

    @property
    def probes_left(self) -> int:
        """Calls that may pass although the breaker is not closed."""
        if self.breaker.state is not BreakerState.HALF_OPEN or self.is_paused:
            return 0
        return PROBES - self.breaker.probes_in_flight

    def prospect(self, calls: int) -> int:
        """How many of `calls` calls could pass now, or after one more word from the others."""
        if self.is_paused or self.open_for_s > 0.0:
            return 0
        if self.breaker.state is BreakerState.CLOSED:
            return calls
        return min(calls, PROBES - self.breaker.probes_in_flight)

    def _learn_refusal(self, permit: Permit, refusal: Refused) -> None:
        pause_s = refusal.retry_after_s
        if refusal.kind is RefusalKind.RATE_LIMIT:
            self.breaker.succeeded()
            is_news = self.window.rate_limited(permit.window_epoch)
            if not pause_s and is_news:
                pause_s = self._backoff.next_s()
        elif refusal.kind in {RefusalKind.SERVER, RefusalKind.CONNECT}:
            self.window.failed(permit.window_epoch)
            self._count_failure(permit)
        else:
            # About this row, or about the key: either way the server is there and at work.
            pause_s = None
            self.window.completed()
            self.breaker.succeeded()
        if pause_s:
            self._pause(pause_s)

    def _count_failure(self, permit: Permit) -> None:
        if self.breaker.failed(permit.breaker_epoch, self._clock()):
            logger.warning(
                "The breaker of tier %s opened for %.1f s: its calls are not answered",
                self._name,
                self.open_for_s,
            )
            self.window.restart()
            self.has_news = True

    def _pause(self, seconds: float) -> None:
        until = self._clock() + min(seconds, MAX_WAIT_S)
        if until > self._paused_until:
            self._paused_until = self._untold_pause_until = until
            self.has_news = True
