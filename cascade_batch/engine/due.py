"""When a job is planned: when nothing of it is open, or so little that workers would soon be idle.

A plan rests on what was answered, so that it is better the later it is made; but workers should not wait for
it. So the next wave is planned while the last quarter of the chunks is still being worked on. Planning a
large job takes seconds: while chunks are open, it is left alone for nine times as long as planning took, or,
where the work that is open will not last that long, until it lasts about as long as the next planning: else
the workers of a large job would stand still before each of its last waves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa

RESTS_PER_PLANNING = 9
"""Planning takes a tenth of the time at most, unless workers would soon have nothing to do."""
_LEAD = 1.5
"""Work that is left when the next planning begins, in the time that the last one took: it knows more rows."""
_WORTH_A_LEAD = 2.0
"""Work that has to be open, in the same measure, for its end to be planned for. For less, one planning would
follow the other with next to nothing done between them."""

DUE = """
NOT j.reading AND
(NOT EXISTS (SELECT 1 FROM cascade_store.chunk c WHERE c.job_id = j.job_id AND c.state <> 'done')
 OR ((j.plan_not_before IS NULL OR j.plan_not_before <= clock_timestamp())
     AND (SELECT count(*) FROM (
              SELECT 1 FROM cascade_store.chunk c
               WHERE c.job_id = j.job_id AND c.state <> 'done' LIMIT j.plan_below) o)
         < j.plan_below))"""
"""An SQL condition on a job `j` at work. While its data set is being read, nobody can see the whole job."""


@dataclass(frozen=True, slots=True)
class NextPlanning:
    """When a job is to be planned again.

    Attributes:
        below: As soon as fewer chunks than this are open,
        rest_s: and not before so many seconds are over, unless nothing is open.
    """

    below: int
    rest_s: float


def next_planning(open_chunks: int, took_s: float, work_s: float | None) -> NextPlanning:
    """When to plan again.

    At least one chunk is waited for: without anything new to know there is nothing new to plan.

    Args:
        open_chunks: How many are open now.
        took_s: How long the planning took that just ended.
        work_s: How long workers will take for what is open, at their pace until now; None: not known.
    """
    if open_chunks <= 1:
        return NextPlanning(1, RESTS_PER_PLANNING * took_s)
    below = max(open_chunks // 4, 1) + 1
    rest_s = RESTS_PER_PLANNING * took_s
    if work_s is not None and work_s >= _WORTH_A_LEAD * took_s:
        lead_s = _LEAD * took_s
        rest_s = min(rest_s, work_s - lead_s)
        below = max(below, min(math.ceil(open_chunks * lead_s / work_s), open_chunks - 1) + 1)
    return NextPlanning(below, rest_s)


def is_due(connection: sa.Connection, job_id: int) -> bool:
    """Whether a job at work should be planned now."""
    query = f"SELECT ({DUE}) FROM cascade_store.job j WHERE j.job_id = :job"  # noqa: S608
    return bool(connection.execute(sa.text(query), {"job": job_id}).scalar_one())


async def due_job(job_id: int, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> str | None:
    """The job's name if it should be planned now; for a worker, to whom a paused job is due as well."""
    cursor = await connection.execute(
        f"SELECT j.name FROM cascade_store.job j WHERE j.job_id = %s AND {DUE}",  # noqa: S608
        (job_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
