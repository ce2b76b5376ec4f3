"""The gates of one worker process, one for every tier that it works for."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Iterable
from types import TracebackType

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cascade_batch.domain.tier import Limits, Tier
from cascade_batch.providers.limits.coordination import Alone, Clock, Coordinator
from cascade_batch.providers.limits.gate import TierGate
from cascade_batch.providers.limits.shared import ANSWER_WITHIN_S, Shared

REMEMBER_S = 600.0
"""How long limits count after they were last declared. Two jobs may declare different limits for the
same server, model and key; while both run the strictest holds, and a corrected limit takes over when
nothing declared the wrong one for this long."""

CANCEL_AGAIN_S = 0.2


class Gates:
    """Makes gates and keeps them. For one event loop, made after a worker process has forked.

    Args:
        redis: Client of the Redis that the workers share; closed with the gates. None: this process
            has nobody to share its tiers with.
        clock: Seconds, monotonic.
    """

    def __init__(self, redis: Redis | None, *, clock: Clock = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._gates: dict[str, TierGate] = {}
        self._maintained: dict[str, asyncio.Task[None]] = {}
        self._declared: dict[str, dict[Limits, float]] = {}
        self._in_force: dict[str, Limits] = {}

    @classmethod
    def connect(cls, redis_url: str) -> Gates:
        """Gates that share their tiers through the Redis at `redis_url`. It may be away, now and
        later: the gates wait for it, and find it again by themselves."""
        redis = Redis.from_url(
            redis_url,
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
            # The gates ask again a moment later anyway, and with fresh figures.
            retry=Retry(NoBackoff(), 0),
        )
        return cls(redis)

    def gate_for(self, tier: Tier) -> TierGate:
        """The gate of `tier`, which tiers of other jobs share if they name the same server, model
        and key. Cheap enough to be asked for with every chunk. Needs a running event loop.

        What the tier declares counts from now on, together with what others declared lately.
        """
        key = tier.limit_key
        limits = self._strictest(key, tier.limits)
        gate = self._gates.get(key)
        if gate is None:
            gate = TierGate(limits, self._coordinator(key), name=tier.name, clock=self._clock)
            self._gates[key] = gate
            self._in_force[key] = limits
        elif limits != self._in_force[key]:
            self._in_force[key] = limits
            gate.declare(limits)
        if key not in self._maintained:
            loop = asyncio.get_running_loop()
            self._maintained[key] = loop.create_task(gate.maintain(), name=f"gate {tier.name}")
        return gate

    async def rest(self) -> None:
        """Give back what is held: the event loop is about to stand still, and could not do it then. Others
        would have to do without it until it is taken from the silent. `gate_for` comes back to a gate."""
        maintained, self._maintained = self._maintained, {}
        tasks = set(maintained.values())
        while tasks:
            # More than once: a cancellation that meets a time-out of the client in the same moment is
            # taken for that time-out, and the task goes on.
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)
        await asyncio.gather(*(self._gates[key].leave() for key in maintained))

    async def close(self) -> None:
        """Give back everything that is held, and close the connection to Redis."""
        await self.rest()
        gates, self._gates = list(self._gates.values()), {}
        await asyncio.gather(*(gate.close() for gate in gates))
        if self._redis is not None:
            await self._redis.aclose()

    def _coordinator(self, key: str) -> Coordinator:
        if self._redis is None:
            return Alone(self._clock)
        return Shared(self._redis, key, self._worker_id)

    async def __aenter__(self) -> Gates:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _strictest(self, key: str, limits: Limits) -> Limits:
        now = self._clock()
        declared = self._declared.setdefault(key, {})
        declared[limits] = now
        for old in [old for old, at in declared.items() if now - at > REMEMBER_S]:
            del declared[old]
        if len(declared) == 1:
            return limits
        return Limits(
            rpm=_least(old.rpm for old in declared),
            tpm=_least(old.tpm for old in declared),
            concurrency=_least(old.concurrency for old in declared),
        )


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
