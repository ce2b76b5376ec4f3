"""Figures as they arise: sums since they were last taken. Not for several threads at once."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from cascade_batch.monitoring.catalogue import Metric

Key = tuple[str, tuple[str, ...]]
"""A metric's name, and the values of its labels."""


@dataclass(slots=True)
class Deltas:
    """What is to be added to counters and histograms, and what gauges show now.

    Attributes:
        histograms: Calls per bucket (the last one: beyond all bounds), then the sum of what was measured.
    """

    counters: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, list[float]] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counters or self.histograms or self.gauges)


class Meter:
    """Gathers `Deltas`."""

    def __init__(self) -> None:
        self._deltas = Deltas()

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Raise a counter."""
        key = (metric.name, labels)
        counters = self._deltas.counters
        counters[key] = counters.get(key, 0.0) + amount

    def measure(self, metric: Metric, value: float, *labels: str) -> None:
        """Count a value in a histogram."""
        bins = self.bins(metric, *labels)
        bins[bisect_left(metric.bounds, value)] += 1
        bins[-1] += value

    def bins(self, metric: Metric, *labels: str) -> list[float]:
        """A histogram's counts and sum, to be raised in place until the next `take`."""
        key = (metric.name, labels)
        bins = self._deltas.histograms.get(key)
        if bins is None:
            bins = self._deltas.histograms[key] = [0.0] * (len(metric.bounds) + 2)
        return bins

    def show(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._deltas.gauges[(metric.name, labels)] = value

    def take(self) -> Deltas:
        """What was gathered; the next begins with nothing."""
        taken, self._deltas = self._deltas, Deltas()
        return taken
