"""What is believed of answers, held and not yet bought, holds true on the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cascade_batch.policy import JobView, Labels, choose_answers
from cascade_batch.policy.evidence import evidence_of
from cascade_batch.policy.fitting import fit
from cascade_batch.policy.model import Model, beliefs
from cascade_batch.policy.view import UNKNOWN, Floats
from cascade_batch.replay.recorded import RecordedSet

from .conftest import make_job, view_of

RNG_SEED = 11


def beliefs_of(view: JobView) -> Floats:
    evidence = evidence_of(view)
    return beliefs(fit(evidence, view.labels), evidence)


def model_of(view: JobView) -> Model:
    return fit(evidence_of(view), view.labels)


def held_at_random(job: RecordedSet, share: float = 0.5) -> NDArray[np.bool_]:
    return np.random.default_rng(RNG_SEED).random(job.score.shape) < share


def expected_calibration_error(belief: Floats, right: Floats) -> float:
    """Mean over ten bins, by answers, of the difference of mean belief and share right."""
    place = np.minimum((belief * 10).astype(int), 9)
    bins = [place == n for n in range(10) if (place == n).any()]
    assert len(bins) >= 3
    gaps = [one.sum() * abs(float(belief[one].mean() - right[one].mean())) for one in bins]
    return float(sum(gaps)) / len(belief)


@pytest.fixture(scope="module")
def telling() -> tuple[RecordedSet, JobView, Floats]:
    job = make_job(2500, [0.0, 0.8, 1.6], tells=1.2, missing=0.1, ease_of_stratum=[0, 1, -1])
    view = view_of(job, held_at_random(job))
    return job, view, beliefs_of(view)


def test_the_quality_of_chosen_answers_is_the_share_that_is_right(telling):
    job, view, _ = telling
    choice = choose_answers(view)
    rows = np.flatnonzero(choice.tier_no >= 0)
    quality, right = choice.quality[rows], job.score[rows, choice.tier_no[rows]]

    assert expected_calibration_error(quality, right) < 0.03
    assert quality.mean() == pytest.approx(right.mean(), abs=0.02)


@pytest.mark.parametrize("held", [True, False])
def test_beliefs_about_answers_are_calibrated_whether_held_or_not(telling, held):
    job, view, belief = telling
    at = view.held == held

    assert expected_calibration_error(belief[at], job.score[at]) < 0.03


def test_beliefs_tell_right_from_wrong(telling):
    job, view, belief = telling
    right, held = job.score == 1, view.held

    assert belief[right & held].mean() > belief[~right & held].mean() + 0.25
    assert belief[right & ~held].mean() > belief[~right & ~held].mean() + 0.1


def test_what_a_tier_is_worth_on_rows_that_hold_nothing_is_learnt_from_labels():
    job = make_job(1500, [1.5, -1.0, 0.5], seed=2)
    held = held_at_random(job)
    held[1000:] = False

    belief = beliefs_of(view_of(job, held))[1000:].mean(axis=0)

    np.testing.assert_allclose(belief, job.score.mean(axis=0), atol=0.04)


def test_a_few_labels_move_beliefs_towards_them_and_not_all_the_way():
    job = make_job(100, [-2.0, -2.0], seed=3)
    means = []
    for n_held in (0, 10, 60):
        held = np.zeros(job.score.shape, np.bool_)
        held[:n_held] = True
        means.append(beliefs_of(view_of(job, held))[60:, 0].mean())

    assert means[0] > means[1] > means[2] > job.score[:, 0].mean() - 0.02
    assert means[1] > 0.25


def test_without_labels_agreement_finds_the_tier_that_is_wrong():
    job = make_job(800, [1.5, -1.5, 1.8, 2.0], [1, 2, 3, 4], seed=4, same_wrong=0.2)
    view = view_of(job, held=True, labels=Labels.AGREEMENT)

    belief = beliefs_of(view).mean(axis=0)

    assert belief.argmin() == 1
    assert belief[1] < belief[[0, 2, 3]].min() - 0.1


def test_without_labels_confidences_say_nothing_that_was_not_assumed():
    job = make_job(300, tells=1.5, seed=5)
    labelled = view_of(job, held=True)
    not_ = replace(
        labelled,
        labels=Labels.AGREEMENT,
        gold=np.full_like(labelled.gold, UNKNOWN),
        has_gold=np.zeros(300, np.bool_),
    )
    nothing = view_of(job, held=False, labels=Labels.AGREEMENT)

    np.testing.assert_array_equal(model_of(not_).density, model_of(nothing).density)
    assert (model_of(labelled).density != model_of(nothing).density).any()


@pytest.mark.parametrize("gold_share", [0.0, 0.3])
@pytest.mark.parametrize(("alarms", "passes"), [(0.0, 0.0), (0.25, 0.05), (0.05, 0.25)])
def test_how_often_a_check_errs_is_found(gold_share, alarms, passes):
    job = make_job(1500, [0.0, 0.7, 1.4], seed=6, tells=1.0)
    right = job.score == 1
    draw = np.random.default_rng(6).random(right.shape)
    verdict = np.where(right, draw >= alarms, draw < passes).astype(np.int8)
    gold = np.where(np.arange(1500)[:, None] < gold_share * 1500, right, UNKNOWN).astype(np.int8)
    view = view_of(job, held=True, labels=Labels.CHECK, verdict=verdict, gold=gold)

    model = model_of(view)

    near = 0.03 if gold_share else 0.1
    assert model.false_alarm == pytest.approx(alarms, abs=near)
    assert model.false_pass == pytest.approx(passes, abs=near)


def test_a_judge_who_errs_is_believed_less_than_one_who_does_not():
    job = make_job(900, [0.5, 1.0], seed=7)
    right = job.score == 1
    draw = np.random.default_rng(7).random(right.shape)
    spread = []
    for errs in (0.0, 0.3):
        verdict = np.where(draw < errs, ~right, right).astype(np.int8)
        gold = np.where(np.arange(900)[:, None] < 400, right, UNKNOWN).astype(np.int8)
        view = view_of(job, True, Labels.JUDGE, verdict=verdict, gold=gold)
        belief = beliefs_of(view)
        spread.append(belief[verdict == 1].mean() - belief[verdict == 0].mean())

    assert spread[0] > 0.9
    assert 0.1 < spread[1] < 0.7


def test_a_dear_tier_that_saw_only_doubtful_rows_is_not_taken_for_a_bad_one():
    job = make_job(2000, [0.5, 1.5], [100, 1000], seed=8, tells=2.0, slope=2.0)
    held = np.ones(job.score.shape, np.bool_)
    held[:, 1] = job.confidence[:, 0] < np.quantile(job.confidence[:, 0], 0.25)
    seen = job.score[held[:, 1], 1].mean()
    everywhere = job.score[:, 1].mean()

    belief = beliefs_of(view_of(job, held))[:, 1].mean()

    assert seen < everywhere - 0.15
    assert belief == pytest.approx(everywhere, abs=0.05)


def test_rows_stopped_by_a_check_do_not_make_the_next_tier_look_bad():
    job = make_job(2000, [0.5, 1.5], [100, 1000], seed=9, slope=2.0)
    held = np.ones(job.score.shape, np.bool_)
    held[:, 1] = job.score[:, 0] == 0
    view = view_of(job, held, Labels.CHECK)

    belief = beliefs_of(view)

    failed = held[:, 1]
    assert belief[failed, 1].mean() == pytest.approx(job.score[failed, 1].mean(), abs=0.03)
    # It was asked about none of these; that they are the easy ones has to come from the model.
    assert belief[~failed, 1].mean() > belief[failed, 1].mean() + 0.1


def test_the_same_beliefs_about_rows_with_gold_and_their_twins_without():
    job = make_job(200, tells=1.0, seed=12)
    twice = job.take(np.concatenate([np.arange(200), np.arange(200)]))
    held = held_at_random(job, 0.7)
    view = view_of(twice, np.concatenate([held, held]), gold_share=0.5)

    belief = beliefs_of(view)

    assert view.has_gold.sum() == 200
    np.testing.assert_allclose(belief[:200], belief[200:], atol=1e-9)


@pytest.fixture(scope="module")
def learnt() -> tuple[RecordedSet, JobView]:
    job = make_job(1000, tells=1.2, seed=13)
    return job, view_of(job, held=True)


def with_row(view: JobView, **given: object) -> JobView:
    """The view with another last row; it has no gold."""
    changed = {name: getattr(view, name).copy() for name in (*given, "gold")}
    changed["gold"][-1] = UNKNOWN
    for name, value in given.items():
        changed[name][-1] = value
    return replace(view, **changed)


def test_the_surer_an_answer_the_more_it_is_believed(learnt):
    _, view = learnt
    held = [True, False, False]
    given = [
        with_row(view, held=held, value_key=0, confidence=[logprob, np.nan, np.nan])
        for logprob in (-20.0, -1.0, -0.01)
    ]
    low, middle, high = (beliefs_of(one)[-1, 0] for one in given)

    assert low + 0.1 < middle < high - 0.1


def test_answers_that_agree_are_believed_more_than_answers_that_do_not(learnt):
    _, view = learnt
    held = [True, True, False]
    same, other = (
        beliefs_of(with_row(view, held=held, confidence=np.nan, value_key=keys))[-1]
        for keys in ([5, 5, 0], [5, 6, 0])
    )

    assert (same[:2] > other[:2] + 0.1).all()
    assert same[2] > other[2], "what two agree on is easy for the third"


@pytest.mark.parametrize("what", ["fits", "truncated"])
def test_an_answer_that_is_no_answer_is_believed_least(learnt, what):
    _, view = learnt
    values = [[True] * 3, [False, True, True]]
    fine, broken = reversed(values) if what == "truncated" else values
    belief, doubt = (
        beliefs_of(with_row(view, value_key=0, confidence=-0.01, **{what: value}))[-1]
        for value in (fine, broken)
    )

    assert doubt[0] < belief[0] - 0.2
    assert choose_answers(with_row(view, value_key=0, **{what: broken})).tier_no[-1] != 0


def test_one_answer_that_is_right_speaks_for_the_row_and_a_wrong_one_against_it():
    job = make_job(800, [0.5, 1.0], slope=2.0, seed=14)
    held = np.zeros(job.score.shape, np.bool_)
    held[:700] = True
    held[700:, 0] = True
    view = view_of(job, held, Labels.CHECK)

    belief = beliefs_of(view)[700:, 1]

    passed = view.verdict[700:, 0] == 1
    assert belief[passed].mean() > belief[~passed].mean() + 0.2


def test_a_group_of_hard_rows_is_known_after_some_answers():
    job = make_job(900, [0.5, 1.0], seed=15, ease_of_stratum=[1.5, -1.5])
    held = np.zeros(job.score.shape, np.bool_)
    held[:300] = True

    belief = beliefs_of(view_of(job, held))[300:]

    for stratum in (0, 1):
        there = job.stratum[300:] == stratum
        assert belief[there].mean() == pytest.approx(job.score[300:][there].mean(), abs=0.07)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 20), st.floats(0.3, 3))
def test_what_counts_of_confidences_is_their_order(scale, power):
    job = make_job(250, tells=1.0, seed=16)
    view = view_of(job, held_at_random(job))
    bent = -scale * np.abs(view.confidence.astype(np.float64)) ** power
    other = replace(view, confidence=bent.astype(np.float64))

    np.testing.assert_allclose(beliefs_of(view), beliefs_of(other), atol=1e-6)


def test_a_confidence_that_is_always_the_same_counts_as_none():
    job = make_job(250, seed=17)
    view = view_of(job, held_at_random(job))
    given = [
        replace(view, confidence=np.full(job.score.shape, value, np.float32))
        for value in (-0.3, np.nan)
    ]

    np.testing.assert_array_equal(*(beliefs_of(one) for one in given))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(Labels))
def test_the_order_of_the_rows_does_not_matter(seed, labels):
    job = make_job(120, tells=1.0, seed=18, ease_of_stratum=[0, 1])
    order = np.random.default_rng(seed).permutation(120)
    held = held_at_random(job)
    view = view_of(job, held, labels)
    other = view_of(job.take(order), held[order], labels)

    np.testing.assert_allclose(beliefs_of(view)[order], beliefs_of(other), atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 999),
    st.sampled_from(Labels),
    st.sampled_from([-np.inf, -1e30, 0.0, 3.0, np.nan]),
    st.sampled_from([0.0, 1e-30, 1e18]),
)
def test_beliefs_are_probabilities_whatever_is_seen(
    n_rows, n_tiers, seed, labels, logprob, input_size
):
    rng = np.random.default_rng(seed)
    job = make_job(n_rows, [0.0] * n_tiers, [1] * n_tiers, seed=seed)
    view = view_of(job, rng.random((n_rows, n_tiers)) < 0.7, labels)
    confidence, size = view.confidence.copy(), view.input_size.copy()
    confidence[rng.random((n_rows, n_tiers)) < 0.5] = logprob
    size[0] = input_size
    view = replace(view, confidence=confidence, input_size=size)

    belief = beliefs_of(view)

    assert np.isfinite(belief).all()
    assert ((belief >= 0) & (belief <= 1 + 1e-9)).all()
