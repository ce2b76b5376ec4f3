"""A tier that is asked a second time: where its agreement with itself is worth the price."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cascade_batch.policy import Action, Labels, choose_answers, plan_wave
from cascade_batch.policy.view import UNKNOWN
from cascade_batch.replay.recorded import RecordedSet

from .conftest import JobEnd, make_job, run_job, view_of

N_ROWS = 800


def silent_job(seed: int) -> RecordedSet:
    """A cheap tier that is right on half of the rows, and a good one at forty times the price; neither says
    how sure it is."""
    job = make_job(N_ROWS, [0.0, 3.0], [100, 4_000], seed=seed, slope=0.8, worst_ratio=1.0)
    return replace(job, confidence=np.full_like(job.confidence, np.nan))


def says_again(job: RecordedSet, seed: int, *, where_right: float, where_wrong: float):
    chance = np.where(job.score >= 0.5, where_right, where_wrong)
    return np.random.default_rng(seed).random(job.score.shape) < chance


def run(job: RecordedSet, seed: int, again) -> JobEnd:
    budget = int(job.cost_nanousd[:, 0].sum() + 0.35 * job.cost_nanousd[:, 1].sum())
    return run_job(job, budget, "gold:40%", seed=seed, says_again=again)


def quality(job: RecordedSet, end: JobEnd) -> float:
    tier_no = choose_answers(end.view).tier_no
    return float(job.score[np.arange(N_ROWS), tier_no].mean())


def samples(end: JobEnd) -> int:
    return sum(int((wave.action == Action.SAMPLE).sum()) for _, wave in end.waves)


def test_where_right_answers_come_again_and_wrong_ones_do_not_it_is_worth_its_price():
    gains = []
    for seed in range(3):
        job = silent_job(seed)
        telling = says_again(job, seed, where_right=0.95, where_wrong=0.2)
        end = run(job, seed, telling)
        assert samples(end) > 0.1 * N_ROWS
        gains.append(quality(job, end) - quality(job, run(job, seed, None)))

    assert np.mean(gains) > 0.01


def test_where_it_tells_nothing_the_planner_finds_out_and_stops_buying_it():
    job = silent_job(5)
    end = run(job, 5, says_again(job, 5, where_right=0.7, where_wrong=0.7))

    bought = [int((wave.action == Action.SAMPLE).sum()) for _, wave in end.waves]
    assert sum(bought) < 0.7 * N_ROWS
    assert quality(job, end) > quality(job, run(job, 5, None)) - 0.03


@pytest.mark.parametrize("labels", list(Labels))
def test_what_may_not_be_sampled_is_not(labels):
    job = silent_job(1)
    held = np.zeros(job.score.shape, np.bool_)
    held[:, 0] = True

    wave = plan_wave(view_of(job, held, labels), "auto", seed=0, wave=5)

    assert len(wave)
    assert not (wave.action == Action.SAMPLE).any()


def test_an_answer_that_its_tier_gave_again_is_believed_more_than_one_that_it_did_not():
    job = silent_job(2)
    held = np.ones(job.score.shape, np.bool_)
    said = says_again(job, 2, where_right=0.95, where_wrong=0.2)
    resampled = np.full(job.score.shape, UNKNOWN, np.int8)
    resampled[:, 0] = said[:, 0]
    view = view_of(job, held & [True, False], gold_share=0.5, resampled=resampled)

    quality_ = choose_answers(view).quality

    assert quality_[said[:, 0]].mean() > quality_[~said[:, 0]].mean() + 0.3
