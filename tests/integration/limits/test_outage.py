"""A worker whose Redis is killed, stays away, and comes back empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from cascade_batch.domain.answer import Answered, RefusalKind, Refused, Reply
from cascade_batch.domain.tier import Limits, Tier
from cascade_batch.providers.limits import Gates

ANSWER = Answered(Reply("up"))


def tier(**limits: int) -> Tier:
    return Tier(name="small", model="m", limits=Limits(**limits))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (gates show their state, they don't announce it)
        await asyncio.sleep(0.01)


async def test_metered_tier_stops_with_the_block_and_goes_on_by_itself(mortal_valkey: Any) -> None:
    async with Gates.connect(mortal_valkey.url) as gates:
        gate = gates.gate_for(tier(rpm=6_000))
        for _ in range(20):
            gate.release(await gate.acquire(), ANSWER)
        mortal_valkey.kill()
        await until(lambda: not gate.status().is_coordinated)
        while gate.try_capacity(1):
            gate.release(await gate.acquire(), ANSWER)
        waiting = asyncio.create_task(gate.acquire())
        assert await gate.capacity(1, timeout_s=0.5) == 0
        assert not waiting.done()
        mortal_valkey.start()
        gate.release(await waiting, ANSWER)
        await until(lambda: gate.status().is_coordinated)


async def test_gate_that_fell_silent_while_redis_was_away_wakes_up(
    mortal_valkey: Any, clock: Any
) -> None:
    async with Gates(Redis.from_url(mortal_valkey.url), clock=clock) as gates:
        gate = gates.gate_for(tier(rpm=1))
        gate.release(await gate.acquire(), ANSWER)
        assert await gate.capacity(1, timeout_s=0.5) == 0
        mortal_valkey.kill()
        while not gate.status().is_idle:
            clock.advance(10.0)
            await asyncio.sleep(0.01)
        mortal_valkey.start()
        async with asyncio.timeout(30.0):
            waiting = asyncio.create_task(gate.acquire())
            await until(lambda: gate.status().is_coordinated)
        waiting.cancel()


async def test_share_is_kept_and_not_exceeded(mortal_valkey: Any) -> None:
    async with Gates.connect(mortal_valkey.url) as gates:
        gate = gates.gate_for(tier(concurrency=4))
        held = [await gate.acquire() for _ in range(4)]
        mortal_valkey.kill()
        await until(lambda: not gate.status().is_coordinated)
        fifth = asyncio.create_task(gate.acquire())
        await asyncio.sleep(0)
        assert not fifth.done()
        gate.release(held.pop(), ANSWER)
        held.append(await fifth)
        mortal_valkey.start()
        await until(lambda: gate.status().is_coordinated)
        assert gate.status().share == 4
        for permit in held:
            gate.release(permit, ANSWER)


async def test_pause_met_while_redis_was_away_is_told_when_it_is_back(mortal_valkey: Any) -> None:
    async with (
        Gates.connect(mortal_valkey.url) as here,
        Gates.connect(mortal_valkey.url) as there,
    ):
        first, second = here.gate_for(tier()), there.gate_for(tier())
        permit = await first.acquire()
        kept = await second.acquire()
        mortal_valkey.kill()
        await until(lambda: not first.status().is_coordinated)
        first.release(permit, Refused(RefusalKind.RATE_LIMIT, "slow down", retry_after_s=60.0))
        assert second.paused_for_s == 0.0
        mortal_valkey.start()
        await until(lambda: second.paused_for_s > 0.0)
        second.release(kept, ANSWER)


async def test_tier_without_limits_works_with_no_redis_at_all(mortal_valkey: Any) -> None:
    mortal_valkey.kill()
    async with Gates.connect(mortal_valkey.url) as gates:
        gate = gates.gate_for(tier())
        for _ in range(10):
            gate.release(await gate.acquire(), ANSWER)


async def test_closing_gives_back_what_others_wait_for(redis_url: str) -> None:
    async with Gates.connect(redis_url) as there:
        async with Gates.connect(redis_url) as here:
            permit = await here.gate_for(tier(concurrency=1)).acquire()
            waiting = asyncio.create_task(there.gate_for(tier(concurrency=1)).acquire())
            await asyncio.sleep(0)
            here.gate_for(tier(concurrency=1)).release(permit, ANSWER)
        there.gate_for(tier(concurrency=1)).release(await waiting, ANSWER)


async def test_outage_seen_by_one_worker_stops_the_other(redis_url: str) -> None:
    async with Gates.connect(redis_url) as here, Gates.connect(redis_url) as there:
        first, second = here.gate_for(tier()), there.gate_for(tier())
        kept = await second.acquire()
        while first.breaker_open_for_s == 0.0:
            first.release(await first.acquire(), Refused(RefusalKind.SERVER, "502"))
        await until(lambda: second.breaker_open_for_s > 0.0)
        second.release(kept, ANSWER)
        # An answer means that the server is there: calls pass again, on the other worker too.
        first.release(await first.acquire(), ANSWER)
