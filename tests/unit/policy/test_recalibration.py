"""What labels say of all beliefs at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.policy.recalibration import recalibrated


@given(
    st.lists(st.floats(0.01, 0.99), min_size=20, max_size=60),
    st.floats(-0.05, 0.05),
)
def test_the_mean_moves_by_about_as_much_and_the_order_stays(values: list[float], by: float):
    quality = np.array(values)
    moved = recalibrated(quality, by)
    assert ((moved > 0) & (moved < 1)).all()
    assert (np.diff(moved[np.argsort(quality)]) >= -1e-12).all()
    shift = moved.mean() - quality.mean()
    assert shift * by >= -1e-12
    assert abs(shift) <= abs(by) * 1.5 + 1e-9


def test_usual_qualities_move_by_just_as_much():
    quality = np.linspace(0.5, 0.98, 200)
    assert recalibrated(quality, 0.03).mean() - quality.mean() == pytest.approx(0.03, abs=0.006)
    assert recalibrated(quality, -0.03).mean() - quality.mean() == pytest.approx(-0.03, abs=0.006)


def test_what_is_certain_stays_so_and_what_nobody_measured_unmeasured():
    quality = np.array([1.0, 0.0, np.nan, 0.6])
    moved = recalibrated(quality, 0.1)
    assert moved[:2].tolist() == [1.0, 0.0]
    assert np.isnan(moved[2])
    assert 0.6 < moved[3] < 0.95
    assert np.isnan(recalibrated(np.array([np.nan]), 0.1)).all()
