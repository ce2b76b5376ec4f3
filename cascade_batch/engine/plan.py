"""The planner's task: read what is known, ask the planner, act.

One at a time per job, under an advisory lock of the session, and whether or not chunks of the job are open:
while drafts run, the answers that are there already are escalated. It takes three steps:

1. *Read*, in one snapshot: evidence, what is on its way, money. No row is locked.
2. *Decide*, outside any transaction: this may take seconds, and nobody waits for it.
3. *Act*, in one transaction: decisions are stored, then the job is locked and looked at again. If it was
   paused, cancelled or resumed since, or if it is to be finished and there is more money now, all of that is
   rolled back. What workers did in between does no harm: a wave holds only rows that were in nobody's hands,
   which stay as they were; and the ring fence is moved by a difference (`job_view` says why).

Running it twice does nothing the second time: the job is not due then.

A planner that fails is a fault of ours, and asking again may not mend it: the failure is noted on the
job, the sweeper waits longer each time, and the job fails with the reason after the third.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from cascade_batch.domain.job import JobState
from cascade_batch.engine.choices import write_choices
from cascade_batch.engine.deciding import decide
from cascade_batch.engine.due import is_due
from cascade_batch.engine.evidence import forget_evidence, read_evidence
from cascade_batch.engine.followers import follow
from cascade_batch.engine.frontier import frontier_at_finish
from cascade_batch.engine.job_view import Standing, standing_of
from cascade_batch.engine.jobs import Job, find_job, set_state
from cascade_batch.engine.planner import PLANNER, Planner
from cascade_batch.engine.ports import ChunkNotice, Publisher
from cascade_batch.engine.release import note_planning, release_wave, write_decisions
from cascade_batch.errors import CascadeError
from cascade_batch.ledger import Balance, clear_ring_fence, move_ring_fence, read_balance
from cascade_batch.policy import Choice, Wave
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.tables import JOB, JOB_TIER

logger = logging.getLogger(__name__)

LOCK_SPACE = 0x6361736B
"""First key of the advisory locks under which jobs are planned; the second is the job's id."""
PLAN_ATTEMPTS = 3
_STALE_PLANS = 3
"""Plans in a row that may come too late before somebody else is asked for the next."""
_AT_WORK = (JobState.QUEUED, JobState.RUNNING)
_WAVE_AGE = sa.text(
    "SELECT extract(epoch FROM clock_timestamp() - max(planned_at))::float"
    " FROM cascade_store.wave WHERE job_id = :job"
)
# Counted as waves were released; what could not be afforded then was counted all the same, and again if it
# was planned again. Now that nothing is on its way, all but first answers came of escalations.
_ESCALATED = sa.text(
    "UPDATE cascade_store.job_tier SET escalated = least(escalated, greatest(answers - first_answers, 0))"
    " WHERE job_id = :job"
)


