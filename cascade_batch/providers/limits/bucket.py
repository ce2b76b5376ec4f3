"""The token bucket that holds a limit per minute: its size, and its arithmetic.

**Why a provider's limit is not exceeded in any minute.** A bucket that refills at `rate_per_s` and
holds at most `capacity` grants no more than `capacity + rate_per_s * T` in any T seconds. A unit is
used up to `HOLD_S` after it was granted, so what is used in 60 s was granted within 60 s + `HOLD_S`.
Units that a worker gave back unused may have been out while the bucket was full and refilled in
their place, which is worth `HOLD_S` of refill more. And calls meet on their way to the provider's own
counter, which `SLACK_S` allows for. So the rate is chosen such that

    capacity + rate_per_s * (60 + 2 * HOLD_S + SLACK_S) < limit + 1

and as units are whole, no more than `limit` are used in any minute, on any number of workers. The
price is five percent of the limit. Two things are outside this: a call of more tokens than `capacity`
is let in once the bucket is full and leaves it in debt, so that a minute may hold one such call more
(providers' own buckets hold a minute's worth, and take it); and a call that used more tokens than it
was let in for is paid for afterwards.

`Bucket` serves a process that works alone. For many processes the same arithmetic runs in Redis
(`sync.lua`); a test holds one against the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HOLD_S = 1.0
"""A unit is used within this time of being granted, or given back."""

SLACK_S = 1.0
"""How far calls may close up between the gate and the provider's counter."""

CAPACITY_S = 1.0
"""Seconds of refill that a bucket holds besides one whole unit. It has to bridge the time between two
visits of a worker (a quarter of a second, `gate.TICK_S`) with a margin; all above that only makes bursts
larger."""

_WINDOW_S = 60.0 + 2 * HOLD_S + SLACK_S


@dataclass(frozen=True, slots=True)
class BucketSize:
    """What a limit per minute makes of a bucket.

    Attributes:
        rate_per_s: Units that are added per second.
        capacity: Most units that it holds, more than 1.
    """

    rate_per_s: float
    capacity: float

    @classmethod
    def for_limit(cls, per_minute: int) -> BucketSize:
        """Size of the bucket that keeps below `per_minute` units in any minute."""
        capacity = 1.0 + per_minute / 60.0 * CAPACITY_S
        return cls(rate_per_s=(per_minute - capacity + 1.0) / _WINDOW_S, capacity=capacity)


@dataclass(frozen=True, slots=True)
class BucketRequest:
    """What a worker asks of a bucket.

    Attributes:
        size: Size of the bucket.
        wanted: Units to be granted, as many of them as there are; 0: none.
        needed: Units that the call waiting first can't do without, at most `wanted`: a grant is at
            least this much, or nothing.
        given_back: Units granted before and not used.
    """

    size: BucketSize
    wanted: int = 0
    needed: int = 1
    given_back: int = 0


class Bucket:
    """A bucket in the memory of a process that works alone. It begins full.

    Attributes:
        level: Units in it; negative after a call of more units than the capacity.
    """

    def __init__(self, size: BucketSize, now: float) -> None:
        self.level = size.capacity
        self._at = now

    def exchange(self, request: BucketRequest, now: float, sharers: int = 1) -> int:
        """Refill up to `now` (seconds), take back what is given back, and grant units.

        Args:
            sharers: Workers short of units, this one included: none takes more than its part, so
                that whoever comes first does not take it all.

        Returns:
            The number of units granted.
        """
        size = request.size
        refill = max(0.0, now - self._at) * size.rate_per_s
        self._at = now
        self.level = min(size.capacity, self.level + refill + request.given_back)
        if request.wanted <= 0 or self.level < min(request.needed, size.capacity):
            return 0
        part = min(math.ceil(self.level / sharers), math.floor(self.level))
        granted = min(request.wanted, max(request.needed, part))
        self.level -= granted
        return granted
