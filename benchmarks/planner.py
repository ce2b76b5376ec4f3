"""Seconds and memory per wave of the planner, at four sizes of a job.

    python -m benchmarks.planner [--sizes 10000,100000,1000000,10000000]

A job of three tiers with made-up outcomes is run to its end in memory, its budget half-way between all rows
on the cheapest tier and all on the dearest, each size in a process of its own. What is timed is the planner
alone: a view in, a wave out. Its memory is what the process's peak rises by beyond the job's own arrays.
"""

from __future__ import annotations

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.rig import record
from cascade_batch.policy import JobView, Wave
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.planner import ProductPlanner
from cascade_batch.replay.recorded import RecordedSet
from cascade_batch.replay.simulate import simulate

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
SEED = 1
_ABILITIES = np.array([-0.2, 1.0, 1.8])
_PRICES = np.array([1_000.0, 6_000.0, 50_000.0])
_MIB = 2**20


@dataclass
class _Timed:
    """The product's planner, with a stopwatch."""

    planner: ProductPlanner
    seconds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    rise_mib: float = 0.0

    def plan(self, view: JobView, wave: int) -> Wave:
        before = _peak_mib()
        started = time.perf_counter()
        planned = self.planner.plan(view, wave)
        self.seconds.append(time.perf_counter() - started)
        self.rows.append(len(planned))
        self.rise_mib = max(self.rise_mib, _peak_mib() - before)
        return planned

    def choose(self, view: JobView) -> NDArray[np.int16]:
        return self.planner.choose(view)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


def made_up(n_rows: int) -> RecordedSet:
    """Rows of differing ease; abler tiers are dearer, and tell how sure they are."""
    rng = np.random.default_rng(SEED)
    shape = (n_rows, _PRICES.size)
    size = rng.lognormal(6.0, 0.5, n_rows).astype(np.float32)
    ease = rng.normal(size=n_rows)
    right = rng.random(shape) < 1 / (1 + np.exp(-(_ABILITIES + 1.3 * ease[:, None])))
    sure = right * (0.85 + 0.4 * ease[:, None]) + 0.8 * rng.normal(size=shape)
    relative = (size / size.mean())[:, None] * rng.uniform(0.8, 1.2, shape)
    cost = np.rint(_PRICES * relative).astype(np.int64)
    return RecordedSet(
        name="made up",
        tiers=("small", "medium", "large"),
        score=right.astype(np.float64),
        cost_nanousd=cost,
        worst_nanousd=np.ceil(_PRICES * 2 * (size / size.mean())[:, None]).astype(np.int64),
        confidence=(-np.exp(-1.5 * sure)).astype(np.float32),
        length=np.full(shape, 10, np.float32),
        input_size=size,
        value_key=np.where(right, 2, 3 + np.arange(shape[1])).astype(np.int64),
        fits=np.ones(shape, np.bool_),
        stratum=rng.integers(0, 4, n_rows).astype(np.int32),
        stratum_names=("a", "b", "c", "d"),
    )


def measure(n_rows: int) -> dict[str, Any]:
    """One job, in this process."""
    set_ = made_up(n_rows)
    budget = int(set_.cost_nanousd[:, [0, -1]].sum() / 2)
    timed = _Timed(ProductPlanner("auto", SEED))
    started = time.perf_counter()
    end = simulate(set_, budget, parse_regime("learn"), timed, SEED)
    return {
        "rows": n_rows,
        "waves": len(timed.seconds),
        "longest_wave_s": round(max(timed.seconds), 3),
        "all_waves_s": round(sum(timed.seconds), 3),
        "us_per_row_of_longest": round(max(timed.seconds) / n_rows * 1e6, 3),
        "memory_mib": round(timed.rise_mib, 1),
        "whole_run_s": round(time.perf_counter() - started, 3),
        "overspent": end.overspent,
        "unanswered": end.unanswered,
    }


def main() -> None:
    """Measure, record, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    given = parser.parse_args()
    table = Table(box=None)
    for column in ("rows", "waves", "longest wave", "all waves", "µs per row", "memory"):
        table.add_column(column, justify="right")
    found = []
    for n_rows in map(int, given.sizes.split(",")):
        with ProcessPoolExecutor(1, max_tasks_per_child=1) as one:
            figures = one.submit(measure, n_rows).result()
        found.append(figures)
        table.add_row(
            f"{n_rows:,}",
            str(figures["waves"]),
            f"{figures['longest_wave_s']:.2f} s",
            f"{figures['all_waves_s']:.2f} s",
            f"{figures['us_per_row_of_longest']:.2f}",
            f"{figures['memory_mib']:,.0f} MiB",
        )
    record("planner", {"sizes": found}, show=False)
    Console().print(table)


if __name__ == "__main__":
    main()
