"""Coordination through Redis (or Valkey): one script call per exchange, a few times a second."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cascade_batch.providers.limits import breaker
from cascade_batch.providers.limits.breaker import BreakerState, TierBreaker
from cascade_batch.providers.limits.bucket import BucketRequest
from cascade_batch.providers.limits.coordination import CoordinatorAwayError, Demand, Grant

ANSWER_WITHIN_S = 2.0
"""A Redis that takes longer is as good as away: blocks are held for a second only."""

LEASE_S = 10.0
"""How long a silent worker's share stays its own. Longer than any pause of a healthy event loop, short
enough that the share of a dead worker is not missed."""

SETTLE_S = 2.0
"""After a start of Redis nobody's share grows for this long: workers that held a share before come
back within it, and only then is it known what is free."""

TURN_S = 10.0
"""How long a worker's turn lasts where a tier takes fewer calls at once than it has workers."""

CLAIM_S = 1.0
"""How long the claim of a worker on the tokens to come outlives its last word: a few of its ticks."""

BUCKET_TTL_S = 3_600
"""What Redis remembers of a tier that nobody uses is forgotten after this; any bucket is full then."""

_SCRIPT = files(__package__).joinpath("sync.lua").read_text(encoding="utf-8")

_CONSTANTS: dict[str, float] = {
    "turn_s": TURN_S,
    "claim_s": CLAIM_S,
    "bucket_ttl_s": BUCKET_TTL_S,
    "failures_to_open": breaker.FAILURES_TO_OPEN,
    "open_base_s": breaker.OPEN_BASE_S,
    "open_cap_s": breaker.OPEN_CAP_S,
    "probe_lease_s": breaker.PROBE_LEASE_S,
}


class Shared:
    """Coordinator of a worker that shares a tier with others through Redis.

    Args:
        redis: Client; not closed here.
        limit_key: The tier's `limit_key`.
        worker_id: Unlike that of any other worker, now or before.
        lease_s: How long a silent worker's share stays its own.
        settle_s: How long after a start of Redis no share grows.
        now_us: Microseconds to take for the server's own clock; None: the server's own clock.
    """

    def __init__(
        self,
        redis: Redis,
        limit_key: str,
        worker_id: str,
        *,
        lease_s: float = LEASE_S,
        settle_s: float = SETTLE_S,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        self._script = redis.register_script(_SCRIPT)
        # The braces keep the keys of a tier on one node of a cluster.
        stem = f"cascade:limits:{{{limit_key}}}:"
        self._keys = [stem + part for part in ("requests", "tokens", "workers", "pause", "breaker")]
        self._fixed = {
            **_CONSTANTS,
            "worker": worker_id,
            "lease_s": lease_s,
            "settle_s": settle_s,
        }
        self._now_us = now_us

    async def exchange(self, demand: Demand) -> Grant:
        """Tell and ask, in one step that no other worker's comes into.

        Raises:
            CoordinatorAwayError: Redis can't be reached, does not answer in time or refuses.
        """
        share = demand.share
        ask = {
            **self._fixed,
            "now_us": self._now_us() if self._now_us else 0,
            "requests": _bucket(demand.requests),
            "tokens": _bucket(demand.tokens),
            "concurrency": share.concurrency if share else 0,
            "share_held": share.held if share else 0,
            "share_wanted": share.wanted if share else 0,
            "is_short": demand.is_short,
            "has_taken_before": demand.has_taken_before,
            "pause_ms": math.ceil(demand.pause_s * 1000),
            "succeeded": demand.breaker.succeeded,
            "failures": demand.breaker.failures,
            "probe_failed": demand.breaker.probe_failed,
            "wants_probe": demand.wants_probe,
            "is_leaving": demand.is_leaving,
        }
        # A missing key is nil in Lua, a null is not.
        argument = orjson.dumps({k: v for k, v in ask.items() if v is not None})
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer: Any = await self._script(keys=self._keys, args=[argument])
        except (RedisError, OSError, TimeoutError) as error:
            raise CoordinatorAwayError(f"{type(error).__name__}: {error}") from error
        return _grant(orjson.loads(answer))


def _bucket(request: BucketRequest | None) -> dict[str, float] | None:
    if request is None:
        return None
    return {
        "rate": request.size.rate_per_s,
        "capacity": request.size.capacity,
        "wanted": request.wanted,
        "needed": request.needed,
        "back": request.given_back,
    }


def _grant(answer: dict[str, Any]) -> Grant:
    share = answer.get("share")
    return Grant(
        requests=int(answer["requests"]),
        tokens=int(answer["tokens"]),
        share=None if share is None else int(share),
        pause_s=answer["pause_ms"] / 1000.0,
        breaker=TierBreaker(
            state=BreakerState(answer["breaker"]),
            open_for_s=float(answer["open_for_s"]),
            step=int(answer["step"]),
            may_probe=bool(answer["may_probe"]),
        ),
    )
