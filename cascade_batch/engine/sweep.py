"""The sweeper: finds what nobody works on. Two at once do no harm, and none at all costs only time.

Rows that somebody else has locked are passed over: who holds them is at work on them, and waiting for one
job's planner would hold up all others.

It frees chunks of workers that died, wakes workers for chunks that wait, and calls the planner for
jobs that are due. The broker may lose every message: this is what makes up for it. And rows that follow
others get what those were answered after the job was cancelled or failed.
"""

from __future__ import annotations

import logging
import os
import threading
import time

import sqlalchemy as sa

from cascade_batch.engine.chunks import notice, spread
from cascade_batch.engine.due import DUE
from cascade_batch.engine.followers import follow_after_the_end
from cascade_batch.engine.half_read import end_abandoned
from cascade_batch.engine.ports import ChunkNotice, Publisher
from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.ledger import EXPIRE_LEASES
from cascade_batch.monitoring.logs import bound
from cascade_batch.monitoring.sweeper import SweeperMetrics
from cascade_batch.notifications.courier import Courier
from cascade_batch.notifications.message import Variables
from cascade_batch.settings import settings
from cascade_batch.store.engine import make_engine, reachable

logger = logging.getLogger(__name__)

PUBLISH_AGAIN_S = 15
"""A chunk that waited this long since its last message gets another."""
PLAN_AGAIN_S = 10
"""A job that is due and was not planned for so long gets the planner called again."""
SWEEP_S = 1.0
COURIER_END_S = 3.0
"""A message that is on its way when the sweeper ends gets so long; else it is sent once more later."""
RETURN_S = 10.0
"""How long workers have, after the database was away, to come back before their leases are taken."""

_READY = """
WITH due AS (
    SELECT c.chunk_id, c.tier_name,
           row_number() OVER (PARTITION BY c.tier_name ORDER BY c.chunk_id) AS place
      FROM cascade_store.chunk c JOIN cascade_store.job j USING (job_id)
     WHERE c.state = 'ready' AND j.state IN ('queued', 'running')
       AND (c.not_before IS NULL OR c.not_before <= clock_timestamp())
       AND (c.published_at IS NULL
            OR c.published_at < clock_timestamp() - make_interval(secs => :again_s)))
UPDATE cascade_store.chunk c SET published_at = clock_timestamp()
  FROM cascade_store.job j
 WHERE j.job_id = c.job_id AND c.chunk_id IN (
       SELECT k.chunk_id FROM cascade_store.chunk k JOIN due USING (chunk_id)
        WHERE due.place <= :per_tier AND k.state = 'ready'
          FOR NO KEY UPDATE OF k SKIP LOCKED)
RETURNING c.chunk_id, j.name AS job, c.tier_name, c.row_from, c.row_to, c.row_nos, c.row_count
"""
_DUE_JOBS = f"""
UPDATE cascade_store.job SET planned_at = clock_timestamp()
 WHERE job_id IN (
       SELECT j.job_id FROM cascade_store.job j
        WHERE j.state IN ('queued', 'running')
          AND (j.planned_at IS NULL OR j.planned_at < clock_timestamp()
               - make_interval(secs => :again_s * 2 ^ least(j.plan_failures, 6)))
          AND {DUE}
          FOR NO KEY UPDATE OF j SKIP LOCKED)
RETURNING name
"""  # noqa: S608
_WAKE_PER_TIER = 16
SET_BACK_S = 60.0
"""A database's clock that was set back by more than this is heeded; by less, it only costs that time."""

_LIVES = """
WITH before AS (SELECT at FROM cascade_store.heartbeat WHERE part = 'sweeper')
INSERT INTO cascade_store.heartbeat (part, at) VALUES ('sweeper', clock_timestamp())
    ON CONFLICT (part) DO UPDATE SET at = excluded.at
RETURNING coalesce(extract(epoch FROM (SELECT at FROM before) - at), 0)::float
"""
# What lies further ahead than half of the jump was written before it: leases and waits are shorter than that,
# or are renewed by whoever lives.
_HEED_CLOCK = (
    """
UPDATE cascade_store.chunk
   SET lease_expires_at = lease_expires_at - make_interval(secs => :back_s)
 WHERE state = 'leased' AND lease_expires_at > clock_timestamp() + make_interval(secs => :back_s / 2)
""",
    """
UPDATE cascade_store.chunk
   SET not_before = not_before - make_interval(secs => :back_s)
 WHERE state = 'ready' AND not_before > clock_timestamp() + make_interval(secs => :back_s / 2)
""",
    """
UPDATE cascade_store.chunk SET published_at = NULL
 WHERE state = 'ready' AND published_at > clock_timestamp()
""",
    """
UPDATE cascade_store.job
   SET planned_at = CASE WHEN planned_at <= clock_timestamp() THEN planned_at END,
       plan_not_before = CASE WHEN plan_not_before <= clock_timestamp() + make_interval(secs => :back_s / 2)
                              THEN plan_not_before END
 WHERE state IN ('queued', 'running')
""",
)


