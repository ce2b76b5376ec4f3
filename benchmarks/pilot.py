"""How well a pilot foretells a job: the frontier of `estimate --pilot` against what whole jobs come to.

    python -m benchmarks.pilot [--seeds 5] [--rows 200]

For each recorded set a pilot asks some rows of a job on every tier, in memory; the frontier is drawn from it
alone; then the whole job runs at several budgets. Told are how often the 90 % interval at the job's budget
held what it came to, and the mean distance of the middle from that.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import product, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.recordings import load
from benchmarks.rig import record
from cascade_batch.policy import Action, JobView, Reason, Wave, choose_answers
from cascade_batch.policy.pilot import Prediction, pilot_rows, predict
from cascade_batch.policy.view import UNKNOWN
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.planner import ProductPlanner
from cascade_batch.replay.recorded import RecordedSet, read_set, sample_rows
from cascade_batch.replay.score import budget_range
from cascade_batch.replay.simulate import TierNos, simulate

SETS = ("triviaqa", "mmlu", "crux", "mmlu-pro")
LABELS = ("learn", "gold:10%", "check")
ROWS = 1_000
PROCESSES = 2
BUDGETS = (2, 6, 10, 15)
"""Places in a row of twenty."""


class _Pilot:
    """Asks its rows on every tier, and nothing else; keeps what it saw."""

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self.seen: JobView | None = None

    def plan(self, view: JobView, wave: int) -> Wave:
        self.seen = view
        rows = pilot_rows(view.has_gold, self._rows, self._seed)
        n = rows.size if wave <= view.shape[1] else 0
        tier = np.full(n, wave - 1, np.int16)
        return Wave(
            row_no=rows[:n].astype(np.int32),
            tier_no=tier,
            action=np.full(n, Action.ANSWER, np.int8),
            reason=np.full(n, Reason.PROBE, np.int8),
            gain=np.zeros(n, np.float32),
            expected_nanousd=view.worst_nanousd[rows[:n], tier],
            draw_probability=np.full(n, n / len(view.held), np.float32),
            price_of_money=0.0,
        )

    def choose(self, view: JobView) -> TierNos:
        return choose_answers(view).tier_no


def _foretold(view: JobView, least_nanousd: int, seed: int) -> Prediction:
    """What the pilot's rows tell of a job of all rows: these come once more, without their answers."""
    pilot = view.held.any(axis=1)
    both = {
        name: np.concatenate([value[pilot], nothing])
        for name, nothing in _unanswered(view).items()
        for value in (getattr(view, name),)
    }
    return predict(
        replace(view, **both),
        rows=len(view.held),
        least_nanousd=least_nanousd,
        own_nanousd=None,
        seed=seed,
    )


def _unanswered(view: JobView) -> dict[str, NDArray[Any]]:
    """All rows of a view, as they were before anything was asked."""
    nothing = {
        "held": False,
        "barred": False,
        "in_flight": False,
        "verdict": UNKNOWN,
        "gold": UNKNOWN,
        "fits": False,
        "truncated": False,
        "confidence": np.nan,
        "length": np.nan,
        "value_key": 0,
        "resampled": UNKNOWN,
        "may_resample": False,
        "unjudged": False,
        "cost_nanousd": 0,
    }
    same = (
        "has_gold",
        "input_size",
        "stratum",
        "judge_nanousd",
        "worst_nanousd",
        "fence_nanousd",
    )
    empty = {name: np.full_like(getattr(view, name), value) for name, value in nothing.items()}
    return {**empty, **{name: getattr(view, name) for name in same}}


@cache
def _recorded(name: str) -> RecordedSet:
    return read_set(load(name, limit=0).path)


def _one(name: str, labels: str, seed: int, n_pilot: int) -> list[tuple[bool, float, float]]:
    """(held, distance, width of the interval) at each budget."""
    set_ = _recorded(name)
    rng = np.random.default_rng(seed)
    rows = sample_rows(set_, min(ROWS, len(set_)), rng)
    regime = parse_regime(labels)
    budgets = [int(budget) for budget in budget_range(rows, 20)]
    pilot = _Pilot(n_pilot, seed)
    simulate(rows, int(rows.cost_nanousd.sum()), regime, pilot, seed)
    if pilot.seen is None:
        raise RuntimeError("the pilot saw nothing")
    prediction = _foretold(pilot.seen, budgets[0], seed)
    found = []
    for place in BUDGETS:
        planner = ProductPlanner("auto", seed)
        quality = simulate(rows, budgets[place], regime, planner, seed).quality
        middle, low, high = prediction.at(budgets[place])
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
