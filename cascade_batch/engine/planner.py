"""What the engine asks of a planner: three questions, and nothing else."""

from __future__ import annotations

from typing import Protocol

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy import Choice, JobView, Wave, choose_answers, plan_wave
from cascade_batch.policy.frontier import Frontier, draw_frontier


class Planner(Protocol):
    """Decides what is bought next, and what counts in the end. Pure: the same view gives the same answer.

    It is called without any lock, and may take its time.
    """

    def plan_wave(self, view: JobView, policy: PolicyName, *, seed: int, wave: int) -> Wave:
        """The next wave. Empty: nothing more to buy for now, and for good if nothing is in flight."""

    def choose_answers(self, view: JobView) -> Choice:
        """The best of what each row holds, once nothing more is bought."""

    def draw_frontier(self, view: JobView, *, budget_nanousd: int, seed: int) -> Frontier:
        """What other budgets are expected to bring."""


class PolicyPlanner:
    """The planner of `cascade_batch.policy`."""

    def plan_wave(self, view: JobView, policy: PolicyName, *, seed: int, wave: int) -> Wave:
        """The next wave."""
        return plan_wave(view, policy, seed=seed, wave=wave)

    def choose_answers(self, view: JobView) -> Choice:
        """The best of what each row holds."""
        return choose_answers(view)

    def draw_frontier(self, view: JobView, *, budget_nanousd: int, seed: int) -> Frontier:
        """What other budgets are expected to bring."""
        return draw_frontier(view, budget_nanousd=budget_nanousd, seed=seed)


PLANNER: Planner = PolicyPlanner()