def publish_ready(engine: sa.Engine, publisher: Publisher) -> int:
    """Wake workers for chunks that wait.

    Returns:
        How many messages were sent.
    """
    with engine.begin() as connection:
        rows = connection.execute(
            sa.text(_READY), {"again_s": PUBLISH_AGAIN_S, "per_tier": _WAKE_PER_TIER}
        ).mappings()
        notices: list[ChunkNotice] = [
            notice(row["job"], row["chunk_id"], dict(row)) for row in rows
        ]
    publisher.publish_chunks(spread(notices))
    return len(notices)


def sweep_once(engine: sa.Engine, publisher: Publisher, *, frees: bool = True) -> int:
    """One round: free, wake, plan, end what is over, and say that the sweeper lives.

    Args:
        frees: Whether leases that ran out are taken back.

    Returns:
        How many leases had run out.
    """
    # A transaction each: none holds a lock while it waits for another.
    with engine.begin() as connection:
        back_s = connection.execute(sa.text(_LIVES)).scalar_one()
        if back_s > SET_BACK_S:
            _heed_clock(connection, back_s)
    freed = 0
    if frees:
        with engine.begin() as connection:
            freed = connection.execute(
                sa.text(EXPIRE_LEASES.format(most=":most")), {"most": 1000}
            ).scalar_one()
    if freed:
        logger.warning("%d leases had run out; what they had reserved is at risk", freed)
    with engine.begin() as connection:
        for job in end_abandoned(connection):
            logger.warning("job %s is cancelled: nobody reads its data set any more", job)
    publish_ready(engine, publisher)
    with engine.begin() as connection:
        due = connection.execute(sa.text(_DUE_JOBS), {"again_s": PLAN_AGAIN_S}).scalars().all()
    for job in due:
        with bound(job=job):
            publisher.publish_plan(job)
    with engine.begin() as connection:
        # Last, and one job in a round: a large one takes its time.
        follow_after_the_end(connection)
    return int(freed)


def _heed_clock(connection: sa.Connection, back_s: float) -> None:
    """The database's clock was set back: what was to happen soon would otherwise wait for that long."""
    logger.warning("the database's clock was set back by %.0f s", back_s)
    for statement in _HEED_CLOCK:
        connection.execute(sa.text(statement), {"back_s": back_s})


def run_sweeper(
    database_url: str,
    publisher: Publisher,
    stop: threading.Event,
    *,
    variables: Variables = os.environ.get,
) -> None:
    """Sweep until `stop` is set; outlives every outage of database and broker, and its own faults.

    Args:
        variables: Where the addresses and secrets of those who are told of jobs are.
    """
    courier = Courier(database_url, settings().notify_allow, variables)
    telling = threading.Thread(target=courier.run, args=(stop,), name="courier", daemon=True)
    telling.start()
    metrics = SweeperMetrics(settings(), database_url)
    engine = make_engine(database_url, pooled=True)
    failures = 0
    frees_from = 0.0
    while not stop.is_set():
        try:
            with reachable(database_url):
                freed = sweep_once(engine, publisher, frees=time.monotonic() >= frees_from)
            metrics.swept(freed)
            failures = 0
        except ServiceUnreachableError as error:
            failures += 1
            # The workers may have been cut off as well, and come back with answers that are paid for.
            frees_from = time.monotonic() + RETURN_S
            logger.warning("sweeper: %s", error.message)
            engine.dispose()
        except Exception:
            failures += 1
            logger.exception("the sweeper stumbled and goes on")
        stop.wait(min(SWEEP_S * (1 + failures), 10))
    engine.dispose()
    telling.join(COURIER_END_S)
    metrics.close()
