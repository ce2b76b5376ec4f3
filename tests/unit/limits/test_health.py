from typing import Any

from cascade_batch.domain.answer import Answered, RefusalKind, Refused, Reply
from cascade_batch.providers.limits.breaker import FAILURES_TO_OPEN, BreakerState, TierBreaker
from cascade_batch.providers.limits.coordination import Grant
from cascade_batch.providers.limits.health import Health
from cascade_batch.providers.limits.waiting import Permit

ANSWER = Answered(Reply("up"))
DOWN = Refused(RefusalKind.SERVER, "502")


def permit(health: Health) -> Permit:
    return Permit(0, health.window.epoch, health.breaker.epoch, is_probe=False)


def test_word_from_before_the_server_came_back_is_not_believed(clock: Any) -> None:
    health = Health("small", clock)
    for _ in range(FAILURES_TO_OPEN):
        health.learn(permit(health), DOWN, 1)
    asked_at, changes = clock(), health.breaker.changes
    health.learn(permit(health), ANSWER, 1)
    outdated = TierBreaker(BreakerState.OPEN, open_for_s=60.0, step=6)
    health.hear(Grant(breaker=outdated), 0.0, asked_at, changes)
    assert not health.is_stopped
    health.hear(Grant(breaker=outdated), 0.0, clock(), health.breaker.changes)
    assert health.open_for_s == 60.0


def test_pause_counts_as_told_once_the_others_were_told_all_of_it(clock: Any) -> None:
    health = Health("small", clock)
    health.learn(permit(health), Refused(RefusalKind.RATE_LIMIT, "no", retry_after_s=5.0), 1)
    told_s, told_at = health.untold_pause_s, clock()
    health.learn(permit(health), Refused(RefusalKind.RATE_LIMIT, "no", retry_after_s=9.0), 1)
    health.hear(Grant(), told_s, told_at, health.breaker.changes)
    assert health.untold_pause_s == 9.0
    health.hear(Grant(), 9.0, clock(), health.breaker.changes)
    assert health.untold_pause_s == 0.0
    assert health.paused_for_s == 9.0
