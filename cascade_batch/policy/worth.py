"""What a row is worth in each state, and what to buy for it next, at a given price of money.

A row's state is what it holds. Its worth is the quality of its best answer, or, if that is more, what a
further purchase leads to less its cost: `max(q, max_u E[worth after u] - price * cost_u)`, from the states
that hold most backwards (dynamic programming). The expectation over what an answer will say is taken over
imagined rows (`population`) and, between them, by least squares on beliefs: the method of Longstaff and
Schwartz, Valuing American Options by Simulation (2001), with tiers for exercise dates. So a cheap look that
is only good for what it leads to is bought where, and only where, it pays; a tier that never pays drops out;
and the empty state makes going straight to a dear tier a purchase like any other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations as subsets_of
from math import comb

import numpy as np

from cascade_batch.policy.evidence import Evidence
from cascade_batch.policy.model import Model, group_beliefs
from cascade_batch.policy.view import UNKNOWN, Bools, Floats

State = tuple[int, ...]
"""The tiers whose answers a row holds."""

_RIDGE = 0.08
_MOST_STATES = 128
"""What can be held in memory and solved in a moment: every state of up to seven tiers; of more, those that
hold fewer answers."""


def most_held(n_tiers: int) -> int:
    """How many tiers a row is asked on at most: all, unless there are very many."""
    states = 1
    for held in range(1, n_tiers + 1):
        states += comb(n_tiers, held)
        if states > _MOST_STATES:
            return held - 1
    return n_tiers


@dataclass(frozen=True, slots=True)
class Ahead:
    """What lies behind a purchase, linear in a state's basis: worth gained over the best answer held, and
    money that will follow."""

    worth: Floats
    cost: Floats


Strategy = dict[State, dict[int, Ahead]]
"""For each state and each tier that it may buy, what lies behind."""


class Prospects:
    """Imagined rows in every state; answers what to expect at any price of money."""

    def __init__(
        self, model: Model, imagined: Evidence, cost_nanousd: Floats, *, upwards_only: bool
    ) -> None:
        """Prepare.

        Args:
            model: The model of beliefs.
            imagined: Rows that hold every tier's answer.
            cost_nanousd: [n, T] expected cost of asking them.
            upwards_only: A row that holds an answer may only buy from dearer tiers, and the dearest that it
                holds counts.
        """
        self.n_tiers = model.n_tiers
        self.upwards_only = upwards_only
        self._cost = cost_nanousd
        limit = most_held(self.n_tiers)
        self._states: list[State] = [
            state for m in range(limit + 1) for state in subsets_of(range(self.n_tiers), m)
        ]
        self._belief = {
            state: group_beliefs(model, _holding(imagined, state), state) for state in self._states
        }
        self._basis = {s: basis(self._belief[s], s) for s in self._states}
        self._solver = {s: _least_squares(self._basis[s]) for s in self._states}
        self._limit = limit

    def may_buy(self, state: State) -> list[int]:
        """The tiers that a row in this state may be asked on."""
        if len(state) >= self._limit:
            return []
        lowest = state[-1] + 1 if self.upwards_only and state else 0
        return [tier for tier in range(lowest, self.n_tiers) if tier not in state]

    def solve(self, price: float) -> Strategy:
        """What each purchase leads to at this price of money (quality per nano-dollar)."""
        worth: dict[State, Floats] = {}
        ahead: dict[State, Floats] = {}
        strategy: Strategy = {}
        for state in reversed(self._states):
            held = best_held(self._belief[state], state, upwards_only=self.upwards_only)
            best = held.copy() if state else np.full(held.size, -np.inf)
            cost = np.zeros(held.size)
            options: dict[int, Ahead] = {}
            for tier in self.may_buy(state):
                after = tuple(sorted((*state, tier)))
                option = Ahead(
                    self._solver[state] @ (worth[after] - held), self._solver[state] @ ahead[after]
                )
                options[tier] = option
                spend = self._cost[:, tier]
                total = held + self._basis[state] @ option.worth - price * spend
                better = total > best
                best = np.where(better, total, best)
                follows = np.maximum(self._basis[state] @ option.cost, 0.0)
                cost = np.where(better, spend + follows, cost)
            worth[state], ahead[state], strategy[state] = best, cost, options
        return strategy


def _holding(imagined: Evidence, state: State) -> Evidence:
    held: Bools = np.zeros_like(imagined.held)
    held[:, list(state)] = True
    return Evidence(
        held,
        np.where(held, imagined.rank, np.nan),
        np.where(held, imagined.key, 0),
        imagined.again,
        np.where(held, imagined.verdict, np.int8(UNKNOWN)),
        imagined.gold,
        imagined.features,
        imagined.gives,
    )


def best_held(belief: Floats, state: State, *, upwards_only: bool) -> Floats:
    """[n] quality of the answer that counts; 0 where none is held."""
    if not state:
        return np.zeros(len(belief))
    if upwards_only:
        return np.asarray(belief[:, state[-1]])
    return np.asarray(belief[:, list(state)].max(axis=1))


def basis(belief: Floats, state: State) -> Floats:
    """[n, P] functions of a row's beliefs that worth is linear in, near enough."""
    columns = [np.ones(len(belief)), *belief.T, *(belief**2).T]
    if state:
        best = belief[:, list(state)].max(axis=1)
        columns += [best, best**2]
    return np.column_stack(columns)


def _least_squares(functions: Floats) -> Floats:
    """[P, n] what turns targets into coefficients."""
    gram = functions.T @ functions
    return np.asarray(np.linalg.solve(gram + _RIDGE * np.eye(len(gram)), functions.T))
