"""A job as the planner sees it at one moment: beliefs, costs and prospects under its budget."""

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
from cascade_batch.policy.resampling import Resampling, weigh_resampling
from cascade_batch.policy.view import Bools, Floats, JobView, Labels
from cascade_batch.policy.worth import Prospects, Strategy, basis, best_held

LEAST_GAIN = 0.002
"""A row that holds an answer is asked again only for more than a fifth of a point: less is what the model may
be off by, and what passed a reliable check would be asked again as long as there is money. Asking for less
raised quality on no recorded set."""
LEAST_DIFFERENCE = 0.01
"""A row starts elsewhere than most would only for more than a point, price of money included: whatever is
chosen as the best of many uncertain values is on the whole overrated. Without this the worst budgets of
recorded sets lay half a point lower, those at which the hull puts all rows on one tier."""
_SEARCHED_ROWS = 20_000
"""The price of money is found on so many rows; it is a mean, and known well enough from them."""
_BISECTIONS = 18
_BLOCK_ROWS = 8_192
"""Rows that are decided on at once: what is worked out for them on the way stays in the processor's cache."""

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

    def would_gain(self) -> bool:
        """Whether anything would be bought if there were more money."""
        price = self._lowest_price()
        strategy = self.prospects.solve(price)
        return bool(
            self.view.unjudged.any()
            or (self.decide(strategy, price).tier_no >= 0).any()
            or self.resampling(strategy, price).rows.size
        )

    def _lowest_price(self) -> float:
        """A price of money at which no call is too dear for what it gains."""
        return 1e-3 / max(float(self.cost.max()), 1.0)

    def money(self) -> int:
        """What is there to spend: what is free, and the fence of rows that wait for a first answer."""
        return self.view.free_nanousd + int(self.view.fence_nanousd[self.pending < 0].sum())

    def decide(
        self,
        strategy: Strategy,
        price: float,
        rows: Places | None = None,
        belief: Floats | None = None,
    ) -> Decision:
        """What is best for these rows (all, if None) at a price of money; under other beliefs about them,
        where such are given."""
        rows = np.arange(len(self.pending)) if rows is None else rows
        belief = self.belief[rows] if belief is None else belief
        tier_no = np.full(rows.size, -1, np.int16)
        spend, gain, worth = np.zeros((3, rows.size))
        for group in groups_of(self.held[rows]):
            usual = -1
            if not group.tiers:
                usual = self._usual_start(strategy, price, rows[group.rows], belief[group.rows])
            for start in range(0, group.rows.size, _BLOCK_ROWS):
                at = group.rows[start : start + _BLOCK_ROWS]
                block = Group(group.tiers, rows[at])
                part = self._decide_group(strategy, price, block, belief[at], usual)
                tier_no[at], spend[at] = part.tier_no, part.spend_nanousd
                gain[at], worth[at] = part.gain, part.worth
        return Decision(tier_no, spend, gain, worth)

    def _decide_group(
        self, strategy: Strategy, price: float, group: Group, belief: Floats, usual: int
    ) -> Decision:
        rows, state = group.rows, group.tiers
        held = best_held(belief, state, upwards_only=self.upwards_only)
        functions = basis(belief, state)
        least_gain = LEAST_GAIN if state else 0.0
        pending, barred = self.pending[rows], self.barred[rows]
        waits = pending >= 0
        best = np.where(waits | (len(state) == 0), -np.inf, held)
        worth = best.copy()
        tier_no = np.full(rows.size, -1, np.int16)
        spend, gain = np.zeros((2, rows.size))
        for tier, ahead in strategy.get(state, {}).items():
            cost = np.where(waits, 0.0, self.cost[rows, tier])
            adds = functions @ ahead.worth
            if self.view.check_is_gold:
                # What is known to be right gains nothing; a basis is off by some thousandths.
                adds = np.minimum(adds, 1.0 - held)
            net = held + adds - price * cost
            total = net + LEAST_DIFFERENCE if tier == usual else net
            possible = np.where(waits, pending == tier, ~barred[:, tier] & (adds > least_gain))
            better = possible & (total > best)
            best, worth = np.where(better, total, best), np.where(better, net, worth)
            tier_no[better] = tier
            follows = np.maximum(functions @ ahead.cost, 0.0)
            spend = np.where(better, cost + follows, spend)
            gain = np.where(better, adds, gain)
        worth = np.where(np.isneginf(worth), held, worth)
        tier_no[waits] = -1
        return Decision(tier_no, spend, gain, worth)

    def _usual_start(self, strategy: Strategy, price: float, rows: Places, belief: Floats) -> int:
        """The tier on which these rows would start best if all had to start on one."""
        mean = np.concatenate([[1.0], belief.mean(axis=0), (belief**2).mean(axis=0)])
        net = {
            tier: float(mean @ ahead.worth) - price * float(self.cost[rows, tier].mean())
            for tier, ahead in strategy.get((), {}).items()
            if not self.barred[rows, tier].all()
        }
        return max(net, key=net.__getitem__, default=-1)

    def resampling(self, strategy: Strategy, price: float) -> Resampling:
        """Second samples that gain more than their price, and enough to mean something."""
        allowed = self.view.may_resample & (self.pending < 0)[:, None]
        if not allowed.any():
            return Resampling(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
        found = weigh_resampling(
            self.model,
            self._evidence,
            self.belief,
            allowed,
            lambda rows, belief: self.decide(strategy, price, rows, belief).worth,
        )
        cost = self.view.cost_nanousd[found.rows, found.tier_no]
        pays = found.gain - price * cost > LEAST_GAIN
        return Resampling(found.rows[pays], found.tier_no[pays], found.gain[pays])

    def price_for(self, money: float, rng: np.random.Generator) -> tuple[float, float, float]:
        """Prices of money between which the expected total meets the money, and the share of rows to be
        decided at the lower one so that it is met exactly."""
        n_rows = len(self.pending)
        rows = np.arange(n_rows)
        if n_rows > _SEARCHED_ROWS:
            rows = np.sort(rng.choice(n_rows, _SEARCHED_ROWS, replace=False))
        money *= rows.size / n_rows
        low = np.log(self._lowest_price())
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
