"""The product's planner, as a replay asks it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy import JobView, Wave, choose_answers, plan_wave


class ProductPlanner:
    """Plans and chooses as a job of this policy and seed would."""

    def __init__(self, policy: PolicyName, seed: int) -> None:
        self._policy = policy
        self._seed = seed

    def plan(self, view: JobView, wave: int) -> Wave:
        """The next wave, counted from 1."""
        return plan_wave(view, self._policy, seed=self._seed, wave=wave)

    def choose(self, view: JobView) -> NDArray[np.int16]:
        """The tier of each row's final answer."""
        return choose_answers(view).tier_no
