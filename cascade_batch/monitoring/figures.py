"""The figures of a whole process with its children, as Prometheus asks for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psutil
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from cascade_batch.monitoring.catalogue import BREAKER, LEASE_EXPIRIES, METRICS, Metric
from cascade_batch.monitoring.meter import Deltas, Key

JOBS_STAY_S = 900.0
"""Series of a job that nothing was heard of for so long disappear."""
GAUGES_STAY_S = 120.0
"""What a process said of its gates counts for so long, while it lives: above the longest time that a breaker
is open."""
_BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(slots=True)
class _Series:
    values: list[float]
    at: float


class Figures(Collector):
    """Adds up what processes send. For several threads."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        is_alive: Callable[[int], bool] = psutil.pid_exists,
    ) -> None:
        self._clock = clock
        self._is_alive = is_alive
        self._lock = threading.Lock()
        self._series: dict[Key, _Series] = {}
        self._gauges: dict[tuple[int, Key], _Series] = {}
        self.add(0, Deltas({(LEASE_EXPIRIES.name, ()): 0.0}))

    def add(self, pid: int, deltas: Deltas) -> None:
        """Take in what a process gathered."""
        now = self._clock()
        with self._lock:
            for key, amount in deltas.counters.items():
                self._raise(key, [amount], now)
            for key, bins in deltas.histograms.items():
                self._raise(key, bins, now)
            for key, value in deltas.gauges.items():
                self._gauges[pid, key] = _Series([value], now)

    def _raise(self, key: Key, amounts: list[float], now: float) -> None:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series([0.0] * len(amounts), now)
        series.values = [old + more for old, more in zip(series.values, amounts, strict=True)]
        series.at = now

    def collect(self) -> Iterable[Family]:
        """Everything that is known, as of now."""
        with self._lock:
            self._forget(self._clock())
            shown = {key: series.values for key, series in self._series.items()}
            for (_, key), series in self._gauges.items():
                before = shown.get(key)
                value = series.values[0]
                if before is None:
                    shown[key] = [value]
                else:
                    worst = key[0] == BREAKER.name
                    shown[key] = [max(before[0], value) if worst else before[0] + value]
        return list(_families(shown))

    def _forget(self, now: float) -> None:
        for key in [k for k, s in self._series.items() if now > s.at + JOBS_STAY_S]:
            if "job" in _BY_NAME[key[0]].labels:
                del self._series[key]
        gone = {pid for pid in {pid for pid, _ in self._gauges} if not self._is_alive(pid)}
        for old, series in list(self._gauges.items()):
            if old[0] in gone or now > series.at + GAUGES_STAY_S:
                del self._gauges[old]


def _families(values: dict[Key, list[float]]) -> Iterator[Family]:
    by_name: dict[str, dict[tuple[str, ...], list[float]]] = {}
    for (name, labels), numbers in values.items():
        by_name.setdefault(name, {})[labels] = numbers
    for metric in METRICS:
        if metric.name in by_name:
            yield family(metric, by_name[metric.name])


def family(metric: Metric, series: dict[tuple[str, ...], list[float]]) -> Family:
    """A metric with its series, by the values of its labels."""
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, bins in series.items():
            histogram.add_metric(list(labels), _cumulated(metric.bounds, bins[:-1]), bins[-1])
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    simple = kind(metric.name, metric.help, labels=metric.labels)
    for labels, values in series.items():
        simple.add_metric(list(labels), values[0])
    return simple


def _cumulated(bounds: tuple[float, ...], counts: list[float]) -> list[tuple[str, float]]:
    buckets, below = [], 0.0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets
