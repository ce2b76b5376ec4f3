"""What is assumed before anything is known, and how firmly. Each figure is a shape seen on recorded sets of
different kinds, not a fit to one of them, and is outweighed by some tens of answers."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from cascade_batch.policy.model import KNOTS, NODES, Model, between_knots
from cascade_batch.policy.view import Floats, Labels

FIRST_ABILITY = 0.3
"""Log-odds of the cheapest tier on an average row: right on 57 % of them."""
FIRST_ABILITY_SD = 1.0
ABILITY_STEPS = (0.7, 0.5, 0.3, 0.2, 0.1)
"""How much abler each further tier is taken to be; the last holds for all after it."""
ABILITY_STEP_SD = 0.8
SLOPE = 1.3
SLOPE_SD = 0.4
SAME_VALUE = np.array([0.35, 0.01, 0.9])
SAME_VALUE_WEIGHT = 10.0
"""In comparisons seen."""
MISSING = 0.05
MISSING_WEIGHT = 10.0
SAME_AGAIN = (0.5, 0.85)
"""A tier that was wrong, and one that was right, says the same when asked once more."""
SAME_AGAIN_WEIGHT = 20.0
CHECK_ERROR = 0.06
JUDGE_ERROR = 0.15
GOLD_ERROR = 1e-9
"""Of a check that is the truth: none, in logarithms that stay finite."""
CHECK_ERROR_WEIGHT = 30.0
"""In answers whose truth is known; a check that nobody holds against gold is held against the model."""
SIGNAL_WEIGHT = 25.0
"""What a tier's assumed distribution of confidence weighs, in answers."""
SHARED_PRECISION = 8.0
OWN_PRECISION = 30.0
"""Of features' coefficients: a stratum's ease is believed after some answers, that it favours one tier
beyond that only after many."""

# Of a confidence's normal score, where wrong and where right: mean, slope on the ease, standard deviation.
_SCORES = ((-0.75, 0.0, 0.8), (0.1, 0.5, 0.75))
_FINE = 2000


def check_error(labels: Labels) -> float:
    """How often the word that a row is given on its answers is wrong."""
    return JUDGE_ERROR if labels == Labels.JUDGE else CHECK_ERROR


def prior_model(n_tiers: int, n_features: int, labels: Labels) -> Model:
    """A model that knows nothing of the job yet."""
    return Model(
        ability=prior_abilities(n_tiers),
        slope=np.full(n_tiers, SLOPE),
        shared=np.zeros(n_features),
        own=np.zeros((n_tiers, n_features)),
        density=np.repeat((PRIOR_MASS / KNOT_MASS[:, None])[None], n_tiers, axis=0),
        missing=np.full((n_tiers, 2), MISSING),
        same_value=SAME_VALUE.copy(),
        same_again=np.tile(SAME_AGAIN, (n_tiers, 1)),
        false_alarm=check_error(labels),
        false_pass=check_error(labels),
    )


def prior_abilities(n_tiers: int) -> Floats:
    """[T] abler and abler, by less and less."""
    steps = [ABILITY_STEPS[min(t, len(ABILITY_STEPS) - 1)] for t in range(n_tiers - 1)]
    return FIRST_ABILITY + np.concatenate([[0.0], np.cumsum(steps)])


def _knot_shares() -> tuple[Floats, Floats]:
    """[_FINE, R] how much of each of many even ranks belongs to which knot, and the normal scores of these
    ranks."""
    rank = (np.arange(_FINE) + 0.5) / _FINE
    below, share = between_knots(rank)
    shares = np.zeros((_FINE, KNOTS.size))
    shares[np.arange(_FINE), below] = 1.0 - share
    shares[np.arange(_FINE), below + 1] = share
    score = np.array([NormalDist().inv_cdf(r) for r in rank.tolist()])
    return shares, score


def _prior_mass() -> Floats:
    """[2, R, K] mass of each knot, where wrong and where right, by node."""
    shares, score = _knot_shares()
    mass = np.empty((2, KNOTS.size, NODES.size))
    for right, (mean, slope, sd) in enumerate(_SCORES):
        deviation = (score[:, None] - mean - slope * NODES[None, :]) / sd
        mass[right] = shares.T @ np.exp((score**2)[:, None] / 2 - deviation**2 / 2)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


KNOT_MASS: Floats = _knot_shares()[0].mean(axis=0)
"""[R] what belongs to each knot if ranks are even."""
PRIOR_MASS: Floats = _prior_mass()
