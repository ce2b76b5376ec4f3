"""Pilots: which rows are asked, that all of them are asked everywhere, and what is foretold of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from cascade_batch.policy import Labels, plan_wave
from cascade_batch.policy.pilot import pilot_rows, predict
from tests.unit.policy.conftest import make_job, run_job, view_of

ROWS = 600


def asked_of(rows: int, pilot: int) -> np.ndarray:
    held = np.zeros((rows, 3), np.bool_)
    held[pilot_rows(np.zeros(rows, np.bool_), pilot, 0)] = True
    return held


def test_rows_with_gold_come_first_and_the_rest_is_chance():
    has_gold = np.arange(1_000) % 50 == 7

    drawn = pilot_rows(has_gold, 200, 3)

    assert drawn.size == np.unique(drawn).size == 200
    assert has_gold[drawn].sum() == has_gold.sum()
    assert np.array_equal(drawn, pilot_rows(has_gold, 200, 3))
    assert not np.array_equal(drawn, pilot_rows(has_gold, 200, 4))


@pytest.mark.parametrize("regime", ["check", "gold:10%", "agreement", "judge"])
def test_the_policy_every_asks_all_rows_on_all_tiers_and_the_judge_about_each_answer(regime):
    job = make_job(40)

    end = run_job(job, 2 * int(job.worst_nanousd.sum()), regime, policy="every")

    assert end.view.held.all()
    assert not end.view.unjudged.any()


@pytest.mark.parametrize("labels", [Labels.CHECK, Labels.GOLD])
def test_what_is_foretold_is_near_what_the_whole_job_comes_to(labels):
    job = make_job(ROWS, tells=1.0)
    view = view_of(job, asked_of(ROWS, 200), labels)
    least = int(job.cost_nanousd[:, 0].sum())

    found = predict(view, rows=ROWS, least_nanousd=least, own_nanousd=10 * least, seed=0)

    assert found.is_measured
    assert found.budget_nanousd[0] == least
    assert 10 * least in found.budget_nanousd
    assert (np.diff(found.quality) >= 0).all()
    assert (found.low <= found.quality).all()
    assert (found.quality <= found.high).all()
    cheapest, dearest = job.score[:, 0].mean(), job.score[:, -1].mean()
    quality, low, high = found.at(int(job.cost_nanousd.sum()))
    assert (
        low <= max(job.score.max(axis=1).mean() if labels == Labels.CHECK else dearest, low) <= high
    )
    assert cheapest - 0.1 < found.quality[0] < quality


def test_enough_is_where_twice_the_money_hardly_buys_more():
    job = make_job(ROWS, tells=1.0)
    view = view_of(job, asked_of(ROWS, 200), Labels.CHECK)
    least = int(job.cost_nanousd[:, 0].sum())

    found = predict(view, rows=ROWS, least_nanousd=least, own_nanousd=None, seed=0)

    enough = found.enough_nanousd
    assert least <= enough <= found.budget_nanousd[-1] * 1.1
    assert found.at(2 * enough)[0] - found.at(enough)[0] < 0.01
    assert found.at(enough)[0] - found.at(enough // 2)[0] > 0.01


def test_a_larger_job_of_the_same_kind_needs_as_much_more_money():
    job = make_job(ROWS, tells=1.0)
    view = view_of(job, asked_of(ROWS, 200), Labels.CHECK)
    least = int(job.cost_nanousd[:, 0].sum())

    once = predict(view, rows=ROWS, least_nanousd=least, own_nanousd=None, seed=0)
    tenfold = predict(view, rows=10 * ROWS, least_nanousd=10 * least, own_nanousd=None, seed=0)

    assert tenfold.enough_nanousd == pytest.approx(10 * once.enough_nanousd, rel=0.05)


@pytest.mark.parametrize("labels", [Labels.GOLD, Labels.CHECK])
def test_a_job_that_begins_with_a_pilot_s_answers_goes_on_at_once(labels):
    """A third of the rows is there before the first wave, which is to start others all the same."""
    job = make_job(ROWS)
    view = view_of(job, asked_of(ROWS, 200), labels, gold_share=0.1, free_nanousd=10**9)

    wave = plan_wave(view, "auto", seed=0, wave=1)

    assert (~view.held[wave.row_no].any(axis=1)).sum() > 50
