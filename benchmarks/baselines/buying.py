"""What the baselines buy and end with, in the terms of the planner's views and waves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.view import Action, Bools, Floats, JobView, Keys, Reason, Wave

Places = NDArray[np.intp]
TierNos = NDArray[np.int16]

_NEVER = np.iinfo(np.int64).max


def make_wave(rows: Places, tiers: Places, cost: Floats, reason: Reason) -> Wave:
    """A wave that buys these, in this order.

    Args:
        rows: [K] rows, none twice.
        tiers: [K] the tier that each is asked on.
        cost: [N, T] expected costs in nano-dollars.
        reason: Of all of them.
    """
    return Wave(
        row_no=rows.astype(np.int32),
        tier_no=tiers.astype(np.int16),
        action=np.full(rows.size, Action.ANSWER, np.int8),
        reason=np.full(rows.size, reason, np.int8),
        gain=np.zeros(rows.size, np.float32),
        expected_nanousd=np.ceil(cost[rows, tiers]).astype(np.int64),
        draw_probability=np.ones(rows.size, np.float32),
        price_of_money=0.0,
    )


def money_left(view: JobView) -> int:
    """What may still be spent on anything, in nano-dollars, rows without an answer included."""
    return int(view.free_nanousd) + int(view.fence_nanousd.sum())


def safe_tiers(view: JobView) -> Places:
    """[N] the tier that the ring fence pays for: the cheapest at worst that may still be asked."""
    return np.asarray(
        np.where(view.barred, _NEVER, view.worst_nanousd).argmin(axis=1), dtype=np.intp
    )


def open_rows(view: JobView) -> Bools:
    """[N] nothing is in flight, no answer has passed a check, and some tier may still be asked."""
    passed = ((view.verdict == 1) & view.held).any(axis=1)
    return np.asarray(~view.in_flight.any(axis=1) & ~passed & ~view.barred.all(axis=1))


def dearest_held(view: JobView) -> Places:
    """[N] the dearest tier that answered; the last where none did."""
    return np.asarray(view.shape[1] - 1 - view.held[:, ::-1].argmax(axis=1), dtype=np.intp)


def final_tiers(view: JobView, score: Floats) -> TierNos:
    """[N] the answer that counts: the cheapest that passed a check, else the best by score, the dearer of
    equals; -1 where none is held.

    Args:
        view: The job at its end.
        score: [N, T] how good each held answer is taken to be.
    """
    n_tiers = view.shape[1]
    passed = view.held & (view.verdict == 1)
    best = n_tiers - 1 - np.where(view.held, score, -np.inf)[:, ::-1].argmax(axis=1)
    best = np.where(passed.any(axis=1), passed.argmax(axis=1), best)
    return np.where(view.held.any(axis=1), best, -1).astype(np.int16)


def held_sets(view: JobView) -> Keys:
    """[N] which tiers answered the row, a bit each."""
    return np.asarray(view.held @ (1 << np.arange(view.shape[1], dtype=np.int64)), np.int64)


def tiers_of(bits: int) -> tuple[int, ...]:
    """The tiers of such bits, cheap to dear."""
    return tuple(tier for tier in range(bits.bit_length()) if bits >> tier & 1)
