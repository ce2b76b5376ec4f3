"""How likely each held answer is right.

What is known and what is assumed, plainly:

- **A check that decided is believed.** Quality is then 0.99 or 0.01, never 1 or 0: checks err as well.
- **An answer that does not fit the declared output** is worth less than any that does.
- **Calibrated.** Where a hundred checked answers of a tier say how its log-probabilities go with being
  right, a logistic model of the rank of the log-probability (piecewise linear, a flag where it is missing)
  is fitted to them. The rank and not the value, because some models are sure of everything and others of
  nothing. The model is used only if, on answers that it was not fitted to, it predicts better than the
  plain share of right ones does; otherwise that share is used.
- **Prior.** Everything else is an assumption: the cheapest tier answers 55 % of the rows rightly, each dearer
  tier mends half of what the tiers below it got wrong and breaks a tenth of what they got right, and a
  higher probability given by the model means a better answer. It orders rows well enough to spend money on
  and is no measurement: `Estimate.basis` says per tier which of the two its numbers are.

Rows with several answers need care, as the checked answers of a dearer tier are those whose cheaper answer
*failed*: rows whose cheaper answer passed were never escalated. Their share of right answers is therefore
not the tier's accuracy but its rescue rate, the probability of being right where the cheaper answer is
wrong. It is used as that: with `p` the quality of the best cheaper answer and `g` the (calibrated or prior)
rescue probability, a dearer answer is right with `(1 - p) g + p (1 - (1 - g) / 5)`. That a tier goes wrong
five times less often where a cheaper one was right is an assumption as well.

Agreement between answers, judges and repeated samples are not used yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cascade_batch.quality.logistic import ConfidenceModel, fit_confidence

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Basis = Literal["calibrated", "prior"]

UNFIT_QUALITY = 0.001
WRONG_QUALITY = 0.01
RIGHT_QUALITY = 1.0 - WRONG_QUALITY
_LOWEST, _HIGHEST = 0.02, 0.98
"""Bounds of what is estimated: between a failed and a passed check."""

MIN_LABELS = 100
PRIOR_QUALITY = 0.55
PRIOR_RESCUE = 0.5
SPILL = 0.2
"""How much less often an answer is wrong where a cheaper one was right than where it was wrong."""
_PRIOR_LABELS = 20
"""What the prior shares weigh, in checked answers."""
_PRIOR_SLOPE = 0.5
"""How far the prior follows the probability that a model gives to its own answer."""
_TRUNCATED_FACTOR = 0.5
"""What an answer that was cut off is worth of one that was not, unless a check says otherwise."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a job's answers; each array is [N rows, T tiers], tiers cheap to dear.

    Attributes:
        held: The tier has answered the row.
        passed: What the check said: 1, 0, or NaN where it did not decide.
        fits: The answer's text fits the declared output (`has_value`).
        logprob: `confidence_of` the answer's signals; NaN where the server gave none.
        truncated: The answer was cut off and its value is incomplete: free text that finished with
            `length`. A choice or a whole JSON value read from such a text is not truncated.
    """

    held: Bools
    passed: NDArray[Any]
    fits: Bools
    logprob: NDArray[Any]
    truncated: Bools


@dataclass(frozen=True, slots=True)
class Estimate:
    """The quality of what is held, and what to expect of what is not.

    Attributes:
        quality: [N, T] P(right) of each held answer, NaN where none is held.
        basis: [T] whether a tier's unchecked answers are graded by a model fitted to checked answers of
            this job, or by assumption. Tiers without any answer are `prior`.
        tier_quality: [T] expected quality of a tier's answer to a row of which nothing is known.
        rescue: [T] P(right) of a tier's answer where the best cheaper answer is wrong.
    """

    quality: Floats
    basis: tuple[Basis, ...]
    tier_quality: Floats
    rescue: Floats


def estimate_quality(evidence: Evidence) -> Estimate:
    """Grade every held answer; see the module's description for the rules."""
    n_rows, n_tiers = evidence.held.shape
    quality = np.full((n_rows, n_tiers), np.nan)
    tier_quality = np.empty(n_tiers)
    rescue = np.empty(n_tiers)
    basis: list[Basis] = []
    cheaper = np.full(n_rows, np.nan)
    for tier in range(n_tiers):
        column = _Column.of(evidence, tier)
        below = None if tier == 0 else float(tier_quality[tier - 1])
        grading = _grade_tier(column, cheaper, below)
        quality[:, tier] = grading.quality
        tier_quality[tier] = grading.tier_quality
        rescue[tier] = grading.rescue
        basis.append(grading.basis)
        cheaper = np.fmax(cheaper, grading.quality)
    return Estimate(quality, tuple(basis), tier_quality, rescue)


