"""What a pilot foretells: the frontier of the job that is still to come.

A pilot asked some rows on every tier. The frontier is that of a job that begins with no answer, and with all
that the pilot has taught.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.frontier import draw_frontier
from cascade_batch.policy.view import Amounts, Bools, Floats, JobView, Labels

N_BUDGETS = 16
WORTH_DOUBLING = 0.01
"""A budget is enough when twice as much is expected to bring less than this much quality: a point."""
_SEARCHED = 120
_WIDTH = 1.645


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a job of so much money is expected to come to; B budgets, ascending.

    Attributes:
        budget_nanousd: [B] budgets of the job; what the pilot has cost is no part of them.
        quality: [B] expected mean quality of all rows' final answers.
        low: [B] lower end of the 90 % interval.
        high: [B] upper end.
        supported: [B] False where the plan leans on a tier that gave too few answers.
        is_measured: False: too few labels were seen; the numbers order budgets and measure nothing.
        enough_nanousd: The least budget of which twice as much brings less than `WORTH_DOUBLING` more.
    """

    budget_nanousd: Amounts
    quality: Floats
    low: Floats
    high: Floats
    supported: Bools
    is_measured: bool
    enough_nanousd: int

    def at(self, budget_nanousd: int) -> tuple[float, float, float]:
        """Quality at a budget and the ends of its interval, between its neighbours."""
        quality, low, high = (
            float(np.interp(budget_nanousd, self.budget_nanousd, values))
            for values in (self.quality, self.low, self.high)
        )
        return quality, low, high


def pilot_rows(has_gold: Bools, most: int, seed: int) -> NDArray[np.intp]:
    """Rows for a pilot, ascending: at random, and those first whose right answer is known, as there is
    nothing else to measure by.

    Args:
        has_gold: [N] of the rows to draw from.
        most: How many to draw.
        seed: The job's seed.
    """
    order = np.random.default_rng((seed, 8)).permutation(has_gold.size)
    order = order[np.argsort(~has_gold[order], kind="stable")]
    return np.sort(order[:most])


def predict(
    view: JobView, *, rows: int, least_nanousd: int, own_nanousd: int | None, seed: int
) -> Prediction:
    """Foretell a job.

    Args:
        view: The pilot's rows with their answers, and rows without any that stand for the job's.
        rows: Rows of the job.
        least_nanousd: The least budget that the job may have.
        own_nanousd: A budget to look at among others; None: none.
        seed: The job's seed.
    """
    to_come = np.flatnonzero(~view.held.any(axis=1))
    scale = rows / to_come.size
    budgets = _budgets(view, to_come, scale, least_nanousd, own_nanousd)
    drawn = np.ceil(budgets / scale).astype(np.int64)
    frontier = draw_frontier(
        view, budget_nanousd=int(drawn[0]), seed=seed, budgets=drawn, of=to_come
    )
    quality, low, high = frontier.quality, frontier.low, frontier.high
    if view.labels == Labels.CHECK:
        seen = _best_seen(view) / max(float(frontier.quality[-1]), 1e-9)
        quality, low, high = (np.clip(values * seen, 0.0, 1.0) for values in (quality, low, high))
    if view.labels != Labels.GOLD:
        # What the frontier corrects by gold, it takes on trust from others: but a share of so many rows is
        # never known better than by its standard error.
        asked = max(int(view.held.any(axis=1).sum()), 1)
        half = np.sqrt(((high - low) / 2) ** 2 + _WIDTH**2 * quality * (1.0 - quality) / asked)
        low, high = np.clip(quality - half, 0.0, 1.0), np.clip(quality + half, 0.0, 1.0)
    return Prediction(
        budget_nanousd=budgets,
        quality=quality,
        low=low,
        high=high,
        supported=frontier.supported,
        is_measured=frontier.is_measured,
        enough_nanousd=_enough(budgets, quality),
    )


def _budgets(
    view: JobView, to_come: NDArray[np.intp], scale: float, least: int, own: int | None
) -> Amounts:
    """From the least that the job may have to all rows on the dearest tier and half as much again."""
    cost = (expected_costs(view) + view.judge_nanousd[:, None])[to_come].sum(axis=0)
    most = max(float(cost.max()) * scale * 1.5, 4.0 * least, 2.0 * (own or 0), 2.0)
    even = np.geomspace(max(least, 1), most, N_BUDGETS).astype(np.int64)
    even[0] = least
    return np.unique(np.append(even, [b for b in (own,) if b is not None and b > least]))


def _best_seen(view: JobView) -> float:
    """Share of the rows asked on every tier on which the check passed some answer: as far as money can go.
    Tiers fail together more often than the model's one dimension of ease makes out, which on recorded sets
    put the frontier some points too high."""
    asked = view.held.all(axis=1)
    passed = (view.verdict[asked] == 1).any(axis=1)
    return float(passed.mean()) if passed.size else 1.0


def _enough(budgets: Amounts, quality: Floats) -> int:
    """The least budget of which twice as much is hardly better, to two digits, rounded up."""
    least = int(budgets[0])
    tried = np.geomspace(max(least, 1), max(int(budgets[-1]), 1), _SEARCHED)
    gained = np.interp(tried * 2, budgets, quality) - np.interp(tried, budgets, quality)
    enough = float(tried[np.flatnonzero(gained < WORTH_DOUBLING)[0]])
    step = 10.0 ** (np.floor(np.log10(max(enough, 1.0))) - 1)
    # Rounded up, as what is rounded down may be less than the least.
    return max(int(np.ceil(round(enough / step, 6)) * step), least)
