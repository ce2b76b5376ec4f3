"""The planner's door: one function, whatever the policy."""

from __future__ import annotations

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.every import plan_every
from cascade_batch.policy.rivals import plan_rival
from cascade_batch.policy.view import JobView, Wave
from cascade_batch.policy.waves import plan_auto


def plan_wave(view: JobView, policy: PolicyName, *, seed: int, wave: int) -> Wave:
    """What to release now; empty, with nothing in flight: nothing is left to buy, the job is done.

    Args:
        view: The job as it stands.
        policy: The job's policy.
        seed: The job's seed: the same view, seed and wave give the same answer.
        wave: Number of the wave, from 1.
    """
    if policy == "every":
        return plan_every(view, seed=seed)
    if policy != "auto":
        return plan_rival(view, policy, seed=seed, wave=wave)
    if view.shape[1] == 1 and not view.unjudged.any():
        # Nothing to choose.
        return plan_rival(view, "cheapest", seed=seed, wave=wave)
    return plan_auto(view, seed=seed, wave=wave)
