"""Jobs by name, and their states."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobSpec, JobState
from cascade_batch.errors import JobNotFoundError, UsageError
from cascade_batch.near_names import did_you_mean
from cascade_batch.store.tables import JOB
from cascade_batch.words import choose

NOTIFY_CHANNEL = "cascade_jobs"
"""Postgres channel that tells the embedded stack of a job's tiers."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored.

    Attributes:
        labels: Where the word on its answers comes from: check, gold or agreement; None where no planner
            has looked at it yet.
        waves: How many were planned.
        plan_generation: Raised by every change that a plan in the making must not outlive.
        planned_calls: Calls made until the last time that it was planned; None: whatever that plan could
            not afford is worth another try.
        deleting: Its tables are being dropped: nothing but that may be done to it any more.
        reading: Not all of its data set is stored yet; of a job that is over, that it never was.
    """

    job_id: int
    name: str
    state: JobState
    reason: str | None
    spec: JobSpec
    rows_total: int
    labels: str | None
    waves: int
    plan_generation: int
    planned_calls: int | None
    deleting: bool = False
    reading: bool = False


def find_job(connection: sa.Connection, name: str, *, lock: bool = False) -> Job:
    """The job of this name.

    Raises:
        JobNotFoundError: There is none; the hint names similar ones.
    """
    query = sa.select(JOB).where(JOB.c.name == name)
    if lock:
        # Not FOR UPDATE: every entry of the ledger refers to its job, so that a turn, which holds the
        # balance, would wait for us while we wait for the balance.
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise job_not_found(connection, name)
    return _job(row)


def job_not_found(connection: sa.Connection, name: str) -> JobNotFoundError:
    """What to raise where there is no job of this name; the hint names similar ones."""
    names = connection.execute(sa.select(JOB.c.name)).scalars().all()
    return JobNotFoundError(
        f"There is no job called {name!r}.",
        hint=did_you_mean(name, names, likeness=0.6)
        or choose(
            command_line="`cascade-batch status` lists all jobs.",
            python="`cascade_batch.jobs()` lists all jobs.",
        ),
    )


def job_to_change(connection: sa.Connection, name: str) -> Job:
    """The job of this name, locked, for a command that changes it.

    Raises:
        JobNotFoundError: There is none.
        UsageError: It is being deleted.
    """
    return require_kept(find_job(connection, name, lock=True))


def require_kept(job: Job) -> Job:
    """Refuse what can't be done to a job any more whose deletion was begun.

    Raises:
        UsageError: It was.
    """
    if job.deleting:
        raise UsageError(
            f"Job {job.name!r} is being deleted: its rows are gone, or soon will be.",
            hint=f"`cascade-batch delete {shlex.quote(job.name)}` ends what was begun.",
        )
    return job


def require_whole(job: Job) -> Job:
    """Refuse to go on with a job that is over and holds a part of its data set only.

    Raises:
        UsageError: It does.
    """
    if job.reading and job.state in (JobState.CANCELLED, JobState.FAILED):
        became = "has failed" if job.state is JobState.FAILED else f"is {job.state}"
        raise UsageError(
            f"Job {job.name!r} {became} and holds only the first {counted(job.rows_total, 'row')} of its data"
            " set: it ended while that was being read.",
            hint="Submit the data again under another name: what this job bought is taken over at no cost.",
        )
    return job


def _job(row: Any) -> Job:
    return Job(
        job_id=row.job_id,
        name=row.name,
        state=JobState(row.state),
        reason=row.reason,
        spec=JobSpec.model_validate(row.spec_as_written or row.spec),
        rows_total=row.rows_total,
        labels=row.labels,
        waves=row.waves,
        plan_generation=row.plan_generation,
        planned_calls=row.planned_calls,
        deleting=row.deleting,
        reading=row.reading,
    )


def set_state(
    connection: sa.Connection,
    job_id: int,
    state: JobState,
    *,
    reason: str | None = None,
) -> None:
    """Enter a state; the caller holds the job's lock and knows that the state may be left."""
    query = (
        sa.update(JOB)
        .where(JOB.c.job_id == job_id)
        .values(
            state=state,
            reason=reason,
            finished_at=sa.func.now() if state.is_over else None,
            planned_at=None,
            planned_calls=None,
            plan_failures=0,
            plan_generation=JOB.c.plan_generation + 1,
        )
    )
    if state is JobState.RUNNING:
        # Rows that had failed may be answered yet: the planner counts them when it is through again.
        query = query.values(rows_failed=0, rows_unfunded=0)
    connection.execute(query)


def notify_jobs_changed(connection: sa.Connection) -> None:
    """Tell listeners, at commit, that there may be tiers to serve."""
    connection.execute(sa.text(f"NOTIFY {NOTIFY_CHANNEL}"))


def active_tiers(connection: sa.Connection) -> set[str]:
    """Names of the tiers that unfinished jobs need."""
    rows = connection.execute(
        sa.text(
            "SELECT DISTINCT t.name FROM cascade_store.job_tier t"
            " JOIN cascade_store.job j USING (job_id) WHERE j.state IN ('queued', 'running')"
        )
    )
    return {row[0] for row in rows}
