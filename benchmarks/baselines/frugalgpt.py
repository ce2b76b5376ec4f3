"""A cascade after FrugalGPT (Chen, Zaharia, Zou 2023, "FrugalGPT: How to Use Large Language Models While
Reducing Cost and Improving Performance", arXiv:2305.05176).

A chain of tiers is asked one after the other, until a learned scorer takes an answer for good enough.
Scorers, chain and thresholds come from a training sample that is asked on every tier: those are chosen that
make most right answers on it at an average cost within the budget.

Where this differs from the paper, and why:

* The paper's scorer is a DistilBERT that reads question and answer, trained on thousands of them. A job pays
  for its training data, and a planner is shown no text: here it is a logistic regression on what comes with
  an answer (rank of its confidence, length, whether it fits, agreement with the answers before it, those
  answers' signals) and with the row (size, stratum). It is trained again on every labelled answer as the job
  goes on, a row's own label never used for it.
* The paper fixes one chain and its thresholds for a budget that is met on average. Here the budget is a hard
  sum and all rows are at hand: after each wave the rest of the chain and its thresholds are chosen again for
  the money that is left, and where the money lies between two such choices, both are used, each for a share
  of the rows; so that this loses nothing to a random mix of tiers where scores tell nothing. Rows that the
  money does not reach get the cheapest tier.
* Thresholds are chosen on scores of fits that did not see the row; the sample is too small to be split.
* A chain goes from cheap to dear; the paper tries every order. Tiers that it left out are tried after it
  while there is money.
* Of a row's answers the one with the best score counts, not the last.
* A check's verdict takes the scorer's place: a pass ends the chain, a failure goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from benchmarks.baselines.buying import (
    Places,
    TierNos,
    final_tiers,
    held_sets,
    make_wave,
    money_left,
    open_rows,
    safe_tiers,
    tiers_of,
)
from benchmarks.baselines.options import Mix, Offer, spend
from benchmarks.baselines.regression import predict
from benchmarks.baselines.sample import TrainingSample
from benchmarks.baselines.signals import Signals, marks_of
from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.view import Floats, JobView, Keys, Labels, Reason, Wave

_LONGEST = 3
"""Tiers of a chain, as in the paper."""
_CUTS = 8
"""Thresholds that are tried at each place of a chain."""
_FEW = 10
_MOST_WAVES = 60
_PASS = 0.5


def make(_policy: PolicyName, seed: int) -> FrugalGPT:
    """A planner for one job; the policy plays no part."""
    return FrugalGPT(seed)


@dataclass(frozen=True, slots=True)
class _Option:
    """Ask these tiers in turn: the first where the answer held scores below the first threshold, and so on.
    Without an answer the first threshold is infinite."""

    chain: tuple[int, ...]
    thresholds: tuple[float, ...]


@dataclass(slots=True)
class _Facts:
    """A wave's view, and what is worked out from it once."""

    view: JobView
    marks: Floats
    signals: Signals
    cost: Floats
    sample: Places
    sets: Keys
    scores: dict[tuple[int, tuple[int, ...]], Floats] = field(default_factory=dict)

    def answer_score(self, tier: int, held: tuple[int, ...]) -> Floats:
        """[N] score of a tier's answer, seen with all of these that are held; of rows that hold them."""
        key = (tier, held)
        if key not in self.scores:
            if self.view.labels == Labels.CHECK:
                self.scores[key] = np.where(self.view.verdict[:, tier] == 1, 1.0, 0.0)
            else:
                there = self.view.held[:, held].all(axis=1)
                target = np.where(there, self.marks[:, tier], np.nan)
                self.scores[key] = predict(self.signals.features(tier, held), target)
        return self.scores[key]

    def score(self, held: tuple[int, ...]) -> Floats:
        """[N] score of the best of these answers."""
        held = tuple(sorted(held))
        return np.asarray(np.max([self.answer_score(tier, held) for tier in held], axis=0))

    def mark(self, held: tuple[int, ...]) -> Floats:
        """[N] whether the best-scored of these answers is right."""
        held = tuple(sorted(held, reverse=True))
        best = np.argmax([self.answer_score(tier, tuple(sorted(held))) for tier in held], axis=0)
        each = np.arange(best.size)
        return np.asarray(np.nan_to_num(self.marks[each, np.array(held)[best]]))


