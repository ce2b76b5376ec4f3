"""What the planner is shown, and what it answers: frozen values, numbers only."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Signals = NDArray[np.float32]
Amounts = NDArray[np.int64]
Marks = NDArray[np.int8]
Keys = NDArray[np.int64]

UNKNOWN = -1
"""A mark that nobody gave."""


class Action(IntEnum):
    """What a purchase buys: a tier's answer, a second sample of it, or a judge's word on it."""

    ANSWER = 0
    SAMPLE = 1
    JUDGE = 2


class Reason(IntEnum):
    """Why a purchase was planned.

    START: the row's first answer. PROBE: drawn at random, to learn what the tier is worth. ESCALATE: its
    expected gain is worth the price of money. FILL: money is left that buys nothing better.
    """

    START = 0
    PROBE = 1
    ESCALATE = 2
    FILL = 3


class Labels(IntEnum):
    """Where the word on an answer comes from, best first.

    CHECK: a check decides on every bought answer, so that a row stops when one passes. GOLD: the right answer
    is known on some rows; it trains the beliefs and stops nothing, so that these rows stay a fair sample.
    JUDGE: a judge tier's word is bought on every answer; it stops a row like a check's, errs more often, and
    is audited on gold where there is any. AGREEMENT: nobody says; which tiers agree with which orders them,
    and nothing is called quality.
    """

    CHECK = 0
    GOLD = 1
    JUDGE = 2
    AGREEMENT = 3


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it stands; N rows, T tiers, tiers cheap to dear. Calls may be in flight.

    Attributes:
        labels: Where marks come from.
        held: [N, T] an answer is held.
        barred: [N, T] may not be asked: answered, refused for good, or its tier stopped. Holds for every
            held answer.
        in_flight: [N, T] released, and neither answered nor given up yet.
        verdict: [N, T] the check's word on a held answer: 1, 0, or `UNKNOWN`. A check may err.
        gold: [N, T] whether a held answer is right, by the right answer that is known: 1, 0, or `UNKNOWN`.
            It trains the beliefs; it does not stop the row (under `Labels.CHECK` with complete gold, the
            check's word is the gold's).
        has_gold: [N] the right answer is known, so that an answer to this row would get a `gold` mark.
        fits: [N, T] the held answer fits the declared output.
        truncated: [N, T] the held answer was cut off, and its value is incomplete.
        confidence: [N, T] log-probability that stands for the held answer (natural, at most 0), NaN where
            none was given.
        length: [N, T] output tokens of the held answer, NaN where none is held.
        value_key: [N, T] equal within a row where two held answers have the same normalised value; 0 where
            there is none to compare.
        resampled: [N, T] whether the tier, asked a second time, gave the same value again: 1, 0, or
            `UNKNOWN`.
        may_resample: [N, T] a held answer that its tier may be asked a second time for.
        input_size: [N] bytes of the row's prompt, a free signal.
        stratum: [N] number of the group that the user put the row into; all 0 without groups.
        unjudged: [N, T] a held answer that the judge has not been asked about; nowhere without a judge.
        judge_nanousd: [N] expected cost of the judge's word on an answer to the row; 0 without a judge.
        worst_nanousd: [N, T] worst case of asking.
        cost_nanousd: [N, T] what a held answer cost, 0 where none is held.
        free_nanousd: what may be spent on more than first answers at the cheapest: neither spent, at risk,
            reserved, ring-fenced, nor promised to what is in flight. May be negative.
        fence_nanousd: [N] what the ring fence holds for each row without an answer; 0 for the others.
        check_is_gold: Under `Labels.CHECK`: the check holds every answer against a right one that is known,
            and never errs.
    """

    labels: Labels
    held: Bools
    barred: Bools
    in_flight: Bools
    verdict: Marks
    gold: Marks
    has_gold: Bools
    fits: Bools
    truncated: Bools
    confidence: Signals
    length: Signals
    value_key: Keys
    resampled: Marks
    may_resample: Bools
    input_size: Signals
    stratum: NDArray[np.int32]
    unjudged: Bools
    judge_nanousd: Amounts
    worst_nanousd: Amounts
    cost_nanousd: Amounts
    free_nanousd: int
    fence_nanousd: Amounts
    check_is_gold: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and tiers."""
        n_rows, n_tiers = self.held.shape
        return n_rows, n_tiers

    def of_rows(self, row_no: NDArray[np.intp]) -> JobView:
        """The same job as if it had these rows only."""
        per_row: dict[str, Any] = {
            field.name: value[row_no]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return replace(self, **per_row)


@dataclass(frozen=True, slots=True)
class Wave:
    """Calls to make, in the order in which they should be bought. Empty, with nothing in flight: the job is
    done.

    Attributes:
        row_no: [K] rows; none occurs twice.
        tier_no: [K] the tier to ask (of a judge: the tier whose answer is judged).
        action: [K] an `Action`.
        reason: [K] a `Reason`.
        gain: [K] expected quality after it minus the quality of the best answer held (0 if none is).
        expected_nanousd: [K] expected cost.
        draw_probability: [K] probability with which this row was drawn for this purchase; 1 where nothing
            was left to chance.
        price_of_money: expected quality that a dollar buys at the margin, in answers per USD.
        is_short: Of an empty wave: something would gain enough, were there more money for it.
    """

    row_no: NDArray[np.int32]
    tier_no: NDArray[np.int16]
    action: Marks
    reason: Marks
    gain: Signals
    expected_nanousd: Amounts
    draw_probability: Signals
    price_of_money: float
    is_short: bool = False

    def __len__(self) -> int:
        return int(self.row_no.size)
