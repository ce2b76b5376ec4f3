"""Hull, oracle and nAUC, held against slow and obvious ways to work them out."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.replay.recorded import RecordedSet
from cascade_batch.replay.score import (
    RowMargins,
    budget_range,
    hull,
    hull_mix,
    make_oracle,
    nauc,
    nauc_interval,
    oracle,
)

from .conftest import made_sets, make_set


def budgets_of(set_: RecordedSet, places: list[float]) -> np.ndarray:
    least = int(set_.cost_nanousd.min(axis=1).sum())
    most = int(set_.cost_nanousd.max(axis=1).sum())
    return np.array([least + round(place * (most - least)) for place in places], np.int64)


PLACES = st.lists(st.floats(0, 1.2), min_size=1, max_size=4)


def best_mix_of_two(set_: RecordedSet, budget: int) -> float:
    """Some mix of at most two tiers is always among the best."""
    cost, score = set_.total_nanousd().astype(float), set_.score.mean(axis=0)
    best = -1.0
    for a, b in combinations_with_replacement(range(len(cost)), 2):
        for share in {0.0, 1.0} | (
            {(budget - cost[a]) / (cost[b] - cost[a])} if cost[a] != cost[b] else set()
        ):
            if 0 <= share <= 1 and (1 - share) * cost[a] + share * cost[b] <= budget + 1e-6:
                best = max(best, (1 - share) * score[a] + share * score[b])
    return best


@given(made_sets(), PLACES)
def test_the_hull_is_the_best_mix_that_the_budget_buys(set_, places):
    least = int(set_.total_nanousd().min())
    budgets = np.maximum(budgets_of(set_, places), least)

    found = hull(set_, budgets)

    assert found == pytest.approx([best_mix_of_two(set_, int(b)) for b in budgets])


@given(made_sets(), PLACES)
def test_the_mix_of_the_hull_costs_no_more_than_the_budget(set_, places):
    budgets = np.maximum(budgets_of(set_, places), set_.total_nanousd().min())

    mix = hull_mix(set_, budgets)

    assert mix.sum(axis=1) == pytest.approx(1.0)
    assert (mix >= 0).all()
    assert (mix @ set_.total_nanousd() <= budgets * (1 + 1e-9)).all()


def test_a_dearer_and_worse_tier_takes_no_part_in_the_hull():
    set_ = make_set([[0, 1, 0.5]] * 4, [[1, 2, 9]] * 4)

    assert hull(set_, np.array([4, 6, 8, 36])) == pytest.approx([0, 0.5, 1, 1])


def dual_bound(set_: RecordedSet, budget: int) -> float:
    """The linear programme's optimum by its dual: the lowest over all prices of money."""
    cost, score = set_.cost_nanousd.astype(float), set_.score
    slopes = {0.0}
    for row in range(len(set_)):
        for a, b in product(range(cost.shape[1]), repeat=2):
            if cost[row, a] != cost[row, b]:
                slopes.add((score[row, a] - score[row, b]) / (cost[row, a] - cost[row, b]))
    values = [
        (score - price * cost).max(axis=1).sum() + price * budget for price in slopes if price >= 0
    ]
    # A budget that buys no more than the cheapest answers has a dual without bound on the price.
    steep = 2 * max(slopes) + 1
    return min([*values, (score - steep * cost).max(axis=1).sum() + steep * budget]) / len(set_)


@given(made_sets(), PLACES)
def test_the_oracle_is_the_optimum_of_its_linear_programme(set_, places):
    budgets = budgets_of(set_, places)

    assert oracle(set_, budgets) == pytest.approx([dual_bound(set_, int(b)) for b in budgets])


@given(made_sets(max_rows=4, max_tiers=3), PLACES)
def test_no_choice_of_whole_answers_beats_the_oracle(set_, places):
    budgets = budgets_of(set_, places)
    rows = np.arange(len(set_))
    best = np.zeros(len(budgets))
    for choice in product(range(len(set_.tiers)), repeat=len(set_)):
        affordable = set_.cost_nanousd[rows, choice].sum() <= budgets
        best = np.maximum(best, np.where(affordable, set_.score[rows, choice].mean(), 0))

    assert (oracle(set_, budgets) >= best - 1e-9).all()


@given(made_sets(max_rows=8), PLACES)
def test_oracle_over_hull_over_every_single_tier(set_, places):
    budgets = np.maximum(budgets_of(set_, places), set_.total_nanousd().min())
    below, above = hull(set_, budgets), oracle(set_, budgets)

    assert (above >= below - 1e-9).all()
    for tier, total in enumerate(set_.total_nanousd()):
        assert (below[budgets >= total] >= set_.score[:, tier].mean() - 1e-9).all()


@given(made_sets(max_rows=8), PLACES)
def test_row_scores_of_the_oracle_add_up_to_its_curve(set_, places):
    budgets = budgets_of(set_, places)
    found = make_oracle(set_)

    assert found.row_scores(budgets).sum() / len(set_) == pytest.approx(
        found.quality(budgets).sum()
    )


def test_budgets_go_from_all_rows_on_the_first_tier_to_all_on_the_last():
    set_ = make_set([[0, 1, 1]] * 10, [[1, 7, 3]] * 10)

    assert budget_range(set_, 5).tolist() == [10, 15, 20, 25, 30]


def test_nauc_is_zero_on_the_hull_and_one_at_the_oracle():
    low, high = np.array([0.5, 0.6, 0.8]), np.array([0.7, 0.9, 0.9])

    assert nauc(low, low, high) == 0
    assert nauc(high, low, high) == 1
    assert nauc((low + high) / 2, low, high) == pytest.approx(0.5)
    assert np.isnan(nauc(low, low, low))


def margins(share: float, n_rows: int, seeds: int) -> list[RowMargins]:
    """Runs that gain all that is possible on some of the rows, and nothing on the others."""
    right = np.arange(n_rows) < share * n_rows
    return [
        RowMargins(np.arange(n_rows), right.astype(float), np.ones(n_rows)) for _ in range(seeds)
    ]


def test_the_interval_holds_the_mean_and_narrows_with_the_rows():
    few = nauc_interval(margins(0.3, 40, seeds=4), 40)
    many = nauc_interval(margins(0.3, 4000, seeds=4), 4000)

    assert few[0] < many[0] < 0.3 < many[1] < few[1]
    assert few == nauc_interval(margins(0.3, 40, seeds=4), 40)


def test_the_interval_of_seeds_that_differ_is_wide_however_many_the_rows():
    low, high = nauc_interval(margins(0.2, 4000, seeds=3) + margins(0.6, 4000, seeds=3), 4000)

    assert low < 0.35
    assert high > 0.45
