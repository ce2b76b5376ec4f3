"""How many calls of a tier, how fast, and whether at all: over all workers and hosts.

Every call passes the `TierGate` of its tier:

    gate = gates.gate_for(tier)
    permit = await gate.acquire(tokens)
    outcome = await provider.call(tier, body)
    gate.release(permit, outcome)

What holds, and where it is decided:

- *Calls in flight*: found per process by additive increase and multiplicative decrease (`window`), never
  above the process's share of `limits.concurrency` (`sync.lua`).
- *Requests and tokens per minute*: a bucket in Redis, taken from in blocks (`bucket`, `holdings`).
- *429*: the tier pauses on all workers, for as long as the provider says (`health`, `backoff`).
- *An outage*: the breaker opens on all workers, one of them probes (`breaker`).

A process talks to the others a few times a second, never per call (`coordination`, `shared`). With Redis
away, a worker goes on with the block and the share that it holds, and no further; pauses and breakers
are its own then. It finds Redis again by itself, also an empty one.
"""

from cascade_batch.providers.limits.breaker import BreakerState
from cascade_batch.providers.limits.gate import TierGate
from cascade_batch.providers.limits.gates import Gates
from cascade_batch.providers.limits.status import GateStatus
from cascade_batch.providers.limits.waiting import GateClosedError, Permit

__all__ = ["BreakerState", "GateClosedError", "GateStatus", "Gates", "Permit", "TierGate"]
