"""What a gate says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_batch.providers.limits.breaker import BreakerState


@dataclass(frozen=True, slots=True)
class GateStatus:
    """A gate at one moment, for display.

    Attributes:
        in_flight: Calls under way in this process.
        waiting: Calls that wait for a permit.
        may_fly: Calls that may be under way: the smaller of window and share.
        share: Part of the tier's concurrency that this worker holds; None: no such limit.
        breaker: Where the breaker stands.
        breaker_open_for_s: Rest of the time it is open; 0: closed, or a probe may be made.
        paused_for_s: Rest of the pause that the provider asked for; 0: none.
        is_idle: Nobody uses the gate, and it does not talk to the other workers.
        is_coordinated: The last exchange with the other workers came through.
    """

    in_flight: int
    waiting: int
    may_fly: int
    share: int | None
    breaker: BreakerState
    breaker_open_for_s: float
    paused_for_s: float
    is_idle: bool
    is_coordinated: bool
