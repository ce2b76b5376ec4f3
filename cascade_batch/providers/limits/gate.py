"""The gate that every call of a tier passes: how many, how fast, and whether at all.

A permit is given when nothing stops the tier (a pause, an open breaker), the window of calls in flight
has room, and the blocks of requests and tokens that this process holds suffice. All of it is known in
the process, so a call that finds room passes without waiting for anything; `maintain` talks to the
other workers in the background (see `coordination`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused
from cascade_batch.domain.tier import Limits
from cascade_batch.providers.limits.breaker import BreakerState
from cascade_batch.providers.limits.coordination import (
    Clock,
    Coordinator,
    CoordinatorAwayError,
    Demand,
)
from cascade_batch.providers.limits.health import Health
from cascade_batch.providers.limits.holdings import Holdings, Need
from cascade_batch.providers.limits.status import GateStatus
from cascade_batch.providers.limits.waiting import GateClosedError, Permit, WaitingLine
from cascade_batch.providers.limits.window import DEFAULT_CEILING

logger = logging.getLogger(__name__)

TICK_S = 0.25
"""How often a gate in use talks to the others: how late a pause may reach another worker."""

TICK_JITTER = 0.2
"""Workers that asked at the same moments for ever would always be served in the same order."""

MIN_GAP_S = 0.02
"""Shortest time between two exchanges, however hungry the gate is."""

IDLE_S = 2.0
"""A gate that nobody used for this long gives everything back and falls silent."""


class TierGate:
    """The gate of one tier in one process. For one event loop; nothing here is shared by threads.

    Args:
        limits: What the user declares for the tier, over all workers.
        coordinator: Who speaks for the other workers.
        name: The tier, for log messages.
        clock: Seconds, monotonic.
        uniform: Source of jitter: a number between its two arguments.
    """

    def __init__(
        self,
        limits: Limits,
        coordinator: Coordinator,
        *,
        name: str = "",
        clock: Clock = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        now = clock()
        self._name = name
        self._clock = clock
        self._uniform = uniform
        self._coordinator = coordinator
        self._health = Health(name, clock, uniform)
        self._window = self._health.window
        self._holdings = Holdings(now)
        self._line = WaitingLine()
        self._nudge = asyncio.Event()
        self._in_flight = 0
        self._in_flight_peak = 0
        self._may_fly = 0
        self._used_at = now
        self._exchanged_at = now
        self._is_ready = False
        self._is_blocked = True
        self._is_away = False
        self._is_idle = False
        self.declare(limits)

    def declare(self, limits: Limits) -> None:
        """Set the limits of the tier over all workers; calls under way are not touched."""
        self._window.set_ceiling(limits.concurrency or DEFAULT_CEILING)
        self._holdings.declare(limits)
        self._refresh()

    async def acquire(self, tokens: int = 0) -> Permit:
        """Wait for leave to make one call; the permit has to go back by `release` or `give_back`.

        Args:
            tokens: What the call is expected to use, input and output; where the answer reports
                its usage, the difference is made good on release.

        Raises:
            GateClosedError: The gate was closed meanwhile.
        """
        if not self._line.calls:
            permit = self._start(tokens)
            if permit is not None:
                return permit
        turn = self._line.join(tokens)
        self._ask()
        try:
            return await turn
        except BaseException:
            permit = self._line.leave(turn, tokens)
            if permit is not None:
                self.give_back(permit)
            else:
                self._serve()
            raise

    def release(self, permit: Permit, outcome: Outcome) -> None:
        """The call is over; what came of it steers the window, the pause and the breaker.

        Raises:
            ValueError: The permit went back before.
        """
        in_flight = self._in_flight
        self._take_back(permit)
        self._health.learn(permit, outcome, in_flight)
        if self._holdings.is_metered:
            is_unsent = isinstance(outcome, Refused) and outcome.kind is RefusalKind.CONNECT
            self._holdings.restore(int(is_unsent), _unused_tokens(permit, outcome), self._clock())
        self._refresh()

    def give_back(self, permit: Permit) -> None:
        """The call was not made: nothing is learned, and nothing was used.

        Raises:
            ValueError: The permit went back before.
        """
        self._take_back(permit)
        self._holdings.restore(1, permit.tokens, self._clock())
        self._refresh()

    def try_capacity(self, wanted: int | None = None, tokens_each: int = 0) -> int:
        """How many calls would be let go at once, up to `wanted` (None: as many as may fly).

        Asking for more than there is makes the gate try to get them; `capacity` waits for that.

        Args:
            tokens_each: Tokens that each of them is expected to use.
        """
        if wanted is None:
            wanted = max(0, self._window.size - self._in_flight - self._line.calls)
        room = self._room(wanted, tokens_each)
        if room < wanted:
            self._line.wish(wanted, tokens_each, self._clock())
            self._ask()
        else:
            self._line.wish(0, 0, 0.0)
        return room

    async def capacity(
        self, wanted: int | None = None, tokens_each: int = 0, *, timeout_s: float | None = None
    ) -> int:
        """`try_capacity`, but wait until there is some; 0 when `timeout_s` is over.

        It waits through pauses and open breakers, too: a caller that would rather hand its work
        back gives a `timeout_s` and looks at `paused_for_s` and `breaker_open_for_s`.

        Raises:
            GateClosedError: The gate was closed meanwhile.
        """
        if wanted is not None and wanted <= 0:
            return 0
        try:
            async with asyncio.timeout(timeout_s):
                while not (room := self.try_capacity(wanted, tokens_each)):
                    await self._line.watch(wanted or self._window.size, tokens_each)
        except TimeoutError:
            return 0
        return room

    @property
    def paused_for_s(self) -> float:
        """Rest of the pause that the provider asked for; 0: none."""
        return self._health.paused_for_s

    @property
    def breaker_open_for_s(self) -> float:
        """Rest of the time that the breaker lets nothing pass; 0: calls or probes may be made.

        A chunk is better handed back for as long than held.
        """
        return self._health.open_for_s

    def status(self) -> GateStatus:
        """Everything worth showing, at this moment."""
        return GateStatus(
            in_flight=self._in_flight,
            waiting=self._line.calls,
            may_fly=self._may_fly,
            share=self._holdings.share,
            breaker=self._health.breaker.state,
            breaker_open_for_s=self._health.open_for_s,
            paused_for_s=self._health.paused_for_s,
            is_idle=self._is_idle and not self._is_ready,
            is_coordinated=not self._is_away,
        )

    async def maintain(self) -> None:
        """Talk to the other workers for as long as the gate is used; runs until cancelled."""
        while True:
            try:
                await self.sync()
            except Exception:
                # A gate whose loop ended would hold every call of the tier for ever.
                logger.exception("The gate of tier %s stumbled and goes on", self._name)
            await self._rest()

    async def sync(self) -> None:
        """One exchange with the other workers; `maintain` makes them, at intervals."""
        self._nudge.clear()
        asked_at = self._clock()
        changes = self._health.breaker.changes
        demand = self._demand(asked_at)
        try:
            grant = await self._coordinator.exchange(demand)
        except CoordinatorAwayError as error:
            self._note_away(error)
            self._health.breaker.put_back(demand.breaker)
            self._health.hear_nothing()
        else:
            self._note_back()
            self._holdings.receive(grant, demand, asked_at)
            self._health.hear(grant, demand.pause_s, asked_at, changes)
        self._is_ready = True
        self._exchanged_at = self._clock()
        self._refresh()

    async def leave(self) -> None:
        """Give back what is held, as nobody will ask for a while; what was learned is kept. `maintain` must
        have ended; begun again, it comes back."""
        self._is_ready = False
        self._holdings.drop_share()
        self._refresh()
        try:
            await self._coordinator.exchange(self._demand(self._clock(), is_leaving=True))
        except CoordinatorAwayError as away:
            logger.debug("Nothing was given back for tier %s: %s", self._name, away)

    async def close(self) -> None:
        """Send waiting calls away and give back what is held. `maintain` must have ended."""
        self._line.dismiss(GateClosedError(f"The gate of tier {self._name} was closed."))
        await self.leave()

    def _start(self, tokens: int) -> Permit | None:
        if self._in_flight >= self._may_fly:
            return None
        is_probe = self._is_blocked
        if is_probe and not self._probes_left():
            return None
        holdings = self._holdings
        if holdings.is_metered:
            if not holdings.take(tokens, self._clock()):
                return None
            if holdings.is_low:
                self._ask()
        self._in_flight += 1
        self._in_flight_peak = max(self._in_flight_peak, self._in_flight)
        breaker = self._health.breaker
        if is_probe:
            breaker.probes_in_flight += 1
        return Permit(tokens, self._window.epoch, breaker.epoch, is_probe)

    def _take_back(self, permit: Permit) -> None:
        if not permit.is_out:
            raise ValueError("this permit went back to the gate before")
        permit.is_out = False
        self._in_flight -= 1
        if permit.is_probe:
            self._health.breaker.probes_in_flight -= 1

    def _refresh(self) -> None:
        """Take in what changed, and let go whoever may."""
        share = self._holdings.share
        size = self._window.size
        self._may_fly = size if share is None or share > size else share
        self._is_blocked = not self._is_ready or self._health.is_stopped
        if self._health.has_news:
            self._health.has_news = False
            self._nudge.set()
        if self._line.is_watched:
            self._serve()

    def _serve(self) -> None:
        self._line.serve(self._start)
        self._line.tell(self._room)

    def _probes_left(self) -> int:
        return self._health.probes_left if self._is_ready else 0

    def _room(self, wanted: int, tokens_each: int) -> int:
        room = min(wanted, self._may_fly - self._in_flight - self._line.calls)
        if self._is_blocked:
            room = min(room, self._probes_left())
        if room > 0 and self._holdings.is_metered:
            room = self._holdings.calls_covered(room, tokens_each, self._clock())
        return max(0, room)

    def _ask(self) -> None:
        # Asking again at once is no use where there was less than was wanted; the next tick does it.
        if not self._is_ready or not self._holdings.is_short:
            self._nudge.set()

    def _demand(self, now: float, *, is_leaving: bool = False) -> Demand:
        calls, tokens = self._line.wanted(now)
        if calls or self._in_flight_peak:
            self._used_at = now
        self._is_idle = is_leaving or now - self._used_at >= IDLE_S
        health, holdings = self._health, self._holdings
        holdings.judge(now)
        probes = health.breaker.probes_in_flight
        wants_probe = health.breaker.state is not BreakerState.CLOSED and calls + probes > 0
        startable = health.prospect(min(calls, max(0, self._window.size - self._in_flight)))
        if self._is_idle or (calls and not health.prospect(1)):
            startable = 0
            holdings.expect_nothing()
        first = self._line.first_tokens or (tokens // calls if calls else 0)
        need = Need(
            calls=startable,
            tokens=max(first, -(-tokens * startable // calls)) if startable else 0,
            first_tokens=first,
            in_flight=self._in_flight,
            in_flight_peak=self._in_flight_peak,
        )
        self._in_flight_peak = self._in_flight
        keep = self._is_away and not is_leaving
        return Demand(
            requests=holdings.state_requests(need, now, keep=keep),
            tokens=holdings.state_tokens(need, now, keep=keep),
            share=holdings.state_share(need, is_leaving=is_leaving),
            is_short=startable > 0 and holdings.is_metered,
            has_taken_before=holdings.has_taken,
            pause_s=health.untold_pause_s,
            breaker=health.breaker.take_report(),
            wants_probe=wants_probe,
            is_leaving=is_leaving,
        )

    async def _rest(self) -> None:
        """Wait until it is time for the next exchange."""
        # A call that came during the last exchange was not known when it was judged.
        if self._is_idle and not self._in_flight_peak and not self._line.is_watched:
            self._is_ready = False
            self._refresh()
            await self._nudge.wait()
            return
        delay_s = TICK_S * self._uniform(1.0 - TICK_JITTER, 1.0 + TICK_JITTER)
        for left_s in (self._health.paused_for_s, self._health.open_for_s):
            if left_s > 0.0:
                delay_s = min(delay_s, left_s)
        try:
            async with asyncio.timeout(delay_s):
                await self._nudge.wait()
        except TimeoutError:
            return
        gap_s = self._exchanged_at + MIN_GAP_S - self._clock()
        if gap_s > 0.0:
            await asyncio.sleep(gap_s)

    def _note_away(self, error: CoordinatorAwayError) -> None:
        if not self._is_away:
            logger.warning(
                "Tier %s goes on with the limits that it holds, as Redis is away: %s",
                self._name,
                error,
            )
        self._is_away = True

    def _note_back(self) -> None:
        if self._is_away:
            logger.info("Tier %s shares its limits through Redis again", self._name)
        self._is_away = False


def _unused_tokens(permit: Permit, outcome: Outcome) -> int:
    """Tokens that the permit was given for and the call did not use; negative: it used more."""
    if isinstance(outcome, Answered):
        usage = outcome.reply.usage
        return 0 if usage is None else permit.tokens - usage.input_tokens - usage.output_tokens
    return permit.tokens if isinstance(outcome, Refused) else 0
