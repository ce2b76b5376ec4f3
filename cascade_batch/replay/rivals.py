"""Simple policies to compare with, as curves worked out from all recorded outcomes, in hindsight.

Every call is charged, and every row is answered.

* `cheapest`: all rows on the first tier.
* `dearest`: rows at random on the last tier, no draft before it; the others on the first.
* `random`: every row on the first tier, then rows at random on the last as well, whose answer counts.
* `confidence:A>B`: every row on A, then rows on B as well, the lowest log-probability first; B's answer
  counts. Rows without a log-probability come first, in random order among themselves. A budget that does not
  carry every row on A gets the hull.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from cascade_batch.policy.view import Amounts, Floats
from cascade_batch.replay.recorded import RecordedSet
from cascade_batch.replay.score import hull


def rival_curves(set_: RecordedSet, budgets: Amounts, seed: int) -> dict[str, Floats]:
    """[B] mean score of each rival at each budget, in nano-dollars."""
    first, last = 0, len(set_.tiers) - 1
    curves = {
        "cheapest": _expected(set_, budgets, [(first,)]),
        "dearest": _expected(set_, budgets, [(first,), (last,)]),
        "random": _expected(set_, budgets, [(first,), (first, last)]),
    }
    rng = np.random.default_rng((seed, 2))
    for start, to in combinations(range(len(set_.tiers)), 2):
        name = f"confidence:{set_.tiers[start]}>{set_.tiers[to]}"
        curves[name] = _by_confidence(set_, budgets, start, to, rng.random(len(set_)))
    return curves


def _expected(set_: RecordedSet, budgets: Amounts, paths: list[tuple[int, ...]]) -> Floats:
    """Between paths on which all rows ask these tiers one after the other, in proportion."""
    cost = [int(set_.cost_nanousd[:, path].sum()) for path in paths]
    score = [float(set_.score[:, path[-1]].mean()) for path in paths]
    return np.asarray(np.interp(budgets, cost, score), np.float64)


def _by_confidence(
    set_: RecordedSet, budgets: Amounts, start: int, to: int, draw: Floats
) -> Floats:
    confidence = np.nan_to_num(set_.confidence[:, start], nan=-np.inf)
    order = np.lexsort((draw, confidence))
    gain = set_.score[order, to] - set_.score[order, start]
    drafts = set_.total_nanousd()[start]
    spent = drafts + np.concatenate([[0], np.cumsum(set_.cost_nanousd[order, to])])
    gained = np.concatenate([[0.0], np.cumsum(gain)]) / len(set_)
    curve = set_.score[:, start].mean() + np.interp(budgets, spent, gained)
    return np.asarray(np.where(budgets < drafts, hull(set_, budgets), curve), np.float64)
