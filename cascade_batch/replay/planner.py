"""The product's planner, as a replay asks it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy import JobView as FirstView
from cascade_batch.policy import choose_answers, estimate_costs, plan_wave
from cascade_batch.policy.view import UNKNOWN, JobView, Reason, Wave
from cascade_batch.quality import Estimate, Evidence, estimate_quality, expected_quality


class ProductPlanner:
    """Plans and chooses as a job of this policy and seed would."""

    def __init__(self, policy: PolicyName, seed: int) -> None:
        self._policy = policy
        self._seed = seed

    def plan(self, view: JobView, wave: int) -> Wave:
        """The next wave, counted from 1."""
        estimate = _estimate(view)
        first = FirstView(
            quality=estimate.quality,
            asked=view.barred,
            worst_nanousd=view.worst_nanousd,
            expected_nanousd=_expected_costs(view),
            tier_quality=expected_quality(estimate),
            free_nanousd=max(view.free_nanousd, 0),
            fenced_nanousd=int(view.fence_nanousd.sum()),
        )
        bought = plan_wave(first, self._policy, seed=self._seed, wave=wave)
        rows, tiers = bought.row_no, bought.tier_no
        held = view.held[rows].any(axis=1)
        return Wave(
            row_no=rows,
            tier_no=tiers,
            action=np.zeros(len(rows), np.int8),
            reason=np.where(held, Reason.ESCALATE, Reason.START).astype(np.int8),
            gain=bought.gain.astype(np.float32),
            expected_nanousd=first.expected_nanousd[rows, tiers],
            draw_probability=np.ones(len(rows), np.float32),
            price_of_money=0.0,
        )

    def choose(self, view: JobView) -> NDArray[np.int16]:
        """The tier of each row's final answer."""
        return choose_answers(_estimate(view).quality)


def _estimate(view: JobView) -> Estimate:
    known = view.verdict != UNKNOWN
    return estimate_quality(
        Evidence(
            held=view.held,
            passed=np.where(known, view.verdict, np.nan),
            fits=view.fits,
            logprob=view.confidence,
            truncated=view.truncated,
        )
    )


def _expected_costs(view: JobView) -> NDArray[np.int64]:
    return estimate_costs(
        view.worst_nanousd,
        view.held.sum(axis=0),
        view.cost_nanousd.sum(axis=0),
        np.where(view.held, view.worst_nanousd, 0).sum(axis=0),
    )
