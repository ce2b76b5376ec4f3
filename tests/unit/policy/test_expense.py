"""What asking is expected to cost: never more than the worst case, and on the whole what it does cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_batch.policy.expense import expected_costs
from cascade_batch.replay.recorded import RecordedSet

from .conftest import make_job, view_of


def held_first(job: RecordedSet, *counts: int) -> np.ndarray:
    """Each tier has answered so many of the first rows."""
    return np.arange(len(job))[:, None] < np.array(counts)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(0, 999),
    st.floats(1, 100),
    st.floats(0, 1),
    st.sampled_from([None, 0.0, 1e9]),
)
def test_a_cost_is_positive_and_at_most_the_worst_case(
    prices, n_rows, seed, worst_ratio, share, input_size
):
    job = make_job(
        n_rows,
        [0.0] * len(prices),
        prices,
        seed=seed,
        talk=1.0,
        worst_ratio=worst_ratio,
        ease_of_stratum=[0, 0, 0],
    )
    if input_size is not None:
        job = replace(job, input_size=np.full_like(job.input_size, input_size))
    held = np.random.default_rng(seed).random(job.score.shape) < share

    cost = expected_costs(view_of(job, held))

    assert (cost <= job.worst_nanousd).all()
    assert (cost[job.worst_nanousd > 0] > 0).all()
    assert (cost[job.worst_nanousd == 0] == 0).all()


def test_a_call_that_once_cost_more_than_its_worst_case_breaks_nothing():
    job = make_job(60)
    cost = job.cost_nanousd.copy()
    cost[0] = 10**15
    view = view_of(replace(job, cost_nanousd=cost), held_first(job, 20, 20, 20))

    assert (expected_costs(view) <= job.worst_nanousd).all()


def test_before_any_answer_a_long_prompt_is_expected_to_cost_more_and_a_dear_tier_too():
    job = make_job(100)
    view = view_of(job, held=False)
    short, long = np.argsort(job.input_size)[[0, -1]]

    cost = expected_costs(view)

    assert (cost[long] > cost[short]).all()
    assert (cost[:, 0] < cost[:, 1]).all()
    assert (cost[:, 1] < cost[:, 2]).all()


@pytest.mark.parametrize("worst_ratio", [1.5, 30.0])
def test_the_total_of_what_was_not_asked_is_met(worst_ratio):
    job = make_job(800, worst_ratio=worst_ratio)

    cost = expected_costs(view_of(job, held_first(job, 150, 100, 60)))

    np.testing.assert_allclose(
        cost[150:].sum(axis=0), job.cost_nanousd[150:].sum(axis=0), rtol=0.08
    )


def test_how_far_costs_lie_below_worst_cases_is_learnt_for_tiers_that_have_not_answered():
    job = make_job(400, worst_ratio=30.0)

    cost = expected_costs(view_of(job, held_first(job, 150, 0, 0)))

    ratio = cost.mean(axis=0) / job.cost_nanousd.mean(axis=0)
    assert ((ratio > 0.5) & (ratio < 2.0)).all()


def test_groups_that_make_models_talk_are_learnt():
    job = make_job(1200, seed=1, ease_of_stratum=[0, 0], expense_of_stratum=[1.0, 4.0])

    cost = expected_costs(view_of(job, held_first(job, 200, 150, 100)))

    for stratum in (0, 1):
        rows = np.flatnonzero(job.stratum == stratum)[200:]
        np.testing.assert_allclose(
            cost[rows].mean(axis=0), job.cost_nanousd[rows].mean(axis=0), rtol=0.25
        )


def test_what_a_row_cost_on_one_tier_tells_what_it_will_cost_on_another():
    job = make_job(900, [0.0, 0.0], [100, 1000], seed=2, talk=0.7, worst_ratio=2.0)

    cost = expected_costs(view_of(job, held_first(job, 900, 300)))[300:, 1]

    paid, costs = job.cost_nanousd[300:, 0], job.cost_nanousd[300:, 1]
    dear = paid > np.median(paid)
    assert cost[dear].mean() > 1.7 * cost[~dear].mean()
    for rows in (dear, ~dear):
        assert cost[rows].mean() == pytest.approx(costs[rows].mean(), rel=0.2)


def test_where_rows_cost_the_same_everywhere_a_first_bill_says_nothing():
    job = make_job(900, [0.0, 0.0], [100, 1000], seed=3)

    cost = expected_costs(view_of(job, held_first(job, 900, 300)))[300:, 1]

    assert cost.std() < 0.15 * cost.mean()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 1000))
def test_the_unit_of_money_does_not_matter(factor):
    job = make_job(80, seed=4, prices=(1_000, 4_000, 16_000))
    dearer = replace(
        job, cost_nanousd=job.cost_nanousd * factor, worst_nanousd=job.worst_nanousd * factor
    )
    held = held_first(job, 40, 20, 5)

    one, other = (expected_costs(view_of(each, held)) for each in (job, dearer))

    np.testing.assert_allclose(one * factor, other, rtol=1e-3)
