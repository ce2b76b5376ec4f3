"""Who waits before a gate: calls for a permit, and whoever wants to know of room for calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

WISH_S = 1.0
"""How long a wish counts without being repeated."""


class GateClosedError(Exception):
    """The gate was closed while a call waited before it: the worker is going down."""


class Permit:
    """Leave to make one call. Belongs to the gate that gave it and goes back to it once.

    Attributes:
        tokens: Tokens that it was given for.
        window_epoch, breaker_epoch: What the call may tell of (see `window` and `breaker`).
        is_probe: It was given by a half-open breaker.
        is_out: It has not gone back yet.
    """

    __slots__ = ("breaker_epoch", "is_out", "is_probe", "tokens", "window_epoch")

    def __init__(self, tokens: int, window_epoch: int, breaker_epoch: int, is_probe: bool) -> None:
        self.tokens = tokens
        self.window_epoch = window_epoch
        self.breaker_epoch = breaker_epoch
        self.is_probe = is_probe
        self.is_out = True


class WaitingLine:
    """The line before a gate, first come first served, and those who watch for room.

    Attributes:
        calls: Calls that wait for a permit.
        tokens: Tokens that they wait for, together.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.tokens = 0
        self._line: deque[tuple[asyncio.Future[Permit], int]] = deque()
        self._watchers: list[tuple[asyncio.Future[None], int, int]] = []
        self._wish = (0, 0)
        self._wish_until = 0.0

    @property
    def is_watched(self) -> bool:
        """Whether anybody waits or watches."""
        return bool(self.calls or self._watchers)

    @property
    def first_tokens(self) -> int:
        """Tokens that the first call in the line waits for; 0 if nobody waits."""
        self._drop_gone()
        return self._line[0][1] if self._line else 0

    def wish(self, calls: int, tokens_each: int, now: float) -> None:
        """Note that so many calls more would start if they could; 0: none would."""
        self._wish = (calls, calls * tokens_each)
        self._wish_until = now + WISH_S

    def wanted(self, now: float) -> tuple[int, int]:
        """Calls that would start if they could, whether they wait or not, and their tokens."""
        calls, tokens = self._wish if now < self._wish_until else (0, 0)
        for _, wanted, tokens_each in self._watchers:
            calls = max(calls, wanted)
            tokens = max(tokens, wanted * tokens_each)
        return calls + self.calls, tokens + self.tokens

    def join(self, tokens: int) -> asyncio.Future[Permit]:
        """Stand at the end of the line; `serve` gives the permit. Whoever stops waiting, for
        whatever reason, has to `leave`."""
        turn: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._line.append((turn, tokens))
        self.calls += 1
        self.tokens += tokens
        return turn

    def leave(self, turn: asyncio.Future[Permit], tokens: int) -> Permit | None:
        """Give up waiting. Returns the permit that came in the same moment, if one did."""
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            return turn.result()
        turn.cancel()
        self._count_out(tokens)
        return None

    def serve(self, start: Callable[[int], Permit | None]) -> None:
        """Let calls go, first to last, for as long as `start(tokens)` gives permits."""
        while True:
            self._drop_gone()
            if not self._line:
                return
            turn, tokens = self._line[0]
            permit = start(tokens)
            if permit is None:
                return
            self._line.popleft()
            self._count_out(tokens)
            turn.set_result(permit)

    async def watch(self, calls: int, tokens_each: int) -> None:
        """Wait until `tell` finds room for some of `calls` calls of `tokens_each` tokens."""
        change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watcher = (change, calls, tokens_each)
        self._watchers.append(watcher)
        try:
            await change
        finally:
            self._watchers.remove(watcher)

    def tell(self, room: Callable[[int, int], int]) -> None:
        """Tell the watchers for whom `room(calls, tokens_each)` is not 0."""
        for change, calls, tokens_each in self._watchers:
            if not change.done() and room(calls, tokens_each):
                change.set_result(None)

    def dismiss(self, error: Exception) -> None:
        """Send everybody away with `error`."""
        for turn, _ in self._line:
            if not turn.done():
                turn.set_exception(error)
        for change, _, _ in self._watchers:
            if not change.done():
                change.set_exception(error)

    def _count_out(self, tokens: int) -> None:
        self.calls -= 1
        self.tokens -= tokens

    def _drop_gone(self) -> None:
        while self._line and self._line[0][0].done():
            self._line.popleft()
