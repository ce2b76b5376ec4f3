"""The first planner (`cascade_batch.policy.planner`), asked in the terms of `JobView` and `Wave`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.policy import choose_answers, estimate_costs, plan_wave, start_tiers
from cascade_batch.policy.planner import JobView as FirstView
from cascade_batch.policy.view import UNKNOWN, Action, Bools, Floats, JobView, Reason, Wave
from cascade_batch.quality import Estimate, Evidence, estimate_quality, expected_quality


@dataclass(frozen=True, slots=True)
class FirstChoice:
    """See `cascade_batch.engine.planner.Choice`."""

    tier_no: NDArray[np.int16]
    quality: Floats


class FirstPlanner:
    """See `cascade_batch.engine.planner.Planner`."""

    def plan_wave(self, view: JobView, policy: PolicyName, *, seed: int, wave: int) -> Wave:
        """The next wave."""
        estimate = estimate_quality(_evidence(view))
        fenced = int(view.fence_nanousd.sum())
        expected = _expected_costs(view)
        if not (view.barred.any() or view.in_flight.any()):
            tier = start_tiers(policy, view.worst_nanousd, view.free_nanousd + fenced, seed)
            row = np.arange(len(tier), dtype=np.int32)
            gain = np.asarray(estimate.tier_quality[tier])
        else:
            on_its_way = view.in_flight.any(axis=1, keepdims=True)
            bought = plan_wave(
                FirstView(
                    quality=estimate.quality,
                    asked=view.barred | on_its_way,
                    worst_nanousd=view.worst_nanousd,
                    expected_nanousd=expected,
                    tier_quality=expected_quality(estimate),
                    free_nanousd=max(view.free_nanousd, 0),
                    fenced_nanousd=max(fenced + min(view.free_nanousd, 0), 0),
                ),
                policy,
                seed=seed,
                wave=wave,
            )
            row, tier, gain = bought.row_no, bought.tier_no, bought.gain
        is_first = np.asarray(~view.held[row].any(axis=1))
        reason = np.where(gain > 0, Reason.ESCALATE, Reason.FILL)
        cost = expected[row, tier]
        return Wave(
            row_no=row,
            tier_no=tier,
            action=np.full(len(row), Action.ANSWER, dtype=np.int8),
            reason=np.where(is_first, Reason.START, reason).astype(np.int8),
            gain=gain.astype(np.float32),
            expected_nanousd=cost,
            draw_probability=np.ones(len(row), dtype=np.float32),
            price_of_money=_marginal(gain[~is_first], cost[~is_first]),
        )

    def choose_answers(self, view: JobView) -> FirstChoice:
        """The best of what each row holds."""
        estimate = estimate_quality(_evidence(view))
        tier_no = choose_answers(estimate.quality)
        measured = np.where(_is_measured(estimate, view), estimate.quality, np.nan)
        chosen = measured[np.arange(len(tier_no)), np.maximum(tier_no, 0)]
        return FirstChoice(tier_no, np.where(tier_no < 0, np.nan, chosen))


def _evidence(view: JobView) -> Evidence:
    mark = np.where(view.verdict == UNKNOWN, view.gold, view.verdict)
    return Evidence(
        held=view.held,
        passed=np.where(mark == UNKNOWN, np.nan, mark),
        fits=view.fits,
        logprob=view.confidence,
        truncated=view.truncated,
    )


def _expected_costs(view: JobView) -> NDArray[np.int64]:
    return estimate_costs(
        view.worst_nanousd,
        view.held.sum(axis=0),
        view.cost_nanousd.sum(axis=0),
        np.where(view.held, view.worst_nanousd, 0).sum(axis=0),
    )


def _marginal(gain: Floats, expected_nanousd: NDArray[np.int64]) -> float:
    """Expected quality per USD of the last purchase that promises any; 0 where none does."""
    promising = np.flatnonzero(gain > 0)
    if not promising.size:
        return 0.0
    last = promising[-1]
    return float(gain[last] * NANOUSD_PER_USD / max(int(expected_nanousd[last]), 1))


def _is_measured(estimate: Estimate, view: JobView) -> Bools:
    """[N, T] whether a quality comes from a check, or from a model fitted to checked answers. What comes
    from a prior alone serves to choose, and is not shown: nobody measured it."""
    is_fitted = np.array([basis == "calibrated" for basis in estimate.basis])
    is_marked = (view.verdict != UNKNOWN) | (view.gold != UNKNOWN)
    return np.asarray(is_marked | is_fitted[None, :])
