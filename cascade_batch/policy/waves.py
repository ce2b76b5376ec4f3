"""What to release next: the beliefs, costs and prospects of a job brought together under its budget."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.evidence import evidence_of, without_answers
from cascade_batch.policy.expense import evened, expected_costs
from cascade_batch.policy.fitting import fit
from cascade_batch.policy.model import Group, Model, beliefs, groups_of
from cascade_batch.policy.population import imagine
from cascade_batch.policy.view import (
    Action,
    Bools,
    Floats,
    JobView,
    Labels,
    Reason,
    Wave,
)
from cascade_batch.policy.worth import Prospects, Strategy, basis, best_held

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
LEAST_GAIN = 0.002
"""A row that holds an answer is asked again only for more than a fifth of a point: less is what the model may
be off by, and what passed a reliable check would be asked again as long as there is money. Asking for less
raised quality on no recorded set."""
_SEARCHED_ROWS = 20_000
"""The price of money is found on so many rows; it is a mean, and known well enough from them."""
_BISECTIONS = 18
_USD_IN_NANOUSD = 1e9

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is best for each of n rows at a price of money.

    Attributes:
        tier_no: [n] the tier to ask; -1 to stop.
        spend_nanousd: [n] expected cost of that and of what follows.
        gain: [n] expected quality beyond the best answer held, less the price of what follows.
        worth: [n] expected quality in the end, less the price of all that is spent.
    """

    tier_no: NDArray[np.int16]
    spend_nanousd: Floats
    gain: Floats
    worth: Floats


