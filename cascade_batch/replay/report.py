"""What the jobs of a replay add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_batch.policy.view import Amounts, Floats
from cascade_batch.replay.recorded import RecordedSet
from cascade_batch.replay.rivals import rival_curves
from cascade_batch.replay.score import (
    RowMargins,
    hull_mix,
    make_oracle,
    nauc,
    nauc_interval,
)
from cascade_batch.replay.simulate import JobOutcome


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """One budget; every figure is the mean over seeds.

    Attributes:
        budget_nanousd: The budget.
        spent_nanousd: What was spent of it.
        quality: Mean score of the final answers.
        hull: What the best random mix of single tiers reaches.
        oracle: What a clairvoyant reaches.
        rivals: What each rival reaches.
    """

    budget_nanousd: int
    spent_nanousd: int
    quality: float
    hull: float
    oracle: float
    rivals: dict[str, float]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        name: The set.
        n_rows: Rows of each job.
        tiers: Names, cheap to dear.
        nauc: Mean over seeds; NaN where a clairvoyant does no better than the hull.
        nauc_low: Lower end of the 95 % interval, see `nauc_interval`.
        nauc_high: Upper end.
        min_margin_over_hull: Least over the budgets of the mean over seeds of quality less hull.
        rival_naucs: nAUC of each rival, mean over seeds.
        points: The budgets, lowest first.
        violations: Jobs that exceeded their budget.
        unanswered: Rows without an answer, over all jobs.
        unspent_share: Mean over jobs of the share of the budget that was left.
    """

    name: str
    n_rows: int
    tiers: tuple[str, ...]
    nauc: float
    nauc_low: float
    nauc_high: float
    min_margin_over_hull: float
    rival_naucs: dict[str, float]
    points: tuple[BudgetPoint, ...]
    violations: int
    unanswered: int
    unspent_share: float


@dataclass(frozen=True, slots=True)
class SeedScore:
    """One seed's jobs, scored; B budgets.

    Attributes:
        outcomes: [B] how the jobs ended.
        quality: [B] mean score of the final answers.
        hull: [B] of the same rows.
        oracle: [B] of the same rows.
        rivals: [B] each, of the same rows.
        margins: For the interval.
    """

    outcomes: tuple[JobOutcome, ...]
    quality: Floats
    hull: Floats
    oracle: Floats
    rivals: dict[str, Floats]
    margins: RowMargins


def score_seed(
    rows: RecordedSet,
    row_no: NDArray[np.intp],
    budgets: Amounts,
    outcomes: Sequence[JobOutcome],
    seed: int,
) -> SeedScore:
    """Score one seed's jobs.

    Args:
        rows: The rows of the jobs.
        row_no: Their places in the whole set.
        budgets: [B] in nano-dollars.
        outcomes: [B] how the jobs ended.
        seed: The seed.
    """
    mix = hull_mix(rows, budgets)
    oracle = make_oracle(rows)
    tier_no = np.stack([outcome.tier_no for outcome in outcomes])
    # A last column for rows without an answer, which -1 points to.
    padded = np.column_stack([rows.score, np.zeros(len(rows))])
    got = padded[np.arange(len(rows)), tier_no].sum(axis=0)
    expected = rows.score @ mix.sum(axis=0)
    return SeedScore(
        outcomes=tuple(outcomes),
        quality=np.array([outcome.quality for outcome in outcomes]),
        hull=mix @ rows.score.mean(axis=0),
        oracle=oracle.quality(budgets),
        rivals=rival_curves(rows, budgets, seed),
        margins=RowMargins(row_no, got - expected, oracle.row_scores(budgets) - expected),
    )


def make_report(set_: RecordedSet, scores: Sequence[SeedScore]) -> ReplayReport:
    """Add up what the seeds of a replay of this set found."""
    jobs = [outcome for score in scores for outcome in score.outcomes]
    low, high = nauc_interval([score.margins for score in scores], len(set_))
    return ReplayReport(
        name=set_.name,
        n_rows=len(scores[0].margins.row_no),
        tiers=set_.tiers,
        nauc=_mean([nauc(s.quality, s.hull, s.oracle) for s in scores]),
        nauc_low=low,
        nauc_high=high,
        min_margin_over_hull=float(np.mean([s.quality - s.hull for s in scores], axis=0).min()),
        rival_naucs={
            name: _mean([nauc(s.rivals[name], s.hull, s.oracle) for s in scores])
            for name in scores[0].rivals
        },
        points=tuple(_point(scores, place) for place in range(len(scores[0].outcomes))),
        violations=sum(job.overspent for job in jobs),
        unanswered=sum(job.unanswered for job in jobs),
        unspent_share=_mean([1 - job.spent_nanousd / max(job.budget_nanousd, 1) for job in jobs]),
    )


def _point(scores: Sequence[SeedScore], place: int) -> BudgetPoint:
    jobs = [score.outcomes[place] for score in scores]
    return BudgetPoint(
        budget_nanousd=round(_mean([job.budget_nanousd for job in jobs])),
        spent_nanousd=round(_mean([job.spent_nanousd for job in jobs])),
        quality=_mean([score.quality[place] for score in scores]),
        hull=_mean([score.hull[place] for score in scores]),
        oracle=_mean([score.oracle[place] for score in scores]),
        rivals={
            name: _mean([score.rivals[name][place] for score in scores])
            for name in scores[0].rivals
        },
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
