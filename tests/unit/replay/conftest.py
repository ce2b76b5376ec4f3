"""Small recorded sets, made up; and planners that are simpler than the product's.

* `make_set`: a `RecordedSet` from scores and costs.
* `made_sets`: a hypothesis strategy of them.
* `wave_of`: a wave that buys these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from cascade_batch.policy.view import JobView, Wave
from cascade_batch.replay.recorded import RecordedSet
from cascade_batch.replay.simulate import Reserve


def make_set(score: ArrayLike, cost_nanousd: ArrayLike, **given: Any) -> RecordedSet:
    scores, costs = np.asarray(score, np.float64), np.asarray(cost_nanousd, np.int64)
    n_rows, n_tiers = scores.shape
    arrays: dict[str, Any] = {
        "worst_nanousd": costs * 3,
        "confidence": -np.arange(1, scores.size + 1, dtype=np.float32).reshape(scores.shape),
        "length": np.arange(1, scores.size + 1, dtype=np.float32).reshape(scores.shape),
        "input_size": np.arange(n_rows, dtype=np.float32),
        "value_key": np.arange(1, scores.size + 1).reshape(scores.shape),
        "fits": np.ones(scores.shape, np.bool_),
        "stratum": np.zeros(n_rows, np.int32),
        "stratum_names": ("all",),
    }
    tiers = tuple(f"tier-{no}" for no in range(n_tiers))
    return RecordedSet("made", tiers, scores, costs, **{**arrays, **given})


@st.composite
def made_sets(draw: st.DrawFn, max_rows: int = 5, max_tiers: int = 4) -> RecordedSet:
    n_rows = draw(st.integers(1, max_rows))
    n_tiers = draw(st.integers(2, max_tiers))
    cells = n_rows * n_tiers
    scores = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=cells, max_size=cells))
    costs = draw(st.lists(st.integers(1, 50), min_size=cells, max_size=cells))
    shape = (n_rows, n_tiers)
    return make_set(np.reshape(scores, shape), np.reshape(costs, shape))


def wave_of(row_no: ArrayLike, tier_no: ArrayLike) -> Wave:
    rows = np.asarray(row_no, np.int32)
    tiers = np.broadcast_to(np.asarray(tier_no, np.int16), rows.shape)
    return Wave(
        row_no=rows,
        tier_no=tiers,
        action=np.zeros(rows.size, np.int8),
        reason=np.zeros(rows.size, np.int8),
        gain=np.zeros(rows.size, np.float32),
        expected_nanousd=np.zeros(rows.size, np.int64),
        draw_probability=np.ones(rows.size, np.float32),
        price_of_money=0.0,
    )


class OneTier:
    """Every row but the first on one tier; what can't be paid there, on the first tier."""

    def __init__(self, tier: int) -> None:
        self.tier = tier

    def plan(self, view: JobView, wave: int) -> Wave:
        rows = np.flatnonzero(~view.held.any(axis=1))
        return wave_of(rows, np.where(rows > 0, self.tier, 0) if wave == 1 else 0)

    def choose(self, view: JobView) -> NDArray[np.int16]:
        return dearest_held(view)


class RandomBuyer:
    """Asks for random answers in random waves, then for every row without one on the first tier; keeps the
    views that it was shown."""

    def __init__(self, seed: int, reserve: Reserve = Reserve.RECORDED) -> None:
        self.rng = np.random.default_rng(seed)
        self.reserve = reserve
        self.views: list[JobView] = []

    def plan(self, view: JobView, wave: int) -> Wave:
        self.views.append(view)
        n_rows, n_tiers = view.shape
        if wave <= 4:
            rows = self.rng.permutation(n_rows)[: self.rng.integers(1, n_rows + 1)]
            tiers = self.rng.integers(n_tiers, size=rows.size)
            unanswered = np.flatnonzero(~view.held.any(axis=1))
            if unanswered.size:
                # Always affordable: a wave of which nothing is bought ends the job.
                rows = np.append(rows[rows != unanswered[0]], unanswered[0])
                tiers = np.append(tiers[: rows.size - 1], self.start(view)[unanswered[0]])
            free = ~view.barred[rows, tiers]
            if free.any():
                return wave_of(rows[free], tiers[free])
        rows = np.flatnonzero(~view.held.any(axis=1))
        return wave_of(rows, self.start(view)[rows])

    def start(self, view: JobView) -> NDArray[np.intp]:
        """The tier that the ring fence pays for: the first, or the cheapest at worst."""
        if self.reserve == Reserve.RECORDED:
            return np.zeros(view.shape[0], np.intp)
        return view.worst_nanousd.argmin(axis=1)

    def choose(self, view: JobView) -> NDArray[np.int16]:
        self.views.append(view)
        return dearest_held(view)


def dearest_held(view: JobView) -> NDArray[np.int16]:
    n_tiers = view.shape[1]
    dearest = n_tiers - 1 - view.held[:, ::-1].argmax(axis=1)
    return np.where(view.held.any(axis=1), dearest, -1).astype(np.int16)
