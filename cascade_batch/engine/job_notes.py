"""What a worker says about a job: what it waits for, and why it can't go on."""

from __future__ import annotations

from typing import Any

import psycopg

from cascade_batch.engine.followers import FOLLOW

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


async def set_note(
    job_id: int,
    old: str | None,
    new: str | None,
    connection: Connection,
) -> None:
    """Say on a job at work what it waits for, or that it no longer does.

    Args:
        old: What this worker said before; what somebody else said stays.
        new: What to say; None: nothing.
    """
    await connection.execute(
        "UPDATE cascade_store.job SET reason = %s WHERE job_id = %s AND state = 'running'"
        " AND (reason IS NULL OR reason = %s)",
        (new, job_id, old),
    )


async def fail_job(job_id: int, reason: str, connection: Connection) -> None:
    """End a job that can't go on. One that is not at work stays as it is."""
    async with connection.transaction():
        # In the order of whoever else ends a job: the job, its balance, its tiers.
        found = await connection.execute(
            "SELECT FROM cascade_store.job WHERE job_id = %s AND state IN ('queued', 'running')"
            " FOR NO KEY UPDATE",
            [job_id],
        )
        if await found.fetchone() is None:
            return
        await connection.execute(
            "SELECT FROM cascade_store.balance WHERE job_id = %s FOR UPDATE", [job_id]
        )
        # Whoever is told of the new state is told how many rows are answered.
        await connection.execute(FOLLOW, {"job": job_id})
        await connection.execute(
            "UPDATE cascade_store.job SET state = 'failed', reason = %s, finished_at = now()"
            " WHERE job_id = %s",
            (reason, job_id),
        )
