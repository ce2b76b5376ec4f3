"""Publishing after commit. A broker that is away costs time only, so it never fails the caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from cascade_batch.dispatch.app import CONTROL_QUEUE, PLAN_JOB, RUN_CHUNK, broker_label
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.errors import ServiceUnreachableError

logger = logging.getLogger(__name__)
T = TypeVar("T")

MOST_WAITING = 64
"""Messages that may wait in a tier's queue. A message only wakes a worker, and a busy one takes none for
minutes: without a bound, the sweeper's would pile up for as long as a large job takes."""
AWAY_S = 5.0
"""How long a broker that could not be reached is left alone. Finding out takes seconds each time, and
the sweeper has better things to do."""


class CeleryPublisher:
    """Sends the engine's notices as tasks. Implements `cascade_batch.engine.ports.Publisher`."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._away_until = 0.0

    def publish_chunks(self, notices: Sequence[ChunkNotice]) -> None:
        """Wake workers of the chunks' tiers, unless enough messages wait for them already."""
        room: dict[str, int] = {}
        for notice in notices:
            queue = f"tier.{notice.tier}"
            if queue not in room:
                room[queue] = self._try(partial(self._room, queue), 0)
            if room[queue] <= 0:
                continue
            room[queue] -= 1
            self._send(
                RUN_CHUNK,
                queue=queue,
                job=notice.job,
                tier=notice.tier,
                chunk=notice.chunk_id,
                rows=notice.rows,
            )

    def publish_plan(self, job: str) -> None:
        """Ask for the planner."""
        self._send(PLAN_JOB, queue=CONTROL_QUEUE, job=job)

    def _room(self, queue: str) -> int:
        with self._app.pool.acquire(block=True) as connection:
            return MOST_WAITING - int(connection.default_channel.client.llen(queue))

    def _send(self, task: str, *, queue: str, **kwargs: object) -> None:
        # What Flower shows, and a worker's log: the default is Python's way of writing a mapping.
        shown = " ".join(f"{name}={value}" for name, value in kwargs.items())
        send = partial(self._app.send_task, task, kwargs=kwargs, queue=queue, retry=False)
        self._try(partial(send, argsrepr="", kwargsrepr=shown), None)

    def _try(self, action: Callable[[], T], otherwise: T) -> T:
        if time.monotonic() < self._away_until:
            return otherwise
        try:
            return action()
        except (KombuError, RedisError, OSError) as error:
            self._away_until = time.monotonic() + AWAY_S
            logger.warning("the broker did not take a message (%s)", error)
            return otherwise


def require_broker(app: Celery) -> None:
    """Make sure that the broker answers.

    Raises:
        ServiceUnreachableError: It does not; names its URL without the password.
    """
    url = app.conf.broker_url
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5, interval_start=0)
            connection.default_channel.client.ping()
    except Exception as error:
        raise ServiceUnreachableError(
            f"The broker at {broker_label(url)} can't be reached: {error}",
            hint="Check CASCADE_REDIS_URL, and that the server runs.",
        ) from error
