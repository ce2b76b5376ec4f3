from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cascade_batch.domain.answer import Outcome, RefusalKind, Unknown
from cascade_batch.providers.limits import BreakerState
from cascade_batch.providers.limits.breaker import FAILURES_TO_OPEN, OPEN_BASE_S, PROBES
from cascade_batch.providers.limits.window import INITIAL_SIZE
from tests.unit.limits.gate_steps import ANSWER, at_once, fill, new_gate, refusal, settle


async def test_429_pauses_the_tier_for_as_long_as_the_provider_says(clock: Any) -> None:
    gate = await new_gate(clock)
    gate.release(at_once(gate), refusal(RefusalKind.RATE_LIMIT, retry_after_s=30.0))
    assert gate.paused_for_s == 30.0
    waiting = asyncio.create_task(gate.acquire())
    clock.advance(29.9)
    await gate.sync()
    await settle()
    assert not waiting.done()
    clock.advance(0.2)
    await gate.sync()
    gate.release(await waiting, ANSWER)


async def test_shorter_retry_after_does_not_cut_a_pause_short(clock: Any) -> None:
    gate = await new_gate(clock)
    first, second = at_once(gate), at_once(gate)
    gate.release(first, refusal(RefusalKind.RATE_LIMIT, retry_after_s=30.0))
    gate.release(second, refusal(RefusalKind.RATE_LIMIT, retry_after_s=5.0))
    assert gate.paused_for_s == 30.0


async def test_429_without_a_time_backs_off_ever_longer_until_an_answer(clock: Any) -> None:
    gate = await new_gate(clock)

    async def pause_after_429() -> float:
        gate.release(at_once(gate), refusal(RefusalKind.RATE_LIMIT))
        pause_s = gate.paused_for_s
        clock.advance(pause_s)
        await gate.sync()
        return pause_s

    assert [await pause_after_429() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    gate.release(at_once(gate), ANSWER)
    assert await pause_after_429() == 1


async def test_429s_of_one_round_trip_back_off_once(clock: Any) -> None:
    gate = await new_gate(clock)
    permits = await fill(gate)
    for permit in permits:
        gate.release(permit, refusal(RefusalKind.RATE_LIMIT))
    assert gate.paused_for_s == 1.0
    assert gate.status().may_fly == INITIAL_SIZE // 2


async def test_refused_rows_leave_the_tier_alone(clock: Any) -> None:
    gate = await new_gate(clock)
    for _ in range(1_000):
        gate.release(at_once(gate), refusal(RefusalKind.ROW))
    assert gate.breaker_open_for_s == 0.0
    assert gate.try_capacity() == INITIAL_SIZE


DOWN: dict[str, Callable[[], Outcome]] = {
    "5xx": lambda: refusal(RefusalKind.SERVER),
    "no connection": lambda: refusal(RefusalKind.CONNECT),
    "timeout": lambda: Unknown("timeout", "no answer"),
    "broken": lambda: Unknown("disconnected", "gone"),
}


@pytest.mark.parametrize("what", sorted(DOWN))
async def test_outage_opens_the_breaker_and_a_successful_probe_closes_it(
    clock: Any, what: str
) -> None:
    gate = await new_gate(clock)
    for _ in range(FAILURES_TO_OPEN):
        assert gate.breaker_open_for_s == 0.0
        gate.release(at_once(gate), DOWN[what]())
    assert gate.breaker_open_for_s == OPEN_BASE_S
    assert gate.try_capacity() == 0

    clock.advance(OPEN_BASE_S)
    assert gate.breaker_open_for_s == 0.0
    await gate.sync()
    assert gate.try_capacity() == PROBES
    probes = [at_once(gate) for _ in range(PROBES)]
    behind = asyncio.create_task(gate.acquire())
    await settle()
    assert not behind.done()
    gate.release(probes[0], ANSWER)
    gate.release(await behind, ANSWER)
    assert gate.status().breaker is BreakerState.CLOSED


async def test_failed_probe_opens_the_breaker_for_longer(clock: Any) -> None:
    gate = await new_gate(clock)
    for _ in range(FAILURES_TO_OPEN):
        gate.release(at_once(gate), DOWN["5xx"]())
    clock.advance(OPEN_BASE_S)
    await gate.sync()
    gate.release(at_once(gate), DOWN["5xx"]())
    assert gate.breaker_open_for_s == 2 * OPEN_BASE_S


async def test_server_that_names_a_time_is_left_alone_for_it(clock: Any) -> None:
    gate = await new_gate(clock)
    gate.release(at_once(gate), refusal(RefusalKind.SERVER, retry_after_s=7.0))
    assert gate.paused_for_s == 7.0
