"""A small logistic model of being right, given the rank of an answer's log-probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_KNOTS = np.array([0.25, 0.5, 0.75])
_MAX_LABELS = 20_000
"""More labels than this change a model of six weights by less than anything can notice."""
_MAX_RANKED = 4_096
_MIN_OF_EACH = 10
_RIDGE = 1.0
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class ConfidenceModel:
    """P(right) of an answer of one tier, by its log-probability.

    Attributes:
        ranked: Sorted -logprob of the tier's answers (a sample of them): what ranks are taken in.
        weights: Of the features, [6]; None: the share of right answers is all that can be said.
        share: Share of right answers among those checked.
    """

    ranked: Floats
    weights: Floats | None
    share: float

    def predict(self, logprob: Floats) -> Floats:
        """P(right) [n] for log-probabilities [n], NaN where there is none."""
        if self.weights is None:
            return np.full(logprob.size, self.share)
        # Ranks take few different values: one prediction for each, looked up row by row.
        n_places = 2 * self.ranked.size + 1
        rank = np.arange(n_places + 1) / (2.0 * self.ranked.size)
        missing = np.arange(n_places + 1) == n_places
        by_place = _sigmoid(_features(np.where(missing, 0.0, rank), missing) @ self.weights)
        place = np.where(np.isnan(logprob), n_places, _places(logprob, self.ranked))
        return np.asarray(by_place[place])


def fit_confidence(population: Floats, logprob: Floats, right: Bools) -> ConfidenceModel:
    """Fit the model to checked answers.

    Args:
        population: Log-probabilities of all answers of the tier that the model will be used on; ranks
            are taken among them, as the checked ones may be few.
        logprob: [n] log-probabilities of the checked answers, NaN where there is none.
        right: [n] whether each passed its check.
    """
    if right.size > _MAX_LABELS:
        chosen = np.linspace(0, right.size - 1, _MAX_LABELS).astype(np.intp)
        logprob, right = logprob[chosen], right[chosen]
    n_right = int(np.count_nonzero(right))
    share = (n_right + 1.0) / (right.size + 2.0)
    ranked = _ranked(population)
    plain = ConfidenceModel(ranked, None, share)
    if not ranked.size or min(n_right, right.size - n_right) < _MIN_OF_EACH:
        return plain
    missing = np.isnan(logprob)
    rank = np.where(missing, 0.0, _places(logprob, ranked) / (2.0 * ranked.size))
    features = _features(rank, missing)
    y = right.astype(np.float64)
    fold = np.arange(y.size) % _FOLDS
    predicted = np.empty(y.size)
    shares = np.empty(y.size)
    for k in range(_FOLDS):
        inside = fold != k
        predicted[~inside] = _sigmoid(features[~inside] @ _solve(features[inside], y[inside]))
        shares[~inside] = y[inside].mean()
    if _log_loss(y, predicted) >= _log_loss(y, shares):
        return plain
    return ConfidenceModel(ranked, _solve(features, y), share)


def _ranked(logprob: Floats) -> Floats:
    surprise = np.sort(-logprob[~np.isnan(logprob)])
    if surprise.size <= _MAX_RANKED:
        return surprise
    return surprise[np.linspace(0, surprise.size - 1, _MAX_RANKED).astype(np.intp)]


def _places(logprob: Floats, ranked: Floats) -> NDArray[np.intp]:
    """Twice the rank among `ranked`, from 0: surest, to twice its size; between the ends for ties."""
    left = np.searchsorted(ranked, -logprob, side="left")
    return left + np.searchsorted(ranked, -logprob, side="right")


def _features(rank: Floats, missing: Bools) -> Floats:
    """Intercept, missing, rank in [0, 1] (0 where missing), and the rank's excess over each knot.

    The rank of -logprob is the rank of its logarithm: no transformation is needed before ranking.
    """
    excess = np.maximum(rank[:, None] - _KNOTS, 0.0)
    return np.column_stack([np.ones(rank.size), missing, rank, excess])


def _solve(features: Floats, y: Floats) -> Floats:
    """Ridge-penalised maximum likelihood by Newton's method; the intercept is not penalised."""
    penalty = np.full(features.shape[1], _RIDGE)
    penalty[0] = 1e-6
    weights = np.zeros(features.shape[1])
    for _ in range(30):
        p = _sigmoid(features @ weights)
        gradient = features.T @ (y - p) - penalty * weights
        curvature = (features * (p * (1.0 - p) + 1e-9)[:, None]).T @ features + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _sigmoid(z: Floats) -> Floats:
    clipped: Floats = np.clip(z, -30.0, 30.0)
    return 1.0 / (1.0 + np.exp(-clipped))


def _log_loss(y: Floats, p: Floats) -> float:
    return float(-np.mean(y * np.log(p) + (1.0 - y) * np.log1p(-p)))
