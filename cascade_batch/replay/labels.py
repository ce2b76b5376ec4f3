"""What a job is told about its answers: the label regimes of a replay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade_batch.errors import UsageError
from cascade_batch.policy.view import UNKNOWN, Bools, Floats, Labels, Marks

RIGHT = 0.5
"""From this score on an answer counts as right."""


@dataclass(frozen=True, slots=True)
class Regime:
    """Where the word on answers comes from.

    Attributes:
        name: As it was given.
        labels: What the planner is told that there is.
        pass_right: Under a check, the probability that it passes a right answer.
        fail_wrong: Under a check, the probability that it fails a wrong one.
        gold_share: Share of the rows, drawn at random, whose right answer is known.
    """

    name: str
    labels: Labels
    pass_right: float = 1.0
    fail_wrong: float = 1.0
    gold_share: float = 0.0


def parse_regime(text: str) -> Regime:
    """Read `check`, `check:0.9` (right 9 times in 10 about right and about wrong answers alike),
    `check:0.95:0.8` (passes 95 % of the right, fails 80 % of the wrong ones), `learn` (gold on every bought
    answer), `gold:10%` or `agreement`.

    Raises:
        UsageError: It is none of them.
    """
    kind, *given = text.strip().split(":")
    try:
        shares = [_share(part) for part in given]
    except ValueError:
        raise _unknown(text) from None
    if kind == "check" and len(shares) <= 2:
        first, last = (shares[0], shares[-1]) if shares else (1.0, 1.0)
        return Regime(text, Labels.CHECK, pass_right=first, fail_wrong=last)
    if kind == "learn" and not shares:
        return Regime(text, Labels.GOLD, gold_share=1.0)
    if kind == "gold" and len(shares) == 1 and shares[0] > 0:
        return Regime(text, Labels.GOLD, gold_share=shares[0])
    if kind == "agreement" and not shares:
        return Regime(text, Labels.AGREEMENT)
    raise _unknown(text)


@dataclass(frozen=True, slots=True)
class Word:
    """What would be said about every answer, were it bought.

    Attributes:
        verdict: [N, T] the check's word, `UNKNOWN` without a check.
        gold: [N, T] whether it is right, `UNKNOWN` where the right answer is not known.
        has_gold: [N] the right answer is known.
    """

    verdict: Marks
    gold: Marks
    has_gold: Bools


def draw_word(regime: Regime, score: Floats, rng: np.random.Generator) -> Word:
    """Draw which rows have gold and where the check errs, once for a job's every answer.

    Args:
        regime: The label regime.
        score: [N, T] how right each answer is.
        rng: Source of chance.
    """
    right = score >= RIGHT
    n_rows = len(score)
    unknown: Marks = np.full(score.shape, UNKNOWN, np.int8)
    has_gold = np.zeros(n_rows, np.bool_)
    if regime.labels == Labels.CHECK:
        draw = rng.random(score.shape)
        passes = np.where(right, draw < regime.pass_right, draw >= regime.fail_wrong)
        return Word(passes.astype(np.int8), unknown, has_gold)
    if regime.gold_share > 0:
        n_gold = max(1, round(n_rows * regime.gold_share))
        has_gold[rng.permutation(n_rows)[:n_gold]] = True
    gold: Marks = np.where(has_gold[:, None], right, UNKNOWN).astype(np.int8)
    return Word(unknown, gold, has_gold)


def _share(text: str) -> float:
    share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


def _unknown(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is no label regime.",
        hint="Give check, check:0.9, check:0.95:0.8, learn, gold:10% or agreement.",
    )
