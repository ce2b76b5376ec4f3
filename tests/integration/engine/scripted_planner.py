"""A planner that does what a test says, and remembers what it was shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cascade_batch.engine.planner import PLANNER
from cascade_batch.policy.frontier import Frontier
from cascade_batch.policy.view import Action, JobView, Reason, Wave

Pairs = Iterable[tuple[int, int]]
Step = Callable[[JobView], Wave]


def wave_of(
    pairs: Pairs,
    *,
    action: Action = Action.ANSWER,
    reason: Reason = Reason.START,
    gain: float = 0.5,
    expected_nanousd: int = 1000,
    draw_probability: float = 1.0,
    price_of_money: float = 2.0,
) -> Wave:
    """A wave of these pairs of row and tier, all alike."""
    both = list(pairs)
    count = len(both)
    return Wave(
        row_no=np.array([row for row, _ in both], dtype=np.int32),
        tier_no=np.array([tier for _, tier in both], dtype=np.int16),
        action=np.full(count, action, dtype=np.int8),
        reason=np.full(count, reason, dtype=np.int8),
        gain=np.full(count, gain, dtype=np.float32),
        expected_nanousd=np.full(count, expected_nanousd, dtype=np.int64),
        draw_probability=np.full(count, draw_probability, dtype=np.float32),
        price_of_money=price_of_money,
    )


NOTHING = wave_of([])


def start_all(tier_no: int = 0) -> Step:
    """Every row's first answer, on this tier."""
    return lambda view: wave_of((row, tier_no) for row in range(len(view.held)))


def buy(pairs: Pairs, **more: Any) -> Step:
    """These pairs, whatever the job looks like."""
    return lambda view: wave_of(pairs, **more)


@dataclass(frozen=True)
class Chosen:
    tier_no: Any
    quality: Any


class Script:
    """Plans the given steps, one after the other, and then nothing more; the dearest answer stands."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.views: list[JobView] = []

    def plan_wave(self, view: JobView, policy: str, *, seed: int, wave: int) -> Wave:
        self.views.append(kept(view))
        return self.steps.pop(0)(view) if self.steps else NOTHING

    def choose_answers(self, view: JobView) -> Chosen:
        tiers = np.where(view.held, np.arange(view.held.shape[1]), -1)
        return Chosen(tiers.max(axis=1).astype(np.int16), np.full(len(tiers), np.nan))

    def draw_frontier(self, view: JobView, *, budget_nanousd: int, seed: int) -> Frontier:
        return PLANNER.draw_frontier(view, budget_nanousd=budget_nanousd, seed=seed)


def kept(view: JobView) -> JobView:
    """A copy: the engine goes on writing into the arrays."""
    return replace(view, **{name: value.copy() for name, value in arrays_of(view).items()})


def arrays_of(view: JobView) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(view)
        if isinstance(value := getattr(view, field.name), np.ndarray)
    }


def same(one: JobView, other: JobView, *, but: Sequence[str] = ()) -> bool:
    """Whether two views show the same."""
    return one.labels == other.labels and all(
        np.array_equal(value, arrays_of(other)[name], equal_nan=value.dtype.kind == "f")
        for name, value in arrays_of(one).items()
        if name not in but
    )
