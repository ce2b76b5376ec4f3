"""A joint model of who is right: what each tier's answers say about every tier.

A row has an ease `z`, standard normal. Tier `t` answers it rightly with probability
`sigmoid(ability_t + slope_t * (z + shared . x) + own_t . x)`, where `x` are the row's free features. This is
the two-parameter logistic model of item response theory (Birnbaum 1968, in Lord and Novick, Statistical
Theories of Mental Test Scores), the row's ease standing for the examinee's ability. Given who is right and
the ease, what an answer gives away is independent between tiers:

- its confidence has a distribution over ranks that depends on right or wrong and, where right, on the ease:
  a tier that is wrong is unsure (or not) alike on all rows, a tier that is right is surer on easy ones. On
  recorded data a wrong answer's confidence said nothing about other tiers, a right one's much;
- two answers have the same value with a probability that depends on how many of the two are right;
- a tier that is asked once more says the same with a probability that depends on whether it was right
  (self-consistency, Wang and others 2022);
- a check errs with two small probabilities.

Ease is integrated out over the nodes of a Gauss-Hermite rule, right and wrong over all combinations of the
tiers that a row holds. Distributions over ranks are piecewise linear between knots, finer where confidence is
low, for that is where money is spent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.evidence import Evidence
from cascade_batch.policy.view import Bools, Floats

N_NODES = 7
_nodes, _weights = np.polynomial.hermite_e.hermegauss(N_NODES)
NODES: Floats = _nodes
NODE_WEIGHTS: Floats = _weights / _weights.sum()
KNOTS: Floats = np.array([0.0, 0.04, 0.1, 0.18, 0.28, 0.4, 0.55, 0.7, 0.85, 1.0])

_BLOCK_ROWS = 8_192
_MOST_WEIGHED = 6
_LEAST_DENSITY = 1e-6
_CERTAIN = 1e3


@dataclass(slots=True)
class Model:
    """Parameters; T tiers, F features, K nodes, R knots.

    Attributes:
        ability: [T] log-odds of being right on a row of average ease.
        slope: [T] how strongly the tier follows the ease.
        shared: [F] what features say of the ease.
        own: [T, F] what features say of this tier beyond that.
        density: [T, 2, R, K] density of the confidence's rank at each knot, against the uniform, where wrong
            and where right, by node.
        missing: [T, 2] probability that the confidence is missing, where wrong and where right.
        same_value: [3] probability that two answers have the same value, where none, one, both are right.
        same_again: [T, 2] probability that a tier asked once more gives the same value, where it was wrong
            and where it was right.
        false_alarm: P(check fails | right).
        false_pass: P(check passes | wrong).
    """

    ability: Floats
    slope: Floats
    shared: Floats
    own: Floats
    density: Floats
    missing: Floats
    same_value: Floats
    same_again: Floats
    false_alarm: float
    false_pass: float

    @property
    def n_tiers(self) -> int:
        """T."""
        return int(self.ability.size)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that hold answers of the same tiers."""

    tiers: tuple[int, ...]
    rows: NDArray[np.intp]


def groups_of(held: Bools) -> list[Group]:
    """The rows by what they hold."""
    # Of one byte where that is enough: a stable sort of small numbers counts, and takes no comparisons.
    code: NDArray[np.integer[Any]] = np.packbits(held, axis=1, bitorder="little")[:, 0]
    if held.shape[1] > 8:
        code = held @ (1 << np.arange(held.shape[1], dtype=np.int64))
    order = np.argsort(code, kind="stable")
    codes, first = np.unique(code[order], return_index=True)
    parts = np.split(order, first[1:])
    return [
        Group(tuple(t for t in range(held.shape[1]) if int(c) >> t & 1), rows)
        for c, rows in zip(codes, parts, strict=True)
    ]


def combinations(n_tiers: int) -> Bools:
    """[2^n, n] every way in which n tiers can be right or wrong."""
    return (np.arange(2**n_tiers)[:, None] >> np.arange(n_tiers) & 1).astype(np.bool_)


def weighed(tiers: tuple[int, ...]) -> tuple[int, ...]:
    """Of the tiers that a row holds, those whose answers are weighed against each other: the dearest few, as
    every further one doubles the ways of being right and wrong."""
    return tiers[-_MOST_WEIGHED:]


def sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


def log_odds(model: Model, features: Floats, tier: int) -> Floats:
    """[K, n] log-odds that the tier is right, at each node of the ease."""
    ease = NODES[:, None] + features @ model.shared
    return np.asarray(model.ability[tier] + model.slope[tier] * ease + features @ model.own[tier])


