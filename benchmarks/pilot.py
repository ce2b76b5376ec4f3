"""How well a pilot foretells a job: the frontier of `estimate --pilot` against what whole jobs come to.

    python -m benchmarks.pilot [--seeds 5] [--rows 200]

For each recorded set a pilot asks some rows of a job on every tier, in memory; the frontier is drawn from it
alone; then the whole job runs at several budgets with the pilot's answers in it, as it does when they are
taken from the cache. Told are how often the 90 % interval at the job's budget held what it came to, and the
mean distance of the middle from that.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product, repeat

import numpy as np
from numpy.typing import NDArray

from benchmarks.recordings import load
from benchmarks.rig import record
from cascade_batch.policy import Action, JobView, Reason, Wave, choose_answers, plan_wave
from cascade_batch.policy.pilot import Prediction, pilot_rows, predict
from cascade_batch.replay.labels import draw_word, parse_regime
from cascade_batch.replay.recorded import RecordedSet, read_set, sample_rows
from cascade_batch.replay.score import budget_range
from cascade_batch.replay.simulate import TierNos, simulate

SETS = ("triviaqa", "mmlu", "crux", "mmlu-pro")
LABELS = ("learn", "gold:10%", "check")
ROWS = 1_000
PROCESSES = 2
BUDGETS = (2, 6, 10, 15)
"""Places in a row of twenty."""


class _Piloted:
    """The planner of a job that begins with what a pilot bought."""

    def __init__(self, rows: int, seed: int, least_nanousd: int) -> None:
        self._rows = rows
        self._pilot: NDArray[np.intp] = np.empty(0, np.intp)
        self._seed = seed
        self._least_nanousd = least_nanousd
        self.prediction: Prediction | None = None

    def plan(self, view: JobView, wave: int) -> Wave:
        n_tiers = view.shape[1]
        if wave == 1:
            self._pilot = pilot_rows(view.has_gold, self._rows, self._seed)
        if wave <= n_tiers:
            return self._of_pilot(view, wave - 1)
        if self.prediction is None:
            self.prediction = predict(
                view,
                rows=len(view.held),
                least_nanousd=self._least_nanousd,
                own_nanousd=None,
                seed=self._seed,
            )
        return plan_wave(view, "auto", seed=self._seed, wave=wave - n_tiers)

    def choose(self, view: JobView) -> TierNos:
        return choose_answers(view).tier_no

    def _of_pilot(self, view: JobView, tier: int) -> Wave:
        n = self._pilot.size
        return Wave(
            row_no=self._pilot.astype(np.int32),
            tier_no=np.full(n, tier, np.int16),
            action=np.full(n, Action.ANSWER, np.int8),
            reason=np.full(n, Reason.PROBE, np.int8),
            gain=np.zeros(n, np.float32),
            expected_nanousd=view.worst_nanousd[self._pilot, tier],
            draw_probability=np.full(n, n / len(view.held), np.float32),
            price_of_money=0.0,
        )


@cache
def _recorded(name: str) -> RecordedSet:
    return read_set(load(name, limit=0).path)


def _one(name: str, labels: str, seed: int, n_pilot: int) -> list[tuple[bool, float, float]]:
    """(held, distance, width of the interval) at each budget."""
    set_ = _recorded(name)
    rng = np.random.default_rng(seed)
    rows = sample_rows(set_, min(ROWS, len(set_)), rng)
    regime = parse_regime(labels)
    # As the job will draw it.
    has_gold = draw_word(regime, rows.score, np.random.default_rng((seed, 1))).has_gold
    cost_nanousd = int(rows.cost_nanousd[pilot_rows(has_gold, n_pilot, seed)].sum())
    budgets = [int(budget) for budget in budget_range(rows, 20)]
    found = []
    for place in BUDGETS:
        piloted = _Piloted(n_pilot, seed, budgets[0])
        quality = simulate(rows, cost_nanousd + budgets[place], regime, piloted, seed).quality
        if piloted.prediction is None:
            raise RuntimeError("the pilot was not heard")
        middle, low, high = piloted.prediction.at(budgets[place])
        found.append((low <= quality <= high, middle - quality, high - low))
    return found


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=200)
    given = parser.parse_args()
    figures: dict[str, object] = {"seeds": given.seeds, "rows": ROWS, "pilot rows": given.rows}
    everything: list[tuple[bool, float, float]] = []
    with ProcessPoolExecutor(PROCESSES) as pool:
        for name, labels in product(SETS, LABELS):
            runs = pool.map(
                _one, repeat(name), repeat(labels), range(given.seeds), repeat(given.rows)
            )
            found = [one for run in runs for one in run]
            everything += found
            figures[f"{name}, {labels}"] = _summary(found)
            print(name, labels, figures[f"{name}, {labels}"], flush=True)
    figures["all"] = _summary(everything)
    print("all", figures["all"], flush=True)
    record("pilot", figures)


def _summary(found: list[tuple[bool, float, float]]) -> dict[str, float]:
    held, missed, width = (np.array(values, float) for values in zip(*found, strict=True))
    return {
        "coverage": round(float(held.mean()), 3),
        "mean absolute error": round(float(np.abs(missed).mean()), 4),
        "mean error": round(float(missed.mean()), 4),
        "mean width of the interval": round(float(width.mean()), 4),
    }


if __name__ == "__main__":
    main()
