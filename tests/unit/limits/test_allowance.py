from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.providers.limits.allowance import Allowance


def test_units_expire() -> None:
    allowance = Allowance()
    allowance.add(5, expires_at=10.0)
    allowance.add(3, expires_at=11.0)
    assert allowance.has(8, now=9.9)
    assert not allowance.has(4, now=10.0)
    assert allowance.has(3, now=10.0)
    assert not allowance.has(1, now=11.0)


def test_oldest_units_are_used_first() -> None:
    allowance = Allowance()
    allowance.add(5, expires_at=10.0)
    allowance.add(5, expires_at=20.0)
    allowance.take(6)
    assert allowance.has(4, now=15.0)


def test_debt_is_paid_before_anything_else() -> None:
    allowance = Allowance()
    allowance.add(10, expires_at=10.0)
    allowance.take(25)
    assert allowance.held == -15
    allowance.add(10, expires_at=20.0)
    assert not allowance.has(0, now=1.0)
    allowance.add(10, expires_at=30.0)
    assert allowance.has(5, now=25.0)
    assert not allowance.has(1, now=30.0)


def test_surrender_gives_back_the_surplus_and_what_is_about_to_expire() -> None:
    allowance = Allowance()
    allowance.add(4, expires_at=1.0)
    allowance.add(10, expires_at=2.0)
    assert allowance.surrender(keep=6, before=1.5) == 8
    assert allowance.held == 6


def test_restored_units_do_not_outlive_a_grant_that_was_asked_for_earlier() -> None:
    allowance = Allowance()
    allowance.restore(5, expires_at=10.5)
    allowance.add(5, expires_at=10.0)
    assert allowance.has(10, now=9.9)
    assert not allowance.has(1, now=10.0)


STEPS = st.tuples(
    st.sampled_from(["add", "take", "overdraw", "restore", "surrender"]),
    st.integers(0, 50),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
)


@given(st.lists(STEPS, max_size=60))
def test_units_are_never_made_up(steps: list[tuple[str, int, float]]) -> None:
    """What was spent and given back never exceeds what was added and restored."""
    allowance, now, came, went = Allowance(), 0.0, 0, 0
    for action, units, pause in steps:
        now += pause
        if action == "add":
            allowance.add(units, now + 1.0)
            came += units
        elif action == "restore":
            allowance.restore(units, now + 1.0)
            came += units
        elif action == "surrender":
            allowance.has(0, now)
            keep_at_least = min(allowance.held, units)
            back = allowance.surrender(units, now)
            assert back >= 0
            assert allowance.held == keep_at_least
            went += back
        elif action == "overdraw" or allowance.has(units, now):
            allowance.take(units)
            went += units
        # What expired is gone, a debt is owed.
        assert allowance.held <= came - went
