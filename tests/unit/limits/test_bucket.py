from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_batch.providers.limits.allowance import Allowance
from cascade_batch.providers.limits.bucket import HOLD_S, Bucket, BucketRequest, BucketSize


def most_in_a_minute(times: list[float]) -> int:
    """The largest number of `times` (ascending) within any 60 seconds, both ends included."""
    # A hair more than a minute at the left end: times are sums of floats.
    return max(
        (i - bisect_left(times, t - 60.0 - 1e-9) + 1 for i, t in enumerate(times)), default=0
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 59, 60, 61, 600, 5_000, 1_000_000])
def test_a_limit_is_nearly_reached_and_never_exceeded_by_a_worker_that_takes_all(
    limit: int,
) -> None:
    size = BucketSize.for_limit(limit)
    bucket, now, granted = Bucket(size, 0.0), 0.0, 0
    while now < 600.0:
        granted += bucket.exchange(BucketRequest(size, wanted=limit), now)
        now += 0.25
    assert granted <= 10 * limit
    assert granted >= 10 * limit * 0.9 - 1


def test_burst_is_a_second_of_the_limit_and_never_less_than_a_call() -> None:
    for limit, burst in ((6_000, 101), (60, 2), (5, 1), (1, 1)):
        size = BucketSize.for_limit(limit)
        assert Bucket(size, 0.0).exchange(BucketRequest(size, wanted=limit), 0.0) == burst


def test_call_larger_than_the_bucket_goes_when_it_is_full_and_is_paid_for_afterwards() -> None:
    size = BucketSize.for_limit(6_000)
    bucket = Bucket(size, 0.0)
    big = BucketRequest(size, wanted=1_000, needed=1_000)
    assert bucket.exchange(big, 0.0) == 1_000
    assert bucket.exchange(BucketRequest(size, wanted=1), 5.0) == 0
    assert bucket.exchange(BucketRequest(size, wanted=1), 10.5) == 1


def test_workers_that_are_short_leave_each_other_a_part() -> None:
    size = BucketSize.for_limit(6_000)
    bucket = Bucket(size, 0.0)
    ask = BucketRequest(size, wanted=1_000)
    assert bucket.exchange(ask, 0.0, sharers=4) == 26
    assert bucket.exchange(ask, 0.0, sharers=4) == 19


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.05, 0.25, 0.6, 0.99, 1.0, 3.0, 20.0]),
        st.integers(0, 2),
        st.sampled_from(["ask", "use", "use all", "give back"]),
        st.integers(1, 300),
    ),
    max_size=400,
)


@settings(max_examples=200)
@given(limit=st.integers(1, 400), actions=ACTIONS)
def test_no_minute_has_more_than_the_limit_whatever_the_workers_do(
    limit: int, actions: list[tuple[float, int, str, int]]
) -> None:
    size = BucketSize.for_limit(limit)
    now, used = 0.0, []
    bucket = Bucket(size, now)
    workers = [Allowance(), Allowance(), Allowance()]
    for pause, who, action, units in actions:
        now += pause
        held = workers[who]
        held.has(0, now)
        if action == "ask":
            held.add(bucket.exchange(BucketRequest(size, wanted=units), now), now + HOLD_S)
        elif action == "give back":
            back = held.surrender(keep=0, before=now)
            bucket.exchange(BucketRequest(size, given_back=back), now)
        else:
            calls = held.held if action == "use all" else min(units, held.held)
            held.take(calls)
            used += [now] * calls
    assert most_in_a_minute(used) <= limit
