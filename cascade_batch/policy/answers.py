"""Which of a row's answers counts, and what is known of its quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.evidence import evidence_of
from cascade_batch.policy.fitting import fit
from cascade_batch.policy.model import beliefs
from cascade_batch.policy.recalibration import MIN_LABELS, recalibrated, residue
from cascade_batch.policy.view import Bools, Floats, JobView, Labels

_SEED = 7
"""Draws which half of the labelled rows tells of the other; the same every time."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The answers that count; N rows.

    Attributes:
        tier_no: [N] whose answer counts; -1 where none is held.
        quality: [N] calibrated probability that it is right; NaN where nobody measured it.
    """

    tier_no: NDArray[np.int16]
    quality: Floats


def choose_answers(view: JobView) -> Choice:
    """The best of all that each row holds, by its probability of being right: which counts the tier's record,
    its confidence, what other tiers said and what the check says; the dearer of equals.

    Where nobody labels anything, the dearest answer that fits: the probabilities order rows well enough to
    spend money by, and are too uncertain to prefer a cheap tier's answer to a dear one's.
    """
    evidence = evidence_of(view)
    n_tiers = view.shape[1]
    if view.labels == Labels.AGREEMENT:
        belief = np.full(view.held.shape, np.nan)
        rank = np.where(
            view.fits & ~view.truncated, np.arange(n_tiers) + n_tiers, np.arange(n_tiers)
        )
        score = rank.astype(np.float64)
    else:
        belief = score = beliefs(fit(evidence, view.labels), evidence)
    score = np.where(view.held, score, -np.inf)
    best = n_tiers - 1 - score[:, ::-1].argmax(axis=1)
    answered = view.held.any(axis=1)
    rows = np.arange(len(best))
    quality = np.where(_is_measured(view)[rows, best] & answered, belief[rows, best], np.nan)
    quality = recalibrated(quality, residue(view, evidence, np.random.default_rng(_SEED)).believed)
    return Choice(np.where(answered, best, -1).astype(np.int16), quality)


def _is_measured(view: JobView) -> Bools:
    """[N, T] a check has spoken, or answers were held against enough gold."""
    # A judge's word alone measures nothing: it is gold that tells how often it errs.
    by_check = (view.labels == Labels.CHECK) & (view.verdict >= 0)
    has_enough = int((view.held & (view.gold >= 0)).any(axis=1).sum()) >= MIN_LABELS
    return np.asarray(by_check | has_enough)
