"""Free confidence per dollar: what a draft's own signals can do, without any training purchase.

Every row is drafted on the cheapest tier. Then the dearest tier is asked about rows in order of the draft's
chance to be wrong per expected dollar, until the money ends: the selective escalation of Jitkrittum et al.
(2023, "When Does Confidence-Based Cascade Deferral Suffice?", arXiv:2307.02764), with the threshold where
the money ends. That paper escalates by confidence alone; here it is divided by cost, since rows differ in
price and the budget is hard.

Confidence is calibrated by isotonic regression (Zadrozny, Elkan 2002) on the drafts whose truth is known
anyway, each row's own truth left out; where it is known of few or none, the draft's rank stands for it. A
draft that passed its check is not escalated, one that failed counts as wrong; one that gives no confidence
counts as the average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.buying import (
    TierNos,
    dearest_held,
    final_tiers,
    make_wave,
    open_rows,
    safe_tiers,
)
from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.view import Floats, JobView, Labels, Reason, Wave

_FEW_MARKS = 50
_FOLDS = 5


def make(_policy: PolicyName, _seed: int) -> ConfidencePerDollar:
    """A planner for one job; neither the policy nor chance plays a part."""
    return ConfidencePerDollar()


class ConfidencePerDollar:
    """Drafts on the cheapest tier, then the least sure per dollar on the dearest."""

    def plan(self, view: JobView, wave: int) -> Wave:  # noqa: ARG002
        """Drafts where there are none, then all escalations in order: the ledger admits what it can."""
        cost = expected_costs(view)
        can_ask = open_rows(view)
        unanswered = np.flatnonzero(can_ask & ~view.held.any(axis=1))
        if unanswered.size:
            return make_wave(unanswered, safe_tiers(view)[unanswered], cost, Reason.START)
        dearest = view.shape[1] - 1
        rows = np.flatnonzero(can_ask & ~view.barred[:, dearest])
        doubt = 1.0 - _confidence(view, dearest_held(view))
        order = np.argsort(-(doubt[rows] / cost[rows, dearest]), kind="stable")
        return make_wave(rows[order], np.full(rows.size, dearest, np.intp), cost, Reason.ESCALATE)

    def choose(self, view: JobView) -> TierNos:
        """The answer that passed, else the dearest that fits."""
        fits = view.fits & ~view.truncated
        return final_tiers(view, fits.astype(np.float64))


def _confidence(view: JobView, draft: NDArray[np.intp]) -> Floats:
    """[N] calibrated probability that the draft is right."""
    rows = np.arange(view.shape[0])
    given: Floats = view.confidence[rows, draft].astype(np.float64)
    there = ~np.isnan(given)
    rank = np.full(rows.size, 0.5)
    if there.any():
        ordered = np.sort(given[there])
        rank[there] = np.searchsorted(ordered, given[there], "right") / ordered.size
    if view.labels == Labels.CHECK:
        # What has not passed and is still open has failed: the rank only orders the failures.
        return 0.1 * rank
    truth = view.gold[rows, draft]
    known = (truth >= 0) & there
    confidence = rank.copy()
    if int(known.sum()) >= _FEW_MARKS:
        for fold in range(_FOLDS):
            mine = rows % _FOLDS == fold
            train = np.flatnonzero(known & ~mine)
            confidence[mine] = isotonic(rank[train], truth[train].astype(np.float64), rank[mine])
        confidence[~there] = truth[known].mean()
    unfit = ~view.fits[rows, draft] | view.truncated[rows, draft]
    # Steps of the calibrated curve are ordered within by the rank.
    return np.where(unfit, 0.0, 0.99 * confidence + 0.01 * rank)


def isotonic(x: Floats, y: Floats, at: Floats) -> Floats:
    """[M] the rising function nearest to the points (least squares, by pooling adjacent violators), read at
    other places, straight between the pools."""
    order = np.argsort(x, kind="stable")
    totals: list[tuple[float, float, float]] = []
    for place, value in zip(x[order].tolist(), y[order].tolist(), strict=True):
        n, sum_x, sum_y = 1.0, place, value
        while totals and totals[-1][2] / totals[-1][0] >= sum_y / n:
            before = totals.pop()
            n, sum_x, sum_y = n + before[0], sum_x + before[1], sum_y + before[2]
        totals.append((n, sum_x, sum_y))
    pools = np.array(totals)
    return np.asarray(np.interp(at, pools[:, 1] / pools[:, 0], pools[:, 2] / pools[:, 0]))
