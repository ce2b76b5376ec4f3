"""A job as the planner is shown it: evidence, what is on its way, and the money that this leaves.

**The ring fence, row by row.** A row without an answer has a part in the fence: its lowest worst case among
the tiers that may still be asked, so that whatever else happens it can be answered; nothing, if no tier may
be. The part is fixed when the row is released (`chunk.fence_parts`), for as long as its chunk is open: its
call lends itself the part (a dearer tier's call takes the rest from what is free) and gives it back if it
ends without an answer. So at all times

    ring fence + what calls have lent themselves = sum of the parts of all rows without an answer.

Rows that are in no open chunk are nobody's but the planner's, which may thus give them new parts: a refusal
or a stopped tier makes a row's cheapest way dearer, or closes the last one. It finds by how much the equation
is off in its snapshot, and moves the fence by that difference when it acts: turns that workers took in
between have moved both sides alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_batch.domain.job import JobSpec
from cascade_batch.engine.evidence import JobEvidence
from cascade_batch.engine.open_work import ChunkState
from cascade_batch.ledger import Balance
from cascade_batch.policy import Choice
from cascade_batch.policy.expense import FIRST_RATIO
from cascade_batch.policy.view import UNKNOWN, Action, Bools, JobView, Labels, Marks, Wave

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Standing:
    """A job in one snapshot.

    Attributes:
        view: The job, all its rows.
        asked: [M] rows that are asked themselves, in ascending order; None: all. The others follow one of
            them each, and the planner is not shown them (`shown`): their answers cost nothing.
        leader: [N] of each row the one that is asked for it; None: each is asked itself.
        part_nanousd: [N] each row's part of the ring fence, 0 for answered rows.
        fence_shift_nanousd: By how much the ring fence has to be moved to hold these parts.
        first_on_its_way: [N] the row has no answer and is in an open chunk that asks for one.
        is_askable: [N] some tier has neither answered nor refused the row.
        open_chunks: How many chunks are not done.
        rows_on_their_way: How many rows of them are neither answered nor refused.
        sampled: [N, T] the tier gave a second answer, or refused to.
        judged: [N, T] the judge was asked about the answer.
        is_stopped: Some tier was stopped, because it billed more than it declared.
    """

    view: JobView
    part_nanousd: NDArray[np.int64]
    fence_shift_nanousd: int
    first_on_its_way: Bools
    is_askable: Bools
    open_chunks: int
    rows_on_their_way: int
    sampled: Bools
    judged: Bools
    asked: NDArray[np.intp] | None = None
    leader: NDArray[np.int64] | None = None
    is_stopped: bool = False

    @property
    def shown(self) -> JobView:
        """What the planner is shown."""
        return self.of_asked(self.view)

    def of_asked(self, view: JobView) -> JobView:
        """A view of all rows, without those that follow another one."""
        return view if self.asked is None else view.of_rows(self.asked)

    def of_all(self, wave: Wave) -> Wave:
        """A wave that was planned for the rows shown, with the numbers that rows have in the job."""
        if self.asked is None:
            return wave
        return replace(wave, row_no=self.asked[wave.row_no].astype(np.int32))

    def for_all(self, choice: Choice) -> Choice:
        """What was chosen for the rows shown, for all: whoever follows gets what its leader has."""
        if self.asked is None or self.leader is None:
            return choice
        place = np.searchsorted(self.asked, self.leader)
        return replace(choice, tier_no=choice.tier_no[place], quality=choice.quality[place])

    def has_been_bought(
        self, action: Marks, at: tuple[NDArray[np.int32], NDArray[np.int16]]
    ) -> Bools:
        """[K] whether a second sample, or a verdict, was bought before, whatever came of it."""
        return np.where(action == Action.SAMPLE, self.sampled[at], self.judged[at])


def labels_of(spec: JobSpec, has_gold: Bools) -> Labels:
    """Where the word on an answer comes from."""
    if spec.judge_tier_no is not None:
        return Labels.JUDGE
    if not spec.check_needs_gold:
        return Labels.CHECK
    if spec.gold_use == "stop" and has_gold.all():
        return Labels.CHECK
    return Labels.GOLD if has_gold.any() else Labels.AGREEMENT


def standing_of(known: JobEvidence, spec: JobSpec, stopped: Bools, balance: Balance) -> Standing:
    """Put together what was read in one snapshot.

    Args:
        stopped: [T] tiers that were stopped, because they billed more than they declared.
    """
    answered = np.asarray(known.held.any(axis=1))
    barred = known.held | known.refused | stopped
    leader = known.leader
    asked = None
    if leader is not None:
        follows = leader != np.arange(len(leader))
        barred[follows] = True
        asked = np.flatnonzero(~follows)
    part = np.where(barred, _NEVER, known.worst_nanousd).min(axis=1)
    part[answered | barred.all(axis=1)] = 0
    in_flight = np.zeros_like(known.held)
    reserved = np.zeros(len(answered), dtype=np.bool_)
    first = np.zeros(len(answered), dtype=np.bool_)
    promised = lent = on_their_way = 0
    for chunk in known.open.values():
        coming = _to_come(chunk, known)
        rows = chunk.row_no[coming]
        in_flight[rows, chunk.about_tier_no] = True
        if chunk.action == Action.ANSWER:
            part[rows] = np.where(answered[rows], 0, _parts(chunk, known)[coming])
            first[rows] = ~answered[rows]
            reserved[chunk.reserved] = True
        to_reserve = max(len(rows) - len(chunk.reserved), 0)
        promised += chunk.promised_nanousd * to_reserve // len(chunk.row_no)
        lent += chunk.lent_nanousd
        on_their_way += len(rows)
    needed = int(part.sum())
    again = np.array([tier.self_consistency for tier in spec.tiers], dtype=np.bool_)
    may_resample = known.held & (known.value_key != 0) & ~known.sampled & (again & ~stopped)
    labels = labels_of(spec, known.has_gold)
    view = JobView(
        labels=labels,
        held=known.held,
        barred=barred,
        in_flight=in_flight,
        # What a check that needs gold says is gold's word, and stops nothing.
        verdict=np.full_like(known.passed, UNKNOWN)
        if labels not in (Labels.CHECK, Labels.JUDGE)
        else known.passed,
        gold=known.matches_gold,
        has_gold=known.has_gold,
        fits=known.fits,
        truncated=known.truncated,
        confidence=known.confidence,
        length=known.length,
        value_key=known.value_key,
        resampled=known.resampled(),
        may_resample=may_resample,
        input_size=known.input_bytes,
        stratum=known.stratum,
        unjudged=known.held & ~known.judged
        if labels is Labels.JUDGE
        else np.zeros_like(known.held),
        judge_nanousd=judge_costs(known, spec),
        worst_nanousd=known.worst_nanousd,
        cost_nanousd=known.cost_nanousd,
        free_nanousd=balance.free_nanousd - (needed - lent) - promised,
        fence_nanousd=np.where(reserved, 0, part),
        check_is_gold=labels is Labels.CHECK and spec.check_needs_gold,
    )
    is_askable = np.asarray(~(known.held | known.refused).all(axis=1))
    return Standing(
        view=view,
        part_nanousd=part,
        fence_shift_nanousd=needed - lent - balance.ring_fence_nanousd,
        first_on_its_way=first,
        is_askable=is_askable if leader is None else is_askable[leader],
        open_chunks=len(known.open),
        rows_on_their_way=on_their_way,
        sampled=known.sampled | known.refused,
        judged=known.judged,
        asked=asked,
        leader=leader,
        is_stopped=bool(stopped.any()),
    )


def judge_costs(known: JobEvidence, spec: JobSpec) -> NDArray[np.int64]:
    """[N] expected cost of a judge's word: the mean of those that were bought, and before there are any the
    share of the worst case that an answer of that tier is taken to cost."""
    if spec.judge_tier_no is None:
        return np.zeros(len(known.held), dtype=np.int64)
    bought = int(known.judged.sum())
    if bought:
        mean = known.judging_nanousd // bought + 1
        return np.full(len(known.held), mean, dtype=np.int64)
    worst = known.worst_nanousd[:, spec.judge_tier_no]
    return np.asarray(np.ceil(worst * FIRST_RATIO), dtype=np.int64)


def _to_come(chunk: ChunkState, known: JobEvidence) -> Bools:
    """Which of the chunk's rows are neither answered nor given up. What second samples and judges bring is
    none of a row's first answers: their chunks count as a whole until they are done."""
    if chunk.action != Action.ANSWER:
        return np.ones(len(chunk.row_no), dtype=np.bool_)
    at = (chunk.row_no, chunk.tier_no)
    return np.asarray(~(known.held[at] | known.refused[at]))


def _parts(chunk: ChunkState, known: JobEvidence) -> NDArray[np.int64]:
    if chunk.fence_part_nanousd is not None:
        return chunk.fence_part_nanousd
    worst: NDArray[np.int64] = known.worst_nanousd[chunk.row_no, chunk.tier_no]
    return worst
