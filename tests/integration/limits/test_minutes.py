"""Several minutes of two busy workers on one tier, on a clock that the test moves."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from cascade_batch.domain.answer import Answered, Reply
from cascade_batch.domain.money import Usage
from cascade_batch.domain.tier import Limits
from cascade_batch.providers.limits import TierGate
from cascade_batch.providers.limits.bucket import HOLD_S
from cascade_batch.providers.limits.shared import Shared

STEP_S = 0.05
TICK_STEPS = 5


def most_in_a_minute(events: list[tuple[float, int]]) -> int:
    """The largest sum of what happened within any 60 seconds, both ends included."""
    times = [at for at, _ in events]
    sums = [0]
    for _, amount in events:
        sums.append(sums[-1] + amount)
    return max(
        (sums[i + 1] - sums[bisect_left(times, at - 60.0 - 1e-6)] for i, at in enumerate(times)),
        default=0,
    )


class TwoWorkers:
    """Two gates over connections of their own; counts what they let through."""

    def __init__(self, redis_url: str, clock: Any, limits: Limits) -> None:
        self.passed: list[tuple[float, int]] = []
        self._clock = clock
        self._clients = [Redis.from_url(redis_url) for _ in range(2)]
        key = uuid4().hex
        self.gates = [
            TierGate(limits, Shared(client, key, f"worker {i}", now_us=clock.us), clock=clock)
            for i, client in enumerate(self._clients)
        ]

    async def run(self, seconds: float, demand: tuple[int, int], tokens: int = 0) -> None:
        """`demand`: the calls that each worker would make in every step."""
        for step in range(round(seconds / STEP_S)):
            for i, gate in enumerate(self.gates):
                # Workers don't talk at the same moments.
                if step % TICK_STEPS == i * 2:
                    await gate.sync()
                for _ in range(demand[i]):
                    if gate.try_capacity(1, tokens):
                        permit = await gate.acquire(tokens)
                        self.passed.append((self._clock.now, tokens or 1))
                        usage = Usage(input_tokens=tokens, output_tokens=0)
                        gate.release(permit, Answered(Reply("up", usage=usage)))
            self._clock.advance(STEP_S)

    async def close(self) -> None:
        for gate in self.gates:
            await gate.close()
        for client in self._clients:
            await client.aclose()


@pytest.mark.parametrize("rpm", [7, 60, 300, 6_000])
async def test_requests_per_minute_hold_over_both_and_are_nearly_reached(
    redis_url: str, clock: Any, rpm: int
) -> None:
    workers = TwoWorkers(redis_url, clock, Limits(rpm=rpm))
    per_step = rpm // 600 + 1
    await workers.run(125.0, (per_step, per_step))
    assert 0.85 * rpm <= most_in_a_minute(workers.passed) <= rpm
    await workers.close()


async def test_worker_with_little_to_do_leaves_the_limit_to_the_other(
    redis_url: str, clock: Any
) -> None:
    workers = TwoWorkers(redis_url, clock, Limits(rpm=600))
    await workers.run(70.0, (0, 5))
    assert 0.85 * 600 <= most_in_a_minute(workers.passed) <= 600
    await workers.close()


async def test_bursts_after_rests_don_t_break_the_limit(redis_url: str, clock: Any) -> None:
    workers = TwoWorkers(redis_url, clock, Limits(rpm=120))
    for rest_s in (0.5, 3.0, 0.9, 10.0, 1.1, 0.1, 30.0, 2.0):
        await workers.run(8.0, (9, 9))
        await workers.run(rest_s, (0, 0))
        await workers.run(0.3, (0, 9))
    assert most_in_a_minute(workers.passed) <= 120
    await workers.close()


async def test_tokens_per_minute_hold_over_both(redis_url: str, clock: Any) -> None:
    workers = TwoWorkers(redis_url, clock, Limits(tpm=60_000))
    await workers.run(90.0, (3, 3), tokens=150)
    assert 0.85 * 60_000 <= most_in_a_minute(workers.passed) <= 60_000
    await workers.close()


async def test_restart_that_lost_everything_adds_nothing(mortal_valkey: Any, clock: Any) -> None:
    workers = TwoWorkers(mortal_valkey.url, clock, Limits(rpm=600))
    await workers.run(30.0, (3, 3))
    for _ in range(3):
        mortal_valkey.kill()
        await workers.run(2.0, (3, 3))
        mortal_valkey.start()
        await workers.run(5.0, (3, 3))
    await workers.run(40.0, (3, 3))
    assert most_in_a_minute(workers.passed) <= 600
    # It is in use again: the last seconds had calls.
    assert workers.passed[-1][0] > clock.now - 2.0
    await workers.close()


async def test_block_held_while_redis_is_away_is_good_for_its_time_only(
    mortal_valkey: Any, clock: Any
) -> None:
    workers = TwoWorkers(mortal_valkey.url, clock, Limits(rpm=6_000))
    await workers.run(5.0, (3, 3))
    gate = workers.gates[0]
    await gate.sync()
    mortal_valkey.kill()
    await gate.sync()
    assert gate.try_capacity(5) == 5
    clock.advance(HOLD_S)
    assert gate.try_capacity(5) == 0
    await workers.close()