class FrugalGPT:
    """Buys a sample, then runs the chains that it speaks for."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sample = TrainingSample(seed)
        self._waves = 0

    def plan(self, view: JobView, wave: int) -> Wave:  # noqa: ARG002
        """The sample, then a place of the chains per wave."""
        sampling = self._sample.next_wave(view)
        if sampling is not None:
            return sampling
        self._waves += 1
        facts = self._facts(view)
        rows = np.flatnonzero(open_rows(view))
        tiers = np.full(view.shape[0], -1)
        urgency = np.zeros(view.shape[0])
        if facts.sample.size and self._waves <= _MOST_WAVES:
            self._decide(facts, rows, tiers, urgency)
        unanswered = rows[~view.held[rows].any(axis=1)]
        safe = safe_tiers(view)[unanswered]
        tiers[unanswered] = np.where(tiers[unanswered] < 0, safe, tiers[unanswered])
        rows = rows[tiers[rows] >= 0]
        rows = rows[~view.barred[rows, tiers[rows]]]
        # Cheap first answers first, which free the ring fence; then the lowest scores.
        held = view.held[rows].any(axis=1)
        order = np.lexsort((urgency[rows], np.where(held, -1, tiers[rows]), held))
        return make_wave(rows[order], tiers[rows[order]], facts.cost, Reason.ESCALATE)

    def choose(self, view: JobView) -> TierNos:
        """What passed, else the answer with the best score; without labels the dearest."""
        n_tiers = view.shape[1]
        if view.labels in (Labels.AGREEMENT, Labels.CHECK):
            return final_tiers(view, np.broadcast_to(np.arange(n_tiers), view.shape))
        facts = self._facts(view)
        score = np.full(view.shape, -1.0)
        for bits in np.unique(facts.sets):
            held = tiers_of(int(bits))
            rows = facts.sets == bits
            for tier in held:
                score[rows, tier] = facts.answer_score(tier, held)[rows]
        return final_tiers(view, score)

    def _facts(self, view: JobView) -> _Facts:
        sample = self._sample.complete(view)
        return _Facts(
            view,
            marks_of(view),
            Signals(view, sample),
            expected_costs(view),
            sample,
            held_sets(view),
        )

    def _decide(self, facts: _Facts, rows: Places, tiers: Places, urgency: Floats) -> None:
        """Set the tier that each row is asked on next, -1 for none, and the order within them."""
        rng = np.random.default_rng((self._seed, 13, self._waves))
        groups, offers, options = [], [], []
        for bits in np.unique(facts.sets[rows]):
            group = rows[facts.sets[rows] == bits]
            found, offer = _offer(facts, tiers_of(int(bits)), group)
            if found:
                groups.append(group)
                options.append(found)
                offers.append(offer)
        for group, found, mix in zip(
            groups, options, spend(offers, money_left(facts.view)), strict=True
        ):
            _follow(facts, group, found, mix, tiers, urgency, rng)


def _follow(
    facts: _Facts,
    group: Places,
    options: list[_Option],
    mix: Mix,
    tiers: Places,
    urgency: Floats,
    rng: np.random.Generator,
) -> None:
    held = tiers_of(int(facts.sets[group[0]]))
    score = facts.score(held)[group] if held else np.full(group.size, -np.inf)
    # Which rows get the better option is left to chance: their scores decide within it.
    is_high = rng.random(group.size) < mix.high_share
    for number, mine in ((mix.low, ~is_high), (mix.high, is_high)):
        option = options[number]
        if option.chain:
            asked = group[mine & (score < option.thresholds[0])]
            tiers[asked] = option.chain[0]
    urgency[group] = np.where(np.isfinite(score), score, 0.0)


def _offer(facts: _Facts, held: tuple[int, ...], group: Places) -> tuple[list[_Option], Offer]:
    """The options of rows that hold these answers, and what the sample says that they cost and bring."""
    sample = _alike(facts, held, group)
    n_tiers = facts.view.shape[1]
    level = facts.cost[group].mean(axis=0) / np.maximum(facts.cost[sample].mean(axis=0), 1e-9)
    paid = facts.view.cost_nanousd[sample] * level
    others = [tier for tier in range(n_tiers) if tier not in held]
    options, costs, qualities = [], [], []
    now = facts.mark(held)[sample] if held else np.zeros(sample.size)
    if held:
        options.append(_Option((), ()))
        costs.append(0.0)
        qualities.append(float(now.mean()))
    longest = max(_LONGEST - len(held), 1)
    for length in range(1, longest + 1):
        for chain in combinations(others, length):
            for thresholds in _grids(facts, held, chain, group, sample):
                cost, quality = _tried(facts, held, chain, thresholds, sample, paid, now, group)
                options.append(_Option(chain, thresholds))
                costs.append(cost)
                qualities.append(quality)
    return options, Offer(group.size, np.array(costs), np.array(qualities))


def _alike(facts: _Facts, held: tuple[int, ...], group: Places) -> Places:
    """Rows of the sample that would have come this far: each earlier score at most what the group's are."""
    sample = facts.sample
    excess = np.zeros(sample.size)
    for place in range(1, len(held)):
        score = facts.score(held[:place])
        excess += np.maximum(score[sample] - score[group].max(), 0.0)
    if facts.view.labels == Labels.CHECK and held:
        excess += (facts.view.verdict[sample][:, held] == 1).any(axis=1)
    n = max(int((excess <= 0).sum()), min(_FEW, sample.size))
    return sample[np.argsort(excess, kind="stable")[:n]]


