"""What a baseline may learn from: features of rows and of their answers, and the word on answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.evidence import free_features
from cascade_batch.policy.view import Bools, Floats, JobView, Labels

Places = NDArray[np.intp]

_SURE_LOGPROB = -1e-9


def marks_of(view: JobView) -> Floats:
    """[N, T] the word on every held answer, 1 or 0, NaN where nobody gave one.

    A check's verdict or gold. Where nobody says anything, whether the answer has the value of the row's
    answer on the dearest tier, which takes that tier for right.
    """
    marks: Floats = np.where(view.gold >= 0, view.gold, view.verdict).astype(np.float64)
    if view.labels == Labels.AGREEMENT:
        last = view.held[:, -1:] & (view.value_key[:, -1:] != 0)
        same = view.value_key == view.value_key[:, -1:]
        marks = np.where(last, same, -1.0).astype(np.float64)
    marks[~view.held | (marks < 0)] = np.nan
    return marks


class Signals:
    """Features of answers, made once per wave.

    Confidence counts as its rank among the tier's answers to the training sample, which were drawn at
    random: among all of the tier's answers the rank would shift with whatever is escalated.
    """

    def __init__(self, view: JobView, sample: Places) -> None:
        confidence = np.log(-np.minimum(view.confidence.astype(np.float64), _SURE_LOGPROB))
        self._rank = _ranks(-confidence, sample)
        self._length = np.log1p(np.nan_to_num(view.length.astype(np.float64)))
        self._unfit: Bools = view.held & (~view.fits | view.truncated)
        self._key = view.value_key
        self._passed: Bools = view.held & (view.verdict == 1)
        self._free = free_features(view)

    def features(self, tier: int, held: tuple[int, ...]) -> Floats:
        """[N, F] what may tell whether a tier's answer is right, seen from a row that holds these answers;
        the tier's own may be one of them. Without any, the free features: prompt size and stratum."""
        columns = [self._free]
        others = [t for t in held if t != tier]
        if tier in held:
            columns.append(self._of_answer(tier))
        if others:
            columns.append(self._of_answer(others[-1]))
            columns.append(self._passed[:, others].mean(axis=1)[:, None])
            columns.append(self._agreement(tier, held)[:, None])
        if len(others) > 1:
            columns.append(np.nan_to_num(self._rank[:, others], nan=0.5).mean(axis=1)[:, None])
        return np.concatenate(columns, axis=1)

    def _of_answer(self, tier: int) -> Floats:
        rank = self._rank[:, tier]
        filled = np.nan_to_num(rank, nan=0.5)
        return np.column_stack(
            [
                filled,
                np.maximum(filled - 0.5, 0.0),
                np.isnan(rank),
                self._length[:, tier],
                self._unfit[:, tier],
            ]
        )

    def _agreement(self, tier: int, held: tuple[int, ...]) -> Floats:
        """[N] share of the held answers that say what the tier's does, or of pairs that agree where it has
        none."""
        pairs = [(tier, t) for t in held if t != tier]
        if tier not in held:
            pairs = [(a, b) for a in held for b in held if a < b]
        same = [(self._key[:, a] == self._key[:, b]) & (self._key[:, a] != 0) for a, b in pairs]
        return np.mean(same, axis=0) if same else np.zeros(len(self._key))


def _ranks(values: Floats, sample: Places) -> Floats:
    """[N, T] share of the sample's values that each surpasses; NaN where there is none."""
    ranks = np.full(values.shape, np.nan)
    for tier in range(values.shape[1]):
        there = ~np.isnan(values[:, tier])
        given = values[sample, tier]
        ordered = np.sort(given[~np.isnan(given)])
        if ordered.size:
            below = np.searchsorted(ordered, values[there, tier], "left")
            up_to = np.searchsorted(ordered, values[there, tier], "right")
            ranks[there, tier] = (below + up_to + 0.5) / 2 / (ordered.size + 0.5)
    return ranks
