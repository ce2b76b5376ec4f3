"""Expected quality as a function of the budget: what a job could have had for less, and gets for more.

The curve is the planner's own expectation: at every budget the price of money is found at which all that it
would still buy meets the money, and the worth of all rows is added up. For budgets that are spent already the
job is taken as if it began anew; beyond them it goes on from what it holds.

Two corrections make it honest. Where answers are labelled, what the model expects of the answers that stand
is held against their labels, each weighted by the inverse of the probability with which its row came to be
labelled (here one and the same for all: gold is on a random share of rows, and a check speaks on all), and
the mean residue is added: the doubly robust estimate of Dudik, Langford and Li (2011). And the band is wide
enough for what could have been seen instead: the model is fitted anew to resampled rows (Efron's bootstrap),
to which come the error of the residue and the chance in as many rows. How often such bands held what came is
measured by `benchmarks/coverage.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.evidence import Evidence, evidence_of
from cascade_batch.policy.fitting import fit
from cascade_batch.policy.outlook import Outlook
from cascade_batch.policy.recalibration import MIN_LABELS, residue
from cascade_batch.policy.view import Amounts, Bools, Floats, JobView, Labels

_ROWS = 1_000
"""Rows that stand for the job: a mean over more is known well enough."""
_RESAMPLES = 10
_RESAMPLED_ROWS = 500
"""A resample of fewer rows spreads more, by the root of how many times fewer: it is scaled back."""
_WIDTH = 1.645
"""Standard deviations to each side of a normal distribution that hold 90 %."""
_MODEL_SD, _MODEL_SD_AHEAD = 0.008, 0.025
"""What the model misses beyond what resampling shows: of what is bought, and of what is still to be bought.
Found on recorded sets, where bands without it held too little."""
_FEW_ANSWERS = 20
_LEANS = 0.05
"""Share of the expected spending from which on a plan leans on a tier."""
_NANOUSD_PER_USD = 1e9


@dataclass(frozen=True, slots=True)
class Frontier:
    """What money buys; B budgets, ascending.

    Attributes:
        budget_nanousd: [B] the budgets.
        quality: [B] expected mean quality of all rows' final answers.
        low: [B] lower end of the 90 % interval.
        high: [B] upper end.
        supported: [B] False where the plan leans on a tier of which too few answers were seen.
        is_measured: False: too few labels were seen; the numbers order budgets and measure nothing.
        next_usd_gain: Right answers more that one further USD is expected to bring at the job's budget.
    """

    budget_nanousd: Amounts
    quality: Floats
    low: Floats
    high: Floats
    supported: Bools
    is_measured: bool
    next_usd_gain: float


@dataclass(frozen=True, slots=True)
class _Curve:
    quality: Floats
    price: Floats
    spending: Floats
    """[B, T] expected money for each tier, from now on."""


def draw_frontier(
    view: JobView,
    *,
    budget_nanousd: int,
    seed: int,
    n_budgets: int = 12,
    budgets: Amounts | None = None,
    of: NDArray[np.intp] | None = None,
) -> Frontier:
    """Draw the frontier of a job.

    Args:
        view: The job as it stands; what is in flight is taken as not asked.
        budget_nanousd: The job's budget, which is among the budgets of the frontier.
        seed: The job's seed.
        n_budgets: How many budgets there are at least.
        budgets: The budgets, ascending, the job's among them; None: from all rows on the cheapest tier to all
            on the dearest and half as much again.
        of: The rows that the job has; None: all. The others are learnt from, and cost nothing.
    """
    rng = np.random.default_rng((seed, 6))
    view = replace(view, in_flight=np.zeros_like(view.in_flight))
    of = np.arange(len(view.held)) if of is None else of
    rows = np.sort(of[rng.permutation(of.size)[:_ROWS]])
    scale = of.size / rows.size
    spent = int(view.cost_nanousd[of].sum())
    outlook = Outlook(view, seed, rows=rows)
    if budgets is None:
        budgets = _budgets(outlook, scale, budget_nanousd, n_budgets)
    curve = _curve(outlook, budgets, spent, scale)
    evidence = evidence_of(view)
    missed = residue(view, evidence, rng)
    spread = _spread(view, evidence, outlook, curve, budgets, spent, rng)
    quality = np.clip(curve.quality + missed.mean, 0.0, 1.0)
    chance = quality * (1.0 - quality) / of.size
    ahead = np.where(budgets < spent, 1.0, 1.0 - spent / np.maximum(budgets, 1))
    unmodelled = _MODEL_SD + _MODEL_SD_AHEAD * ahead
    deviation = _WIDTH * np.sqrt(spread**2 + missed.sd**2 + chance + unmodelled**2)
    here = int(np.searchsorted(budgets, budget_nanousd))
    return Frontier(
        budget_nanousd=budgets,
        quality=quality,
        low=np.clip(quality - deviation, 0.0, 1.0),
        high=np.clip(quality + deviation, 0.0, 1.0),
        supported=_supported(view, curve),
        is_measured=view.labels != Labels.AGREEMENT and missed.labels >= MIN_LABELS,
        next_usd_gain=float(curve.price[here] * _NANOUSD_PER_USD),
    )


def _budgets(outlook: Outlook, scale: float, own_nanousd: int, n_budgets: int) -> Amounts:
    """From all rows on the cheapest tier to all on the dearest and half as much again, and the job's own."""
    least, most = outlook.cost.sum(axis=0).min() * scale, outlook.cost.sum(axis=0).max() * scale
    even = np.geomspace(max(least, 1.0), max(most * 1.5, own_nanousd, 2.0), n_budgets)
    return np.unique(np.append(even.astype(np.int64), own_nanousd))


def _curve(outlook: Outlook, budgets: Amounts, spent: int, scale: float) -> _Curve:
    quality, price = np.empty((2, budgets.size))
    spending = np.empty((budgets.size, outlook.cost.shape[1]))
    anew = outlook.begun_anew()
    for place, budget in enumerate(budgets.tolist()):
        one = anew if budget < spent else outlook
        money = (budget if budget < spent else budget - spent) / scale
        quality[place], price[place], spending[place] = one.expect(money)
    # More money is never worth less; where the two ways of counting meet, the curve may not fall.
    return _Curve(np.maximum.accumulate(quality), price, spending)


def _spread(
    view: JobView,
    evidence: Evidence,
    outlook: Outlook,
    curve: _Curve,
    budgets: Amounts,
    spent: int,
    rng: np.random.Generator,
) -> Floats:
    """[B] standard deviation of the curve, had other rows been seen."""
    told = np.flatnonzero(view.held.any(axis=1))
    if not told.size:
        return np.full(budgets.size, 0.1)
    drawn = np.empty((_RESAMPLES, budgets.size))
    for i in range(_RESAMPLES):
        model = fit(evidence.take(rng.choice(told, min(told.size, _RESAMPLED_ROWS))), view.labels)
        other = outlook.believing(model)
        anew = other.begun_anew()
        for place, budget in enumerate(budgets.tolist()):
            drawn[i, place] = (anew if budget < spent else other).worth_at(curve.price[place])
    return np.asarray(drawn.std(axis=0) * np.sqrt(min(1.0, _RESAMPLED_ROWS / told.size)))


def _supported(view: JobView, curve: _Curve) -> Bools:
    seen = view.held.sum(axis=0) >= _FEW_ANSWERS
    total = np.maximum(curve.spending.sum(axis=1, keepdims=True), 1.0)
    leans = curve.spending / total > _LEANS
    return np.asarray((~leans | seen[None, :]).all(axis=1))
