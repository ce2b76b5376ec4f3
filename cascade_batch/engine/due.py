"""When a job is planned: when nothing of it is open, or so little that workers would soon be idle.

A plan rests on what was answered, so that it is better the later it is made; but workers should not wait for
it. So the next wave is planned while the last quarter of the chunks is still being worked on. Planning a
large job takes seconds: while chunks are open, it is left alone for nine times as long as planning took.
"""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy as sa

RESTS_PER_PLANNING = 9
"""Planning takes a tenth of the time at most, unless nothing else can be done."""

DUE = """
(NOT EXISTS (SELECT 1 FROM cascade_store.chunk c WHERE c.job_id = j.job_id AND c.state <> 'done')
 OR ((j.plan_not_before IS NULL OR j.plan_not_before <= clock_timestamp())
     AND (SELECT count(*) FROM (
              SELECT 1 FROM cascade_store.chunk c
               WHERE c.job_id = j.job_id AND c.state <> 'done' LIMIT j.plan_below) o)
         < j.plan_below))"""
"""An SQL condition on a job `j` at work."""


def plan_below(open_chunks: int) -> int:
    """The number of open chunks below which the next wave is due, if so many are open now.

    At least one is waited for: without anything new to know there is nothing new to plan.
    """
    return max(open_chunks // 4, 1) + 1 if open_chunks > 1 else 1


def is_due(connection: sa.Connection, job_id: int) -> bool:
    """Whether a job at work should be planned now."""
    query = f"SELECT {DUE} FROM cascade_store.job j WHERE j.job_id = :job"  # noqa: S608
    return bool(connection.execute(sa.text(query), {"job": job_id}).scalar_one())


async def due_job(job_id: int, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> str | None:
    """The job's name if it should be planned now; for a worker, to whom a paused job is due as well."""
    cursor = await connection.execute(
        f"SELECT j.name FROM cascade_store.job j WHERE j.job_id = %s AND {DUE}",  # noqa: S608
        (job_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