def _grids(
    facts: _Facts, held: tuple[int, ...], chain: tuple[int, ...], group: Places, sample: Places
) -> list[tuple[float, ...]]:
    """Thresholds to try before each tier of a chain."""
    cuts: list[list[float]] = []
    for place in range(len(chain)):
        so_far = (*held, *chain[:place])
        if not so_far:
            cuts.append([np.inf])
        elif facts.view.labels == Labels.CHECK:
            cuts.append([_PASS])
        else:
            rows = sample if place else group
            shares = np.linspace(0.0, 1.0, _CUTS + 1)[1:]
            quantiles = np.quantile(facts.score(so_far)[rows], shares)
            cuts.append([*quantiles[:-1].tolist(), np.inf])
    return list(product(*cuts))


def _tried(
    facts: _Facts,
    held: tuple[int, ...],
    chain: tuple[int, ...],
    thresholds: tuple[float, ...],
    sample: Places,
    paid: Floats,
    now: Floats,
    group: Places,
) -> tuple[float, float]:
    """Cost and quality per row of an option on the sample, with the share of rows that go on from where they
    are taken from the group itself."""
    cost, quality = np.zeros(sample.size), now.copy()
    going = np.ones(sample.size, np.bool_)
    checked = facts.view.labels == Labels.CHECK
    level = np.nan_to_num(facts.marks[facts.sample]).mean(axis=0)
    for place, tier in enumerate(chain):
        so_far = (*held, *chain[:place])
        if so_far:
            going = going & (facts.score(so_far)[sample] < thresholds[place])
        cost[going] += paid[going, tier]
        right = facts.mark((*so_far, tier))[sample]
        if checked:
            # A tier that passed none of a few hopeless rows may pass the next, and money is for nothing else.
            right = np.maximum(right, level[tier] / (sample.size + 1.0))
        quality[going] = right[going]
        if place == 0:
            start = going.copy()
    if not held:
        return float(cost.mean()), float(quality.mean())
    share = float((facts.score(held)[group] < thresholds[0]).mean())
    if not start.any():
        return share * float(paid[:, chain[0]].mean()), float(now.mean())
    gain = (quality - now)[start].mean()
    return share * float(cost[start].mean()), float(now.mean() + share * gain)
