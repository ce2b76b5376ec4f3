"""Where rows start, and the tier that the ring fence is sized by."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cascade_batch.policy import fence_tier, start_tiers

LADDER = np.array([[1, 5, 40]] * 4, dtype=np.int64)
amounts = hnp.arrays(
    np.int64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.integers(0, 2**62),
)


def test_the_fence_is_sized_by_each_rows_lowest_worst_case():
    worst = np.array([[1, 5, 40], [6, 5, 40], [7, 7, 7]], dtype=np.int64)
    assert fence_tier(worst).tolist() == [0, 1, 0]


def test_all_but_dearest_start_on_the_cheapest_tier():
    for policy in ("auto", "cheapest", "confidence", "random"):
        assert start_tiers(policy, LADDER, 1_000, 0).tolist() == [0, 0, 0, 0]


def test_dearest_starts_as_many_rows_dear_as_leave_the_others_affordable():
    assert start_tiers("dearest", LADDER, 160, 0).tolist() == [2, 2, 2, 2]
    assert start_tiers("dearest", LADDER, 82, 0).tolist() == [2, 2, 0, 0]
    assert start_tiers("dearest", LADDER, 81, 0).tolist() == [2, 0, 0, 0]
    assert start_tiers("dearest", LADDER, 4, 0).tolist() == [0, 0, 0, 0]


def test_a_first_tier_that_is_dear_on_some_rows_gives_way_where_money_is_short():
    worst = np.array([[9, 5, 40], [1, 5, 40]], dtype=np.int64)
    assert start_tiers("auto", worst, 10, 0).tolist() == [0, 0]
    assert start_tiers("auto", worst, 9, 0).tolist() == [1, 0]


@given(st.sampled_from(["auto", "dearest"]), amounts, st.integers(0, 2**63 - 1))
def test_a_budget_that_carries_the_fence_carries_the_start(policy, worst, budget_nanousd):
    start = start_tiers(policy, worst, budget_nanousd, 0)
    fence = fence_tier(worst)

    def total(tiers):
        return sum(int(row[tier]) for row, tier in zip(worst, tiers, strict=True))

    if total(fence) <= budget_nanousd:
        assert total(start) <= budget_nanousd
    else:
        assert start.tolist() == fence.tolist()