@dataclass(frozen=True, slots=True)
class Planned:
    """What the planner did: released a wave of so many rows, or finished the job."""

    wave: int
    purchases: int
    finished: bool


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A job as it was read.

    Attributes:
        calls: Calls made, and rows given up, over all tiers.
        calls_per_s: How many of them a second since the last wave was released; 0 if that is not known.
    """

    job: Job
    standing: Standing
    balance: Balance
    calls: int
    calls_per_s: float


class _StaleError(Exception):
    """The job was changed while a plan was made for what it had been."""


def plan_job(
    engine: sa.Engine, name: str, publisher: Publisher, *, planner: Planner = PLANNER
) -> Planned | None:
    """Plan a job's next wave, or finish it.

    Returns:
        None if there was nothing to decide: another planner is at it, the job is not at work, enough of it
        is open, or nothing can be bought before more of that is answered.

    Raises:
        JobNotFoundError: There is no such job.
    """
    try:
        with engine.connect() as connection:
            with connection.begin():
                job_id = find_job(connection, name).job_id
            with _lock(connection, job_id) as got_lock:
                if not got_lock:
                    return None
                planned, notices = _plan(engine, connection, name, planner)
            with connection.begin():
                # Who asked while the lock was held was sent away.
                again = find_job(connection, name).state in _AT_WORK and is_due(connection, job_id)
    except (CascadeError, OperationalError, psycopg.OperationalError):
        raise
    except Exception as error:
        _note_failure(engine, name, error)
        raise
    publisher.publish_chunks(notices)
    if again:
        publisher.publish_plan(name)
    if planned is not None:
        if planned.finished:
            logger.info("job %s is finished", name)
        else:
            logger.info("job %s: wave %d, %d purchases", name, planned.wave, planned.purchases)
    return planned


@contextmanager
def _lock(connection: sa.Connection, job_id: int) -> Iterator[bool]:
    """Whether this session has the job's planning for itself. The lock is gone with the connection, so that
    whoever acts at the end of a plan had it all the while."""
    key = {"space": LOCK_SPACE, "job": job_id}
    with connection.begin():
        got = connection.execute(
            sa.text("SELECT pg_try_advisory_lock(:space, :job)"), key
        ).scalar_one()
    try:
        yield bool(got)
    finally:
        if got and not connection.invalidated:
            try:
                with connection.begin():
                    connection.execute(sa.text("SELECT pg_advisory_unlock(:space, :job)"), key)
            except DBAPIError:
                connection.invalidate()


def _plan(
    engine: sa.Engine, connection: sa.Connection, name: str, planner: Planner
) -> tuple[Planned | None, list[ChunkNotice]]:
    for _ in range(_STALE_PLANS):
        started = time.monotonic()
        snapshot = _read(engine, connection, name)
        if snapshot is None:
            break
        job, standing = snapshot.job, snapshot.standing
        wave, left = decide(job, standing, snapshot.balance, snapshot.calls, planner)
        try:
            if len(wave):
                return _release(connection, snapshot, wave, started)
            if standing.open_chunks:
                _wait(connection, snapshot, started)
                break
            shown = standing.shown
            choice = standing.for_all(planner.choose_answers(shown))
            frontier = frontier_at_finish(job, shown, snapshot.balance, planner)
            finished = _finish(connection, snapshot, choice, frontier, left)
        except _StaleError:
            continue
        forget_evidence(engine, snapshot.job.job_id)
        return finished, []
    return None, []


def _read(engine: sa.Engine, connection: sa.Connection, name: str) -> _Snapshot | None:
    with connection.begin():
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        job = find_job(connection, name)
        if job.state not in _AT_WORK or not is_due(connection, job.job_id):
            return None
        tiers = connection.execute(
            sa.select(JOB_TIER).where(JOB_TIER.c.job_id == job.job_id).order_by(JOB_TIER.c.tier_no)
        ).all()
        balance = read_balance(connection, job.job_id)
        wave_age_s = connection.execute(_WAVE_AGE, {"job": job.job_id}).scalar_one()
        known = read_evidence(engine, raw_connection(connection), job.job_id, job.spec)
    stopped = np.array([tier.stopped is not None for tier in tiers], dtype=np.bool_)
    calls = sum(tier.calls + tier.refused_rows for tier in tiers)
    new_calls = calls - (job.planned_calls or 0)
    return _Snapshot(
        job=job,
        standing=standing_of(known, job.spec, stopped, balance),
        balance=balance,
        calls=calls,
        calls_per_s=new_calls / wave_age_s if wave_age_s else 0.0,
    )


def _release(
    connection: sa.Connection, snapshot: _Snapshot, wave: Wave, started: float
) -> tuple[Planned, list[ChunkNotice]]:
    job, standing = snapshot.job, snapshot.standing
    with connection.begin():
        write_decisions(connection, job.job_id, job.waves + 1, wave)
        _lock_unchanged(connection, job)
        new_chunks, notices = release_wave(connection, job, standing, wave)
        _note(connection, snapshot, started, new_chunks=new_chunks, new_calls=len(wave))
    return Planned(job.waves + 1, len(wave), finished=False), notices


def _wait(connection: sa.Connection, snapshot: _Snapshot, started: float) -> None:
    """Nothing can be bought before more is answered."""
    with connection.begin():
        _lock_unchanged(connection, snapshot.job)
        move_ring_fence(connection, snapshot.job.job_id, snapshot.standing.fence_shift_nanousd)
        _note(connection, snapshot, started)


def _note(
    connection: sa.Connection,
    snapshot: _Snapshot,
    started: float,
    *,
    new_chunks: int = 0,
    new_calls: int = 0,
) -> None:
    # Where nothing was found to buy, more would have to be answered first than the work's last moments bring.
    open_calls = snapshot.standing.rows_on_their_way + new_calls
    knows_pace = new_calls and snapshot.calls_per_s > 0
    note_planning(
        connection,
        snapshot.job,
        calls=snapshot.calls,
        open_chunks=snapshot.standing.open_chunks + new_chunks,
        took_s=time.monotonic() - started,
        work_s=open_calls / snapshot.calls_per_s if knows_pace else None,
    )


def _finish(
    connection: sa.Connection,
    snapshot: _Snapshot,
    choice: Choice,
    frontier: dict[str, Any] | None,
    left: str | None,
) -> Planned:
    job, view = snapshot.job, snapshot.standing.view
    with connection.begin():
        counts = write_choices(
            raw_connection(connection),
            job_id=job.job_id,
            tier_no=choice.tier_no,
            quality=choice.quality,
            is_askable=snapshot.standing.is_askable,
        )
        _lock_unchanged(connection, job)
        now = read_balance(connection, job.job_id, lock=True)
        if now.budget_nanousd != snapshot.balance.budget_nanousd:
            raise _StaleError
        clear_ring_fence(connection, job.job_id)
        connection.execute(_ESCALATED, {"job": job.job_id})
        if snapshot.standing.leader is not None:
            follow(raw_connection(connection), job.job_id)
        connection.execute(
            sa.update(JOB)
            .where(JOB.c.job_id == job.job_id)
            .values(
                state=JobState.FINISHED,
                reason=left if now.free_nanousd > 0 else None,
                labels=view.labels.name.lower(),
                plan_failures=0,
                finished_at=sa.func.now(),
                rows_failed=counts.failed,
                rows_unfunded=counts.unfunded,
                rows_unfit=_unfit(snapshot.standing, choice),
                quality=_mean_quality(choice),
                frontier=frontier,
            )
        )
    return Planned(job.waves, 0, finished=True)


def _lock_unchanged(connection: sa.Connection, job: Job) -> None:
    """Lock the job's row.

    Raises:
        _StaleError: It is not what it was when its plan was begun.
    """
    now = find_job(connection, job.name, lock=True)
    if (
        now.job_id != job.job_id
        or now.state not in _AT_WORK
        or now.plan_generation != job.plan_generation
        or now.waves != job.waves
    ):
        raise _StaleError


def _unfit(standing: Standing, choice: Choice) -> int:
    """Rows whose final answer does not fit the declared output."""
    rows = np.flatnonzero(choice.tier_no >= 0)
    asked = rows if standing.leader is None else standing.leader[rows]
    return int(np.sum(~standing.view.fits[asked, choice.tier_no[rows]]))


def _mean_quality(choice: Choice) -> float | None:
    """Mean over all rows, a row without an answer counting as 0; None unless the quality of each answer
    that stands is measured."""
    quality = choice.quality[choice.tier_no >= 0]
    if not quality.size or np.isnan(quality).any():
        return None
    return float(quality.sum() / choice.tier_no.size)


def _note_failure(engine: sa.Engine, name: str, error: Exception) -> None:
    said = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
    with engine.begin() as connection:
        job = find_job(connection, name, lock=True)
        if job.state not in _AT_WORK:
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
            read_balance(connection, job.job_id, lock=True)
            follow(raw_connection(connection), job.job_id)
            reason = f"The planner failed {failures} times: {what}"
            set_state(connection, job.job_id, JobState.FAILED, reason=reason)
