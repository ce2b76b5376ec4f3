"""A whole replay: every budget and every seed, on several processes, and what they add up to."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.errors import UsageError
from cascade_batch.replay.labels import Regime
from cascade_batch.replay.planner import ProductPlanner
from cascade_batch.replay.recorded import RecordedSet, draw_rows
from cascade_batch.replay.report import ReplayReport, make_report, score_seed
from cascade_batch.replay.score import budget_range
from cascade_batch.replay.simulate import (
    JobOutcome,
    Planner,
    Reserve,
    least_budget,
    simulate,
)

MakePlanner = Callable[[PolicyName, int], Planner]


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to replay.

    Attributes:
        regime: What is told about answers.
        n_budgets: Budgets, in equal steps from all rows on the first tier to all rows on the last.
        n_seeds: Jobs per budget; each seed draws rows, their order, labels and explorations anew.
        n_rows: Rows of each job, drawn at random; all, if None.
        policy: The policy of the jobs.
        reserve: What the ledger sets aside for a call.
        with_logprobs: False hides all log-probabilities.
        first_seed: The first of the seeds, which follow one another.
    """

    regime: Regime
    n_budgets: int = 20
    n_seeds: int = 20
    n_rows: int | None = None
    policy: PolicyName = "auto"
    reserve: Reserve = Reserve.RECORDED
    with_logprobs: bool = True
    first_seed: int = 0

    @property
    def seeds(self) -> range:
        """The seeds of the jobs."""
        return range(self.first_seed, self.first_seed + self.n_seeds)


def replay(
    set_: RecordedSet,
    plan: ReplayPlan,
    *,
    make_planner: MakePlanner = ProductPlanner,
    processes: int = 1,
    on_done: Callable[[], object] = lambda: None,
) -> ReplayReport:
    """Run a job per seed and budget, and compare.

    The same set and plan give the same report, on however many processes.

    Args:
        set_: The recorded rows.
        plan: What to replay.
        make_planner: Makes what decides in a job, from its policy and seed.
        processes: Jobs at a time.
        on_done: Called when a job is done.

    Raises:
        UsageError: The tiers are not ordered cheap to dear, or no budget would be accepted.
    """
    total = set_.total_nanousd()
    if total[-1] <= total[0]:
        raise UsageError(
            f"All rows on {set_.tiers[-1]!r} cost no more than on {set_.tiers[0]!r}.",
            hint="Name the tiers cheap to dear.",
        )
    if not plan.with_logprobs:
        set_ = replace(set_, confidence=np.full_like(set_.confidence, np.nan))
    runner = _Runner(set_, plan, make_planner)
    places = runner.places()
    jobs = list(product(plan.seeds, places))
    outcomes = []
    for outcome in _outcomes(runner, jobs, processes):
        outcomes.append(outcome)
        on_done()
    runs = []
    for no, seed in enumerate(plan.seeds):
        row_no = runner.row_no(seed)
        rows = set_.take(row_no)
        budgets = budget_range(rows, plan.n_budgets)[places]
        done = outcomes[no * len(places) : (no + 1) * len(places)]
        runs.append(score_seed(rows, row_no, budgets, done, seed))
    return make_report(set_, runs)


class _Runner:
    """Runs single jobs; handed to each process once."""

    def __init__(self, set_: RecordedSet, plan: ReplayPlan, make_planner: MakePlanner) -> None:
        self._set = set_
        self._plan = plan
        self._make_planner = make_planner

    def row_no(self, seed: int) -> NDArray[np.intp]:
        """The rows of a seed's jobs as places in the set, in the jobs' order."""
        rng = np.random.default_rng((seed, 0))
        return draw_rows(self._set, self._plan.n_rows or len(self._set), rng)

    def places(self) -> list[int]:
        """Places of the budgets that every seed's jobs may have.

        Raises:
            UsageError: There is none.
        """
        allowed = np.ones(self._plan.n_budgets, np.bool_)
        for seed in self._plan.seeds:
            rows = self._set.take(self.row_no(seed))
            least = least_budget(rows, self._plan.reserve)
            allowed &= budget_range(rows, self._plan.n_budgets) >= least
        if not allowed.any():
            raise UsageError(
                "Every budget would be refused: none carries all rows at worst case on their cheapest tier.",
                hint="Reserve what calls cost in fact: --reserve recorded.",
            )
        return [int(place) for place in np.flatnonzero(allowed)]

    def run(self, job: tuple[int, int]) -> JobOutcome:
        """Run the job of a seed and the place of its budget."""
        seed, place = job
        plan = self._plan
        rows = self._set.take(self.row_no(seed))
        budget_nanousd = int(budget_range(rows, plan.n_budgets)[place])
        planner = self._make_planner(plan.policy, seed)
        return simulate(rows, budget_nanousd, plan.regime, planner, seed, plan.reserve)


def _outcomes(
    runner: _Runner, jobs: Sequence[tuple[int, int]], processes: int
) -> Iterator[JobOutcome]:
    """What becomes of the jobs, in their order."""
    if min(processes, len(jobs)) <= 1:
        yield from map(runner.run, jobs)
        return
    # A fork shares the set instead of copying it; elsewhere forks are not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(
        min(processes, len(jobs)), context, initializer=_take_over, initargs=(runner,)
    ) as pool:
        yield from pool.map(_run, jobs)


_runner: _Runner | None = None
"""Of this process, where it is one of several."""


def _take_over(runner: _Runner) -> None:
    global _runner
    _runner = runner


def _run(job: tuple[int, int]) -> JobOutcome:
    if _runner is None:
        raise RuntimeError("the process was not set up")
    return _runner.run(job)
