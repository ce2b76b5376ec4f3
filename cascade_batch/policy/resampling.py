"""Whether to ask a tier a second time, for what its agreement with itself tells.

A second sample is never an answer, only evidence, so it has no place among the states of `worth`. It is
weighed by looking one step ahead: what is believed of the row if the tier says the same again, and if it does
not; what the row would be worth then, under the strategy at hand; and what it is worth now. (The value of
information, Howard 1966.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.evidence import Evidence
from cascade_batch.policy.model import Model, beliefs
from cascade_batch.policy.view import Bools, Floats

Worth = Callable[[NDArray[np.intp], Floats], Floats]
"""What rows are worth ([n], under [n, T] beliefs), less the price of what is still to be spent on them."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """Second samples that are worth their price.

    Attributes:
        rows: [K] the rows.
        tier_no: [K] whose answer is asked for again: the one that would count.
        gain: [K] what is gained, before the price of the sample.
    """

    rows: NDArray[np.intp]
    tier_no: NDArray[np.intp]
    gain: Floats


def weigh_resampling(
    model: Model, evidence: Evidence, belief: Floats, allowed: Bools, worth: Worth
) -> Resampling:
    """What a second sample of each row's best answer would gain.

    Args:
        model: The model of beliefs.
        evidence: What the rows hold.
        belief: [N, T] what is believed of them.
        allowed: [N, T] answers that may be asked for again.
        worth: What rows are worth under other beliefs.
    """
    best = np.where(evidence.held, belief, -1.0).argmax(axis=1)
    rows = np.flatnonzero(allowed[np.arange(len(best)), best])
    tier_no = best[rows]
    part = evidence.take(rows)
    at = (np.arange(rows.size), tier_no)
    expected = np.zeros(rows.size)
    right = belief[rows, tier_no]
    for said_again in (1, 0):
        again = part.again.copy()
        again[at] = said_again
        then = beliefs(model, replace(part, again=again))
        same = model.same_again[tier_no]
        likely = right * same[:, 1] + (1.0 - right) * same[:, 0]
        expected += (likely if said_again else 1.0 - likely) * worth(rows, then)
    return Resampling(rows, tier_no, expected - worth(rows, belief[rows]))
