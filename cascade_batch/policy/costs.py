"""What asking is expected to cost, from what it has cost so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FIRST_RATIO = 0.25
"""Cost as a share of the worst case before any answer is seen: a worst case counts every byte of the request
as a token and every answer as long as it may be."""
_PRIOR_ANSWERS = 5
"""What a ratio borrowed from elsewhere weighs, in answers seen."""
_LARGEST_FLOAT = float(2**63 - 2**10)
"""The largest float that an int64 holds."""


def estimate_costs(
    worst_nanousd: NDArray[np.int64],
    answers: NDArray[np.int64],
    cost_sum_nanousd: NDArray[np.int64],
    worst_sum_nanousd: NDArray[np.int64],
) -> NDArray[np.int64]:
    """[N, T] expected cost of asking each row on each tier, at least 1 where anything is charged.

    A row's worst case times the tier's ratio of cost to worst case among the answers seen. A tier with
    few answers leans on the nearest tier with answers (the cheaper of two equally near), and where no tier
    has any, on `FIRST_RATIO`. Never above the worst case.

    Args:
        worst_nanousd: [N, T] worst case of asking each row on each tier.
        answers: [T] answers seen on each tier.
        cost_sum_nanousd: [T] what they cost together.
        worst_sum_nanousd: [T] what their worst cases add up to.
    """
    ratio = _ratios(
        answers.astype(np.float64),
        cost_sum_nanousd.astype(np.float64),
        worst_sum_nanousd.astype(np.float64),
    )
    expected = np.minimum(np.ceil(worst_nanousd * ratio), _LARGEST_FLOAT).astype(np.int64)
    np.maximum(expected, 1, out=expected)
    return np.minimum(expected, worst_nanousd, out=expected)


def _ratios(
    answers: NDArray[np.float64], cost: NDArray[np.float64], worst: NDArray[np.float64]
) -> NDArray[np.float64]:
    seen = np.flatnonzero((answers > 0) & (worst > 0))
    observed = np.full(answers.size, FIRST_RATIO)
    observed[seen] = np.minimum(cost[seen] / worst[seen], 1.0)
    ratios = np.empty(answers.size)
    for tier in range(answers.size):
        others = seen[seen != tier]
        borrowed = FIRST_RATIO
        if others.size:
            borrowed = observed[others[np.abs(others - tier).argmin()]]
        weight = answers[tier] if tier in seen else 0.0
        ratios[tier] = (weight * observed[tier] + _PRIOR_ANSWERS * borrowed) / (
            weight + _PRIOR_ANSWERS
        )
    return ratios
