"""Where rows start: the tier of each draft, and the tier that its ring fence is sized by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.amounts import affordable_prefix


def fence_tier(worst_nanousd: NDArray[np.int64]) -> NDArray[np.int16]:
    """[N] the tier of each row whose worst case [N, T] is lowest, the first of equals.

    Not always tier 0: a price per call or a higher token limit can make a tier that is cheap on most
    rows dear on some.
    """
    tier: NDArray[np.int16] = worst_nanousd.argmin(axis=1).astype(np.int16)
    return tier


def start_tiers(
    policy: PolicyName,
    worst_nanousd: NDArray[np.int64],
    budget_nanousd: int,
    seed: int,  # noqa: ARG001 - every planner is given one; this one draws nothing before the first wave
) -> NDArray[np.int16]:
    """[N] the tier on which each row is drafted.

    The policy's tier (the dearest for `dearest`, the cheapest for all others) for as many rows, in row
    order, as the budget carries at worst case while every other row stays affordable on its `fence_tier`.

    Args:
        policy: The job's policy.
        worst_nanousd: [N, T] worst case of asking each row on each tier.
        budget_nanousd: The job's budget. If it does not even carry every row on its fence tier, all rows
            get that; refusing such a job is the caller's business.
        seed: The job's seed.
    """
    start = fence_tier(worst_nanousd)
    rows = np.arange(start.size)
    fence_nanousd = worst_nanousd[rows, start]
    wanted = worst_nanousd.shape[1] - 1 if policy == "dearest" else 0
    if affordable_prefix(fence_nanousd, budget_nanousd) == start.size:
        spare_nanousd = budget_nanousd - int(fence_nanousd.sum())
        extra_nanousd = worst_nanousd[:, wanted] - fence_nanousd
        start[: affordable_prefix(extra_nanousd, spare_nanousd)] = wanted
    return start
