"""How often the frontier's 90 % interval holds what a job comes to: predicted early on, and at its end.

    python -m benchmarks.coverage [--seeds 10]

For each recorded set and several budgets a job runs in memory; after its third wave, and when it has ended,
the frontier is drawn, and its interval at the job's own budget is held against the quality in the end. A
second job of the same rows with half as much money again says whether the interval at that budget, which the
first one never had, holds too.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product, repeat

import numpy as np

from benchmarks.recordings import load
from benchmarks.rig import record
from cascade_batch.policy import JobView, Wave, choose_answers, plan_wave
from cascade_batch.policy.frontier import Frontier, draw_frontier
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.recorded import RecordedSet, read_set, sample_rows
from cascade_batch.replay.score import budget_range
from cascade_batch.replay.simulate import TierNos, simulate

SETS = ("triviaqa", "mmlu", "crux", "mmlu-pro")
LABELS = ("learn", "gold:10%", "check")
ROWS = 1_000
PROCESSES = 2
BUDGETS = (3, 8, 13)
"""Places in a row of twenty."""
_EARLY_WAVE = 4
_MORE = 1.5


class _Watching:
    """The planner, with the frontier drawn on the way."""

    def __init__(self, seed: int, budget_nanousd: int) -> None:
        self.seed = seed
        self.budget_nanousd = budget_nanousd
        self.early: Frontier | None = None
        self.late: Frontier | None = None

    def plan(self, view: JobView, wave: int) -> Wave:
        if wave == _EARLY_WAVE and self.early is None:
            self.early = self._draw(view)
        return plan_wave(view, "auto", seed=self.seed, wave=wave)

    def choose(self, view: JobView) -> TierNos:
        self.late = self._draw(view)
        return choose_answers(view).tier_no

    def _draw(self, view: JobView) -> Frontier:
        return draw_frontier(view, budget_nanousd=self.budget_nanousd, seed=self.seed)


def _holds(frontier: Frontier | None, budget_nanousd: int, quality: float) -> tuple[bool, float]:
    """Whether the interval at a budget (between its neighbours) holds a quality, and by how much the middle
    missed it."""
    if frontier is None:
        return True, 0.0
    low, high, middle = (
        float(np.interp(budget_nanousd, frontier.budget_nanousd, end))
        for end in (frontier.low, frontier.high, frontier.quality)
    )
    return low <= quality <= high, middle - quality


@cache
def _recorded(name: str) -> RecordedSet:
    return read_set(load(name, limit=0).path)


def _one(name: str, labels: str, seed: int) -> list[tuple[str, bool, float]]:
    set_ = _recorded(name)
    rng = np.random.default_rng(seed)
    rows = sample_rows(set_, min(ROWS, len(set_)), rng)
    regime = parse_regime(labels)
    found = []
    for place in BUDGETS:
        budget = int(budget_range(rows, 20)[place])
        watching = _Watching(seed, budget)
        quality = simulate(rows, budget, regime, watching, seed).quality
        more = int(budget * _MORE)
        better = simulate(rows, more, regime, _Watching(seed, more), seed).quality
        found += [
            ("early, own budget", *_holds(watching.early, budget, quality)),
            ("at the end, own budget", *_holds(watching.late, budget, quality)),
            ("at the end, half as much again", *_holds(watching.late, more, better)),
        ]
    return found


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    figures: dict[str, object] = {"seeds": seeds, "rows": ROWS}
    with ProcessPoolExecutor(PROCESSES) as pool:
        for name, labels in product(SETS, LABELS):
            runs = pool.map(_one, repeat(name), repeat(labels), range(seeds))
            found = [one for run in runs for one in run]
            for when in dict.fromkeys(w for w, _, _ in found):
                held = [h for w, h, _ in found if w == when]
                missed = [m for w, _, m in found if w == when]
                figures[f"{name}, {labels}, {when}"] = {
                    "coverage": round(float(np.mean(held)), 3),
                    "mean miss": round(float(np.mean(missed)), 4),
                }
                print(name, labels, when, figures[f"{name}, {labels}, {when}"], flush=True)
    record("coverage", figures)


if __name__ == "__main__":
    main()
