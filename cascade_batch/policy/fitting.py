"""Fitting the model of beliefs to what a job has bought: expectation and maximisation, from the prior.

Maximum a posteriori by EM (Dempster, Laird, Rubin 1977): each round computes how likely every combination of
right and wrong is for the rows with a word on some answer, then moves the parameters to what these say,
weighed against the prior. Which rows were asked on which tier does not bias it as long as that was decided
by what the model sees (missing at random, Rubin 1976): so that a dear tier that only saw hard rows is not
taken for a bad one.

Without any word on any answer (`Labels.AGREEMENT`) only abilities and agreement are fitted, from which tiers
agree with which; fitted without labels, the other parameters would describe whatever goes together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy import prior
from cascade_batch.policy.evidence import Evidence
from cascade_batch.policy.model import (
    KNOTS,
    N_NODES,
    NODE_WEIGHTS,
    NODES,
    Group,
    Model,
    between_knots,
    combinations,
    compared,
    groups_of,
    pairs_of,
    posterior,
    sigmoid,
    weighed,
)
from cascade_batch.policy.view import Floats, Labels

ROUNDS = 12
MOST_ROWS = 3_000
"""More labelled rows than this hardly move the parameters any more: an even selection is fitted."""
UNLABELLED_WEIGHT = 0.5
"""What a row counts where nobody gives labels."""
_STEP = 0.5
"""Features' coefficients move half-way each round, as shared and own ones compete for the same residue."""


@dataclass(slots=True)
class _Expected:
    """What one tier's answers are expected to be, over the rows that hold one.

    Attributes:
        rows: [n] the rows.
        wrong: [n, K] probability of wrong, and of each ease.
        right: [n, K] the same of right.
    """

    rows: NDArray[np.intp]
    wrong: Floats
    right: Floats


def fit(evidence: Evidence, labels: Labels) -> Model:
    """The model that the job's answers so far support."""
    n_tiers = evidence.held.shape[1]
    model = prior.prior_model(n_tiers, evidence.features.shape[1], labels)
    if evidence.check_is_gold:
        model.false_alarm = model.false_pass = prior.GOLD_ERROR
    rows = _training_rows(evidence, labels)
    if not rows.size:
        return model
    evidence = evidence.take(rows)
    groups = groups_of(evidence.held)
    for _ in range(ROUNDS):
        _improve(model, evidence, groups, labels)
    return model


def _training_rows(evidence: Evidence, labels: Labels) -> NDArray[np.intp]:
    if labels == Labels.AGREEMENT:
        wanted = evidence.held.any(axis=1)
    else:
        wanted = (evidence.held & ((evidence.gold >= 0) | (evidence.verdict >= 0))).any(axis=1)
    rows = np.flatnonzero(wanted)
    if rows.size > MOST_ROWS:
        rows = rows[np.linspace(0, rows.size - 1, MOST_ROWS).astype(np.intp)]
    return rows


def _improve(model: Model, evidence: Evidence, groups: list[Group], labels: Labels) -> None:
    weight = UNLABELLED_WEIGHT if labels == Labels.AGREEMENT else 1.0
    expected = [_Expected(np.empty(0, np.intp), np.empty((0, N_NODES)), np.empty((0, N_NODES)))]
    expected *= model.n_tiers
    seen, same = np.zeros(3), np.zeros(3)
    for group in groups:
        part = evidence.take(group.rows)
        tiers = weighed(group.tiers)
        table = posterior(model, part, tiers, use_gold=True).transpose(2, 0, 1) * weight
        right = combinations(len(tiers))
        for place, tier in enumerate(tiers):
            old = expected[tier]
            expected[tier] = _Expected(
                np.concatenate([old.rows, group.rows]),
                np.concatenate([old.wrong, table @ ~right[:, place]]),
                np.concatenate([old.right, table @ right[:, place]]),
            )
        _count_agreement(part, tiers, table.sum(axis=1), right, seen, same)
    model.same_value = (same + prior.SAME_VALUE * prior.SAME_VALUE_WEIGHT) / (
        seen + prior.SAME_VALUE_WEIGHT
    )
    only_abilities = labels == Labels.AGREEMENT
    for tier, one in enumerate(expected):
        if one.rows.size:
            _move_ability(model, evidence, tier, one, only_abilities=only_abilities)
            if evidence.gives[tier] and not only_abilities:
                _move_confidence(model, evidence, tier, one)
            if not only_abilities:
                _move_same_again(model, evidence, tier, one)
    if not only_abilities:
        _move_features(model, evidence, expected)
        if not evidence.check_is_gold:
            _move_check(model, evidence, expected, prior.check_error(labels))


def _count_agreement(
    part: Evidence,
    tiers: tuple[int, ...],
    by_combination: Floats,
    right: NDArray[np.bool_],
    seen: Floats,
    same: Floats,
) -> None:
    for i, j, first, second in pairs_of(tiers):
        both, agree = compared(part, first, second)
        n_right = right[:, i].astype(np.intp) + right[:, j]
        for n in range(3):
            share = by_combination[both][:, n_right == n].sum(axis=1)
            seen[n] += share.sum()
            same[n] += share[agree].sum()


