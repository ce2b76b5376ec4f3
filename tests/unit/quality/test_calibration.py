"""From evidence to the probability of being right: what is believed, learned and assumed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_batch.quality import Evidence, estimate_quality, expected_quality


def evidence(n_rows, n_tiers, **given_arrays):
    """Nothing held, nothing known, but for the arrays given."""
    shape = (n_rows, n_tiers)
    arrays = {
        "held": np.zeros(shape, bool),
        "passed": np.full(shape, np.nan),
        "logprob": np.full(shape, np.nan),
        "truncated": np.zeros(shape, bool),
    }
    arrays.update(given_arrays)
    arrays.setdefault("fits", arrays["held"].copy())
    return Evidence(**arrays)


def drafts(n_rows, n_tiers=1, **given_arrays):
    held = np.zeros((n_rows, n_tiers), bool)
    held[:, 0] = True
    return evidence(n_rows, n_tiers, held=held, **given_arrays)


def simulated(n_rows, label_share, *, rng, n_tiers=1):
    """Drafts whose log-probability tells how likely they are right, far from what it claims to be."""
    p = rng.uniform(0.1, 0.9, n_rows)
    right = rng.random(n_rows) < p
    logprob = np.full((n_rows, n_tiers), np.nan)
    logprob[:, 0] = -0.001 * (1 - p) ** 2
    passed = np.full((n_rows, n_tiers), np.nan)
    labelled = rng.random(n_rows) < label_share
    passed[labelled, 0] = right[labelled]
    return drafts(n_rows, n_tiers, logprob=logprob, passed=passed), p, labelled


def test_quality_is_known_exactly_where_an_answer_is_held():
    held = np.array([[True, False, False], [False, False, True], [False, False, False]])
    quality = estimate_quality(evidence(3, 3, held=held)).quality
    assert (np.isnan(quality) == ~held).all()


def test_a_check_that_decided_is_believed():
    passed = np.array([[1.0], [0.0], [np.nan]])
    quality = estimate_quality(drafts(3, passed=passed)).quality[:, 0]
    assert quality[0] == pytest.approx(0.99)
    assert quality[1] == pytest.approx(0.01)
    assert quality[1] < quality[2] < quality[0]


def test_an_answer_that_does_not_fit_is_worth_less_than_any_that_does():
    fits = np.array([[False], [True], [True]])
    passed = np.array([[0.0], [0.0], [np.nan]])
    logprob = np.array([[0.0], [-9.0], [-9.0]])
    quality = estimate_quality(drafts(3, fits=fits, passed=passed, logprob=logprob)).quality[:, 0]
    assert quality[0] < quality[1] < quality[2]
    assert quality[0] < 0.005


def test_without_labels_the_surer_answer_is_the_better_one_and_it_is_called_a_prior():
    logprob = np.log(np.array([[0.9], [0.5], [0.1], [np.nan]]))
    estimate = estimate_quality(drafts(4, logprob=logprob))
    quality = estimate.quality[:, 0]
    assert quality[0] > quality[1] > quality[2]
    assert quality[2] < quality[3] < quality[0]
    assert estimate.basis == ("prior",)


def test_dearer_tiers_are_expected_to_be_better_until_something_is_known():
    estimate = estimate_quality(evidence(5, 4))
    assert (np.diff(estimate.tier_quality) > 0).all()
    assert estimate.basis == ("prior",) * 4


def test_a_hundred_labels_calibrate_what_the_model_claims():
    proof, p, labelled = simulated(20_000, 0.1, rng=np.random.default_rng(3))
    estimate = estimate_quality(proof)
    assert estimate.basis == ("calibrated",)
    quality = estimate.quality[~labelled, 0]
    truth = p[~labelled]
    for low in (0.1, 0.3, 0.5, 0.7):
        among = (truth >= low) & (truth < low + 0.2)
        assert quality[among].mean() == pytest.approx(truth[among].mean(), abs=0.06)


def test_fewer_labels_shift_the_level_and_leave_a_prior():
    proof, _, _ = simulated(400, 0.2, rng=np.random.default_rng(0))
    assert estimate_quality(proof).basis == ("prior",)
    few_passes = np.where(np.arange(400)[:, None] < 80, 0.0, np.nan)
    assert estimate_quality(drafts(400, passed=few_passes)).quality[-1, 0] < 0.3


def test_log_probabilities_that_say_nothing_are_not_believed():
    rng = np.random.default_rng(1)
    passed = np.where(np.arange(5_000) < 1_000, rng.random(5_000) < 0.7, np.nan)[:, None]
    logprob = -rng.exponential(1.0, (5_000, 1))
    quality = estimate_quality(drafts(5_000, passed=passed, logprob=logprob)).quality[1_000:, 0]
    assert quality.mean() == pytest.approx(0.7, abs=0.05)
    assert quality.std() < 0.05


def test_missing_log_probabilities_are_learned_about_too():
    rng = np.random.default_rng(2)
    missing = rng.random(4_000) < 0.5
    right = rng.random(4_000) < np.where(missing, 0.2, 0.9)
    passed = np.where(rng.random(4_000) < 0.3, right, np.nan)[:, None]
    logprob = np.where(missing, np.nan, -rng.exponential(1.0, 4_000))[:, None]
    quality = estimate_quality(drafts(4_000, passed=passed, logprob=logprob)).quality[:, 0]
    open_ = np.isnan(passed[:, 0])
    assert quality[open_ & missing].mean() == pytest.approx(0.2, abs=0.07)
    assert quality[open_ & ~missing].mean() == pytest.approx(0.9, abs=0.07)


def test_the_share_right_after_a_failed_draft_is_not_taken_for_the_tiers_accuracy():
    # The dear tier is right on 60 % of what the cheap one gets wrong and on 95 % of the rest. Checked rows
    # went up only where their draft failed; unchecked ones went up as they came.
    rng = np.random.default_rng(4)
    n_rows = 20_000
    cheap = rng.random(n_rows) < 0.6
    dear = rng.random(n_rows) < np.where(cheap, 0.95, 0.6)
    checked = rng.random(n_rows) < 0.3
    held = np.column_stack([np.ones(n_rows, bool), ~checked | ~cheap])
    passed = np.where(checked[:, None] & held, np.column_stack([cheap, dear]), np.nan)
    estimate = estimate_quality(evidence(n_rows, 2, held=held, passed=passed))
    assert estimate.basis == ("calibrated", "calibrated")
    assert estimate.quality[~checked, 1].mean() == pytest.approx(dear[~checked].mean(), abs=0.03)
    assert estimate.rescue[1] == pytest.approx(0.6, abs=0.03)
    assert estimate.tier_quality[1] == pytest.approx(dear.mean(), abs=0.03)


def test_a_dearer_tier_that_mends_nothing_is_not_expected_to():
    held = np.ones((300, 2), bool)
    estimate = estimate_quality(evidence(300, 2, held=held, passed=np.zeros((300, 2))))
    assert estimate.rescue[1] < 0.05
    assert estimate.tier_quality[1] < 0.1


def test_an_answer_cut_off_is_worth_less_than_a_whole_one():
    truncated = np.array([[True], [False]])
    quality = estimate_quality(drafts(2, truncated=truncated)).quality[:, 0]
    assert quality[0] < quality[1]


def test_expected_quality_leaves_less_to_gain_on_better_answers():
    passed = np.array([[1.0, np.nan], [np.nan, np.nan], [0.0, np.nan]])
    estimate = estimate_quality(drafts(3, 2, passed=passed))
    gain = expected_quality(estimate)[:, 1] - estimate.quality[:, 0]
    assert gain[0] < 0 < gain[1] < gain[2]


def test_a_row_without_an_answer_is_expected_to_be_like_any_other():
    estimate = estimate_quality(evidence(2, 3))
    assert (expected_quality(estimate) == estimate.tier_quality).all()


@st.composite
def any_evidence(draw):
    n_rows, n_tiers = draw(st.integers(0, 40)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (n_rows, n_tiers)
    held = rng.random(shape) < draw(st.floats(0, 1))
    logprob = -rng.exponential(1.0, shape) * rng.choice([0.0, 1e-9, 1.0, 9999.0], shape)
    return Evidence(
        held=held,
        passed=rng.choice([0.0, 1.0, math.nan], shape),
        fits=rng.random(shape) < 0.8,
        logprob=np.where(rng.random(shape) < 0.3, np.nan, logprob),
        truncated=rng.random(shape) < 0.1,
    )


@settings(deadline=None)
@given(any_evidence())
def test_any_evidence_gives_probabilities_and_the_same_ones_again(proof):
    estimate = estimate_quality(proof)
    held = proof.held
    assert (np.isnan(estimate.quality) == ~held).all()
    assert (estimate.quality[held] > 0).all()
    assert (estimate.quality[held] < 1).all()
    assert ((expected_quality(estimate) > 0) & (expected_quality(estimate) < 1)).all()
    assert np.array_equal(estimate.quality, estimate_quality(proof).quality, equal_nan=True)