class Outlook:
    """A job as the planner sees it at one moment: beliefs, expected costs and prospects."""

    def __init__(self, view: JobView, seed: int, *, rows: Places | None = None) -> None:
        """Fit everything to the view.

        Args:
            view: The job as it stands.
            seed: The job's seed.
            rows: The rows to look at, where not all are wanted; all are learnt from.
        """
        evidence = evidence_of(view)
        model = fit(evidence, view.labels)
        # A judge's word is part of what an answer costs.
        cost = expected_costs(view) + view.judge_nanousd[:, None]
        if view.labels == Labels.AGREEMENT:
            cost = evened(cost)
        rows = np.arange(len(cost)) if rows is None else rows
        self.view = view
        self.held: Bools = view.held[rows]
        self.barred: Bools = view.barred[rows]
        self.cost: Floats = cost[rows]
        self.pending: NDArray[np.int16] = np.where(
            view.in_flight[rows].any(axis=1), view.in_flight[rows].argmax(axis=1), -1
        ).astype(np.int16)
        self._seed = seed
        self._evidence = evidence.take(rows)
        self._believe(model)

    def _believe(self, model: Model) -> None:
        labels = self.view.labels
        self.model = model
        self.upwards_only = labels == Labels.AGREEMENT
        self.belief = beliefs(model, self._evidence)
        imagined, like = imagine(
            model, self._evidence, labels, np.random.default_rng((self._seed, 1))
        )
        self.prospects = Prospects(model, imagined, self.cost[like], upwards_only=self.upwards_only)

    def believing(self, model: Model) -> Outlook:
        """The same job under other beliefs."""
        other = copy(self)
        other._believe(model)
        return other

    def begun_anew(self) -> Outlook:
        """The same job with the same beliefs, and nothing bought."""
        other = copy(self)
        other.held = np.zeros_like(self.held)
        other.barred = self.barred & ~self.held
        other.pending = np.full_like(self.pending, -1)
        other._evidence = without_answers(self._evidence)
        other.belief = beliefs(self.model, other._evidence)
        return other

    def expect(self, money: float) -> tuple[float, float, Floats]:
        """What comes of so much money for these rows: mean quality in the end, the price of money, and [T]
        expected spending by the next tier of each row."""
        high, low, share = self.price_for(money, np.random.default_rng((self._seed, 5)))
        quality = 0.0
        spending = np.zeros(self.cost.shape[1])
        for price, weight in ((high, 1.0 - share), (low, share)):
            decision = self.decide(self.prospects.solve(price), price)
            worth = decision.worth + price * decision.spend_nanousd
            quality += weight * float(worth.mean())
            asked = decision.tier_no >= 0
            np.add.at(spending, decision.tier_no[asked], weight * decision.spend_nanousd[asked])
        return quality, high, spending

    def worth_at(self, price: float) -> float:
        """Mean quality in the end at a price of money."""
        decision = self.decide(self.prospects.solve(price), price)
        return float((decision.worth + price * decision.spend_nanousd).mean())

    def money(self) -> int:
        """What is there to spend: what is free, and the fence of rows that wait for a first answer."""
        return self.view.free_nanousd + int(self.view.fence_nanousd[self.pending < 0].sum())

    def decide(self, strategy: Strategy, price: float, rows: Places | None = None) -> Decision:
        """What is best for these rows (all, if None) at a price of money."""
        rows = np.arange(len(self.pending)) if rows is None else rows
        tier_no = np.full(rows.size, -1, np.int16)
        spend, gain, worth = np.zeros((3, rows.size))
        for group in groups_of(self.held[rows]):
            at = group.rows
            part = self._decide_group(strategy, price, Group(group.tiers, rows[at]))
            tier_no[at], spend[at] = part.tier_no, part.spend_nanousd
            gain[at], worth[at] = part.gain, part.worth
        return Decision(tier_no, spend, gain, worth)

    def _decide_group(self, strategy: Strategy, price: float, group: Group) -> Decision:
        rows, state = group.rows, group.tiers
        belief = self.belief[rows]
        held = best_held(belief, state, upwards_only=self.upwards_only)
        functions = basis(belief, state)
        least_gain = LEAST_GAIN if state else 0.0
        pending, barred = self.pending[rows], self.barred[rows]
        waits = pending >= 0
        best = np.where(waits | (len(state) == 0), -np.inf, held)
        tier_no = np.full(rows.size, -1, np.int16)
        spend, gain = np.zeros((2, rows.size))
        for tier, ahead in strategy.get(state, {}).items():
            cost = np.where(waits, 0.0, self.cost[rows, tier])
            adds = functions @ ahead.worth
            total = held + adds - price * cost
            possible = np.where(waits, pending == tier, ~barred[:, tier] & (adds > least_gain))
            better = possible & (total > best)
            best = np.where(better, total, best)
            tier_no[better] = tier
            follows = np.maximum(functions @ ahead.cost, 0.0)
            spend = np.where(better, cost + follows, spend)
            gain = np.where(better, adds, gain)
        worth = np.where(np.isneginf(best), held, best)
        tier_no[waits] = -1
        return Decision(tier_no, spend, gain, worth)

    def price_for(self, money: float, rng: np.random.Generator) -> tuple[float, float, float]:
        """Prices of money between which the expected total meets the money, and the share of rows to be
        decided at the lower one so that it is met exactly."""
        n_rows = len(self.pending)
        rows = np.arange(n_rows)
        if n_rows > _SEARCHED_ROWS:
            rows = np.sort(rng.choice(n_rows, _SEARCHED_ROWS, replace=False))
        money *= rows.size / n_rows
        low = np.log(1e-3 / max(float(self.cost.max()), 1.0))
        high = np.log(1e2 / max(float(self.cost.min()), 1e-3))
        below = above = self._spend(float(np.exp(high)), rows)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            spend = self._spend(float(np.exp(middle)), rows)
            if spend > money:
                low, above = middle, spend
            else:
                high, below = middle, spend
        share = (money - below) / (above - below) if above > below else 0.0
        return float(np.exp(high)), float(np.exp(low)), float(np.clip(share, 0.0, 1.0))

    def _spend(self, price: float, rows: Places) -> float:
        return float(self.decide(self.prospects.solve(price), price, rows).spend_nanousd.sum())


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
    release = _Release(outlook, tier_no, gain, high, seed, wave)
    differs = cheap.tier_no != dear.tier_no
    chance = np.where(differs, np.where(at_low, share, 1.0 - share), 1.0)
    return release.wave(chance)


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
        target = started.size
        if self._wave <= len(STARTED_BY_WAVE):
            target = started_by(self._wave, target)
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
        extra = np.maximum(cost[starts, tier] - cost[starts, cheapest], 1.0)
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
        affordable = np.cumsum(np.where(possible, cost[rows, tiers], 0.0)) <= left
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
