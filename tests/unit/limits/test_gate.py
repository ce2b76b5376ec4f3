from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.tier import Limits
from cascade_batch.providers.limits import GateClosedError, Permit, TierGate
from cascade_batch.providers.limits.coordination import Alone
from cascade_batch.providers.limits.window import INITIAL_SIZE
from tests.unit.limits.gate_steps import ANSWER, answer, at_once, fill, new_gate, settle


async def test_call_passes_without_waiting_where_there_is_room(clock: Any) -> None:
    gate = await new_gate(clock)
    permits = [at_once(gate) for _ in range(INITIAL_SIZE)]
    assert gate.try_capacity() == 0
    for permit in permits:
        gate.release(permit, ANSWER)
    assert gate.status().in_flight == 0


async def test_no_call_passes_before_the_first_exchange(clock: Any) -> None:
    gate = TierGate(Limits(), Alone(clock), clock=clock)
    waiting = asyncio.create_task(gate.acquire())
    await settle()
    assert not waiting.done()
    assert gate.try_capacity() == 0
    await gate.sync()
    gate.release(await waiting, ANSWER)


async def test_declared_concurrency_holds_and_waiting_calls_go_in_order(clock: Any) -> None:
    gate = await new_gate(clock, concurrency=2)
    first, second = await fill(gate)
    order: list[str] = []

    async def call(name: str) -> None:
        permit = await gate.acquire()
        order.append(name)
        gate.release(permit, ANSWER)

    tasks = [asyncio.create_task(call(name)) for name in "abc"]
    await settle()
    assert order == []
    gate.release(first, ANSWER)
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]
    gate.release(second, ANSWER)


