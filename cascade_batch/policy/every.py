"""Every row on every tier, as far as the money goes: what is asked to learn, and not to save."""

from __future__ import annotations

import numpy as np

from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.view import Action, Bools, JobView, Reason, Wave


def plan_every(view: JobView, *, seed: int) -> Wave:
    """The next wave: of each row the tier that comes next, whatever the answers so far say; then the judge's
    word on each answer. Rows without an answer come first, on their cheapest tier; the others in an order of
    chance, so that the rows for which the money lasts are a fair sample."""
    worst = np.where(view.barred, np.iinfo(np.int64).max, view.worst_nanousd)
    idle: Bools = np.asarray(~view.in_flight.any(axis=1))
    askable = ~view.barred & idle[:, None]
    unjudged = view.unjudged & idle[:, None]
    answered: Bools = np.asarray(view.held.any(axis=1))
    asked: Bools = np.asarray(askable.any(axis=1))
    order = np.random.default_rng((seed, 7)).permutation(len(answered))
    order = order[(asked | np.asarray(unjudged.any(axis=1)))[order]]
    rows = order[np.argsort(answered[order], kind="stable")]
    tiers = np.where(
        asked[rows],
        np.where(answered[rows], askable[rows].argmax(axis=1), worst[rows].argmin(axis=1)),
        unjudged[rows].argmax(axis=1),
    )
    judges = ~asked[rows]
    cost = np.where(judges, view.judge_nanousd[rows], expected_costs(view)[rows, tiers])
    return Wave(
        row_no=rows.astype(np.int32),
        tier_no=tiers.astype(np.int16),
        action=np.where(judges, Action.JUDGE, Action.ANSWER).astype(np.int8),
        reason=np.where(answered[rows], Reason.PROBE, Reason.START).astype(np.int8),
        gain=np.zeros(rows.size, np.float32),
        expected_nanousd=np.ceil(cost).astype(np.int64),
        draw_probability=np.ones(rows.size, np.float32),
        price_of_money=0.0,
    )
