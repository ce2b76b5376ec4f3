"""What a user may do to a job: pause, resume, cancel, add to its budget, delete it."""

from __future__ import annotations

import shlex

import sqlalchemy as sa

from cascade_batch.domain.job import JobState
from cascade_batch.engine.followers import follow, note_followed
from cascade_batch.engine.jobs import (
    Job,
    find_job,
    job_to_change,
    notify_jobs_changed,
    require_whole,
    set_state,
)
from cascade_batch.engine.ports import Publisher
from cascade_batch.engine.sweep import publish_ready
from cascade_batch.errors import UsageError
from cascade_batch.ledger import Balance, Selection, add_budget, read_balance, release_write_offs
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.partitions import drop_partitions, patience
from cascade_batch.store.result_view import drop_result_view
from cascade_batch.store.tables import CHUNK, JOB, JOB_TIER

_AT_WORK = (JobState.QUEUED, JobState.RUNNING)
# A finished job's reason says why money is left. Without one, and with money left, it finished in a version
# that did not say, and is looked at again.
_DONE = sa.text(
    "SELECT j.rows_failed <= j.rows_unfunded"
    "       AND (j.reason IS NOT NULL OR b.spent_nanousd + b.at_risk_nanousd + b.reserved_nanousd"
    "            + b.overrun_nanousd >= b.budget_nanousd)"
    "       AND NOT EXISTS (SELECT FROM cascade_store.job_tier t"
    "                        WHERE t.job_id = j.job_id AND t.stopped IS NOT NULL)"
    "       AND NOT EXISTS (SELECT FROM cascade_store.entry e"
    "                        WHERE e.job_id = j.job_id AND e.at > j.finished_at)"
    "  FROM cascade_store.job j JOIN cascade_store.balance b USING (job_id) WHERE j.job_id = :job"
)


def pause_job(engine: sa.Engine, name: str) -> Job:
    """Send nothing more; calls in flight settle.

    Raises:
        UsageError: The job is over, or paused already.
    """
    with engine.begin() as connection:
        job = job_to_change(connection, name)
        if job.state not in _AT_WORK:
            raise UsageError(f"Job {name!r} is {job.state}; only a job at work can be paused.")
        set_state(connection, job.job_id, JobState.PAUSED, reason="paused by the user")
        return find_job(connection, name)


def cancel_job(engine: sa.Engine, name: str) -> Job:
    """Send nothing more, for good; calls in flight settle, and what is answered stays.

    Raises:
        UsageError: The job is over already.
    """
    with engine.begin() as connection:
        job = job_to_change(connection, name)
        if job.state in (JobState.FINISHED, JobState.CANCELLED):
            raise UsageError(f"Job {name!r} is {job.state} already.")
        # As in a worker's turn: the balance comes before the tiers.
        read_balance(connection, job.job_id, lock=True)
        # First of all, as whoever is told of the new state is told how many rows are answered.
        follow(raw_connection(connection), job.job_id)
        set_state(connection, job.job_id, JobState.CANCELLED, reason="cancelled by the user")
        note_followed(raw_connection(connection), job.job_id)
        return find_job(connection, name)


def resume_job(engine: sa.Engine, name: str, publisher: Publisher) -> Job:
    """Go on with what is not done: a paused, failed or cancelled job, or a finished one for which
    money is left. A job at work is left at work, and its workers are woken.

    Tiers that were stopped and rows that a server's trouble made fail get another chance. A finished job for
    which the planner would decide the same again stays finished.

    Returns:
        The job as it is then.

    Raises:
        UsageError: The job is being deleted, or holds a part of its data set only.
    """
    with engine.begin() as connection:
        job = require_whole(job_to_change(connection, name))
        if job.state is JobState.FINISHED and _is_done(connection, job):
            return job
        if job.state not in _AT_WORK:
            # Calls in flight may still settle, in turns that lock the balance before the tiers.
            read_balance(connection, job.job_id, lock=True)
            connection.execute(
                sa.update(JOB_TIER).where(JOB_TIER.c.job_id == job.job_id).values(stopped=None)
            )
        go_on(connection, job)
        resumed = find_job(connection, name)
    publish_ready(engine, publisher)
    publisher.publish_plan(name)
    return resumed


def _is_done(connection: sa.Connection, job: Job) -> bool:
    """Whether going on would change nothing: nothing failed but for money, and no money came since."""
    return bool(connection.execute(_DONE, {"job": job.job_id}).scalar_one())


