"""A router after RouteLLM (Ong et al. 2024, "RouteLLM: Learning to Route LLMs with Preference Data",
arXiv:2406.18665): before any answer is seen, the chance that the strong model wins decides which of two
models is asked, by a threshold that the budget sets.

Where this differs from the paper, and why:

* The paper's routers read the question's text (embeddings, BERT) and learn from tens of thousands of
  preferences. A job's planner is shown a row's size and stratum only, and pays for its labels: a logistic
  regression on these is trained on a sample asked on every tier. Its target is a preference: 1 where the
  strong answer alone is right, 0 where the weak one alone is, one half for a tie.
* The pair of models is not given. That pair is taken which is expected to make most of the money that is
  left, by the sample; so that a weak pair does not stand for routing as such.
* Costs of rows differ: the row's chance of a win (beyond one half) is set against its extra cost, and the
  threshold lies where the money ends. All rows are at hand, so that it is met exactly.
* Nothing is asked twice, whatever the answer or its check says: that would be a cascade.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.baselines.buying import (
    Places,
    TierNos,
    final_tiers,
    make_wave,
    money_left,
    open_rows,
    safe_tiers,
)
from benchmarks.baselines.regression import predict
from benchmarks.baselines.sample import TrainingSample
from benchmarks.baselines.signals import Signals, marks_of
from cascade_batch.domain.job import PolicyName
from cascade_batch.policy.amounts import affordable_prefix
from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.view import Floats, JobView, Reason, Wave

_STEP = 0.05
"""By how much a tier is first taken for better than the next cheaper one: the paper's strong model is strong
by assumption, and some dozens of rows may say otherwise by chance."""
_STEP_WEIGHT = 20.0
"""What that is worth, in sample rows."""


def make(_policy: PolicyName, seed: int) -> RouteLLM:
    """A planner for one job; the policy plays no part."""
    return RouteLLM(seed)


@dataclass(frozen=True, slots=True)
class _Route:
    """What a pair of tiers would do: rows that the strong one gets, and what that is expected to gain over
    the first tier, in right answers."""

    weak: int
    strong: int
    to_strong: Places
    gain: float


class RouteLLM:
    """Buys a sample, then asks every other row once."""

    def __init__(self, seed: int) -> None:
        self._sample = TrainingSample(seed)
        self._rng = np.random.default_rng((seed, 12))

    def plan(self, view: JobView, wave: int) -> Wave:  # noqa: ARG002
        """The sample, then all that is left, on the tiers that the router picks."""
        sampling = self._sample.next_wave(view)
        if sampling is not None:
            return sampling
        cost = expected_costs(view)
        rows = np.flatnonzero(open_rows(view) & ~view.held.any(axis=1))
        self._rng.shuffle(rows)
        tiers = safe_tiers(view)
        sample = self._sample.complete(view)
        if rows.size and sample.size:
            route = self._best_route(view, sample, rows, cost)
            ordered = np.concatenate([np.setdiff1d(rows, route.to_strong), route.to_strong])
            wanted = np.where(np.isin(ordered, route.to_strong), route.strong, route.weak)
            possible = ~view.barred[ordered, wanted]
            tiers[ordered[possible]] = wanted[possible]
            rows = ordered
        return make_wave(rows, tiers[rows], cost, Reason.START)

    def choose(self, view: JobView) -> TierNos:
        """The answer that was asked for; of a sample row, the tier that was best on the sample."""
        level = _levels(marks_of(view)[self._sample.complete(view)])
        return final_tiers(view, np.broadcast_to(level, view.shape))

    def _best_route(self, view: JobView, sample: Places, rows: Places, cost: Floats) -> _Route:
        marks = marks_of(view)
        known = np.zeros(view.shape[0], np.bool_)
        known[sample] = True
        marks[~known] = np.nan
        features = Signals(view, sample).features(0, ())
        level = _levels(marks[sample])
        safe = safe_tiers(view)[rows]
        base = float(cost[rows, safe].sum())
        money = money_left(view)
        routes = []
        for weak in range(view.shape[1] - 1):
            for strong in range(weak + 1, view.shape[1]):
                target = 0.5 + 0.5 * (marks[:, strong] - marks[:, weak])
                lead = 2.0 * predict(features, target)[rows] - 1.0
                # On average as far ahead as is believed of the tiers.
                lead += level[strong] - level[weak] - lead.mean()
                routes.append(_route(rows, weak, strong, lead, level, cost, base, float(money)))
        return max(routes, key=lambda route: route.gain)


def _route(
    rows: Places,
    weak: int,
    strong: int,
    lead: Floats,
    level: Floats,
    cost: Floats,
    base_nanousd: float,
    money_nanousd: float,
) -> _Route:
    weak_nanousd = float(cost[rows, weak].sum()) if weak else base_nanousd
    extra = np.maximum(cost[rows, strong] - cost[rows, weak], 1.0)
    order = np.argsort(-(lead / extra), kind="stable")
    order = order[lead[order] > 0.0]
    left = money_nanousd - weak_nanousd
    n = affordable_prefix(np.ceil(extra[order]).astype(np.int64), int(left))
    # A weak tier that not all rows can have is bought for a part of them, the others stay on the first.
    share = 1.0
    if left < 0 and weak_nanousd > base_nanousd:
        share = max(money_nanousd - base_nanousd, 0.0) / (weak_nanousd - base_nanousd)
    # Pairs are compared by their mean lead: what the regression adds to it for the chosen rows is fitted on
    # few, and the pair that looks best by it would be the one that was overfitted most.
    gain = share * rows.size * (level[weak] - level[0]) + n * float(lead.mean())
    return _Route(weak, strong, rows[order[:n]], gain)


def _levels(marks: Floats) -> Floats:
    """[T] share of right answers on the sample, each tier's lead on the next cheaper one drawn towards what
    is assumed of it."""
    n = (~np.isnan(marks)).sum(axis=0)
    share = np.nansum(marks, axis=0) / np.maximum(n, 1)
    steps = (n[1:] * np.diff(share) + _STEP_WEIGHT * _STEP) / (n[1:] + _STEP_WEIGHT)
    return np.asarray(share[0] + np.concatenate([[0.0], np.cumsum(steps)]))
