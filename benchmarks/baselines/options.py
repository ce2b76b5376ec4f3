"""Several groups of rows, each with things that may be done with it, and one sum of money."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cascade_batch.policy.view import Floats


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be done with every row of a group.

    Attributes:
        n_rows: Rows of the group.
        nanousd: [K] expected cost per row of each option.
        quality: [K] expected quality per row of each.
    """

    n_rows: int
    nanousd: Floats
    quality: Floats


@dataclass(frozen=True, slots=True)
class Mix:
    """What is done with a group: one option, and for a share of its rows the next better one."""

    low: int
    high: int
    high_share: float


def spend(offers: list[Offer], money_nanousd: float) -> list[Mix]:
    """The options that make most of the money, which is met on average.

    Every group starts with its cheapest option, and goes up the concave hull of its options; the steps of
    all groups are taken in order of gain per cost. The last may be taken by a part of its rows.
    """
    corners = [_hull(offer) for offer in offers]
    steps = []
    for group, (offer, path) in enumerate(zip(offers, corners, strict=True)):
        for low, high in pairwise(path):
            extra = float(offer.nanousd[high] - offer.nanousd[low])
            gain = float(offer.quality[high] - offer.quality[low])
            steps.append((gain / max(extra, 1e-9), group, low, high, extra * offer.n_rows))
        money_nanousd -= float(offer.nanousd[path[0]]) * offer.n_rows
    mixes = [Mix(path[0], path[0], 0.0) for path in corners]
    for _, group, low, high, cost in sorted(steps, key=lambda step: -step[0]):
        if cost <= money_nanousd:
            mixes[group] = Mix(high, high, 0.0)
            money_nanousd -= cost
            continue
        if money_nanousd > 0:
            mixes[group] = Mix(low, high, money_nanousd / cost)
        break
    return mixes


def _hull(offer: Offer) -> list[int]:
    """Options from the cheapest up the upper concave hull, as far as quality rises."""
    cost, quality = offer.nanousd, offer.quality
    path = [int(np.lexsort((-quality, cost))[0])]
    while True:
        at = path[-1]
        better = np.flatnonzero(quality > quality[at] + 1e-12)
        if not better.size:
            return path
        slope = (quality[better] - quality[at]) / np.maximum(cost[better] - cost[at], 1e-9)
        path.append(int(better[slope.argmax()]))
