"""Steps that the tests of a gate share."""

from __future__ import annotations

import asyncio
from typing import Any

from cascade_batch.domain.answer import Answered, RefusalKind, Refused, Reply
from cascade_batch.domain.money import Usage
from cascade_batch.domain.tier import Limits
from cascade_batch.providers.limits import Permit, TierGate
from cascade_batch.providers.limits.coordination import Alone

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
