"""How many calls may be in flight: found by additive increase and multiplicative decrease.

A provider does not say how much it can take at once, so the window of calls in flight is grown until
there is trouble. It doubles every round trip to begin with (slow start: one more per success), and
after the first trouble grows by a fixed step per round trip.

Trouble is a 429, or failures and timeouts that come in bursts. All the calls that were in flight when
the trouble began tell of the same overload, so they shrink the window once: every call carries the
window's `epoch` at its start, a decrease begins a new epoch, and trouble told by a call of an older
epoch is not news.
"""

from __future__ import annotations

import math

INITIAL_SIZE = 16
"""Small enough for a server on a laptop; seven doublings from here are 2,000 calls in flight."""

DEFAULT_CEILING = 256
"""Calls in flight of one process where the user declares no concurrency. A process may have 1,024
open files by default, and several tiers share them."""

STEP_OF_CEILING = 0.01
"""Additive increase per round trip. A fixed step of one call would need 600 round trips to return to
a window of 2,000; a hundredth of the ceiling needs about 30 whatever the size."""

SLOW_START_DECREASE = 0.5
"""The window doubled in the last round trip, so half of it is what was known to work."""

DECREASE = 0.7
"""Later the window sits near what the provider can take; halving it would waste a quarter of that on
average, this wastes half as much."""

ROUND_MIN_CALLS = 20
"""Outcomes over which failures are counted, at least: a share of fewer means nothing."""

BURST_SHARE = 0.05
"""Share of a round that has to fail before it is trouble. Providers lose one call in a thousand on a
good day: with a window of 2,000 that is two in every round, and reacting to each would keep the
window at a fraction of what the provider takes."""

BURST_MIN_FAILURES = 3
"""Failures that make a burst in the smallest window. A timeout there is trouble by itself: it holds a
slot for the whole time limit and its worst case is written off."""


class CallWindow:
    """Decides how many calls may be in flight. Knows no clock: it is driven by outcomes alone.

    Attributes:
        size: Calls that may be in flight, from 1 to the ceiling.
        epoch: Number of decreases so far; a call notes it when it starts.
    """

    __slots__ = (
        "_ceiling",
        "_counts",
        "_proven",
        "_seen",
        "_step",
        "_threshold",
        "_used",
        "_used_before",
        "_width",
        "epoch",
        "size",
    )

    def __init__(self, ceiling: int = DEFAULT_CEILING) -> None:
        self.epoch = 0
        self._width = float(INITIAL_SIZE)
        self._threshold = math.inf
        self._proven = self._width
        self._seen = 0
        self._counts = [0, 0]
        self._used = self._used_before = 0
        self.set_ceiling(ceiling)

    def set_ceiling(self, ceiling: int) -> None:
        """Change the most calls that the window may grow to."""
        self._ceiling = float(ceiling)
        self._step = max(1.0, ceiling * STEP_OF_CEILING)
        self._resize(self._width)

    def succeeded(self, in_flight: int) -> None:
        """A call was answered while `in_flight` calls (it included) were under way.

        A window that is less than half used says nothing about what a larger one would meet, so
        only one grows that was used, at some time in this round trip or the one before: calls may
        come back in a batch, with none to follow.
        """
        self.completed()
        self._used = max(self._used, in_flight)
        width = self._proven = self._width
        if width >= self._ceiling or max(self._used, self._used_before) * 2 < width:
            return
        self._resize(width + (1.0 if width < self._threshold else self._step / width))

    def completed(self) -> None:
        """A call came back in a way that tells nothing of load (a row was refused, say)."""
        self._seen += 1
        if self._seen > max(ROUND_MIN_CALLS, self.size):
            self._begin_round()

    def rate_limited(self, epoch: int) -> bool:
        """A call of `epoch` met a 429. Returns whether this is news and the window shrank."""
        self.completed()
        return self._shrink(epoch)

    def timed_out(self, epoch: int) -> bool:
        """A call of `epoch` was not answered in time. Returns whether the window shrank."""
        return self._count(epoch, kind=0, at_least=1)

    def failed(self, epoch: int) -> bool:
        """A call of `epoch` failed at the server or on the way. Returns whether the window shrank."""
        return self._count(epoch, kind=1, at_least=BURST_MIN_FAILURES)

    def restart(self) -> None:
        """Begin anew after an outage: slow start, to half of what there was at the last success. How
        far the failures shrank the window says nothing of what the server takes when it is back."""
        self._threshold = max(1.0, self._proven / 2)
        self._begin_epoch(min(self._proven, float(INITIAL_SIZE)))

    def _count(self, epoch: int, *, kind: int, at_least: int) -> bool:
        self.completed()
        if epoch != self.epoch:
            return False
        self._counts[kind] += 1
        round_calls = max(ROUND_MIN_CALLS, self.size)
        if self._counts[kind] < max(at_least, BURST_SHARE * round_calls):
            return False
        return self._shrink(epoch)

    def _shrink(self, epoch: int) -> bool:
        if epoch != self.epoch:
            return False
        factor = SLOW_START_DECREASE if self._width < self._threshold else DECREASE
        self._threshold = max(1.0, self._width * factor)
        self._begin_epoch(self._threshold)
        return True

    def _begin_epoch(self, width: float) -> None:
        self.epoch += 1
        self._begin_round()
        self._resize(width)

    def _begin_round(self) -> None:
        self._used_before, self._used = self._used, 0
        self._seen = 0
        self._counts = [0, 0]

    def _resize(self, width: float) -> None:
        self._width = max(1.0, min(width, self._ceiling))
        self.size = int(self._width)
