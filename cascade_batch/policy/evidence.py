"""What beliefs are made from: the view's signals, brought to scales that mean the same for every tier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.view import UNKNOWN, Bools, Floats, JobView, Keys, Marks

_SURE_LOGPROB = -1e-9
_FEW_RANKS = 5
"""Below so many answers, or where all are alike, a signal of a tier is taken for absent."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows as the model of beliefs sees them; N rows, T tiers, F features.

    Attributes:
        held: [N, T] an answer is held.
        rank: [N, T] share of the tier's answers that this one surpasses in confidence; NaN where none was
            given.
        key: [N, T] normalised value; 0 where there is none.
        again: [N, T] a second sample has the same value.
        verdict: [N, T] the check's word.
        gold: [N, T] the truth where known.
        features: [N, F] what is known for free, centred near 0.
        gives: [T] the tier gives confidences, and not always the same one.
        check_is_gold: The check's word is the truth.
    """

    held: Bools
    rank: Floats
    key: Keys
    again: Marks
    verdict: Marks
    gold: Marks
    features: Floats
    gives: Bools
    check_is_gold: bool = False

    def take(self, rows: NDArray[np.intp]) -> Evidence:
        """Some of the rows."""
        return Evidence(
            self.held[rows],
            self.rank[rows],
            self.key[rows],
            self.again[rows],
            self.verdict[rows],
            self.gold[rows],
            self.features[rows],
            self.gives,
            self.check_is_gold,
        )


def evidence_of(view: JobView) -> Evidence:
    """Ranks of confidence among each tier's answers, and the free features of every row.

    Ranks and not values, because some models are sure of everything and others of nothing. (Ranks of
    log10(-logprob), but it orders like the log-probability.) An answer that does not fit the declared output
    or was cut off ranks last, and counts as failed. The length of an answer is not used: it tells long
    questions from short ones more than right answers from wrong, and plans that went by it were worse on both
    recorded sets that have nothing else.
    """
    confidence = np.minimum(view.confidence.astype(np.float64), _SURE_LOGPROB)
    unfit = view.held & (~view.fits | view.truncated)
    rank = _ranks(confidence, view.held)
    gives = np.zeros(rank.shape[1], np.bool_)
    for tier in range(rank.shape[1]):
        given = rank[~np.isnan(rank[:, tier]), tier]
        gives[tier] = given.size >= _FEW_RANKS and np.ptp(given) > 0.0
    rank[unfit & ~np.isnan(rank)] = 0.0
    rank[:, ~gives] = np.nan
    return Evidence(
        view.held,
        rank,
        np.where(view.held & ~unfit, view.value_key, 0),
        np.where(view.held & ~unfit, view.resampled, np.int8(UNKNOWN)).astype(np.int8),
        np.where(unfit, np.int8(0), view.verdict).astype(np.int8),
        np.where(unfit & (view.gold >= 0), np.int8(0), view.gold).astype(np.int8),
        free_features(view),
        gives,
        view.check_is_gold,
    )


def without_answers(evidence: Evidence) -> Evidence:
    """The same rows before anything was bought."""
    return Evidence(
        np.zeros_like(evidence.held),
        np.full_like(evidence.rank, np.nan),
        np.zeros_like(evidence.key),
        np.full_like(evidence.again, UNKNOWN),
        np.full_like(evidence.verdict, UNKNOWN),
        np.full_like(evidence.gold, UNKNOWN),
        evidence.features,
        evidence.gives,
        evidence.check_is_gold,
    )


def free_features(view: JobView) -> Floats:
    """[N, F] the prompt's size (logarithm, standardised) and the strata, a column each."""
    size = np.log(np.maximum(view.input_size.astype(np.float64), 1.0))
    spread = size.std()
    columns = [(size - size.mean()) / spread if spread > 0 else np.zeros_like(size)]
    n_strata = int(view.stratum.max(initial=0)) + 1
    if n_strata > 1:
        columns += [(view.stratum == stratum).astype(np.float64) for stratum in _strata(view)]
    return np.column_stack(columns)


_MOST_STRATA = 50


def _strata(view: JobView) -> NDArray[np.intp]:
    """The largest strata; the others share what is common to all."""
    counts = np.bincount(view.stratum)
    return np.sort(np.argsort(-counts, kind="stable")[:_MOST_STRATA])


def _ranks(values: Floats, held: Bools) -> Floats:
    """[N, T] mid-rank in (0, 1) among the tier's held values; NaN where there is none."""
    ranks = np.full(values.shape, np.nan)
    for tier in range(values.shape[1]):
        there = held[:, tier] & ~np.isnan(values[:, tier])
        given = values[there, tier]
        _, place, count = np.unique(given, return_inverse=True, return_counts=True)
        up_to = np.cumsum(count)
        middle = (up_to - count + up_to) / 2
        ranks[there, tier] = ((middle + 0.25) / (given.size + 0.5))[place]
    return ranks