def between_knots(rank: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The knot below each rank, and how far it is on the way to the next (0 to 1)."""
    below = np.clip(np.searchsorted(KNOTS, rank, "right") - 1, 0, KNOTS.size - 2)
    return below, (rank - KNOTS[below]) / (KNOTS[below + 1] - KNOTS[below])


def posterior(
    model: Model, evidence: Evidence, tiers: tuple[int, ...], *, use_gold: bool
) -> Floats:
    """[K, 2^m, n] probability of each ease and combination of right and wrong, for rows that hold these m
    tiers. Gold is used to fit, never to grade the row that it belongs to.

    Rows are the last axis, so that whatever is done to all of them is done to neighbours in memory.
    """
    right = combinations(len(tiers))
    joint = np.empty((N_NODES, len(right), len(evidence.held)))
    joint[:] = np.log(NODE_WEIGHTS)[:, None, None]
    for place, tier in enumerate(tiers):
        told = _told(model, evidence, tier, use_gold=use_gold)
        for combination, is_right in enumerate(right[:, place]):
            joint[:, combination] += told[:, int(is_right)]
    joint += _agreement(model, evidence, tiers, right)
    joint -= joint.max(axis=(0, 1))
    np.exp(joint, out=joint)
    joint /= joint.sum(axis=(0, 1))
    return joint


def _told(model: Model, evidence: Evidence, tier: int, *, use_gold: bool) -> Floats:
    """[K, 2, n] log-likelihood of what one tier's answer gives away, and of being wrong or right."""
    odds = log_odds(model, evidence.features, tier)
    # log P(wrong) and log P(right), of one logarithm: numpy's logaddexp takes several times as long.
    rest = np.log1p(np.exp(-np.abs(odds)))
    told = np.empty((N_NODES, 2, len(evidence.held)))
    np.negative(np.maximum(odds, 0.0) + rest, out=told[:, 0])
    np.negative(np.maximum(-odds, 0.0) + rest, out=told[:, 1])
    if evidence.gives[tier]:
        rank = evidence.rank[:, tier]
        given = ~np.isnan(rank)
        below, share = between_knots(rank[given])
        density = model.density[tier].transpose(2, 0, 1)
        at = density[:, :, below] * (1.0 - share)
        at += density[:, :, below + 1] * share
        at = np.log(np.maximum(at, _LEAST_DENSITY, out=at), out=at)
        if given.all():
            told += at
        else:
            told[:, :, given] += at
        missing = model.missing[tier][:, None]
        told += np.where(given, np.log1p(-missing), np.log(missing))
    again = evidence.again[:, tier]
    told[:, :, again == 1] += np.log(model.same_again[tier])[:, None]
    told[:, :, again == 0] += np.log1p(-model.same_again[tier])[:, None]
    verdict = evidence.verdict[:, tier]
    told[:, :, verdict == 1] += np.log([[model.false_pass], [1.0 - model.false_alarm]])
    told[:, :, verdict == 0] += np.log([[1.0 - model.false_pass], [model.false_alarm]])
    if use_gold:
        told[:, 0, evidence.gold[:, tier] == 1] = -_CERTAIN
        told[:, 1, evidence.gold[:, tier] == 0] = -_CERTAIN
    return told


def _agreement(model: Model, evidence: Evidence, tiers: tuple[int, ...], right: Bools) -> Floats:
    """[2^m, n] log-likelihood of which values are the same. Pairs are taken for independent, so that m tiers
    count as m - 1 comparisons and not as m (m - 1) / 2."""
    told = np.zeros((len(right), len(evidence.held)))
    weight = 2.0 / max(len(tiers), 2)
    same = np.log(np.clip(model.same_value, 1e-4, 1 - 1e-4))
    other = np.log1p(-np.clip(model.same_value, 1e-4, 1 - 1e-4))
    for i, j, first, second in pairs_of(tiers):
        both, agree = compared(evidence, first, second)
        n_right = (right[:, i].astype(np.intp) + right[:, j])[:, None]
        told[:, both] += weight * np.where(agree, same[n_right], other[n_right])
    return told


def pairs_of(tiers: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Every pair of held tiers: their places among the held, and their numbers."""
    for i, first in enumerate(tiers):
        for j in range(i + 1, len(tiers)):
            yield i, j, first, tiers[j]


def compared(evidence: Evidence, first: int, second: int) -> tuple[NDArray[np.intp], Bools]:
    """Rows where both values are there, and whether they are the same."""
    keys = evidence.key[:, first], evidence.key[:, second]
    both = np.flatnonzero((keys[0] != 0) & (keys[1] != 0))
    return both, keys[0][both] == keys[1][both]


def beliefs(model: Model, evidence: Evidence) -> Floats:
    """[N, T] P(right) of every tier's answer to every row, asked or not, given what the row holds."""
    belief = np.empty(evidence.held.shape)
    for group in groups_of(evidence.held):
        for start in range(0, group.rows.size, _BLOCK_ROWS):
            rows = group.rows[start : start + _BLOCK_ROWS]
            belief[rows] = group_beliefs(model, evidence.take(rows), group.tiers)
    return belief


def group_beliefs(model: Model, evidence: Evidence, tiers: tuple[int, ...]) -> Floats:
    """[n, T] the same for rows that hold these tiers."""
    tiers = weighed(tiers)
    table = posterior(model, evidence, tiers, use_gold=False)
    right = combinations(len(tiers))
    by_ease = table.sum(axis=1)
    by_combination = table.sum(axis=0)
    belief = np.empty(evidence.held.shape)
    for tier in range(model.n_tiers):
        if tier in tiers:
            belief[:, tier] = right[:, tiers.index(tier)] @ by_combination
        else:
            odds = log_odds(model, evidence.features, tier)
            belief[:, tier] = (by_ease * sigmoid(odds)).sum(axis=0)
    return belief
