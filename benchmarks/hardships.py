"""Recorded sets made harder: what may befall a job, on answers that are otherwise real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cascade_batch.policy.view import Bools, Floats
from cascade_batch.replay.recorded import RecordedSet

_SEED = 20
_DRIFT_LOSES = 0.6
_WORSE_BY = 0.25
_DEARER_BY = 1.5
_FAILS = 0.5


def _with_wrong(set_: RecordedSet, wrong: Bools, *, fits: bool) -> RecordedSet:
    """These answers wrong, each in a way of its own: with a value that no other tier gives, or with none."""
    own = set_.value_key.max() + 1 + np.arange(wrong.shape[1])
    return replace(
        set_,
        score=np.where(wrong, 0.0, set_.score),
        value_key=np.where(wrong, own if fits else 0, set_.value_key),
        fits=set_.fits & (fits | ~wrong),
    )


def drifting(set_: RecordedSet) -> RecordedSet:
    """In the second half of the rows, the cheapest tier loses most of what it knew of the largest stratum.
    (What it gives away about its confidence stays as recorded, and so misleads.)"""
    rng = np.random.default_rng(_SEED)
    largest = np.bincount(set_.stratum).argmax()
    late = np.arange(len(set_)) >= len(set_) // 2
    wrong = np.zeros(set_.score.shape, np.bool_)
    wrong[:, 0] = late & (set_.stratum == largest) & (rng.random(len(set_)) < _DRIFT_LOSES)
    return _with_wrong(set_, wrong, fits=True)


def twice_as_long(set_: RecordedSet) -> RecordedSet:
    """Every call costs twice what was recorded, at worst cases that are as they were (or that cost, where it
    is more): what is assumed of costs before any is seen is off by as much."""
    cost = set_.cost_nanousd * 2
    return replace(set_, cost_nanousd=cost, worst_nanousd=np.maximum(set_.worst_nanousd, cost))


def worse_and_dearer(set_: RecordedSet) -> RecordedSet:
    """One more tier: the last one's answers, of which a quarter are spoilt, for half as much again."""
    rng = np.random.default_rng(_SEED)

    def once_more(column: Floats) -> Floats:
        return np.concatenate([column, column[:, -1:]], axis=1)

    more = replace(
        set_,
        tiers=(*set_.tiers, f"{set_.tiers[-1]}-worse"),
        **{
            name: once_more(getattr(set_, name))
            for name in (
                "score", "cost_nanousd", "worst_nanousd", "confidence", "length", "value_key", "fits",
            )
        },
    )  # fmt: skip
    wrong = np.zeros(more.score.shape, np.bool_)
    wrong[:, -1] = rng.random(len(set_)) < _WORSE_BY
    factor = np.array([1.0] * len(set_.tiers) + [_DEARER_BY])
    return replace(
        _with_wrong(more, wrong, fits=True),
        cost_nanousd=np.ceil(more.cost_nanousd * factor).astype(np.int64),
        worst_nanousd=np.ceil(more.worst_nanousd * factor).astype(np.int64),
    )


def failing_half_the_time(set_: RecordedSet) -> RecordedSet:
    """Half of what the second tier answers is unusable, and paid for."""
    rng = np.random.default_rng(_SEED)
    wrong = np.zeros(set_.score.shape, np.bool_)
    wrong[:, 1] = rng.random(len(set_)) < _FAILS
    return _with_wrong(set_, wrong, fits=False)


HARDSHIPS: dict[str, Callable[[RecordedSet], RecordedSet]] = {
    "drift": drifting,
    "twice as long": twice_as_long,
    "worse and dearer tier": worse_and_dearer,
    "tier fails half the time": failing_half_the_time,
}
