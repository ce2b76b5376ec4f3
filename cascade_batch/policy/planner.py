"""Waves: which rows to ask on which tier next. The package's description says why in this order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.amounts import affordable_prefix

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Amounts = NDArray[np.int64]
TierNos = NDArray[np.int16]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class JobView:
    """A job between two waves; N rows, T tiers, tiers cheap to dear. Nothing is in flight.

    Attributes:
        quality: [N, T] P(right) of a held answer, NaN where none is held.
        asked: [N, T] the tier has answered this row or definitely refused it: never ask again. Holds for
            every held answer.
        worst_nanousd: [N, T] worst case of asking.
        expected_nanousd: [N, T] expected cost of asking.
        tier_quality: [T] expected quality of an answer of this tier for a row that it was not asked yet;
            or [N, T], where that is known row by row.
        free_nanousd: What may be reserved for escalation now.
        fenced_nanousd: What is ring-fenced for rows without an answer.
    """

    quality: Floats
    asked: Bools
    worst_nanousd: Amounts
    expected_nanousd: Amounts
    tier_quality: Floats
    free_nanousd: int
    fenced_nanousd: int


@dataclass(frozen=True, slots=True)
class Purchases:
    """Calls to make, in the order in which they should be bought.

    Attributes:
        row_no: [K] rows; none occurs twice.
        tier_no: [K] the tier to ask.
        gain: [K] expected quality of its answer minus the quality of the best one held (0 if none is).
    """

    row_no: NDArray[np.int32]
    tier_no: TierNos
    gain: Floats

    def __len__(self) -> int:
        return int(self.row_no.size)


SETTLED_QUALITY = 0.99
"""From here on an answer is taken as right: what a check that passed gives."""


def plan_wave(view: JobView, policy: PolicyName, *, seed: int, wave: int) -> Purchases:
    """The next wave; empty: nothing more to buy, the job is done.

    Args:
        view: The job as it stands.
        policy: The job's policy.
        seed: The job's seed.
        wave: Number of the wave, so that each draws anew; the same view, seed and wave give the same plan.
    """
    answered = np.asarray((~np.isnan(view.quality)).any(axis=1))
    unanswered = _first_answers(view, answered)
    escalations = _escalations(view, policy, answered, np.random.default_rng((seed, wave)))
    return Purchases(
        np.concatenate([unanswered.row_no, escalations.row_no]),
        np.concatenate([unanswered.tier_no, escalations.tier_no]),
        np.concatenate([unanswered.gain, escalations.gain]),
    )


def choose_answers(quality: Floats) -> TierNos:
    """[N] the tier of each row's best held answer, the dearer of equals; -1 where none is held."""
    n_tiers = quality.shape[1]
    filled = np.where(np.isnan(quality), -np.inf, quality)
    best: TierNos = (n_tiers - 1 - filled[:, ::-1].argmax(axis=1)).astype(np.int16)
    best[np.isneginf(filled.max(axis=1, initial=-np.inf))] = -1
    return best


def _first_answers(view: JobView, answered: Bools) -> Purchases:
    """Rows without any answer, on the cheapest tier at worst case that has not refused them."""
    rows = np.flatnonzero(~answered)
    worst = view.worst_nanousd[rows]
    barred = view.asked[rows] | (worst > max(view.free_nanousd, 0) + view.fenced_nanousd)
    tier = np.where(barred, np.iinfo(np.int64).max, worst).argmin(axis=1)
    possible = ~barred.all(axis=1)
    rows, tier = rows[possible], tier[possible]
    return _purchases(rows, tier, _expected_quality(view, rows, tier))


def _escalations(
    view: JobView, policy: PolicyName, answered: Bools, rng: np.random.Generator
) -> Purchases:
    buys = policy != "cheapest" and view.free_nanousd >= 0
    rows = np.flatnonzero(answered & buys)
    best = np.fmax.reduce(view.quality[rows], axis=1)
    if policy in ("auto", "confidence"):
        target = _next_tiers(view, rows, best)
        # Where no tier is expected to improve, the estimate may be what is wrong: it has seen a dear tier
        # only on the rows that were hard enough to reach it. Money that would be left buys another
        # opinion, after everything that promises more; nothing is bought for answers known to be right.
        unsettled = (target < 0) & (best < SETTLED_QUALITY)
        target[unsettled] = _next_tiers(view, rows[unsettled], None)
    elif policy == "random":
        target = _next_tiers(view, rows, None)
    else:
        target = _dearest_tier(view, rows)
    open_ = target >= 0
    rows, best, target = rows[open_], best[open_], target[open_]
    expected = view.expected_nanousd[rows, target]
    if policy in ("auto", "confidence"):
        promises = _expected_quality(view, rows, target) > best
        density = (1.0 - best) / np.maximum(expected, 1)
        order = np.lexsort((-density, ~promises))
    elif policy == "random":
        order = rng.permutation(rows.size)
    else:
        order = np.arange(rows.size)
    wave = order[: _wave_length(expected[order], view.free_nanousd)]
    rows, target = rows[wave], target[wave]
    return _purchases(rows, target, _expected_quality(view, rows, target) - best[wave])


def _next_tiers(view: JobView, rows: Places, best: Floats | None) -> TierNos:
    """[n] for each row the first tier above all that it was asked on which can be afforded and, given the
    quality of its best answer, is expected to improve on it; -1 where there is none."""
    n_tiers = view.asked.shape[1]
    asked = view.asked[rows]
    target = np.full(rows.size, -1, dtype=np.int16)
    for tier in range(n_tiers):
        wanted = (target < 0) & ~asked[:, tier:].any(axis=1)
        wanted &= view.worst_nanousd[rows, tier] <= view.free_nanousd
        if best is not None:
            wanted &= _expected_quality(view, rows, tier) > best
        target[wanted] = tier
    return target


def _dearest_tier(view: JobView, rows: Places) -> TierNos:
    dearest = view.asked.shape[1] - 1
    wanted = ~view.asked[rows, dearest] & (view.worst_nanousd[rows, dearest] <= view.free_nanousd)
    return np.where(wanted, dearest, -1).astype(np.int16)


def _wave_length(expected_nanousd: Amounts, free_nanousd: int) -> int:
    # At least one: each candidate's worst case fits, so an estimate must not be what ends the job.
    return max(1, affordable_prefix(expected_nanousd, free_nanousd))


def _expected_quality(view: JobView, rows: Places, tier: Places | TierNos | int) -> Floats:
    if view.tier_quality.ndim == 1:
        return np.broadcast_to(view.tier_quality[tier], rows.shape)
    expected: Floats = view.tier_quality[rows, tier]
    return expected


def _purchases(rows: Places, tier: Places | TierNos, gain: Floats) -> Purchases:
    return Purchases(
        rows.astype(np.int32), tier.astype(np.int16), np.asarray(gain, dtype=np.float64)
    )