def go_on(connection: sa.Connection, job: Job) -> None:
    """Have a job run that does not, and its chunks be taken at once.

    The caller holds the job's lock, and wakes workers and planner after the commit.
    """
    if job.state not in _AT_WORK:
        set_state(connection, job.job_id, JobState.RUNNING)
    connection.execute(
        sa.update(CHUNK)
        .where(
            # Whoever has one of them locked is just taking it.
            CHUNK.c.chunk_id.in_(
                sa.select(CHUNK.c.chunk_id)
                .where(CHUNK.c.job_id == job.job_id, CHUNK.c.state == "ready")
                .with_for_update(key_share=True, skip_locked=True)
            )
        )
        .values(not_before=None, published_at=None)
    )
    notify_jobs_changed(connection)


def raise_budget(
    engine: sa.Engine, name: str, add_nanousd: int, publisher: Publisher, *, actor: str | None
) -> Balance:
    """Add to the budget, and go on from where a finished job stopped.

    Raises:
        UsageError: Nothing is added, the job is being deleted, or it is over and holds a part of its data set
            only.
    """
    with engine.begin() as connection:
        job = require_whole(job_to_change(connection, name))
        balance = add_budget(connection, job_id=job.job_id, add_nanousd=add_nanousd, actor=actor)
        connection.execute(
            # What could not be afforded before is worth another try.
            sa.update(JOB).where(JOB.c.job_id == job.job_id).values(planned_calls=None)
        )
        if job.state is JobState.FINISHED:
            set_state(connection, job.job_id, JobState.RUNNING)
            notify_jobs_changed(connection)
    publisher.publish_plan(name)
    return balance


def reconcile(
    engine: sa.Engine,
    name: str,
    selection: Selection,
    publisher: Publisher,
    *,
    actor: str,
    reason: str,
) -> tuple[int, int, Balance]:
    """Release write-offs that an invoice proves were not billed. A job at work may use the money at once; one
    that is over stays over (`resume` goes on with what is left).

    Returns:
        How many calls were released, their nano-dollars, and the balance after it.

    Raises:
        UsageError: The selection names what the job has not, or no name or reason is given.
    """
    with engine.begin() as connection:
        job = job_to_change(connection, name)
        released = release_write_offs(connection, job.job_id, selection, actor=actor, reason=reason)
        if released[0]:
            connection.execute(
                # What could not be afforded before is worth another try.
                sa.update(JOB).where(JOB.c.job_id == job.job_id).values(planned_calls=None)
            )
    if released[0] and job.state in _AT_WORK:
        publisher.publish_plan(name)
    return released


def delete_job(engine: sa.Engine, name: str) -> Job:
    """Drop everything that is known of a job: rows, answers, ledger, result view.

    Tables can't be dropped in one transaction without holding up all other jobs. So the job is marked first:
    from then on it can only be deleted, and a deletion that was broken off goes on when it is asked for once
    more. Its name and its view are free when all else is gone.

    Raises:
        UsageError: The job is at work, or calls of it are still in flight.
        CascadeError: Others have been reading the shared tables for too long; the job stays marked.
    """
    with engine.begin() as connection:
        job = find_job(connection, name, lock=True)
        _mark_for_deletion(connection, job)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        raw = raw_connection(connection)
        drop_partitions(raw, job.job_id)
        with patience(raw), raw.transaction():
            drop_result_view(raw, name)
            raw.execute("DELETE FROM cascade_store.job WHERE job_id = %s", [job.job_id])
    return job


def _mark_for_deletion(connection: sa.Connection, job: Job) -> None:
    shown = shlex.quote(job.name)
    if job.state in _AT_WORK:
        raise UsageError(
            f"Job {job.name!r} is {job.state}.",
            hint=f"Cancel it first: cascade-batch cancel {shown}",
        )
    leased = connection.execute(
        sa.select(sa.func.count()).where(CHUNK.c.job_id == job.job_id, CHUNK.c.state == "leased")
    ).scalar_one()
    if leased:
        raise UsageError(
            f"Job {job.name!r} still has calls in flight.",
            hint="They settle within the tier's timeout; try again then.",
        )
    connection.execute(
        sa.update(JOB)
        .where(JOB.c.job_id == job.job_id)
        .values(
            deleting=True,
            reason=f"It is being deleted; cascade-batch delete {shown} goes on with it.",
        )
    )
