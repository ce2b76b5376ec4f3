"""The planner's task: read what is known, decide in `cascade_batch.policy`, act.

One at a time per job, under an advisory lock, and only while no chunk of the job is open: then nothing
is reserved, and what is free is exactly known. Running it twice does nothing the second time. The job
itself is locked all the while: a pause, or money that is added, comes before the decision or after it.

A planner that fails is a fault of ours, and asking again may not mend it: the failure is noted on the
job, the sweeper waits longer each time, and the job fails with the reason after the third.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import psycopg
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import OperationalError

from cascade_batch.domain.job import JobState
from cascade_batch.engine.choices import write_choices
from cascade_batch.engine.chunks import cut_into_chunks, insert_chunks
from cascade_batch.engine.evidence import JobEvidence, read_evidence
from cascade_batch.engine.jobs import Job, find_job, has_open_chunks, set_state
from cascade_batch.engine.ports import ChunkNotice, Publisher
from cascade_batch.errors import CascadeError
from cascade_batch.ledger import read_balance, set_ring_fence
from cascade_batch.policy import (
    JobView,
    Purchases,
    choose_answers,
    estimate_costs,
    plan_wave,
)
from cascade_batch.quality import Estimate, estimate_quality, expected_quality
from cascade_batch.store.tables import JOB, JOB_TIER

logger = logging.getLogger(__name__)

_LOCK_SPACE = 0x6361736B
PLAN_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Planned:
    """What the planner did: released a wave of so many rows, or finished the job."""

    wave: int
    purchases: int
    finished: bool


def plan_job(engine: sa.Engine, name: str, publisher: Publisher) -> Planned | None:
    """Plan a job's next wave, or finish it.

    Returns:
        None if there was nothing to decide: another planner is at it, the job is not at work, or
        chunks of it are open.

    Raises:
        JobNotFoundError: There is no such job.
    """
    try:
        with engine.begin() as connection:
            planned, notices = _plan_if_idle(connection, name)
    except (CascadeError, OperationalError, psycopg.OperationalError):
        raise
    except Exception as error:
        _note_failure(engine, name, error)
        raise
    if planned is None:
        return None
    publisher.publish_chunks(notices)
    logger.info("job %s: %s", name, planned)
    return planned


def _plan_if_idle(connection: sa.Connection, name: str) -> tuple[Planned | None, list[ChunkNotice]]:
    job = find_job(connection, name)
    got_lock = connection.execute(
        sa.text("SELECT pg_try_advisory_xact_lock(:space, :job)"),
        {"space": _LOCK_SPACE, "job": job.job_id},
    ).scalar_one()
    if not got_lock:
        return None, []
    job = find_job(connection, name, lock=True)
    if job.state not in (JobState.QUEUED, JobState.RUNNING):
        return None, []
    if has_open_chunks(connection, job.job_id):
        return None, []
    return _plan(connection, job)


def _note_failure(engine: sa.Engine, name: str, error: Exception) -> None:
    said = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
    with engine.begin() as connection:
        job = find_job(connection, name, lock=True)
        if job.state not in (JobState.QUEUED, JobState.RUNNING):
            return
        failures = connection.execute(
            sa.update(JOB)
            .where(JOB.c.job_id == job.job_id)
            .values(
                plan_failures=JOB.c.plan_failures + 1,
                planned_at=sa.func.clock_timestamp(),
                reason=f"The planner failed and is tried again: {what}",
            )
            .returning(JOB.c.plan_failures)
        ).scalar_one()
        if failures >= PLAN_ATTEMPTS:
            reason = f"The planner failed {failures} times: {what}"
            set_state(connection, job.job_id, JobState.FAILED, reason=reason)


def _plan(connection: sa.Connection, job: Job) -> tuple[Planned, list[ChunkNotice]]:
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("the database driver must be psycopg")
    known = read_evidence(
        raw, job.job_id, len(job.spec.tiers), is_free_text=job.spec.output.is_free_text
    )
    estimate = estimate_quality(known.evidence)
    asked = known.asked | _stopped(connection, job)
    balance = read_balance(connection, job.job_id, lock=True)
    fence_nanousd = _least_fence(known, asked)
    view = JobView(
        quality=estimate.quality,
        asked=asked,
        worst_nanousd=known.worst_nanousd,
        expected_nanousd=_expected_costs(known),
        tier_quality=expected_quality(estimate),
        free_nanousd=max(balance.free_nanousd - fence_nanousd, 0),
        fenced_nanousd=max(min(fence_nanousd, balance.free_nanousd), 0),
    )
    if _made_no_progress(connection, job):
        purchases = None
    else:
        purchases = plan_wave(view, job.spec.policy, seed=job.spec.seed, wave=job.waves + 1)
    if purchases is not None and len(purchases.row_no):
        notices = _release(connection, job, purchases, known.evidence.held, known.worst_nanousd)
        return Planned(job.waves + 1, len(purchases.row_no), finished=False), notices
    choice = choose_answers(estimate.quality)
    counts = write_choices(
        raw,
        job_id=job.job_id,
        choice=choice,
        quality=np.where(_is_measured(estimate, known), estimate.quality, np.nan),
        still_askable=np.asarray(~known.asked.all(axis=1)),
    )
    set_ring_fence(connection, job.job_id, 0)
    connection.execute(
        sa.update(JOB)
        .where(JOB.c.job_id == job.job_id)
        .values(
            state=JobState.FINISHED,
            reason=None,
            plan_failures=0,
            finished_at=sa.func.now(),
            rows_failed=counts.failed,
            rows_unfunded=counts.unfunded,
            quality=_mean_quality(estimate, choice, known),
        )
    )
    return Planned(job.waves, 0, finished=True), []


def _stopped(connection: sa.Connection, job: Job) -> NDArray[np.bool_]:
    """[T]: tiers that were stopped, because they billed more than they declared."""
    stopped = connection.execute(
        sa.select(JOB_TIER.c.stopped.is_not(None))
        .where(JOB_TIER.c.job_id == job.job_id)
        .order_by(JOB_TIER.c.tier_no)
    ).scalars()
    return np.array(list(stopped), dtype=np.bool_)


def _least_fence(known: JobEvidence, asked: NDArray[np.bool_]) -> int:
    """What rows without an answer need at least, each on the cheapest tier that may still be asked; rows
    that no tier will be asked about any more need nothing."""
    unanswered = ~known.evidence.held.any(axis=1) & ~asked.all(axis=1)
    barred = np.iinfo(np.int64).max
    needed = np.where(asked[unanswered], barred, known.worst_nanousd[unanswered])
    return int(needed.min(axis=1, initial=barred).sum()) if len(needed) else 0


def _made_no_progress(connection: sa.Connection, job: Job) -> bool:
    """Whether the last wave ended without a call made or a row given up: what it wanted could not be
    afforded, and asking for it again would go on for ever."""
    calls = connection.execute(
        sa.select(sa.func.sum(JOB_TIER.c.calls + JOB_TIER.c.refused_rows)).where(
            JOB_TIER.c.job_id == job.job_id
        )
    ).scalar_one()
    before = connection.execute(
        sa.select(JOB.c.planned_calls).where(JOB.c.job_id == job.job_id)
    ).scalar_one()
    connection.execute(
        sa.update(JOB).where(JOB.c.job_id == job.job_id).values(planned_calls=int(calls))
    )
    return before is not None and int(before) == int(calls)


def _release(
    connection: sa.Connection,
    job: Job,
    purchases: Purchases,
    held: NDArray[np.bool_],
    worst_nanousd: NDArray[np.int64],
) -> list[ChunkNotice]:
    wave = job.waves + 1
    chunks = list(
        cut_into_chunks(
            job.job_id,
            wave,
            [t.name for t in job.spec.tiers],
            purchases.row_no,
            purchases.tier_no,
            job.spec.chunk_rows,
        )
    )
    notices = insert_chunks(connection, job.name, chunks)
    is_escalation = held[purchases.row_no].any(axis=1)
    # A row's part of the fence is its worst case on the tier that it is asked on now (`load_rows` lends
    # it as much), so that no escalation takes what a first answer needs.
    firsts = worst_nanousd[purchases.row_no, purchases.tier_no][~is_escalation]
    set_ring_fence(connection, job.job_id, int(firsts.sum()))
    escalated = np.bincount(purchases.tier_no[is_escalation], minlength=len(job.spec.tiers))
    for tier_no in np.flatnonzero(escalated):
        connection.execute(
            sa.update(JOB_TIER)
            .where(JOB_TIER.c.job_id == job.job_id, JOB_TIER.c.tier_no == int(tier_no))
            .values(escalated=JOB_TIER.c.escalated + int(escalated[tier_no]))
        )
    connection.execute(
        sa.update(JOB)
        .where(JOB.c.job_id == job.job_id)
        .values(waves=wave, planned_at=sa.func.now(), plan_failures=0, reason=None)
    )
    return notices


def _expected_costs(known: JobEvidence) -> NDArray[np.int64]:
    held = known.evidence.held
    return estimate_costs(
        known.worst_nanousd,
        held.sum(axis=0),
        known.cost_nanousd.sum(axis=0),
        np.where(held, known.worst_nanousd, 0).sum(axis=0),
    )


def _is_measured(estimate: Estimate, known: JobEvidence) -> NDArray[np.bool_]:
    """[N, T] whether a quality comes from a check, or from a model fitted to checked answers. What comes
    from a prior alone serves to choose, and is not shown: nobody measured it."""
    is_fitted = np.array([basis == "calibrated" for basis in estimate.basis])
    return np.asarray(~np.isnan(known.evidence.passed) | is_fitted[None, :])


def _mean_quality(
    estimate: Estimate, choice: NDArray[np.int16], known: JobEvidence
) -> float | None:
    """Mean over all rows, a row without an answer counting as 0; None unless the quality of each answer
    that stands is measured."""
    rows = np.flatnonzero(choice >= 0)
    tiers = choice[rows]
    if not len(rows) or not _is_measured(estimate, known)[rows, tiers].all():
        return None
    return float(estimate.quality[rows, tiers].sum() / len(choice))
