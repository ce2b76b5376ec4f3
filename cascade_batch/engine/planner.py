"""What the engine asks of a planner: two questions, and nothing else."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.engine.first_planner import FirstPlanner
from cascade_batch.policy.view import Floats, JobView, Wave


class Choice(Protocol):
    """Which answer stands for each row."""

    @property
    def tier_no(self) -> NDArray[np.int16]:
        """[N] its tier; -1: the row has none."""

    @property
    def quality(self) -> Floats:
        """[N] its quality, NaN where nobody measured it."""


class Planner(Protocol):
    """Decides what is bought next, and what counts in the end. Pure: the same view gives the same answer.

    It is called without any lock, and may take its time.
    """

    def plan_wave(self, view: JobView, policy: PolicyName, *, seed: int, wave: int) -> Wave:
        """The next wave. Empty: nothing more to buy for now, and for good if nothing is in flight."""

    def choose_answers(self, view: JobView) -> Choice:
        """The best of what each row holds, once nothing more is bought."""


PLANNER: Planner = FirstPlanner()
"""The planner of this version."""
