"""Workers that have nothing to do leave the calls that a tier may have in flight to those that have."""

from __future__ import annotations

from cascade_batch.domain.answer import Answered, Reply
from cascade_batch.domain.tier import Limits, Tier
from cascade_batch.providers.limits import Gates, TierGate
from cascade_batch.providers.limits.shared import LEASE_S

SOON_S = LEASE_S / 2
"""Others get what a silent worker held after its lease; what was given back they get at once."""


async def call_all(gate: TierGate) -> None:
    permits = [await gate.acquire() for _ in range(4)]
    for permit in permits:
        gate.release(permit, Answered(Reply("up")))


async def test_what_a_resting_worker_held_is_free_for_others_and_it_comes_back(redis_url: str):
    tier = Tier(name="small", model="m", limits=Limits(concurrency=4))
    async with Gates.connect(redis_url) as ours, Gates.connect(redis_url) as theirs:
        await call_all(ours.gate_for(tier))
        await ours.rest()
        gate = theirs.gate_for(tier)
        assert await gate.capacity(4, timeout_s=SOON_S) == 4
        await call_all(gate)
        await theirs.rest()
        assert await ours.gate_for(tier).capacity(4, timeout_s=SOON_S) == 4
