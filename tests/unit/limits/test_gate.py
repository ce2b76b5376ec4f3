from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Reply, Unknown
from cascade_batch.domain.money import Usage
from cascade_batch.domain.tier import Limits
from cascade_batch.providers.limits import BreakerState, GateClosedError, Permit, TierGate
from cascade_batch.providers.limits.breaker import FAILURES_TO_OPEN, OPEN_BASE_S, PROBES
from cascade_batch.providers.limits.coordination import Alone
from cascade_batch.providers.limits.window import INITIAL_SIZE

ANSWER = Answered(Reply(text="up"))


def answer(tokens: int) -> Answered:
    return Answered(Reply(text="up", usage=Usage(input_tokens=tokens - 1, output_tokens=1)))


def refusal(kind: RefusalKind, retry_after_s: float | None = None) -> Refused:
    return Refused(kind, "no", retry_after_s=retry_after_s)


def upper(_low: float, high: float) -> float:
    """Jitter at its upper end."""
    return high


async def new_gate(clock: Any, **limits: int) -> TierGate:
    gate = TierGate(Limits(**limits), Alone(clock), name="small", clock=clock, uniform=upper)
    await gate.sync()
    gate.try_capacity()
    await gate.sync()
    return gate


def at_once(gate: TierGate, tokens: int = 0) -> Permit:
    """A permit, taken without giving the event loop a chance to do anything else."""
    try:
        gate.acquire(tokens).send(None)
    except StopIteration as done:
        permit = done.value
        assert isinstance(permit, Permit)
        return permit
    raise AssertionError("the call had to wait")


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def fill(gate: TierGate) -> list[Permit]:
    return [at_once(gate) for _ in range(gate.try_capacity())]


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
