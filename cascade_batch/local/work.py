"""What the supervisor asks of the database: which tiers have work, and whether somebody looks in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa

from cascade_batch.engine.jobs import NOTIFY_CHANNEL, active_tiers
from cascade_batch.store.engine import libpq_url, make_engine

logger = logging.getLogger(__name__)

POLL_S = 2.0
"""A notice may be missed while Postgres restarts; asking again makes up for it."""

_FOREIGN_SESSIONS = """
SELECT extract(epoch FROM clock_timestamp() - max(greatest(backend_start, state_change)))
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND application_name NOT LIKE 'cascade-batch%'
"""
_MESSAGES = "SELECT EXISTS (SELECT 1 FROM cascade_store.notification WHERE state = 'waiting')"


@dataclass(frozen=True, slots=True)
class Work:
    """What there was to do when it was asked.

    Attributes:
        tiers: Tiers of unfinished jobs.
        foreign_idle_s: How long ago somebody else's program (psql, a notebook) last used the
            database through a connection that is still open; None where there is none.
        has_messages: Whether somebody is still to be told of a job.
    """

    tiers: frozenset[str]
    foreign_idle_s: float | None
    has_messages: bool = False


def watch_work(database_url: str, report: Callable[[Work], None], stop: threading.Event) -> None:
    """Report the work at once, whenever a job changes, and every few seconds; until `stop` is set."""
    engine = make_engine(database_url, pooled=True)
    try:
        while not stop.is_set():
            try:
                _watch(database_url, engine, report, stop)
            except (psycopg.OperationalError, sa.exc.OperationalError) as error:
                logger.warning("the database is away: %s", str(error).strip().splitlines()[0])
                engine.dispose()
                stop.wait(0.2)
    finally:
        engine.dispose()


def _watch(
    database_url: str, engine: sa.Engine, report: Callable[[Work], None], stop: threading.Event
) -> None:
    with psycopg.connect(
        libpq_url(database_url), autocommit=True, application_name="cascade-batch supervisor"
    ) as listener:
        listener.execute(f"LISTEN {NOTIFY_CHANNEL}")
        while not stop.is_set():
            report(look(engine))
            # In short pieces, so that a stop is noticed.
            until = time.monotonic() + POLL_S
            while not stop.is_set() and time.monotonic() < until:
                if any(True for _ in listener.notifies(timeout=0.1, stop_after=1)):
                    break


def look(engine: sa.Engine) -> Work:
    """The work that there is now."""
    with engine.connect() as connection:
        tiers = frozenset(active_tiers(connection))
        idle_s = connection.execute(sa.text(_FOREIGN_SESSIONS)).scalar_one()
        has_messages = connection.execute(sa.text(_MESSAGES)).scalar_one()
    return Work(tiers, None if idle_s is None else float(idle_s), bool(has_messages))