def _move_ability(
    model: Model, evidence: Evidence, tier: int, one: _Expected, *, only_abilities: bool
) -> None:
    """Newton's steps on ability and slope, against a prior that ties each tier to its neighbours."""
    features = evidence.features[one.rows]
    ease = NODES[None, :] + (features @ model.shared)[:, None]
    offset = (features @ model.own[tier])[:, None]
    total = one.wrong + one.right
    means, precision = _neighbours(model, tier)
    for _ in range(2):
        p = sigmoid(model.ability[tier] + model.slope[tier] * ease + offset)
        residue, spread = one.right - total * p, total * p * (1.0 - p)
        gradient_b = residue.sum() - float(precision @ (model.ability[tier] - means))
        curve_bb = spread.sum() + precision.sum()
        if only_abilities:
            model.ability[tier] += np.clip(gradient_b / curve_bb, -1.0, 1.0)
            continue
        gradient_a = (residue * ease).sum() - (model.slope[tier] - prior.SLOPE) / prior.SLOPE_SD**2
        curve_ab = (spread * ease).sum()
        curve_aa = (spread * ease**2).sum() + 1.0 / prior.SLOPE_SD**2
        step = np.linalg.solve(
            [[curve_bb, curve_ab], [curve_ab, curve_aa]], [gradient_b, gradient_a]
        )
        model.ability[tier] += np.clip(step[0], -1.0, 1.0)
        model.slope[tier] = max(model.slope[tier] + np.clip(step[1], -0.5, 0.5), 0.1)


def _neighbours(model: Model, tier: int) -> tuple[Floats, Floats]:
    """Where the tiers beside it put a tier's ability, and how firmly (precisions)."""
    assumed = prior.prior_abilities(model.n_tiers)
    firm = 1.0 / prior.ABILITY_STEP_SD**2
    means, precision = [assumed[0]], [1.0 / prior.FIRST_ABILITY_SD**2]
    if tier > 0:
        means = [model.ability[tier - 1] + assumed[tier] - assumed[tier - 1]]
        precision = [firm]
    if tier + 1 < model.n_tiers:
        means.append(model.ability[tier + 1] - (assumed[tier + 1] - assumed[tier]))
        precision.append(firm)
    return np.array(means), np.array(precision)


def _move_confidence(model: Model, evidence: Evidence, tier: int, one: _Expected) -> None:
    rank = evidence.rank[one.rows, tier]
    given = ~np.isnan(rank)
    below, share = between_knots(rank[given])
    knots = np.zeros((below.size, KNOTS.size))
    knots[np.arange(below.size), below] = 1.0 - share
    knots[np.arange(below.size), below + 1] = share
    for is_right, weight in enumerate((one.wrong, one.right)):
        mass = knots.T @ weight[given]
        assumed = prior.PRIOR_MASS[is_right] * prior.SIGNAL_WEIGHT
        if is_right:
            mass += 2.0 * assumed * NODE_WEIGHTS
        else:
            mass = mass.sum(axis=1, keepdims=True) + assumed
        model.density[tier, is_right] = mass / mass.sum(axis=0) / prior.KNOT_MASS[:, None]
        answers = weight.sum(axis=1)
        model.missing[tier, is_right] = (
            answers[~given].sum() + prior.MISSING * prior.MISSING_WEIGHT
        ) / (answers.sum() + prior.MISSING_WEIGHT)


def _move_same_again(model: Model, evidence: Evidence, tier: int, one: _Expected) -> None:
    again = evidence.again[one.rows, tier]
    for is_right, weight in enumerate((one.wrong, one.right)):
        seen, same = weight[again >= 0].sum(), weight[again == 1].sum()
        assumed = prior.SAME_AGAIN[is_right] * prior.SAME_AGAIN_WEIGHT
        model.same_again[tier, is_right] = (same + assumed) / (seen + prior.SAME_AGAIN_WEIGHT)


def _move_features(model: Model, evidence: Evidence, expected: list[_Expected]) -> None:
    """Ridge steps: what is common to all tiers goes to `shared`, what is left to each tier's `own`."""
    n_features = model.shared.size
    gradient = -prior.SHARED_PRECISION * model.shared
    curve = np.eye(n_features) * prior.SHARED_PRECISION
    for tier, one in enumerate(expected):
        features = evidence.features[one.rows]
        ease = NODES[None, :] + (features @ model.shared)[:, None]
        total = one.wrong + one.right
        p = sigmoid(
            model.ability[tier] + model.slope[tier] * ease + (features @ model.own[tier])[:, None]
        )
        pull = features.T @ (one.right - total * p).sum(axis=1)
        spread = (total * p * (1.0 - p)).sum(axis=1)
        own_curve = features.T @ (features * spread[:, None])
        gradient += model.slope[tier] * pull
        curve += model.slope[tier] ** 2 * own_curve
        model.own[tier] += _STEP * np.linalg.solve(
            own_curve + np.eye(n_features) * prior.OWN_PRECISION,
            pull - prior.OWN_PRECISION * model.own[tier],
        )
    model.shared += _STEP * np.linalg.solve(curve, gradient)


def _move_check(
    model: Model, evidence: Evidence, expected: list[_Expected], assumed_error: float
) -> None:
    """How often the check is wrong, over all tiers alike."""
    alarms = rights = passes = wrongs = 0.0
    for tier, one in enumerate(expected):
        verdict = evidence.verdict[one.rows, tier]
        right, wrong = one.right.sum(axis=1), one.wrong.sum(axis=1)
        rights += right[verdict >= 0].sum()
        alarms += right[verdict == 0].sum()
        wrongs += wrong[verdict >= 0].sum()
        passes += wrong[verdict == 1].sum()
    assumed = assumed_error * prior.CHECK_ERROR_WEIGHT
    model.false_alarm = float((alarms + assumed) / (rights + prior.CHECK_ERROR_WEIGHT))
    model.false_pass = float((passes + assumed) / (wrongs + prior.CHECK_ERROR_WEIGHT))
