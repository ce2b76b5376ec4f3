"""One job on a recorded set: the planner plans, a small ledger admits, recorded answers are handed out.

**Who knows what.** The planner is shown what a job would know: of an answer nothing at all before it is
bought, of a cost only its worst case (the call's input, and the longest output that its tier recorded).

**What is reserved.** In the product nothing is sent before its worst case is reserved, and a job whose budget
does not carry every row at worst case on its cheapest tier is refused. The budgets of a curve begin at what
all rows on the first tier *cost*: the lower ones would be refused, and on the others the curve would show how
far worst cases lie from costs. It is meant to show choosing. So the ledger here reserves by default what a
call costs in fact (`Reserve.RECORDED`): a purchase is admitted if what was spent, its cost, and what all rows
without an answer cost on the first tier stay within the budget. With `Reserve.WORST` it reserves and fences
at worst case, as the product does, each call settled before the next is sent. The planner learns of costs
from either only by what is free: the fence is told as a sum, shared out among the rows by worst case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.view import (
    UNKNOWN,
    Action,
    Amounts,
    Bools,
    JobView,
    Wave,
)
from cascade_batch.replay.labels import Regime, draw_word
from cascade_batch.replay.recorded import RecordedSet

TierNos = NDArray[np.int16]


class Planner(Protocol):
    """What decides."""

    def plan(self, view: JobView, wave: int) -> Wave:
        """The next wave, counted from 1; empty where nothing more is to be bought."""

    def choose(self, view: JobView) -> TierNos:
        """[N] the tier of each row's final answer, one that is held; -1 where none is."""


class Reserve(StrEnum):
    """What the ledger sets aside for a call before it is made."""

    RECORDED = "recorded"
    WORST = "worst"


