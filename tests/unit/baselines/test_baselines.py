"""The planners written from papers: within the budget, every row answered, and worth comparing with."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.baselines import BASELINES
from cascade_batch.policy.view import Reason
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.recorded import RecordedSet
from cascade_batch.replay.run import ReplayPlan, replay
from cascade_batch.replay.score import budget_range
from cascade_batch.replay.simulate import JobOutcome, Reserve, least_budget, simulate

from .conftest import made_set

REGIMES = ("check", "check:0.9", "learn", "gold:20%", "agreement")
WITH_TRAINING = ("frugalgpt", "routellm", "cascade_routing")


def run(
    name: str,
    set_: RecordedSet,
    budget_nanousd: int,
    regime: str,
    *,
    seed: int = 0,
    reserve: Reserve = Reserve.RECORDED,
) -> JobOutcome:
    planner = BASELINES[name]("auto", seed)
    return simulate(set_, budget_nanousd, parse_regime(regime), planner, seed, reserve)


def check_outcome(outcome: JobOutcome) -> None:
    assert not outcome.unanswered
    assert not outcome.overspent


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", BASELINES)
def test_every_row_is_answered_within_the_budget(name, regime):
    set_ = made_set(240)
    for budget in budget_range(set_, 5).tolist():
        check_outcome(run(name, set_, budget, regime))


@pytest.mark.parametrize("name", BASELINES)
def test_worst_cases_are_within_the_budget_too(name):
    set_ = made_set(240)
    least = least_budget(set_, Reserve.WORST)
    for budget in (least, 2 * least, 10 * least):
        check_outcome(run(name, set_, budget, "learn", reserve=Reserve.WORST))


@pytest.mark.parametrize("regime", ["check", "learn", "agreement"])
@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("n_rows", [1, 2, 7, 30])
def test_jobs_too_small_to_learn_from_are_answered(name, regime, n_rows):
    for with_confidence in (True, False):
        set_ = made_set(n_rows, with_confidence=with_confidence)
        for budget in budget_range(set_, 4).tolist():
            check_outcome(run(name, set_, budget, regime))


@pytest.mark.parametrize("name", BASELINES)
def test_two_tiers_and_five(name):
    for ability, cost in (
        ((0.0, 2.0), (1_000, 9_000)),
        ((-1.0, 0.0, 0.5, 1.5, 2.0), (1_000, 2_000, 2_500, 9_000, 20_000)),
    ):
        set_ = made_set(200, ability=ability, cost_nanousd=cost)
        for budget in budget_range(set_, 3).tolist():
            check_outcome(run(name, set_, budget, "learn"))


@pytest.mark.parametrize("regime", ["check", "learn", "agreement"])
@pytest.mark.parametrize("name", BASELINES)
def test_money_buys_more_than_the_cheapest_tier_gives(name, regime):
    set_ = made_set(600)
    cheapest = set_.score[:, 0].mean()
    budgets = budget_range(set_, 5)[1:].tolist()

    qualities = [run(name, set_, budget, regime).quality for budget in budgets]

    assert min(qualities) > cheapest + 0.03
    assert qualities[-1] > cheapest + 0.2


@pytest.mark.parametrize("name", ["frugalgpt", "cascade_routing"])
def test_a_cascade_beats_chance_where_confidence_tells_right_from_wrong(name):
    set_ = made_set(1_500, ability=(1.0, 1.2, 2.8), cost_nanousd=(1_000, 5_000, 20_000))
    plan = ReplayPlan(parse_regime("learn"), n_budgets=3, n_seeds=2)

    report = replay(set_, plan, make_planner=BASELINES[name])

    assert report.nauc > 0.0


@pytest.mark.parametrize("name", ["frugalgpt", "cascade_routing"])
def test_a_cascade_stops_at_a_pass(name):
    set_ = made_set(600)

    outcome = run(name, set_, int(set_.total_nanousd()[-1]), "check")

    # The best that any answers of the row would do, for less than the dearest tier costs for all.
    assert outcome.quality > set_.score.max(axis=1).mean() - 0.02
    assert outcome.spent_nanousd < 0.7 * outcome.budget_nanousd


def test_a_router_asks_no_row_twice_but_its_sample():
    set_ = made_set(600)

    outcome = run("routellm", set_, int(set_.total_nanousd()[-1] * 0.5), "learn")

    sample = int(outcome.calls.sum() - len(set_)) // (len(set_.tiers) - 1)
    assert outcome.calls.sum() == len(set_) + sample * (len(set_.tiers) - 1)
    assert 20 <= sample <= 150


@pytest.mark.parametrize("name", WITH_TRAINING)
def test_training_is_paid_for_and_is_a_small_part(name):
    set_ = made_set(600)
    budget = int(budget_range(set_, 3)[1])
    planner = BASELINES[name]("auto", 0)
    paid = []

    class Watched:
        def plan(self, view, wave):
            planned = planner.plan(view, wave)
            if (planned.reason != Reason.PROBE).any():
                paid.append(int(view.cost_nanousd.sum()))
            return planned

        def choose(self, view):
            return planner.choose(view)

    simulate(set_, budget, parse_regime("learn"), Watched(), 0)

    assert 0.02 < paid[0] / budget < 0.2


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_is_the_same_job(name):
    set_ = made_set(200)
    budget = int(budget_range(set_, 3)[1])

    first = run(name, set_, budget, "learn", seed=3)
    again = run(name, set_, budget, "learn", seed=3)

    assert first.spent_nanousd == again.spent_nanousd
    assert np.array_equal(first.tier_no, again.tier_no)
