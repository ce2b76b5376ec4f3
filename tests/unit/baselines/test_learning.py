"""What the baselines learn with: regressions that find what is there, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.baselines.confidence_per_dollar import isotonic
from benchmarks.baselines.options import Offer, spend
from benchmarks.baselines.regression import predict


def test_probabilities_are_found_again():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1_200, 3))
    truth = 1 / (1 + np.exp(-(0.5 + 1.5 * features[:, 0])))
    target = (rng.random(1_200) < truth).astype(np.float64)
    target[800:] = np.nan

    found = predict(features, target)

    assert np.abs(found - truth).mean() < 0.05


def test_noise_is_not_taken_for_a_signal():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 8))

    found = predict(features, (rng.random(40) < 0.7).astype(np.float64))

    assert found.std() < 0.15


def test_a_rows_own_label_is_not_used_for_it():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 2))
    target = (features[:, 0] > 0).astype(np.float64)
    # A row alone with a feature: only its own label could say what that means.
    features = np.column_stack([features, np.arange(60) == 17])
    found = predict(features, target)
    target[17] = 1.0 - target[17]

    assert predict(features, target)[17] == pytest.approx(found[17], abs=0.02)


def test_no_label_says_nothing():
    assert predict(np.ones((3, 1)), np.full(3, np.nan)).tolist() == [0.5, 0.5, 0.5]


def test_isotonic_pools_what_falls():
    x = np.array([1.0, 2.0, 3.0, 4.0])

    found = isotonic(x, np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 2.5, 4.0, 9.0]))

    assert found == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_money_goes_to_the_steepest_step_first():
    flat = Offer(10, np.array([0.0, 10.0]), np.array([0.5, 0.6]))
    steep = Offer(10, np.array([0.0, 5.0, 10.0]), np.array([0.5, 0.4, 0.9]))

    mixes = spend([flat, steep], 150.0)

    assert (mixes[1].low, mixes[1].high_share) == (2, 0.0)
    assert (mixes[0].low, mixes[0].high, mixes[0].high_share) == (0, 1, 0.5)


def test_nothing_is_bought_that_gains_nothing():
    offer = Offer(5, np.array([1.0, 3.0]), np.array([0.5, 0.5]))

    assert spend([offer], 1_000.0)[0].low == 0
