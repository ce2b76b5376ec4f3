"""Logistic regression with a ridge, fitted to few rows: the learner of all baselines.

The papers use fine-tuned language models (DistilBERT, BERT) or matrix factorisation on thousands of labelled
questions. A job buys its labels, and has some dozens to some hundreds of them: there a regression on few
features is the stronger learner. The strength of the ridge is chosen by cross-validation, and rows that were
trained on get the prediction of a fit that has not seen them, so that thresholds are not tuned to what was
learnt by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.view import Bools, Floats

Places = NDArray[np.intp]

_FOLDS = 5
_RIDGES = (2.0, 8.0, 32.0, 128.0)
_INTERCEPT_RIDGE = 0.5
_ROUNDS = 8
_LONGEST_STEP = 2.0
_MOST_ROWS = 1_500
"""More rows hardly move so few coefficients: an even selection is trained on."""
_LEAST = 0.005


def predict(features: Floats, target: Floats) -> Floats:
    """[N] probability that the target is 1, each row's own target not used for it.

    Args:
        features: [N, F] of all rows.
        target: [N] between 0 and 1; NaN where it is unknown.
    """
    known = np.flatnonzero(~np.isnan(target))
    if not known.size:
        return np.full(len(features), 0.5)
    trained = known
    if known.size > _MOST_ROWS:
        trained = known[np.linspace(0, known.size - 1, _MOST_ROWS).astype(np.intp)]
    fold = np.arange(trained.size) % _FOLDS
    fitted = _fit(features[trained], target[trained], fold)
    result = fitted.probability(features, fitted.best, _FOLDS)
    result[trained] = fitted.left_out(features[trained], fold, fitted.best)
    return np.clip(result, _LEAST, 1.0 - _LEAST)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """Coefficients [ridges, folds + 1, 1 + F]; the last fold leaves nothing out."""

    coefficients: Floats
    mean: Floats
    scale: Floats
    best: int

    def design(self, features: Floats) -> Floats:
        return np.column_stack([np.ones(len(features)), (features - self.mean) / self.scale])

    def probability(self, features: Floats, ridge: int, fold: int) -> Floats:
        return _sigmoid(self.design(features) @ self.coefficients[ridge, fold])

    def left_out(self, features: Floats, fold: Places, ridge: int) -> Floats:
        by_row = self.coefficients[ridge, fold]
        return _sigmoid((self.design(features) * by_row).sum(axis=1))


def _fit(features: Floats, target: Floats, fold: Places) -> _Fitted:
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    keep = fold[None, :] != np.arange(_FOLDS + 1)[:, None]
    first = _Fitted(np.empty(0), mean, scale, 0)
    coefficients = _newton(first.design(features), target, keep)
    losses = []
    for ridge in range(len(_RIDGES)):
        p = _Fitted(coefficients, mean, scale, ridge).left_out(features, fold, ridge)
        p = np.clip(p, _LEAST, 1.0 - _LEAST)
        losses.append(-float((target * np.log(p) + (1 - target) * np.log(1 - p)).mean()))
    return _Fitted(coefficients, mean, scale, int(np.argmin(losses)))


def _newton(design: Floats, target: Floats, keep: Bools) -> Floats:
    """Newton's steps for every strength of the ridge and every fold at once."""
    n_features = design.shape[1]
    penalty = np.repeat(np.array(_RIDGES)[:, None], n_features, axis=1)
    penalty[:, 0] = _INTERCEPT_RIDGE
    weights = np.zeros((len(_RIDGES), len(keep), n_features))
    diagonal = penalty[:, None, :, None] * np.eye(n_features)
    for _ in range(_ROUNDS):
        p = _sigmoid(weights @ design.T)
        residue = (target - p) * keep
        gradient = residue @ design - penalty[:, None, :] * weights
        curve = ((p * (1 - p) * keep)[..., None, :] * design.T) @ design + diagonal
        step = np.linalg.solve(curve, gradient[..., None])[..., 0]
        weights += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
    return weights


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))
