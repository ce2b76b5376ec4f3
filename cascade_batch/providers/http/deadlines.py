"""Time-outs of many calls with few timers.

A timer of its own for each call (`asyncio.timeout`) takes 5 us, and next to none of them ever goes off. The
calls that may take equally long run out in the order in which they began, so that one timer, for the first of
them, is enough.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

Waiting = asyncio.Future[Any]


@dataclass(slots=True)
class _Queue:
    """Those that may take equally long, in the order in which they began: future -> when its time is over."""

    waiting: dict[Waiting, float] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class Deadlines:
    """Fails futures with TimeoutError when their time is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: dict[float, _Queue] = {}

    def watch(self, future: Waiting, timeout_s: float) -> None:
        """Give it so long, from now on."""
        queue = self._queues.get(timeout_s)
        if queue is None:
            queue = self._queues[timeout_s] = _Queue()
        ends = self._loop.time() + timeout_s
        queue.waiting[future] = ends
        if queue.timer is None:
            queue.timer = self._loop.call_at(ends, self._look, queue)

    def forget(self, future: Waiting, timeout_s: float) -> None:
        """It ended, or nobody waits for it any more."""
        self._queues[timeout_s].waiting.pop(future, None)

    def close(self) -> None:
        """Watch nothing any more."""
        for queue in self._queues.values():
            queue.waiting.clear()
            if queue.timer is not None:
                queue.timer.cancel()
                queue.timer = None

    def _look(self, queue: _Queue) -> None:
        now = self._loop.time()
        for future, _ in list(takewhile(lambda entry: entry[1] <= now, queue.waiting.items())):
            del queue.waiting[future]
            if not future.done():
                future.set_exception(TimeoutError())
        ends = next(iter(queue.waiting.values()), None)
        queue.timer = None if ends is None else self._loop.call_at(ends, self._look, queue)
