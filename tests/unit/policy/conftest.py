"""Jobs that are made up, so that what is true of them is known; and a ledger that they are run against.

* `make_job`: rows with an ease, tiers of known ability, confidences that tell as much as they are told to.
* `view_of`: a job as the planner would see it, holding these answers.
* `run_job`: plan, admit at worst case, answer and refuse, until the planner is done; watches every wave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_batch.domain.job import PolicyName
from cascade_batch.policy import Action, JobView, Labels, Wave, plan_wave
from cascade_batch.policy.view import UNKNOWN
from cascade_batch.replay.labels import RIGHT, Word, draw_word, parse_regime
from cascade_batch.replay.recorded import RecordedSet

NEVER = np.iinfo(np.int64).max
JUDGE_NANOUSD = 60


def make_job(
    n_rows: int,
    abilities: Sequence[float] = (0.3, 1.0, 1.5),
    prices: Sequence[float] | None = None,
    *,
    seed: int = 0,
    tells: float = 0.0,
    slope: float = 1.3,
    missing: float = 0.0,
    same_wrong: float = 0.35,
    ease_of_stratum: Sequence[float] = (0.0,),
    expense_of_stratum: Sequence[float] = (),
    talk: float = 0.0,
    worst_ratio: float = 4.0,
) -> RecordedSet:
    """Outcomes of rows on tiers.

    Args:
        abilities: [T] log-odds of each tier on a row of average ease.
        prices: [T] mean cost of a call in nano-dollars; if None, each tier costs four times the one before.
        tells: How much a confidence gives away: 0 for noise, 1 for about what models give away.
        slope: How strongly tiers follow the ease of a row; large: right on the same rows.
        missing: Share of the answers without a confidence.
        same_wrong: Probability that two wrong answers are the same.
        ease_of_stratum: Added to the ease; as many strata as there are figures.
        expense_of_stratum: Factors of costs, a stratum each.
        talk: Standard deviation of the logarithm of a row's own factor of costs.
        worst_ratio: Worst case of a call, as a multiple of its tier's dearest call.
    """
    rng = np.random.default_rng((seed, 77))
    prices = [100 * 4**tier for tier in range(len(abilities))] if prices is None else prices
    shape = (n_rows, len(abilities))
    stratum = rng.integers(0, len(ease_of_stratum), n_rows).astype(np.int32)
    ease = rng.normal(size=n_rows) + np.asarray(ease_of_stratum)[stratum]
    odds = np.asarray(abilities) + slope * ease[:, None]
    right = rng.random(shape) < 1 / (1 + np.exp(-odds))
    sure = tells * (right * (0.85 + 0.4 * ease[:, None])) + 0.8 * rng.normal(size=shape)
    confidence = np.where(rng.random(shape) < missing, np.nan, -np.exp(-1.5 * sure))
    joins = rng.random(shape) < np.sqrt(np.where(right, 0.95, same_wrong))
    alone = np.broadcast_to(3 + np.arange(shape[1]), shape)
    factor = np.exp(rng.normal(0, talk, n_rows)) if talk else np.ones(n_rows)
    if len(expense_of_stratum):
        factor = factor * np.asarray(expense_of_stratum)[stratum]
    spread = rng.uniform(0.7, 1.3, shape)
    cost = np.rint(np.asarray(prices) * factor[:, None] * spread).astype(np.int64)
    worst = np.ceil(cost.max(axis=0, initial=0) * worst_ratio).astype(np.int64)
    return RecordedSet(
        name="made",
        tiers=tuple(f"tier-{no}" for no in range(shape[1])),
        score=right.astype(np.float64),
        cost_nanousd=cost,
        worst_nanousd=np.broadcast_to(worst, shape).copy(),
        confidence=confidence.astype(np.float32),
        length=np.full(shape, 10, np.float32),
        input_size=rng.integers(50, 500, n_rows).astype(np.float32),
        value_key=np.where(joins, np.where(right, 2, 1), alone).astype(np.int64),
        fits=np.ones(shape, np.bool_),
        stratum=stratum,
        stratum_names=tuple(f"stratum-{no}" for no in range(len(ease_of_stratum))),
    )


def view_of(
    job: RecordedSet,
    held: ArrayLike,
    labels: Labels = Labels.GOLD,
    *,
    gold_share: float = 1.0,
    free_nanousd: int | None = None,
    **given: Any,
) -> JobView:
    """The job holding these answers: of `Labels.CHECK` with a perfect check, of `Labels.JUDGE` with a judge
    who has been asked about all of them and is never wrong, of `Labels.GOLD` with gold on the first rows
    (all, if nothing is said). Free money, if nothing is said, is half of what the dearest tier would cost."""
    has = np.broadcast_to(np.asarray(held, np.bool_), job.score.shape).copy()
    right = (job.score >= RIGHT).astype(np.int8)
    with_gold = (np.arange(len(job)) < gold_share * len(job)) & (labels == Labels.GOLD)
    by_word = has & (labels in (Labels.CHECK, Labels.JUDGE))
    by_gold = has & with_gold[:, None]
    half = int(job.cost_nanousd[:, -1].sum()) // 2
    view = JobView(
        labels=labels,
        held=has,
        barred=has.copy(),
        in_flight=np.zeros_like(has),
        verdict=np.where(by_word, right, np.int8(UNKNOWN)).astype(np.int8),
        gold=np.where(by_gold, right, np.int8(UNKNOWN)).astype(np.int8),
        has_gold=with_gold,
        fits=has & job.fits,
        truncated=np.zeros_like(has),
        confidence=np.where(has, job.confidence, np.float32(np.nan)),
        length=np.where(has, job.length, np.float32(np.nan)),
        value_key=np.where(has, job.value_key, 0),
        resampled=np.full(has.shape, np.int8(UNKNOWN)),
        may_resample=np.zeros_like(has),
        input_size=job.input_size,
        stratum=job.stratum,
        unjudged=np.zeros_like(has),
        judge_nanousd=np.full(len(job), JUDGE_NANOUSD * (labels == Labels.JUDGE), np.int64),
        worst_nanousd=job.worst_nanousd,
        cost_nanousd=np.where(has, job.cost_nanousd, 0),
        free_nanousd=half if free_nanousd is None else free_nanousd,
        fence_nanousd=np.where(has.any(axis=1), 0, job.worst_nanousd.min(axis=1)),
    )
    return replace(view, **given)


@dataclass
class JobEnd:
    """How a job ended.

    Attributes:
        view: The job as it stood in the end.
        waves: Every view that was planned from, and the wave that came of it.
        unanswered: Rows without an answer that not every tier has refused.
        calls: Row and tier of every answer, in the order in which they came.
    """

    view: JobView
    waves: list[tuple[JobView, Wave]]
    spent_nanousd: int
    unanswered: int
    calls: list[tuple[int, int]]


def least_worst_budget(job: RecordedSet) -> int:
    """What `submit` asks for: every row at worst case on its cheapest tier."""
    return int(job.worst_nanousd.min(axis=1).sum())


def run_job(
    job: RecordedSet,
    budget_nanousd: int,
    regime: str = "learn",
    *,
    policy: PolicyName = "auto",
    seed: int = 0,
    refuses: NDArray[np.bool_] | None = None,
    says_again: NDArray[np.bool_] | None = None,
    patience: float = 1.0,
    most_waves: int = 200,
) -> JobEnd:
    """Run a job as the engine does: worst cases reserved call by call, in the wave's order.

    Args:
        regime: As `replay` knows them; or `judge`, who has to be paid, and is right 9 times in 10.
        refuses: [N, T] the tier refuses the row, for nothing, and for good.
        says_again: [N, T] what a second sample of the cheapest tier's answer would say; none can be had, if
            None.
        patience: Share of what is on its way that is answered before the planner is asked again; below 1, it
            plans while calls are in flight.
        most_waves: A job that takes more never ends.
    """
    books = _Books(job, budget_nanousd, regime, refuses, seed)
    books.says_again = says_again
    waves: list[tuple[JobView, Wave]] = []
    for wave_no in range(1, most_waves + 1):
        view = books.view()
        wave = plan_wave(view, policy, seed=seed, wave=wave_no)
        assert_possible(view, wave)
        waves.append((view, wave))
        if not len(wave) and not books.queue:
            return books.end(view, waves)
        books.release(wave)
        books.work(patience if len(wave) else 1.0)
    raise AssertionError(f"the job does not end: {len(waves[-1][1])} purchases in the last wave")


def assert_possible(view: JobView, wave: Wave) -> None:
    """Whoever gets this wave can act on every line of it."""
    n_rows, n_tiers = view.shape
    rows, tiers = wave.row_no.astype(np.intp), wave.tier_no.astype(np.intp)
    assert np.unique(rows).size == rows.size, "a row occurs twice"
    assert ((rows >= 0) & (rows < n_rows)).all()
    assert ((tiers >= 0) & (tiers < n_tiers)).all()
    asks = wave.action == Action.ANSWER
    assert not view.held[rows, tiers][asks].any(), "asks for what is held"
    assert not view.barred[rows, tiers][asks].any(), "asks for what is barred"
    assert view.unjudged[rows, tiers][wave.action == Action.JUDGE].all(), "judges twice, or nothing"
    assert view.may_resample[rows, tiers][wave.action == Action.SAMPLE].all(), "can't be sampled"
    assert not view.in_flight[rows].any(), "asks about a row that is on its way"
    assert (wave.expected_nanousd >= 0).all()
    assert (wave.expected_nanousd[asks] <= view.worst_nanousd[rows, tiers][asks]).all()
    assert np.isfinite(wave.gain).all()
    assert ((wave.draw_probability > 0) & (wave.draw_probability <= 1)).all()
    assert np.isfinite(wave.price_of_money)
    assert wave.price_of_money >= 0


@dataclass(frozen=True)
class _Call:
    row: int
    tier: int
    action: int
    expected_nanousd: int


class _Books:
    """A job's answers and money, kept as the engine keeps them."""

    def __init__(
        self,
        job: RecordedSet,
        budget_nanousd: int,
        regime: str,
        refuses: NDArray[np.bool_] | None,
        seed: int,
    ) -> None:
        self.job = job
        self.has_judge = regime == "judge"
        parsed = parse_regime("check:0.9" if self.has_judge else regime)
        self.labels = Labels.JUDGE if self.has_judge else parsed.labels
        self.word: Word = draw_word(parsed, job.score, np.random.default_rng((seed, 1)))
        self.refuses = np.zeros(job.score.shape, np.bool_) if refuses is None else refuses
        self.held = np.zeros(job.score.shape, np.bool_)
        self.refused = np.zeros(job.score.shape, np.bool_)
        self.judged = np.full(job.score.shape, not self.has_judge, np.bool_)
        self.says_again: NDArray[np.bool_] | None = None
        self.resampled = np.full(job.score.shape, UNKNOWN, np.int8)
        self.samples_nanousd = 0
        self.budget = budget_nanousd
        self.spent = 0
        self.queue: list[_Call] = []
        self.calls: list[tuple[int, int]] = []
        self.moved = True

    def part(self) -> NDArray[np.int64]:
        """[N] the fence: a row's lowest worst case among tiers that may be asked."""
        open_ = ~(self.held | self.refused)
        part = np.where(open_, self.job.worst_nanousd, NEVER).min(axis=1)
        part[self.held.any(axis=1) | ~open_.any(axis=1)] = 0
        return part

    def view(self) -> JobView:
        part = self.part()
        free = self.budget - self.spent - sum(part.tolist())
        in_flight = np.zeros_like(self.held)
        for call in self.queue:
            in_flight[call.row, call.tier] = True
            free -= max(call.expected_nanousd - int(part[call.row]), 0)
        most = self.budget - self.spent - sum(part.tolist())
        if not self.queue and not self.moved:
            # What led nowhere once is not to be had.
            most = free = min(free, 0)
        out_of_reach = self.job.worst_nanousd > max(most, 0) + part[:, None]
        barred = self.held | self.refused | (out_of_reach & ~in_flight)
        job, held, word = self.job, self.held.copy(), self.word
        return view_of(
            job,
            held,
            self.labels,
            barred=barred,
            in_flight=in_flight,
            verdict=np.where(held & self.judged, word.verdict, np.int8(UNKNOWN)),
            gold=np.where(held, word.gold, np.int8(UNKNOWN)),
            has_gold=word.has_gold,
            unjudged=held & ~self.judged,
            resampled=self.resampled.copy(),
            may_resample=self.may_resample(),
            free_nanousd=free,
            fence_nanousd=part,
        )

    def may_resample(self) -> NDArray[np.bool_]:
        may = np.zeros_like(self.held)
        if self.says_again is not None:
            may[:, 0] = self.held[:, 0] & (self.resampled[:, 0] == UNKNOWN)
        return may

    def end(self, view: JobView, waves: list[tuple[JobView, Wave]]) -> JobEnd:
        answers = int(self.job.cost_nanousd[self.held].sum())
        verdicts = int((self.judged & self.held).sum()) * JUDGE_NANOUSD * self.has_judge
        assert self.spent == answers + verdicts + self.samples_nanousd <= self.budget
        unanswered = ~self.held.any(axis=1) & ~self.refused.all(axis=1)
        return JobEnd(view, waves, self.spent, int(unanswered.sum()), self.calls)

    def release(self, wave: Wave) -> None:
        columns = (wave.row_no, wave.tier_no, wave.action, wave.expected_nanousd)
        self.queue += [_Call(*line) for line in zip(*(c.tolist() for c in columns), strict=True)]
        self.moved = False

    def work(self, share: float) -> None:
        """Make the first calls of the queue; those that can't be paid are handed back."""
        n_calls = max(int(np.ceil(share * len(self.queue))), 1)
        now, self.queue = self.queue[:n_calls], self.queue[n_calls:]
        part = self.part()
        free = self.budget - self.spent - sum(part.tolist())
        for call in now:
            at = (call.row, call.tier)
            is_judge = call.action == Action.JUDGE
            worst = 4 * JUDGE_NANOUSD if is_judge else int(self.job.worst_nanousd[at])
            lent = int(part[call.row])
            if worst - lent > free:
                continue
            self.moved = True
            if call.action == Action.SAMPLE:
                assert self.says_again is not None
                self.resampled[at] = int(self.says_again[at])
                cost = int(self.job.cost_nanousd[at])
                self.samples_nanousd += cost
            elif not is_judge and self.refuses[at]:
                self.refused[at] = True
                cost = 0
            else:
                cost = JUDGE_NANOUSD if is_judge else int(self.job.cost_nanousd[at])
                (self.judged if is_judge else self.held)[at] = True
                self.calls += [] if is_judge else [at]
            self.spent += cost
            part[call.row] = self.part_of(call.row)
            free += lent - cost - int(part[call.row])

    def part_of(self, row: int) -> int:
        """The same for one row."""
        open_ = ~(self.held[row] | self.refused[row])
        if self.held[row].any() or not open_.any():
            return 0
        return int(self.job.worst_nanousd[row][open_].min())
