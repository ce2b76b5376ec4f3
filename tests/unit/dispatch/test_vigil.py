"""When a worker has waited for its broker long enough."""

from __future__ import annotations

from cascade_batch.dispatch.watchdog import STALL_S, Vigil

AWAY_S, SILENT_S = 100.0, 30.0


class Clock:
    """Looks every five seconds, unless told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.vigil = Vigil(broker_away_s=AWAY_S, consumer_silent_s=SILENT_S, now=self.now)

    def look(
        self, *, answers: bool = True, consumes: bool = True, after_s: float = 5.0
    ) -> str | None:
        self.now += after_s
        return self.vigil.look(
            self.now,
            fault=None if answers else "connection refused",
            heard_at=self.now - 1 if consumes else 0.0,
        )

    def looks_until_the_end(self, *, answers: bool, consumes: bool) -> tuple[float, str]:
        begun = self.now
        for _ in range(1000):
            reason = self.look(answers=answers, consumes=consumes)
            if reason is not None:
                return self.now - begun, reason
        raise AssertionError("it waits for ever")


def test_a_worker_that_consumes_is_never_ended():
    clock = Clock()
    assert not any(clock.look() for _ in range(1000))


def test_a_consumer_that_does_not_come_back_to_a_broker_that_answers():
    waited_s, reason = Clock().looks_until_the_end(answers=True, consumes=False)
    assert waited_s == SILENT_S
    assert "not asked it for messages for 30 s" in reason


def test_a_broker_that_stays_away_and_why():
    waited_s, reason = Clock().looks_until_the_end(answers=False, consumes=False)
    assert waited_s == AWAY_S
    assert "not answered for 100 s (connection refused)" in reason


def test_a_consumer_has_all_its_time_after_the_broker_is_back():
    clock = Clock()
    for _ in range(19):
        assert clock.look(answers=False, consumes=False) is None
    waited_s, _ = clock.looks_until_the_end(answers=True, consumes=False)
    assert waited_s == SILENT_S


def test_short_silences_do_not_add_up():
    clock = Clock()
    for _ in range(50):
        for _ in range(5):
            assert clock.look(consumes=False) is None
        assert clock.look() is None
        for _ in range(19):
            assert clock.look(answers=False) is None


def test_a_process_that_was_suspended_starts_to_count_when_it_goes_on():
    clock = Clock()
    assert clock.look(consumes=False) is None
    assert clock.look(consumes=False, after_s=STALL_S * 100) is None
    waited_s, _ = clock.looks_until_the_end(answers=True, consumes=False)
    assert waited_s == SILENT_S - 5
