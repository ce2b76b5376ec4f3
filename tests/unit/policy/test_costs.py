"""Expected costs: learned from what was paid, bounded by the worst case."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.policy import estimate_costs

WORST = np.array([[100, 1_000, 10_000], [200, 2_000, 20_000]], dtype=np.int64)


def costs(answers, cost_sum, worst_sum, worst=WORST):
    arrays = (np.array(a, dtype=np.int64) for a in (answers, cost_sum, worst_sum))
    return estimate_costs(worst, *arrays)


def test_before_the_first_answer_less_than_the_worst_case_is_expected():
    expected = costs([0, 0, 0], [0, 0, 0], [0, 0, 0])
    assert (expected < WORST).all()
    assert (expected > 0).all()


def test_a_tier_that_was_seen_costs_what_it_has_cost():
    expected = costs([10_000, 0, 0], [100_000, 0, 0], [1_000_000, 0, 0])
    assert expected[:, 0].tolist() == [11, 21]


def test_a_tier_not_seen_borrows_from_the_nearest_that_was():
    expected = costs([10_000, 10_000, 0], [100_000, 5_000_000, 0], [1_000_000, 10_000_000, 0])
    assert expected[:, 2].tolist() == [5_000, 10_000]


def test_free_tiers_cost_nothing():
    expected = costs([5, 0, 0], [0, 0, 0], [0, 0, 0], np.zeros((2, 3), dtype=np.int64))
    assert (expected == 0).all()


@given(
    st.lists(st.integers(0, 2**40), min_size=3, max_size=3),
    st.lists(st.integers(0, 2**62), min_size=3, max_size=3),
    st.lists(st.integers(0, 2**62), min_size=3, max_size=3),
    st.lists(st.integers(0, 2**63 - 1), min_size=3, max_size=3),
)
def test_expected_costs_are_never_negative_nor_above_the_worst_case(
    answers, cost, worst_sum, worst
):
    worst = np.array([worst], dtype=np.int64)
    expected = costs(answers, cost, worst_sum, worst)
    assert (expected >= 0).all()
    assert (expected <= worst).all()
    assert ((expected > 0) | (worst == 0)).all()
