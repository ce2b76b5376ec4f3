"""The training sample: rows drawn at random and asked on every tier, at the job's cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.buying import make_wave, money_left
from cascade_batch.policy.expense import expected_costs
from cascade_batch.policy.view import JobView, Labels, Reason, Wave

Places = NDArray[np.intp]

BUDGET_SHARE = 0.06
"""Of the budget, for the sample. It answers its own rows, too, so that not all of it is lost."""
_WANTED_ROWS = 40
"""Fewer teach little: as many are asked while they cost no more than `_MOST_FREE_SHARE`."""
_MOST_FREE_SHARE = 0.15
"""Of the money beyond first answers at the cheapest."""
_MOST_ROWS = 250
_MOST_ROW_SHARE = 0.25
_PILOT_ROWS = 8
"""Asked first, because only answers tell what answers cost."""


class TrainingSample:
    """Draws rows, and asks them on one tier after the other (a wave asks each row once)."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng((seed, 11))
        self._order: Places | None = None
        self._n_rows = 0
        self._waves_left = 0
        self._sized = False

    @property
    def rows(self) -> Places:
        """The rows drawn so far."""
        return np.empty(0, np.intp) if self._order is None else self._order[: self._n_rows]

    def complete(self, view: JobView) -> Places:
        """The rows that every tier has answered."""
        return self.rows[view.held[self.rows].all(axis=1)]

    def next_wave(self, view: JobView) -> Wave | None:
        """What the sample still has to buy; None when it is done."""
        if self._order is None:
            self._start(view)
        wave = self._ask(view)
        if wave is None and not self._sized:
            self._extend(view)
            wave = self._ask(view)
        return wave

    def _start(self, view: JobView) -> None:
        """Order the rows, those first whose right answers are known, and size the pilot."""
        order = self._rng.permutation(view.shape[0])
        if view.labels == Labels.GOLD:
            order = order[view.has_gold[order]]
        self._order = order
        worst = view.worst_nanousd[order].sum(axis=1) - view.fence_nanousd[order]
        # Worst cases are a multiple of costs on most jobs, so that this share is seldom spent.
        allowed = np.cumsum(worst) <= _MOST_FREE_SHARE * max(view.free_nanousd, 0) * 2
        self._n_rows = min(_PILOT_ROWS, int(allowed.sum()))
        self._waves_left = 2 * view.shape[1]

    def _extend(self, view: JobView) -> None:
        self._sized = True
        done = self.complete(view)
        if self._order is None or not done.size:
            return
        row_nanousd = float(view.cost_nanousd[done].sum(axis=1).mean())
        extra_nanousd = row_nanousd - float(view.fence_nanousd.sum()) / max(
            int((~view.held.any(axis=1)).sum()), 1
        )
        budget = money_left(view) + int(view.cost_nanousd.sum())
        free = max(view.free_nanousd, 0)
        wanted = max(BUDGET_SHARE * budget / max(row_nanousd, 1.0), _WANTED_ROWS)
        wanted = min(wanted, _MOST_FREE_SHARE * free / max(extra_nanousd, 1.0), _MOST_ROWS)
        wanted = min(wanted, _MOST_ROW_SHARE * view.shape[0], self._order.size)
        self._n_rows = max(self._n_rows, int(wanted))
        self._waves_left = 2 * view.shape[1]

    def _ask(self, view: JobView) -> Wave | None:
        """Every row of the sample on its cheapest tier that has not answered."""
        rows = self.rows
        rows = rows[~view.barred[rows].all(axis=1) & ~view.in_flight[rows].any(axis=1)]
        if not rows.size or not self._waves_left:
            return None
        self._waves_left -= 1
        tiers = np.argmin(view.barred[rows], axis=1)
        return make_wave(rows, tiers, expected_costs(view), Reason.PROBE)
