"""What a whole job makes of its money: which tiers take part, and what quality comes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cascade_batch.policy import Reason
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.planner import ProductPlanner
from cascade_batch.replay.recorded import RecordedSet
from cascade_batch.replay.score import hull, oracle
from cascade_batch.replay.simulate import JobOutcome, simulate

from .conftest import make_job, run_job

N_ROWS = 600


def budget_at(job: RecordedSet, share: float) -> int:
    """Between all rows on the first tier and all on the last."""
    first, *_, last = job.total_nanousd().tolist()
    return int(first + share * (last - first))


def outcome_of(job: RecordedSet, share: float, regime: str, seed: int) -> JobOutcome:
    planner = ProductPlanner("auto", seed)
    return simulate(job, budget_at(job, share), parse_regime(regime), planner, seed)


def margins(
    regime: str, *, seeds: int = 2, shares: tuple[float, ...] = (0.2, 0.6), **kind
) -> float:
    """Mean over seeds and budgets of quality above the hull."""
    over = []
    for seed in range(seeds):
        job = make_job(N_ROWS, seed=seed, **kind)
        for share in shares:
            outcome = outcome_of(job, share, regime, seed)
            assert outcome.unanswered == 0
            assert not outcome.overspent
            over.append(outcome.quality - hull(job, np.array([outcome.budget_nanousd]))[0])
    return float(np.mean(over))


def without_values(job: RecordedSet) -> RecordedSet:
    """Free texts: nobody can say whether two are the same."""
    return replace(job, value_key=np.zeros_like(job.value_key))


@pytest.mark.parametrize("regime", ["learn", "gold:30%"])
def test_where_nothing_tells_rows_apart_it_is_as_good_as_the_best_mix(regime):
    assert margins(regime, tells=0.0) > -0.012


def test_without_labels_or_signals_no_more_than_the_drafts_is_lost():
    assert margins("agreement", tells=0.0) > -0.04


@pytest.mark.parametrize("regime", ["learn", "gold:30%", "agreement"])
def test_confidences_that_tell_something_are_worth_much(regime):
    assert margins(regime, tells=1.5) > 0.05


def test_a_check_is_worth_most():
    by_check = margins("check", tells=0.0)

    assert by_check > 0.12
    assert by_check > margins("check:0.8", tells=0.0) + 0.03 > 0.05


def test_with_a_check_rows_start_cheap_and_go_on_until_one_passes():
    job = make_job(N_ROWS, [1.0, 1.5, 2.0], [10, 100, 1000], seed=3, worst_ratio=1.0)
    budget = int(job.worst_nanousd[:, 0].sum() + 0.1 * job.cost_nanousd[:, 2].sum())

    end = run_job(job, budget, "check")

    first = np.full(N_ROWS, -1)
    for row, tier in reversed(end.calls):
        first[row] = tier
    assert (first == 0).mean() > 0.85
    assert end.view.held[:, 2].mean() < 0.2
    assert (job.score * end.view.held).max(axis=1).mean() > job.score[:, 2].mean() + 0.03


@pytest.mark.parametrize("regime", ["learn", "gold:30%"])
def test_a_weak_tier_nearly_as_dear_as_the_next_is_left_out(regime):
    job = without_values(make_job(N_ROWS, [-1.5, 1.0, 2.0], [300, 400, 4000], seed=2))

    end = run_job(job, int(0.5 * job.worst_nanousd[:, 2].sum()), regime)

    late = end.waves[3:]
    starts = np.concatenate([wave.tier_no[wave.reason == Reason.START] for _, wave in late])
    assert starts.size > 100
    assert (starts == 0).mean() < 0.05
    spent = (job.cost_nanousd * end.view.held).sum(axis=0)
    assert spent[0] < 0.1 * spent.sum()


def test_a_tier_that_is_dearer_and_worse_than_the_one_before_drops_out():
    job = without_values(make_job(N_ROWS, [0.5, -0.5, 2.0], [100, 400, 1600], seed=1))

    outcome = outcome_of(job, 0.5, "learn", seed=1)

    assert outcome.calls[1] < 0.3 * N_ROWS
    assert outcome.calls[2] > 0.3 * N_ROWS


@pytest.mark.parametrize("seed", [0, 1])
def test_where_the_cheapest_tier_is_the_best_its_answers_count(seed):
    job = without_values(make_job(N_ROWS, [2.0, 0.0], [100, 1000], seed=seed))

    outcome = outcome_of(job, 0.5, "learn", seed)

    assert outcome.quality > job.score[:, 0].mean() - 0.005
    assert (outcome.tier_no == 1).mean() < 0.05


def test_groups_of_rows_go_to_different_tiers():
    job = make_job(N_ROWS, [0.5, 2.0], [100, 1600], seed=0, ease_of_stratum=[2.5, -0.5])

    outcome = outcome_of(job, 0.4, "learn", seed=0)

    easy, hard = ((outcome.tier_no == 1)[job.stratum == stratum].mean() for stratum in (0, 1))
    assert hard > easy + 0.15


def test_more_money_is_never_worse_by_much_and_all_of_it_never_better_than_clairvoyance():
    job = make_job(N_ROWS, tells=1.0, seed=5)
    shares = (0.0, 0.25, 0.75)
    outcomes = [outcome_of(job, share, "learn", seed=5) for share in shares]
    quality = [outcome.quality for outcome in outcomes]
    best = oracle(job, np.array([outcome.budget_nanousd for outcome in outcomes]))

    assert quality[0] == pytest.approx(job.score[:, 0].mean())
    assert quality[1] > quality[0] + 0.03
    assert quality[2] > quality[1] + 0.03
    assert (np.array(quality) <= job.score.max(axis=1).mean()).all()
    assert quality[0] <= best[0] + 1e-9


def test_money_that_buys_something_is_spent():
    job = make_job(N_ROWS, tells=1.0, seed=6)

    for share in (0.2, 0.7):
        outcome = outcome_of(job, share, "learn", seed=6)
        assert outcome.spent_nanousd > 0.98 * outcome.budget_nanousd
