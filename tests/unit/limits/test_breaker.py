from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.providers.limits.breaker import (
    FAILURES_TO_OPEN,
    OPEN_BASE_S,
    OPEN_CAP_S,
    Breaker,
    BreakerReport,
    BreakerState,
    TierBreaker,
    open_for_s,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(breaker.epoch, now)
    assert breaker.state is OPEN
    return breaker


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(5):
        for _ in range(FAILURES_TO_OPEN - 1):
            assert not breaker.failed(breaker.epoch, 0.0)
        breaker.succeeded()
    assert breaker.state is CLOSED


def test_alone_it_half_opens_after_a_time_and_closes_on_success() -> None:
    breaker = opened()
    breaker.agree(None, OPEN_BASE_S - 0.01)
    assert breaker.state is OPEN
    breaker.agree(None, OPEN_BASE_S)
    assert breaker.state is HALF_OPEN
    breaker.succeeded()
    assert breaker.state is CLOSED


def test_failed_probes_double_the_time_open() -> None:
    breaker, now = opened(), 0.0
    times = []
    for _ in range(8):
        times.append(breaker.open_until - now)
        now = breaker.open_until
        breaker.agree(None, now)
        assert breaker.failed(breaker.epoch, now)
    assert times == [2, 4, 8, 16, 32, 60, 60, 60]
    assert open_for_s(1_000) == OPEN_CAP_S


def test_stragglers_of_before_do_not_count_against_the_probes() -> None:
    breaker = Breaker()
    before = breaker.epoch
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(before, 0.0)
    breaker.agree(None, OPEN_BASE_S)
    assert not breaker.failed(before, OPEN_BASE_S)
    assert breaker.state is HALF_OPEN


def test_success_of_a_straggler_closes() -> None:
    breaker = opened()
    breaker.succeeded()
    assert breaker.state is CLOSED


def test_it_opens_and_closes_with_the_others() -> None:
    breaker = Breaker()
    assert breaker.agree(TierBreaker(OPEN, open_for_s=4.0, step=2), 100.0)
    assert (breaker.state, breaker.open_until) == (OPEN, 104.0)
    breaker.agree(TierBreaker(HALF_OPEN, step=2), 104.0)
    assert breaker.state is OPEN, "another worker is the one to probe"
    breaker.agree(TierBreaker(CLOSED), 105.0)
    assert breaker.state is CLOSED


def test_the_chosen_one_probes() -> None:
    breaker = Breaker()
    breaker.agree(TierBreaker(OPEN, open_for_s=4.0, step=2), 100.0)
    breaker.agree(TierBreaker(HALF_OPEN, step=2, may_probe=True), 104.0)
    assert breaker.state is HALF_OPEN
    breaker.failed(breaker.epoch, 105.0)
    assert breaker.open_until == 105.0 + open_for_s(3)
    assert breaker.take_report() == BreakerReport(failures=1, probe_failed=True)


def test_cut_off_while_others_succeed_it_opens_by_itself_and_probes_by_itself() -> None:
    breaker = opened()
    breaker.agree(TierBreaker(CLOSED), 1.0)
    assert breaker.state is OPEN
    breaker.agree(TierBreaker(CLOSED), OPEN_BASE_S)
    assert breaker.state is HALF_OPEN


def test_report_is_told_once_and_kept_when_nobody_hears() -> None:
    breaker = Breaker()
    breaker.succeeded()
    breaker.failed(breaker.epoch, 0.0)
    report = breaker.take_report()
    assert report == BreakerReport(succeeded=True, failures=1)
    assert breaker.take_report() == BreakerReport()
    breaker.put_back(report)
    breaker.failed(breaker.epoch, 0.0)
    assert breaker.take_report() == BreakerReport(succeeded=True, failures=2)
    breaker.put_back(BreakerReport(succeeded=False, failures=7))
    breaker.succeeded()
    assert breaker.take_report() == BreakerReport(succeeded=True, failures=0)


@given(st.lists(st.sampled_from(["success", "failure", "time", "old failure"]), max_size=100))
def test_it_lets_calls_pass_again_within_its_longest_time(events: list[str]) -> None:
    breaker, now = Breaker(), 0.0
    for event in events:
        if event == "success":
            breaker.succeeded()
        elif event == "failure":
            breaker.failed(breaker.epoch, now)
        elif event == "old failure":
            breaker.failed(breaker.epoch - 1, now)
        else:
            now += 3.0
            breaker.agree(None, now)
    breaker.agree(None, now + OPEN_CAP_S)
    assert breaker.state is not OPEN
