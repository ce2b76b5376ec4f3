"""Waves: what is bought, in which order, and that buying comes to an end with the money used."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_batch.policy import JobView, choose_answers, plan_wave
from cascade_batch.policy.planner import SETTLED_QUALITY

NAN = np.nan
POLICIES = ["auto", "cheapest", "dearest", "random", "confidence"]


def job(
    quality, *, worst=(1, 10, 100), expected=None, tier_quality=(0.6, 0.8, 0.9), free=10**6, **more
):
    quality = np.array(quality, dtype=float)
    shape = quality.shape
    worst = np.broadcast_to(np.array(worst, dtype=np.int64)[..., : shape[1]], shape)
    expected = (
        worst if expected is None else np.broadcast_to(np.array(expected, dtype=np.int64), shape)
    )
    return JobView(
        quality=quality,
        asked=more.get("asked", ~np.isnan(quality)),
        worst_nanousd=worst,
        expected_nanousd=expected,
        tier_quality=np.array(tier_quality, dtype=float)[..., : shape[1]],
        free_nanousd=free,
        fenced_nanousd=more.get("fenced", 0),
    )


def bought(view, policy="auto", *, seed=0, wave=0):
    wave = plan_wave(view, policy, seed=seed, wave=wave)
    return list(zip(wave.row_no.tolist(), wave.tier_no.tolist(), strict=True))


def test_the_row_most_likely_wrong_per_dollar_comes_first():
    view = job([[0.5, NAN, NAN], [0.1, NAN, NAN], [0.7, NAN, NAN]])
    assert bought(view) == [(1, 1), (0, 1), (2, 1)]


def test_a_cheaper_row_comes_before_a_dearer_one_that_is_as_likely_wrong():
    view = job([[0.5, NAN], [0.5, NAN]], worst=[[1, 20], [1, 10]])
    assert bought(view) == [(1, 1), (0, 1)]


def test_gain_is_what_the_answer_is_expected_to_add():
    wave = plan_wave(job([[0.5, NAN, NAN]]), "auto", seed=0, wave=0)
    assert wave.gain.tolist() == pytest.approx([0.3])


def test_a_tier_expected_to_be_no_better_is_passed_over():
    view = job([[0.5, NAN, NAN], [0.85, NAN, NAN], [0.99, NAN, NAN]], tier_quality=(0.6, 0.5, 0.9))
    assert bought(view) == [(0, 2), (1, 2)]


def test_doubtful_answers_get_another_opinion_with_money_that_nothing_better_wants():
    view = job([[0.95, NAN, NAN], [0.5, NAN, NAN], [0.99, NAN, NAN]], tier_quality=(0.6, 0.5, 0.9))
    assert bought(view) == [(1, 2), (0, 1)]


def test_expected_quality_may_be_given_row_by_row():
    view = job([[0.5, NAN], [0.5, NAN]], tier_quality=[[0.6, 0.4], [0.6, 0.7]])
    assert bought(view) == [(1, 1), (0, 1)]


def test_rows_without_an_answer_come_before_any_escalation_on_their_cheapest_open_tier():
    asked = np.array([[True, False, False], [True, False, False], [False, False, False]])
    view = job([[0.1, NAN, NAN], [NAN, NAN, NAN], [NAN, NAN, NAN]], asked=asked)
    assert bought(view) == [(1, 1), (2, 0), (0, 1)]


def test_the_fence_serves_rows_without_an_answer_and_nothing_else():
    asked = np.array([[True, False], [True, False]])
    view = job([[0.1, NAN], [NAN, NAN]], asked=asked, free=0, fenced=10)
    assert bought(view) == [(1, 1)]


def test_a_row_that_every_tier_has_refused_is_left_alone():
    view = job([[NAN, NAN]], asked=np.array([[True, True]]))
    assert bought(view) == []


def test_a_wave_is_as_long_as_expected_costs_fill_the_free_money():
    view = job([[0.5, NAN]] * 100, worst=(1, 50), expected=(1, 10), free=205)
    assert len(bought(view)) == 20


def test_what_cannot_be_afforded_at_worst_case_is_not_planned():
    view = job([[0.1, NAN], [0.5, NAN]], worst=[[1, 60], [1, 40]], expected=(1, 1), free=50)
    assert bought(view) == [(1, 1)]


def test_an_estimate_above_the_free_money_does_not_end_a_job():
    view = job([[0.1, NAN]], worst=(1, 50), expected=(1, 70), free=50)
    assert bought(view) == [(0, 1)]


def test_nothing_is_escalated_once_overspent():
    assert bought(job([[0.1, NAN, NAN]], worst=(0, 0, 0), free=-1)) == []


def test_cheapest_never_escalates():
    assert bought(job([[0.1, NAN], [NAN, NAN]]), "cheapest") == [(1, 0)]


def test_dearest_buys_the_dearest_tier_in_row_order_while_money_lasts():
    view = job([[0.9, NAN, NAN], [0.1, 0.2, NAN], [0.1, NAN, 0.9], [0.1, NAN, NAN]], free=250)
    assert bought(view, "dearest") == [(0, 2), (1, 2)]


def test_random_looks_at_no_answer_and_draws_anew_in_each_wave():
    sure = job([[0.99, NAN]] * 50)
    unsure = job([[0.01, NAN]] * 50)
    assert bought(sure, "random") == bought(unsure, "random")
    assert sorted(bought(sure, "random")) == [(row, 1) for row in range(50)]
    assert bought(sure, "random", wave=1) != bought(sure, "random", wave=2)
    assert bought(sure, "random", seed=1) != bought(sure, "random", seed=2)


def test_sums_beyond_an_int64_are_cut_where_the_money_ends():
    dear = 2**61
    view = job([[0.5, NAN]] * 20, worst=(0, dear), free=2**63 - 1)
    assert len(bought(view)) == 3


def test_the_best_answer_held_is_chosen_and_the_dearer_of_equals():
    quality = np.array([[0.9, 0.5, NAN], [0.5, 0.5, NAN], [NAN, NAN, NAN], [NAN, NAN, 0.001]])
    assert choose_answers(quality).tolist() == [0, 1, -1, 2]


def test_an_empty_job_has_nothing_to_buy():
    for policy in POLICIES:
        assert bought(job(np.empty((0, 3))), policy) == []


@dataclass
class Market:
    """A job being bought: settles each wave at actual costs, admits by worst case, in order."""

    worst: np.ndarray
    cost: np.ndarray
    quality: np.ndarray
    refused: np.ndarray
    budget: int
    held: np.ndarray = field(init=False)
    asked: np.ndarray = field(init=False)
    spent: int = 0

    def __post_init__(self):
        self.held = np.full(self.quality.shape, NAN)
        self.asked = np.zeros(self.quality.shape, bool)

    def view(self):
        open_rows = np.isnan(self.held).all(axis=1) & ~self.asked.all(axis=1)
        next_worst = np.where(self.asked, np.iinfo(np.int64).max, self.worst).min(axis=1)
        fence = min(int(next_worst[open_rows].sum()), self.budget - self.spent)
        return JobView(
            quality=self.held.copy(),
            asked=self.asked.copy(),
            worst_nanousd=self.worst,
            expected_nanousd=(self.worst + 1) // 2,
            tier_quality=np.linspace(0.5, 0.9, self.worst.shape[1]),
            free_nanousd=self.budget - self.spent - fence,
            fenced_nanousd=fence,
        )

    def settle(self, wave):
        left = self.budget - self.spent
        n_bought = 0
        for row, tier in zip(wave.row_no, wave.tier_no, strict=True):
            worst = int(self.worst[row, tier])
            if worst > left:
                continue
            left -= worst
            n_bought += 1
            assert not self.asked[row, tier], "asked twice"
            self.asked[row, tier] = True
            if not self.refused[row, tier]:
                self.held[row, tier] = self.quality[row, tier]
                self.spent += int(self.cost[row, tier])
        return n_bought


@st.composite
def markets(draw):
    n_rows, n_tiers = draw(st.integers(1, 25)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    worst = rng.integers(0, 50, (n_rows, n_tiers)) * 4 ** np.arange(n_tiers)
    cost = (worst * rng.random((n_rows, n_tiers))).astype(np.int64)
    return Market(
        worst=worst.astype(np.int64),
        cost=cost,
        quality=rng.random((n_rows, n_tiers)),
        refused=rng.random((n_rows, n_tiers)) < draw(st.sampled_from([0.0, 0.2])),
        budget=int(worst.min(axis=1).sum() + draw(st.integers(0, 3_000))),
    )


@settings(deadline=None, max_examples=200)
@given(markets(), st.sampled_from(POLICIES), st.integers(0, 3))
def test_buying_ends_within_the_budget_with_the_money_used(market, policy, seed):
    for number in range(market.worst.size + 1):
        view = market.view()
        wave = plan_wave(view, policy, seed=seed, wave=number)
        again = plan_wave(view, policy, seed=seed, wave=number)
        assert wave.row_no.tolist() == again.row_no.tolist()
        assert len(set(wave.row_no.tolist())) == len(wave)
        answered = ~np.isnan(view.quality[wave.row_no]).all(axis=1)
        worst = view.worst_nanousd[wave.row_no, wave.tier_no]
        assert (worst <= view.free_nanousd + np.where(answered, 0, view.fenced_nanousd)).all()
        assert (np.diff(answered.astype(int)) >= 0).all(), "an escalation before a first answer"
        if policy in ("auto", "confidence"):
            promises = wave.gain[answered] > 0
            assert (np.diff(promises.astype(int)) <= 0).all(), "a hope before a promise"
            best = np.fmax.reduce(view.quality[wave.row_no[answered]], axis=1, initial=0.0)
            assert (best[~promises] < SETTLED_QUALITY).all(), "another opinion on a right answer"
        if not len(wave):
            break
        assert market.settle(wave) > 0
    assert not len(wave), "still buying after every pair of row and tier could have been asked"
    assert market.spent <= market.budget
    if policy in ("auto", "confidence"):
        assert_nothing_affordable_is_in_doubt(view)


def assert_nothing_affordable_is_in_doubt(view):
    best = np.fmax.reduce(view.quality, axis=1)
    n_tiers = view.asked.shape[1]
    for tier in range(n_tiers):
        is_dearer = ~view.asked[:, tier:].any(axis=1) & ~np.isnan(best)
        in_doubt = is_dearer & (best < SETTLED_QUALITY)
        assert (view.worst_nanousd[in_doubt, tier] > view.free_nanousd).all()


@settings(deadline=None, max_examples=50)
@given(markets())
def test_every_row_is_answered_where_no_tier_refuses(market):
    market.refused[:] = False
    number = 0
    while len(wave := plan_wave(market.view(), "auto", seed=0, wave=number)):
        market.settle(wave)
        number += 1
    assert not np.isnan(market.held).all(axis=1).any()
