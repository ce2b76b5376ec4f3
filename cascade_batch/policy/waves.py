"""What to release next: the outlook's decisions, as far as this wave goes, and probes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.outlook import Outlook
from cascade_batch.policy.view import Action, Bools, Floats, JobView, Labels, Reason, Wave

Places = NDArray[np.intp]

STARTED_BY_WAVE = ((0.06, 20, 2_000), (0.2, 40, 20_000), (0.5, 100, 10**9))
"""Share of the rows, and their least and largest number, that are started by the end of the first waves; the
next one starts all others. Early waves are for learning: more rows than the fit can use would be spent on the
prior."""
PROBE_ROWS = 40
"""Rows that are asked on every tier in turn (on as many as there are waves of it), whatever the plan: so that
the tiers can be compared at all."""
PROBE_WAVES = 4
PROBE_SHARE = 0.03
"""Of the budget, at most, that probes may cost."""
_USD_IN_NANOUSD = 1e9


def plan_auto(view: JobView, *, seed: int, wave: int) -> Wave:
    """The next wave of the planner that this product exists for."""
    outlook = Outlook(view, seed)
    rng = np.random.default_rng((seed, 2, wave))
    high, low, share = outlook.price_for(outlook.money(), rng)
    dear = outlook.decide(outlook.prospects.solve(high), high)
    cheap = outlook.decide(outlook.prospects.solve(low), low)
    at_low = rng.random(len(view.held)) < share
    tier_no = np.where(at_low, cheap.tier_no, dear.tier_no)
    gain = np.where(at_low, cheap.gain, dear.gain)
    # A look at the same answer again comes before whatever it may make unnecessary.
    again = outlook.resampling(outlook.prospects.solve(high), high)
    tier_no[again.rows], gain[again.rows] = again.tier_no, again.gain
    release = _Release(outlook, tier_no, gain, high, seed, wave)
    release.resample(again.rows)
    differs = cheap.tier_no != dear.tier_no
    chance = np.where(differs, np.where(at_low, share, 1.0 - share), 1.0)
    planned = release.wave(chance)
    if len(planned) or view.in_flight.any():
        return planned
    return replace(planned, is_short=outlook.would_gain())


class _Release:
    """Which of the decided purchases go out now."""

    def __init__(
        self,
        outlook: Outlook,
        tier_no: NDArray[np.int16],
        gain: Floats,
        price: float,
        seed: int,
        wave: int,
    ) -> None:
        self._outlook = outlook
        self._view = outlook.view
        self._tier = tier_no.astype(np.intp)
        self._gain = gain
        self._price = price
        self._wave = wave
        self._order = row_order(self._view, seed)
        self._idle: Bools = np.asarray(outlook.pending < 0)
        self._answered: Bools = np.asarray(self._view.held.any(axis=1))
        self._action = np.full(self._idle.size, Action.ANSWER, np.int8)

    def resample(self, rows: Places) -> None:
        """What was decided for these rows is a second sample."""
        self._action[rows] = Action.SAMPLE

    def wave(self, chance: Floats) -> Wave:
        """Probes, first answers (those on a row's cheapest tier before the others: they free the ring
        fence), then escalations, most gain per dollar first."""
        probes, probe_tiers = self._probes()
        probed = np.zeros(self._idle.size, np.bool_)
        probed[probes] = True
        starts = self._starts(probed)
        judged, judged_tiers = self._verdicts(probed)
        probed[judged] = True
        escalated = np.flatnonzero(self._idle & self._answered & ~probed & (self._tier >= 0))
        cost = self._outlook.cost[escalated, self._tier[escalated]]
        density = self._gain[escalated] / np.maximum(cost, 1.0)
        escalated = escalated[np.argsort(-density, kind="stable")]
        rows = np.concatenate([probes, starts, judged, escalated])
        tiers = np.concatenate(
            [probe_tiers, self._tier[starts], judged_tiers, self._tier[escalated]]
        )
        sizes = [probes.size, starts.size, judged.size, escalated.size]
        reason = np.repeat(
            np.array([Reason.PROBE, Reason.START, Reason.ESCALATE, Reason.ESCALATE], np.int8),
            sizes,
        )
        action = np.repeat(
            np.array([Action.ANSWER, Action.ANSWER, Action.JUDGE, Action.ANSWER], np.int8), sizes
        )
        action[action.size - escalated.size :] = self._action[escalated]
        cost = np.where(
            action == Action.JUDGE,
            self._view.judge_nanousd[rows],
            self._outlook.cost[rows, tiers] - self._view.judge_nanousd[rows],
        )
        drawn = np.concatenate(
            [
                np.full(probes.size, min(PROBE_ROWS / max(self._idle.size, 1), 1.0)),
                chance[starts],
                np.ones(judged.size),
                chance[escalated],
            ]
        )
        return Wave(
            row_no=rows.astype(np.int32),
            tier_no=tiers.astype(np.int16),
            action=action,
            reason=reason,
            gain=self._expected_gain(rows, tiers).astype(np.float32),
            expected_nanousd=np.ceil(cost).astype(np.int64),
            draw_probability=drawn.astype(np.float32),
            price_of_money=self._price * _USD_IN_NANOUSD,
        )

    def _starts(self, probed: Bools) -> Places:
        started = self._answered | ~self._idle
        # What answers that were there from the beginning (a pilot's, say) have taught need not be waited for.
        stages = (
            started_by(wave, started.size) for wave in range(self._wave, len(STARTED_BY_WAVE) + 1)
        )
        target = next((n for n in stages if n > int(started.sum())), started.size)
        room = max(target - int((started | probed).sum()), 0)
        possible = ~started & ~probed & (self._tier >= 0)
        return self._affordable(self._order[possible[self._order]][:room])

    def _affordable(self, starts: Places) -> Places:
        """Rows that the ring fence lets start, those on their cheapest tier first, as they set money free.

        A row that is to start on a dearer tier than the one that its fence is for takes the difference from
        what is free; if that does not carry it, it waits, and where nothing else moves, some rows start
        cheap.
        """
        worst = np.where(self._view.barred, np.iinfo(np.int64).max, self._view.worst_nanousd)
        cheapest = worst[starts].argmin(axis=1)
        cost = self._outlook.cost
        tier = self._tier[starts]
        # In whole nano-dollars, as they are reserved.
        extra = np.ceil(np.maximum(cost[starts, tier] - cost[starts, cheapest], 1.0))
        extra[tier == cheapest] = 0.0
        can = np.cumsum(extra) <= max(self._view.free_nanousd, 0)
        if not can.any() and starts.size and self._idle.all():
            loss = self._gain[starts] / np.maximum(extra, 1.0)
            some = np.argsort(loss, kind="stable")[: -(-starts.size // 4)]
            self._tier[starts[some]] = cheapest[some]
            extra[some] = 0.0
            can[some] = True
        starts, extra = starts[can], extra[can]
        return starts[np.argsort(extra > 0.0, kind="stable")]

    def _verdicts(self, probed: Bools) -> tuple[Places, Places]:
        """Answers whose word is still to be bought, the dearest tier's first, as far as free money goes."""
        unjudged = self._view.unjudged & (self._idle & ~probed)[:, None]
        rows = np.flatnonzero(unjudged.any(axis=1))
        n_tiers = unjudged.shape[1]
        tiers = n_tiers - 1 - unjudged[rows][:, ::-1].argmax(axis=1)
        affordable = np.cumsum(self._view.judge_nanousd[rows]) <= max(self._view.free_nanousd, 0)
        return rows[affordable], tiers[affordable]

    def _probes(self) -> tuple[Places, Places]:
        """Row k of those set apart is asked on tier k first, then on the others in turn, one a wave."""
        view, cost = self._view, self._outlook.cost
        n_rows, n_tiers = view.shape
        none = np.empty(0, np.intp)
        if self._wave > min(n_tiers, PROBE_WAVES) or n_tiers < 2:
            return none, none
        rows = self._order[: min(PROBE_ROWS, (started_by(1, n_rows) + 1) // 2)]
        tiers = (np.arange(rows.size) + self._wave - 1) % n_tiers
        budget = self._outlook.money() + int(view.cost_nanousd.sum())
        left = PROBE_SHARE * budget - float(view.cost_nanousd[rows].sum())
        possible = self._idle[rows] & ~view.barred[rows, tiers]
        takes = np.where(possible, np.ceil(cost[rows, tiers]), 0.0)
        takes_free = np.maximum(takes - view.fence_nanousd[rows], 0.0)
        affordable = (np.cumsum(takes) <= left) & (
            np.cumsum(takes_free) <= max(view.free_nanousd, 0)
        )
        wanted = possible & affordable
        return rows[wanted], tiers[wanted]

    def _expected_gain(self, rows: Places, tiers: Places) -> Floats:
        """What is gained as the plan sees it; of a probe, what its answer is worth by itself."""
        belief = self._outlook.belief
        held = np.where(self._view.held[rows], belief[rows], 0.0).max(axis=1, initial=0.0)
        by_itself = np.maximum(belief[rows, tiers] - held, 0.0)
        return np.where(tiers == self._tier[rows], self._gain[rows], by_itself)


def started_by(wave: int, n_rows: int) -> int:
    """How many rows are started by the end of one of the early waves."""
    share, least, most = STARTED_BY_WAVE[wave - 1]
    return min(max(int(np.ceil(share * n_rows)), least), most, n_rows)


def row_order(view: JobView, seed: int) -> Places:
    """[N] the order in which rows are started: at random, and where only some have gold, these first, so
    that there is something to learn from."""
    order = np.random.default_rng((seed, 3)).permutation(len(view.held))
    if view.labels == Labels.GOLD and not view.has_gold.all():
        order = order[np.argsort(~view.has_gold[order], kind="stable")]
    return order
