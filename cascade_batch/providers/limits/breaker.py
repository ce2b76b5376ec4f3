"""The circuit breaker of a tier: an outage stops its calls until a probe succeeds.

States, by how each is entered and left:

CLOSED: calls pass. Left for OPEN after `FAILURES_TO_OPEN` failures without a success between them,
    here or (as Redis counts) in all workers together.
OPEN: nothing passes. Left for HALF_OPEN after a time that doubles with every failed probe; of all
    workers that share a Redis, one is chosen to probe, the others stay OPEN.
HALF_OPEN: `PROBES` calls pass. Left for CLOSED on the first success, for OPEN on the first failure.

Any success closes, also that of a call from before: the server works. What counts as a failure is that
the server did not answer the call: 5xx, no connection, a broken or silent one. A refusal of a row
or a 429 is a success here, as the server is there and at work.

A worker that fails while others succeed is cut off from the provider by itself: its own breaker opens,
the tier's does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FAILURES_TO_OPEN = 10
"""A tier that loses every fifth call gets here by chance once in ten million calls, and one that is
down costs ten calls that have to be written off."""

OPEN_BASE_S = 2.0
"""First time open: long enough for a server to start again, too short for anybody to mind."""

OPEN_CAP_S = 60.0
"""Longest time open: how late the end of an outage may be noticed."""

PROBES = 3
"""Calls that pass half open: one alone may be lost to a timeout for reasons of its own."""

PROBE_LEASE_S = 5.0
"""How long a worker stays the chosen one without word of it; renewed while its probes are under way."""


class BreakerState(StrEnum):
    """Where a breaker stands; see the module for how each state is entered and left."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class TierBreaker:
    """What all workers of a tier agreed on.

    Attributes:
        state: The tier's state; HALF_OPEN once the time open is over.
        open_for_s: Rest of the time open; HALF_OPEN: of the time that another worker has to probe.
        step: How many times in a row it opened.
        may_probe: This worker is the one to probe.
    """

    state: BreakerState
    open_for_s: float = 0.0
    step: int = 0
    may_probe: bool = False


@dataclass(frozen=True, slots=True)
class BreakerReport:
    """What a worker has to tell the others since it last did.

    Attributes:
        succeeded: A call succeeded.
        failures: Failures after the last success.
        probe_failed: The probes that this worker was chosen for failed.
    """

    succeeded: bool = False
    failures: int = 0
    probe_failed: bool = False


def open_for_s(step: int) -> float:
    """How long the breaker stays open when it opens for the `step`-th time in a row, from 1."""
    return min(OPEN_CAP_S, OPEN_BASE_S * 2.0 ** min(step - 1, 16))


class Breaker:
    """One worker's breaker. Times are seconds of one monotonic clock.

    Attributes:
        state: See the module.
        open_until: End of the time open; meaningless in other states.
        epoch: Number of openings so far; a call notes it when it starts.
        probes_in_flight: Calls that passed half open and have not come back.
        changes: Number of changes of state so far, to tell an agreement that is out of date.
    """

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.open_until = 0.0
        self.epoch = 0
        self.probes_in_flight = 0
        self.changes = 0
        self._step = 0
        self._failures = 0
        self._is_tier_wide = False
        self._untold_success = False
        self._untold_failures = 0
        self._untold_probe_failed = False

    def succeeded(self) -> None:
        """The server answered a call."""
        self._failures = 0
        self._untold_failures = 0
        self._untold_success = True
        if self.state is not BreakerState.CLOSED:
            self._close()

    def failed(self, epoch: int, now: float) -> bool:
        """A call that started in `epoch` was not answered. Returns whether the breaker opened."""
        if epoch != self.epoch:
            return False
        self._failures += 1
        self._untold_failures += 1
        if self.state is BreakerState.HALF_OPEN:
            self._untold_probe_failed = True
            self._open(now + open_for_s(self._step + 1), self._step + 1)
            return True
        if self.state is BreakerState.CLOSED and self._failures >= FAILURES_TO_OPEN:
            self._is_tier_wide = False
            self._open(now + open_for_s(1), 1)
            return True
        return False

    def take_report(self) -> BreakerReport:
        """What to tell the others; it counts as told unless it is put back."""
        report = BreakerReport(
            self._untold_success, self._untold_failures, self._untold_probe_failed
        )
        self._untold_success = self._untold_probe_failed = False
        self._untold_failures = 0
        return report

    def put_back(self, report: BreakerReport) -> None:
        """The others could not be told: `report` goes before what happened since."""
        if not self._untold_success:
            self._untold_success = report.succeeded
            self._untold_failures += report.failures
        self._untold_probe_failed = self._untold_probe_failed or report.probe_failed

    def agree(self, tier: TierBreaker | None, now: float) -> bool:
        """Follow what the workers agreed on; None: nobody to agree with, time alone decides.

        Returns whether the breaker opened.
        """
        if tier is None or (tier.state is BreakerState.CLOSED and not self._is_tier_wide):
            if self.state is BreakerState.OPEN and now >= self.open_until:
                self._become(BreakerState.HALF_OPEN)
            return False
        if tier.state is BreakerState.CLOSED:
            if self.state is not BreakerState.CLOSED:
                self._close()
            return False
        self._is_tier_wide = True
        self._step = tier.step
        if tier.may_probe:
            if self.state is not BreakerState.HALF_OPEN:
                self._become(BreakerState.HALF_OPEN)
            return False
        opens = self.state is BreakerState.CLOSED
        self._open(now + tier.open_for_s, tier.step)
        return opens

    def _open(self, until: float, step: int) -> None:
        if self.state is not BreakerState.OPEN:
            self.epoch += 1
            self._become(BreakerState.OPEN)
        self.open_until = until
        self._step = step

    def _close(self) -> None:
        self._is_tier_wide = False
        self._step = 0
        self._failures = 0
        self._untold_probe_failed = False
        self._become(BreakerState.CLOSED)

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self.changes += 1
