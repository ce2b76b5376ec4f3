import asyncio
from typing import Any

from cascade_batch.domain.answer import Answered, RefusalKind, Refused, Reply
from cascade_batch.domain.tier import Limits, Tier
from cascade_batch.providers.limits import Gates
from cascade_batch.providers.limits.gates import REMEMBER_S

ANSWER = Answered(Reply(text="up"))


def tier(name: str = "small", model: str = "m", **limits: int) -> Tier:
    return Tier(name=name, model=model, limits=Limits(**limits))


async def in_flight_at_most(gates: Gates, of: Tier) -> int:
    gate = gates.gate_for(of)
    permits = [await gate.acquire() for _ in range(await gate.capacity(16))]
    for permit in permits:
        gate.give_back(permit)
    return len(permits)


async def test_tiers_of_one_server_model_and_key_share_a_gate() -> None:
    async with Gates(None) as gates:
        assert gates.gate_for(tier("a")) is gates.gate_for(tier("b"))
        assert gates.gate_for(tier("a")) is not gates.gate_for(tier("a", model="other"))


async def test_strictest_of_the_limits_in_use_holds(clock: Any) -> None:
    async with Gates(None, clock=clock) as gates:
        assert await in_flight_at_most(gates, tier(concurrency=8)) == 8
        assert await in_flight_at_most(gates, tier(concurrency=3)) == 3
        assert await in_flight_at_most(gates, tier(concurrency=5)) == 3
        assert await in_flight_at_most(gates, tier()) == 3


async def test_corrected_limit_takes_over_when_the_old_one_is_out_of_use(clock: Any) -> None:
    async with Gates(None, clock=clock) as gates:
        assert await in_flight_at_most(gates, tier(concurrency=3)) == 3
        clock.advance(REMEMBER_S / 2)
        assert await in_flight_at_most(gates, tier(concurrency=5)) == 3
        clock.advance(REMEMBER_S / 2 + 1)
        gates.gate_for(tier(concurrency=5))
        await asyncio.sleep(0)
        assert gates.gate_for(tier(concurrency=5)).status().may_fly <= 5


async def test_pause_ends_by_itself_in_real_time() -> None:
    async with Gates(None) as gates:
        gate = gates.gate_for(tier())
        permit = await gate.acquire()
        gate.release(permit, Refused(RefusalKind.RATE_LIMIT, "slow down", retry_after_s=0.05))
        assert gate.try_capacity() == 0
        gate.release(await gate.acquire(), ANSWER)


async def test_metered_tier_keeps_going_in_real_time() -> None:
    async with Gates(None) as gates:
        gate = gates.gate_for(tier(rpm=6_000, tpm=600_000, concurrency=50))
        for _ in range(150):
            gate.release(await gate.acquire(10), ANSWER)
        assert gate.status().in_flight == 0


async def test_gate_that_fell_silent_wakes_up_for_the_next_call(clock: Any) -> None:
    async with Gates(None, clock=clock) as gates:
        gate = gates.gate_for(tier(rpm=600))
        gate.release(await gate.acquire(), ANSWER)
        while not gate.status().is_idle:
            clock.advance(100.0)
            await asyncio.sleep(0.01)
        gate.release(await gate.acquire(), ANSWER)
