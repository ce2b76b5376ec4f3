"""What may be in a wave, in which order, and that a job comes to its end with every row answered."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_batch.policy import JobView, Labels, Reason, Wave, plan_wave
from cascade_batch.policy.view import UNKNOWN
from cascade_batch.replay.recorded import RecordedSet

from .conftest import assert_possible, least_worst_budget, make_job, run_job, view_of

REGIMES = ["check", "check:0.8", "learn", "gold:30%", "judge", "agreement"]
ALL_LABELS = list(Labels)


@st.composite
def odd_jobs(draw: st.DrawFn, max_rows: int = 60) -> RecordedSet:
    """Jobs of every shape: one row, one tier, tiers alike, for nothing, or without signals."""
    n_rows = draw(st.one_of(st.integers(1, 6), st.integers(1, max_rows)))
    n_tiers = draw(st.sampled_from([1, 2, 2, 3, 3, 3, 4, 5]))
    prices = draw(
        st.one_of(
            st.lists(st.integers(1, 5_000), min_size=n_tiers, max_size=n_tiers),
            st.just([200] * n_tiers),
            st.just([0] * n_tiers),
            st.just([0] + [300] * (n_tiers - 1)),
        )
    )
    job = make_job(
        n_rows,
        draw(st.lists(st.floats(-3, 3), min_size=n_tiers, max_size=n_tiers)),
        prices,
        seed=draw(st.integers(0, 999)),
        tells=draw(st.sampled_from([0.0, 1.0])),
        missing=draw(st.sampled_from([0.0, 0.3, 1.0])),
        talk=draw(st.sampled_from([0.0, 1.0])),
        worst_ratio=draw(st.sampled_from([1.0, 4.0, 50.0])),
    )
    return draw(
        st.sampled_from(
            [
                job,
                replace(job, confidence=np.full_like(job.confidence, -0.5)),
                replace(job, input_size=np.zeros_like(job.input_size)),
                replace(job, stratum=np.arange(n_rows, dtype=np.int32)),
                replace(
                    job,
                    score=np.repeat(job.score[:, :1], n_tiers, axis=1),
                    confidence=np.repeat(job.confidence[:, :1], n_tiers, axis=1),
                    value_key=np.ones_like(job.value_key),
                ),
                replace(job, value_key=np.zeros_like(job.value_key)),
                replace(job, fits=np.zeros_like(job.fits)),
            ]
        )
    )


def budget_between(job: RecordedSet, share: float) -> int:
    """From every row at worst case on its cheapest tier to every row on every tier, and more."""
    least = least_worst_budget(job)
    return least + int(share * (1.2 * int(job.worst_nanousd.sum()) - least))


@settings(max_examples=40, deadline=None)
@given(
    odd_jobs(),
    st.sampled_from(REGIMES),
    st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 1)),
    st.integers(0, 99),
    st.sampled_from([1.0, 0.6]),
)
def test_every_row_is_answered_at_any_budget_that_a_job_may_have(
    job, regime, share, seed, patience
):
    budget = budget_between(job, share)

    end = run_job(job, budget, regime, seed=seed, patience=patience)

    assert end.unanswered == 0
    assert end.spent_nanousd <= budget


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 6, 7])
def test_a_job_of_a_few_rows_is_answered_like_any_other(n_rows):
    job = make_job(n_rows)

    end = run_job(job, 2 * least_worst_budget(job))

    assert end.unanswered == 0


@settings(max_examples=20, deadline=None)
@given(odd_jobs(max_rows=30), st.sampled_from(REGIMES), st.integers(0, 99), st.data())
def test_what_one_tier_refuses_another_answers(job, regime, seed, data):
    n_rows, n_tiers = job.score.shape
    if data.draw(st.booleans(), label="one tier refuses everything"):
        refuses = np.arange(n_tiers) == data.draw(st.integers(0, n_tiers - 1), label="tier")
    else:
        refuses = np.random.default_rng(seed).random((n_rows, n_tiers)) < 0.4
    budget = int(job.worst_nanousd.max(axis=1).sum())

    end = run_job(
        job, budget, regime, seed=seed, refuses=np.broadcast_to(refuses, (n_rows, n_tiers))
    )

    assert end.unanswered == 0
    answered = end.view.held.any(axis=1)
    assert (answered | np.broadcast_to(refuses, (n_rows, n_tiers)).all(axis=1)).all()


def test_a_job_whose_only_tier_refuses_everything_ends_without_an_answer():
    job = make_job(12, [1.0], [100])

    end = run_job(job, 2 * least_worst_budget(job), refuses=np.ones((12, 1), np.bool_))

    assert not end.view.held.any()
    assert len(end.waves[-1][1]) == 0


@st.composite
def moments(draw: st.DrawFn) -> JobView:
    """A job somewhere on its way: anything may be held, refused or on its way, money may have run out."""
    job = draw(odd_jobs(max_rows=25))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = job.score.shape
    held = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    barred = held | (rng.random(shape) < draw(st.sampled_from([0.0, 0.3])))
    flying = np.zeros(shape, np.bool_)
    rows = np.flatnonzero(
        (rng.random(shape[0]) < draw(st.sampled_from([0.0, 0.4]))) & ~barred.all(axis=1)
    )
    flying[rows, barred[rows].argmin(axis=1)] = True
    worst = np.where(barred, np.iinfo(np.int64).max, job.worst_nanousd).min(axis=1)
    fence = np.where(held.any(axis=1) | barred.all(axis=1), 0, worst)
    labels = draw(st.sampled_from(ALL_LABELS))
    free = draw(st.integers(-1_000, 2 * int(job.worst_nanousd.sum())))
    return view_of(
        job,
        held,
        labels,
        gold_share=draw(st.sampled_from([0.3, 1.0])),
        barred=barred,
        in_flight=flying,
        fence_nanousd=fence,
        free_nanousd=free,
    )


@settings(max_examples=100, deadline=None)
@given(
    moments(),
    st.sampled_from(
        ["auto", "auto", "auto", "cheapest", "dearest", "random", "confidence", "every"]
    ),
    st.integers(1, 6),
)
def test_whatever_the_moment_a_wave_can_be_acted_on(view, policy, wave_no):
    assert_possible(view, plan_wave(view, policy, seed=3, wave=wave_no))


@settings(max_examples=40, deadline=None)
@given(moments(), st.integers(1, 6))
def test_what_first_answers_are_expected_to_take_is_free(view, wave_no):
    wave = plan_wave(view, "auto", seed=3, wave=wave_no)
    first = ~view.held[wave.row_no].any(axis=1)

    extra = np.maximum(wave.expected_nanousd - view.fence_nanousd[wave.row_no], 0)

    assert extra[first].sum() <= max(view.free_nanousd, 0)


@settings(max_examples=40, deadline=None)
@given(moments(), st.integers(1, 6))
def test_first_answers_come_first_and_those_that_free_money_before_the_others(view, wave_no):
    wave = plan_wave(view, "auto", seed=3, wave=wave_no)
    planned = wave.reason != Reason.PROBE
    rows, tiers = wave.row_no[planned], wave.tier_no[planned]
    first = ~view.held[rows].any(axis=1)
    in_fence = view.worst_nanousd[rows, tiers] <= view.fence_nanousd[rows]

    assert (np.diff(first.astype(int)) <= 0).all(), "an escalation comes before a first answer"
    needs = ~in_fence[first]
    assert (np.diff(needs.astype(int)) >= 0).all(), (
        "what takes free money comes before what frees some"
    )


@settings(max_examples=40, deadline=None)
@given(moments(), st.integers(1, 6))
def test_a_reason_says_what_a_purchase_is(view, wave_no):
    wave = plan_wave(view, "auto", seed=3, wave=wave_no)
    answered = view.held[wave.row_no].any(axis=1)

    assert not answered[wave.reason == Reason.START].any()
    assert answered[wave.reason == Reason.ESCALATE].all()


def half_way(labels: Labels = Labels.GOLD, **given) -> JobView:
    """400 rows with a cheap answer each, of which 300 hold nothing more."""
    job = make_job(400, tells=1.0, seed=4)
    held = np.zeros(job.score.shape, np.bool_)
    held[:, 0] = True
    held[:60, 1] = held[:40, 2] = True
    return view_of(job, held, labels, **given)


@pytest.mark.parametrize("labels", ALL_LABELS)
def test_escalations_are_ordered_by_gain_per_dollar(labels):
    view = half_way(labels)

    wave = plan_wave(view, "auto", seed=0, wave=5)

    wanted = wave.reason == Reason.ESCALATE
    # An answer that a judge will be asked about costs the judge's word as well.
    cost = wave.expected_nanousd + view.judge_nanousd[wave.row_no]
    density = wave.gain[wanted] / cost[wanted]
    assert wanted.sum() > 20
    # Expected costs are rounded up to a nano-dollar.
    assert (np.diff(density) <= density[:-1] * 0.02).all()
    assert density[0] > density[-1]


@pytest.mark.parametrize("labels", ALL_LABELS)
@pytest.mark.parametrize("wave_no", [1, 3, 6])
def test_the_same_view_seed_and_wave_give_the_same_wave(labels, wave_no):
    view = half_way(labels) if wave_no > 1 else view_of(make_job(200), False, labels)

    one, other = (plan_wave(view, "auto", seed=7, wave=wave_no) for _ in range(2))

    for name in (field.name for field in fields(Wave)):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_another_seed_starts_other_rows():
    view = view_of(make_job(300), False)

    first, second = (set(plan_wave(view, "auto", seed=s, wave=1).row_no.tolist()) for s in (1, 2))

    assert first != second


def test_planning_changes_nothing_that_it_is_shown():
    view = half_way()
    before = {f.name: np.copy(getattr(view, f.name)) for f in fields(JobView)}
    for name in ("held", "barred", "confidence", "cost_nanousd", "worst_nanousd", "stratum"):
        getattr(view, name).flags.writeable = False

    plan_wave(view, "auto", seed=0, wave=1)

    for name, value in before.items():
        np.testing.assert_array_equal(getattr(view, name), value)


def test_where_some_rows_have_gold_these_are_asked_first():
    view = view_of(make_job(400), False, Labels.GOLD, gold_share=0.25)

    wave = plan_wave(view, "auto", seed=0, wave=1)

    assert 5 <= len(wave) <= 100
    assert (wave.row_no < 100).all()


def test_the_first_waves_start_few_rows_and_the_fourth_all():
    job = make_job(500, [0.0, 0.1], [100, 120])
    end = run_job(job, 2 * int(job.worst_nanousd.sum()))

    answered = [view.held.any(axis=1).mean() for view, _ in end.waves[1:5]]
    assert answered[0] < 0.15
    assert answered[1] < 0.35
    assert answered[2] < 0.7
    assert answered[3] == 1.0


def test_some_rows_are_asked_on_every_tier_for_a_small_part_of_the_money():
    job = make_job(600)
    end = run_job(job, 2 * least_worst_budget(job), seed=2)

    probes = [
        (row, tier)
        for _, wave in end.waves
        for row, tier, reason in zip(wave.row_no, wave.tier_no, wave.reason, strict=True)
        if reason == Reason.PROBE
    ]
    cost = sum(int(job.cost_nanousd[row, tier]) for row, tier in probes)
    assert {int(tier) for _, tier in probes} == {0, 1, 2}
    assert cost <= 0.05 * 2 * least_worst_budget(job)


@pytest.mark.parametrize("ability", [-0.5, 1.0])
def test_what_passed_a_check_is_not_asked_again_as_long_as_others_need_the_money(ability):
    job = make_job(600, [ability, 1.2, 2.0], seed=1, worst_ratio=1.0)
    end = run_job(job, int(0.3 * job.cost_nanousd[:, -1].sum()), "check")

    asked_again = np.zeros(600, np.bool_)
    for view, wave in end.waves:
        again = wave.reason == Reason.ESCALATE
        asked_again[wave.row_no[again]] |= (view.verdict[wave.row_no[again]] == 1).any(axis=1)
    assert end.view.held.sum() > 700
    assert asked_again.mean() < 0.05


@settings(max_examples=15, deadline=None)
@given(odd_jobs(max_rows=40), st.floats(0, 1), st.integers(0, 9))
def test_where_nobody_labels_a_row_only_goes_up(job, share, seed):
    end = run_job(job, budget_between(job, share), "agreement", seed=seed)

    for view, wave in end.waves:
        up = wave.reason == Reason.ESCALATE
        held = view.held[wave.row_no[up]]
        dearest = held.shape[1] - 1 - held[:, ::-1].argmax(axis=1)
        assert (wave.tier_no[up] > dearest).all()


def test_money_without_end_buys_no_answer_that_gains_nothing():
    job = make_job(200, [0.5, 0.5], [100, 100], seed=3)
    held = np.zeros((200, 2), np.bool_)
    held[:, 1] = True
    view = view_of(job, held, Labels.CHECK, free_nanousd=10**12)
    sure = replace(view, verdict=np.where(held, 1, UNKNOWN).astype(np.int8))

    assert len(plan_wave(sure, "auto", seed=0, wave=9)) == 0


def test_what_passed_a_check_that_cannot_err_is_not_asked_again():
    job = make_job(300)
    held = np.zeros(job.score.shape, np.bool_)
    held[:, 0] = True
    view = view_of(job, held, Labels.CHECK, free_nanousd=10**12)
    passed = view.verdict[:, 0] == 1

    doubted = plan_wave(view, "auto", seed=0, wave=9)
    sure = plan_wave(replace(view, check_is_gold=True), "auto", seed=0, wave=9)

    assert set(np.flatnonzero(~passed)) <= set(sure.row_no) & set(doubted.row_no)
    assert not passed[sure.row_no].any()
    assert passed[doubted.row_no].any()


def test_without_free_money_only_first_answers_are_bought():
    job = make_job(300)
    held = np.zeros(job.score.shape, np.bool_)
    held[:200, 0] = True
    for free_nanousd in (0, -5_000):
        view = view_of(job, held, free_nanousd=free_nanousd)

        wave = plan_wave(view, "auto", seed=0, wave=6)

        first = wave.row_no[wave.reason == Reason.START]
        assert first.size
        assert (first >= 200).all()
