"""The obvious policies, to be compared with: each is what a script would do, under the same budget.

`cheapest` asks every row once on its cheapest tier. `dearest` asks the dearest, for as many rows as the money
carries while all others stay affordable. `confidence` drafts every row on its cheapest tier, then asks the
next tier about rows in order of how unsure the last answer was; `random` does so in random order. None stops
at anything but an answer that passed a check.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.amounts import affordable_prefix
from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.view import Action, Amounts, Floats, JobView, Reason, Wave

Places = NDArray[np.intp]


def plan_rival(view: JobView, policy: PolicyName, *, seed: int, wave: int) -> Wave:
    """The next wave of one of the obvious policies."""
    cost = np.ceil(expected_costs(view)).astype(np.int64)
    idle = ~view.in_flight.any(axis=1)
    answered = view.held.any(axis=1)
    starts, tiers = _starts(view, policy, np.flatnonzero(idle & ~answered))
    rows, targets = np.empty(0, np.intp), np.empty(0, np.intp)
    if policy != "cheapest":
        rows, targets = _next_tiers(view, np.flatnonzero(idle & answered), policy)
        order = _order(view, policy, rows, (seed, 4, wave))
        order = order[: max(1, affordable_prefix(cost[rows, targets][order], view.free_nanousd))]
        rows, targets = rows[order], targets[order]
    n_starts = starts.size
    if rows.size:
        starts, tiers = np.concatenate([starts, rows]), np.concatenate([tiers, targets])
    return _wave(starts, tiers, n_starts, cost)


def _starts(view: JobView, policy: PolicyName, rows: Places) -> tuple[Places, Places]:
    """Rows without an answer: on their cheapest tier at worst case, or on the dearest while what is free
    carries the difference."""
    worst = np.where(view.barred[rows], np.iinfo(np.int64).max, view.worst_nanousd[rows])
    tiers = worst.argmin(axis=1)
    possible = ~view.barred[rows].all(axis=1)
    rows, tiers = rows[possible], tiers[possible]
    if policy == "dearest" and rows.size:
        dearest = view.shape[1] - 1
        extra = view.worst_nanousd[rows, dearest] - view.worst_nanousd[rows, tiers]
        allowed = ~view.barred[rows, dearest]
        n = affordable_prefix(np.where(allowed, extra, 0), view.free_nanousd)
        tiers[:n] = np.where(allowed[:n], dearest, tiers[:n])
    return rows, tiers


def _next_tiers(view: JobView, rows: Places, policy: PolicyName) -> tuple[Places, Places]:
    """The tier after the dearest that each row was asked on, or for `dearest` the last; rows that have
    passed a check or have none left are out."""
    n_tiers = view.shape[1]
    asked = view.barred[rows]
    passed = (view.verdict[rows] == 1).any(axis=1)
    above = np.where(asked.any(axis=1), n_tiers - asked[:, ::-1].argmax(axis=1), 0)
    target = np.full(rows.size, n_tiers - 1) if policy == "dearest" else above
    wanted = ~passed & (target < n_tiers)
    wanted[wanted] &= ~asked[wanted, target[wanted]]
    return rows[wanted], target[wanted]


def _order(view: JobView, policy: PolicyName, rows: Places, seed: tuple[int, ...]) -> Places:
    if policy == "random":
        return np.asarray(np.random.default_rng(seed).permutation(rows.size), np.intp)
    if policy == "dearest":
        return np.arange(rows.size)
    # The confidence of the dearest answer held; an answer that gives none or does not fit comes first.
    n_tiers = view.shape[1]
    last = n_tiers - 1 - view.held[rows][:, ::-1].argmax(axis=1)
    confidence: Floats = view.confidence[rows, last].astype(np.float64)
    unsure = np.where(view.fits[rows, last], np.nan_to_num(confidence, nan=-np.inf), -np.inf)
    return np.asarray(np.argsort(unsure, kind="stable"), np.intp)


def _wave(rows: Places, tiers: Places, n_starts: int, cost: Amounts) -> Wave:
    n_rows = rows.size
    reason = np.full(n_rows, Reason.ESCALATE, np.int8)
    reason[:n_starts] = Reason.START
    return Wave(
        row_no=rows.astype(np.int32),
        tier_no=tiers.astype(np.int16),
        action=np.full(n_rows, Action.ANSWER, np.int8),
        reason=reason,
        gain=np.zeros(n_rows, np.float32),
        expected_nanousd=cost[rows, tiers],
        draw_probability=np.ones(n_rows, np.float32),
        price_of_money=0.0,
    )
