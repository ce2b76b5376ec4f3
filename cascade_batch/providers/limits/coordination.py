"""What a gate asks of the others who use its tier, and what it is told.

A gate talks to its coordinator a few times a second, never per call: one `Demand`, one `Grant`.
`Alone` answers for a process that has nobody to share with; `shared.Shared` answers through Redis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from cascade_batch.providers.limits.breaker import BreakerReport, TierBreaker
from cascade_batch.providers.limits.bucket import Bucket, BucketRequest


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """A worker's part of the calls that a tier may have in flight.

    Attributes:
        concurrency: Calls in flight over all workers.
        held: The worker's part so far: it may have as many calls in flight, and may start more up
            to it, until it is told otherwise.
        wanted: How many it has use for.
    """

    concurrency: int
    held: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a gate tells and asks.

    Attributes:
        requests, tokens, share: None where the tier has no such limit.
        is_short: Calls wait for requests or tokens.
        has_taken_before: The gate was granted requests or tokens before. If Redis knows no bucket,
            it lost it, and the new one starts empty, as what was granted from the old one counts.
        pause_s: The provider asked to be left alone for this long, and the others don't know; 0: no.
        breaker: News for the breaker.
        wants_probe: The gate has calls to probe with, or probes under way.
        is_leaving: The gate goes: its share and its place among the workers are free.
    """

    requests: BucketRequest | None = None
    tokens: BucketRequest | None = None
    share: ShareRequest | None = None
    is_short: bool = False
    has_taken_before: bool = False
    pause_s: float = 0.0
    breaker: BreakerReport = field(default_factory=BreakerReport)
    wants_probe: bool = False
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What a gate is given and told.

    Attributes:
        requests, tokens: Units granted.
        share: Calls that may be in flight; None: no such limit.
        pause_s: Rest of the pause of the whole tier; 0: none.
        breaker: What the workers agreed on; None: there are no others.
    """

    requests: int = 0
    tokens: int = 0
    share: int | None = None
    pause_s: float = 0.0
    breaker: TierBreaker | None = None


class CoordinatorAwayError(Exception):
    """The coordinator can't be reached. The gate goes on with what it holds, and no further."""


class Coordinator(Protocol):
    """Whoever knows what the other workers of a tier do."""

    async def exchange(self, demand: Demand) -> Grant:
        """Tell and ask.

        Raises:
            CoordinatorAwayError: Nobody answered; the demand may have been met all the same, and
                what was granted then is lost.
        """
        ...


class Alone:
    """Coordinator of a process that shares its tier with nobody: the limits are its own.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None

    async def exchange(self, demand: Demand) -> Grant:
        """Grant from buckets in memory."""
        now = self._clock()
        requests = tokens = 0
        if demand.requests is not None:
            self._requests = self._requests or Bucket(demand.requests.size, now)
            requests = self._requests.exchange(demand.requests, now)
        if demand.tokens is not None:
            self._tokens = self._tokens or Bucket(demand.tokens.size, now)
            tokens = self._tokens.exchange(demand.tokens, now)
        share = None if demand.share is None else demand.share.concurrency
        return Grant(requests=requests, tokens=tokens, share=share)


class Clock(Protocol):
    """Seconds of a clock that never goes back, such as `time.monotonic`."""

    def __call__(self) -> float:
        """The time now."""
        ...
