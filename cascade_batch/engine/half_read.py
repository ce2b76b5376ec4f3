"""Jobs that are being read while their first rows are drafted, and whose reader gives up or is gone."""

from __future__ import annotations

import sqlalchemy as sa

from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState
from cascade_batch.domain.text import clean_text
from cascade_batch.engine.jobs import find_job, set_state

READERS = 0x63617272
"""Advisory lock, with the job's number, of the session that reads a job's data set."""
_BEING_READ = """
SELECT job_id, name FROM cascade_store.job
 WHERE reading AND NOT deleting AND state IN ('queued', 'running', 'paused') ORDER BY job_id
"""
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(:space, :job)"


def cancel_unread(connection: sa.Connection, job_id: int, name: str, why: str) -> bool:
    """Cancel a job whose data set will not be read to its end.

    Args:
        why: In words that follow a colon, and tell no secret.

    Returns:
        Whether it was still being read.
    """
    job = find_job(connection, name, lock=True)
    if job.job_id != job_id or not job.reading or job.state.is_over or job.deleting:
        return False
    reason = (
        f"Reading its data set ended after {counted(job.rows_total, 'row')}: {why.rstrip('.')}. Submit all of"
        " the data again under another name: what this job bought is taken over."
    )
    set_state(connection, job.job_id, JobState.CANCELLED, reason=clean_text(reason))
    return True


def end_abandoned(connection: sa.Connection) -> list[str]:
    """Cancel jobs whose reader is gone; for the sweeper.

    Returns:
        Their names.
    """
    ended = []
    for job_id, name in connection.execute(sa.text(_BEING_READ)).all():
        key = {"space": READERS, "job": job_id}
        if connection.execute(sa.text(_TRY_LOCK), key).scalar_one() and cancel_unread(
            connection, job_id, name, "its submitter was killed, or cut off from the database"
        ):
            ended.append(name)
    return ended
