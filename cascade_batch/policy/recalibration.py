"""How far beliefs are off on average, by the rows whose truth is known: calibration in the large.

A belief is a model's, and the model may be wrong for all rows alike. Rows with gold tell by how much: the
mean of label less belief. The frontier takes it whole, and its chance into the interval. Answers have no
interval, and take what is no chance of it: taken whole, it made their mean quality on recorded sets worse
than without it below a hundred labels, and better above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade_batch.policy.evidence import Evidence
from cascade_batch.policy.fitting import fit
from cascade_batch.policy.model import beliefs
from cascade_batch.policy.view import Floats, JobView

MIN_LABELS = 30
"""Rows of whose answers the truth is known, from which on quality is called measured: a job's, and its
frontier's. They are few, but tiers share one model: with 30 of 300 rows labelled, the mean was off by 3 to 9
points on recorded sets (root mean square), where the mean of 30 labels is off by 7."""
_TRUST_LABELS = 100
"""Labels at which half of the residue is believed. Between 30 and 400 it makes little difference."""
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Residue:
    """What beliefs miss.

    Attributes:
        mean: Mean of label less belief.
        sd: Its standard error.
        known: Rows that it is the mean of.
        labels: Rows with a word on some answer, gold's or a check's.
    """

    mean: float
    sd: float
    known: int
    labels: int

    @property
    def believed(self) -> float:
        """What of the mean is no chance, as far as can be told: the more, the more rows it is of."""
        return self.mean * self.known / (self.known + _TRUST_LABELS)


def residue(view: JobView, evidence: Evidence, rng: np.random.Generator) -> Residue:
    """Label less belief of the answers that stand, over rows with gold. Cross-fitted: each half is predicted
    by a model of the other.

    Args:
        view: The job.
        evidence: What beliefs about it are made from.
        rng: Draws the halves.
    """
    labels = int(((view.gold >= 0) | (view.verdict >= 0)).any(axis=1).sum())
    rows = np.flatnonzero((view.gold >= 0).any(axis=1))
    if rows.size < MIN_LABELS:
        return Residue(0.0, 0.0, 0, labels)
    halves = np.array_split(rng.permutation(rows), 2)
    found = []
    for one, other in (halves, halves[::-1]):
        part = evidence.take(one)
        belief = beliefs(fit(evidence.take(other), view.labels), part)
        best = np.where(part.held, belief, -np.inf).argmax(axis=1)
        each = np.arange(one.size)
        known = part.gold[each, best] >= 0
        found.append((part.gold[each, best] - belief[each, best])[known])
    off = np.concatenate(found)
    if not off.size:
        return Residue(0.0, 0.0, 0, labels)
    return Residue(float(off.mean()), float(off.std() / np.sqrt(off.size)), int(off.size), labels)


def recalibrated(quality: Floats, by: float) -> Floats:
    """Probabilities whose mean has moved by so much, near enough: each by the same in log-odds, so that what
    is nearly certain stays so. NaN stays NaN."""
    known = quality[~np.isnan(quality)]
    if not by or not known.size:
        return quality
    inner = np.clip(quality, _LEAST, 1.0 - _LEAST)
    steepness = max(float(np.mean(known * (1.0 - known))), _LEAST)
    odds = np.log(inner / (1.0 - inner)) + np.clip(by / steepness, -1.0, 1.0)
    moved = 1.0 / (1.0 + np.exp(-odds))
    # What a check makes certain is no matter of calibration.
    return np.where((quality <= _LEAST) | (quality >= 1.0 - _LEAST), quality, moved)
