from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.providers.limits.window import DEFAULT_CEILING, INITIAL_SIZE, CallWindow

EVENTS: dict[str, Callable[[CallWindow, int], object]] = {
    "success": lambda window, _: window.succeeded(window.size),
    "idle success": lambda window, _: window.succeeded(1),
    "other": lambda window, _: window.completed(),
    "429": lambda window, epoch: window.rate_limited(epoch),
    "timeout": lambda window, epoch: window.timed_out(epoch),
    "failure": lambda window, epoch: window.failed(epoch),
    "outage": lambda window, _: window.restart(),
}


def round_trip(window: CallWindow) -> None:
    """Every call in flight is answered, and replaced at once."""
    for _ in range(window.size):
        window.succeeded(window.size)


def test_two_thousand_calls_in_flight_are_reached_by_doubling() -> None:
    window = CallWindow(2_000)
    assert window.size == INITIAL_SIZE
    sizes = []
    while window.size < 2_000:
        round_trip(window)
        sizes.append(window.size)
    assert len(sizes) == 7


def test_default_ceiling_holds_where_none_is_declared() -> None:
    window = CallWindow()
    for _ in range(10):
        round_trip(window)
    assert window.size == DEFAULT_CEILING


def test_ceiling_below_the_start_holds_from_the_start() -> None:
    assert CallWindow(3).size == 3


def test_growth_is_additive_after_the_first_trouble() -> None:
    window = CallWindow(1_000)
    for _ in range(4):
        round_trip(window)
    before = window.size
    assert window.rate_limited(window.epoch)
    assert window.size == before // 2
    for _ in range(5):
        size = window.size
        round_trip(window)
        assert size < window.size <= size + 10


def test_all_429s_of_a_round_trip_shrink_the_window_once() -> None:
    window = CallWindow(1_000)
    epoch = window.epoch
    round_trip(window)
    assert window.rate_limited(epoch)
    after_first = window.size
    for _ in range(30):
        assert not window.rate_limited(epoch)
    assert window.size == after_first
    assert window.rate_limited(window.epoch)
    assert window.size < after_first


def test_lone_server_error_does_not_shrink_and_a_burst_does() -> None:
    window = CallWindow(100)
    size = window.size
    assert not window.failed(window.epoch)
    assert not window.failed(window.epoch)
    assert window.size == size
    assert window.failed(window.epoch)
    assert window.size < size


def test_failures_far_apart_are_no_burst() -> None:
    window = CallWindow(16)
    for _ in range(50):
        window.failed(window.epoch)
        round_trip(window)
        round_trip(window)
    assert window.size == 16


def test_timeout_shrinks_a_small_window_and_one_in_a_thousand_leaves_a_large_one() -> None:
    small = CallWindow(8)
    assert small.timed_out(small.epoch)
    assert small.size < 8

    large = CallWindow(2_000)
    for _ in range(8):
        round_trip(large)
    for _ in range(20):
        large.timed_out(large.epoch)
        large.timed_out(large.epoch)
        round_trip(large)
    assert large.size == 2_000


def test_unused_window_does_not_grow() -> None:
    window = CallWindow(1_000)
    for _ in range(200):
        window.succeeded(in_flight=3)
    assert window.size == INITIAL_SIZE


def test_after_an_outage_it_starts_slowly_to_half_of_what_it_was() -> None:
    window = CallWindow(1_000)
    for _ in range(10):
        round_trip(window)
    for _ in range(10):
        window.timed_out(window.epoch)
    window.restart()
    assert window.size == INITIAL_SIZE
    for _ in range(5):
        round_trip(window)
    assert window.size == pytest.approx(500, abs=15)


@given(
    ceiling=st.integers(1, 3_000),
    events=st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.integers(0, 3)), max_size=300),
)
def test_window_stays_within_its_bounds_and_an_old_epoch_never_shrinks_it(
    ceiling: int, events: list[tuple[str, int]]
) -> None:
    window = CallWindow(ceiling)
    for name, age in events:
        size, epoch = window.size, window.epoch
        EVENTS[name](window, epoch - age)
        assert 1 <= window.size <= ceiling
        assert window.epoch - epoch in {0, 1}
        if name in {"429", "timeout", "failure"} and age > 0:
            assert (window.size, window.epoch) == (size, epoch)
        if "success" in name:
            assert size <= window.size <= size + max(1, ceiling // 100) + 1
