"""What the workers of a tier agree on through a real server, with the time given by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from cascade_batch.providers.limits.breaker import (
    FAILURES_TO_OPEN,
    OPEN_BASE_S,
    OPEN_CAP_S,
    PROBE_LEASE_S,
    BreakerReport,
    BreakerState,
    TierBreaker,
)
from cascade_batch.providers.limits.bucket import Bucket, BucketRequest, BucketSize
from cascade_batch.providers.limits.coordination import CoordinatorAwayError, Demand, ShareRequest
from cascade_batch.providers.limits.shared import LEASE_S, SETTLE_S, TURN_S, Shared

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Tier:
    """The workers of one tier, each over a connection of its own."""

    def __init__(self, redis_url: str, clock: Any, settle_s: float = 0.0) -> None:
        self._url, self._clock, self._settle_s = redis_url, clock, settle_s
        self._key = uuid4().hex
        self._clients: list[Redis] = []

    def worker(self, name: str) -> Shared:
        client = Redis.from_url(self._url)
        self._clients.append(client)
        return Shared(client, self._key, name, settle_s=self._settle_s, now_us=self._clock.us)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@pytest.fixture
async def tier(redis_url: str, clock: Any) -> AsyncIterator[Tier]:
    tier = Tier(redis_url, clock)
    yield tier
    await tier.close()


def share(concurrency: int, held: int, wanted: int) -> Demand:
    return Demand(share=ShareRequest(concurrency, held, wanted))


def requests(size: BucketSize, wanted: int, needed: int = 1, back: int = 0) -> Demand:
    return Demand(requests=BucketRequest(size, wanted, needed, back))


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3_000_000), st.integers(0, 200), st.integers(1, 200), st.integers(0, 20)
    ),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(limit=st.integers(1, 5_000), steps=STEPS)
def test_bucket_in_redis_grants_what_the_bucket_in_memory_does(
    redis_url: str, limit: int, steps: list[tuple[int, int, int, int]]
) -> None:
    class Clock:
        time_us = 10**15

        def us(self) -> int:
            return self.time_us

    async def scenario() -> None:
        clock = Clock()
        tier = Tier(redis_url, clock)
        worker = tier.worker("a")
        size = BucketSize.for_limit(limit)
        model = Bucket(size, 0.0)
        for pause_us, wanted, needed, back in steps:
            clock.time_us += pause_us
            request = BucketRequest(size, wanted, min(needed, max(1, wanted)), back)
            expected = model.exchange(request, (clock.time_us - 10**15) / 1e6)
            assert (await worker.exchange(Demand(requests=request))).requests == expected
        await tier.close()

    asyncio.run(scenario())


async def test_workers_of_a_tier_share_one_bucket_and_tiers_do_not(
    tier: Tier, redis_url: str, clock: Any
) -> None:
    size = BucketSize.for_limit(600)
    first, second, other = tier.worker("a"), tier.worker("b"), Tier(redis_url, clock)
    assert (await first.exchange(requests(size, wanted=8))).requests == 8
    assert (await second.exchange(requests(size, wanted=8))).requests == 3
    assert (await other.worker("a").exchange(requests(size, wanted=8))).requests == 8
    await other.close()


async def test_what_is_given_back_serves_another_worker(tier: Tier) -> None:
    size = BucketSize.for_limit(600)
    first, second = tier.worker("a"), tier.worker("b")
    await first.exchange(requests(size, wanted=11))
    assert (await second.exchange(requests(size, wanted=11))).requests == 0
    await first.exchange(requests(size, wanted=0, back=11))
    assert (await second.exchange(requests(size, wanted=11))).requests == 11


async def test_large_call_is_not_starved_by_the_small_ones_of_another_worker(
    tier: Tier, clock: Any
) -> None:
    size = BucketSize.for_limit(60_000)
    small, large = tier.worker("a"), tier.worker("b")

    def tokens(wanted: int) -> Demand:
        return Demand(tokens=BucketRequest(size, wanted, needed=wanted))

    waited_s = 0.0
    await small.exchange(tokens(500))
    while not (await large.exchange(tokens(5_000))).tokens:
        await small.exchange(tokens(100))
        clock.advance(0.25)
        waited_s += 0.25
    assert waited_s <= 1.0
    clock.advance(5.0)
    assert (await small.exchange(tokens(100))).tokens == 100


async def test_claim_of_a_worker_that_died_is_void(tier: Tier, clock: Any) -> None:
    size = BucketSize.for_limit(60_000)
    dies, lives = tier.worker("a"), tier.worker("b")
    ask = Demand(tokens=BucketRequest(size, wanted=600, needed=600))
    await lives.exchange(ask)
    assert (await dies.exchange(ask)).tokens == 0
    clock.advance(0.9)
    assert (await lives.exchange(ask)).tokens == 0
    clock.advance(0.2)
    assert (await lives.exchange(ask)).tokens == 600


async def test_bucket_that_redis_lost_starts_empty_for_who_took_from_it(
    tier: Tier, clock: Any
) -> None:
    size = BucketSize.for_limit(600)
    lost = Demand(requests=BucketRequest(size, wanted=11), has_taken_before=True)
    worker = tier.worker("a")
    assert (await worker.exchange(lost)).requests == 0
    clock.advance(0.5)
    assert (await worker.exchange(lost)).requests == 4


async def test_clock_of_the_server_that_goes_back_grants_nothing(tier: Tier, clock: Any) -> None:
    size = BucketSize.for_limit(600)
    worker = tier.worker("a")
    assert (await worker.exchange(requests(size, wanted=11))).requests == 11
    clock.advance(-3_600.0)
    assert (await worker.exchange(requests(size, wanted=11))).requests == 0
    clock.advance(0.5)
    assert (await worker.exchange(requests(size, wanted=11))).requests == 4


async def test_clock_that_is_set_back_holds_nobody_up(tier: Tier, clock: Any) -> None:
    """The share of a worker that died before, its claim, a breaker that opened: all as if it were new."""
    size = BucketSize.for_limit(60)
    died, other = tier.worker("a"), tier.worker("b")
    await died.exchange(requests(size, wanted=2, needed=2))
    await died.exchange(requests(size, wanted=2, needed=2))
    await died.exchange(share(4, held=0, wanted=4))
    await died.exchange(Demand(breaker=BreakerReport(failures=FAILURES_TO_OPEN)))
    clock.advance(-3600)
    assert (await other.exchange(requests(size, wanted=1))).requests == 0
    assert (await other.exchange(share(4, held=0, wanted=4))).share == 0
    clock.advance(max(LEASE_S, OPEN_CAP_S) + 1)
    grant = await other.exchange(share(4, held=0, wanted=4))
    assert (grant.share, grant.breaker.state) == (4, HALF_OPEN)
    assert (await other.exchange(requests(size, wanted=1))).requests == 1


async def test_newcomer_gets_half_once_the_first_has_heard(tier: Tier) -> None:
    first, second = tier.worker("a"), tier.worker("b")
    assert (await first.exchange(share(10, held=0, wanted=10))).share == 10
    assert (await second.exchange(share(10, held=0, wanted=10))).share == 0
    assert (await first.exchange(share(10, held=10, wanted=10))).share == 5
    # The first still has 8 calls in flight: only what it gave up is free.
    assert (await first.exchange(share(10, held=8, wanted=10))).share == 5
    assert (await second.exchange(share(10, held=0, wanted=10))).share == 2
    assert (await first.exchange(share(10, held=5, wanted=10))).share == 5
    assert (await second.exchange(share(10, held=2, wanted=10))).share == 5


async def test_what_the_modest_leave_goes_to_the_hungry(tier: Tier) -> None:
    modest, hungry = tier.worker("a"), tier.worker("b")
    assert (await modest.exchange(share(10, held=0, wanted=2))).share == 2
    assert (await hungry.exchange(share(10, held=0, wanted=100))).share == 8


async def test_share_of_a_silent_worker_returns_and_that_of_a_leaving_one_at_once(
    tier: Tier, clock: Any
) -> None:
    dead, leaving, heir = tier.worker("a"), tier.worker("b"), tier.worker("c")
    await dead.exchange(share(10, held=0, wanted=4))
    await leaving.exchange(share(10, held=0, wanted=6))
    assert (await heir.exchange(share(10, held=0, wanted=10))).share == 0
    await leaving.exchange(Demand(share=ShareRequest(10, 0, 0), is_leaving=True))
    clock.advance(LEASE_S / 2)
    assert (await heir.exchange(share(10, held=0, wanted=10))).share == 6
    clock.advance(LEASE_S / 2)
    assert (await heir.exchange(share(10, held=6, wanted=10))).share == 10


async def test_where_there_are_fewer_calls_than_workers_they_take_turns(
    tier: Tier, clock: Any
) -> None:
    workers = [tier.worker(name) for name in "abc"]
    held = [0, 0, 0]
    had_a_turn: set[int] = set()
    for _ in range(4 * 4):
        for i, worker in enumerate(workers):
            held[i] = (await worker.exchange(share(1, held[i], wanted=5))).share or 0
            assert sum(held) <= 1
            if held[i]:
                had_a_turn.add(i)
        clock.advance(TURN_S / 4)
    assert had_a_turn == {0, 1, 2}


SHARE_STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12), st.booleans()),
    max_size=60,
)


@settings(max_examples=30, deadline=None)
@given(concurrency=st.integers(1, 10), steps=SHARE_STEPS)
def test_shares_never_add_up_to_more_than_the_limit(
    redis_url: str, concurrency: int, steps: list[tuple[int, int, int, bool]]
) -> None:
    """Whatever workers want, however many calls each has in flight, and even if answers are lost."""

    class Clock:
        time_us = 10**15

        def us(self) -> int:
            return self.time_us

    async def scenario() -> None:
        clock = Clock()
        tier = Tier(redis_url, clock)
        workers = [tier.worker(name) for name in "abcd"]
        shares, in_flight = [0] * 4, [0] * 4
        for who, wanted, calls, is_lost in steps:
            clock.time_us += 300_000
            held = max(shares[who], in_flight[who])
            grant = await workers[who].exchange(share(concurrency, held, wanted))
            if not is_lost:
                shares[who] = grant.share or 0
            in_flight[who] = min(calls, max(in_flight[who], shares[who]))
            may_fly = [max(s, f) for s, f in zip(shares, in_flight, strict=True)]
            assert sum(may_fly) <= concurrency
        await tier.close()

    asyncio.run(scenario())


async def test_after_a_restart_no_share_grows_until_all_had_time_to_come_back(
    mortal_valkey: Any, clock: Any
) -> None:
    tier = Tier(mortal_valkey.url, clock, settle_s=SETTLE_S)
    newcomer, holder = tier.worker("a"), tier.worker("b")
    assert (await newcomer.exchange(share(10, held=0, wanted=3))).share == 0
    assert (await holder.exchange(share(10, held=7, wanted=7))).share == 7
    clock.advance(SETTLE_S)
    assert (await newcomer.exchange(share(10, held=0, wanted=3))).share == 3
    await tier.close()


async def test_pause_is_heard_by_all_and_the_longest_counts(tier: Tier) -> None:
    first, second = tier.worker("a"), tier.worker("b")
    assert (await second.exchange(Demand())).pause_s == 0.0
    assert (await first.exchange(Demand(pause_s=30.0))).pause_s == pytest.approx(30.0, abs=5)
    assert (await second.exchange(Demand())).pause_s == pytest.approx(30.0, abs=5)
    assert (await second.exchange(Demand(pause_s=1.0))).pause_s == pytest.approx(30.0, abs=5)


def failures(count: int, *, after_success: bool = False) -> Demand:
    return Demand(breaker=BreakerReport(succeeded=after_success, failures=count))


async def agreement(worker: Shared, demand: Demand | None = None) -> TierBreaker:
    grant = await worker.exchange(demand or Demand())
    assert grant.breaker is not None
    return grant.breaker


async def test_failures_of_all_workers_count_together(tier: Tier) -> None:
    first, second = tier.worker("a"), tier.worker("b")
    assert (await agreement(first, failures(FAILURES_TO_OPEN - 1))).state is CLOSED
    assert (await agreement(second, failures(1))) == TierBreaker(OPEN, OPEN_BASE_S, step=1)
    assert (await agreement(first)).state is OPEN


async def test_worker_that_fails_while_others_succeed_does_not_stop_them(tier: Tier) -> None:
    broken, well = tier.worker("a"), tier.worker("b")
    for _ in range(5):
        assert (await agreement(broken, failures(FAILURES_TO_OPEN - 1))).state is CLOSED
        assert (await agreement(well, failures(0, after_success=True))).state is CLOSED


async def test_one_worker_probes_and_its_success_closes_for_all(tier: Tier, clock: Any) -> None:
    first, second = tier.worker("a"), tier.worker("b")
    probe = Demand(wants_probe=True)
    await agreement(first, failures(FAILURES_TO_OPEN))
    assert not (await agreement(second, probe)).may_probe
    clock.advance(OPEN_BASE_S)
    assert await agreement(second, probe) == TierBreaker(HALF_OPEN, 0.0, 1, may_probe=True)
    other = await agreement(first, probe)
    assert (other.state, other.may_probe) == (HALF_OPEN, False)
    assert other.open_for_s == pytest.approx(PROBE_LEASE_S)
    assert (await agreement(second, failures(0, after_success=True))).state is CLOSED
    assert (await agreement(first)).state is CLOSED


async def test_failed_probe_opens_for_longer_for_all(tier: Tier, clock: Any) -> None:
    first, second = tier.worker("a"), tier.worker("b")
    await agreement(first, failures(FAILURES_TO_OPEN))
    clock.advance(OPEN_BASE_S)
    assert (await agreement(first, Demand(wants_probe=True))).may_probe
    failed = Demand(breaker=BreakerReport(failures=1, probe_failed=True))
    assert (await agreement(first, failed)) == TierBreaker(OPEN, 2 * OPEN_BASE_S, step=2)
    assert (await agreement(second)).open_for_s == 2 * OPEN_BASE_S


async def test_another_worker_probes_when_the_chosen_one_is_silent(tier: Tier, clock: Any) -> None:
    first, second = tier.worker("a"), tier.worker("b")
    probe = Demand(wants_probe=True)
    await agreement(first, failures(FAILURES_TO_OPEN))
    clock.advance(OPEN_BASE_S)
    assert (await agreement(first, probe)).may_probe
    clock.advance(PROBE_LEASE_S - 1)
    assert not (await agreement(second, probe)).may_probe
    clock.advance(1)
    assert (await agreement(second, probe)).may_probe


async def test_server_that_is_away_is_reported_as_away(mortal_valkey: Any, clock: Any) -> None:
    tier = Tier(mortal_valkey.url, clock)
    worker = tier.worker("a")
    await worker.exchange(Demand())
    mortal_valkey.kill()
    with pytest.raises(CoordinatorAwayError):
        await worker.exchange(Demand())
    mortal_valkey.start()
    assert (await worker.exchange(Demand())).breaker == TierBreaker(CLOSED)
    await tier.close()
