"""What asking is expected to cost, learnt from what it has cost.

A cost is proportional to the tier's mean, and within it to a row's expense, which tiers share: a long prompt,
or a stratum that makes models talk, costs more everywhere (on one recorded set strata differed threefold, and
a plan that went by prompt length alone missed its budget). So relative costs of all tiers together are
regressed on the free features, by ridge regression. What a row has already cost elsewhere tells the rest.

Tiers have no regression of their own. What differs between them is seen on rows that the plan chose, and
told of rows that it did not choose: the cheap tier was believed 8 % too dear where few had asked it, so
that rows began below it and paid twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.view import Floats, JobView

FIRST_RATIO = 0.25
"""Cost as a share of the worst case before any answer is seen: a worst case counts every byte of the request
as a token and every answer as long as it may be."""
_FIRST_WEIGHT = 3.0
"""What that is worth, in answers."""
_PRECISION = 10.0
_NONE = np.empty(0, np.intp)
_SIZE_PRIOR = 0.5
"""How strongly cost is taken to follow the prompt's size before anything is seen."""
_MOST_RELATIVE = 10.0
_RELATIVE_BOUNDS = (0.15, 6.0)
_FEW = 10
_MOST_SURPLUS = 2.0
_EVENNESS = 0.25
"""Power of a row's relative cost that is gone by where nobody labels."""
_SURPLUS_WEIGHT = 10.0
"""Of the assumption that tiers' surpluses have nothing to do with each other."""


def expected_costs(view: JobView) -> Floats:
    """[N, T] expected cost of asking each row on each tier, in nano-dollars; never above the worst case,
    and positive where the worst case is."""
    mean = _mean_costs(view)
    features = _expense_features(view)
    first = np.zeros(features.shape[1])
    first[0], first[1] = 1.0, _SIZE_PRIOR
    # Tier by tier, as a copy of the features of all answers would be the largest thing in memory.
    answered = [np.flatnonzero(view.held[:, t]) if mean[t] > 0 else _NONE for t in range(mean.size)]
    relative = [
        np.minimum(view.cost_nanousd[rows, t] / mean[t], _MOST_RELATIVE)
        for t, rows in enumerate(answered)
    ]
    cost = np.empty(view.held.shape)
    n_answers = sum(rows.size for rows in answered)
    if n_answers < _FEW:
        cost[:] = mean * np.clip(features @ first, *_RELATIVE_BOUNDS)[:, None]
    else:
        shared = first + _ridge(features, answered, relative, first)
        expense = np.clip(features @ shared, *_RELATIVE_BOUNDS)
        for t, rows in enumerate(answered):
            cost[:, t] = mean[t] * expense * _level(expense[rows], relative[t])
    if n_answers:
        cost *= _talkative(view, cost)
    return np.asarray(
        np.clip(cost, np.minimum(1.0, view.worst_nanousd), view.worst_nanousd, out=cost)
    )


def evened(cost: Floats) -> Floats:
    """[N, T] expected costs that tell rows apart less, each tier's mean kept.

    For jobs that nobody labels. Going by costs alone, the plan would keep dear tiers for the rows on which
    they are cheap. On some data those are the easy rows, on which a dear tier gains least: with labels the
    model of beliefs finds that out, and without them nothing can.
    """
    level = cost.mean(axis=0)
    even = level * (cost / np.maximum(level, 1e-9)) ** _EVENNESS
    return np.asarray(even * (level / np.maximum(even.mean(axis=0), 1e-9)))


def _mean_costs(view: JobView) -> Floats:
    """[T] mean cost of a tier's answers; of tiers with few, what the others' ratio to worst cases makes
    likely."""
    assumed = FIRST_RATIO * view.worst_nanousd.mean(axis=0, dtype=np.float64)
    answers = view.held.sum(axis=0)
    total = view.cost_nanousd.sum(axis=0, dtype=np.float64)
    seen = (answers >= _FIRST_WEIGHT) & (assumed > 0) & (total > 0)
    if seen.any():
        ratios = total[seen] / answers[seen] / assumed[seen]
        assumed = assumed * float(np.exp(np.log(ratios).mean()))
    return np.asarray((total + _FIRST_WEIGHT * assumed) / (answers + _FIRST_WEIGHT))


def _level(expected: Floats, relative: Floats) -> float:
    """By how much a tier's answers cost more than expected of them, both relative to its mean."""
    return float((relative.sum() + _FIRST_WEIGHT) / (expected.sum() + _FIRST_WEIGHT))


def _talkative(view: JobView, cost: Floats) -> Floats:
    """[N, T] by how much more a tier will cost than expected of the row, as others have already cost more or
    less: a question that makes one model think long makes others.

    The logarithm of a tier's surplus is regressed, through the origin, on the mean logarithm of the other
    tiers' surpluses.
    """
    held, paid = view.held, view.cost_nanousd
    n_tiers = held.shape[1]
    surplus = np.zeros((n_tiers, len(held)))
    n_held = np.zeros(len(held), np.int16)
    for tier in range(n_tiers):
        rows = np.flatnonzero(held[:, tier])
        ratio = np.maximum(paid[rows, tier], 1.0) / np.maximum(cost[rows, tier], 1.0)
        surplus[tier, rows] = np.clip(np.log(ratio), -_MOST_SURPLUS, _MOST_SURPLUS)
        n_held += held[:, tier]
    total = surplus.sum(axis=0)
    factor = np.ones(cost.shape)
    for tier in range(n_tiers):
        others = n_held - held[:, tier]
        heard = (total - surplus[tier]) / np.maximum(others, 1)
        both = np.flatnonzero(held[:, tier] & (others > 0))
        heard_both = heard[both]
        slope = (heard_both @ surplus[tier, both]) / (heard_both @ heard_both + _SURPLUS_WEIGHT)
        mean = cost[:, tier].mean()
        seen = float(cost[both, tier] @ np.exp(slope * heard_both))
        level = (float(paid[both, tier].sum()) + _FEW * mean) / (seen + _FEW * mean + 1.0)
        told = np.flatnonzero(~held[:, tier] & (others > 0))
        factor[told, tier] = np.exp(slope * heard[told]) * level
    return factor


def _expense_features(view: JobView) -> Floats:
    """[N, F]: one; the prompt's size against the mean; a column for each stratum."""
    size = view.input_size.astype(np.float64)
    mean = max(float(size.mean()), 1.0)
    columns = [np.ones_like(size), size / mean - 1.0]
    n_strata = int(view.stratum.max(initial=0)) + 1
    if n_strata > 1:
        counts = np.bincount(view.stratum)
        largest = np.sort(np.argsort(-counts, kind="stable")[:50])
        columns += [(view.stratum == s).astype(np.float64) for s in largest]
    return np.column_stack(columns)


def _ridge(
    features: Floats, answered: list[NDArray[np.intp]], relative: list[Floats], first: Floats
) -> Floats:
    """[F] what to add to the first coefficients: ridge regression of the answers' relative costs."""
    penalty = np.full(features.shape[1], _PRECISION)
    penalty[0], penalty[1] = _PRECISION / 10.0, _PRECISION / 3.0
    gram: Floats = np.diag(penalty)
    pull = np.zeros(features.shape[1])
    for rows, target in zip(answered, relative, strict=True):
        x = features if rows.size == len(features) else features[rows]
        gram += x.T @ x
        pull += x.T @ (target - x @ first)
    return np.asarray(np.linalg.solve(gram, pull))
