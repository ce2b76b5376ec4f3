"""What a policy is measured by: the hull below, the oracle above, and the share of the way between them.

*Hull*: every row is asked once, on a tier drawn at random with the same chances for all rows. Such mixes of
tiers reach the upper concave hull of the tiers' points (cost of all rows, mean score). It needs no draft, no
signal and no thought, so that whatever spends money on drafts has to earn it back first. Beyond its top the
hull stays level: a tier that is dearer and worse takes no part.

*Oracle*: every row is asked once as well, on the tier that a clairvoyant would choose: the most score for the
money over all rows (one row at most is bought in part, which makes it an upper bound).

*nAUC*: mean over budgets of (quality - hull), divided by the mean of (oracle - hull). 0 is a coin, 1 is
clairvoyance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.view import Amounts, Floats
from cascade_batch.replay.recorded import RecordedSet


def budget_range(set_: RecordedSet, n_budgets: int) -> Amounts:
    """Budgets in equal steps, in nano-dollars: from all rows on the first tier to all on the last."""
    first, last = set_.total_nanousd()[[0, -1]].tolist()
    return np.linspace(first, max(first, last), n_budgets).round().astype(np.int64)


def hull(set_: RecordedSet, budgets: Amounts) -> Floats:
    """[B] mean score of the best random mix of single tiers at each budget, in nano-dollars."""
    return np.asarray(hull_mix(set_, budgets) @ set_.score.mean(axis=0), np.float64)


def hull_mix(set_: RecordedSet, budgets: Amounts) -> Floats:
    """[B, T] share of the rows that the best random mix asks on each tier.

    A budget that does not even carry all rows on the cheapest tier gets that tier.
    """
    cost = set_.total_nanousd().astype(np.float64)
    score = set_.score.mean(axis=0)
    corners = [int(np.lexsort((-score, cost))[0])]
    while (better := np.flatnonzero(score > score[corners[-1]])).size:
        slope = _slope(cost[better] - cost[corners[-1]], score[better] - score[corners[-1]])
        # Of equal slopes the farthest, so that no corner lies within an edge.
        corners.append(int(better[np.lexsort((cost[better], slope))[-1]]))
    place = np.interp(budgets, cost[corners], np.arange(len(corners)))
    mix = np.zeros((len(budgets), len(cost)))
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, len(corners) - 1)
    rows, part = np.arange(len(budgets)), place - below
    np.add.at(mix, (rows, np.take(corners, below)), 1.0 - part)
    np.add.at(mix, (rows, np.take(corners, above)), part)
    return mix


@dataclass(frozen=True, slots=True)
class Oracle:
    """The clairvoyant's purchases: each row on its cheapest tier, then steps up, the densest first.

    Attributes:
        base_score: [N] score on the row's cheapest tier.
        base_nanousd: Cost of that for all rows.
        row_no: [K] whose step it is.
        gain: [K] score that the step adds.
        cost_nanousd: [K] what it costs.
    """

    base_score: Floats
    base_nanousd: int
    row_no: NDArray[np.intp]
    gain: Floats
    cost_nanousd: Amounts

    def quality(self, budgets: Amounts) -> Floats:
        """[B] mean score at each budget."""
        spent = np.concatenate([[0], np.cumsum(self.cost_nanousd)])
        gained = np.concatenate([[0.0], np.cumsum(self.gain)])
        extra = np.interp(budgets - self.base_nanousd, spent, gained)
        return np.asarray((self.base_score.sum() + extra) / len(self.base_score), np.float64)

    def row_scores(self, budgets: Amounts) -> Floats:
        """[N] expected score of each row, summed over the budgets."""
        after = np.cumsum(self.cost_nanousd)
        left = (budgets - self.base_nanousd)[:, None] - (after - self.cost_nanousd)[None, :]
        taken = np.clip(left / np.maximum(self.cost_nanousd, 1), 0.0, 1.0).sum(axis=0)
        n_rows = len(self.base_score)
        extra = np.bincount(self.row_no, weights=taken * self.gain, minlength=n_rows)
        return np.asarray(self.base_score * len(budgets) + extra, np.float64)


def oracle(set_: RecordedSet, budgets: Amounts) -> Floats:
    """[B] the best mean score that each budget, in nano-dollars, can buy with each row asked once."""
    return make_oracle(set_).quality(budgets)


def make_oracle(set_: RecordedSet) -> Oracle:
    """Reduce each row to the concave hull of its tiers' (cost, score), and order all steps by density."""
    cost, score = set_.cost_nanousd, set_.score
    rows = np.arange(len(set_))
    # Of the cheapest, the best.
    at = np.where(cost == cost.min(axis=1, keepdims=True), score, -1.0).argmax(axis=1)
    base_score, base_cost = score[rows, at], cost[rows, at]
    steps: list[tuple[NDArray[np.intp], Floats, Amounts, Floats]] = []
    while rows.size:
        extra = cost[rows] - cost[rows, at][:, None]
        gain = score[rows] - score[rows, at][:, None]
        slope = np.where(gain > 0, _slope(extra, gain), -1.0)
        to = slope.argmax(axis=1)
        places = np.arange(rows.size)
        going = slope[places, to] > 0
        rows, to, places = rows[going], to[going], places[going]
        steps.append((rows, gain[places, to], extra[places, to], slope[places, to]))
        at = to
    row_no, gains, costs, slopes = (np.concatenate(column) for column in zip(*steps, strict=True))
    # Stable: equal steps of one row stay in their order.
    order = np.argsort(-slopes, kind="stable")
    return Oracle(base_score, int(base_cost.sum()), row_no[order], gains[order], costs[order])


