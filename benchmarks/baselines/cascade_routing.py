"""Cascade routing (Dekoninck, Baader, Vechev 2025, "A Unified Approach to Routing and Cascading for LLMs",
ICML, arXiv:2410.10347).

At every step all sets of models that contain what was asked so far (supermodels) are weighed: expected
quality of the best answer among them, less lambda times what they cost. The best set's next model is asked;
where nothing is to be added, the row is done. Quality is estimated before an answer (ex ante) and after it
(ex post), and as estimates will move when answers come, that of a set is the expected maximum of its models'
estimates.

Where this differs from the paper, and why:

* Estimators: logistic regressions on what the row holds (confidence ranks, lengths, agreement, size,
  stratum), one for each model and set of held answers. They are trained on a sample that the job pays for and
  asks on every tier, and again on every labelled answer as the job goes on; a row's own label is never used
  for it.
* The paper takes the movement of estimates for Gaussian, with a covariance from training data. Here the
  movements seen on the sample are used themselves, several models' together: they correlate in the same way,
  and fit a check too, whose word makes an estimate jump to 0 or 1.
* The paper tunes a lambda for each step on training data, and mixes (gamma) the cheapest and dearest of
  equally good choices so that the budget is met on average. Here one lambda holds for all steps, as in the
  authors' constant strategy, and it is found anew after each wave for the money that is left, with the
  further course of rows taken from the sample. Between two neighbouring lambdas rows are drawn at random.
* Of several new models the cheapest is asked first (the paper's forced order).
* A row stops where a check has passed: its estimate is then 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
from benchmarks.baselines.regression import predict
from benchmarks.baselines.sample import TrainingSample
from benchmarks.baselines.signals import Signals, marks_of
from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.view import Floats, JobView, Keys, Labels, Reason, Wave

_DEEPEST = 4
"""Answers of a row at most where there are many tiers, which keeps the supermodels countable."""
_DRAWS = 60
_LAMBDAS = 60
_MOST_WAVES = 60


def make(_policy: PolicyName, seed: int) -> CascadeRouting:
    """A planner for one job; the policy plays no part."""
    return CascadeRouting(seed)


@dataclass(slots=True)
class _Estimates:
    """Qualities and what they may become, from a view; worked out when asked for."""

    view: JobView
    marks: Floats
    signals: Signals
    cost: Floats
    sample: Places
    by_state: dict[tuple[int, int], Floats] = field(default_factory=dict)
    of_sample: dict[int, tuple[Keys, Floats, Floats]] = field(default_factory=dict)

    def quality(self, tier: int, bits: int) -> Floats:
        """[N] probability that a tier is right, seen from rows that hold at least these answers."""
        key = (tier, bits)
        if key not in self.by_state:
            held = tiers_of(bits)
            if self.view.labels == Labels.CHECK and tier in held:
                result = (self.view.verdict[:, tier] == 1).astype(np.float64)
            else:
                there = self.view.held[:, held].all(axis=1) if held else np.bool_(True)
                target = np.where(there, self.marks[:, tier], np.nan)
                result = predict(self.signals.features(tier, held), target)
            self.by_state[key] = result
        return self.by_state[key]

    def supermodels(self, bits: int, rows: Places) -> tuple[Keys, Floats, Floats]:
        """[M] sets that contain what is held, [n, M] their quality, and [n, M] what they cost further.

        The quality is the mean, over movements seen on the sample, of the best estimate in the set.
        """
        n_tiers = self.view.shape[1]
        held, fresh = tiers_of(bits), [t for t in range(n_tiers) if not bits >> t & 1]
        moves = self._movements(bits, fresh)
        now = np.full(rows.size, -np.inf)
        for tier in held:
            now = np.maximum(now, self.quality(tier, bits)[rows])
        after = {
            t: np.clip(self.quality(t, bits)[rows][:, None] + moves[t][None, :], 0.0, 1.0)
            for t in fresh
        }
        deepest = max(_DEEPEST if n_tiers > _DEEPEST else n_tiers, len(held))
        sets, quality, cost = [bits], [now], [np.zeros(rows.size)]
        best = {bits: np.broadcast_to(now[:, None], (rows.size, _moves_count(moves)))}
        for one in range(bits + 1, 1 << n_tiers):
            if one & bits != bits or one.bit_count() > deepest:
                continue
            top = max(t for t in fresh if one >> t & 1)
            best[one] = np.maximum(best[one & ~(1 << top)], after[top])
            sets.append(one)
            quality.append(best[one].mean(axis=1))
            cost.append(self.cost[rows][:, [t for t in fresh if one >> t & 1]].sum(axis=1))
        return np.array(sets), np.column_stack(quality), np.column_stack(cost)

    def _movements(self, bits: int, fresh: list[int]) -> dict[int, Floats]:
        """[S] by how much each tier's estimate moved when its answer came, on rows of the sample."""
        rows = self.sample[:: max(1, self.sample.size // _DRAWS)]
        moves = {}
        for tier in fresh:
            moved = self.quality(tier, bits | 1 << tier)[rows] - self.quality(tier, bits)[rows]
            # An estimate is taken for unbiased, as in the paper.
            moves[tier] = moved - moved.mean()
        return moves


def _moves_count(moves: dict[int, Floats]) -> int:
    """How many movements there are of each tier; 1 where no tier is left."""
    return next((move.size for move in moves.values()), 1)


class CascadeRouting:
    """Buys a sample, then takes the best supermodel's next step for every row, wave by wave."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sample = TrainingSample(seed)
        self._waves = 0

    def plan(self, view: JobView, wave: int) -> Wave:  # noqa: ARG002
        """The sample, then one step of every row."""
        sampling = self._sample.next_wave(view)
        if sampling is not None:
            return sampling
        self._waves += 1
        estimates = self._estimates(view)
        rows = np.flatnonzero(open_rows(view))
        tiers = np.full(view.shape[0], -1)
        if estimates.sample.size and rows.size and self._waves <= _MOST_WAVES:
            rng = np.random.default_rng((self._seed, 14, self._waves))
            tiers[rows] = _steps(estimates, rows, money_left(view), rng)
        unanswered = rows[~view.held[rows].any(axis=1)]
        safe = safe_tiers(view)[unanswered]
        tiers[unanswered] = np.where(tiers[unanswered] < 0, safe, tiers[unanswered])
        rows = rows[tiers[rows] >= 0]
        rows = rows[~view.barred[rows, tiers[rows]]]
        held = view.held[rows].any(axis=1)
        order = np.lexsort((tiers[rows], held))
        return make_wave(rows[order], tiers[rows[order]], estimates.cost, Reason.ESCALATE)

    def choose(self, view: JobView) -> TierNos:
        """What passed, else the best by estimate; without labels the dearest."""
        if view.labels in (Labels.AGREEMENT, Labels.CHECK):
            return final_tiers(view, np.broadcast_to(np.arange(view.shape[1]), view.shape))
        estimates = self._estimates(view)
        sets = held_sets(view)
        score = np.full(view.shape, -1.0)
        for bits in np.unique(sets):
            rows = sets == bits
            for tier in tiers_of(int(bits)):
                score[rows, tier] = estimates.quality(tier, int(bits))[rows]
        return final_tiers(view, score)

    def _estimates(self, view: JobView) -> _Estimates:
        sample = self._sample.complete(view)
        return _Estimates(view, marks_of(view), Signals(view, sample), expected_costs(view), sample)


def _steps(
    estimates: _Estimates, rows: Places, money_nanousd: int, rng: np.random.Generator
) -> Places:
    """[n] the tier that each row is asked on next, -1 for none."""
    sets = held_sets(estimates.view)[rows]
    present = [int(bits) for bits in np.unique(sets)]
    lambdas = _grid(estimates)
    courses = [_Course(estimates, price) for price in lambdas]
    step = np.full((lambdas.size, rows.size), -1)
    spent = np.zeros(lambdas.size)
    for bits in present:
        mine = np.flatnonzero(sets == bits)
        models, quality, cost = estimates.supermodels(bits, rows[mine])
        for place, course in enumerate(courses):
            target = _next_tiers(bits, models, quality, cost, course.price)
            target = np.where(
                (target >= 0) & estimates.view.barred[rows[mine], np.maximum(target, 0)], -1, target
            )
            step[place, mine] = target
            spent[place] += course.expected_nanousd(bits, rows[mine], target)
    # From the dearest money to the cheapest: the first price at which too much is spent, and the one before.
    affordable = np.minimum.accumulate(spent <= money_nanousd)
    place = max(int(affordable.sum()) - 1, 0)
    if place + 1 >= lambdas.size or not affordable[0]:
        return np.asarray(step[place], np.intp)
    gap = spent[place + 1] - spent[place]
    share = (money_nanousd - spent[place]) / gap if gap > 0 else 0.0
    drawn = np.where(rng.random(rows.size) < share, step[place + 1], step[place])
    return np.asarray(drawn, np.intp)


def _grid(estimates: _Estimates) -> Floats:
    """Lambdas to try, in quality per nano-dollar, from far too dear for anything down to none at all."""
    mean = np.maximum(estimates.cost.mean(axis=0), 1.0)
    steepest, flattest = 1.0 / mean.min(), 0.001 / mean.max()
    return np.append(np.geomspace(10.0 * steepest, flattest, _LAMBDAS - 1), 0.0)


def _next_tiers(bits: int, models: Keys, quality: Floats, cost: Floats, price: float) -> Places:
    """[n] the cheapest new model of the best supermodel; -1 where nothing is to be added."""
    worth = quality - price * cost
    if not bits:
        # Every row is answered.
        worth[:, 0] = -np.inf
    # Of equals the one that adds least.
    best = models[(worth - 1e-9 * (models != bits)).argmax(axis=1)]
    added = best & ~bits
    lowest = added & -added
    return np.asarray(np.where(added > 0, np.log2(np.maximum(lowest, 1)), -1), dtype=np.intp)


class _Course:
    """What rows go on to cost at a price of money, by what becomes of the sample."""

    def __init__(self, estimates: _Estimates, price: float) -> None:
        self.price = price
        self._estimates = estimates
        self._after: dict[int, tuple[Places, Floats]] = {}

    def expected_nanousd(self, bits: int, rows: Places, target: Places) -> float:
        """Of all these rows, from what they hold, the next answer included."""
        total = 0.0
        for tier in np.unique(target[target >= 0]):
            asked = rows[target == tier]
            total += float(self._estimates.cost[asked, tier].sum())
            total += asked.size * self._mean_rest(bits, int(tier))
        return total

    def _mean_rest(self, bits: int, tier: int) -> float:
        """Mean further cost, after a tier's answer, of the rows of the sample that go there from here."""
        mine = self._move(bits)[0] == tier
        rest = self._rest(bits | 1 << tier)
        return float(rest[mine].mean()) if mine.any() else float(rest.mean())

    def _rest(self, bits: int) -> Floats:
        """[S] what each row of the sample goes on to cost once it holds these answers."""
        return self._move(bits)[1]

    def _move(self, bits: int) -> tuple[Places, Floats]:
        """[S] the next tier of each row of the sample, and the whole of its further cost."""
        estimates = self._estimates
        known = self._after.get(bits)
        if known is not None:
            return known
        if bits not in estimates.of_sample:
            estimates.of_sample[bits] = estimates.supermodels(bits, estimates.sample)
        target = _next_tiers(bits, *estimates.of_sample[bits], self.price)
        passed = (estimates.view.verdict[estimates.sample][:, tiers_of(bits)] == 1).any(axis=1)
        target = np.where(passed, -1, target)
        rest = np.zeros(target.size)
        for tier in np.unique(target[target >= 0]):
            mine = target == tier
            rest[mine] = estimates.cost[estimates.sample[mine], tier]
            rest[mine] += self._rest(bits | 1 << int(tier))[mine]
        self._after[bits] = (target, rest)
        return self._after[bits]
