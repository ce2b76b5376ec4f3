"""Rows that the model imagines: with every tier's answer, to try purchases out on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.evidence import Evidence
from cascade_batch.policy.model import KNOTS, NODE_WEIGHTS, NODES, Model, log_odds, sigmoid
from cascade_batch.policy.prior import KNOT_MASS
from cascade_batch.policy.view import UNKNOWN, Bools, Floats, Labels

N_IMAGINED = 800
"""So few because a plan only compares means over them; twice as many gave the same plans."""


def imagine(
    model: Model, evidence: Evidence, labels: Labels, rng: np.random.Generator
) -> tuple[Evidence, NDArray[np.intp]]:
    """Imagined rows that hold an answer of every tier, and the real rows whose free features they have."""
    like = rng.integers(0, len(evidence.held), N_IMAGINED)
    features = evidence.features[like]
    n_tiers = model.n_tiers
    node = rng.choice(NODES.size, N_IMAGINED, p=NODE_WEIGHTS)
    right = np.empty((N_IMAGINED, n_tiers), np.bool_)
    rank = np.full((N_IMAGINED, n_tiers), np.nan)
    each = np.arange(N_IMAGINED)
    for tier in range(n_tiers):
        p = sigmoid(log_odds(model, features, tier)[node, each])
        right[:, tier] = rng.random(N_IMAGINED) < p
        r = right[:, tier].astype(np.intp)
        if evidence.gives[tier]:
            rank[:, tier] = _draw_rank(model.density[tier][r, :, node], rng)
            rank[rng.random(N_IMAGINED) < model.missing[tier][r], tier] = np.nan
    return (
        Evidence(
            held=np.ones((N_IMAGINED, n_tiers), np.bool_),
            rank=rank,
            key=_draw_values(model, right, rng),
            again=np.full((N_IMAGINED, n_tiers), UNKNOWN, np.int8),
            verdict=_draw_verdicts(model, right, labels, rng),
            gold=np.full((N_IMAGINED, n_tiers), UNKNOWN, np.int8),
            features=features,
            gives=evidence.gives,
        ),
        like,
    )


def _draw_rank(density: Floats, rng: np.random.Generator) -> Floats:
    """[n] a rank each, from densities [n, R] that are linear between knots."""
    mass = np.cumsum(density * KNOT_MASS, axis=1)
    knot = (rng.random(len(mass))[:, None] * mass[:, -1:] > mass).sum(axis=1)
    knot = np.minimum(knot, KNOTS.size - 1)
    low, middle, high = (
        KNOTS[np.maximum(knot - 1, 0)],
        KNOTS[knot],
        KNOTS[np.minimum(knot + 1, KNOTS.size - 1)],
    )
    u = rng.random(len(mass))
    rising = u < (middle - low) / (high - low)
    drawn: Floats = np.where(
        rising,
        low + np.sqrt(u * (high - low) * (middle - low)),
        high - np.sqrt((1.0 - u) * (high - low) * (high - middle)),
    )
    return drawn


def _draw_values(model: Model, right: Bools, rng: np.random.Generator) -> NDArray[np.int64]:
    """Right answers share one value, wrong ones another, each with the root of the probability that two of
    them agree; the others have a value of their own."""
    n_rows, n_tiers = right.shape
    joins = np.sqrt(np.where(right, model.same_value[2], model.same_value[0]))
    common = rng.random(right.shape) < joins
    alone = np.broadcast_to(3 + np.arange(n_tiers), (n_rows, n_tiers))
    return np.where(common, np.where(right, 2, 1), alone).astype(np.int64)


def _draw_verdicts(
    model: Model, right: Bools, labels: Labels, rng: np.random.Generator
) -> NDArray[np.int8]:
    if labels not in (Labels.CHECK, Labels.JUDGE):
        return np.full(right.shape, UNKNOWN, np.int8)
    u = rng.random(right.shape)
    passes = np.where(right, u >= model.false_alarm, u < model.false_pass)
    return passes.astype(np.int8)