def nauc(quality: Floats, hull_: Floats, oracle_: Floats) -> float:
    """Share of the way from the hull to the oracle, over all budgets; NaN where there is no way to go."""
    return _ratio(float(np.mean(quality - hull_)), float(np.mean(oracle_ - hull_)))


@dataclass(frozen=True, slots=True)
class RowMargins:
    """What one seed's run adds to nAUC, row by row, summed over the budgets.

    Attributes:
        row_no: [N] the rows, as places in the whole set.
        gained: [N] the policy's score less the hull's expected one.
        possible: [N] the oracle's score less the hull's expected one.
    """

    row_no: NDArray[np.intp]
    gained: Floats
    possible: Floats


def nauc_interval(
    margins: Sequence[RowMargins],
    n_rows: int,
    *,
    confidence: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the mean nAUC over seeds.

    Resampled are the seeds (their draws of rows, order, labels and exploration), and the rows of the set,
    the same rows for all seeds. What was decided for a row stays as it was: jobs are not run again, and the
    budgets are not cut anew to the cost of the resampled rows.

    Args:
        margins: Of each seed.
        n_rows: Rows of the whole set, of which each seed may have seen a sample.
        confidence: Coverage that is aimed for.
        replicates: How often to resample.
        seed: Repeats the interval.
    """
    rng = np.random.default_rng(seed)
    gained, possible = np.zeros((2, len(margins), n_rows))
    for place, margin in enumerate(margins):
        gained[place, margin.row_no] = margin.gained
        possible[place, margin.row_no] = margin.possible
    naucs = np.empty(replicates)
    for place in range(replicates):
        weights = np.bincount(rng.integers(n_rows, size=n_rows), minlength=n_rows)
        seeds = rng.integers(len(margins), size=len(margins))
        way = possible @ weights
        with np.errstate(divide="ignore", invalid="ignore"):
            naucs[place] = np.mean(((gained @ weights) / way)[seeds])
    naucs = naucs[np.isfinite(naucs)]
    if not naucs.size:
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(naucs, (tail, 1.0 - tail))
    return float(low), float(high)


def _slope(cost: NDArray[np.float64] | Amounts, gain: Floats) -> Floats:
    """Gain per cost; without end where something better costs nothing."""
    free = cost <= 0
    return np.asarray(np.where(free, np.inf, gain / np.where(free, 1, cost)), np.float64)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