def expected_quality(estimate: Estimate) -> Floats:
    """[N, T] expected quality of a tier's answer, were the row asked now, given what is held of it."""
    best = np.fmax.reduce(estimate.quality, axis=1)[:, None]
    after_answer = _after_answer(best, estimate.rescue[None, :])
    return np.where(np.isnan(best), estimate.tier_quality[None, :], after_answer)


_Share = TypeVar("_Share", float, Floats)


def _after_answer(cheaper: _Share, rescue: _Share) -> _Share:
    """P(right) of an answer given the quality of the best cheaper one and the rescue probability."""
    return (1.0 - cheaper) * rescue + cheaper * (1.0 - SPILL * (1.0 - rescue))


@dataclass(frozen=True, slots=True)
class _Column:
    """One tier's evidence, [N] each."""

    held: Bools
    fits: Bools
    decided: Bools
    passed: Bools
    logprob: Floats
    truncated: Bools

    @classmethod
    def of(cls, evidence: Evidence, tier: int) -> _Column:
        held = evidence.held[:, tier]
        fits = held & evidence.fits[:, tier]
        passed = evidence.passed[:, tier]
        return cls(
            held=held,
            fits=fits,
            decided=fits & ~np.isnan(passed),
            passed=passed > 0.5,
            logprob=np.asarray(evidence.logprob[:, tier], dtype=np.float64),
            truncated=evidence.truncated[:, tier],
        )


@dataclass(frozen=True, slots=True)
class _Grading:
    quality: Floats
    basis: Basis
    tier_quality: float
    rescue: float


def _grade_tier(column: _Column, cheaper: Floats, below: float | None) -> _Grading:
    first = column.held & np.isnan(cheaper)
    """Rows that this tier answered without a cheaper answer being there."""
    second = column.held & ~first
    after_wrong = second & (cheaper <= WRONG_QUALITY)
    rescue = _share(column, after_wrong, PRIOR_RESCUE)
    assumed = PRIOR_QUALITY if below is None else _after_answer(below, rescue)
    tier_quality = _share(column, first, assumed)

    open_ = column.fits & ~column.decided
    quality = np.full(column.held.size, np.nan)
    calibrated = column.decided.any()
    for rows, labelled, level in ((first, first, tier_quality), (second, after_wrong, rescue)):
        wanted = open_ & rows
        if not wanted.any():
            continue
        model = _fit(column, rows & column.fits, labelled & column.decided & ~column.truncated)
        if model is None:
            calibrated = np.False_
            quality[wanted] = _prior(column.logprob, wanted, level)
        else:
            quality[wanted] = model.predict(column.logprob[wanted])
    mixed = open_ & second
    quality[mixed] = _after_answer(cheaper[mixed], quality[mixed])
    quality[open_ & column.truncated] *= _TRUNCATED_FACTOR
    np.clip(quality, _LOWEST, _HIGHEST, out=quality)
    quality[column.decided] = np.where(column.passed[column.decided], RIGHT_QUALITY, WRONG_QUALITY)
    quality[column.held & ~column.fits] = UNFIT_QUALITY
    return _Grading(quality, "calibrated" if calibrated else "prior", tier_quality, rescue)


def _share(column: _Column, rows: Bools, assumed: float) -> float:
    """Share of right answers among the checked ones of `rows`, shrunk towards what is assumed."""
    checked = rows & (column.decided | (column.held & ~column.fits))
    n_right = int(np.count_nonzero(checked & column.decided & column.passed))
    n_checked = int(np.count_nonzero(checked))
    return (n_right + _PRIOR_LABELS * assumed) / (n_checked + _PRIOR_LABELS)


def _fit(column: _Column, population: Bools, labelled: Bools) -> ConfidenceModel | None:
    if np.count_nonzero(labelled) < MIN_LABELS:
        return None
    return fit_confidence(
        column.logprob[population], column.logprob[labelled], column.passed[labelled]
    )


def _prior(logprob: Floats, wanted: Bools, level: float) -> Floats:
    """The level, moved by how much surer than usual of this tier an answer is.

    Relative to the tier's mean, as the probabilities of a long text's tokens are all near 1 and those of a
    small model's labels may be all too high: the order means something, the level does not.
    """
    probability = np.exp(np.minimum(logprob[wanted], 0.0))
    known = ~np.isnan(probability)
    if not known.any():
        return np.full(probability.size, level)
    spread = np.where(known, probability - probability[known].mean(), 0.0)
    return level + _PRIOR_SLOPE * spread