class FaultyPlanError(Exception):
    """The planner asked for what can't be bought, or chose an answer that is not held: a fault in it."""


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ended.

    Attributes:
        budget_nanousd: What might be spent.
        spent_nanousd: What was spent, counted again from the answers bought.
        quality: Mean score of the final answers; a row without one scores 0.
        tier_no: [N] tier of each row's final answer, -1 without one.
        calls: [T] answers bought.
        waves: Waves that bought something.
        unanswered: Rows without an answer.
        overspent: The budget was exceeded.
    """

    budget_nanousd: int
    spent_nanousd: int
    quality: float
    tier_no: TierNos
    calls: Amounts
    waves: int
    unanswered: int
    overspent: bool


def least_budget(set_: RecordedSet, reserve: Reserve) -> int:
    """The least budget that a job may have, in nano-dollars."""
    return int(_fence(set_, reserve).sum())


def simulate(
    set_: RecordedSet,
    budget_nanousd: int,
    regime: Regime,
    planner: Planner,
    seed: int,
    reserve: Reserve = Reserve.RECORDED,
) -> JobOutcome:
    """Run one job.

    Args:
        set_: The recorded rows, in the job's order.
        budget_nanousd: At least `least_budget`.
        regime: What is told about answers.
        planner: What decides.
        seed: Draws where the check errs and which rows have gold, the same for every budget.
        reserve: What the ledger sets aside.

    Raises:
        FaultyPlanError: The planner asked for the impossible.
    """
    if budget_nanousd < least_budget(set_, reserve):
        raise ValueError("the budget does not carry every row")
    job = _Job(set_, budget_nanousd, regime, seed, reserve)
    waves = 0
    while True:
        wave = planner.plan(job.view(), waves + 1)
        if not len(wave):
            break
        if job.buy(wave):
            waves += 1
        else:
            job.give_up(wave)
    return job.end(planner.choose(job.view()), waves)


class _Job:
    """A job's state: what is held, and what is left of the money."""

    def __init__(
        self, set_: RecordedSet, budget_nanousd: int, regime: Regime, seed: int, reserve: Reserve
    ) -> None:
        self._set = set_
        self._budget = budget_nanousd
        self._labels = regime.labels
        self._word = draw_word(regime, set_.score, np.random.default_rng((seed, 1)))
        self._reserve = reserve
        self._reserved = set_.cost_nanousd if reserve == Reserve.RECORDED else set_.worst_nanousd
        self._fence = _fence(set_, reserve)
        self._left = budget_nanousd - int(self._fence.sum())
        self._held: Bools = np.zeros(set_.score.shape, np.bool_)
        self._refused: Bools = np.zeros(set_.score.shape, np.bool_)
        # Shared by all views.
        self._input_size = set_.input_size.copy()
        self._stratum = set_.stratum.copy()
        self._worst = set_.worst_nanousd.copy()
        self._never_resampled = np.full(set_.score.shape, UNKNOWN, np.int8)
        for shared in (self._input_size, self._stratum, self._worst, self._never_resampled):
            shared.flags.writeable = False

    def view(self) -> JobView:
        """The job as the planner may see it."""
        set_, held = self._set, self._held
        return JobView(
            labels=self._labels,
            held=held.copy(),
            barred=held | self._refused,
            in_flight=np.zeros_like(held),
            verdict=np.where(held, self._word.verdict, np.int8(UNKNOWN)),
            gold=np.where(held, self._word.gold, np.int8(UNKNOWN)),
            has_gold=self._word.has_gold.copy(),
            fits=held & set_.fits,
            truncated=np.zeros_like(held),
            confidence=np.where(held, set_.confidence, np.float32(np.nan)),
            length=np.where(held, set_.length, np.float32(np.nan)),
            value_key=np.where(held, set_.value_key, 0),
            resampled=self._never_resampled,
            may_resample=np.zeros_like(held),
            input_size=self._input_size,
            stratum=self._stratum,
            unjudged=np.zeros_like(held),
            judge_nanousd=np.zeros(len(held), np.int64),
            worst_nanousd=self._worst,
            cost_nanousd=np.where(held, set_.cost_nanousd, 0),
            free_nanousd=self._left,
            fence_nanousd=self._told_fence(),
        )

    def buy(self, wave: Wave) -> int:
        """Buy of a wave, in its order, what the ledger admits; how many calls that were."""
        rows, tiers = wave.row_no.astype(np.intp), wave.tier_no.astype(np.intp)
        self._check(wave, rows, tiers)
        released = np.where(self._held[rows].any(axis=1), 0, self._fence[rows])
        reserved = self._reserved[rows, tiers] - released
        settled = self._set.cost_nanousd[rows, tiers] - released
        admitted, self._left = admit(reserved, settled, self._left)
        self._held[rows[admitted], tiers[admitted]] = True
        return int(admitted.sum())

    def give_up(self, wave: Wave) -> None:
        """None of a wave can be afforded any more: it is not offered again. (The product bars what the free
        money can't carry at worst case, once nothing is in flight.)"""
        self._refused[wave.row_no, wave.tier_no] = True

    def end(self, tier_no: TierNos, waves: int) -> JobOutcome:
        """Close the books, adding up again from what is held."""
        held = self._held
        rows = np.flatnonzero(tier_no >= 0)
        if tier_no.shape != (len(held),) or not held[rows, tier_no[rows]].all():
            raise FaultyPlanError("the planner chose an answer that is not held")
        if (held.any(axis=1) != (tier_no >= 0)).any():
            raise FaultyPlanError("the planner chose no answer for a row that holds one")
        spent_nanousd = int(self._set.cost_nanousd[held].sum())
        return JobOutcome(
            budget_nanousd=self._budget,
            spent_nanousd=spent_nanousd,
            quality=float(self._set.score[rows, tier_no[rows]].sum() / len(held)),
            tier_no=tier_no.astype(np.int16),
            calls=np.asarray(held.sum(axis=0), np.int64),
            waves=waves,
            unanswered=len(held) - rows.size,
            overspent=spent_nanousd > self._budget,
        )

    def _told_fence(self) -> Amounts:
        """[N] the fence. One of recorded costs is told as a sum, shared out by worst case, so that no row's
        cost is told before it is paid."""
        unanswered = ~self._held.any(axis=1)
        if self._reserve == Reserve.WORST:
            return np.where(unanswered, self._fence, 0)
        weight = np.where(unanswered, self._set.worst_nanousd[:, 0], 0).astype(np.float64)
        total = int(self._fence[unanswered].sum())
        return np.asarray(weight * (total / max(weight.sum(), 1.0)), np.int64)

    def _check(self, wave: Wave, rows: NDArray[np.intp], tiers: NDArray[np.intp]) -> None:
        if np.unique(rows).size < rows.size:
            raise FaultyPlanError("a row occurs twice in a wave")
        if (wave.action != Action.ANSWER).any():
            raise FaultyPlanError(
                "a recorded set has one answer per row and tier, and nothing else"
            )
        if self._held[rows, tiers].any():
            raise FaultyPlanError("a wave asks for an answer that is held")


def admit(reserved: Amounts, settled: Amounts, left_nanousd: int) -> tuple[Bools, int]:
    """Go through calls in order and make those that what is left covers.

    Args:
        reserved: [K] what each sets aside beyond what its row's fence gives.
        settled: [K] what it takes away in the end; negative where less than the fence held.
        left_nanousd: What is left before the first.

    Returns:
        [K] which are made, and what is left after the last.
    """
    before = left_nanousd - (np.cumsum(settled) - settled)
    refused = np.flatnonzero(reserved > before)
    if not refused.size:
        return np.ones(reserved.size, np.bool_), left_nanousd - int(settled.sum())
    first = int(refused[0])
    admitted = np.arange(reserved.size) < first
    left = int(before[first])
    for place, (needed, taken) in enumerate(
        zip(reserved[first:].tolist(), settled[first:].tolist(), strict=True), start=first
    ):
        if needed <= left:
            admitted[place] = True
            left -= taken
    return admitted, left


def _fence(set_: RecordedSet, reserve: Reserve) -> Amounts:
    """[N] what is kept for each row as long as it has no answer."""
    if reserve == Reserve.RECORDED:
        return set_.cost_nanousd[:, 0]
    return np.asarray(set_.worst_nanousd.min(axis=1), np.int64)