async def test_cancelled_call_leaves_the_line_and_the_next_one_goes(clock: Any) -> None:
    gate = await new_gate(clock, concurrency=1)
    (held,) = await fill(gate)
    gone, stays = (asyncio.create_task(gate.acquire()) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    gate.release(held, ANSWER)
    gate.release(await stays, ANSWER)
    assert gate.status().waiting == 0
    assert gate.try_capacity(1) == 1


async def test_permit_that_comes_with_the_cancellation_goes_to_the_next(clock: Any) -> None:
    gate = await new_gate(clock, concurrency=1)
    (held,) = await fill(gate)
    gone, stays = (asyncio.create_task(gate.acquire()) for _ in range(2))
    await settle()
    gate.release(held, ANSWER)  # the permit is given to the first ...
    gone.cancel()  # ... which is cancelled before it can run
    gate.release(await stays, ANSWER)
    assert gone.cancelled()
    assert gate.try_capacity(1) == 1


async def test_large_call_that_gives_up_does_not_hold_the_small_one_behind_it(clock: Any) -> None:
    gate = await new_gate(clock, tpm=6_000)
    gate.try_capacity(10, tokens_each=10)
    await gate.sync()
    large = asyncio.create_task(gate.acquire(5_000))
    small = asyncio.create_task(gate.acquire(10))
    await settle()
    assert not small.done()
    large.cancel()
    gate.release(await small, ANSWER)


@given(
    concurrency=st.integers(1, 5),
    steps=st.lists(
        st.tuples(st.sampled_from(["start", "cancel", "end", "run"]), st.integers(0, 20)),
        max_size=80,
    ),
)
def test_no_slot_is_lost_or_made_up_whatever_is_cancelled(
    concurrency: int, steps: list[tuple[str, int]]
) -> None:
    async def scenario() -> None:
        gate = await new_gate(lambda: 0.0, concurrency=concurrency)
        tasks: list[asyncio.Task[Permit]] = []
        for step, which in steps:
            if step == "start":
                tasks.append(asyncio.create_task(gate.acquire()))
            elif step == "run":
                await asyncio.sleep(0)
            elif tasks:
                task = tasks[which % len(tasks)]
                if step == "cancel":
                    task.cancel()
                elif task.done() and not task.cancelled():
                    tasks.remove(task)
                    gate.release(task.result(), ANSWER)
            out = sum(t.done() and not t.cancelled() for t in tasks)
            assert out <= gate.status().in_flight <= concurrency
        await settle()
        for task in tasks:
            task.cancel()
        await settle()
        for task in tasks:
            if not task.cancelled():
                gate.release(task.result(), ANSWER)
        await settle()
        status = gate.status()
        assert (status.in_flight, status.waiting) == (0, 0)
        assert gate.try_capacity(concurrency) == concurrency

    asyncio.run(scenario())


async def test_permit_goes_back_once(clock: Any) -> None:
    gate = await new_gate(clock)
    permit = at_once(gate)
    gate.give_back(permit)
    with pytest.raises(ValueError, match="went back"):
        gate.release(permit, ANSWER)
    assert gate.status().in_flight == 0


async def test_calls_that_come_in_one_batch_after_another_double_the_window_too(
    clock: Any,
) -> None:
    gate = await new_gate(clock)
    sizes = []
    for _ in range(4):
        permits = await fill(gate)
        sizes.append(len(permits))
        for permit in permits:
            gate.release(permit, ANSWER)
    assert sizes == [16, 32, 64, 128]


async def test_requests_pass_as_fast_as_the_limit_and_no_faster(clock: Any) -> None:
    gate = await new_gate(clock, rpm=600)
    passed = 0
    for _ in range(4 * 60):
        for _ in range(gate.try_capacity(5)):
            gate.release(at_once(gate), ANSWER)
            passed += 1
        await gate.sync()
        clock.advance(0.25)
    assert 0.9 * 600 <= passed <= 600


async def test_tokens_that_a_call_did_not_use_serve_other_calls(clock: Any) -> None:
    gate = await new_gate(clock, tpm=60_000)

    async def calls_in_a_minute(used: int) -> int:
        passed = 0
        for _ in range(4 * 60):
            for _ in range(gate.try_capacity(20, tokens_each=500)):
                gate.release(at_once(gate, 500), answer(used))
                passed += 1
            await gate.sync()
            clock.advance(0.25)
        return passed

    assert 100 <= await calls_in_a_minute(used=500) <= 122
    assert 500 <= await calls_in_a_minute(used=100) <= 610


async def test_tokens_used_beyond_what_was_asked_for_are_paid_for_afterwards(clock: Any) -> None:
    gate = await new_gate(clock, tpm=60_000)
    passed = 0
    for _ in range(4 * 60):
        while gate.try_capacity(1, tokens_each=100):
            gate.release(at_once(gate, 100), answer(1_000))
            passed += 1
        await gate.sync()
        clock.advance(0.25)
    assert 45 <= passed <= 61


async def test_call_of_more_tokens_than_a_second_gives_passes_when_its_turn_comes(
    clock: Any,
) -> None:
    gate = await new_gate(clock, tpm=6_000)
    large = asyncio.create_task(gate.acquire(3_000))
    await settle()
    await gate.sync()
    gate.release(await large, answer(3_000))
    small = asyncio.create_task(gate.acquire(10))
    for _ in range(4 * 20):
        clock.advance(0.25)
        await gate.sync()
        await settle()
    assert not small.done()
    for _ in range(4 * 15):
        clock.advance(0.25)
        await gate.sync()
    gate.release(await small, ANSWER)


async def test_call_not_made_gives_its_request_and_tokens_back(clock: Any) -> None:
    gate = await new_gate(clock, rpm=60, tpm=6_000)
    gate.try_capacity(2, tokens_each=50)
    await gate.sync()
    for _ in range(100):
        gate.give_back(at_once(gate, 50))
    assert gate.try_capacity(2, tokens_each=50) == 2


async def test_whoever_waits_for_capacity_hears_of_it(clock: Any) -> None:
    gate = await new_gate(clock, concurrency=1)
    (held,) = await fill(gate)
    waiting = asyncio.create_task(gate.capacity(5))
    await settle()
    assert not waiting.done()
    gate.release(held, ANSWER)
    assert await waiting == 1


async def test_nothing_wanted_is_answered_at_once(clock: Any) -> None:
    gate = await new_gate(clock)
    assert gate.try_capacity(0) == 0
    assert await gate.capacity(0) == 0


async def test_capacity_gives_up_after_a_time(clock: Any) -> None:
    gate = await new_gate(clock, concurrency=1)
    (held,) = await fill(gate)
    assert await gate.capacity(5, timeout_s=0.001) == 0
    gate.release(held, ANSWER)


async def test_closed_gate_sends_waiting_calls_away(clock: Any) -> None:
    gate = await new_gate(clock, concurrency=1)
    (held,) = await fill(gate)
    waiting = [asyncio.create_task(gate.acquire()), asyncio.create_task(gate.capacity())]
    await settle()
    await gate.close()
    for task in waiting:
        with pytest.raises(GateClosedError):
            await task
    gate.release(held, ANSWER)
    assert gate.status().in_flight == 0
