"""A whole replay: the same on any number of processes, and comparable with its rivals."""

from __future__ import annotations

import numpy as np
import pytest

from cascade_batch.errors import UsageError
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.recorded import RecordedSet, read_set
from cascade_batch.replay.rivals import rival_curves
from cascade_batch.replay.run import ReplayPlan, replay
from cascade_batch.replay.score import budget_range, hull
from cascade_batch.replay.simulate import Reserve

from .conftest import OneTier, RandomBuyer, make_set
from .files import made_rows, write_set

CHECK = parse_regime("check")


@pytest.fixture
def made(tmp_path) -> RecordedSet:
    return read_set(write_set(tmp_path, made_rows(80)))


def random_buyer(policy: str, seed: int) -> RandomBuyer:
    return RandomBuyer(seed)


def test_processes_change_nothing(made):
    plan = ReplayPlan(parse_regime("gold:20%"), n_budgets=3, n_seeds=3, n_rows=50)
    done = []

    one = replay(made, plan, on_done=lambda: done.append(1))
    two = replay(made, plan, processes=2)

    assert one == two
    assert len(done) == 9
    assert one.n_rows == 50


def test_another_seed_is_another_job(made):
    plan = ReplayPlan(CHECK, n_budgets=3, n_seeds=1, n_rows=50)

    first = replay(made, plan, make_planner=random_buyer)
    other = replay(
        made,
        ReplayPlan(CHECK, n_budgets=3, n_seeds=1, n_rows=50, first_seed=1),
        make_planner=random_buyer,
    )

    assert first.points != other.points


def test_a_replay_adds_up(made):
    report = replay(
        made, ReplayPlan(CHECK, n_budgets=4, n_seeds=2), make_planner=lambda *_: OneTier(0)
    )
    total = made.total_nanousd()

    assert [p.budget_nanousd for p in report.points] == budget_range(made, 4).tolist()
    assert {p.spent_nanousd for p in report.points} == {total[0]}
    assert [p.quality for p in report.points] == pytest.approx([made.score[:, 0].mean()] * 4)
    assert report.nauc == pytest.approx(report.rival_naucs["cheapest"])
    assert report.nauc_low <= report.nauc <= report.nauc_high
    margins = made.score[:, 0].mean() - hull(made, budget_range(made, 4))
    assert report.min_margin_over_hull == pytest.approx(margins.min())
    assert report.violations == report.unanswered == 0
    assert report.unspent_share == pytest.approx(
        np.mean([1 - total[0] / budget for budget in budget_range(made, 4)])
    )


def test_log_probabilities_can_be_hidden(made):
    buyers = []

    def keep(policy: str, seed: int) -> RandomBuyer:
        buyers.append(RandomBuyer(seed))
        return buyers[-1]

    replay(made, ReplayPlan(CHECK, n_budgets=2, n_seeds=1, with_logprobs=False), make_planner=keep)

    assert all(np.isnan(view.confidence).all() for buyer in buyers for view in buyer.views)


def test_with_worst_cases_reserved_budgets_that_a_job_may_not_have_are_left_out(made):
    plan = ReplayPlan(CHECK, n_budgets=10, n_seeds=1, reserve=Reserve.WORST)
    least = int(made.worst_nanousd.min(axis=1).sum())

    report = replay(made, plan)

    assert 0 < len(report.points) < 10
    assert min(p.budget_nanousd for p in report.points) >= least
    assert report.violations == report.unanswered == 0


def test_what_can_t_be_replayed_is_told():
    dear_first = make_set([[1, 0]] * 3, [[9, 1]] * 3)
    with pytest.raises(UsageError, match="cost no more"):
        replay(dear_first, ReplayPlan(CHECK))
    guarded = make_set([[1, 0]] * 3, [[1, 2]] * 3, worst_nanousd=np.full((3, 2), 99))
    with pytest.raises(UsageError, match="would be refused"):
        replay(guarded, ReplayPlan(CHECK, reserve=Reserve.WORST))


def test_rivals_begin_at_the_cheapest_and_end_where_all_is_bought():
    set_ = make_set(
        [[0, 1]] * 5 + [[1, 1]] * 5,
        [[1, 9]] * 10,
        confidence=np.array([[-3, -1]] * 5 + [[-1, -1]] * 5, np.float32),
    )
    budgets = np.array([10, 55, 100])

    curves = rival_curves(set_, budgets, seed=0)

    assert curves["cheapest"].tolist() == [0.5, 0.5, 0.5]
    assert curves["dearest"] == pytest.approx([0.5, 0.5 + 0.5 * 45 / 80, 1])
    assert curves["random"] == pytest.approx([0.5, 0.75, 1])
    assert curves["confidence:tier-0>tier-1"] == pytest.approx([0.5, 1, 1])


def test_a_cascade_that_the_budget_can_t_start_gets_the_hull(made):
    budgets = budget_range(made, 9)
    curves = rival_curves(made, budgets, seed=0)
    early = budgets < made.total_nanousd()[1]

    assert early.any()
    np.testing.assert_allclose(curves["confidence:middle>large"][early], hull(made, budgets)[early])
