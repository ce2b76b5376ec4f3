"""A job on recorded outcomes: what is admitted, what is shown, and what becomes of a planner at fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.policy.view import UNKNOWN, Action, Labels
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.score import budget_range
from cascade_batch.replay.simulate import (
    FaultyPlanError,
    Reserve,
    admit,
    least_budget,
    simulate,
)

from .conftest import OneTier, RandomBuyer, dearest_held, made_sets, make_set, wave_of

CHECK = parse_regime("check")
REGIMES = st.sampled_from(["check", "check:0.7", "learn", "gold:40%", "agreement"]).map(
    parse_regime
)


@given(
    made_sets(max_rows=12),
    REGIMES,
    st.sampled_from(Reserve),
    st.integers(0, 400),
    st.integers(0, 2**32),
)
def test_no_job_overspends_and_every_row_is_answered(set_, regime, reserve, more, seed):
    budget = least_budget(set_, reserve) + more

    outcome = simulate(set_, budget, regime, RandomBuyer(seed, reserve), seed, reserve)

    rows = np.arange(len(set_))
    assert outcome.spent_nanousd <= budget
    assert not outcome.overspent
    assert outcome.unanswered == 0
    assert outcome.quality == pytest.approx(set_.score[rows, outcome.tier_no].mean())


@given(made_sets(max_rows=12), REGIMES, st.sampled_from(Reserve), st.integers(0, 2**32))
def test_nothing_is_shown_of_an_answer_that_was_not_bought(set_, regime, reserve, seed):
    buyer = RandomBuyer(seed, reserve)
    simulate(set_, least_budget(set_, reserve) + 100, regime, buyer, seed, reserve)

    for view in buyer.views:
        hidden = ~view.held
        assert (view.verdict[hidden] == UNKNOWN).all()
        assert (view.gold[hidden] == UNKNOWN).all()
        assert not view.fits[hidden].any()
        assert np.isnan(view.confidence[hidden]).all()
        assert np.isnan(view.length[hidden]).all()
        assert (view.value_key[hidden] == 0).all()
        assert (view.cost_nanousd[hidden] == 0).all()
        assert (view.worst_nanousd == set_.worst_nanousd).all()


@given(made_sets(max_rows=12), st.integers(0, 2**32))
def test_views_of_sets_that_differ_only_in_what_was_not_bought_are_the_same(set_, seed):
    buyer = RandomBuyer(seed)
    budget = int(set_.cost_nanousd.sum())
    simulate(set_, budget, parse_regime("learn"), buyer, seed)
    held = buyer.views[1].held
    rng = np.random.default_rng(seed)
    other = replace(
        set_,
        score=np.where(held, set_.score, rng.random(held.shape)),
        confidence=np.where(held, set_.confidence, np.float32(-7)),
        length=np.where(held, set_.length, np.float32(7)),
        value_key=np.where(held, set_.value_key, 7),
    )
    second = RandomBuyer(seed)
    simulate(other, budget, parse_regime("learn"), second, seed)

    for name in ("held", "gold", "verdict", "confidence", "length", "value_key", "cost_nanousd"):
        np.testing.assert_array_equal(getattr(buyer.views[1], name), getattr(second.views[1], name))


@given(made_sets(max_rows=12), st.integers(0, 400), st.integers(0, 2**32))
def test_what_is_free_and_fenced_is_what_is_left(set_, more, seed):
    budget = least_budget(set_, Reserve.RECORDED) + more
    buyer = RandomBuyer(seed)
    simulate(set_, budget, CHECK, buyer, seed)

    for view in buyer.views:
        unanswered = ~view.held.any(axis=1)
        fence = int(set_.cost_nanousd[unanswered, 0].sum())
        spent = int(set_.cost_nanousd[view.held].sum())
        assert view.free_nanousd == budget - spent - fence >= 0
        assert fence - len(set_) <= view.fence_nanousd.sum() <= fence
        assert (view.fence_nanousd[~unanswered] == 0).all()


def test_at_the_lowest_budget_every_row_is_on_the_first_tier():
    set_ = make_set([[0, 1]] * 30, [[1, 4]] * 30)

    outcome = simulate(set_, 30, CHECK, OneTier(1), seed=0)

    assert outcome.calls.tolist() == [30, 0]
    assert outcome.spent_nanousd == 30


def test_a_dear_tier_is_bought_as_long_as_the_others_stay_affordable():
    set_ = make_set([[0, 1]] * 30, [[1, 4]] * 30)

    outcome = simulate(set_, 61, CHECK, OneTier(1), seed=0)

    assert outcome.calls.tolist() == [20, 10]
    assert outcome.quality == pytest.approx(1 / 3)


def test_worst_cases_are_kept_back_as_in_a_job():
    set_ = make_set([[0, 1]] * 10, [[1, 4]] * 10)
    budget = least_budget(set_, Reserve.WORST)

    outcome = simulate(set_, budget, CHECK, OneTier(1), seed=0, reserve=Reserve.WORST)

    # 30 are fenced; a dear call sets aside 12 for a fence of 3 and costs 4.
    assert budget == 30
    assert outcome.calls[1] < 10
    assert outcome.unanswered == 0
    with pytest.raises(ValueError, match="does not carry"):
        simulate(set_, budget - 1, CHECK, OneTier(1), seed=0, reserve=Reserve.WORST)


@given(
    st.lists(st.tuples(st.integers(-9, 30), st.integers(0, 15)), max_size=30), st.integers(0, 60)
)
def test_calls_are_admitted_one_by_one_in_order(calls, left):
    settled = np.array([s for s, _ in calls], np.int64)
    reserved = settled + np.array([more for _, more in calls], np.int64)
    expected, rest = [], left
    for needed, taken in zip(reserved, settled, strict=True):
        expected.append(needed <= rest)
        rest -= taken if needed <= rest else 0

    admitted, after = admit(reserved, settled, left)

    assert admitted.tolist() == expected
    assert after == rest


class Views:
    """Buys everything, one tier after the other, and keeps the last view."""

    def plan(self, view, wave):
        self.last = view
        return wave_of(np.arange(view.shape[0]) if wave <= view.shape[1] else [], wave - 1)

    def choose(self, view):
        return dearest_held(view)


def all_shown(set_, regime, seed=0):
    views = Views()
    simulate(set_, int(set_.cost_nanousd.sum()), parse_regime(regime), views, seed)
    return views.last


@pytest.fixture
def half_right():
    rng = np.random.default_rng(0)
    return make_set(rng.integers(2, size=(2000, 2)), [[1, 2]] * 2000)


def test_a_perfect_check_says_what_is_right(half_right):
    view = all_shown(half_right, "check")

    assert view.labels == Labels.CHECK
    assert (view.verdict == half_right.score).all()
    assert (view.gold == UNKNOWN).all()
    assert not view.has_gold.any()


def test_a_check_that_errs_does_so_as_often_as_told_and_alike_for_every_budget(half_right):
    view = all_shown(half_right, "check:0.9:0.6")
    right = half_right.score == 1

    assert (view.verdict[right] == 1).mean() == pytest.approx(0.9, abs=0.03)
    assert (view.verdict[~right] == 0).mean() == pytest.approx(0.6, abs=0.03)
    assert (view.verdict == all_shown(half_right, "check:0.9:0.6").verdict).all()
    assert (view.verdict != all_shown(half_right, "check:0.9:0.6", seed=1).verdict).any()


def test_learning_gets_gold_and_no_verdict(half_right):
    view = all_shown(half_right, "learn")

    assert view.labels == Labels.GOLD
    assert (view.gold == half_right.score).all()
    assert view.has_gold.all()
    assert (view.verdict == UNKNOWN).all()


def test_gold_is_known_on_the_share_of_rows_and_no_other(half_right):
    view = all_shown(half_right, "gold:10%")

    assert view.has_gold.sum() == 200
    assert (view.gold[view.has_gold] == half_right.score[view.has_gold]).all()
    assert (view.gold[~view.has_gold] == UNKNOWN).all()


def test_agreement_says_nothing(half_right):
    view = all_shown(half_right, "agreement")

    assert view.labels == Labels.AGREEMENT
    assert (view.gold == UNKNOWN).all()
    assert (view.verdict == UNKNOWN).all()
    assert not view.has_gold.any()


class Faulty(OneTier):
    def __init__(self, wave=None, choice=None):
        super().__init__(0)
        self.wave, self.choice = wave, choice

    def plan(self, view, wave):
        return super().plan(view, wave) if self.wave is None else self.wave

    def choose(self, view):
        return super().choose(view) if self.choice is None else np.array(self.choice, np.int16)


JUDGE = replace(wave_of([0], 0), action=np.array([Action.JUDGE], np.int8))


@pytest.mark.parametrize(
    ("planner", "said"),
    [
        (Faulty(wave=wave_of([0, 0], [0, 1])), "twice"),
        (Faulty(wave=JUDGE), "one answer"),
        (Faulty(wave=wave_of([0], 0)), "is held"),
        (Faulty(choice=[0, 1]), "not held"),
        (Faulty(choice=[0, -1]), "no answer for a row"),
    ],
)
def test_a_planner_at_fault_is_told_so(planner, said):
    with pytest.raises(FaultyPlanError, match=said):
        simulate(make_set([[0, 1]] * 2, [[1, 2]] * 2), 4, CHECK, planner, seed=0)


def test_rows_that_a_planner_leaves_out_are_counted():
    class Idle(OneTier):
        def plan(self, view, wave):
            return wave_of([0] if wave == 1 else [], 0)

    outcome = simulate(make_set([[1, 1]] * 4, [[1, 2]] * 4), 8, CHECK, Idle(0), seed=0)

    assert outcome.unanswered == 3
    assert outcome.quality == 0.25


@given(made_sets(max_rows=12), st.integers(2, 6))
def test_every_budget_of_a_curve_is_one_that_a_job_may_have(set_, n_budgets):
    assert budget_range(set_, n_budgets).min() == least_budget(set_, Reserve.RECORDED)
